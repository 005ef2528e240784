"""Whole units on demand: what an hour costs when GPUs are rented by the whole replica and the whole unit.

`settle` turns a divisible dispatch into one that can be paid. Few hours are solved exactly, each as the whole-number
programme it is. Many start from the divisible answer rounded up, down and to the nearest, and then move: one replica
more here, one fewer there, all hours together by shared bases. The duals at the present number say what a move can save
at most (the hour's cost is convex in its replicas), so every hour tries its most promising move. Where moves end, trees
(`trees.py`) grown in the hours that miss most propose other numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.dispatch import Dispatch, Hours, Priced, dispatch
from planner.problem import Array, Blocks, Ints
from planner.renting import SLACK, Rented
from planner.same_matrix import SameMatrix
from planner.solver import Fleet
from planner.trees import Asked, Hour, Terms, bounds, grow, nearest, promises

_FEW = 300
"""Hours up to which each is solved exactly."""
_MOST_TREES = 200
"""Trees for the hours of one price book."""
_NODES = 40
"""Nodes of a tree; with 12, a year at two GPUs kept a gap of 8.7 % where 40 left 0.2 %."""
_MOVES = 12
"""Rounds of moves."""
_HARDLY = 1e-5
"""A trial that can save no larger share of its hour is not solved."""
_MOST_OF, _WORTH_IT = 0.9, 0.03
"""Moves are tried in the hours that promise this share of what can be saved; a round that saves less is the last."""
_BATCH = 10
"""Trees after which their proposals are tried."""
_NEAR = 500
"""Hours that a tree is tried on."""


@dataclass(frozen=True, eq=False)
class Settled(Dispatch):
    """A dispatch in whole units; `least_usd_per_h[t]` is what the block costs at least with its fleet."""

    least_usd_per_h: Array


def settle(
    hours: Hours,
    fleet: Fleet,
    blocks: Blocks,
    priced: Priced,
    *,
    allowed_usd: float = 0.0,
    enough_usd: float = math.inf,
    known: Settled | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> Settled:
    """The dispatch of `fleet` with whole on-demand replicas and units, never cheaper than the divisible one.

    With many hours the search for better whole numbers ends when all hours together can be shown to cost at most
    `allowed_usd` (present value) too much, or `enough_usd` at least whatever the whole numbers; when more trees no
    longer help; or when time is over. It begins with what is `known`.
    """
    divisible = priced.full()
    rented = Rented(hours, fleet, blocks)
    relaxed = divisible.values[:, rented.columns]
    rows = rented.fractional(relaxed)
    values, least_usd = divisible.values, divisible.usd_per_h.copy()
    if len(rows):
        inside = Rented(hours, fleet, Blocks(blocks.epoch[rows], blocks.weight_h[rows], blocks.demand[rows]))
        if len(rows) <= _FEW:
            given = _exactly(inside)
            now = inside.solve(given, np.arange(len(rows)))
            x, least_usd[rows] = now.x, now.usd
        else:
            start = None if known is None else known.values[np.ix_(rows, rented.columns)]
            if known is not None:
                least_usd = np.maximum(least_usd, known.least_usd_per_h)
            outside_usd = float(rented.present_h @ least_usd) - float(inside.present_h @ least_usd[rows])
            until = _Until(allowed_usd, enough_usd - outside_usd, is_over)
            guess = _Guess(inside, relaxed[rows], least_usd[rows], until)
            guess.search(start)
            given, x, least_usd[rows] = guess.whole, guess.now.x, guess.least_usd
        values[rows] = inside.values(given, x)
    made = rented.exactly_whole(divisible, values)
    return Settled(made.matrix, made.values, made.usd_per_h, made.marginal_usd, least_usd)


def can_rent(hours: Hours, fleet: Fleet, blocks: Blocks, wanted: Array) -> bool:
    """Whether there are units enough by the hour for the rented replicas of `wanted`."""
    rented = Rented(hours, fleet, blocks)
    return bool(rented.fits(wanted[:, rented.columns], np.arange(len(blocks))).all())


def settled_as(hours: Hours, fleet: Fleet, blocks: Blocks, wanted: Array) -> Dispatch:
    """The dispatch with the rented replicas of `wanted` (a whole-number answer), priced anew."""
    divisible = dispatch(hours, fleet, blocks).full()
    rented = Rented(hours, fleet, blocks)
    given, values = wanted[:, rented.columns], divisible.values
    rows = np.flatnonzero((given != values[:, rented.columns]).any(axis=1))
    if len(rows):
        x = rented.solve(given[rows], rows).x
        values[rows] = rented.values(given[rows], x, rows)
    return rented.exactly_whole(divisible, values)


@dataclass(frozen=True)
class _Until:
    """When the search for whole numbers ends: see `settle`."""

    allowed_usd: float
    enough_usd: float
    is_over: Callable[[], bool]


class _Guess:
    """Whole numbers for many hours: rounded, then moved, then proposed by trees, until little can be missing."""

    def __init__(self, rented: Rented, relaxed: Array, least_usd: Array, until: _Until) -> None:
        self.rented, self.relaxed, self.least_usd = rented, relaxed, least_usd
        self.allowed_usd, self.until = until.allowed_usd, until

    def search(self, start: Array | None) -> None:
        """From `start`, or rounded, to the end of what helps."""
        rented, relaxed, everything = self.rented, self.relaxed, np.arange(len(self.relaxed))
        wanted = rented.replicas_of(relaxed)
        roundings = (np.ceil(wanted - SLACK), np.round(wanted), np.floor(wanted + SLACK), 0 * wanted)
        divisible = np.array([d.divisible for d in rented.hours.problem.deployments], dtype=bool)
        trials = [rented.columns_of(np.where(divisible, wanted, whole), everything) for whole in roundings]
        self.whole = trials[0] if start is None else start
        self.now = rented.solve(self.whole, everything)
        for trial in trials[1:] if start is None else ():
            self.take(trial, everything)
        self._move()
        self._grow()

    @property
    def missing(self) -> Array:
        """[t] what each block may cost too much, present value."""
        missing: Array = self.rented.present_h * (self.now.usd - self.least_usd)
        return missing

    def is_over(self) -> bool:
        """Whether time is, or all blocks together are known to cost so much that nobody wants to know more."""
        return float(self.rented.present_h @ self.least_usd) >= self.until.enough_usd or self.until.is_over()

    def take(self, trial: Array, rows: Ints) -> Ints:
        """Put `trial` in place wherever it is cheaper; returns where."""
        now, changed = self.now, np.flatnonzero((trial != self.whole[rows]).any(axis=1))
        if not len(changed):
            return rows[:0]
        hopeful = self.rented.at_least(trial[changed], rows[changed]) < now.usd[rows[changed]] * (1 - _HARDLY)
        changed = changed[hopeful]
        solved = self.rented.solve(trial[changed], rows[changed])
        better = np.flatnonzero(solved.usd < now.usd[rows[changed]] * (1 - 1e-9))
        place = rows[changed][better]
        self.whole[place] = trial[changed][better]
        now.usd[place], now.x[place] = solved.usd[better], solved.x[better]
        now.replica_usd[place] = solved.replica_usd[better]
        return place

    def _move(self) -> None:
        """One replica more or fewer, where the prices of capacity promise most, until it no longer helps."""
        rented = self.rented
        everything, count = np.arange(len(self.whole)), self.whole.shape[1]
        price = rented.usd_per_unit[rented.blocks.epoch] @ rented.units_per_replica
        tried = np.zeros((len(self.whole), 2 * count), dtype=bool)
        before = float(self.missing.sum())
        for _ in range(_MOVES):
            saved = np.where(rented.divisible, 0.0, self.now.replica_usd[:, rented.deployment] - price)
            saved = np.hstack([saved, np.where(self.whole > SLACK, -saved, 0.0)])
            saved[tried] = 0.0
            move = np.argmax(saved, axis=1)
            at_most = np.minimum(saved[everything, move], self.now.usd - self.least_usd) * rented.present_h
            order = np.argsort(-at_most, kind="stable")
            rows = order[: int(np.searchsorted(np.cumsum(at_most[order]), _MOST_OF * at_most.sum())) + 1]
            trial = self.whole[rows]
            trial[np.arange(len(rows)), move[rows] % count] += np.where(move[rows] < count, 1.0, -1.0)
            tried[rows, move[rows]] = True
            tried[self.take(trial, rows)] = False
            missing = float(self.missing.sum())
            if missing <= self.allowed_usd or missing > (1 - _WORTH_IT) * before or self.is_over():
                return
            before = missing

    def _grow(self) -> None:
        """Trees for one price book after the other, until all hours together miss no more than is allowed."""
        for m, group in self.rented.matrix.price_books:
            here, missing = np.flatnonzero(np.isin(self.rented.blocks.epoch, group)), self.missing
            if len(here) and missing.sum() > self.allowed_usd:
                share = float(missing[here].sum() / missing.sum())
                _Growth(self, m, here, self.allowed_usd * share).run(self.relaxed)


class _Growth:
    """Trees for the hours of one price book, until what is known to be missing is little."""

    def __init__(self, guess: _Guess, m: int, here: Ints, allowed_usd: float) -> None:
        rented = guess.rented
        self.guess, self.rented, self.m, self.here, self.allowed_usd = guess, rented, m, here, allowed_usd
        self.problem = rented.hours.problem
        self.solver = Hour(rented.hours, m, rented.steps(), rented.reduced)
        self.replicas = self.solver.steps.replicas
        self.demand, self.weight = rented.blocks.demand[here], rented.present_h[here]
        self.epochs = rented.blocks.epoch[here]

    def terms(self, epoch: int) -> Terms:
        """The price of a step of every column, the units there are of what is scarce, and the replicas there."""
        rented = self.rented
        usd = rented.usd_per_unit[epoch] @ rented.units_per_replica * self.replicas
        limits = rented.most[epoch, np.isfinite(rented.most).any(axis=0)]
        return Terms(usd, np.ones(len(usd), dtype=bool), limits, rented.replicas[:, epoch])

    def run(self, relaxed: Array) -> None:
        here, now, least_usd = self.here, self.guess.now, self.guess.least_usd
        reference = relaxed[here] / self.replicas
        parts = [
            (mine, Asked(self.m, self.terms(int(epoch)), self.demand[mine], reference[mine]))
            for epoch in np.unique(self.epochs)
            for mine in [np.flatnonzero(self.epochs == epoch)]
        ]
        bound, promised = least_usd[here], np.full(len(here), np.inf)
        point = np.zeros(reference.shape)
        tried = np.zeros(len(here), dtype=bool)
        reached = []
        for count in range(_MOST_TREES):
            missing = self.weight * (now.usd[here] - bound)
            if tried.all() or missing.sum() <= self.allowed_usd or self.guess.is_over():
                break
            t = int(np.argmax(np.where(tried, -1.0, missing)))
            tried[t] = True
            enough = float(now.usd[here[t]]) - self.allowed_usd / float(self.weight.sum())
            tree = grow(self.solver, self.demand[t], self.terms(int(self.epochs[t])), reference[t], enough=enough,
                        nodes=_NODES)  # fmt: skip
            for mine, asked in parts:
                near = nearest(self.solver, tree, asked, _NEAR)
                rows, few = mine[near], asked.take(near)
                bound[rows] = np.maximum(bound[rows], bounds(self.solver, tree, few))
                least_usd[here[rows]] = bound[rows]
                if not len(tree.points):  # no whole N was met on the way: the tree promises nothing
                    continue
                number, least = promises(self.solver, tree, few)
                lower = least < promised[rows]
                promised[rows[lower]], point[rows[lower]] = least[lower], number[lower]
            if count % _BATCH == _BATCH - 1:
                self._try(promised, point)
                promised[:] = np.inf
                reached.append(float(self.weight @ (now.usd[here] - bound)))
                if len(reached) > 3 and reached[-3] - reached[-1] < self.allowed_usd / 2:
                    return
        self._try(promised, point)

    def _try(self, promised: Array, point: Array) -> None:
        rows = np.flatnonzero(promised < self.guess.now.usd[self.here] * (1 - 1e-4))
        if len(rows):
            self.guess.take(point[rows] * self.replicas, self.here[rows])


def _exactly(rented: Rented) -> Array:
    """Every block as its own whole-number programme."""
    matrix = rented.matrix
    whole = np.zeros(len(matrix.columns), dtype=bool)
    whole[rented.columns], whole[rented.on] = ~rented.divisible, rented.whole_units
    programme = SameMatrix(matrix.coefficients, matrix.equality, matrix.cost_usd[0], tolerance=1e-7, whole=whole)
    found = np.zeros((len(rented.blocks), len(rented.columns)))
    for t, b in enumerate(rented.base):
        programme.right_hand_side(b)
        programme.prices(np.arange(len(matrix.columns)), matrix.cost_usd[rented.blocks.epoch[t]])
        values = programme.solve()[1][rented.columns]
        found[t] = np.where(rented.divisible, np.maximum(values, 0.0), np.round(values))
    return found
