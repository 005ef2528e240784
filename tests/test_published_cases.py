"""Problems that others published with their answers, stated as `Problem` values and solved by the planner's own model.

Sources stand at each case; inputs and answers are theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import planner.solve as solving
from planner import whole
from planner.check import check
from planner.problem import Blocks, Deployment, Endpoint, Epoch, Limit, Line, Offer, Pool, Problem
from planner.solve import Solution, solve

EXACT = 1e-9


def _solved(problem: Problem, gap: float = EXACT) -> Solution:
    solution = solve(problem, gap=gap, time_limit_s=60.0)
    assert check(solution) == ()
    return solution


def _screening() -> Problem:
    """Load falls from 1,000 to 0 in 1,001 steps; capital and running costs of coal, gas and load shedding."""
    count = 1001
    position = np.linspace(0, 1, count)
    technologies = {"coal": (15.0, 2.0), "gas": (10.0, 12.0)}
    return Problem(
        epochs=(Epoch("year", 1.0),),
        classes=("load",),
        blocks=Blocks(np.zeros(count), np.full(count, 1 / count), (1000 - 1000 * position)[:, None]),
        pools=tuple(Pool(name, busy) for name, (_, busy) in technologies.items()),
        deployments=tuple(Deployment(name, name, (1.0,), divisible=True) for name in technologies),
        offers=tuple(
            Offer(name, {name: 1.0}, upfront=(Line("capital", capital),), whole=False)
            for name, (capital, _) in technologies.items()
        ),
        endpoints=(Endpoint("shedding", (1012.0,)),),
        unserved_usd_per_request=(1e6,),
    )


def test_screening_curve() -> None:
    """Three technologies against a load-duration curve: 500 coal, 490 gas, 10 shed; objective 14706.1938.

    PyPSA documentation, generation-investment-screening-curve (commit 0209b0e); the closed form cuts the curve at 1 %
    and at half of the hours. As GPUs: owned, rented, API. Energies and prices are its own too; at the two kinks, where
    a fleet is just full, its prices (22 and 7) are those of a fleet that may still grow, ours of one that stands.
    """
    solution = _solved(_screening())
    assert solution.cost_usd == pytest.approx(14706.193806194067, rel=1e-9)
    assert solution.fleet.buy[:, 0] == pytest.approx([500.0, 490.0], abs=1e-6)
    shed = solution.hours.values[:, solution.hours.matrix.family("api")]
    assert shed.max() == pytest.approx(10.0, abs=1e-6)
    energy = dict(zip(solution.hours.matrix.columns, solution.blocks.weight_h @ solution.hours.values, strict=True))
    assert energy["served", (0, 0)] == pytest.approx(374.875125, abs=1e-6)
    assert energy["served", (0, 1)] == pytest.approx(125.06993, abs=1e-5)
    assert energy["api", (0, 0)] == pytest.approx(0.054945, abs=1e-6)
    load, usd = solution.blocks.demand[:, 0], solution.hours.marginal_usd[:, 0]
    assert usd[load < 499.5] == pytest.approx(2.0)
    assert usd[(load > 500.5) & (load < 989.5)] == pytest.approx(12.0)
    assert usd[load > 990.5] == pytest.approx(1012.0)


def _melange(price: dict[str, float]) -> Problem:
    """Two by two request sizes; requests per second each GPU type serves, and 30 requests per second over the sizes."""
    rates = {"A10G": (2.0, 1.0, 5.0, 2.0), "A100": (20.0, 20.0, 40.0, 20.0)}
    demand = 30.0 * np.array([[0.2, 0.1, 0.5, 0.2]])
    return Problem(
        epochs=(Epoch("hour", 1.0),),
        classes=("small.small", "small.large", "large.small", "large.large"),
        blocks=Blocks(np.array([0]), np.array([1.0]), demand),
        pools=tuple(Pool(name) for name in rates),
        deployments=tuple(Deployment(name, name, tuple(1 / rate for rate in rates[name])) for name in rates),
        offers=tuple(Offer(name, {name: 1.0}, committed=(Line("rent", price[name]),), term_epochs=1) for name in rates),
        unserved_usd_per_request=(1e3,) * 4,
    )


def test_melange_with_divisible_load() -> None:
    """One A10G and one A100 for 4.68 USD an hour, though the A100 is filled to the last request (a knife-edge).

    tyler-griggs/melange-release, melange/config/example.json; its README's whole slices cost 6.70 or more.
    """
    solution = _solved(_melange({"A10G": 1.01, "A100": 3.67}))
    assert solution.cost_usd == pytest.approx(4.68, abs=1e-9)
    assert solution.fleet.buy[:, 0] == pytest.approx([1.0, 1.0])
    assert solution.unserved.sum() == 0


def _contracts() -> Problem:
    """5,000 hours of work a year; four contracts of a fixed sum and a price an hour."""
    contracts = ((1560.0, 0.128), (1280.0, 0.192), (552.0, 0.312), (0.0, 0.64))
    return Problem(
        epochs=(Epoch("year", 8760.0),),
        classes=("work",),
        blocks=Blocks(np.zeros(2), np.array([5000.0, 3760.0]), np.array([[1.0], [0.0]])),
        pools=(Pool("cloud"),),
        deployments=(Deployment("server", "cloud", (1.0,)),),
        offers=tuple(
            Offer(f"contract{i}", {"cloud": 1.0}, placed="hour", upfront=(Line("fixed", fixed),),
                  usage_usd_per_h=hourly, max_units=1.0)
            for i, (fixed, hourly) in enumerate(contracts)
        ),
        unserved_usd_per_request=(100.0,),
    )  # fmt: skip


def test_contract_choice() -> None:
    """5,000 hours a year: the third of four contracts (552 fixed, 0.312 an hour) at 2,112.

    MasterCruelty/Operational-Research, PLI/Cloud.mod; all four cost 2200, 2240, 2112 and 3200.
    """
    solution = _solved(_contracts())
    assert solution.cost_usd == pytest.approx(2112.0)
    hours = solution.blocks.weight_h @ solution.hours.values[:, solution.hours.matrix.family("on")]
    assert hours == pytest.approx([0.0, 0.0, 5000.0, 0.0])


@pytest.mark.parametrize("on_demand", [1.5, 2.1, 4.0])
def test_newsvendor_quantile(on_demand: float) -> None:
    """A commitment at 1 against an on-demand price d is the (1 - 1/d) quantile of hourly demand (the newsvendor)."""
    demand = np.random.default_rng(7).permutation(np.arange(1.0, 1002.0))
    problem = Problem(
        epochs=(Epoch("horizon", float(len(demand))),),
        classes=("work",),
        blocks=Blocks(np.zeros(len(demand)), np.ones(len(demand)), demand[:, None]),
        pools=(Pool("cloud"),),
        deployments=(Deployment("server", "cloud", (1.0,), divisible=True),),
        offers=(
            Offer("committed", {"cloud": 1.0}, committed=(Line("rent", 1.0),), whole=False),
            Offer("hourly", {"cloud": 1.0}, placed="hour", bought=False, usage_usd_per_h=on_demand, whole=False),
        ),
        unserved_usd_per_request=(100.0,),
    )
    bought = float(_solved(problem, 1e-7).fleet.buy[0, 0])
    share = (demand <= bought).mean()
    assert share == pytest.approx(1 - 1 / on_demand, abs=2 / len(demand))


def _servers(requests_per_s: float) -> Problem:
    kinds = {"standard": (400.0, 300.0, 2.0, 1000.0), "cutting.edge": (1600.0, 500.0, 1.0, 2000.0)}
    caps = {"budget": (0, 36800.0), "power.w": (1, 12200.0), "rack.units": (2, 44.0)}
    return Problem(
        epochs=(Epoch("now", 1.0),),
        classes=("requests",),
        blocks=Blocks(np.array([0]), np.array([1.0]), np.array([[requests_per_s]])),
        pools=tuple(Pool(name) for name in kinds),
        deployments=tuple(Deployment(name, name, (1 / row[3],)) for name, row in kinds.items()),
        offers=tuple(Offer(name, {name: 1.0}, upfront=(Line("server", row[0]),)) for name, row in kinds.items()),
        limits=tuple(
            Limit(name, {kind: row[place] for kind, row in kinds.items()}, cap) for name, (place, cap) in caps.items()
        ),
        unserved_usd_per_request=(1e6,),
    )


def test_server_purchase() -> None:
    """48,000 requests per second within budget, power and rack need 4 standard and 22 cutting-edge servers, no less.

    vasoov/lp-server-hosting-refresh. One request more cannot be served by any purchase.
    """
    solution = _solved(_servers(48_000.0))
    assert solution.unserved.sum() == pytest.approx(0.0, abs=1e-6)
    assert solution.fleet.buy[:, 0] == pytest.approx([4.0, 22.0])
    assert _solved(_servers(48_001.0)).unserved.sum() == pytest.approx(1.0, abs=1e-6)


@dataclass(frozen=True)
class Cloud:
    """A case of ufcg-lsd/AWSome-Savings, tests/test_aws_model.py (commit b061815), and its expected cost."""

    name: str
    on_demand: dict[str, float]
    reserved: tuple[tuple[str, float, float, int], ...]
    """(instance, hourly price, upfront price, duration)."""
    plan: dict[str, float]
    plan_hours: int
    demand: dict[str, tuple[int, ...]]
    cost: float


CLOUDS = (
    Cloud("savings plan", {"a": 2, "b": 2}, (("a", 1, 0, 4), ("b", 1, 0, 4)), {"a": 1, "b": 1}, 4,
          {"a": (10, 10, 5, 5), "b": (5, 5, 10, 10)}, 60),
    Cloud("on demand and reserved", {"a": 2, "b": 2}, (("a", 1, 0, 5), ("b", 1, 0, 5)), {"a": 1.1, "b": 1.1}, 5,
          {"a": (10, 20, 20, 20, 20, 30), "b": (10, 20, 20, 20, 20, 30)}, 280),
    Cloud("plan and on demand", {"a": 2, "b": 2}, (("a", 1.1, 0, 5), ("b", 1.1, 0, 5)), {"a": 1, "b": 1}, 5,
          {"a": (10, 20, 20, 20, 20, 30), "b": (10, 20, 20, 20, 20, 30)}, 280),
    Cloud("plan and reserved", {"a": 2, "b": 2}, (("a", 1, 0, 5), ("b", 1, 0, 5)), {"a": 1, "b": 1}, 5,
          {"a": (10, 20, 20, 20, 20, 30), "b": (10, 20, 20, 20, 20, 30)}, 280),
    Cloud("plan past the horizon", {"a": 20, "b": 20}, (("a", 20, 0, 4), ("b", 20, 0, 4)), {"a": 1, "b": 1}, 5,
          {"a": (10, 10, 5, 5), "b": (5, 5, 10, 10)}, 75),
    Cloud("unlike durations", {"a": 4, "b": 4}, (("a", 1.5, 0, 2), ("b", 1.5, 0, 2)), {"a": 1, "b": 1}, 4,
          {"a": (10, 7, 6, 12, 5, 5), "b": (5, 8, 9, 3, 4, 4)}, 87),
    Cloud("unlike durations, dearer", {"a": 4, "b": 4}, (("a", 2.1, 0, 2), ("b", 2.1, 0, 2)), {"a": 1, "b": 1}, 4,
          {"a": (10, 7, 6, 12, 5, 5), "b": (5, 8, 9, 3, 4, 4)}, 96),
    Cloud("plan, reserved, on demand", {"a": 2.5, "b": 2.5}, (("a", 1.5, 0, 2), ("b", 1.5, 0, 2)), {"a": 1, "b": 1}, 4,
          {"a": (10, 7, 6, 12, 5, 6), "b": (5, 8, 9, 3, 4, 7)}, 97),
    Cloud("unlike plan prices", {"a": 4, "b": 4}, (("a", 20, 0, 4), ("b", 20, 0, 4)), {"a": 3, "b": 1}, 4,
          {"a": (3, 4, 6, 0, 0, 0), "b": (0, 0, 0, 15, 20, 23)}, 120),
    Cloud("three instances", {"a": 3, "b": 7, "c": 1.5}, (("a", 0.8, 0, 5), ("b", 1.5, 0, 5), ("c", 0.4, 0, 5)),
          {"a": 1, "b": 2, "c": 0.5}, 5,
          {"a": (10, 11, 9, 32, 3, 0), "b": (3, 7, 4, 2, 9, 10), "c": (38, 24, 42, 2, 17, 13)}, 244),
    Cloud("one instance", {"a": 2.2}, (("a", 1, 0, 5),), {"a": 1.2}, 2, {"a": (10, 15, 15, 10, 10, 10)}, 84),
    Cloud("several markets", {"a": 4, "b": 8},
          (("a", 0, 4, 4), ("b", 0, 8, 4), ("a", 0.75, 3, 4), ("b", 1.5, 6, 4), ("a", 2, 0, 4), ("b", 4, 0, 4)),
          {"a": 4, "b": 8}, 4, {"a": (3, 3, 3, 3), "b": (2, 2, 2, 2)}, 28),
    Cloud("paid at once", {"a": 1, "b": 1.3, "c": 2}, (("a", 0, 2, 3), ("b", 0, 2.6, 3), ("c", 0, 4, 3)),
          {"a": 0.7, "b": 0.9, "c": 1.3}, 3, {"a": (1, 2, 0), "b": (4, 1, 2), "c": (0, 5, 7)}, 29.9),
)  # fmt: skip


def _cloud(case: Cloud) -> Problem:
    """Epochs of an hour; a reserve is an offer with a term, a plan an hour-placed one in units of a USD per hour."""
    kinds = tuple(case.demand)
    hours = len(next(iter(case.demand.values())))
    reserved = [
        Offer(f"reserved{i}", {kind: 1.0}, upfront=(Line("upfront", upfront),), committed=(Line("hourly", hourly),),
              term_epochs=duration)
        for i, (kind, hourly, upfront, duration) in enumerate(case.reserved)
    ]  # fmt: skip
    hourly = [
        Offer(f"hourly.{kind}", {kind: 1.0}, placed="hour", bought=False, usage_usd_per_h=price)
        for kind, price in case.on_demand.items()
    ]
    plan = Offer("plan", case.plan, placed="hour", committed=(Line("plan", 1.0),), term_epochs=case.plan_hours)
    return Problem(
        epochs=tuple(Epoch(f"h{i}", 1.0) for i in range(hours)),
        classes=kinds,
        blocks=Blocks(np.arange(hours), np.ones(hours), np.array(list(case.demand.values()), dtype=float).T),
        pools=tuple(Pool(kind) for kind in kinds),
        deployments=tuple(
            Deployment(kind, kind, tuple(1.0 if other == kind else None for other in kinds)) for kind in kinds
        ),
        offers=(*reserved, *hourly, plan),
        unserved_usd_per_request=(1e3,) * len(kinds),
    )


@pytest.mark.parametrize("case", CLOUDS, ids=lambda case: case.name)
def test_on_demand_reservations_and_savings_plans(case: Cloud) -> None:
    """The planner's cost is the published one."""
    solution = _solved(_cloud(case))
    assert solution.cost_usd == pytest.approx(case.cost, abs=1e-6)
    assert solution.unserved.sum() == pytest.approx(0.0, abs=1e-9)


PUBLISHED = (
    ("screening curve", _screening(), 14706.193806194067),
    ("melange", _melange({"A10G": 1.01, "A100": 3.67}), 4.68),
    ("contracts", _contracts(), 2112.0),
    ("servers", _servers(48_000.0), 4 * 400.0 + 22 * 1600.0),
    *((case.name, _cloud(case), case.cost) for case in CLOUDS),
)


@pytest.mark.parametrize(("problem", "cost"), [row[1:] for row in PUBLISHED], ids=[row[0] for row in PUBLISHED])
def test_searched_the_published_cost_lies_between(
    problem: Problem, cost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of these are small enough for one programme; searched, no bound is above their cost and no plan below."""
    monkeypatch.setattr(solving, "SMALL", 0)
    monkeypatch.setattr(solving, "MEDIUM", 0)
    monkeypatch.setattr(whole, "_FEW", 0)
    solution = _solved(problem, 1e-4)
    assert solution.bound_usd <= cost * (1 + 1e-6)
    assert solution.cost_usd >= cost * (1 - 1e-6)


@dataclass(frozen=True)
class Market:
    """One instance: its price by the hour, and reserved for a fee and so many hours at a share of that price."""

    usd_per_h: float
    fee_usd: float
    hours: int
    share: float


def _online_usd(market: Market, demand: list[int]) -> float:
    """What the break-even rule pays, which knows no hour to come.

    It reserves one more as soon as those hours of the last term that one more would have served have cost more than
    fee / (1 - share) by the hour; then it counts it as if it had been there in them.
    """
    usd, reserved = 0.0, [0] * (len(demand) + market.hours)
    for t, wanted in enumerate(demand):
        last = range(max(0, t - market.hours + 1), t + 1)
        while sum(market.usd_per_h for i in last if demand[i] > reserved[i]) > market.fee_usd / (1 - market.share):
            usd += market.fee_usd
            for i in range(last.start, t + market.hours):
                reserved[i] += 1
        used = min(wanted, reserved[t])
        usd += market.usd_per_h * (wanted - used + market.share * used)
    return usd


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("seed", [1, 2])
def test_hindsight_beats_the_break_even_rule_by_no_more_than_its_ratio(seed: int, share: float) -> None:
    """Plan <= online rule <= (2 - share) plan: the rule is (2 - share)-competitive; here it reserves some.

    Wang, Li & Liang, To Reserve or Not to Reserve (arXiv 1305.5608): deterministic algorithm and its ratio.
    """
    market, rng = Market(1.0, 2.0, 8, share), np.random.default_rng(seed)
    demand = [int(n) for n in rng.integers(0, 4, 24) * rng.choice([0, 1], 24, p=[0.1, 0.9])]
    reserved = Offer(
        "reserved", {"cloud": 1.0}, placed="hour", term_epochs=market.hours, upfront=(Line("fee", market.fee_usd),),
        usage_usd_per_h=market.share * market.usd_per_h,
    )  # fmt: skip
    hourly = Offer("hourly", {"cloud": 1.0}, placed="hour", bought=False, usage_usd_per_h=market.usd_per_h)
    problem = Problem(
        epochs=tuple(Epoch(f"h{i}", 1.0) for i in range(len(demand))),
        classes=("work",),
        blocks=Blocks(np.arange(len(demand)), np.ones(len(demand)), np.array(demand, dtype=float)[:, None]),
        pools=(Pool("cloud"),),
        deployments=(Deployment("instance", "cloud", (1.0,)),),
        offers=(reserved, hourly),
        unserved_usd_per_request=(100.0,),
    )
    plan, online_usd = _solved(problem), _online_usd(market, demand)
    assert plan.cost_usd <= online_usd <= (2 - share) * plan.cost_usd
    assert online_usd != market.usd_per_h * sum(demand)
