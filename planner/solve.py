"""Problem -> Solution: a fleet, who serves what in every block, and how far at most it is from the best.

Two ways, one result. A problem whose programme is small is solved as that one programme, whole on-demand units and
all. A larger one is solved by adaptive partition: a master over clusters of hours bounds the cost from below
(`partition.py`), its fleet is dispatched over every hour (`dispatch.py`), and clusters are split until both agree. In
both, the plan is what `dispatch.settle` made payable, and the gap printed is (plan - bound) / plan.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.dispatch import Dispatch, Hours, dispatch, settle
from planner.partition import cluster, first_partition, split
from planner.problem import Array, Blocks, Ints, Problem, merge_identical
from planner.programme import Relax, build
from planner.solver import Answer, Fleet, solve_programme
from planner.units import in_units

SMALL = 6_000
"""Variables up to which one programme is tried."""
_ROUNDS = 25


@dataclass(frozen=True)
class Progress:
    """Where the search stands; `clusters` 0 means one programme."""

    bound_usd: float
    plan_usd: float
    clusters: int


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
    """How the bound was had: `one programme` or `N clusters of H hours`."""

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


class ImpossibleError(Exception):
    """No plan satisfies the problem's rules (stock, site limits)."""


def solve(
    problem: Problem,
    *,
    gap: float = 0.005,
    time_limit_s: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Solution:
    """The cheapest plan to a relative `gap`, or the best found in about `time_limit_s` with its honest gap.

    Raises `ImpossibleError` when what exists already breaks a stock or site limit. Same problem, limits not hit:
    same plan.
    """
    end = clock() + time_limit_s
    blocks, block_of = merge_identical(problem.blocks)
    search = _Search(problem.with_blocks(blocks), gap, end, clock, progress)
    if search.variables() <= SMALL:
        search.one_programme()
    if search.gap() > gap:
        search.partition()
    fleet, hours, cost = search.best()
    return Solution(problem, fleet, blocks, block_of, hours, cost, search.bound, search.proof)


def fleet_usd(problem: Problem, fleet: Fleet) -> float:
    """Present value of everything bought, fixed charges included."""
    costs: list[float] = []
    for (o, m), units in np.ndenumerate(fleet.buy):
        if units:
            costs.append(float(units) * sum(usd for _, usd in problem.unit_cost(problem.offers[o], m)))
    active = problem.active_units(fleet.buy)
    index = {offer.name: o for o, offer in enumerate(problem.offers)}
    for charge in problem.fixed_charges:
        owed = active[[index[name] for name in charge.offers]].sum(axis=0) > 0
        costs += [problem.fixed_usd(charge, int(m)) for m in np.flatnonzero(owed)]
    return math.fsum(costs)


def hours_usd(problem: Problem, blocks: Blocks, usd_per_h: Array) -> float:
    """Present value of the hours."""
    discount = np.array([epoch.discount for epoch in problem.epochs])
    return math.fsum(blocks.weight_h * discount[blocks.epoch] * usd_per_h)


class _Search:
    def __init__(
        self,
        problem: Problem,
        gap: float,
        end: float,
        clock: Callable[[], float],
        progress: Callable[[Progress], None],
    ) -> None:
        self.problem, self.wanted, self.end, self.clock, self.progress = problem, gap, end, clock, progress
        self.hours = Hours(problem)
        self.bound = -math.inf
        self.proof = "no bound"
        self.plan_usd = math.inf
        self.plan: tuple[Fleet, Dispatch] | None = None

    def variables(self) -> int:
        """Size of the one programme."""
        return len(self.problem.blocks) * len(self.hours.matrix(self._nothing()).columns)

    def gap(self) -> float:
        """Relative distance of plan and bound."""
        return (
            (self.plan_usd - self.bound) / abs(self.plan_usd)
            if math.isfinite(self.plan_usd) and self.plan_usd
            else math.inf
        )

    def left_s(self) -> float:
        """Seconds until the time limit, at least a little."""
        return max(1.0, self.end - self.clock())

    def one_programme(self) -> None:
        """Whole numbers everywhere; HiGHS's bound is the proof."""
        answer = solve_programme(build(in_units(self.problem)), gap=self.wanted / 2, time_limit_s=self.left_s() / 2)
        self._bound(answer, "one programme")
        if answer.fleet is not None:
            self._settled(answer.fleet, known=answer.values)
        self.progress(Progress(self.bound, self.plan_usd, 0))

    def partition(self) -> None:
        """Master over clusters at their mean; split; until bound and plan agree, or time or rounds are over."""
        blocks = self.problem.blocks
        labels = first_partition(blocks, self._importance())
        best_divisible = math.inf
        for _ in range(_ROUNDS):
            clustered = cluster(blocks, labels)
            master = build(in_units(self.problem.with_blocks(clustered)), Relax(hours=True))
            answer = solve_programme(master, gap=self.wanted / 5, time_limit_s=self.left_s())
            self._bound(answer, f"{len(clustered)} clusters of {len(blocks)} hours")
            if answer.fleet is None:
                break
            divisible = dispatch(self.hours, answer.fleet, blocks)
            usd = fleet_usd(self.problem, answer.fleet) + hours_usd(self.problem, blocks, divisible.usd_per_h)
            if usd < best_divisible:
                best_divisible = usd
                self._settled(answer.fleet, divisible)
            self.progress(Progress(self.bound, self.plan_usd, len(clustered)))
            near = best_divisible - self.bound <= self.wanted / 3 * abs(best_divisible)
            if near or self.gap() <= self.wanted or self.clock() >= self.end:
                break
            means = dispatch(self.hours, answer.fleet, clustered)
            finer = split(blocks, labels, divisible, means, enough=0.1)
            if finer.max() == labels.max():
                break
            labels = finer

    def best(self) -> tuple[Fleet, Dispatch, float]:
        """The plan found."""
        if self.plan is None:
            raise ImpossibleError("no plan was found in the time given")
        return (*self.plan, self.plan_usd)

    def _settled(self, fleet: Fleet, divisible: Dispatch | None = None, known: Array | None = None) -> None:
        blocks = self.problem.blocks
        divisible = divisible or dispatch(self.hours, fleet, blocks)
        settled = settle(self.hours, blocks, divisible, known)
        usd = fleet_usd(self.problem, fleet) + hours_usd(self.problem, blocks, settled.usd_per_h)
        if usd < self.plan_usd:
            self.plan, self.plan_usd = (fleet, settled), usd

    def _bound(self, answer: Answer, proof: str) -> None:
        if answer.status == "infeasible":
            raise ImpossibleError("no fleet satisfies the stock and site limits")
        if answer.bound_usd > self.bound:
            self.bound, self.proof = answer.bound_usd, proof

    def _nothing(self) -> Fleet:
        epochs = len(self.problem.epochs)
        return Fleet(np.zeros((len(self.problem.offers), epochs)), np.zeros((len(self.problem.deployments), epochs)))

    def _importance(self) -> Array:
        """A scale for demand: the cheapest API price, else GPU time, else one, per class."""
        problem = self.problem
        scale = np.ones(len(problem.classes))
        for k in range(len(problem.classes)):
            prices = [e.usd_per_request[k] for e in problem.endpoints if e.usd_per_request[k] is not None]
            times = [d.gpu_h_per_request[k] for d in problem.deployments if d.gpu_h_per_request[k] is not None]
            scale[k] = min((value for value in (times or prices) if value is not None), default=1.0)
        return scale
