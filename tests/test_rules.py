"""Rules of plan.toml: stocks and the plan's first day act as stated; what contradicts or starves a plan is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planner_cases import GPU, MAIN, OWNERSHIP, PER_GPU_H, PLAN, api, forecast, on_demand, reserved, stated, told, write

from hardware_profiles.faults import InputError
from planner.fewer import fewer
from planner.problem import Limit

MONTH = "[horizon]\nmonths = 1\n"
FLAT = forecast(24, {"chat": 4 * PER_GPU_H})
RENTED = '[policy]\nforbid = ["buy", "api", "reserved"]\n'
WEEK = 168


def faults(path: Path) -> list[str]:
    with pytest.raises(InputError) as raised:
        stated(path)
    return str(raised.value).replace(f"{path.parent}/", "").splitlines()


def test_a_stock_of_plan_toml_limits_each_offer_that_it_names(tmp_path: Path) -> None:
    """At most three of the cheaper seller's GPUs, none of the next one's, the rest from the third."""
    offers = [on_demand("a", 0.5), on_demand("b", 0.6, limit_units=50), on_demand("c", 1.0)]
    stock = '[[stock]]\nprovider = "a"\ngpus = 3\n[[stock]]\nprovider = "b"\ngpu = "L4"\nkind = "on-demand"\ngpus = 0\n'
    answer = told(write(tmp_path, plan=PLAN + MONTH + RENTED + stock, rows=FLAT, offers=offers))
    assert {purchase.provider: purchase.gpus for purchase in answer.plan.purchases} == {"a": 3, "c": 1}


def test_the_lesser_stock_counts_and_units_are_whole(tmp_path: Path) -> None:
    """Seven GPUs in units of four are one unit; a row's own smaller limit stays."""
    offers = [on_demand("a", 0.5, gpus_per_unit=4), on_demand("b", 0.6, limit_units=2)]
    stock = '[[stock]]\nkind = "on-demand"\ngpus = 7\n'
    case = stated(write(tmp_path, plan=PLAN + MONTH + RENTED + stock, rows=FLAT, offers=offers))
    assert {info.provider: info.offer.max_units for info in case.offers} == {"a": 1, "b": 2}


def test_servers_have_a_stock_too(tmp_path: Path) -> None:
    """Servers of four: seven GPUs to be had are one server."""
    cheap = OWNERSHIP.replace("1460", "0").replace("value = 3000", "value = 300")
    stock = '[[stock]]\nkind = "buy"\ngpus = 7\n'
    rows = forecast(24, {"chat": 8 * PER_GPU_H})
    answer = told(write(tmp_path, plan=PLAN + stock, rows=rows, ownership=cheap, offers=[on_demand()]))
    (bought,) = [purchase for purchase in answer.plan.purchases if purchase.scheme == "owned"]
    assert bought.gpus == 4


def test_a_stock_of_nothing_or_of_nobody_is_a_fault(tmp_path: Path) -> None:
    """It names something, and that is known."""
    assert faults(write(tmp_path / "a", plan=PLAN + "[[stock]]\ngpus = 3\n")) == [
        (
            "plan.toml:5: column 'stock.0': the stock of nothing is stated. "
            "Remedy: write provider, gpu or kind beside gpus."
        )
    ]
    assert faults(write(tmp_path / "b", plan=PLAN + '[[stock]]\ngpus = 3\nprovider = "rend"\n')) == [
        "plan.toml:7: column 'stock.0.provider', value 'rend': the price book has no such provider. Remedy: write rent."
    ]


def test_a_stock_by_month_is_refused_by_name(tmp_path: Path) -> None:
    """A stock holds for the whole plan; one that comes or goes is told with its place and what to do until then."""
    stock = (
        '[[stock]]\nkind = "buy"\ngpus = 8\n[[stock]]\nkind = "spot"\ngpus = 4\nfrom = 2027-06-01\nuntil = 2027-09-01\n'
    )
    remedy = "Remedy: state the stock of the months with the least of it."
    assert faults(write(tmp_path, plan=PLAN + stock)) == [
        f"plan.toml:{line}: column 'stock.1.{key}': is not supported yet. {remedy}"
        for line, key in ((11, "from"), (12, "until"))
    ]


def test_the_plan_begins_on_its_day(tmp_path: Path) -> None:
    """From the third day of a forecast of two weeks; where it ends, its last weeks are repeated in step."""
    wave = np.arange(2 * WEEK, dtype=float) + 1000
    rows = forecast(2 * WEEK, {"chat": wave})
    plan = PLAN + "[horizon]\nstart = 2027-01-06\nhours = 300\n"
    answer = told(write(tmp_path, plan=plan, rows=rows))
    assert answer.hours.demand[:, 0] == pytest.approx([*wave[48:], *wave[:12]])
    assert answer.plan.horizon_start == "2027-01-06T00:00:00+00:00"
    assert (
        "The plan begins on 2027-01-06: the forecast's first 48 h are left out. Where its 336 h end, its last whole "
        "weeks are repeated." in answer.plan.notes
    )
    inside = stated(write(tmp_path / "b", plan=PLAN + "[horizon]\nstart = 2027-01-06\nhours = 24\n", rows=rows))
    assert inside.forecast.requests[:, 0] == pytest.approx(wave[48:72])
    assert "The plan begins on 2027-01-06: the forecast's first 48 h are left out." in inside.notes


def test_months_are_counted_from_the_first_day_of_the_plan(tmp_path: Path) -> None:
    """A plan of two months from February on: 28 and 31 days."""
    plan = PLAN + "[horizon]\nstart = 2027-02-01\nmonths = 2\ndiscount_rate_per_year = 0.01\n"
    case = stated(write(tmp_path, plan=plan, rows=FLAT))
    assert [(epoch.name, epoch.hours) for epoch in case.problem.epochs] == [("2027.02", 28 * 24), ("2027.03", 31 * 24)]


def test_a_plan_cannot_begin_before_its_forecast(tmp_path: Path) -> None:
    """Nobody knows what is asked for then."""
    assert faults(write(tmp_path, plan=PLAN + "[horizon]\nstart = 2027-01-03\n", rows=FLAT)) == [
        (
            "plan.toml:6: column 'horizon.start', value '2027-01-03': lies before the forecast's first hour "
            "(2027-01-04T00:00Z). Remedy: write a later day, or leave it out."
        )
    ]


FLEET = f'[[fleet]]\ngpu = "{GPU}"\ngpus = 6\n'


def test_a_fleet_beyond_the_caps_is_named_before_solving(tmp_path: Path) -> None:
    """Both caps at once: which rule, by how much, what to do."""
    plan = PLAN + "[site]\nmax_kw = 1.0\n[policy]\nmax_owned_gpus = 5\n" + FLEET
    assert faults(write(tmp_path, plan=plan, rows=FLAT)) == [
        (
            "plan.toml:8: column 'policy.max_owned_gpus', value '5': 6 GPUs are owned already, 1 more than it allows. "
            "Remedy: write 6 or more, or take GPUs out of [[fleet]]."
        ),
        (
            "plan.toml:6: column 'site.max_kw', value '1': GPUs that are owned already draw 1.2 kW, 0.2 more than it "
            "allows. Remedy: write 2 or more, or take GPUs out of [[fleet]]."
        ),
    ]


RACKED = OWNERSHIP.replace("[site]", 'rack_units = { value = 0.5, source = "quote" }\n[site]')


def test_rack_units_are_a_cap_like_power(tmp_path: Path) -> None:
    """Servers of four take two units each: in three and a half there is one, in four there are two."""
    cheap = RACKED.replace("1460", "0").replace("value = 3000", "value = 300")
    rows = forecast(24, {"chat": 8 * PER_GPU_H})
    for units, bought in ((3.5, 4), (4.0, 8)):
        plan = PLAN + f'[site]\nmax_rack_units = {units}\n[policy]\nforbid = ["reserved"]\n'
        answer = told(write(tmp_path / str(bought), plan=plan, rows=rows, ownership=cheap, offers=[on_demand()]))
        assert sum(p.gpus for p in answer.plan.purchases if p.scheme == "owned") == bought
        assert answer.plan.checks == ()
    plan = PLAN + MONTH + '[site]\nmax_rack_units = 3.5\n[policy]\nforbid = ["api", "on-demand", "reserved"]\n'
    said = told(write(tmp_path / "short", plan=plan, rows=rows, ownership=cheap)).plan.warnings[1]
    assert "requests are unserved because of site.max_rack_units (3.5); policy.forbid" in said
    plan = PLAN + "[site]\nmax_rack_units = 2.5\n" + FLEET
    assert faults(write(tmp_path / "full", plan=plan, ownership=RACKED)) == [
        (
            "plan.toml:6: column 'site.max_rack_units', value '2.5': GPUs that are owned already take 3 rack units, "
            "0.5 more than it allows. Remedy: write 3 or more, or take GPUs out of [[fleet]]."
        )
    ]


def test_a_cap_goes_with_the_last_offer_that_it_holds_for(tmp_path: Path) -> None:
    """A strategy without owned GPUs knows no cap on them, so the search for it can begin."""
    case = stated(write(tmp_path, plan=PLAN + "[site]\nmax_kw = 8.0\n", rows=FLAT))
    assert [limit.name for limit in case.problem.limits] == ["site_kw"]
    rented = fewer(case, lambda info: not info.owned, lambda _: True)
    assert rented.problem.limits == ()
    with pytest.raises(ValueError, match="limit site_kw: holds for no offer"):
        replace(case.problem, limits=(Limit("site_kw", {}, 8.0),))


def test_what_nobody_knows_to_fit_is_not_bought(tmp_path: Path) -> None:
    """Without a height a server cannot be chosen under a cap; GPUs that are there count as none, and that is said."""
    plan = PLAN + "[site]\nmax_rack_units = 8.0\n" + FLEET
    assert faults(write(tmp_path, plan=plan, rows=FLAT)) == [
        (
            f"plan.toml:6: column 'site.max_rack_units', value '8': nobody states what servers of {GPU} take of it. "
            "Remedy: write rack_units of each in ownership.toml, or forbid buying them (policy.forbid_gpus)."
        )
    ]
    kept = stated(write(tmp_path, plan=plan + '[policy]\nforbid = ["buy"]\n', rows=FLAT))
    assert (
        f"{GPU} of the fleet count as none under site.max_rack_units, since ownership.toml has no rack_units of them: "
        "lower it by what they take."
    ) in kept.notes


def test_a_fleet_that_grows_beyond_a_cap_says_when(tmp_path: Path) -> None:
    """Ordered GPUs that arrive in February are too many from March on."""
    ordered = FLEET + "arrives = 2027-02-10\n"
    plan = PLAN + "[horizon]\nmonths = 4\n[policy]\nmax_owned_gpus = 5\n" + ordered
    assert faults(write(tmp_path, plan=plan, rows=FLAT)) == [
        (
            "plan.toml:8: column 'policy.max_owned_gpus', value '5': 6 GPUs are owned already from 2027.03 on, 1 more "
            "than it allows. Remedy: write 6 or more, or take GPUs out of [[fleet]]."
        )
    ]


def test_what_is_there_counts_under_the_caps(tmp_path: Path) -> None:
    """Four owned already and at most seven: no further server of four is bought; at most eight: one is."""
    cheap = OWNERSHIP.replace("1460", "0").replace("value = 3000", "value = 300")
    rows = forecast(24, {"chat": 8 * PER_GPU_H})
    for cap, bought in ((7, 0.0), (8, 4.0)):
        plan = PLAN + f"[policy]\nmax_owned_gpus = {cap}\n" + FLEET.replace("6", "4")
        answer = told(write(tmp_path / str(cap), plan=plan, rows=rows, ownership=cheap, offers=[on_demand()]))
        assert sum(p.gpus for p in answer.plan.purchases if p.scheme == "owned") == bought


def test_nobody_in_the_region_is_said_in_the_users_words(tmp_path: Path) -> None:
    """A residency that no supply meets is one fault that names it."""
    resident = PLAN.replace("[workloads.chat]", '[workloads.chat]\nresidency = ["eu"]')
    offers, endpoints = [on_demand(region="us")], [{**api("other", region="eu"), "model": "qwen3-32b"}]
    assert faults(
        write(tmp_path, plan=resident + RENTED.replace(', "api"', ""), offers=offers, endpoints=endpoints)
    ) == [
        (
            "column 'workload', value 'chat': model 'llama-3.2-1b' can be served by no GPU and no API (its residency "
            "is eu, and nothing that serves it is known to stand there). Remedy: relax the SLO, name another model, "
            "measure it with `bench run`, or add an endpoint."
        )
    ]


def test_unserved_work_names_the_limits_that_hold(tmp_path: Path) -> None:
    """A stock of two units, an API's rate and what is forbidden, in the hours that are short."""
    offers, endpoints = [on_demand(limit_units=2)], [api(tokens_per_minute=1200 * 60)]
    policy = '[policy]\nforbid = ["buy", "reserved"]\n'
    answer = told(write(tmp_path, plan=PLAN + MONTH + policy, rows=FLAT, offers=offers, endpoints=endpoints))
    unserved = (2 * PER_GPU_H - 3600) * 31 * 24
    assert answer.plan.unserved_requests == pytest.approx(unserved)
    assert answer.plan.warnings[0].endswith("cannot be served by anything in the price book.")
    assert answer.plan.warnings[1] == (
        f"chat: {unserved:,.0f} requests are unserved because of the stock of {GPU} on demand at rent (2 units); the "
        "tokens per minute that sells API (llama-3.2-1b) takes (72,000); policy.forbid (buy, reserved)."
    )
    assert sum(MAIN) == 1200


def test_unserved_work_names_caps_and_lead_times(tmp_path: Path) -> None:
    """One server of four is all that the house may own, it comes a month late, and reserved GPUs are few."""
    plan = (
        PLAN + '[horizon]\nmonths = 3\n[site]\nlead_time_months = 1\n[policy]\nforbid = ["api", "on-demand"]\n'
        "max_owned_gpus = 5\n"
    )
    rows = forecast(24, {"chat": 8 * PER_GPU_H})
    answer = told(write(tmp_path, plan=plan, rows=rows, offers=[reserved(months=3, limit_units=1)]))
    said = answer.plan.warnings[1]
    assert said.startswith("chat: ")
    assert said.endswith(
        f" requests are unserved because of the lead time of {GPU} owned; policy.max_owned_gpus (5); the stock of "
        f"{GPU} reserved 3 months at rent (1 unit); policy.forbid (api, on-demand)."
    )


def test_work_that_is_worth_little_names_no_limit(tmp_path: Path) -> None:
    """Where plan.toml says what a request is worth, leaving it is a choice."""
    plan = PLAN + "unserved_usd_per_request = 0.0\n" + MONTH + RENTED
    answer = told(write(tmp_path, plan=plan, rows=FLAT, offers=[on_demand(limit_units=2)]))
    assert answer.plan.unserved_requests > 0
    assert not [text for text in answer.plan.warnings if "because of" in text]
