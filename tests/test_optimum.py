"""The optimum by its properties, and against enumeration on problems small enough to enumerate."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import planner.solve as solving
from planner.check import check
from planner.problem import Blocks, Deployment, Endpoint, Epoch, Limit, Line, Offer, Pool, Problem
from planner.solve import Solution, solve

EXACT = 1e-9
MOST = 3
SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])

amounts = st.integers(0, 12).map(float)
prices = st.integers(1, 30).map(lambda n: n / 4)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """One to three hours, one or two classes, an owned and a rented pool, an API with a limit, a site."""
    classes = draw(st.integers(1, 2))
    count = draw(st.integers(1, 3))
    demand = [[draw(amounts) for _ in range(classes)] for _ in range(count)]
    times = st.lists(st.sampled_from([0.25, 0.5, 1.0]), min_size=classes, max_size=classes).map(tuple)
    own = Offer("own", {"owned": 1 / draw(st.integers(1, 2))}, upfront=(Line("server", draw(prices) * count),))
    reserved = Offer("reserved", {"rented": 1.0}, committed=(Line("rent", draw(prices)),), term_epochs=1)
    hourly = Offer("hourly", {"rented": 1.0}, placed="hour", bought=False, usage_usd_per_h=draw(prices), max_units=MOST)
    return Problem(
        epochs=(Epoch("start", float(count)),),
        classes=tuple(f"k{i}" for i in range(classes)),
        blocks=Blocks(np.zeros(count), np.ones(count), np.array(demand)),
        pools=(Pool("owned", draw(st.sampled_from([0.0, 0.5]))), Pool("rented")),
        deployments=(Deployment("on.owned", "owned", draw(times)), Deployment("on.rented", "rented", draw(times))),
        offers=(replace(own, max_units=MOST), replace(reserved, max_units=MOST), hourly),
        endpoints=(Endpoint("api", (draw(prices),) * classes, requests_per_h=draw(st.sampled_from([None, 3.0]))),),
        limits=(Limit("rack", {"own": 1.0}, float(draw(st.integers(0, MOST)))),),
        unserved_usd_per_request=(50.0,) * classes,
    )


def _enumerated(problem: Problem) -> float:
    """The least cost over every purchase and every number of units switched on in every hour."""
    own, reserved, hourly = problem.offers
    best = np.inf
    most_own = int(min(MOST, problem.limits[0].cap))
    for units, rented in itertools.product(range(most_own + 1), range(MOST + 1)):
        usd = units * own.upfront_usd + rented * reserved.committed_usd_per_h * problem.epochs[0].hours
        for demand in problem.blocks.demand:
            owned_gpus = np.floor(units / own.covers["owned"] + 1e-9)
            usd += min(
                on * hourly.usage_usd_per_h + _hour(problem, demand, owned_gpus, rented + on) for on in range(MOST + 1)
            )
        best = min(best, usd)
    return float(best)


def _hour(problem: Problem, demand: np.ndarray, owned_gpus: float, rented_gpus: float) -> float:
    """Least cost of one hour with these GPUs; variables [owned k, rented k, api k, unserved k]."""
    from scipy.optimize import linprog

    count = len(demand)
    owned, rented = (np.array(d.gpu_h_per_request) for d in problem.deployments)
    endpoint = problem.endpoints[0]
    cost = np.concatenate([owned * problem.pools[0].busy_usd_per_gpu_h, np.zeros(count), endpoint.usd_per_request,
                           problem.unserved_usd_per_request])  # fmt: skip
    nothing = np.zeros(count)
    rows = [np.concatenate([owned, nothing, nothing, nothing]), np.concatenate([nothing, rented, nothing, nothing])]
    bounds = [owned_gpus, rented_gpus]
    if endpoint.requests_per_h is not None:
        rows.append(np.concatenate([nothing, nothing, np.ones(count), nothing]))
        bounds.append(endpoint.requests_per_h)
    equal = np.hstack([np.eye(count)] * 4)
    return float(linprog(cost, A_ub=np.array(rows), b_ub=bounds, A_eq=equal, b_eq=demand, method="highs").fun)


def _solved(problem: Problem) -> Solution:
    solution = solve(problem, gap=EXACT, time_limit_s=60.0)
    assert check(solution) == ()
    return solution


@given(problems())
@SETTINGS
def test_the_optimum_is_that_of_enumeration(problem: Problem) -> None:
    """Purchases, whole on-demand units, an API's limit and a site's limit: the cost equals the enumerated one."""
    solution = _solved(problem)
    best = _enumerated(problem)
    assert solution.cost_usd == pytest.approx(best, abs=1e-6)
    assert solution.bound_usd <= best + 1e-6


@given(problems(), st.integers(0, 2), st.integers(0, 1))
@SETTINGS
def test_more_demand_never_costs_less(problem: Problem, hour: int, kind: int) -> None:
    """One request more in any hour and class leaves the bill the same or higher."""
    demand = problem.blocks.demand.copy()
    demand[hour % len(demand), kind % demand.shape[1]] += 1.0
    more = problem.with_blocks(Blocks(problem.blocks.epoch, problem.blocks.weight_h, demand))
    assert _solved(more).cost_usd >= _solved(problem).cost_usd - 1e-6


@given(problems(), st.sampled_from(["own", "reserved", "hourly"]))
@SETTINGS
def test_one_more_offer_never_costs_more(problem: Problem, name: str) -> None:
    """Without an offer the bill is the same or higher."""
    offers = tuple(offer for offer in problem.offers if offer.name != name)
    limits = tuple(limit for limit in problem.limits if name not in limit.per_unit)
    fewer = replace(problem, offers=offers, limits=limits)
    assert _solved(problem).cost_usd <= _solved(fewer).cost_usd + 1e-6


@given(problems())
@SETTINGS
def test_the_searched_bound_is_never_above_the_optimum(problem: Problem) -> None:
    """Searched, the bound stays under the enumerated optimum and the plan over it."""
    before = solving.SMALL
    solving.SMALL = 0
    try:
        solution = _solved(problem)
    finally:
        solving.SMALL = before
    best = _enumerated(problem)
    assert solution.bound_usd <= best + 1e-6
    assert solution.cost_usd >= best - 1e-6


def _many_hours(seed: int, count: int = 200) -> Problem:
    rng = np.random.default_rng(seed)
    demand = np.maximum(0.0, 40 + 25 * np.sin(np.arange(count)[:, None] / 4) + rng.normal(0, 8, (count, 3))).round(3)
    demand[0] = 0.0
    times = rng.uniform(0.05, 0.2, 3)
    return Problem(
        epochs=(Epoch("a", count / 2), Epoch("b", count / 2, 0.95)),
        classes=("x", "y", "z"),
        blocks=Blocks(np.arange(count) * 2 // count, np.ones(count), demand),
        pools=(Pool("owned", 0.05), Pool("rented")),
        deployments=(
            Deployment("on.owned", "owned", tuple(times), divisible=True),
            Deployment("on.rented", "rented", tuple(times * 1.3), divisible=True),
        ),
        offers=(
            Offer("own", {"owned": 0.5}, upfront=(Line("server", 1.1 * count),), committed=(Line("power", 0.1),)),
            Offer("reserved", {"rented": 1.0}, committed=(Line("rent", 1.4),), term_epochs=1),
            Offer("hourly", {"rented": 1.0}, placed="hour", bought=False, usage_usd_per_h=2.5, whole=False),
        ),
        endpoints=(Endpoint("api", tuple(times * 4.0)),),
        unserved_usd_per_request=(50.0,) * 3,
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_search_and_one_programme_agree(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """With divisible hours both ways prove the same optimum, a zero-demand hour first included."""
    problem = _many_hours(seed)
    monkeypatch.setattr(solving, "SMALL", 10**9)
    whole = solve(problem, gap=1e-6, time_limit_s=60.0)
    monkeypatch.setattr(solving, "SMALL", 0)
    searched = solve(problem, gap=1e-4, time_limit_s=60.0)
    assert check(whole) == ()
    assert check(searched) == ()
    assert searched.gap <= 1e-4
    assert searched.bound_usd <= whole.cost_usd * (1 + 1e-6)
    assert searched.cost_usd >= whole.bound_usd * (1 - 1e-6)


def test_same_problem_same_plan() -> None:
    """Solving twice gives the same purchases, hours and bill, to the last bit."""
    one, two = (solve(_many_hours(4), gap=1e-3, time_limit_s=60.0) for _ in range(2))
    assert (one.fleet.buy == two.fleet.buy).all()
    assert (one.hours.values == two.hours.values).all()
    assert one.cost_usd == two.cost_usd


def test_a_missing_gpu_is_missed() -> None:
    """With one unit fewer of what is scarce in the busiest hour, the checker finds work beyond the replicas."""
    problem = replace(_many_hours(5), endpoints=())
    solution = solve(problem, gap=1e-4, time_limit_s=60.0)
    buy = solution.fleet.buy.copy()
    buy[np.unravel_index(np.argmax(buy), buy.shape)] -= 1
    faults = check(replace(solution, fleet=replace(solution.fleet, buy=buy)))
    assert any("more GPUs than there are" in fault for fault in faults)
