"""Minimum hours: paid in the plan, held by the checker, never in the bound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.check import check, shortest_run
from planner.problem import Blocks, Deployment, Endpoint, Epoch, Offer, Pool, Problem
from planner.runs import units_paid
from planner.solve import solve


def _problem(demand: list[float], minimum_h: float, api_usd: float = 9.0) -> Problem:
    """One GPU type by the hour at 1 USD, one request an hour each; an API beside it."""
    return Problem(
        epochs=(Epoch("day", float(len(demand))),),
        classes=("chat",),
        blocks=Blocks(np.zeros(len(demand)), np.ones(len(demand)), np.array(demand)[:, None]),
        pools=(Pool("rented"),),
        deployments=(Deployment("chat.on.rented", "rented", (1.0,)),),
        offers=(Offer("hourly", {"rented": 1.0}, "hour", bought=False, usage_usd_per_h=1.0, minimum_h=minimum_h),),
        endpoints=(Endpoint("api", (api_usd,)),),
        unserved_usd_per_request=(100.0,),
    )


def test_an_hour_is_paid_for_the_minimum() -> None:
    """One busy hour in six with a minimum of four costs four; the bound still says one, and the gap is honest."""
    solution = solve(_problem([0, 1, 0, 0, 0, 0], 4), gap=1e-6)
    assert check(solution) == ()
    assert solution.cost_usd == pytest.approx(4.0)
    assert solution.bound_usd == pytest.approx(1.0, abs=1e-6)
    assert solution.gap == pytest.approx(0.75)


def test_a_gap_is_bridged_where_that_is_no_dearer() -> None:
    """Busy at hours 0 and 3 with a minimum of two: one run of four hours costs what two runs cost."""
    assert units_paid(np.array([1.0, 0, 0, 1, 0, 0]), 2).tolist() == [1, 1, 1, 1, 0, 0]
    assert units_paid(np.array([1.0, 0, 0, 0, 1, 0]), 2).tolist() == [1, 1, 0, 0, 1, 1]
    assert units_paid(np.array([1.0, 0, 1, 0, 0, 0]), 2).tolist() == [1, 1, 1, 0, 0, 0]
    assert units_paid(np.array([1.0, 1, 0, 1, 1, 0]), 4).tolist() == [1, 1, 1, 1, 1, 0]


def test_what_runs_anyway_serves() -> None:
    """A fraction of a request, sent to the API when a GPU would cost more, goes to the GPU that must run anyway."""
    solution = solve(_problem([1, 0.05, 0.05, 0], 3, api_usd=10.0), gap=1e-6)
    assert check(solution) == ()
    assert solution.total("api", 1)[0] == pytest.approx(0.0, abs=1e-9)
    assert solution.cost_usd == pytest.approx(3.0)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.integers(2, 6))
def test_no_unit_stops_early_and_none_is_missing(needed: list[int], minimum: int) -> None:
    """Every need is covered, and first on first off no unit stops before its time unless the horizon ends."""
    need = np.array(needed, dtype=float)
    paid = units_paid(need, minimum)
    assert (paid >= need).all()
    assert paid.max(initial=0) == need.max(initial=0)
    assert shortest_run(paid) >= minimum
    assert (units_paid(paid, minimum) >= paid).all()


def test_a_unit_is_switched_on_before_it_is_needed() -> None:
    """With some minutes of start-up a GPU for hours 3 and 4 is paid from hour 2; the horizon begins with what runs."""
    quick = _problem([1, 0, 0, 1, 1, 0], 1)
    slow = replace(quick, offers=(replace(quick.offers[0], start_h=0.2),))
    solution = solve(slow, gap=1e-6)
    assert check(solution) == ()
    assert solution.cost_usd == pytest.approx(1 + 1 + 2)
    assert solve(quick, gap=1e-6).cost_usd == pytest.approx(3.0)
    kept = _problem([1, 0, 0, 1, 1, 0], 1.5)
    late = replace(kept, offers=(replace(kept.offers[0], start_h=0.2),))
    assert check(replace(solve(kept, gap=1e-6), problem=late)) == (
        "hourly: replicas run on units that have not been on for 0.2 hours",
    )
    assert check(replace(solve(quick, gap=1e-6), problem=slow)) == (
        "hourly: hours were joined, though its minimum hours or start-up ask for their order",
    )


def test_start_up_and_minimum_hours_together() -> None:
    """Started an hour early and kept for three: the hour of the start-up serves nobody, the one after does."""
    problem = _problem([0.3, 1, 0.3, 0, 0], 3, api_usd=2.0)
    slow = replace(problem, offers=(replace(problem.offers[0], start_h=1.0),))
    solution = solve(replace(slow, blocks=Blocks(np.zeros(5), np.ones(5), np.array([[0.0], [0.3], [1], [0.3], [0]]))))
    assert check(solution) == ()
    assert solution.total("api", 1)[0] == pytest.approx(0.3)
    assert solution.cost_usd == pytest.approx(3 * 1.0 + 0.3 * 2.0)


def test_the_checker_sees_a_unit_that_stops_early() -> None:
    """The same plan under a longer minimum is refused."""
    solution = solve(_problem([0, 1, 0, 0, 0, 0], 2), gap=1e-6)
    longer = replace(solution.problem, offers=(replace(solution.problem.offers[0], minimum_h=3.0),))
    assert check(replace(solution, problem=longer)) == ("hourly: a unit is switched off before its 3 hours are over",)


def test_blocks_must_be_single_hours_then() -> None:
    """Weights of several hours have no order in time: refused with the reason."""
    problem = _problem([1.0, 2.0], 2)
    heavy = problem.with_blocks(Blocks(problem.blocks.epoch, [2.0, 2.0], problem.blocks.demand))
    with pytest.raises(ValueError, match="with minimum hours or start-up every block is one hour, in time order"):
        solve(heavy)
