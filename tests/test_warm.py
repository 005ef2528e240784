"""One replica kept warm: paid in the plan, held by the checker, left out where a month goes to the API."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.check import check
from planner.problem import Blocks, Deployment, Endpoint, Epoch, Line, Offer, Pool, Problem
from planner.solve import solve

GROUP = (("on.a", "on.b"),)


def _problem(demand: list[float], api_usd: float | None, warm: bool = True) -> Problem:
    """A model on two GPU types by the hour (1 and 1.5 USD) and perhaps an API."""
    return Problem(
        epochs=(Epoch("day", float(len(demand))),),
        classes=("chat",),
        blocks=Blocks(np.zeros(len(demand)), np.ones(len(demand)), np.array(demand)[:, None]),
        pools=(Pool("a"), Pool("b")),
        deployments=(Deployment("on.a", "a", (1.0,)), Deployment("on.b", "b", (0.5,))),
        offers=(
            Offer("a.hourly", {"a": 1.0}, "hour", bought=False, usage_usd_per_h=1.0, max_units=4.0),
            Offer("b.hourly", {"b": 1.0}, "hour", bought=False, usage_usd_per_h=1.5),
        ),
        endpoints=() if api_usd is None else (Endpoint("api", (api_usd,)),),
        unserved_usd_per_request=(100.0,),
        warm=GROUP if warm else (),
    )


def test_a_replica_runs_through_idle_hours() -> None:
    """Two busy hours of four: the cheaper replica is kept through the two idle ones; without the rule nobody pays."""
    solution = solve(_problem([2, 0, 0, 2], None), gap=1e-6)
    assert check(solution) == ()
    assert solution.cost_usd == pytest.approx(1.5 + 1.0 + 1.0 + 1.5)
    assert solve(_problem([2, 0, 0, 2], None, warm=False), gap=1e-6).cost_usd == pytest.approx(3.0)


def test_a_month_goes_to_the_api_where_that_is_cheaper() -> None:
    """One request in twelve hours at 1.2 USD: cheaper than a GPU through the night, dearer than a GPU for its hour."""
    idle = [1.0, *[0.0] * 11]
    assert solve(_problem(idle, 1.2, warm=False), gap=1e-6).total("api", 1)[0] == pytest.approx(0.0)
    solution = solve(_problem(idle, 1.2), gap=1e-6)
    assert check(solution) == ()
    assert solution.cost_usd == pytest.approx(1.2)


def test_owned_and_reserved_replicas_are_warm_anyway() -> None:
    """With a reserved replica nothing is rented for warmth, and the bill is the one without the rule."""
    term = Offer("a.term", {"a": 1.0}, committed=(Line("rent", 0.4),), term_epochs=1)
    both = [
        solve(replace(problem, offers=(*problem.offers, term)), gap=1e-6)
        for problem in (_problem([1, 0, 0, 1], None), _problem([1, 0, 0, 1], None, warm=False))
    ]
    assert check(both[0]) == ()
    assert both[0].cost_usd == pytest.approx(both[1].cost_usd) == pytest.approx(1.6)


def test_the_checker_sees_a_cold_model() -> None:
    """A plan made without the rule is refused under it."""
    solution = solve(_problem([2, 0, 0, 2], None, warm=False), gap=1e-6)
    assert check(replace(solution, problem=replace(solution.problem, warm=GROUP))) == (
        "on.a: serves in day without a replica in every hour",
    )


def test_a_group_names_deployments() -> None:
    """An unknown name is told."""
    with pytest.raises(ValueError, match=r"warm: 'on\.c' is no deployment"):
        replace(_problem([1.0], None), warm=(("on.c",),))


def test_a_group_names_no_divisible_deployment() -> None:
    """A part of a replica is no running server, so such a group is refused instead of kept badly."""
    problem = _problem([1.0], None)
    parts = tuple(replace(deployment, divisible=True) for deployment in problem.deployments)
    with pytest.raises(
        ValueError, match=r"^warm: a replica of 'on\.a' is divisible, so none can be kept; warm: .*'on\.b'"
    ):
        replace(problem, deployments=parts)
