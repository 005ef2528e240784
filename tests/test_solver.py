"""HiGHS stopped early: what it had is kept, and nothing that it had not proven is taken for a bound."""

from __future__ import annotations

import math
import signal
import threading

from planner_problems import company

from planner.programme import Programme, Relax, build
from planner.solver import solve_programme
from planner.units import in_units


def _day(relax: Relax = Relax()) -> Programme:
    """A day of three workloads on four GPU types; whole, HiGHS finds plans at once and proves none for long."""
    return build(in_units(company(hours=24, workloads=3, gpus=4)), relax)


def test_a_linear_programme_out_of_time_bounds_nothing() -> None:
    """PuLP calls it optimal; its objective is that of a basis on the way."""
    import pulp

    programme = _day(Relax(True, True, True))
    stopped = solve_programme(programme, gap=0.0, time_limit_s=0.0)
    assert programme.lp.status == pulp.LpStatusOptimal
    assert stopped.status != "optimal"
    assert (stopped.cost_usd, stopped.bound_usd) == (math.inf, -math.inf)
    assert solve_programme(programme, gap=0.0, time_limit_s=60.0).bound_usd > 0


def test_whole_numbers_out_of_time_keep_their_plan_and_the_bound_so_far() -> None:
    """PuLP calls it optimal; the plan is there, and the bound is under it and under the cost of a better one."""
    import pulp

    for limit_s in (0.1, 0.2, 0.4, 0.8, 1.6):  # shared cores: until it has a plan
        programme = _day()
        stopped = solve_programme(programme, gap=0.0, time_limit_s=limit_s)
        if stopped.fleet is not None:
            break
    better = solve_programme(_day(), gap=0.3, time_limit_s=60.0)
    assert programme.lp.status == pulp.LpStatusOptimal
    assert stopped.status == "feasible"
    assert stopped.values is not None
    assert stopped.bound_usd < stopped.cost_usd
    assert stopped.bound_usd <= better.cost_usd


def test_ctrl_c_is_heard_while_highs_works() -> None:
    """A signal that comes in the middle of a long solve ends HiGHS in good order; what it found is returned."""
    programme = _day()
    timer = threading.Timer(1.5, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    answer = solve_programme(programme, gap=0.0, time_limit_s=60.0)
    timer.join()
    assert answer.stopped
    assert answer.bound_usd <= answer.cost_usd
