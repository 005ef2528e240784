"""The first screen: it recommends what the tables hold, unserved work comes first, doubts are said where there are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import review_fixtures
from planner_cases import (
    GPU,
    MAIN,
    MODEL,
    PER_GPU_H,
    PLAN,
    RATES,
    TODAY,
    Told,
    api,
    curve,
    forecast,
    on_demand,
    points_of,
    reserved,
    stated,
    told,
    write,
)

from hardware_profiles.curve import Curve, Estimate, Point, Shape
from planner.amounts import share, usd
from planner.baselines import SILOS, baselines
from planner.headline import _to_sign
from planner.outcome import make_plan
from planner.plan import Baseline, Kept, Purchase
from planner.sections import certainty
from planner.solve import solve

MONTH = "[horizon]\nmonths = 1\n"
NAME = f"{MODEL} on 1x {GPU}"
KIND = f"{NAME}: the curve is published, not measured on your GPUs; measure it with bench run."
PERCENTILE = f"{NAME}: the source states one number per latency, so the share of requests inside the SLO is unknown."
FLOOR = f"{NAME}: the SLO was never broken in the measurement, so its capacity is a floor."
BEYOND = f"{NAME}: some requests are longer or shorter than any that was measured."
RENT = f"{GPU} on demand at rent: the price is undated or older than a quarter; ask for a new quote."
LATENCY = f"sells API ({MODEL}): its latency is not evidenced; measure it with bench run --endpoint."
API_PRICE = f"sells API ({MODEL}): the price is undated or older than a quarter."


def only(*ways: str) -> str:
    rest = [way for way in ("buy", "reserved", "on-demand", "api") if way not in ways]
    return "[policy]\nforbid = " + str(rest).replace("'", '"') + "\n"


RENTED = PLAN + MONTH + only("on-demand")
CALLED = PLAN + MONTH + only("api")


def one_number(load: float) -> Point:
    """A published closed-loop point: one number per latency, TPOT 50 ms at 40 in flight."""
    return Point(
        shape=Shape(input_tokens=MAIN[0], output_tokens=MAIN[1]),
        mode="closed",
        load=load,
        throughput_per_s=load / 5,
        output_tokens_per_s=40 * load,
        ttft_s={"unstated": Estimate(value=0.1)},
        tpot_s={"unstated": Estimate(value=0.05 * load / 40)},
    )


def unsaturated() -> Curve:
    """Measured at half and at the whole of its rate only, where the SLO still holds."""
    return curve(points=[p for shape, rate in RATES.items() for p in points_of(shape, rate)[:2]])


def test_nothing_is_doubted_where_all_is_evidenced(tmp_path: Path) -> None:
    """A measured, saturated curve inside its shapes, dated prices and an evidenced API: no warning at all."""
    endpoint = api(latency_evidence="curve.json")
    answer = told(write(tmp_path, plan=PLAN + MONTH + only("on-demand", "api"), endpoints=[endpoint]))
    assert {supply.scheme for supply in answer.plan.supplies} == {"on demand", "api"}
    assert answer.plan.evidence == "measured"
    assert answer.plan.warnings == ()


def test_published_evidence_is_said(tmp_path: Path) -> None:
    """Somebody's table is not a measurement on your GPUs."""
    answer = told(write(tmp_path, plan=RENTED, curves=[curve("published")]))
    assert answer.plan.evidence == "published"
    assert answer.plan.warnings == (KIND,)


def test_a_source_with_one_number_is_said(tmp_path: Path) -> None:
    """No percentile and no sample: the share inside the SLO is unknown."""
    points = [one_number(load) for load in (1.0, 10.0, 20.0, 40.0, 80.0)]
    answer = told(write(tmp_path, plan=RENTED, curves=[curve("published", points=points)]))
    assert answer.plan.warnings == (KIND, PERCENTILE)


def test_an_unsaturated_curve_is_said_to_be_a_floor(tmp_path: Path) -> None:
    """The SLO held at the highest rate measured."""
    assert told(write(tmp_path, plan=RENTED, curves=[unsaturated()])).plan.warnings == (FLOOR,)


@pytest.mark.parametrize(("tokens", "said"), [((1000, 200), ()), ((1020, 200), (BEYOND,)), ((500, 25), (BEYOND,))])
def test_requests_beyond_the_measured_shapes_are_said(
    tmp_path: Path, tokens: tuple[int, int], said: tuple[str, ...]
) -> None:
    """Longer by 2 % than the longest, or shorter than the shortest; not at the edge itself."""
    rows = forecast(24, {"chat": PER_GPU_H}, tokens=tokens)
    assert told(write(tmp_path, plan=RENTED, rows=rows)).plan.warnings == said


@pytest.mark.parametrize(
    ("day", "said"), [("2026-08-20", ()), ("2026-08-19", (RENT,)), ("undated", (RENT,))], ids=["92 days", "93", "never"]
)
def test_a_stale_price_is_said(tmp_path: Path, day: str, said: tuple[str, ...]) -> None:
    """A quarter is 92 days; a price without a date is stale."""
    answer = told(write(tmp_path, plan=RENTED, offers=[on_demand(as_of=day)]))
    assert answer.plan.warnings == said
    assert [purchase.source.stale for purchase in answer.plan.purchases] == [bool(said)]


def test_a_stale_price_that_is_not_paid_is_not_said(tmp_path: Path) -> None:
    """Only what the plan rests on."""
    offers = [
        on_demand(),
        on_demand("other", 9.0, gpus_per_unit=3, as_of="undated"),
        reserved("r", 9.0, as_of="undated"),
    ]
    assert told(write(tmp_path, plan=RENTED, offers=offers)).plan.warnings == ()


def test_an_api_without_evidence_or_date_is_said(tmp_path: Path) -> None:
    """Its latency is not known, and its price is of no known day; not when nobody calls it."""
    assert told(write(tmp_path / "a", plan=CALLED)).plan.warnings == (LATENCY,)
    known = [api(latency_evidence="curve.json", as_of="undated")]
    assert told(write(tmp_path / "b", plan=CALLED, endpoints=known)).plan.warnings == (API_PRICE,)
    dear = [api(given=9.0, made=9.0)]
    idle = told(write(tmp_path / "c", plan=PLAN + MONTH + only("on-demand", "api"), endpoints=dear))
    assert idle.plan.warnings == ()


def test_the_headline_names_what_the_purchases_table_holds(tmp_path: Path) -> None:
    """Reserved GPUs with seller and term, what is left to hours and APIs, and the bill."""
    plan = told(write(tmp_path, plan=PLAN + MONTH)).plan
    held = next(purchase for purchase in plan.purchases if purchase.scheme == "reserved")
    rent, call = (sum(s.token_share for s in plan.supplies if s.scheme == way) for way in ("on demand", "api"))
    bill = usd(plan.cost_usd)
    assert plan.headline == (
        f"Commit to {held.gpus:.0f} {GPU} of rent for 1 month.",
        f"Leave {share(rent)} of the tokens to on-demand GPUs and {share(call)} of the tokens to APIs.",
        f"The bill is {bill} over 1 month ({bill} a month); no plan is cheaper.",
    )


def test_owned_gpus_are_bought(tmp_path: Path) -> None:
    """Where only owning is allowed: so many GPUs, and nothing is left to others."""
    plan = told(write(tmp_path, plan=PLAN + only("buy"))).plan
    assert plan.headline[:2] == (
        f"Buy 8 {GPU}.",
        "GPUs that are held serve all tokens; nothing is left to on-demand GPUs or APIs.",
    )


def test_nothing_to_sign_is_said_with_its_reason(tmp_path: Path) -> None:
    """Because it does not pay, or because nothing may be bought or reserved."""
    cheap = told(write(tmp_path / "a", plan=PLAN + MONTH, endpoints=[api(given=0.001, made=0.001)])).plan
    assert cheap.headline[0] == "Sign nothing: neither owning nor reserving GPUs pays at this demand."
    assert told(write(tmp_path / "b", plan=CALLED)).plan.headline[0] == (
        "Sign nothing: there is no GPU to buy or reserve under the plan's rules."
    )


def test_work_that_cannot_be_served_comes_first(tmp_path: Path) -> None:
    """One unit on demand for four units' work: three quarters are missed; the bill says what that is priced at."""
    rows = forecast(24, {"chat": 4 * PER_GPU_H})
    answer = told(write(tmp_path, plan=RENTED, rows=rows, offers=[on_demand(limit_units=1)]))
    plan = answer.plan
    missed = 3 * PER_GPU_H * 744
    first = f"{missed:,.0f} requests (75.00%) cannot be served by anything in the price book."
    assert plan.headline[0] == first
    assert plan.warnings[0] == first
    assert plan.unserved_requests == pytest.approx(missed)
    penalty = sum(line.usd for line in plan.lines if line.name == "unserved")
    assert f", {usd(penalty)} of it the price of unserved requests" in plan.headline[-1]


def unpriced(usd: float) -> str:
    return RENTED.replace("[workloads.chat]", f"[workloads.chat]\nunserved_usd_per_request = {usd}")


def test_work_that_is_worth_little_is_left_and_said_to_be(tmp_path: Path) -> None:
    """At half of what serving costs everything is left; at twice nothing is."""
    usd = 1.0 / PER_GPU_H
    rows = forecast(24, {"chat": 4 * PER_GPU_H})
    left = told(write(tmp_path / "a", plan=unpriced(usd / 2), rows=rows)).plan
    asked = 4 * PER_GPU_H * 744
    because = "serving them costs more than plan.toml says they are worth"
    assert left.headline[:3] == (
        f"{asked:,.0f} requests (100.00%) are left unserved: {because}.",
        "Sign nothing: there is no GPU to buy or reserve under the plan's rules.",
        "Nothing is served.",
    )
    assert left.cost_usd == pytest.approx(asked * usd / 2)
    served = told(write(tmp_path / "b", plan=unpriced(usd * 2), rows=rows)).plan
    assert served.unserved_requests == 0
    assert served.warnings == ()


def test_a_horizon_in_hours_is_told_in_hours(tmp_path: Path) -> None:
    """24 hours, not 0.0328767 months."""
    answer: Told = told(write(tmp_path, plan=PLAN + "[horizon]\nhours = 24\n" + only("on-demand"), rows=forecast(24)))
    assert " over 24 hours (USD " in answer.plan.headline[-1]


def test_the_saving_is_told_against_the_cheapest_single_strategy(tmp_path: Path) -> None:
    """Mixes (no API, silos) are in the table; what the headline calls single is served in one way only."""
    case = stated(write(tmp_path, plan=PLAN + MONTH))
    solution = solve(case.problem, gap=1e-4)
    strategies = baselines(case, gap=1e-4, time_limit_s=20.0)
    plan = make_plan("review", case, solution, strategies, {}, made_on=TODAY)[0]
    bills = {b.name: b.usd for b in strategies if b.usd is not None}
    single = {name: amount for name, amount in bills.items() if name.startswith("all ")}
    name = min(single, key=lambda name: single[name])
    assert min(bills.values()) < single[name]
    dearer = share(single[name] / plan.cost_usd - 1)
    assert f"; the best single strategy, {name}, costs {dearer} more;" in plan.headline[-1]
    assert all(amount >= plan.bound_usd - 0.005 for amount in bills.values())


def test_a_strategy_that_is_cheaper_than_the_bound_refutes_it(tmp_path: Path) -> None:
    """A plan with fewer supplies is a plan; silos have each stock for themselves, so they refute nothing."""
    case = stated(write(tmp_path, plan=PLAN + MONTH))
    solution = solve(case.problem, gap=1e-4)
    bound = solution.bound_usd
    cheap = Baseline(name="all reserved", usd=bound - 1, gap=0.0, note="")
    plan = make_plan("review", case, solution, (cheap,), {}, made_on=TODAY)[0]
    fault = f"all reserved costs {bound - 1:,.2f} USD, less than the bound of {bound:,.2f} USD"
    assert plan.checks == (fault,)
    assert plan.headline[0] == plan.warnings[0] == f"Do not sign this plan: its own check found 1 fault: {fault}."
    assert plan.headline[-1].endswith("; its proof is withdrawn, so another plan may be far cheaper.")
    assert (plan.gap, plan.bound_usd) == (None, None)
    assert {row[0]: row[1] for row in certainty(plan).rows}["proof"] == f"withdrawn: {solution.proof}"
    silos = cheap.model_copy(update={"name": SILOS})
    assert make_plan("review", case, solution, (silos,), {}, made_on=TODAY)[0].checks == ()


def test_a_fault_leads_what_is_kept(tmp_path: Path) -> None:
    """Before the word on the fleet that is kept, and before what to sign."""
    case = stated(write(tmp_path, plan=PLAN + MONTH))
    solution = solve(case.problem, gap=1e-4)
    wrong = replace(solution, bound_usd=solution.cost_usd * 2)
    kept = Kept(what="what is there already", extra_usd=0.0, cheapest_usd=1.0, says="Sign nothing new.")
    plan = make_plan("review", case, wrong, (), {}, made_on=TODAY, kept=kept)[0]
    assert plan.headline[0].startswith("Do not sign this plan: its own check found 1 fault: the bound ")
    assert plan.headline[1] == "Sign nothing new."


def _purchase(epoch: str, gpus: float) -> Purchase:
    made = next(p for p in review_fixtures.plan().purchases if p.scheme == "reserved")
    return made.model_copy(update={"epoch": epoch, "gpus": gpus})


def test_terms_that_follow_one_another_are_not_added_up(tmp_path: Path) -> None:
    """Two GPUs for three months, three times over, are two GPUs; where the times differ, the least and the most."""
    case = stated(write(tmp_path, plan=PLAN + MONTH))
    same = tuple(_purchase(epoch, 2.0) for epoch in ("2027.01", "2027.04", "2027.07"))
    assert _to_sign(case, same) == (
        "Commit to 2 h100-80gb-sxm of Example Cloud for 3 months, signed 3 times from Jan 2027 to Jul 2027."
    )
    assert _to_sign(case, (_purchase("2027.01", 2.0), _purchase("2027.04", 4.0))) == (
        "Commit to 2 to 4 h100-80gb-sxm of Example Cloud for 3 months, signed 2 times from Jan 2027 to Apr 2027."
    )
