"""One replica kept warm: paid in the plan, known to the choice, held by the checker, left out where APIs cost less."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import planner.solve as solving
from planner.check import check
from planner.problem import Array, Blocks, Deployment, Endpoint, Epoch, Line, Offer, Pool, Problem
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


def test_idle_hours_are_known_while_a_fleet_is_chosen() -> None:
    """Eight busy hours of 24: by the hour a GPU costs 8 USD a day for the work and 16 for its idle hours, reserved 14.4
    for all. The plan reserves, and is proven."""
    problem = _problem([*[0.0] * 8, *[1.0] * 8, *[0.0] * 8], None)
    term = Offer("a.term", {"a": 1.0}, committed=(Line("rent", 0.6),), term_epochs=1)
    solution = solve(replace(problem, offers=(*problem.offers, term)), gap=1e-6)
    assert check(solution) == ()
    assert solution.cost_usd == pytest.approx(14.4)
    assert solution.bound_usd == pytest.approx(14.4)


def _kept(demand: Array, reserved: int, rent_usd: float) -> float:
    """What a month costs with so many GPUs reserved, the rest by the hour at 1 USD, a replica in every hour."""
    needed = np.ceil(demand)
    if not reserved:
        needed = np.maximum(needed, 1.0)
    return reserved * rent_usd * len(demand) + float(np.maximum(needed - reserved, 0.0).sum())


@pytest.mark.parametrize("searched", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_the_bound_holds_for_plans_that_are_kept_warm(
    seed: int, searched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two months with idle hours: bound <= the cheapest numbers of reserved GPUs in each <= plan, which is just these;
    as one programme and searched."""
    if searched:
        monkeypatch.setattr(solving, "SMALL", 0)
        monkeypatch.setattr(solving, "MEDIUM", 0)
    rng = np.random.default_rng(seed)
    demand = np.ceil(rng.uniform(0, 3, (2, 12))) * rng.choice([0.0, 1.0], (2, 12), p=[0.5, 0.5])
    demand[:, 0] = 1.0
    rent_usd = float(rng.uniform(0.3, 0.9))
    problem = replace(
        _problem(list(demand.ravel()), None),
        epochs=(Epoch("m0", 12.0), Epoch("m1", 12.0)),
        blocks=Blocks(np.repeat([0, 1], 12), np.ones(24), demand.reshape(-1, 1)),
        pools=(Pool("a"),),
        deployments=(Deployment("on.a", "a", (1.0,)),),
        offers=(
            Offer("a.hourly", {"a": 1.0}, "hour", bought=False, usage_usd_per_h=1.0),
            Offer("a.term", {"a": 1.0}, committed=(Line("rent", rent_usd),), term_epochs=1),
        ),
        warm=(("on.a",),),
    )
    best = sum(min(_kept(month, n, rent_usd) for n in range(5)) for month in demand)
    solution = solve(problem, gap=1e-6)
    assert check(solution) == ()
    assert solution.bound_usd <= best * (1 + 1e-6)
    assert solution.cost_usd == pytest.approx(best)


def test_where_leaving_work_out_is_cheaper_nothing_is_asked() -> None:
    """One request in twelve hours that nobody serves costs 2 USD: less than any GPU kept through them."""
    problem = replace(_problem([1.0, *[0.0] * 11], None), unserved_usd_per_request=(2.0,))
    solution = solve(problem, gap=1e-6)
    assert check(solution) == ()
    assert solution.cost_usd == pytest.approx(2.0)
    assert solution.bound_usd <= 2.0 + 1e-9


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
