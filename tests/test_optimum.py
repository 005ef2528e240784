"""The optimum by its properties, and against enumeration on problems small enough to enumerate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from enumeration import least_usd
from hypothesis import given, settings
from hypothesis import strategies as st

import planner.solve as solving
from planner import whole
from planner.check import check
from planner.problem import Blocks, Deployment, Endpoint, Epoch, FixedCharge, Limit, Line, Offer, Pool, Problem
from planner.solve import solve

EXACT = 1e-9
SETTINGS = settings(max_examples=30, deadline=None, derandomize=True, database=None)


def tiny_problem(rng: Random) -> Problem:
    """One or two pools with up to three deployments between them, up to three epochs, one or two hours in each.

    Whatever a `Problem` can say meets whatever else: replicas of several GPUs and of parts, units of several GPUs and
    such as can be counted on in part, servers with a residual value, terms that overlap and outlast the horizon, lead
    times, price paths, what exists, spend commitments over one pool or two, on demand with and without stock, APIs with
    limits, a site, a fixed charge, hours alike, half and double.
    """
    epochs, classes = rng.randint(1, 3), rng.randint(1, 2)
    count = epochs * rng.randint(1, 2)
    weight_h = np.array(rng.choices((0.5, 1.0, 2.0), k=count))
    epoch = np.arange(count) * epochs // count
    demand = np.array([rng.choices((0.0, 1.0, 2.0, 3.0), k=classes) for _ in range(count)])
    pools = tuple(Pool(f"p{n}", rng.choice((0.0, 0.25))) for n in range(rng.randint(1, 2)))
    deployments = _deployments(rng, classes, pools)
    path = tuple(rng.choices((0.5, 1.0, 1.25), k=epochs)) if rng.random() < 0.5 else ()
    offers = tuple(offer for pool in pools for offer in _offers(rng, pool.name, epochs, path))
    if rng.random() < 0.5:
        offers += (_spend(rng, pools, epochs, divisible=any(d.divisible for d in deployments)),)
    bought = [offer for offer in offers if offer.bought and offer.whole]
    there = max(sum(offer.existing_units(m) for offer in bought) for m in range(epochs))
    limit = Limit("rack", {offer.name: 1.0 for offer in bought}, there + rng.randint(0, 3))
    charge = FixedCharge("team", tuple(offer.name for offer in bought), rng.choice((0.25, 1.0)), 12.0)
    past_h = [0.0] * (epochs - 1) + [rng.choice((0.0, 1.0))]
    return Problem(
        epochs=tuple(Epoch(f"e{m}", weight_h[epoch == m].sum(), 0.9**m, past_h[m]) for m in range(epochs)),
        classes=tuple(f"k{k}" for k in range(classes)),
        blocks=Blocks(epoch, weight_h, demand),
        pools=pools,
        deployments=deployments,
        offers=offers,
        endpoints=(_endpoint(rng, classes, path),) if rng.random() < 0.7 else (),
        limits=(limit,) if rng.random() < 0.3 else (),
        fixed_charges=(charge,) if rng.random() < 0.3 else (),
        unserved_usd_per_request=tuple(rng.choices((8.0, 40.0), k=classes)),
        tail=rng.choice(("full", "prorated", "buyout")),
        buyout_share=0.5,
        later=(Epoch("l0", 2.0, 0.7), Epoch("l1", 1.0, 0.6))[: rng.randint(0, 2)],
        end_discount=0.75,
    )


def _deployments(rng: Random, classes: int, pools: tuple[Pool, ...]) -> tuple[Deployment, ...]:
    """Up to three, of which one a pool may divide; each serves a class at least."""
    found: list[Deployment] = []
    for n in range(rng.randint(1, 3)):
        times: list[float | None] = rng.choices((0.25, 0.5, 1.0, None), k=classes)
        times[n % classes] = times[n % classes] or 0.5
        pool = rng.choice(pools).name
        divisible = rng.random() < 0.25 and not any(d.divisible and d.pool == pool for d in found)
        found.append(Deployment(f"d{n}", pool, tuple(times), rng.choice((1.0, 1.0, 2.0)), divisible))
    return tuple(found)


def _offers(rng: Random, pool: str, epochs: int, path: tuple[float, ...]) -> Iterator[Offer]:
    """A server or a term, and GPUs by the hour."""
    usd, gpus = rng.randint(2, 12) / 4, rng.choice((1.0, 1.0, 2.0, 0.8))
    there = tuple(rng.choices((0.0, 0.0, 1.0), k=rng.randint(0, epochs)))
    server = Offer(
        f"server.{pool}", {pool: 1 / gpus}, usable=min(gpus, 1.0),
        upfront=(Line("server", 2 * usd * gpus),), committed=(Line("power", 0.125),),
        lead_epochs=rng.choice((0, 0, 1, 2)), max_units=2.0, existing=there, price_path=path,
        running_costs_stay=rng.random() < 0.5,
        residual_usd=(usd * gpus, usd * gpus / 2, 0.0) if rng.random() < 0.5 else (),
    )  # fmt: skip
    term = replace(
        server, name=f"term.{pool}", upfront=(Line("fee", rng.choice((0.0, 0.5))),), residual_usd=(),
        committed=(Line("rent", usd * gpus * 0.6),), term_epochs=rng.randint(1, 3),
    )  # fmt: skip
    yield rng.choice((server, term))
    size = rng.choice((1.0, 1.0, 2.0, 0.8))
    if rng.random() < 0.7:
        yield Offer(
            f"hourly.{pool}", {pool: 1 / size}, placed="hour", bought=False, usage_usd_per_h=usd * size,
            max_units=rng.choice((None, 1.0, 2.0)), whole=rng.random() < 0.7, price_path=path,
        )  # fmt: skip


def _spend(rng: Random, pools: tuple[Pool, ...], epochs: int, *, divisible: bool) -> Offer:
    """A commitment that one pool or two draw from; it is whole where replicas divide."""
    whole = divisible or rng.random() < 0.5
    covers = {pool.name: rng.choice((0.5, 1.0, 1.5)) for pool in pools[: rng.randint(1, 2)]}
    return Offer(
        "spend", covers, placed="hour", term_epochs=rng.randint(1, 2), whole=whole, max_units=2.0 if whole else 1.0,
        committed=(Line("spend", rng.choice((0.75, 1.0))),), usage_usd_per_h=rng.choice((0.0, 0.25)),
        existing=tuple(rng.choices((0.0, 0.0, 0.5, 1.0), k=rng.randint(0, epochs))),
    )  # fmt: skip


def _endpoint(rng: Random, classes: int, path: tuple[float, ...]) -> Endpoint:
    """An API dearer than a full GPU, which may not serve all classes."""
    usd, tokens = rng.choices((1.0, 1.5, 3.0, None), k=classes), rng.choices((1.0, 3.0), k=classes)
    return Endpoint("api", tuple(usd), rng.choice((None, 1.0, 2.5)), rng.choice((None, 4.0)), tuple(tokens), path)


@given(st.randoms(use_true_random=True))
@SETTINGS
def test_the_optimum_is_that_of_enumeration(rng: Random) -> None:
    """As one programme the plan costs what the best of all plans does; searched, bound and plan enclose it."""
    problem = tiny_problem(rng)
    best = least_usd(problem)
    hair = 1e-6 * (1 + best)
    with pytest.MonkeyPatch.context() as short_cuts:
        short_cuts.setattr(solving, "SMALL", 10**9)
        exact = solve(problem, gap=EXACT, time_limit_s=60.0)
        short_cuts.setattr(solving, "SMALL", 0)
        short_cuts.setattr(solving, "MEDIUM", 0)
        short_cuts.setattr(whole, "_FEW", 0)
        searched = solve(problem, gap=1e-4, time_limit_s=5.0)
    assert check(exact) == check(searched) == ()
    assert exact.cost_usd == pytest.approx(best, abs=hair)
    assert max(exact.bound_usd, searched.bound_usd) <= best + hair
    assert searched.cost_usd >= best - hair


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
