"""Whole units on demand: what an hour costs when GPUs are rented by the whole replica and the whole unit.

`settle` turns a divisible dispatch into one that can be paid. Few hours are solved exactly, each as the whole-number
programme it is. Many start from the divisible answer rounded up, down and to the nearest, and then move: one replica
more here, one fewer there. The duals at the present number say what a move can save at most (the hour's cost is convex
in its replicas), so only hours in which that is something are tried again, all together, by shared bases.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planner.dispatch import Dispatch, Hours, Priced, dispatch, right_hand_sides, same_prices
from planner.problem import Array, Blocks, Ints
from planner.reduced import Reduced, reduce
from planner.same_matrix import SameMatrix
from planner.shared_bases import solve_many
from planner.solver import Fleet, HourMatrix
from planner.trees import Asked, Hour, Terms, bounds, grow, nearest, promises

SLACK = 1e-7
_FEW = 300
_MOST_TREES = 200
_NODES = 40
_BATCH = 10
_NEAR = 500


def settle(hours: Hours, fleet: Fleet, blocks: Blocks, priced: Priced, allowed_usd: float = 0.0) -> Dispatch:
    """The dispatch of `fleet` with whole on-demand replicas and units, never cheaper than the divisible one.

    With many hours the search for better whole numbers ends when all hours together can be shown to cost at most
    `allowed_usd` (present value) too much, or when more trees no longer help.
    """
    divisible = priced.full
    rented = _Rented(hours, fleet, blocks)
    relaxed = divisible.values[:, rented.columns]
    fractional = rented.fractional(relaxed)
    given = relaxed.copy()
    if not len(fractional):
        return rented.dispatch(given, divisible, fractional)
    part = Blocks(blocks.epoch[fractional], blocks.weight_h[fractional], blocks.demand[fractional])
    inside = _Rented(hours, fleet, part)
    if len(part) <= _FEW:
        given[fractional] = _exactly(inside)
    else:
        given[fractional] = _guessed(inside, relaxed[fractional], divisible.usd_per_h[fractional], allowed_usd)
    return rented.dispatch(given, divisible, fractional)


def settled_as(hours: Hours, fleet: Fleet, blocks: Blocks, values: Array) -> Dispatch:
    """The dispatch with the rented replicas of `values` (a whole-number answer), priced anew."""
    priced = dispatch(hours, fleet, blocks)
    rented = _Rented(hours, fleet, blocks)
    given = values[:, rented.columns]
    changed = np.flatnonzero((given != priced.full.values[:, rented.columns]).any(axis=1))
    return rented.dispatch(given, priced.full, changed)


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
            fits = np.floor(room[:, o] / units[o] + SLACK)
            rented[:, column] = np.minimum(left[:, d], fits)
            left[:, d] -= rented[:, column]
            room[:, o] -= rented[:, column] * units[o]
        return rented

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
        epoch, reduced, tariff = self.blocks.epoch[rows], self.reduced, self.hours.tariff
        units = self.units(rented)
        fits = ((units <= self.most[epoch] + SLACK) & (rented.min(axis=1, keepdims=True) >= 0)).all(axis=1)
        usd = np.where(fits, (units * self.usd_per_unit[epoch]).sum(axis=1), np.inf)
        x = np.zeros((len(rows), reduced.coefficients.shape[1]))
        replica = np.zeros((len(rows), len(tariff.gpus)))
        names = tuple(self.matrix.rows[r] for r in reduced.rows)
        b = self.base[rows] - rented @ self.matrix.coefficients[:, self.columns].T
        for m, group in same_prices(self.matrix):
            here = np.flatnonzero(fits & np.isin(epoch, group))
            if len(here):
                optima = solve_many(reduced.coefficients, reduced.equality, reduced.cost_usd[m],
                                    b[here][:, reduced.rows], self.hours.bases_of(reduced))  # fmt: skip
                x[here] = optima.x
                usd[here] += optima.x @ reduced.cost_usd[m]
                prices = tariff.from_duals(m, names, optima.dual, rent=False)
                replica[here] = (prices.gpu_h * tariff.gpus)[optima.basis]
        return _Hour(usd, x, replica)

    def dispatch(self, rented: Array, divisible: Dispatch, changed: Ints) -> Dispatch:
        """The divisible dispatch, changed blocks as they are with these replicas; what is whole to a hair, exactly."""
        values = divisible.values.copy()
        if len(changed):
            solved = self.solve(rented[changed], changed)
            values[changed] = self.reduced.expand(self.blocks.epoch[changed], solved.x)
        rented = np.where(self.divisible, rented, np.round(rented))
        values[:, self.columns] = rented
        values[:, self.on] = self.units(rented)
        usd = (values * self.matrix.cost_usd[self.blocks.epoch]).sum(axis=1)
        return replace(divisible, values=values, usd_per_h=usd)


def _guessed(rented: _Rented, relaxed: Array, priced_usd: Array, allowed_usd: float) -> Array:
    """Rounded up, down and to the nearest; then whole numbers from trees grown where most is missing."""
    everything = np.arange(len(relaxed))
    whole = np.where(rented.divisible, relaxed, np.ceil(relaxed - SLACK))
    now = rented.solve(whole, everything)
    for rounding in (np.floor(relaxed + SLACK), np.round(relaxed)):
        trial = np.where(rented.divisible, relaxed, rounding)
        _take(rented, whole, now, trial, everything)
    missing = rented.present_h * (now.usd - priced_usd)
    for m, group in same_prices(rented.matrix):
        here = np.flatnonzero(np.isin(rented.blocks.epoch, group))
        if len(here):
            share = float(missing[here].sum()) / max(float(missing.sum()), 1e-300)
            _Growth(rented, m, here, allowed_usd * share).run(whole, now, relaxed, priced_usd)
    return whole


class _Growth:
    """Trees for the hours of one price book, until what is known to be missing is little."""

    def __init__(self, rented: _Rented, m: int, here: Ints, allowed_usd: float) -> None:
        self.rented, self.m, self.here, self.allowed_usd = rented, m, here, allowed_usd
        self.problem = rented.hours.problem
        self.solver = Hour(rented.hours, rented.blocks, m, rented.matrix)
        self.step = self.solver.steps
        self.demand, self.weight = rented.blocks.demand[here], rented.present_h[here]
        self.epochs = rented.blocks.epoch[here]

    def terms(self, epoch: int) -> Terms:
        """The cheapest price of a step of every deployment, and the replicas that are there."""
        rented = self.rented
        price = rented.usd_per_unit[epoch] @ rented.units_per_replica
        usd = np.full(len(self.step), np.inf)
        np.minimum.at(usd, rented.deployment, price)
        most = np.where(np.isfinite(usd), np.inf, 0.0)
        return Terms(np.where(np.isfinite(usd), usd, 0.0) * self.step, most, rented.replicas[:, epoch])

    def run(self, whole: Array, now: _Hour, relaxed: Array, least_usd: Array) -> None:
        here = self.here
        reference = np.zeros((len(here), len(self.step)))
        for column, d in enumerate(self.rented.deployment):
            reference[:, d] += relaxed[here, column] / self.step[d]
        parts = [
            (mine, Asked(self.m, self.terms(int(epoch)), self.demand[mine], reference[mine]))
            for epoch in np.unique(self.epochs)
            for mine in [np.flatnonzero(self.epochs == epoch)]
        ]
        bound, guess = least_usd[here].copy(), np.full(len(here), np.inf)
        point = np.zeros((len(here), len(self.step)))
        tried = np.zeros(len(here), dtype=bool)
        reached = []
        for count in range(_MOST_TREES):
            missing = self.weight * (now.usd[here] - bound)
            if tried.all() or missing.sum() <= self.allowed_usd:
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
                number, least = promises(self.solver, tree, few)
                lower = least < guess[rows]
                guess[rows[lower]], point[rows[lower]] = least[lower], number[lower]
            if count % _BATCH == _BATCH - 1:
                self._try(whole, now, guess, point)
                guess[:] = np.inf
                reached.append(float(self.weight @ now.usd[here]))
                if len(reached) > 3 and reached[-3] - reached[-1] < self.allowed_usd / 2:
                    return
        self._try(whole, now, guess, point)

    def _try(self, whole: Array, now: _Hour, guess: Array, point: Array) -> None:
        rows = np.flatnonzero(guess < now.usd[self.here] * (1 - 1e-4))
        if len(rows):
            trial = self.rented.columns_of(point[rows] * self.step, self.here[rows])
            _take(self.rented, whole, now, trial, self.here[rows])


def _take(rented: _Rented, whole: Array, now: _Hour, trial: Array, rows: Ints) -> Ints:
    """Put `trial` in place wherever it is cheaper (`whole` and `now` change in place); returns where."""
    changed = np.flatnonzero((trial != whole[rows]).any(axis=1))
    if not len(changed):
        return rows[:0]
    solved = rented.solve(trial[changed], rows[changed])
    better = np.flatnonzero(solved.usd < now.usd[rows[changed]] * (1 - 1e-9))
    place = rows[changed][better]
    whole[place] = trial[changed][better]
    now.usd[place] = solved.usd[better]
    return place


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
