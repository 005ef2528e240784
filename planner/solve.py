"""Problem -> Solution: a fleet, who serves what in every block, and how far at most it is from the best.

Two ways, one result. A problem whose programme is small is solved as that one programme, whole on-demand units and
all. A larger one is searched (`search.py`): a master decides on fleets against lower bounds on the cost of their hours,
promising fleets are dispatched in every hour, and what is learnt there raises the bounds, until both agree. Where they
do not and time is left, a problem of middling size is tried as one programme too. In all, the plan is what
`whole.settle` made payable, and the gap printed is (plan - bound) / plan.

Inside, work is counted in GPU-hours (`units.py`); the solution is in requests again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.dispatch import Dispatch, Hours
from planner.presence import slack_usd, with_presence, without
from planner.present import fleet_usd, hours_usd
from planner.problem import Array, Blocks, Ints, Problem, merge_identical
from planner.runs import keep_running, takes_time
from planner.search import ImpossibleError, Progress, Search
from planner.solver import Fleet
from planner.units import in_requests, in_units, work_unit
from planner.warm import keep_warm

__all__ = ["ImpossibleError", "Progress", "Solution", "fleet_usd", "hours_usd", "solve"]

_ROUNDING = 1e-7
"""By how much, as a share, rounding may lift a bound above its plan; more is a fault, which `check.py` tells."""
SMALL = 6_000
"""Variables up to which one programme is tried."""
MEDIUM = 60_000
"""Variables up to which one programme is tried after all, where the search could not prove the gap asked for."""


@dataclass(frozen=True, eq=False)
class Solution:
    """A payable plan for `problem` and its proof.

    `blocks` are the problem's with identical ones joined; `block_of[t]` finds the joined block of an original one.
    """

    problem: Problem
    fleet: Fleet
    blocks: Blocks
    block_of: Ints
    hours: Dispatch
    cost_usd: float
    bound_usd: float
    proof: str
    """How the bound was had: `one programme` or `bounds on H unlike hours`."""
    stopped: bool = False
    """Whether Ctrl-C ended the search; then nothing more should be decided."""

    @property
    def gap(self) -> float:
        """Largest share by which a cheaper plan could undercut this one."""
        return max(0.0, (self.cost_usd - self.bound_usd) / abs(self.cost_usd)) if self.cost_usd else 0.0

    @property
    def unserved(self) -> Array:
        """Requests of each class that nobody serves, over the horizon."""
        return self.total("unserved", len(self.problem.classes))

    def total(self, family: str, count: int) -> Array:
        """Weighted sum over the horizon of one family of variables by its first index."""
        totals = np.zeros(count)
        sums = self.blocks.weight_h @ self.hours.values
        for (name, key), value in zip(self.hours.matrix.columns, sums, strict=True):
            if name == family:
                totals[key[0]] += value
        return totals


def joined(problem: Problem) -> tuple[Blocks, Ints]:
    """The problem's blocks with identical ones joined, and which stands for each.

    Where an offer has minimum hours or a start-up, time matters: nothing is joined, and blocks that are not single
    hours raise ValueError.
    """
    if not takes_time(problem):
        return merge_identical(problem.blocks)
    if (problem.blocks.weight_h != 1).any():
        raise ValueError("with minimum hours or start-up every block is one hour, in time order")
    return problem.blocks, np.arange(len(problem.blocks))


def in_time(hours: Hours, fleet: Fleet, settled: Dispatch) -> Dispatch:
    """What time asks of a plan beyond its hours one by one: models kept warm, units kept on."""
    blocks = hours.problem.blocks
    settled = keep_warm(hours, fleet, blocks, settled)
    return keep_running(hours, fleet, blocks, settled) if takes_time(hours.problem) else settled


def solve(
    problem: Problem,
    *,
    gap: float = 0.005,
    time_limit_s: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Solution:
    """The cheapest plan to a relative `gap`, or the best found in about `time_limit_s` with its honest gap.

    Minimum hours and start-up are in the plan, not in the bound; idle hours of warm models are in both where they must
    be (`presence.py`). Ctrl-C ends the search as the time limit does. Raises `ImpossibleError` when what exists already
    breaks a stock or site limit. Same problem, limits not hit: same plan.
    """
    end = clock() + time_limit_s
    blocks, block_of = joined(problem)
    merged = problem.with_blocks(blocks)
    counted = in_units(merged)
    asked = with_presence(counted)
    search = Search(asked, gap, end, clock, progress)
    stopped = False
    try:
        if search.variables() <= SMALL:
            search.one_programme()
        if search.gap() > gap:
            search.decompose()
        if search.gap() > gap and SMALL < search.variables() <= MEDIUM and clock() < end:
            search.one_programme()
    except KeyboardInterrupt:
        if not math.isfinite(search.bound):
            raise
        stopped = True
    plan = search.best()
    of_hours = search.hours if asked is counted else Hours(counted)
    payable = without(of_hours, plan.fleet, plan.hours)
    hours = in_requests(in_time(of_hours, plan.fleet, payable), work_unit(merged))
    cost = fleet_usd(problem, plan.fleet) + hours_usd(problem, blocks, hours.usd_per_h)
    bound = search.bound - slack_usd(counted, asked)
    bound = min(bound, cost) if bound <= cost + _ROUNDING * abs(cost) else bound
    return Solution(problem, plan.fleet, blocks, block_of, hours, cost, bound, search.proof, stopped)
