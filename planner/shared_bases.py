r"""Many linear programmes that differ in their right-hand side only, solved by the few bases they share.

    min c x   subject to   A x <= b[t] (or == b[t] where `equality`),  x >= 0,   for t = 1 ... T

A basis that is dual feasible for c is optimal for every t at which its basic solution is feasible: not negative **and
zero in the logical variables of equality rows**. (The second half is easily forgotten: an hour of zero demand leaves
such logicals in the basis at zero, and the same basis would "solve" an hour of real demand by leaving it out.) So one
programme is solved with HiGHS, its basis tried on the others, and so on with what is left: a few dozen to a few hundred
bases cover a year of hours.

Trying is cheap because the dual value `dual @ b[t]` of a dual feasible basis never exceeds the optimum: only where no
other basis known has a higher one can this basis be the optimal one, so only there is its basic solution worked out.

Where GPUs stand idle their use costs nothing, so many bases are optimal that few hours share: whichever GPUs they fill,
at a price of 0. So a basis is chosen as if the use of whatever a row limits cost a hair more, by row another (the
lexicographic rule of Dantzig, Orden & Wolfe 1955 by small numbers): with that, one is the best. Costs and duals are
told without it.

Rows and columns are scaled so that right-hand sides are of order one: demand in requests and capacity in GPUs are six
orders of magnitude apart. Source: parametric linear programming (Gal, Postoptimal Analyses, 1979).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from planner.problem import Array, Ints
from planner.same_matrix import Flags, SameMatrix

_TOLERANCE = 1e-9
_HAIR = 1e-6
"""Of the mean cost: little enough to change no other choice, and a thousand times what tolerances allow."""
_ALIKE = 1e-9
"""Values so near are equal."""
_GOLDEN = (math.sqrt(5) - 1) / 2
_CHUNK = 4096
_MOST_BYTES = 64 * 2**20
Basis = tuple[int, ...]


class Bases:
    """Bases found so far, with their inverses: they are tried first on the next programmes with the same A.

    `row` and `column` are the scales in which the inverses hold; the oldest bases are forgotten when memory is short.
    """

    def __init__(self) -> None:
        self.found: dict[Basis, int] = {}
        """Where in the stack each one is, oldest first."""
        self.row: Array | None = None
        self.column: Array | None = None
        self._index = np.zeros((0, 0), dtype=np.intp)
        self._inverse = np.zeros((0, 0, 0))
        self._duals: dict[bytes, tuple[int, Array, Flags]] = {}

    def keep(self, basis: Basis, inverse: Array) -> None:
        """Remember a basis."""
        place, room = len(self.found), len(self._index)
        if place == room and room * inverse.nbytes >= _MOST_BYTES:
            place = self.found.pop(next(iter(self.found)))
            self._duals.clear()
        elif place == room:
            more = max(64, room)
            self._index = np.vstack([self._index.reshape(-1, len(basis)), np.zeros((more, len(basis)), dtype=np.intp)])
            self._inverse = np.concatenate(
                [self._inverse.reshape(-1, *inverse.shape), np.zeros((more, *inverse.shape))]
            )
        self.found[basis] = place
        self._index[place], self._inverse[place] = basis, inverse

    def duals(self, scaled: _Scaled, cost: Array) -> tuple[Array, Flags]:
        """[B, R] duals of every basis at these costs (of structural and logical columns), and which are feasible.

        What was found at the same costs before is kept.
        """
        index, inverse = self.stacked()
        known, duals, feasible = self._duals.get(
            cost.tobytes(), (0, np.zeros((0, len(scaled.a))), np.zeros(0, dtype=bool))
        )
        if known < len(index):
            more = np.einsum("br,brs->bs", cost[index[known:]], inverse[known:])
            duals = np.vstack([duals, more])
            feasible = np.concatenate([feasible, scaled.dual_feasible(more, cost)])
            self._duals[cost.tobytes()] = len(index), duals, feasible
        return duals, feasible

    def stacked(self) -> tuple[Ints, Array]:
        """[B, R] columns of every basis and [B, R, R] inverses."""
        return self._index[: len(self.found)], self._inverse[: len(self.found)]


@dataclass(frozen=True, eq=False)
class Optima:
    """`x[t]`, `cost[t]`, and `dual[basis[t]]`: the value of one more unit of each right-hand side."""

    x: Array
    cost: Array
    basis: Ints
    dual: Array


def solve_many(a: Array, equality: Flags, c: Array, b: Array, bases: Bases | None = None) -> Optima:
    """Optimal x for every row of `b`; raises RuntimeError where a programme has none.

    Shapes: a [R, C], equality [R], c [C], b [T, R]. `bases` is read and added to.
    """
    bases = bases if bases is not None else Bases()
    scaled = _Scaled(a, equality, c, b, bases)
    found = _Found(scaled)
    found.try_known(bases)
    columns = np.arange(a.shape[1])
    lp: SameMatrix | None = None
    while len(found.left):
        lp = lp or SameMatrix(scaled.a, equality, scaled.chosen_by[: a.shape[1]], tolerance=_TOLERANCE)
        t = int(found.left[len(found.left) // 2])
        lp.right_hand_side(scaled.b[t])
        lp.solve()
        basis = lp.basis()
        if basis not in found.known:
            inverse = found.try_new(basis)
            if inverse is not None:
                bases.keep(basis, inverse)
        if found.basis[t] < 0:
            lp.prices(columns, scaled.usd[columns])
            found.accept(t, *lp.solve()[1:])
            lp.prices(columns, scaled.chosen_by[columns])
    return found.optima()


def lowest(a: Array, equality: Flags, c: Array, b: Array, bases: Bases) -> Array:
    """[T] a lower bound on the optimum for every row of `b`, from the duals of known bases alone; -inf without any."""
    if not bases.found:
        return np.full(len(b), -np.inf)
    scaled = _Scaled(a, equality, c, b, bases)
    dual, feasible = bases.duals(scaled, scaled.usd)
    dual = dual[feasible]
    chunks = [scaled.b[start : start + _CHUNK] for start in range(0, len(b), _CHUNK)]
    return np.concatenate([(chunk @ dual.T).max(axis=1, initial=-np.inf) for chunk in chunks])


class _Scaled:
    """The programmes in units in which right-hand sides are of order one; columns [structural | logical]."""

    def __init__(self, a: Array, equality: Flags, c: Array, b: Array, bases: Bases) -> None:
        if bases.row is None or bases.column is None:
            largest = np.abs(b).max(axis=0)
            bases.row = np.where(equality & (largest > 0), 1 / np.where(largest > 0, largest, 1.0), 1.0)
            scaled = np.abs(a * bases.row[:, None])[equality]
            in_balance = scaled.max(axis=0) if equality.any() else np.zeros(a.shape[1])
            bases.column = np.where(in_balance > 0, 1 / np.where(in_balance > 0, in_balance, 1.0), 1.0)
        self.row, self.column = bases.row, bases.column
        self.a = a * self.row[:, None] * self.column
        self.b = b * self.row
        self.equality = equality
        self.full = np.hstack([self.a, np.eye(len(a))])
        self.usd = np.concatenate([c * self.column, np.zeros(len(a))])
        self.chosen_by = self.usd.copy()
        self.chosen_by[: a.shape[1]] += self._hair()

    def _hair(self) -> Array:
        """[C] what the use of limited rows costs more, so that no two ways to the same cost tie."""
        use = np.where(self.equality[:, None], 0.0, np.maximum(self.a, 0.0))
        mean = use.sum(axis=1) / np.maximum((use > 0).sum(axis=1), 1)
        apart = 1 + np.arange(len(use)) * _GOLDEN % 1
        hair = _HAIR * np.abs(self.usd[: self.a.shape[1]]).mean()
        return np.asarray(np.divide(hair * apart, mean, out=np.zeros(len(use)), where=mean > 0) @ use)

    def dual_feasible(self, dual: Array, cost: Array) -> Flags:
        """Which of these dual vectors (rows) price every column at or under its cost."""
        c = cost[: self.a.shape[1]]
        columns = (c - dual @ self.a >= -_TOLERANCE * (1 + np.abs(c))).all(axis=1)
        most = _TOLERANCE * (1 + np.abs(dual).max(axis=1, keepdims=True))
        return np.asarray(columns & (dual[:, ~self.equality] <= most).all(axis=1))


class _Found:
    """What has an optimum already, and for what is left the best dual value known."""

    def __init__(self, scaled: _Scaled) -> None:
        count, columns = len(scaled.b), scaled.a.shape[1]
        self.scaled = scaled
        self.known: set[Basis] = set()
        self.left = np.arange(count)
        self.best = np.full(count, -np.inf)
        self.x = np.zeros((count, columns))
        self.cost = np.zeros(count)
        self.basis = np.full(count, -1, dtype=np.intp)
        self.duals: list[Array] = []

    def try_known(self, bases: Bases) -> None:
        """Every basis of `bases` where its dual value is the highest; where several tie, one after the other."""
        self.known.update(bases.found)
        if not bases.found:
            return
        index, inverse = bases.stacked()
        dual, feasible = bases.duals(self.scaled, self.scaled.chosen_by)
        usable = np.flatnonzero(feasible)
        for start in range(0, len(self.best) if len(usable) else 0, _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(self.best)))
            value = self.scaled.b[rows] @ dual[usable].T
            self.best[rows] = value.max(axis=1)
            near = value >= (self.best[rows] - self._margin(rows))[:, None]
            for place in np.flatnonzero(near.any(axis=0)):
                here = rows[near[:, place]]
                one = usable[place]
                self._accept(here[self.basis[here] < 0], index[one], inverse[one])
        self.left = np.flatnonzero(self.basis < 0)

    def try_new(self, basis: Basis) -> Array | None:
        """One more basis, on what is left; returns its inverse."""
        self.known.add(basis)
        inverse = self._inverse(basis)
        if inverse is None:
            return None
        dual = self.scaled.chosen_by[np.array(basis)] @ inverse
        if not self.scaled.dual_feasible(dual[None, :], self.scaled.chosen_by)[0]:
            return inverse
        value = self.scaled.b[self.left] @ dual
        near = value >= self.best[self.left] - self._margin(self.left)
        self.best[self.left] = np.maximum(self.best[self.left], value)
        self._accept(self.left[near], np.array(basis), inverse)
        self.left = self.left[self.basis[self.left] < 0]
        return inverse

    def accept(self, t: int, x: Array, dual: Array) -> None:
        """Take HiGHS's own solution of programme t: to our tolerance no basis is the best with a hair and without."""
        self.x[t] = np.maximum(x, 0.0)
        self.cost[t] = float(self.x[t] @ self.scaled.usd[: self.x.shape[1]])
        self.basis[t] = len(self.duals)
        self.duals.append(dual)
        self.left = self.left[self.left != t]

    def optima(self) -> Optima:
        used, basis = np.unique(self.basis, return_inverse=True)
        dual = np.array([self.duals[i] for i in used]).reshape(-1, len(self.scaled.equality))
        return Optima(self.x * self.scaled.column, self.cost, basis.ravel(), dual * self.scaled.row)

    def _margin(self, rows: Ints) -> Array:
        best = self.best[rows]
        return np.where(np.isfinite(best), _ALIKE * (1 + np.abs(best)), 0.0)

    def _inverse(self, basis: Basis) -> Array | None:
        try:
            inverse: Array = np.linalg.inv(self.scaled.full[:, np.array(basis)])
        except np.linalg.LinAlgError:
            return None
        return inverse

    def _accept(self, rows: Ints, index: Ints, inverse: Array) -> None:
        """Where of `rows` the basic solution is feasible, it is the optimum."""
        if not len(rows):
            return
        scaled, columns = self.scaled, self.scaled.a.shape[1]
        values = scaled.b[rows] @ inverse.T
        tolerance = _TOLERANCE * (1 + np.abs(scaled.b[rows]).max(axis=1, keepdims=True))
        logical = index >= columns
        must_be_zero = np.zeros(len(index), dtype=bool)
        must_be_zero[logical] = scaled.equality[index[logical] - columns]
        good = ((values >= -tolerance) & (~must_be_zero | (values <= tolerance))).all(axis=1)
        solved = rows[good]
        if not len(solved):
            return
        dual = scaled.usd[index] @ inverse
        if scaled.dual_feasible(dual[None, :], scaled.usd)[0]:
            x = np.zeros((len(solved), columns))
            x[:, index[~logical]] = np.maximum(values[good][:, ~logical], 0.0)
            self.x[solved] = x
            self.cost[solved] = x @ scaled.usd[:columns]
            self.basis[solved] = len(self.duals)
            self.duals.append(dual)
