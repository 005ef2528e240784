"""The companies of `examples/`, planned over 36 months: whole units, an allowed plan, a gap that is proven.

The larger one takes most of a minute: `benchmarks/planner_scale.py` solves both.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np

from planner.assemble import Case, assemble
from planner.check import check
from planner.inputs import check_inputs
from planner.solve import solve

EXAMPLES = Path(__file__).parents[1] / "examples"


def case_of(name: str) -> Case:
    """The example as `planner solve` reads it."""
    today = date(2026, 11, 20)
    read = check_inputs(EXAMPLES / name / "forecast.csv", today=today)
    return assemble(read.forecast, read.plan, read.workloads, read.book, read.curves, today=today)


def test_ten_gpus_over_36_months_are_proven() -> None:
    """Every month a decision, everything whole, nothing left out, half a per cent."""
    problem = case_of("company-10-gpus").problem
    solution = solve(problem, gap=0.005, time_limit_s=60.0)
    assert len(problem.epochs) == 36
    assert check(solution) == ()
    assert solution.gap <= 0.005
    assert solution.unserved.sum() == 0
    assert (solution.fleet.buy == np.round(solution.fleet.buy)).all()
    assert (solution.fleet.replicas == np.round(solution.fleet.replicas)).all()
