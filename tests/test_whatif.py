"""What would change the bill and the decision."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from planner.assemble import Case, assemble
from planner.inputs import check_inputs
from planner.plan import Sensitivity
from planner.problem import Blocks, Deployment, Endpoint, Epoch, FixedCharge, Line, Offer, Pool, Problem
from planner.solve import Solution, solve
from planner.solver import Fleet
from planner.whatif import DRIVERS, WORTH, decision, flexible, kept, sensitivities

EXAMPLE = Path(__file__).parents[1] / "examples" / "forecast.csv"
TODAY = date(2026, 11, 20)
MOVED = tuple(d for d in DRIVERS if d.name in ("demand", "API prices", "power price", "capacity per GPU"))
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
        fixed_charges=(FixedCharge("staff", ("own",), 7.0, 5.0),),
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


@pytest.fixture(scope="module")
def moved(example_case: Case) -> tuple[Solution, tuple[Sensitivity, ...]]:
    base = solve(example_case.problem, gap=0.005)
    return base, sensitivities(example_case, base, gap=0.01, time_limit_s=3.0, drivers=MOVED)


def test_a_better_world_never_costs_more(moved: tuple[Solution, tuple[Sensitivity, ...]]) -> None:
    """Lower prices, less demand and more capacity cost at most the plan's bill, whatever the search found."""
    base, found = moved
    assert [s.driver for s in found] == [driver.name for driver in MOVED]
    for s in found:
        better = s.usd_high if s.driver == "capacity per GPU" else s.usd_low
        assert better <= base.cost_usd * (1 + 1e-4), s.driver
        for bill, stays in ((s.usd_low, s.kept_usd_low), (s.usd_high, s.kept_usd_high)):
            assert stays is not None
            assert bill <= stays * (1 + 1e-9), s.driver


def test_at_the_turning_point_another_decision_pays(
    example_case: Case, moved: tuple[Solution, tuple[Sensitivity, ...]]
) -> None:
    """There another decision saves more than a hundredth of what keeping the plan's costs; at 1 nothing does."""
    base, found = moved
    turning = [s for s in found if s.turns_above is not None or s.turns_below is not None]
    assert turning
    for s in turning[:2]:
        factor = s.turns_above or s.turns_below
        assert factor is not None
        problem = DRIVER[s.driver].change(example_case.problem, factor)
        there, stays = solve(problem, gap=0.005), kept(problem, base.fleet)
        assert there.cost_usd < stays.cost_usd * (1 - WORTH + 0.005)
        shares = s.shares_above if s.turns_above else s.shares_below
        assert shares is not None
        assert all(0 <= part <= 1 for part in shares.values())


def test_a_figure_that_nothing_depends_on_turns_nothing(moved: tuple[Solution, tuple[Sensitivity, ...]]) -> None:
    """Nothing is owned in the example: twice the power price leaves bill and decision as they are."""
    base, found = moved
    power = next(s for s in found if s.driver == "power price")
    assert power.turns_above is None
    assert power.usd_high == pytest.approx(base.cost_usd, rel=1e-3)


def test_keeping_the_plan_in_its_own_world_costs_its_bill(example_case: Case) -> None:
    """With no figure moved the kept fleet costs what the plan says, and its tokens are where the plan has them."""
    base = solve(example_case.problem, gap=0.005)
    again = kept(base.problem, base.fleet)
    assert again.cost_usd == pytest.approx(base.cost_usd, rel=2e-3)
    shares = flexible(example_case, base)
    assert shares["api"] == pytest.approx(flexible(example_case, again)["api"], abs=0.02)


def test_swing_keeps_the_work_and_moves_the_peaks() -> None:
    """Half the swing: the mean stays, an hour of 30 beside one of 10 becomes 25 beside 15; no hour below nothing."""
    blocks = Blocks(np.array([0, 0]), np.array([50.0, 50.0]), np.array([[30.0], [10.0]]))
    swing = DRIVER["utilisation (swing of load)"].change
    assert swing(_problem().with_blocks(blocks), 0.5).blocks.demand[:, 0] == pytest.approx([25, 15])
    wide = swing(_problem().with_blocks(blocks), 4.0).blocks.demand[:, 0]
    assert wide == pytest.approx([40, 0])
    assert wide.sum() == pytest.approx(40)


def test_a_decision_is_the_most_gpus_at_once(example_case: Case) -> None:
    """Four GPUs that are reserved in every epoch are four, however often their term is renewed."""
    offers = example_case.problem.offers
    o = next(o for o, info in enumerate(example_case.offers) if info.scheme == "reserved")
    buy = np.zeros((len(offers), len(example_case.problem.epochs)))
    buy[o] = 4 / example_case.offers[o].gpus_per_unit
    fleet = Fleet(buy, np.zeros((len(example_case.problem.deployments), len(example_case.problem.epochs))))
    assert decision(example_case, fleet) == {f"reserved {example_case.offers[o].gpu}": pytest.approx(4)}
