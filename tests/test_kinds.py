"""GPUs that serve alike as one: nothing costs more or less by it, and hours share their bases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planner_problems import company
from test_search import any_problem

from planner.dispatch import Dispatch, Hours, dispatch, right_hand_sides
from planner.problem import Problem
from planner.renting import Rented
from planner.solver import Fleet
from planner.units import in_units


def _drawn(seed: int) -> tuple[Problem, Fleet]:
    """A problem in which GPUs are owned, rented for a term and by the hour, and a few of them in some epochs."""
    problem = in_units(any_problem(seed))
    rng = np.random.default_rng(seed)
    epochs = len(problem.epochs)
    buy = rng.integers(0, 4, (len(problem.offers), epochs)) * np.array([[offer.bought] for offer in problem.offers])
    return problem, Fleet(buy.astype(float), rng.integers(0, 3, (len(problem.deployments), epochs)).astype(float))


def _alone(hours: Hours, fleet: Fleet, t: int) -> float:
    """What the stated hour costs, every deployment by itself, with another solver."""
    from scipy.optimize import linprog

    matrix, blocks = hours.matrix(fleet), hours.problem.blocks
    b, free = right_hand_sides(matrix, blocks)[t], ~matrix.equality
    answer = linprog(
        matrix.cost_usd[blocks.epoch[t]], A_ub=matrix.coefficients[free], b_ub=b[free],
        A_eq=matrix.coefficients[matrix.equality], b_eq=b[matrix.equality], method="highs",
    )  # fmt: skip
    return float(answer.fun)


def _keeps_its_rows(hours: Hours, fleet: Fleet, found: Dispatch) -> bool:
    """Whether every hour keeps every row of the stated programme."""
    matrix = hours.matrix(fleet)
    over = found.values @ matrix.coefficients.T - right_hand_sides(matrix, hours.problem.blocks)
    return bool((over <= 1e-6).all() and (np.abs(over[:, matrix.equality]) <= 1e-6).all() and found.values.min() >= 0)


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_an_hour_costs_what_it_costs_with_every_deployment_by_itself(seed: int) -> None:
    """The full columns keep every stated row and cost what the stated hour does, whoever owns the GPUs."""
    problem, fleet = _drawn(seed)
    hours = Hours(problem)
    found = dispatch(hours, fleet, problem.blocks).full()
    usd = (found.values * found.matrix.cost_usd[problem.blocks.epoch]).sum(axis=1)
    assert _keeps_its_rows(hours, fleet, found)
    for t in range(0, len(problem.blocks), 5):
        assert usd[t] == pytest.approx(_alone(hours, fleet, t), abs=1e-6)


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_given_replicas_cost_no_less_than_the_best(seed: int) -> None:
    """With the replicas that a dispatch rents, an hour costs what the dispatch says: no more, and no less."""
    problem, fleet = _drawn(seed)
    hours = Hours(problem)
    best = dispatch(hours, fleet, problem.blocks).full()
    rented = Rented(hours, fleet, problem.blocks)
    rented.whole_units[:] = False
    given_replicas = rented.solve(best.values[:, rented.columns], np.arange(len(problem.blocks)))
    np.testing.assert_allclose(given_replicas.usd, best.usd_per_h, atol=1e-6, rtol=1e-6)


def test_hours_share_bases_where_gpus_serve_alike() -> None:
    """A thousand hours of GPUs that are owned, reserved and rented by the hour take a few dozen bases, not one per way
    to fill them: told apart they took 113."""
    problem = in_units(company(hours=1000, workloads=6, gpus=3, peak_gpus=60.0))
    buy = np.array([[float(offer.bought)] for offer in problem.offers])
    fleet = Fleet(buy, np.full((len(problem.deployments), 1), 8.0))
    hours = Hours(problem)
    priced = dispatch(hours, fleet, problem.blocks)
    assert priced.reduced is not None
    assert len(priced.reduced.kinds) == 3
    assert len(hours.bases_of(priced.reduced).found) < 60
