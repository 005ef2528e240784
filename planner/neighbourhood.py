"""A good whole-number answer from the divisible one, before branch and bound begins.

HiGHS was seen to cut at the root for 5 to 25 s before it looked for one. Near the divisible optimum there are good
ones: with what is bought kept within one of it, and nothing else bought but what the divisible answer might as well
have bought, a programme is small, and solved in 0.4 to 2 s there (relaxation enforced neighbourhood search: Berthold,
Math. Program. Computation 2014). Branch and bound begins with its answer, and often ends with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from planner.problem import Array

_HAIR = 1e-6
_FEW = 100
"""Whole numbers that branch and bound is quick with, and proves better than it would from an answer near enough."""
_AS_WELL = 0.01
"""What may be bought although it is not: it costs no larger share of the gap asked for."""
_TIME = 0.5
"""Of the time there is, at most so much is spent here: the rest is for a bound."""
_CLOSELY, _GOOD = 0.5, 0.5
"""The small programme is solved to this share of the gap asked for. Where its answer costs a larger one more than the
divisible optimum, better ones are elsewhere: branch and bound begins without it."""


def begin_near(solver: Any, gap: float, run: Callable[[Any], bool]) -> bool:
    """Give `solver` an answer to its programme to begin with, if there is one near; returns whether Ctrl-C ended it.

    `run` runs it and says so; of its time limit, seconds, the rest is left. A programme with few whole numbers is left
    as it is: its optimum is found as soon.
    """
    import highspy

    lp = solver.getLp()
    whole = np.flatnonzero([kind == highspy.HighsVarType.kInteger for kind in lp.integrality_]).astype(np.int32)
    if len(whole) <= _FEW:
        return False
    least, most = np.array(lp.col_lower_)[whole], np.array(lp.col_upper_)[whole]
    limit_s = solver.getOptionValue("time_limit")[1]
    solver.setOptionValue("solve_relaxation", True)
    _leave(solver, _TIME * limit_s)
    stopped = run(solver)
    solver.setOptionValue("solve_relaxation", False)
    _leave(solver, limit_s)
    if stopped or solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return stopped
    usd, solution = float(solver.getInfo().objective_function_value), solver.getSolution()
    allowed_usd = gap * abs(usd)
    number, reduced = np.array(solution.col_value)[whole], np.array(solution.col_dual)[whole]
    low, high = _around(number, reduced, allowed_usd)
    solver.changeColsBounds(len(whole), whole, np.maximum(low, least), np.minimum(high, most))
    solver.setOptionValue("mip_rel_gap", _CLOSELY * gap)
    _leave(solver, _TIME * limit_s)
    stopped = run(solver)
    _leave(solver, limit_s)
    solution, more_usd = solver.getSolution(), float(solver.getInfo().objective_function_value) - usd
    good = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal and more_usd <= _GOOD * allowed_usd
    solver.changeColsBounds(len(whole), whole, least, most)
    solver.setOptionValue("mip_rel_gap", gap)
    solver.clearSolver()
    if good:
        solver.setSolution(solution)
    return stopped


def _leave(solver: Any, until_s: float) -> None:
    """Of `until_s` since its first run, what is left for the next one: HiGHS's own limit is that of a run."""
    solver.setOptionValue("time_limit", max(0.0, until_s - solver.getRunTime()))


def _around(number: Array, reduced_usd: Array, allowed_usd: float) -> tuple[Array, Array]:
    """What each number may be: within one of the divisible answer, or one of what that might as well hold."""
    bought = number > _HAIR
    low = np.where(bought, np.floor(number + _HAIR) - 1, 0.0)
    spare = np.where(reduced_usd < _AS_WELL * allowed_usd, 1.0, 0.0)
    return low, np.where(bought, np.ceil(number - _HAIR) + 1, spare)
