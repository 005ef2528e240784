"""What would change the bill and the decision."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from planner.assemble import Case, assemble
from planner.inputs import check_inputs
from planner.problem import Blocks, Deployment, Endpoint, Epoch, FixedCharge, Line, Offer, Pool, Problem
from planner.whatif import DRIVERS, same

EXAMPLE = Path(__file__).parents[1] / "examples" / "forecast.csv"
TODAY = date(2026, 11, 20)
DRIVER = {driver.name: driver for driver in DRIVERS}


@pytest.fixture(scope="module")
def example_case() -> Case:
    checked = check_inputs(EXAMPLE, today=TODAY)
    return assemble(checked.forecast, checked.plan, checked.workloads, checked.book, checked.curves, today=TODAY)


def _problem() -> Problem:
    return Problem(
        epochs=(Epoch("start", 100.0),),
        classes=("chat",),
        blocks=Blocks(np.array([0]), np.array([100.0]), np.array([[10.0]])),
        pools=(Pool("owned", 0.1), Pool("rented")),
        deployments=(Deployment("a", "owned", (0.5,)), Deployment("b", "rented", (0.5,))),
        offers=(
            Offer("own", {"owned": 1.0}, upfront=(Line("server", 900.0),),
                  committed=(Line("idle power", 0.2), Line("rack", 0.3)), running_costs_stay=True,
                  residual_usd=(900.0, 600.0)),
            Offer("reserved", {"rented": 1.0}, committed=(Line("reserved GPUs", 2.0),), term_epochs=1),
            Offer("hourly", {"rented": 1.0}, placed="hour", bought=False, usage_usd_per_h=3.0),
        ),
        endpoints=(Endpoint("api", (1.5,)),),
        fixed_charges=(FixedCharge("staff", ("own",), 7.0, 10.0),),
        unserved_usd_per_request=(99.0,),
    )  # fmt: skip


def _moved(name: str, factor: float) -> Problem:
    return DRIVER[name].change(_problem(), factor)


def test_each_driver_moves_its_figures_and_no_others() -> None:
    """A driver multiplies what it is named after; moved back by the inverse factor, the problem is as it was."""
    assert _moved("demand", 2.0).blocks.demand[0, 0] == 20.0
    assert _moved("API prices", 2.0).endpoints[0].usd_per_request == (3.0,)
    rented = _moved("rental prices", 2.0).offers
    assert [offer.committed_usd_per_h for offer in rented] == [0.5, 4.0, 0.0]
    assert [offer.usage_usd_per_h for offer in rented] == [0.0, 0.0, 6.0]
    owned = _moved("server prices", 2.0).offers[0]
    assert (owned.upfront_usd, owned.committed_usd_per_h, owned.residual_usd) == (1800.0, 0.5, (1800.0, 1200.0))
    powered = _moved("power price", 2.0)
    assert powered.offers[0].committed_usd_per_h == pytest.approx(0.7)
    assert powered.pools[0].busy_usd_per_gpu_h == 0.2
    assert _moved("capacity per GPU", 2.0).deployments[0].gpu_h_per_request == (0.25,)
    assert _moved("staff", 2.0).fixed_charges[0].usd_per_h == 14.0
    for driver in DRIVERS:
        back = driver.change(driver.change(_problem(), 2.0), 0.5)
        for part in ("deployments", "offers", "endpoints", "pools", "fixed_charges"):
            assert getattr(back, part) == getattr(_problem(), part), driver.name
        assert (back.blocks.demand == _problem().blocks.demand).all()


@pytest.mark.parametrize(
    ("one", "other", "answer"),
    [
        ({}, {}, True),
        ({"owned h100": 16.0}, {"owned h100": 16.0}, True),
        ({"owned h100": 100.0}, {"owned h100": 91.0}, True),
        ({"owned h100": 100.0}, {"owned h100": 89.0}, False),
        ({"owned h100": 16.0}, {"reserved h100": 16.0}, False),
        ({"owned h100": 16.0}, {}, False),
    ],
)
def test_when_decisions_are_the_same(one: dict[str, float], other: dict[str, float], answer: bool) -> None:
    """The same kinds of supply, and GPUs within a tenth; in either order."""
    assert same(one, other) is answer
    assert same(other, one) is answer


def test_the_turning_point_separates_two_decisions(example_case: Case) -> None:
    """On the plan's side of a turning point the decision is the plan's; beyond it, it is not."""
    from planner.solve import solve
    from planner.whatif import decision, sensitivities

    base = solve(example_case.problem, gap=0.005)
    moved = sensitivities(example_case, base, gap=0.005, time_limit_s=10.0)
    assert [s.driver for s in moved] == [driver.name for driver in DRIVERS]
    turning = [s for s in moved if s.turns_above is not None or s.turns_below is not None]
    assert turning
    for s in turning[:2]:
        factor = s.turns_above or s.turns_below
        assert factor is not None
        there = solve(DRIVER[s.driver].change(example_case.problem, factor), gap=0.005)
        assert not same(decision(example_case, there), decision(example_case, base))
    dearer = next(s for s in moved if s.driver == "API prices")
    assert dearer.usd_low <= base.cost_usd * 1.005
    assert dearer.usd_high >= base.bound_usd
