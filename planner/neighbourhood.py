"""A good whole-number answer from the divisible one, before branch and bound begins.

HiGHS cuts at the root for tens of seconds before it looks for one. Near the divisible optimum there are good ones: with
what is bought kept within one of it, and nothing else bought but what the divisible answer might as well have bought, a
programme is small, and solved in a tenth or a hundredth of that time (relaxation enforced neighbourhood search:
Berthold, Math. Program. Computation 2014). Branch and bound begins with its answer, and often ends with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from planner.problem import Array

_HAIR = 1e-6
_FEW = 100
_AS_WELL = 0.01
"""What may be bought although it is not: it costs no larger share of the gap asked for."""
_CLOSELY, _GOOD = 0.5, 0.5
"""The small programme is solved to this share of the gap asked for. Where its answer costs a larger one more than the
divisible optimum, better ones are elsewhere: branch and bound begins without it."""


def begin_near(solver: Any, gap: float, run: Callable[[Any], bool]) -> bool:
    """Give `solver` an answer to its programme to begin with, if there is one near; returns whether Ctrl-C ended it.

    `run` runs it and says so. A programme with few whole numbers is left as it is: its optimum is found as soon.
    """
    import highspy

    lp = solver.getLp()
    whole = np.flatnonzero([kind == highspy.HighsVarType.kInteger for kind in lp.integrality_]).astype(np.int32)
    if len(whole) <= _FEW:
        return False
    least, most = np.array(lp.col_lower_)[whole], np.array(lp.col_upper_)[whole]
    solver.setOptionValue("solve_relaxation", True)
    stopped = run(solver)
    solver.setOptionValue("solve_relaxation", False)
    if stopped or solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return stopped
    usd, solution = float(solver.getInfo().objective_function_value), solver.getSolution()
    allowed_usd = gap * abs(usd)
    number, reduced = np.array(solution.col_value)[whole], np.array(solution.col_dual)[whole]
    low, high = _around(number, reduced, allowed_usd)
    solver.changeColsBounds(len(whole), whole, np.maximum(low, least), np.minimum(high, most))
    solver.setOptionValue("mip_rel_gap", _CLOSELY * gap)
    stopped = run(solver)
    solution, more_usd = solver.getSolution(), float(solver.getInfo().objective_function_value) - usd
    good = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal and more_usd <= _GOOD * allowed_usd
    solver.changeColsBounds(len(whole), whole, least, most)
    solver.setOptionValue("mip_rel_gap", gap)
    solver.clearSolver()
    if good:
        solver.setSolution(solution)
    return stopped


def _around(number: Array, reduced_usd: Array, allowed_usd: float) -> tuple[Array, Array]:
    """What each number may be: within one of the divisible answer, or one of what that might as well hold."""
    bought = number > _HAIR
    low = np.where(bought, np.floor(number + _HAIR) - 1, 0.0)
    spare = np.where(reduced_usd < _AS_WELL * allowed_usd, 1.0, 0.0)
    return low, np.where(bought, np.ceil(number - _HAIR) + 1, spare)
