"""Whole units on demand: what an hour costs when GPUs are rented by the whole replica and the whole unit.

`settle` turns a divisible dispatch into one that can be paid. Few hours are solved exactly, each as the whole-number
programme it is. Many start from the divisible answer rounded up, down and to the nearest, and then move: one replica
more here, one fewer there, all hours together by shared bases. The duals at the present number say what a move can save
at most (the hour's cost is convex in its replicas), so every hour tries its most promising move. Where moves end, trees
(`trees.py`) grown in the hours that miss most propose other numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from planner.dispatch import Dispatch, Hours, Priced, dispatch, right_hand_sides, same_prices
from planner.problem import Array, Blocks, Ints
from planner.reduced import Reduced, reduce
from planner.same_matrix import Flags, SameMatrix
from planner.shared_bases import lowest, solve_many
from planner.solver import Fleet, HourMatrix
from planner.trees import Asked, Hour, Steps, Terms, bounds, grow, nearest, promises, step, steps_from

SLACK = 1e-7
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


def settle(
    hours: Hours,
    fleet: Fleet,
    blocks: Blocks,
    priced: Priced,
    *,
    allowed_usd: float = 0.0,
    known: Dispatch | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> Dispatch:
    """The dispatch of `fleet` with whole on-demand replicas and units, never cheaper than the divisible one.

    With many hours the search for better whole numbers ends when all hours together can be shown to cost at most
    `allowed_usd` (present value) too much, when more trees no longer help, or when time is over; it begins with what is
    `known`.
    """
    divisible = priced.full
    rented = _Rented(hours, fleet, blocks)
    relaxed = divisible.values[:, rented.columns]
    rows = rented.fractional(relaxed)
    values = divisible.values.copy()
    if len(rows):
        inside = _Rented(hours, fleet, Blocks(blocks.epoch[rows], blocks.weight_h[rows], blocks.demand[rows]))
        if len(rows) <= _FEW:
            given = _exactly(inside)
            x = inside.solve(given, np.arange(len(rows))).x
        else:
            start = None if known is None else known.values[np.ix_(rows, rented.columns)]
            guess = _Guess(inside, relaxed[rows], divisible.usd_per_h[rows], allowed_usd, is_over)
            guess.search(start)
            given, x = guess.whole, guess.now.x
        values[rows] = inside.values(given, x)
    return rented.exactly_whole(divisible, values)


def can_rent(hours: Hours, fleet: Fleet, blocks: Blocks, wanted: Array) -> bool:
    """Whether there are units enough by the hour for the rented replicas of `wanted`."""
    rented = _Rented(hours, fleet, blocks)
    return bool(rented.fits(wanted[:, rented.columns], np.arange(len(blocks))).all())


def settled_as(hours: Hours, fleet: Fleet, blocks: Blocks, wanted: Array) -> Dispatch:
    """The dispatch with the rented replicas of `wanted` (a whole-number answer), priced anew."""
    divisible = dispatch(hours, fleet, blocks).full
    rented = _Rented(hours, fleet, blocks)
    given, values = wanted[:, rented.columns], divisible.values.copy()
    rows = np.flatnonzero((given != values[:, rented.columns]).any(axis=1))
    if len(rows):
        x = rented.solve(given[rows], rows).x
        values[rows] = rented.values(given[rows], x, rows)
    return rented.exactly_whole(divisible, values)


@dataclass(frozen=True, eq=False)
class _Hour:
    """Blocks with given rented replicas: USD per hour (infinite beyond the stock), answers and prices of capacity."""

    usd: Array
    x: Array
    replica_usd: Array


class _Rented:
    """The hour's programme with rented replicas on the right-hand side."""

    def __init__(self, hours: Hours, fleet: Fleet, blocks: Blocks) -> None:
        problem = hours.problem
        self.hours, self.blocks = hours, blocks
        self.matrix: HourMatrix = hours.matrix(fleet)
        self.columns, self.on = self.matrix.family("rented"), self.matrix.family("on")
        self.reduced: Reduced = reduce(problem, self.matrix, blocks, rent=False)
        self.base = right_hand_sides(self.matrix, blocks)
        keys = [self.matrix.columns[c][1] for c in self.columns]
        self.deployment = np.array([d for _, d in keys], dtype=np.intp)
        self.divisible = np.array([problem.deployments[d].divisible for d in self.deployment], dtype=bool)
        offers = [self.matrix.columns[c][1][0] for c in self.on]
        self.whole_units = np.array([problem.offers[o].whole for o in offers], dtype=bool)
        switched = self.matrix.rows_of("switched_on")
        self.units_per_replica = self.matrix.coefficients[np.ix_(switched, self.columns)]
        self.usd_per_unit = self.matrix.cost_usd[:, self.on]
        self.most = self._most()
        self.replicas = fleet.replicas
        discount = np.array([epoch.discount for epoch in problem.epochs])
        self.present_h = blocks.weight_h * discount[blocks.epoch]

    def columns_of(self, replicas: Array, rows: Ints) -> Array:
        """Replicas of every deployment as rented columns, from the cheapest offer first as far as its units go."""
        rented = np.zeros((len(rows), len(self.columns)))
        left, epoch = replicas.copy(), self.blocks.epoch[rows]
        room = self.most[epoch].copy()
        price = self.usd_per_unit[epoch].mean(axis=0) @ self.units_per_replica
        for column in np.argsort(price, kind="stable"):
            d, units = self.deployment[column], self.units_per_replica[:, column]
            o = int(np.flatnonzero(units)[0])
            fits = room[:, o] / units[o]
            rented[:, column] = np.minimum(left[:, d], fits if self.divisible[column] else np.floor(fits + SLACK))
            left[:, d] -= rented[:, column]
            room[:, o] = np.maximum(room[:, o] - rented[:, column] * units[o], 0.0)
        return rented

    def replicas_of(self, rented: Array) -> Array:
        """[t, d] replicas of every deployment, whoever rents them out."""
        replicas = np.zeros((len(rented), len(self.replicas)))
        np.add.at(replicas.T, self.deployment, rented.T)
        return replicas

    def steps(self) -> Steps:
        """One number a column: the replicas that one unit brings, or one; and what they take of scarce offers."""
        problem = self.hours.problem
        keys = [self.matrix.columns[c][1] for c in self.columns]
        limited = np.isfinite(self.most).any(axis=0)
        scarce = [self.matrix.columns[c][1][0] for c in self.on[limited]]
        return steps_from(problem, [(d, step(problem, d, [problem.offers[o]]), True, o) for o, d in keys], scarce)

    def _most(self) -> Array:
        matrix = self.matrix
        most = np.full((len(matrix.constant), len(self.on)), np.inf)
        for r in (*matrix.rows_of("committed"), *matrix.rows_of("on_demand_stock")):
            column = int(np.flatnonzero(matrix.coefficients[r, self.on])[0])
            most[:, column] = np.minimum(most[:, column], matrix.constant[:, r])
        return most

    def fractional(self, rented: Array) -> Ints:
        """Blocks in which something that must be whole is not."""
        off = np.abs(rented - np.round(rented)) > SLACK
        units = rented @ self.units_per_replica.T
        broken = (np.abs(units - np.round(units)) > SLACK) & self.whole_units
        return np.flatnonzero((off & ~self.divisible).any(axis=1) | broken.any(axis=1))

    def units(self, rented: Array) -> Array:
        """Units switched on for these replicas."""
        units = rented @ self.units_per_replica.T
        return np.where(self.whole_units, np.ceil(units - SLACK), units)

    def solve(self, rented: Array, rows: Ints) -> _Hour:
        """The blocks in `rows` with these replicas."""
        reduced, tariff = self.reduced, self.hours.tariff
        usd, b = self._fixed(rented, rows)
        x = np.zeros((len(rows), reduced.coefficients.shape[1]))
        replica = np.zeros((len(rows), len(tariff.gpus)))
        names = tuple(self.matrix.rows[r] for r in reduced.rows)
        for m, here in self._priced_alike(usd, rows):
            cost = reduced.cost_usd[m]
            optima = solve_many(reduced.coefficients, reduced.equality, cost, b[here], self.hours.bases_of(reduced))
            x[here] = optima.x
            usd[here] += optima.x @ cost
            prices = tariff.from_duals(m, names, optima.dual, rent=False)
            replica[here] = (prices.gpu_h * tariff.gpus)[optima.basis]
        return _Hour(usd, x, replica)

    def at_least(self, rented: Array, rows: Ints) -> Array:
        """What the blocks in `rows` cost at least with these replicas, as far as prices met before tell."""
        usd, b = self._fixed(rented, rows)
        reduced = self.reduced
        for m, here in self._priced_alike(usd, rows):
            bases = self.hours.bases_of(reduced)
            usd[here] += lowest(reduced.coefficients, reduced.equality, reduced.cost_usd[m], b[here], bases)
        return usd

    def fits(self, rented: Array, rows: Ints) -> Flags:
        """In which of the blocks in `rows` there are units enough for these replicas."""
        within = (self.units(rented) <= self.most[self.blocks.epoch[rows]] + SLACK).all(axis=1)
        return np.asarray(within & (rented >= 0).all(axis=1))

    def _fixed(self, rented: Array, rows: Ints) -> tuple[Array, Array]:
        """What these replicas cost by the hour (infinite beyond the stock), and the right-hand side that they leave."""
        usd = (self.units(rented) * self.usd_per_unit[self.blocks.epoch[rows]]).sum(axis=1)
        usd = np.where(self.fits(rented, rows), usd, np.inf)
        b = self.base[rows] - rented @ self.matrix.coefficients[:, self.columns].T
        return usd, b[:, self.reduced.rows]

    def _priced_alike(self, usd: Array, rows: Ints) -> Iterator[tuple[int, Ints]]:
        """Places in `rows` of the blocks that have a finite price so far, by price book."""
        for m, group in same_prices(self.matrix):
            here = np.flatnonzero(np.isfinite(usd) & np.isin(self.blocks.epoch[rows], group))
            if len(here):
                yield m, here

    def values(self, rented: Array, x: Array, rows: Ints | None = None) -> Array:
        """All columns of the blocks in `rows` (all of them without) from these replicas and the rest of the answer."""
        values = self.reduced.expand(self.blocks.epoch if rows is None else self.blocks.epoch[rows], x)
        values[:, self.columns] = rented
        return values

    def exactly_whole(self, divisible: Dispatch, values: Array) -> Dispatch:
        """A dispatch with these values, what is whole to a hair made so, and the units that the replicas take."""
        rented = values[:, self.columns]
        values[:, self.columns] = np.where(self.divisible, rented, np.round(rented))
        values[:, self.on] = self.units(values[:, self.columns])
        usd = (values * self.matrix.cost_usd[self.blocks.epoch]).sum(axis=1)
        return replace(divisible, values=values, usd_per_h=usd)


class _Guess:
    """Whole numbers for many hours: rounded, then moved, then proposed by trees, until little can be missing."""

    def __init__(
        self, rented: _Rented, relaxed: Array, least_usd: Array, allowed_usd: float, is_over: Callable[[], bool]
    ) -> None:
        self.rented, self.relaxed, self.least_usd = rented, relaxed, least_usd
        self.allowed_usd, self.is_over = allowed_usd, is_over

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
        for m, group in same_prices(self.rented.matrix):
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
        self.solver = Hour(rented.hours, rented.blocks, m, rented.steps(), rented.matrix)
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
        bound, promised = least_usd[here].copy(), np.full(len(here), np.inf)
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
                if not len(tree.points):  # no whole N was met on the way: the tree promises nothing
                    continue
                number, least = promises(self.solver, tree, few)
                lower = least < promised[rows]
                promised[rows[lower]], point[rows[lower]] = least[lower], number[lower]
            if count % _BATCH == _BATCH - 1:
                self._try(promised, point)
                promised[:] = np.inf
                reached.append(float(self.weight @ now.usd[here]))
                if len(reached) > 3 and reached[-3] - reached[-1] < self.allowed_usd / 2:
                    return
        self._try(promised, point)

    def _try(self, promised: Array, point: Array) -> None:
        rows = np.flatnonzero(promised < self.guess.now.usd[self.here] * (1 - 1e-4))
        if len(rows):
            self.guess.take(point[rows] * self.replicas, self.here[rows])


def _exactly(rented: _Rented) -> Array:
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
