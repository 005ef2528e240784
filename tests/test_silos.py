"""Every workload planned alone: what belongs to the other workloads is left out with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from planner_cases import PER_GPU_H, PLAN, curve, forecast, on_demand, reserved, stated, write

from planner.baselines import SILOS, baselines
from planner.silos import alone
from planner.solve import solve

OTHER = "llama-3.1-8b"
TWO = PLAN + PLAN.replace("chat", "other").replace("llama-3.2-1b", OTHER)


def test_two_models_that_no_api_can_take_over_are_planned_alone(tmp_path: Path) -> None:
    """Each keeps the replica of its own model warm, and knows no deployment of the other's."""
    plan = TWO + '[policy]\nforbid = ["api", "buy"]\n'
    rows = forecast(24, {"chat": 4 * PER_GPU_H, "other": 2 * PER_GPU_H})
    curves = [curve(), curve(model=OTHER)]
    case = stated(write(tmp_path, plan=plan, rows=rows, offers=[on_demand(), reserved()], curves=curves))
    assert len(case.problem.warm) == 2
    parts = [alone(case, workload) for workload in case.workloads]
    assert [part.warm for part in parts] == [(group,) for group in case.problem.warm]
    found = {other.name: other for other in baselines(case, gap=0.01, time_limit_s=10)}
    bills = sum(solve(part, gap=1e-4).cost_usd for part in parts)
    assert found[SILOS].usd == pytest.approx(bills, rel=0.01)
