"""Many linear programmes that differ in their right-hand side only, solved by the few bases they share.

    min c x   subject to   A x <= b[t] (or == b[t] where `equality`),  x >= 0,   for t = 1 ... T

A basis that is dual feasible for c is optimal for every t at which its basic solution is feasible: not negative **and
zero in the logical variables of equality rows**. (The second half is easily forgotten: an hour of zero demand leaves
such logicals in the basis at zero, and the same basis would "solve" an hour of real demand by leaving it out.) So one
programme is solved with HiGHS, its basis tried on all others at once with one matrix product, and so on with what is
left. A few dozen bases cover a year of hours.

Rows and columns are scaled so that right-hand sides are of order one: demand in requests and capacity in GPUs are six
orders of magnitude apart. Source: parametric linear programming (Gal, Postoptimal Analyses, 1979).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from planner.problem import Array, Ints

_TOLERANCE = 1e-9
Basis = tuple[int, ...]


@dataclass
class Bases:
    """Bases found so far: they are tried first on the next set of programmes with the same A."""

    found: dict[Basis, None] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Optima:
    """`x[t]`, `cost[t]`, and `dual[basis[t]]`: the value of one more unit of each right-hand side."""

    x: Array
    cost: Array
    basis: Ints
    dual: Array


def solve_many(a: Array, equality: np.ndarray[Any, Any], c: Array, b: Array, bases: Bases | None = None) -> Optima:
    """Optimal x for every row of `b`; raises RuntimeError naming the first programme without an optimum.

    Shapes: a [R, C], equality [R], c [C], b [T, R]. `bases` is read and added to.
    """
    bases = bases if bases is not None else Bases()
    scaled = _Scaled(a, equality, c, b)
    found = _Found(scaled)
    for basis in tuple(bases.found):
        found.try_basis(basis)
    lp: _OneProgramme | None = None
    while len(found.left):
        lp = lp or _OneProgramme(scaled)
        t = int(found.left[len(found.left) // 2])
        basis, x, dual = lp.solve(scaled.b[t], t)
        bases.found[basis] = None
        found.try_basis(basis)
        if t in found.left:
            found.accept(t, x, dual)
    return found.optima()


class _Scaled:
    """The programmes in units in which right-hand sides are of order one; columns [structural | logical]."""

    def __init__(self, a: Array, equality: np.ndarray[Any, Any], c: Array, b: Array) -> None:
        largest = np.abs(b).max(axis=0)
        self.row = np.where(equality & (largest > 0), 1 / np.where(largest > 0, largest, 1.0), 1.0)
        scaled = a * self.row[:, None]
        in_balance = np.abs(scaled[equality]).max(axis=0) if equality.any() else np.zeros(a.shape[1])
        self.column = np.where(in_balance > 0, 1 / np.where(in_balance > 0, in_balance, 1.0), 1.0)
        self.a = scaled * self.column
        self.c = c * self.column
        self.b = b * self.row
        self.equality = equality
        self.full = np.hstack([self.a, np.eye(len(a))])
        self.full_cost = np.concatenate([self.c, np.zeros(len(a))])


class _Found:
    """What has an optimum already."""

    def __init__(self, scaled: _Scaled) -> None:
        count, columns = len(scaled.b), scaled.a.shape[1]
        self.scaled = scaled
        self.left = np.arange(count)
        self.x = np.zeros((count, columns))
        self.cost = np.zeros(count)
        self.basis = np.full(count, -1, dtype=np.intp)
        self.duals: list[Array] = []

    def try_basis(self, basis: Basis) -> None:
        """Take `basis` as the optimum of every programme left at which it is one."""
        scaled, columns = self.scaled, self.scaled.a.shape[1]
        if not len(self.left):
            return
        index = np.array(basis)
        try:
            inverse = np.linalg.inv(scaled.full[:, index])
        except np.linalg.LinAlgError:
            return
        dual = scaled.full_cost[index] @ inverse
        slack = _TOLERANCE * (1 + np.abs(scaled.c))
        if (scaled.c - dual @ scaled.a < -slack).any() or (
            dual[~scaled.equality] > _TOLERANCE * (1 + abs(dual).max())
        ).any():
            return
        values = scaled.b[self.left] @ inverse.T
        tolerance = _TOLERANCE * (1 + np.abs(scaled.b[self.left]).max(axis=1, keepdims=True))
        logical = index >= columns
        must_be_zero = np.zeros(len(index), dtype=bool)
        must_be_zero[logical] = scaled.equality[index[logical] - columns]
        good = ((values >= -tolerance) & (~must_be_zero | (values <= tolerance))).all(axis=1)
        solved = self.left[good]
        rows = np.zeros((len(solved), columns))
        rows[:, index[~logical]] = np.maximum(values[good][:, ~logical], 0.0)
        self.x[solved] = rows
        self.cost[solved] = rows @ scaled.c
        self.basis[solved] = len(self.duals)
        self.duals.append(dual * scaled.row)
        self.left = self.left[~good]

    def accept(self, t: int, x: Array, dual: Array) -> None:
        """Take HiGHS's own solution of programme t, which its basis reproduces only beyond our tolerance."""
        self.x[t] = np.maximum(x, 0.0)
        self.cost[t] = float(self.x[t] @ self.scaled.c)
        self.basis[t] = len(self.duals)
        self.duals.append(dual * self.scaled.row)
        self.left = self.left[self.left != t]

    def optima(self) -> Optima:
        dual = np.array(self.duals) if self.duals else np.zeros((0, len(self.scaled.equality)))
        return Optima(self.x * self.scaled.column, self.cost, self.basis, dual)


class _OneProgramme:
    """HiGHS with the matrix loaded once; only row bounds change between solves (dual simplex, warm)."""

    def __init__(self, scaled: _Scaled) -> None:
        import highspy

        rows, columns = scaled.a.shape
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = columns, rows
        lp.col_cost_ = scaled.c
        lp.col_lower_ = np.zeros(columns)
        lp.col_upper_ = np.full(columns, highspy.kHighsInf)
        lp.row_lower_ = np.where(scaled.equality, 0.0, -highspy.kHighsInf)
        lp.row_upper_ = np.zeros(rows)
        places = [np.flatnonzero(scaled.a[:, j]) for j in range(columns)]
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.cumsum([0, *(len(place) for place in places)])
        lp.a_matrix_.index_ = np.concatenate(places) if places else np.zeros(0, dtype=int)
        lp.a_matrix_.value_ = np.concatenate([scaled.a[place, j] for j, place in enumerate(places)])
        self.solver = highspy.Highs()
        self.solver.setOptionValue("output_flag", False)
        self.solver.setOptionValue("threads", 1)
        self.solver.setOptionValue("presolve", "off")
        self.solver.passModel(lp)
        self.scaled = scaled
        self.optimal = highspy.HighsModelStatus.kOptimal
        self.infinity = highspy.kHighsInf

    def solve(self, b: Array, t: int) -> tuple[Basis, Array, Array]:
        for row, value in enumerate(b):
            self.solver.changeRowBounds(row, value if self.scaled.equality[row] else -self.infinity, value)
        self.solver.run()
        if self.solver.getModelStatus() != self.optimal:
            raise RuntimeError(f"programme {t} has no optimum: {self.solver.getModelStatus()}")
        columns = self.scaled.a.shape[1]
        _, basic = self.solver.getBasicVariables()
        solution = self.solver.getSolution()
        basis = tuple(sorted(int(j) if j >= 0 else columns - int(j) - 1 for j in basic))
        return basis, np.array(solution.col_value), np.array(solution.row_dual)
