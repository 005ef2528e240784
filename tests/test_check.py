"""Every rule of the checker has a plan that breaks it, and is told in these words.

Those of time, of what is kept warm and of a purchase's money have plans of their own in `test_runs.py`, `test_warm.py`
and `test_tails.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from planner.check import check
from planner.problem import Array, Blocks, Deployment, Endpoint, Epoch, Limit, Line, Offer, Pool, Problem
from planner.solve import Solution, solve


def _solution() -> Solution:
    """Two hours; a server, a reserved GPU, GPUs by the hour and an API all work in the dearer one."""
    problem = Problem(
        epochs=(Epoch("jan", 2.0),),
        classes=("chat", "code"),
        blocks=Blocks(np.zeros(2), np.ones(2), np.array([[4.0, 2.0], [20.0, 6.0]])),
        pools=(Pool("owned", 0.5), Pool("rented")),
        deployments=(Deployment("a", "owned", (0.5, 0.5)), Deployment("b", "rented", (0.5, None))),
        offers=(
            Offer("server", {"owned": 1.0}, upfront=(Line("server", 2.0),), max_units=3.0),
            Offer("reserved", {"rented": 1.0}, committed=(Line("rent", 1.0),), term_epochs=1, max_units=2.0),
            Offer("hourly", {"rented": 1.0}, placed="hour", bought=False, usage_usd_per_h=3.0, max_units=2.0),
        ),
        endpoints=(
            Endpoint("api", (9.0, None), requests_per_h=8.0, tokens_per_h=9000.0, tokens_per_request=(1000.0, 1.0)),
        ),
        limits=(Limit("rack", {"server": 1.0}, 3.0),),
        unserved_usd_per_request=(100.0, 100.0),
    )
    return solve(problem, gap=1e-9)


def _buy(offer: int, units: float) -> Callable[[Solution], Solution]:
    def change(solution: Solution) -> Solution:
        buy = solution.fleet.buy.copy()
        buy[offer, 0] += units
        return replace(solution, fleet=replace(solution.fleet, buy=buy))

    return change


def _replicas(deployment: int, count: float) -> Callable[[Solution], Solution]:
    def change(solution: Solution) -> Solution:
        replicas = solution.fleet.replicas.copy()
        replicas[deployment, 0] += count
        return replace(solution, fleet=replace(solution.fleet, replicas=replicas))

    return change


def _hour(*moves: tuple[str, tuple[int, ...], float]) -> Callable[[Solution], Solution]:
    """Add amounts to variables of the busiest block."""

    def change(solution: Solution) -> Solution:
        values: Array = solution.hours.values.copy()
        busiest = int(np.argmax(solution.blocks.demand[:, 0]))
        for family, key, amount in moves:
            values[busiest, solution.hours.matrix.columns.index((family, key))] += amount
        return replace(solution, hours=replace(solution.hours, values=values))

    return change


def _unasked(family: str, key: tuple[int, ...]) -> Callable[[Solution], Solution]:
    """One request in every block goes where the problem has no variable for it."""

    def change(solution: Solution) -> Solution:
        hours = solution.hours
        matrix = replace(hours.matrix, columns=(*hours.matrix.columns, (family, key)))
        values = np.hstack([hours.values, np.ones((len(hours.values), 1))])
        return replace(solution, hours=replace(hours, matrix=matrix, values=values))

    return change


def _hours(*places: int, kept: tuple[int, ...] = (0, 1), **fields: Array) -> Callable[[Solution], Solution]:
    """A plan for some of its hours, each standing for the problem's at `places`."""

    def change(solution: Solution) -> Solution:
        own = solution.blocks
        blocks = Blocks(*(array[list(kept)] for array in (own.epoch, own.weight_h, own.demand)))
        hours = replace(solution.hours, values=solution.hours.values[list(kept)])
        return replace(solution, blocks=replace(blocks, **fields), hours=hours, block_of=np.array(places))

    return change


def _stated(**fields: float) -> Callable[[Solution], Solution]:
    return lambda solution: replace(solution, **fields)  # type: ignore[arg-type]


BROKEN: tuple[tuple[Callable[[Solution], Solution], str], ...] = (
    (_hours(0, kept=(0,)), "hours: the problem's and the plan's do not belong together"),
    (_hours(0, 1, kept=(0,)), "hours: the problem's and the plan's do not belong together"),
    (_hours(0, 1, epoch=np.array([0, 1])), "hours: one stands for an hour of another epoch"),
    (_hours(0, 0, kept=(0,)), "hours: one stands for an hour with other demand"),
    (_hours(0, 1, weight_h=np.array([1.0, 0.5])), "hours: one does not weigh what those weigh that it stands for"),
    (_hour(("unserved", (0,), -50.0)), "hours: a value is negative or not finite"),
    (_buy(2, 1.0), "hourly: bought, but it is not for sale"),
    (_buy(0, 0.5), "server: a purchase is not whole"),
    (_buy(1, 1.0), "reserved: 3 units active, 2 to be had"),
    (_buy(0, 1.0), "rack: 4 used of 3"),
    (_replicas(0, 0.5), "a: a replica is not whole"),
    (_replicas(1, 1.0), "rented: replicas are placed on more GPUs than there are"),
    (_unasked("served", (1, 1)), "code: served by b, which may not"),
    (_unasked("api", (1, 0)), "code: sent to api, which may not"),
    (_hour(("served", (0, 0), -0.5)), "chat: what is served differs from the demand"),
    (_hour(("served", (0, 0), 0.5), ("api", (0, 0), -0.5)), "a: more work than its replicas can do inside the SLO"),
    (_hour(("rented", (2, 1), -0.5)), "hourly: a rented replica of b is not whole"),
    (_hour(("on", (2,), 0.5)), "hourly: a unit switched on is not whole"),
    (_hour(("rented", (2, 1), 1.0)), "hourly: replicas run on units that are not switched on"),
    (_hour(("on", (2,), 1.0), ("rented", (2, 1), 1.0)), "hourly: more units are on than there are"),
    (_hour(("api", (0, 0), 6.0)), "api: more requests than its limit"),
    (_hour(("api", (0, 0), 7.0)), "api: more tokens than its limit"),
    (_stated(cost_usd=1.0), "the plan says 1.00 USD, its parts add up to"),
    (_stated(bound_usd=1e6), "the bound 1000000.00 USD exceeds the plan's"),
)


def test_the_plan_as_solved_passes() -> None:
    """The plan that the others are made from breaks no rule, and uses every supply in its busiest hour."""
    solution = _solution()
    assert check(solution) == ()
    busiest = solution.hours.values[int(np.argmax(solution.blocks.demand[:, 0]))]
    assert solution.fleet.buy[:, 0] == pytest.approx([3.0, 2.0, 0.0])
    for family in ("served", "on", "rented", "api"):
        assert busiest[solution.hours.matrix.family(family)].max() > 0, family


@pytest.mark.parametrize(("change", "told"), BROKEN, ids=[told for _, told in BROKEN])
def test_each_broken_rule_is_told(change: Callable[[Solution], Solution], told: str) -> None:
    """The fault is among those the checker finds, in these words."""
    faults = check(change(_solution()))
    assert any(fault.startswith(told) for fault in faults), faults
