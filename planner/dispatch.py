"""With the fleet fixed, every hour is the same small programme with another right-hand side: solve them all.

`Hours` reads that small programme off the stated one (`solver.hour_matrix`), so the mathematics stands in
`programme.py` only. `dispatch` solves every block by shared bases with on-demand units divisible; `settle` then makes
them whole: from the rounded-up answer it takes away and adds one replica at a time wherever that makes the hour
cheaper, all hours together, until nothing does. A settled dispatch is a plan that can be paid; the divisible one is a
bound for this fleet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planner.problem import Array, Blocks, Ints, Problem
from planner.shared_bases import Bases, Optima, solve_many
from planner.solver import Fleet, HourMatrix, hour_form

_PASSES = 6
_SLACK = 1e-7


@dataclass(frozen=True, eq=False)
class Dispatch:
    """Who serves what in every block.

    `values[t, c]` in the order of `matrix.columns` (requests or units per hour), `usd_per_h[t]` undiscounted,
    `marginal_usd[t, k]` the cost of one more request of class k in that block (fleet fixed, hours divisible).
    """

    matrix: HourMatrix
    values: Array
    usd_per_h: Array
    marginal_usd: Array
    basis: Ints


class Hours:
    """The hour's programme for every epoch, and the bases already found for it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.form = hour_form(problem)
        self.bases: dict[str, Bases] = {"divisible": Bases(), "settled": Bases()}

    def matrix(self, fleet: Fleet) -> HourMatrix:
        """The matrix with `fleet` on the right-hand side."""
        return self.form.matrix(fleet)


def dispatch(hours: Hours, fleet: Fleet, blocks: Blocks) -> Dispatch:
    """The cheapest way to serve every block with `fleet`, on-demand units divisible."""
    matrix = hours.matrix(fleet)
    values = np.zeros((len(blocks), len(matrix.columns)))
    usd, marginal = np.zeros(len(blocks)), np.zeros((len(blocks), len(hours.problem.classes)))
    basis = np.zeros(len(blocks), dtype=np.intp)
    seen = 0
    for rows, cost, optima in _by_price(matrix, blocks, _right_hand_sides(matrix, blocks), hours.bases["divisible"]):
        values[rows], usd[rows] = optima.x, optima.x @ cost
        marginal[rows] = optima.dual[optima.basis, : marginal.shape[1]]
        basis[rows] = optima.basis + seen
        seen += len(optima.dual)
    return Dispatch(matrix, values, usd, marginal, basis)


def settle(hours: Hours, blocks: Blocks, divisible: Dispatch, known: Array | None = None) -> Dispatch:
    """The dispatch with whole on-demand replicas and units, never cheaper than the divisible one.

    `known` holds values of all columns whose replicas are tried too: what a solver found with them whole.
    """
    settling = _Settling(hours, blocks, divisible)
    if not len(settling.rented):
        return divisible
    relaxed = divisible.values[:, settling.rented]
    whole = np.where(settling.divisible, relaxed, np.ceil(relaxed - _SLACK))
    usd = settling.cost(whole)
    floor = np.where(settling.divisible, relaxed, np.floor(relaxed + _SLACK))
    settling.take(whole, usd, floor)
    if known is not None:
        settling.take(whole, usd, known[:, settling.rented].copy())
    used = np.flatnonzero((relaxed > _SLACK).any(axis=0) & ~settling.divisible)
    for column in used:
        without = whole.copy()
        without[:, column] = 0.0
        settling.take(whole, usd, without)
    for _ in range(_PASSES):
        improved = False
        for column in used:
            for step in (-1.0, 1.0):
                trial = whole.copy()
                trial[:, column] += step
                improved |= settling.take(whole, usd, trial)
        if not improved:
            break
    return settling.result(whole)


class _Settling:
    """The hour's programme with rented replicas moved to the right-hand side."""

    def __init__(self, hours: Hours, blocks: Blocks, divisible: Dispatch) -> None:
        matrix, problem = divisible.matrix, hours.problem
        self.hours, self.blocks, self.dispatch = hours, blocks, divisible
        self.rented, self.on = matrix.family("rented"), matrix.family("on")
        self.free = np.setdiff1d(np.arange(len(matrix.columns)), np.concatenate([self.rented, self.on]))
        names = [row.split(".", 1)[0] for row in matrix.rows]
        self.kept = np.array([name not in ("switched_on", "committed", "on_demand_stock") for name in names])
        self.base = _right_hand_sides(matrix, blocks)
        deployments = [problem.deployments[d] for _, (_, d) in (matrix.columns[c] for c in self.rented)]
        self.divisible = np.array([deployment.divisible for deployment in deployments], dtype=bool)
        offers = [problem.offers[o] for _, (o,) in (matrix.columns[c] for c in self.on)]
        self.whole_units = np.array([offer.whole for offer in offers], dtype=bool)
        switched = np.array([r for r, name in enumerate(names) if name == "switched_on"], dtype=np.intp)
        self.units_per_replica = matrix.coefficients[np.ix_(switched, self.rented)]
        self.most = np.full((len(matrix.constant), len(self.on)), np.inf)
        for r, name in enumerate(names):
            if name in ("committed", "on_demand_stock"):
                column = int(np.flatnonzero(matrix.coefficients[r, self.on])[0])
                self.most[:, column] = np.minimum(self.most[:, column], matrix.constant[:, r])

    def units(self, rented: Array) -> Array:
        """Units switched on for these replicas."""
        units = rented @ self.units_per_replica.T
        return np.where(self.whole_units, np.ceil(units - _SLACK), units)

    def cost(self, rented: Array, rows: Ints | None = None) -> Array:
        """USD per hour of every block (or of `rows`) with these replicas; infinite beyond the stock."""
        rows = np.arange(len(self.blocks)) if rows is None else rows
        usd = np.full(len(rows), np.inf)
        epoch = self.blocks.epoch[rows]
        units = self.units(rented)
        fits = ((units <= self.most[epoch] + _SLACK) & (rented.min(axis=1, keepdims=True) >= 0)).all(axis=1)
        if fits.any():
            usd[fits] = self._solve(rented[fits], rows[fits])[0]
            price = self.dispatch.matrix.cost_usd[epoch[fits]][:, self.on]
            usd[fits] += (units[fits] * price).sum(axis=1)
        return usd

    def take(self, whole: Array, usd: Array, trial: Array) -> bool:
        """Put `trial` in place of `whole` wherever it is cheaper (both are changed in place)."""
        rows = np.flatnonzero((trial != whole).any(axis=1) & (trial >= 0).all(axis=1))
        if not len(rows):
            return False
        cost = self.cost(trial[rows], rows)
        better = cost < usd[rows] * (1 - 1e-9)
        whole[rows[better]], usd[rows[better]] = trial[rows[better]], cost[better]
        return bool(better.any())

    def result(self, whole: Array) -> Dispatch:
        """The dispatch with these replicas."""
        values = np.zeros_like(self.dispatch.values)
        _, values[:, self.free] = self._solve(whole, np.arange(len(self.blocks)))
        values[:, self.rented] = whole
        values[:, self.on] = self.units(whole)
        usd = (values * self.dispatch.matrix.cost_usd[self.blocks.epoch]).sum(axis=1)
        return replace(self.dispatch, values=values, usd_per_h=usd)

    def _solve(self, rented: Array, rows: Ints) -> tuple[Array, Array]:
        matrix = self.dispatch.matrix
        base = self.base[rows] - rented @ matrix.coefficients[:, self.rented].T
        inner = replace(
            matrix,
            coefficients=matrix.coefficients[np.ix_(self.kept, self.free)],
            equality=matrix.equality[self.kept],
            cost_usd=matrix.cost_usd[:, self.free],
        )
        blocks = Blocks(self.blocks.epoch[rows], self.blocks.weight_h[rows], self.blocks.demand[rows])
        usd, values = np.zeros(len(rows)), np.zeros((len(rows), len(self.free)))
        for part, cost, optima in _by_price(inner, blocks, base[:, self.kept], self.hours.bases["settled"]):
            usd[part], values[part] = optima.x @ cost, optima.x
        return usd, values


def _right_hand_sides(matrix: HourMatrix, blocks: Blocks) -> Array:
    b = matrix.constant[blocks.epoch].copy()
    b[:, : blocks.demand.shape[1]] += blocks.demand
    return b


def _by_price(matrix: HourMatrix, blocks: Blocks, b: Array, bases: Bases) -> list[tuple[Ints, Array, Optima]]:
    """Optima of the blocks of each distinct price vector: (block indices, cost, optima)."""
    prices, place = np.unique(matrix.cost_usd, axis=0, return_inverse=True)
    group = place.ravel()[blocks.epoch]
    found = []
    for g in np.unique(group):
        rows = np.flatnonzero(group == g).astype(np.intp)
        optima = solve_many(matrix.coefficients, matrix.equality, prices[g], b[rows], bases)
        found.append((rows, prices[g], optima))
    return found
