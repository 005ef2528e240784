"""Whoever pays: bills by workload, supply, line and month are the plan's cost, and nobody's work is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planner_cases import (
    GPU,
    MAIN,
    MODEL,
    OWNERSHIP,
    PER_GPU_H,
    PLAN,
    Told,
    api,
    forecast,
    on_demand,
    told,
    wave,
    write,
)

CENT = 0.01
MONTH = "[horizon]\nmonths = 1\n"
TWO = (
    PLAN
    + PLAN.replace("chat", "code").replace("ttft_s = 1.0", "ttft_s = 0.8")
    + '[workloads.idle]\nmodel = "llama-3.2-1b"\n'
)
SCARCE = {"offers": [on_demand(limit_units=2)], "endpoints": [api(requests_per_minute=50)]}
CASES = {
    "reserved, on demand and API": {"plan": PLAN + MONTH},
    "owned, with its team": {"plan": PLAN, "ownership": OWNERSHIP.replace("1460", "100")},
    "two SLOs and a workload without demand": {
        "plan": TWO + MONTH,
        "rows": forecast(48, {"chat": wave(48), "code": wave(48, 1.7 * PER_GPU_H, 0.8), "idle": 0.0}),
    },
    "fleet beside what is rented": {"plan": PLAN + MONTH + f'[[fleet]]\ngpu = "{GPU}"\ngpus = 3\n'},
    "discounted months": {"plan": PLAN + "[horizon]\nmonths = 4\ndiscount_rate_per_year = 0.08\n"},
    "growing": {"plan": PLAN + "[horizon]\nmonths = 4\n[growth]\nrequests_per_year = 0.9\n"},
    "a horizon in hours": {"plan": PLAN + "[horizon]\nhours = 100\n"},
    "work left unserved": {"plan": PLAN + MONTH + '[policy]\nforbid = ["buy"]\n', **SCARCE},
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def answer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """Each kind of plan, solved once."""
    return told(write(tmp_path_factory.mktemp("case"), **request.param))


def line(answer: Told, name: str) -> float:
    return sum(amount.usd for amount in answer.plan.lines if amount.name == name)


def test_lines_add_up_to_the_bill(answer: Told) -> None:
    """Over the plan and in every month, to the cent."""
    plan = answer.plan
    assert sum(amount.usd for amount in plan.lines) == pytest.approx(plan.cost_usd, abs=CENT)
    assert sum(month.usd for month in plan.months) == pytest.approx(plan.cost_usd, abs=CENT)
    for month in plan.months:
        assert sum(amount.usd for amount in month.lines) == pytest.approx(month.usd, abs=CENT)


def test_workloads_bills_add_up_to_the_bill(answer: Told) -> None:
    """Every cent belongs to a workload; one without demand pays nothing."""
    assert sum(served.usd for served in answer.plan.workloads) == pytest.approx(answer.plan.cost_usd, abs=CENT)
    assert all(served.usd == 0 for served in answer.plan.workloads if served.name == "idle")


def test_supplies_bills_add_up_to_the_bill(answer: Told) -> None:
    """What supplies cost, the team included, and the price of what nobody serves."""
    total = sum(supply.usd for supply in answer.plan.supplies) + line(answer, "unserved")
    assert total == pytest.approx(answer.plan.cost_usd, abs=CENT)


def test_purchases_are_the_bill_without_what_hours_cost(answer: Told) -> None:
    """Purchases, then the team, busy power, APIs and the price of what nobody serves."""
    by_the_hour = sum(line(answer, name) for name in ("staff", "busy power", "API", "unserved"))
    total = sum(purchase.usd for purchase in answer.plan.purchases) + by_the_hour
    assert total == pytest.approx(answer.plan.cost_usd, abs=CENT)
    for purchase in answer.plan.purchases:
        assert sum(amount.usd for amount in purchase.lines) == pytest.approx(purchase.usd, abs=CENT)


def test_every_request_is_served_or_said_to_be_unserved(answer: Told) -> None:
    """Requests and tokens of supplies, and the unserved, are the forecast's over the horizon."""
    plan, whole = answer.plan, answer.case.forecast
    assert whole.hours == plan.horizon_hours
    requests = whole.requests.sum()
    served = sum(supply.requests for supply in plan.supplies)
    assert served + plan.unserved_requests == pytest.approx(requests, rel=1e-9)
    tokens = sum(supply.input_tokens for supply in plan.supplies), sum(s.output_tokens for s in plan.supplies)
    missed = np.array(MAIN) * plan.unserved_requests
    assert tokens + missed == pytest.approx((whole.input_tokens.sum(), whole.output_tokens.sum()), rel=1e-6)
    assert sum(supply.request_share for supply in plan.supplies) == pytest.approx(served / requests)
    for workload, asked in zip(plan.workloads, whole.requests.sum(axis=0), strict=True):
        assert workload.requests == pytest.approx(asked, rel=1e-9)


def test_every_hour_balances(answer: Told) -> None:
    """In every hour and for every workload: served and unserved make up the demand."""
    hours = answer.hours
    total = sum(hours.served.values()) + hours.unserved
    assert total == pytest.approx(hours.demand, rel=1e-6, abs=1e-6)
    assert hours.demand == pytest.approx(answer.case.forecast.requests, rel=1e-6, abs=1e-6)


def test_no_gpu_works_that_is_not_held(answer: Told) -> None:
    """In every hour each scheme's busy GPUs are at most its held ones, and neither is negative."""
    hours = answer.hours
    for scheme, held in hours.gpus_held.items():
        busy = hours.gpus_busy[scheme]
        assert (busy >= -1e-9).all()
        assert (busy <= held + 1e-6).all()
        gpu_h = (hours.served[scheme] @ np.array([1 / PER_GPU_H] * len(hours.workloads))).sum()
        assert gpu_h == pytest.approx(busy.sum(), rel=1e-6)


def test_a_purchase_can_be_recomputed_from_its_price_row(answer: Told) -> None:
    """GPU-hours that it provides times its average price are its cost; each names its source and its day."""
    for purchase in answer.plan.purchases:
        assert purchase.usd_per_gpu_h is not None
        gpu_h = purchase.usd / purchase.usd_per_gpu_h
        assert gpu_h <= purchase.gpus * answer.plan.horizon_hours * (1 + 1e-9)
        assert (purchase.source.text, purchase.source.as_of, purchase.source.stale) == ("quote", "2026-11-01", False)
        assert "of its capacity at the SLO is used" in purchase.why


def test_gpu_cost_goes_to_workloads_by_the_gpu_hours_they_used(tmp_path: Path) -> None:
    """Three GPUs' work beside one GPU's work: three quarters of the bill and one quarter."""
    rows = forecast(24, {"chat": 3 * PER_GPU_H, "code": PER_GPU_H})
    plan = PLAN + f'[workloads.code]\nmodel = "{MODEL}"\nslo = {{ ttft_s = 1.0, tpot_s = 0.05 }}\nowner = "devs"\n'
    answer = told(write(tmp_path, plan=plan + '[policy]\nforbid = ["api"]\n', rows=rows))
    chat, code = answer.plan.workloads
    assert chat.usd == pytest.approx(3 * code.usd)
    assert code.owner == "devs"
    assert chat.usd_per_mtok == pytest.approx(1e6 * chat.usd / (chat.requests * sum(MAIN)))


def test_the_team_belongs_to_the_gpus_it_runs(tmp_path: Path) -> None:
    """An owned supply's bill holds its purchases, its power and the team."""
    answer = told(write(tmp_path, plan=PLAN + '[policy]\nforbid = ["api", "reserved", "on-demand"]\n'))
    (supply,) = answer.plan.supplies
    assert supply.usd == pytest.approx(answer.plan.cost_usd, abs=CENT)
    assert line(answer, "staff") == pytest.approx(1460 * 12)
