"""One matrix in HiGHS, solved again and again with other right-hand sides, prices or boxes.

The hours of a year differ in nothing else, so the matrix is loaded once and every solve starts from the last basis
(dual simplex). Where a warm start or a tight tolerance defeats the simplex method, it starts afresh, then at HiGHS's
own tolerance; a programme that has no optimum even so raises RuntimeError. With `whole` columns every solve is a
branch-and-bound of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from planner.problem import Array, Ints

_LOOSE = 1e-7
_TOLERANCES = ("primal_feasibility_tolerance", "dual_feasibility_tolerance")
Flags = np.ndarray[Any, np.dtype[np.bool_]]


class SameMatrix:
    """min c x, A x <= b (== b where `equality`), x >= 0; shapes: a [R, C], equality [R], c [C]."""

    def __init__(self, a: Array, equality: Flags, c: Array, *, tolerance: float, whole: Flags | None = None) -> None:
        import highspy

        rows, columns = a.shape
        self.equality, self.tolerance = equality, tolerance
        self.infinity, self.optimal = highspy.kHighsInf, highspy.HighsModelStatus.kOptimal
        self.places = np.arange(rows, dtype=np.int32)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = columns, rows
        lp.col_lower_, lp.col_upper_, lp.col_cost_ = np.zeros(columns), np.full(columns, self.infinity), c
        lp.row_lower_, lp.row_upper_ = np.where(equality, 0.0, -self.infinity), np.zeros(rows)
        column, row = np.nonzero(a.T)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.searchsorted(column, np.arange(columns + 1))
        lp.a_matrix_.index_, lp.a_matrix_.value_ = row, a[row, column]
        options: dict[str, Any] = {"output_flag": False, "threads": 1}
        if whole is None:
            options |= {"presolve": "off", "solver": "simplex"}
        else:
            kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
            lp.integrality_ = [kinds[int(flag)] for flag in whole]
            options |= {"mip_rel_gap": 1e-9, "mip_abs_gap": 0.0}
        self.solver: Any = highspy.Highs()  # type: ignore[no-untyped-call]  # highspy is typed in part
        for option, value in options.items():
            self.solver.setOptionValue(option, value)
        self._tolerate(tolerance)
        self.solver.passModel(lp)

    def right_hand_side(self, b: Array) -> None:
        """Set b [R]."""
        self.solver.changeRowsBounds(len(b), self.places, np.where(self.equality, b, -self.infinity), b)

    def prices(self, columns: Ints, usd: Array) -> None:
        """Set c of these columns."""
        self.solver.changeColsCost(len(columns), columns.astype(np.int32), usd)

    def box(self, columns: Ints, least: Array, most: Array) -> None:
        """Keep these columns within bounds."""
        self.solver.changeColsBounds(len(columns), columns.astype(np.int32), least, most)

    def solve(self) -> tuple[float, Array, Array]:
        """Cost, x [C] and row duals [R] (of a linear programme)."""
        self._run()
        solution = self.solver.getSolution()
        usd = float(self.solver.getInfo().objective_function_value)
        return usd, np.array(solution.col_value), np.array(solution.row_dual)

    def basis(self) -> tuple[int, ...]:
        """The optimal basis, sorted: column indices, then C + row for logicals."""
        _, basic = self.solver.getBasicVariables()
        columns = self.solver.getNumCol()
        return tuple(int(j) for j in np.sort(np.where(basic >= 0, basic, columns - basic - 1)))

    def _run(self) -> None:
        self.solver.run()
        statuses = [self.solver.getModelStatus()]
        for tolerance in (self.tolerance, max(_LOOSE, self.tolerance)):
            if statuses[-1] == self.optimal:
                return
            self._tolerate(tolerance)
            self.solver.clearSolver()
            self.solver.run()
            statuses.append(self.solver.getModelStatus())
            self._tolerate(self.tolerance)
        if statuses[-1] != self.optimal:
            raise RuntimeError(f"an hour's programme has no optimum: {', '.join(str(status) for status in statuses)}")

    def _tolerate(self, tolerance: float) -> None:
        for option in _TOLERANCES:
            self.solver.setOptionValue(option, tolerance)
