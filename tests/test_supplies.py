"""Price rows become offers: each line of a bill can be recomputed by hand, and rules of the house act as stated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
    cost,
    forecast,
    on_demand,
    reserved,
    stated,
    told,
    wave,
    write,
)

from planner.plan import Purchase

JAN_4_TO_FEB_4 = 31 * 24
YEAR = 8760
FLAT = forecast(24, {"chat": 4 * PER_GPU_H})
"""Four GPUs' work in every hour."""
ONE_MONTH = "[horizon]\nmonths = 1\n"


def only(*ways: str) -> str:
    """The policy that forbids all but these ways to serve."""
    rest = [way for way in ("buy", "reserved", "on-demand", "api") if way not in ways]
    return f"[policy]\nforbid = {rest}\n".replace("'", '"')


def lines(purchase: Purchase) -> dict[str, float]:
    return {line.name: line.usd for line in purchase.lines}


def the(answer: Told, scheme: str) -> Purchase:
    """The one purchase of a scheme."""
    (found,) = [purchase for purchase in answer.plan.purchases if purchase.scheme == scheme]
    return found


def test_on_demand_costs_its_price_for_every_hour_that_it_is_on(tmp_path: Path) -> None:
    """Four GPUs at 1.25 USD for each of the 744 hours of a month."""
    answer = told(write(tmp_path, plan=PLAN + ONE_MONTH + only("on-demand"), rows=FLAT, offers=[on_demand(usd=1.25)]))
    bought = the(answer, "on demand")
    assert (bought.units, bought.gpus, bought.epoch) == (4, 4, "by the hour")
    assert bought.usd == pytest.approx(4 * 1.25 * JAN_4_TO_FEB_4, abs=0.005)
    assert bought.usd_per_gpu_h == pytest.approx(1.25)
    assert bought.utilisation == pytest.approx(1.0)


def test_units_of_several_gpus_are_paid_whole(tmp_path: Path) -> None:
    """Work for four GPUs on units of eight: eight are paid, half are used."""
    path = write(tmp_path, plan=PLAN + ONE_MONTH + only("on-demand"), rows=FLAT, offers=[on_demand(gpus_per_unit=8)])
    bought = the(told(path), "on demand")
    assert (bought.units, bought.gpus) == (1, 8)
    assert bought.usd == pytest.approx(8 * JAN_4_TO_FEB_4)
    assert bought.utilisation == pytest.approx(0.5)


def test_a_term_that_divides_the_horizon_owes_nothing_past_it(tmp_path: Path) -> None:
    """Four GPUs at 0.50 USD for a year of 8,760 hours: by the year, and by the month renewed twelve times."""
    for months in (12, 1):
        offer = reserved(usd=0.5, months=months)
        bought = the(told(write(tmp_path, plan=PLAN + only("reserved"), rows=FLAT, offers=[offer])), "reserved")
        assert lines(bought) == {"reserved GPUs": pytest.approx(4 * 0.5 * YEAR)}
        assert bought.term_months == months


def test_money_upfront_is_paid_again_with_every_renewal(tmp_path: Path) -> None:
    """1,000 USD upfront per GPU and year, two years: 2,000 USD per GPU beside 0.10 USD per hour."""
    offer = reserved(usd=0.1, upfront_usd_per_unit=1000)
    path = write(tmp_path, plan=PLAN + "[horizon]\nmonths = 24\n" + only("reserved"), rows=FLAT, offers=[offer])
    bought = the(told(path), "reserved")
    hours = (365 + 366) * 24  # the second year holds 29 February 2028
    assert bought.usd == pytest.approx(4 * (2 * 1000 + 0.1 * hours))


def test_owned_gpus_cost_what_their_figures_say(tmp_path: Path) -> None:
    """A server of four, kept twelve months and sold for 60 % of its price, line by line; the team once."""
    answer = told(write(tmp_path, plan=PLAN + only("buy"), rows=FLAT))
    assert lines(the(answer, "owned")) == {
        "GPU purchase": pytest.approx(4 * 3000),
        "chassis": pytest.approx(4 * 1000),
        "network": pytest.approx(4 * 500),
        "repairs": pytest.approx(4 * 0.04 * 3000),
        "support": pytest.approx(4 * 7.3 * 12),
        "idle power": pytest.approx(4 * 0.050 * 1.5 * 0.1 * YEAR),
        "rack": pytest.approx(4 * 0.200 * 73 * 12),
        "residual value": pytest.approx(-4 * 4500 * 0.6),
    }
    bill = {line.name: line.usd for line in answer.plan.lines}
    assert bill["staff"] == pytest.approx(1460 * 12)
    assert bill["busy power"] == pytest.approx(4 * (0.150 - 0.050) * 1.5 * 0.1 * YEAR)


def test_site_figures_of_the_plan_take_the_place_of_the_price_books(tmp_path: Path) -> None:
    """Power at 0.20 USD, PUE 1.2, racks at 146 USD per kW, no fixed team but 10 USD per GPU and month."""
    site = (
        "[site]\npower_usd_per_kwh = 0.2\npue = 1.2\ncolocation_usd_per_kw_month = 146.0\nstaff_usd_per_month = 0.0\n"
        "staff_usd_per_gpu_month = 10.0\n"
    )
    answer = told(write(tmp_path, plan=PLAN + site + only("buy"), rows=FLAT))
    owned = lines(the(answer, "owned"))
    assert owned["idle power"] == pytest.approx(4 * 0.050 * 1.2 * 0.2 * YEAR)
    assert owned["rack"] == pytest.approx(4 * 0.200 * 146 * 12)
    assert owned["staff per GPU"] == pytest.approx(4 * 10 * 12)
    assert "staff" not in {line.name for line in answer.plan.lines}


def test_spares_are_bought_and_sold_with_what_they_stand_in_for(tmp_path: Path) -> None:
    """A tenth of GPUs and chassis on top, a line of its own; 60 % of it comes back; nothing else moves."""
    bare = lines(the(told(write(tmp_path / "a", plan=PLAN + only("buy"), rows=FLAT)), "owned"))
    plan = PLAN + "[site]\nspares_share = 0.1\n" + only("buy")
    answer = told(write(tmp_path / "b", plan=plan, rows=FLAT))
    spared = lines(the(answer, "owned"))
    assert spared.pop("spares") == pytest.approx(0.1 * 4 * 4000)
    assert spared.pop("residual value") == pytest.approx(-0.6 * 4 * (4500 + 400))
    assert spared == {name: usd for name, usd in bare.items() if name != "residual value"}
    assert answer.plan.checks == ()


def test_spares_can_tip_the_choice(tmp_path: Path) -> None:
    """A server that is cheaper than renting by less than its spares cost is bought without them, and not with them."""
    plan = PLAN + '[policy]\nforbid = ["api"]\n'
    bought = told(write(tmp_path / "a", plan=plan, rows=FLAT, offers=[on_demand(usd=0.85)])).plan.purchases
    assert [purchase.scheme for purchase in bought] == ["owned"]
    share = PLAN + '[site]\nspares_share = 1.0\n[policy]\nforbid = ["api"]\n'
    bought = told(write(tmp_path / "b", plan=share, rows=FLAT, offers=[on_demand(usd=0.85)])).plan.purchases
    assert [purchase.scheme for purchase in bought] == ["on demand"]


def test_the_team_is_paid_whole_or_not_at_all(tmp_path: Path) -> None:
    """One server or two: the same charge, shown as a line. No server: no line."""
    for mean, servers in ((4 * PER_GPU_H, 1), (8 * PER_GPU_H, 2)):
        answer = told(write(tmp_path, plan=PLAN + only("buy"), rows=forecast(24, {"chat": mean})))
        assert the(answer, "owned").units == servers
        assert {line.name: line.usd for line in answer.plan.lines}["staff"] == pytest.approx(1460 * 12)
    rented = told(write(tmp_path, plan=PLAN + only("on-demand"), rows=FLAT))
    assert [line.name for line in rented.plan.lines] == ["on demand"]


@pytest.mark.parametrize(("arrives", "months"), [("", 0), ("arrives = 2027-02-04\n", 1)])
def test_a_team_that_is_there_is_not_charged_again(tmp_path: Path, arrives: str, months: int) -> None:
    """Beside a GPU that is owned already a server is bought without its team, but for January without that GPU."""
    fleet = f'[[fleet]]\ngpu = "{GPU}"\ngpus = 1\n{arrives}'
    plan = PLAN + "[horizon]\nmonths = 3\n" + only("buy") + fleet
    answer = told(write(tmp_path, plan=plan, rows=FLAT))
    assert the(answer, "owned").units == 1
    bill = {line.name: line.usd for line in answer.plan.lines}
    assert bill.get("staff", 0.0) == pytest.approx(1460 * 12 / YEAR * 31 * 24 * months)
    assert answer.plan.checks == ()
    (note,) = (note for note in answer.plan.notes if note.startswith("The team for owned GPUs is there already"))
    assert (" in 2 of 3 months" in note) == bool(months)


def test_a_sale_at_the_end_is_worth_less_today(tmp_path: Path) -> None:
    """At 8 % a year 60 % of the price after twelve months counts as 0.6 / 1.08."""
    plan = PLAN + "[horizon]\ndiscount_rate_per_year = 0.08\n" + only("buy")
    bought = the(told(write(tmp_path, plan=plan, rows=FLAT)), "owned")
    assert bought.epoch == "2027.01"
    assert lines(bought)["residual value"] == pytest.approx(-4 * 4500 * 0.6 / 1.08)
    assert lines(bought)["GPU purchase"] == pytest.approx(4 * 3000)


def test_a_rate_makes_monthly_epochs_and_later_money_cheaper(tmp_path: Path) -> None:
    """Month m's GPU-hours count (1.08)^(-m/12) of their price."""
    plan = PLAN + "[horizon]\nmonths = 3\ndiscount_rate_per_year = 0.08\n" + only("on-demand")
    answer = told(write(tmp_path, plan=plan, rows=FLAT))
    assert [month.name for month in answer.plan.months] == ["2027.01", "2027.02", "2027.03"]
    lengths = (31 * 24, 28 * 24, 31 * 24)
    expected = [4 * hours * 1.08 ** (-m / 12) for m, hours in enumerate(lengths)]
    assert [month.usd for month in answer.plan.months] == pytest.approx(expected)


def test_an_endpoint_costs_its_tokens(tmp_path: Path) -> None:
    """USD per million tokens in and out, for every request of the month."""
    answer = told(
        write(tmp_path, plan=PLAN + ONE_MONTH + only("api"), rows=FLAT, endpoints=[api(given=0.15, made=0.6)])
    )
    (supply,) = answer.plan.supplies
    requests = 4 * PER_GPU_H * JAN_4_TO_FEB_4
    assert supply.requests == pytest.approx(requests)
    assert supply.usd == pytest.approx(requests * (MAIN[0] * 0.15 + MAIN[1] * 0.6) / 1e6)


DOMINATED: dict[str, Mapping[str, object]] = {
    "dearer": on_demand("dear", 1.3),
    "as dear": on_demand("zz-same", 1.0),
    "dearer and coarser": on_demand("coarse", 1.01, gpus_per_unit=8),
    "dearer with little stock": on_demand("scarce", 1.1, limit_units=2),
    "the same term dearer": reserved("term", 0.61),
    "the same price and money upfront": reserved("upfront", 0.6, upfront_usd_per_unit=10),
}


@pytest.mark.parametrize("row", DOMINATED.values(), ids=DOMINATED)
def test_a_dominated_row_changes_nothing_and_is_left_out(tmp_path: Path, row: Mapping[str, object]) -> None:
    """Another row sells the same finer and no dearer: the problem is the same without it."""
    rows = [on_demand(), reserved()]
    before = stated(write(tmp_path / "a", offers=rows, plan=PLAN + ONE_MONTH))
    after = stated(write(tmp_path / "b", offers=[row, *rows], plan=PLAN + ONE_MONTH))
    assert after.problem.offers == before.problem.offers
    assert after.problem.pools == before.problem.pools


@pytest.mark.parametrize(
    "row",
    [
        on_demand("coarse", 0.9, gpus_per_unit=8),
        reserved("short", 0.7, months=3),
        reserved("upfront", 0.4, upfront_usd_per_unit=1000),
        on_demand("scarce", 0.5, limit_units=1),
    ],
    ids=["cheaper but coarser", "shorter", "less by the hour", "scarce"],
)
def test_a_row_with_an_advantage_is_kept(tmp_path: Path, row: Mapping[str, object]) -> None:
    """What is better in one respect stays in the problem, beside what it cannot replace."""
    rows = [on_demand(), reserved()]
    labels = {info.label for info in stated(write(tmp_path, offers=[*rows, row], plan=PLAN)).offers}
    assert {f"{GPU} on demand at rent", f"{GPU} reserved 12 months at rent"} <= labels
    assert any(str(row["provider"]) in label for label in labels)


def test_a_small_discount_for_money_upfront_does_not_hide_the_term_without(tmp_path: Path) -> None:
    """Cheaper on average over its term, but not over a shorter horizon after which the term is bought out."""
    rows = [reserved("plain", 0.6), reserved("upfront", 0.0, upfront_usd_per_unit=5200)]
    plan = PLAN + '[horizon]\nmonths = 3\ntail = "buyout"\nbuyout_share = 0.1\n' + only("reserved")
    bought = the(told(write(tmp_path, plan=plan, rows=FLAT, offers=rows)), "reserved")
    assert bought.provider == "plain"


FORBIDDEN = {
    "a way": '[policy]\nforbid = ["reserved"]\n',
    "another way": '[policy]\nforbid = ["on-demand"]\n',
    "api": '[policy]\nforbid = ["api"]\n',
    "a provider": '[policy]\nforbid_providers = ["rent"]\n',
    "a GPU": f'[policy]\nforbid_gpus = ["{GPU}"]\n',
    "owning": "[policy]\nmax_owned_gpus = 0\n",
}


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> tuple[float, float]:
    """Cost and bound of the plan that nothing is forbidden to; it owns, reserves, rents and calls."""
    return cost(write(tmp_path_factory.mktemp("free"), plan=PLAN, ownership=CHEAP))


CHEAP = OWNERSHIP.replace("1460", "100")


@pytest.mark.parametrize("policy", FORBIDDEN.values(), ids=FORBIDDEN)
def test_forbidding_never_makes_the_plan_cheaper(tmp_path: Path, policy: str, free: tuple[float, float]) -> None:
    """Whatever is forbidden, the plan costs no less than no plan can cost without the rule."""
    usd, bound = cost(write(tmp_path, plan=PLAN + policy, ownership=CHEAP))
    assert usd >= free[1] - 0.005
    assert usd >= bound - 0.005


def test_what_is_forbidden_is_not_used(tmp_path: Path) -> None:
    """No purchase and no supply of a forbidden provider, way or GPU."""
    rows = [on_demand("a", 0.5), on_demand("b", 1.0), reserved("a", 0.3)]
    policy = '[policy]\nforbid = ["buy", "api"]\nforbid_providers = ["a"]\n'
    answer = told(write(tmp_path, plan=PLAN + ONE_MONTH + policy, offers=rows))
    assert {purchase.provider for purchase in answer.plan.purchases} == {"b"}
    assert {supply.scheme for supply in answer.plan.supplies} == {"on demand"}


def test_no_more_gpus_are_owned_than_allowed(tmp_path: Path) -> None:
    """Seven allowed in servers of four: one server, though two would be bought."""
    policy = "[policy]\nmax_owned_gpus = 7\n"
    rows = forecast(24, {"chat": 8 * PER_GPU_H})
    unlimited = told(write(tmp_path, ownership=CHEAP, rows=rows, offers=[on_demand()]))
    assert the(unlimited, "owned").gpus == 8
    limited = told(write(tmp_path, plan=PLAN + policy, ownership=CHEAP, rows=rows, offers=[on_demand()]))
    assert the(limited, "owned").gpus == 4
    assert limited.plan.cost_usd > unlimited.plan.cost_usd


def test_gpus_that_are_there_serve_first_and_cost_their_busy_power_only(tmp_path: Path) -> None:
    """Three owned of the four that are needed: only one more is rented; the bill of the three is their busy power."""
    fleet = f'[[fleet]]\ngpu = "{GPU}"\ngpus = 3\n'
    answer = told(write(tmp_path, plan=PLAN + ONE_MONTH + only("on-demand") + fleet, rows=FLAT))
    assert the(answer, "on demand").gpus == 1
    (there,) = [supply for supply in answer.plan.supplies if supply.scheme == "existing"]
    assert there.request_share == pytest.approx(0.75)
    assert there.usd == pytest.approx(3 * 0.1 * 1.5 * 0.1 * JAN_4_TO_FEB_4)


@pytest.mark.parametrize(
    ("until", "months"), [("2027-02-04", 1), ("2027-03-03", 1), ("2027-04-04", 3), ("2026-12-01", 0)]
)
def test_a_reserved_fleet_serves_until_it_is_gone(tmp_path: Path, until: str, months: int) -> None:
    """Four reserved GPUs serve the months that end by `until`; a month that they leave early is not counted on."""
    fleet = f'[[fleet]]\ngpu = "{GPU}"\ngpus = 4\nkind = "reserved"\nuntil = {until}\n'
    plan = PLAN + "[horizon]\nmonths = 3\n" + only("on-demand") + fleet
    answer = told(write(tmp_path, plan=plan, rows=FLAT))
    lengths = [31 * 24, 28 * 24, 31 * 24]
    assert [month.usd for month in answer.plan.months] == pytest.approx(
        [0.0] * months + [4.0 * h for h in lengths[months:]]
    )


def test_a_fleet_that_no_curve_knows_is_told_and_changes_nothing(tmp_path: Path) -> None:
    """GPUs without a curve of the model cannot serve: the plan is the one without them, and says so."""
    plan = PLAN + ONE_MONTH
    before = told(write(tmp_path / "a", plan=plan))
    after = told(write(tmp_path / "b", plan=plan + '[[fleet]]\ngpu = "h100-80gb-sxm"\ngpus = 8\n'))
    assert after.plan.cost_usd == before.plan.cost_usd
    assert "8 h100-80gb-sxm of the fleet serve nothing: no curve in use was measured on them." in after.plan.notes


def test_stock_and_rate_limits_hold_in_every_hour(tmp_path: Path) -> None:
    """At most two units on at once, and an API that takes 100 requests a minute."""
    offers, endpoints = [on_demand(limit_units=2)], [api(requests_per_minute=100)]
    answer = told(write(tmp_path, plan=PLAN + ONE_MONTH, offers=offers, endpoints=endpoints, rows=forecast(48)))
    assert answer.hours.gpus_held["on demand"].max() <= 2 + 1e-9
    assert answer.hours.served["api"].sum(axis=1).max() <= 6000 + 1e-6
    tokens = told(write(tmp_path, plan=PLAN + ONE_MONTH + only("api"), endpoints=[api(tokens_per_minute=5e5)]))
    assert tokens.hours.served["api"].sum(axis=1).max() <= 30e6 / sum(MAIN) * (1 + 1e-9)
    assert tokens.plan.unserved_requests > 0


RESIDENT = PLAN.replace("[workloads.chat]", '[workloads.chat]\nresidency = ["eu"]')


def test_residency_keeps_work_in_its_regions(tmp_path: Path) -> None:
    """Cheaper GPUs and APIs elsewhere, and GPUs of unknown region, serve nothing of a workload that must stay."""
    offers = [on_demand("near", 1.0, region="eu"), on_demand("far", 0.1, region="us"), reserved("nowhere", 0.1)]
    endpoints = [api("near-api", 0.3, 0.6, region="eu"), api("far-api", 0.001, 0.001, region="us")]
    path = write(tmp_path, plan=RESIDENT + ONE_MONTH, offers=offers, endpoints=endpoints)
    answer = told(path)
    assert {purchase.provider for purchase in answer.plan.purchases} == {"near"}
    assert {supply.name for supply in answer.plan.supplies} <= {
        f"{GPU} on demand at near", "near-api API (llama-3.2-1b)"
    }  # fmt: skip
    assert "GPUs that you own have no region here, so they serve no workload with a residency." in answer.plan.notes


def test_a_workload_without_residency_may_go_anywhere_beside_one_that_may_not(tmp_path: Path) -> None:
    """The one that may leave uses the cheap region, the other stays; regions alike but for a sign stay apart."""
    rows = forecast(24, {"chat": 4 * PER_GPU_H, "free": 4 * PER_GPU_H})
    plan = RESIDENT.replace('"eu"', '"eu-1"') + PLAN.replace("chat", "free") + ONE_MONTH + only("on-demand")
    offers = [on_demand("near", 1.0, region="eu-1"), on_demand("far", 0.5, region="eu_1")]
    answer = told(write(tmp_path, plan=plan, rows=rows, offers=offers))
    gpus = {purchase.provider: purchase.gpus for purchase in answer.plan.purchases}
    assert gpus == {"near": 4, "far": 4}
    bills = {served.name: served.usd for served in answer.plan.workloads}
    assert bills == {
        "chat": pytest.approx(4 * 1.0 * JAN_4_TO_FEB_4),
        "free": pytest.approx(4 * 0.5 * JAN_4_TO_FEB_4),
    }


def test_offers_and_endpoints_that_read_alike_stay_apart(tmp_path: Path) -> None:
    """A seller called as a repeated one is numbered, and one whose name and region read as another's: a name each."""
    offers = [on_demand(region=region, limit_units=1) for region in ("eu", "us")]
    offers += [on_demand(f"rent {number}", limit_units=1) for number in range(4)]
    endpoints = [api("sells", region=f"{MODEL} eu"), api(f"sells {MODEL}", region="eu")]
    problem = stated(write(tmp_path, offers=offers, endpoints=endpoints)).problem
    assert len({offer.name for offer in problem.offers}) == len(problem.offers) == 1 + 6
    assert len({endpoint.name for endpoint in problem.endpoints}) == len(problem.endpoints) == 2


def test_waves_use_what_is_held_first(tmp_path: Path) -> None:
    """Held GPUs work whenever there is work, so that rented ones only serve what exceeds them."""
    fleet = f'[[fleet]]\ngpu = "{GPU}"\ngpus = 4\nkind = "reserved"\nuntil = 2030-01-01\n'
    answer = told(write(tmp_path, plan=PLAN + ONE_MONTH + only("on-demand") + fleet, rows=forecast(48)))
    needed = wave(48) / PER_GPU_H
    assert answer.hours.gpus_busy["existing"][:48] == pytest.approx(needed.clip(max=4))
    assert answer.hours.gpus_busy["on demand"][:48] == pytest.approx((needed - 4).clip(min=0), abs=1e-9)
