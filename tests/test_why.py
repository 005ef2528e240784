"""Why each purchase is there: what its work would cost otherwise, like against like."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from planner_cases import MODEL, OWNERSHIP, PER_GPU_H, PLAN, Row, Told, api, forecast, on_demand, reserved, told, write

from planner.plan import Instead, Purchase
from planner.purchases import purchases
from planner.told import solved
from planner.why import next_best

MARCH = datetime(2027, 3, 1)
HOURS = np.array([31, 30, 31]) * 24.0
"""Of March, April and May."""
QUARTER = "[horizon]\nmonths = 3\n"
RENT = '[policy]\nforbid = ["buy"]\n'
ALONE = '[policy]\nforbid = ["buy", "api"]\n'
PER_REQUEST = 0.28e-3
"""What a request costs at the tests' API."""


def _flat(*gpus: float) -> str:
    """A forecast with so many GPUs' work in each of the three months."""
    hours = np.repeat(np.broadcast_to(gpus, 3), HOURS.astype(int))
    return forecast(len(hours), {"chat": hours * PER_GPU_H}, start=MARCH)


def _one(answer: Told, epoch: str, scheme: str = "reserved") -> Purchase:
    (found,) = [p for p in answer.plan.purchases if (p.epoch, p.scheme) == (epoch, scheme)]
    return found


def _ways(purchase: Purchase) -> dict[str, Instead]:
    return {way.scheme: way for way in purchase.instead}


def test_both_sides_are_worth_what_they_are_when_they_are_paid(tmp_path: Path) -> None:
    """Three months of a GPU against an API whose price falls by half a year, all discounted at 21 % a year."""
    plan = PLAN + QUARTER + "discount_rate_per_year = 0.21\n[price_trends]\napi_per_year = -0.5\n" + RENT
    offers = [on_demand(usd=3.0), reserved(usd=1.0, months=3)]
    bought = _one(told(write(tmp_path, plan=plan, rows=_flat(1), offers=offers)), "2027.03")
    month = np.arange(3) / 12
    worth = HOURS * 1.21**-month
    assert bought.without_usd == pytest.approx(worth.sum())
    ways = _ways(bought)
    assert ways["api"].usd == pytest.approx(PER_GPU_H * PER_REQUEST * worth @ 0.5**month)
    assert ways["on demand"].usd == pytest.approx(3 * worth.sum())
    assert {way.in_place_of_usd for way in bought.instead} == {bought.without_usd}
    assert bought.why == (
        "100 % of its capacity at the SLO is used; it costs USD 2,173, and the same work would cost USD 4,143 by sells "
        "API (llama-3.2-1b); USD 6,520 on l4-24gb on demand at rent"
    )
    assert next_best(bought) == "sells API (llama-3.2-1b): 90.6 % dearer"


def test_every_purchase_has_its_own_reason(tmp_path: Path) -> None:
    """Three GPUs through, two more in April: these are held against April alone, and a longer term against both."""
    offers = [on_demand(), reserved(usd=0.5, months=3), reserved(usd=0.7, months=1)]
    answer = told(write(tmp_path, plan=PLAN + QUARTER + ALONE, rows=_flat(3, 5, 3), offers=offers))
    april, base = _one(answer, "2027.04"), _one(answer, "2027.03")
    assert (base.gpus, april.gpus) == (3, 2)
    assert april.without_usd == pytest.approx(2 * 0.7 * HOURS[1])
    assert _ways(april)["on demand"].usd == pytest.approx(2 * HOURS[1])
    owed = HOURS[1] + HOURS[2] + 30 * 24
    longer = _ways(april)["reserved"]
    assert longer.name == "l4-24gb reserved 3 months at rent"
    assert (longer.usd, longer.in_place_of_usd) == (pytest.approx(2 * 0.5 * owed), april.without_usd)
    assert base.without_usd == pytest.approx(3 * 0.5 * HOURS.sum())
    assert _ways(base)["reserved"].usd == pytest.approx(3 * 0.7 * HOURS.sum())


def test_a_longer_term_is_held_against_all_that_it_would_do_away_with(tmp_path: Path) -> None:
    """Two GPUs in March, three in April, signed by the month because three months cost more than both."""
    offers = [on_demand(usd=2.0), reserved(usd=0.7, months=3), reserved(usd=0.6, months=1)]
    answer = told(write(tmp_path, plan=PLAN + QUARTER + ALONE, rows=_flat(2, 3, 0), offers=offers))
    march = _one(answer, "2027.03")
    way = _ways(march)["reserved"]
    assert way.usd == pytest.approx(2 * 0.7 * HOURS.sum())
    assert way.in_place_of_usd == pytest.approx(2 * 0.6 * HOURS[:2].sum())
    assert "(where this and later purchases of it cost USD 1,757)" in march.why


def test_an_api_that_cannot_take_all_of_it_is_no_way(tmp_path: Path) -> None:
    """The cheaper one sells fewer requests a minute than come: the dearer one is named; with neither, none."""
    few, dear = api("few", given=0.1, made=0.2, requests_per_minute=60), api("dear", given=2.0, made=4.0)
    plan = PLAN + QUARTER + RENT
    for endpoints, names in (([few, dear], ["dear API (llama-3.2-1b)"]), ([few], [])):
        path = write(tmp_path / str(len(names)), plan=plan, rows=_flat(1), offers=[reserved(usd=0.6, months=3)],
                     endpoints=endpoints)  # fmt: skip
        (bought,) = told(path).plan.purchases
        assert [way.name for way in bought.instead] == names
    assert bought.why.endswith("for work that no API, GPU by the hour or other term could do")


def test_hours_on_demand_are_held_against_a_term_for_one_replica(tmp_path: Path) -> None:
    """A GPU for a third of the hours, a second one for a sixth: the first would be in use least seldom."""
    rows = forecast(24, {"chat": [2 * PER_GPU_H] * 4 + [PER_GPU_H] * 4 + [0.0] * 16}, start=MARCH)
    offers = [on_demand(), reserved(usd=0.5, months=3)]
    answer = told(write(tmp_path, plan=PLAN + QUARTER + ALONE + "keep_warm = false\n", rows=rows, offers=offers))
    (bought,) = answer.plan.purchases
    assert bought.without_usd == pytest.approx(HOURS.sum() / 2)
    (way,) = bought.instead
    assert (way.usd, way.in_place_of_usd) == (pytest.approx(0.5 * HOURS.sum()), pytest.approx(HOURS.sum() / 3))
    assert bought.why.endswith(
        "it costs USD 1,104, and USD 736.00 of it, one replica's, USD 1,104 on l4-24gb reserved 3 months at rent"
    )


def test_what_the_rest_would_do_anyway_is_said(tmp_path: Path) -> None:
    """A third GPU in April where two do all the work: its price is what leaving it out saves."""
    offers = [reserved(usd=0.5, months=3), reserved(usd=0.7, months=1)]
    answer = told(write(tmp_path, plan=PLAN + QUARTER + ALONE, rows=_flat(2), offers=offers))
    buy = answer.solution.fleet.buy.copy()
    (monthly,) = (o for o, info in enumerate(answer.case.offers) if info.term_months == 1)
    buy[monthly, 1] = 1
    more = replace(answer.solution, fleet=replace(answer.solution.fleet, buy=buy))
    (third,) = (p for p in purchases(solved(answer.case, more)) if p.term_months == 1)
    assert third.instead == ()
    assert third.why.endswith("without it the rest of this plan would do the same work, and cost USD 504.00 less")


COMMITTED: Row = {"provider": "rent", "scheme": "commitment", "term_months": 3}
CHEAP = OWNERSHIP.replace("1460", "100").replace("value = 3000", "value = 300").replace("value = 1000", "value = 100")
TWO = f'[workloads.code]\nmodel = "{MODEL}"\nslo = {{ ttft_s = 2.0, tpot_s = 0.05, attainment = 0.95 }}\n'
WORLDS: dict[str, dict[str, object]] = {
    "terms": {"offers": [on_demand(), on_demand("other", usd=1.1), reserved(usd=0.5), reserved(usd=0.7, months=1)]},
    "a falling API": {"plan": "[price_trends]\napi_per_year = -0.5\n", "endpoints": [api(given=0.12, made=0.24)]},
    "servers": {"plan": "[price_trends]\npurchase_per_year = -0.3\n", "ownership": CHEAP},
    "commitments": {"offers": [on_demand(), {**COMMITTED, "usage_usd_per_gpu_h": 0.62}, reserved(usd=0.65, months=1)]},
    "one on several types": {
        "offers": [on_demand(), on_demand(gpu="h100-80gb-sxm", usd=3.0), {**COMMITTED, "usage_usd_per_gpu_h": 0.62},
                   {**COMMITTED, "usage_usd_per_gpu_h": 2.0, "gpu": "h100-80gb-sxm"}],
    },
    "two workloads": {"offers": [on_demand(), reserved(usd=0.5), reserved(usd=0.7, months=1)], "plan": ALONE},
}  # fmt: skip


@pytest.mark.parametrize("world", WORLDS)
def test_no_other_way_is_cheaper_than_what_is_proven(tmp_path: Path, world: str) -> None:
    """Each way could be taken, so it costs no less than what it replaces, but for the gap."""
    stated = dict(WORLDS[world])
    days = np.repeat([2.0, 4.0, 3.0], 31) * PER_GPU_H
    chat = np.concatenate([day * (1 + 0.4 * np.sin(np.pi * np.arange(24) / 12)) for day in days]).round()
    demand = {"chat": 0.4 * chat, "code": 0.5 * np.roll(chat, 999)} if world == "two workloads" else {"chat": chat}
    plan = PLAN + (TWO if len(demand) > 1 else "") + QUARTER + str(stated.pop("plan", ""))
    path = write(tmp_path, plan=plan, rows=forecast(len(chat), demand, start=MARCH), **stated)  # type: ignore[arg-type]
    answer = told(path, gap=1e-3)
    left = answer.solution.gap * answer.solution.cost_usd + 0.01
    ways = [way for purchase in answer.plan.purchases for way in purchase.instead]
    assert ways
    assert [way for way in ways if way.usd < way.in_place_of_usd - left] == []
    assert all(p.usd <= (p.without_usd or 0.0) + 0.01 for p in answer.plan.purchases if p.epoch != "by the hour")
