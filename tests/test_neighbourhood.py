"""A whole-number answer near the divisible one: a beginning, never the end of the search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner import neighbourhood, solver
from planner.neighbourhood import begin_near
from planner.programme import Relax
from planner.solver import Fleet


def _covering(seed: int) -> Any:
    """Buy whole things that cover demands at least cost."""
    import highspy

    rng = np.random.default_rng(seed)
    count, rows = int(rng.integers(3, 9)), int(rng.integers(2, 6))
    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    model.setOptionValue("mip_abs_gap", 0.0)
    covers = rng.uniform(0.1, 2.0, (rows, count)) * (rng.random((rows, count)) < 0.6)
    covers[:, 0] = 1.0
    numbers = [model.addIntegral(0, float(rng.integers(2, 60))) for _ in range(count - 1)]
    numbers = [model.addIntegral(0, 60.0), *numbers]
    for row, wanted in zip(covers, rng.uniform(1, 40, rows), strict=True):
        model.addConstr(sum(float(c) * n for c, n in zip(row, numbers, strict=True) if c) >= float(wanted))
    usd = rng.uniform(1, 9, count)
    usd[0] = 12.0
    model.setMinimize()
    model.changeColsCost(count, np.arange(count, dtype=np.int32), usd)
    return model


@pytest.fixture(autouse=True)
def _every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programmes of a few whole numbers too."""
    monkeypatch.setattr(neighbourhood, "_FEW", 0)


def _run(model: Any) -> bool:
    model.run()
    return False


@given(st.integers(0, 10**6), st.sampled_from([1e-6, 0.01, 0.1]))
@settings(max_examples=40, deadline=None)
def test_the_optimum_is_found_from_any_beginning(seed: int, gap: float) -> None:
    """Begun near, the programme is as it was: its answer is within the gap of the one found without."""
    near, plain = _covering(seed), _covering(seed)
    for model in (near, plain):
        model.setOptionValue("mip_rel_gap", gap)
    assert begin_near(near, gap, _run) is False
    for model in (near, plain):
        model.run()
    usd, best = (model.getInfo().objective_function_value for model in (near, plain))
    assert near.getOptionValue("mip_rel_gap")[1] == gap
    assert list(near.getLp().col_upper_) == list(plain.getLp().col_upper_)
    assert near.getInfo().mip_dual_bound <= best + 1e-6 * abs(best)
    assert usd <= best / (1 - gap) + 1e-6 * abs(best)


def test_the_time_limit_is_that_of_all_runs_together() -> None:
    """What is spent nearby is missing afterwards: HiGHS counts the time of each run anew."""
    model = _covering(3)
    model.setOptionValue("time_limit", 50.0)
    begin_near(model, 0.01, _run)
    assert model.getOptionValue("time_limit")[1] == pytest.approx(50.0 - model.getRunTime(), abs=1e-3)
    model = _covering(3)
    model.setOptionValue("time_limit", 0.0)
    begin_near(model, 0.01, _run)
    assert model.getOptionValue("time_limit")[1] == 0.0


def test_what_is_near_ends_the_search() -> None:
    """An answer within the gap is what branch and bound ends with: it looks at no further node."""
    model = _covering(3)
    model.setOptionValue("mip_rel_gap", 0.5)
    begin_near(model, 0.5, _run)
    model.run()
    assert model.getInfo().mip_node_count <= 1


def test_ctrl_c_on_the_way_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A master interrupted while its neighbourhood is searched has no fleet and no bound: both would be of another."""
    from planner_problems import company

    from planner.dispatch import Hours
    from planner.master import build_master
    from planner.partition import plane, unpriced

    problem = company(hours=48, workloads=1, gpus=1, peak_gpus=5.0)
    labels = np.arange(len(problem.blocks))
    hours = Hours(problem)
    master = build_master(
        problem, (plane(hours, problem.blocks, labels, unpriced(hours, problem.blocks)),), Relax(hours=True)
    )
    monkeypatch.setattr(solver, "_run", lambda model: _run(model) or True)
    answer = solver.solve_programme(master, gap=0.0, time_limit_s=10.0)
    assert (answer.stopped, answer.fleet, answer.bound_usd) == (True, None, -np.inf)
    again = solver.solve_programme(
        master, gap=0.0, time_limit_s=10.0, start=Fleet(*(np.zeros((3, 1)), np.zeros((2, 1))))
    )
    assert again.stopped
