"""The hours of a fleet with so many replicas rented: what they cost, who serves, and what one replica more is worth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from planner.dispatch import Dispatch, Hours, right_hand_sides
from planner.problem import Array, Blocks, Ints
from planner.reduced import Reduced, reduce
from planner.same_matrix import Flags
from planner.shared_bases import lowest, solve_many
from planner.solver import Fleet, HourMatrix
from planner.steps import Steps, step, steps_from

SLACK = 1e-7


@dataclass(frozen=True, eq=False)
class Given:
    """Blocks with given rented replicas: USD per hour (infinite beyond the stock), answers and prices of capacity."""

    usd: Array
    x: Array
    replica_usd: Array


class Rented:
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
        """[m, o] units that can be on: whole ones where units are whole, however much of one there is beyond."""
        matrix = self.matrix
        most = np.full((len(matrix.constant), len(self.on)), np.inf)
        for r in (*matrix.rows_of("committed"), *matrix.rows_of("on_demand_stock")):
            column = int(np.flatnonzero(matrix.coefficients[r, self.on])[0])
            most[:, column] = np.minimum(most[:, column], matrix.constant[:, r])
        return np.where(self.whole_units, np.floor(most + SLACK), most)

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

    def solve(self, rented: Array, rows: Ints) -> Given:
        """The blocks in `rows` with these replicas."""
        reduced, tariff = self.reduced, self.hours.tariff
        usd, b = self._fixed(rented, rows)
        x = np.zeros((len(rows), reduced.coefficients.shape[1]))
        replica = np.zeros((len(rows), len(tariff.gpus)))
        for m, here in self._priced_alike(usd, rows):
            cost = reduced.cost_usd[m]
            optima = solve_many(reduced.coefficients, reduced.equality, cost, b[here], self.hours.bases_of(reduced))
            x[here] = optima.x
            usd[here] += optima.x @ cost
            prices = tariff.from_duals(m, reduced.names, optima.dual, rent=False)
            replica[here] = (prices.gpu_h * tariff.gpus)[optima.basis]
        return Given(usd, x, replica)

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
        return usd, self.reduced.right_hand_side(b)

    def _priced_alike(self, usd: Array, rows: Ints) -> Iterator[tuple[int, Ints]]:
        """Places in `rows` of the blocks that have a finite price so far, by price book."""
        for m, group in self.matrix.price_books:
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
