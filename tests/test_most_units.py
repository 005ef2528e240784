"""The charge for a team forbids no purchase that pays, whatever demand and capacity become."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planner_cases import OWNERSHIP, PER_GPU_H, PLAN, Told, curve, forecast, on_demand, told, write

from planner.explain import STEPS, Asked, _at_step
from planner.most_units import most_units, tight
from planner.problem import Deployment, Offer, Problem
from planner.solve import solve
from planner.whatif import DRIVERS, sensitivities

OTHER = "llama-3.1-8b"
OWNED = '[policy]\nforbid = ["api", "reserved", "on-demand"]\n'
BY_NAME = {driver.name: driver for driver in DRIVERS}


def owned(folder: Path, plan: str, rows: str, staff: str = "1460", **more: object) -> Told:
    ownership = OWNERSHIP.replace("1460", staff)
    return told(write(folder, plan=plan, rows=rows, offers=[on_demand()], ownership=ownership, **more))  # type: ignore[arg-type]


def test_units_that_deployments_fill_at_different_hours_are_added_up() -> None:
    """Replicas are whole, every deployment has one, units are whole, and what exists is there on top."""
    demand = np.array([[10.0, 0.0], [0.0, 3.0]])
    one = Deployment("one", "a", (1.0, None), 4.0)
    two = Deployment("two", "a", (None, 0.5))
    idle = Deployment("idle", "b", (None, None), 2.0)
    servers = Offer("servers", {"a": 1 / 8}, existing=(3.0, 1.0))
    others = Offer("others", {"b": 1.0})
    assert most_units([servers], [one, two, idle], demand) == 2 + 3  # 12 and 2 GPUs are two servers of eight
    assert most_units([servers, others], [one, two, idle], demand) == 2 + 3 + 2
    assert most_units([replace(servers, whole=False)], [one, two, idle], demand) == 14 / 8 + 3


def test_a_team_does_not_keep_models_of_opposite_hours_from_being_served(tmp_path: Path) -> None:
    """Two models take 40 GPUs each, one by day and one by night: 80 GPUs are bought, with the team as without it."""
    plan = PLAN + PLAN.replace("chat", "other").replace("llama-3.2-1b", OTHER) + OWNED
    rows = forecast(24, {"chat": [40 * PER_GPU_H] * 12 + [0] * 12, "other": [0] * 12 + [40 * PER_GPU_H] * 12})
    curves = [curve(), curve(model=OTHER)]
    paid = owned(tmp_path / "a", plan, rows, curves=curves)
    free = owned(tmp_path / "b", plan, rows, staff="0", curves=curves)
    assert [p.gpus for p in paid.plan.purchases] == [p.gpus for p in free.plan.purchases] == [80.0]
    assert paid.plan.unserved_requests == free.plan.unserved_requests == 0
    assert paid.plan.cost_usd == pytest.approx(free.plan.cost_usd + 12 * 1460)


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Forty GPUs, owned."""
    return owned(tmp_path_factory.mktemp("forty"), PLAN + OWNED, forecast(24, {"chat": 40 * PER_GPU_H}))


@pytest.mark.parametrize(
    ("driver", "factor", "gpus"), [("demand", 2.0, 80.0), ("capacity per GPU", 0.5, 80.0), ("demand", 0.5, 20.0)]
)
def test_what_if_buys_what_the_changed_figures_ask_for(forty: Told, driver: str, factor: float, gpus: float) -> None:
    """More demand, and less capacity, are served by more GPUs under the same team."""
    changed = BY_NAME[driver].change(forty.case.problem, factor)
    solution = solve(changed, gap=1e-4)
    assert solution.fleet.buy.sum() * 4 == gpus
    assert solution.unserved.sum() == 0
    assert changed.fixed_charges == tight(changed).fixed_charges


def test_the_whole_of_the_what_if_is_told_with_the_team_it_needs(forty: Told) -> None:
    """Twice the demand costs twice as much less one team; 30 % less capacity asks for 60 GPUs."""
    moved = {
        s.driver: s
        for s in sensitivities(
            forty.case, forty.solution, gap=0.005, time_limit_s=10,
            drivers=(BY_NAME["demand"], BY_NAME["capacity per GPU"]),
        )
    }  # fmt: skip
    one = forty.plan.cost_usd
    assert moved["demand"].usd_high == pytest.approx(2 * one - 12 * 1460, rel=0.01)
    assert moved["capacity per GPU"].decision_low == {"owned l4-24gb": 60.0}


def test_steeper_load_asks_for_more(tmp_path: Path) -> None:
    """The swing of the load moves its peak, and with it the units that can be of use."""
    rows = forecast(24, {"chat": [20 * PER_GPU_H] * 12 + [60 * PER_GPU_H] * 12})
    case = owned(tmp_path, PLAN + OWNED, rows).case
    steeper = BY_NAME["utilisation (swing of load)"].change(case.problem, 1.5)
    assert _most(case.problem) == 15
    assert _most(steeper) == 18  # 40 + 1.5 x 20 = 70 GPUs in servers of four


def test_a_little_more_of_a_workload_has_room(forty: Told) -> None:
    """One and ten per cent more of forty full GPUs are served, not left out at the penalty."""
    asked = Asked(forty.case, forty.solution, 1e-4)
    bought = forty.plan.cost_usd / 40
    for step in STEPS:
        found = _at_step(asked, forty.case.workloads[0], step, 10.0)
        assert found.usd_per_mtok * step * 40 * PER_GPU_H * 8760 * 1200 / 1e6 < 2 * 4 * bought


def _most(problem: Problem) -> float:
    (charge,) = problem.fixed_charges
    return charge.most_units
