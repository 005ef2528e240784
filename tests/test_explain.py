"""The plan explains itself: figures that a reader can recompute, ends that hold, and no more time than was given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from planner_cases import GPU, MAIN, OWNERSHIP, PER_GPU_H, PLAN, TODAY, api, forecast, on_demand, reserved, wave, write

from planner.assemble import assemble
from planner.explain import Asked, explain
from planner.inputs import check_inputs
from planner.outcome import make_plan
from planner.plan import Plan, read_plan, write_plan
from planner.plan_explained import Entry, Explained, LongRun, Shift, Without
from planner.reasons import reasoned, reasons
from planner.solve import solve

YEAR = 8760
FLAT = forecast(24, {"chat": 4 * PER_GPU_H})
"""Four GPUs' work in every hour."""
RENTED = '[policy]\nforbid = ["buy", "api"]\n'


def explained(
    path: Path, *, gap: float = 1e-5, limit_s: float = 300.0, clock: Callable[[], float] | None = None
) -> tuple[Explained, Plan]:
    """What is asked of the plan for the files in `path`'s folder, and the plan with it."""
    checked = check_inputs(path, profiles=path.parent / "profiles", today=TODAY, cwd=path.parent)
    case = assemble(checked.forecast, checked.plan, checked.workloads, checked.book, checked.curves, today=TODAY)
    solution = solve(case.problem, gap=gap)
    asked = Asked(case, solution, gap)
    told = explain(checked, asked, time_limit_s=limit_s, **({} if clock is None else {"clock": clock}))
    plan, _ = make_plan("review", case, solution, (), {}, made_on=TODAY)
    return told, plan.model_copy(update={"explained": told})


def the(found: Explained, name: str) -> Without:
    (one,) = [each for each in (*found.supplies, *found.rules) if each.name == name]
    return one


def test_without_a_supply_the_plan_is_dearer_by_what_takes_its_place(tmp_path: Path) -> None:
    """Four GPUs reserved at 0.60, else on demand at 1.00: 0.40 a GPU-hour, all tokens moved."""
    found, _ = explained(write(tmp_path, plan=PLAN + RENTED, rows=FLAT, offers=[on_demand(), reserved(usd=0.6)]))
    (only,) = found.supplies
    assert (only.name, only.scheme, only.clear) == (f"{GPU} reserved 12 months at rent", "reserved", True)
    assert only.difference_usd == pytest.approx(4 * 0.4 * YEAR)
    assert only.usd == pytest.approx(4 * 1.0 * YEAR)
    assert only.least_usd <= only.difference_usd + 0.01
    assert only.most_usd >= only.difference_usd - 0.01
    (shift,) = only.instead
    assert (shift.name, shift.token_share) == (f"{GPU} on demand at rent", pytest.approx(1.0))


def test_each_purchase_says_what_the_plan_would_be_without_it(tmp_path: Path) -> None:
    """Beside what its work would cost otherwise: how much dearer, and what would take its place; here they agree."""
    path = write(tmp_path, plan=PLAN + RENTED, rows=FLAT, offers=[on_demand(), reserved(usd=0.6)])
    found, plan = explained(path)
    (purchase,) = reasoned(plan, found).purchases
    assert purchase.why == (
        "100 % of its capacity at the SLO is used; it costs USD 21,024, and the same work would cost USD 35,040 on "
        f"{GPU} on demand at rent; without it the plan is USD 14,016 dearer ({GPU} on demand at rent +100 % of tokens)"
    )


def test_what_nothing_replaces_is_left_unserved(tmp_path: Path) -> None:
    """The only way to serve: without it every request is missed, and the penalty is in the bill."""
    found, _ = explained(write(tmp_path, plan=PLAN + RENTED, rows=FLAT, offers=[on_demand()], endpoints=[api()]))
    only = the(found, f"{GPU} on demand at rent")
    assert only.unserved_requests == pytest.approx(4 * PER_GPU_H * YEAR)
    assert only.instead == ()


def test_a_supply_that_could_be_had_elsewhere_is_worth_nothing(tmp_path: Path) -> None:
    """Another term at the same price: the difference is too little to tell."""
    offers = [reserved(), reserved(months=6)]
    found, plan = explained(write(tmp_path, plan=PLAN + RENTED, rows=FLAT, offers=offers), gap=1e-3)
    (only,) = found.supplies
    assert not only.clear
    (row,) = reasons(plan)[0].table.rows  # type: ignore[union-attr]  # every section of reasons has a table
    assert row[1].endswith(" dearer: too little to tell")


RULES = PLAN + '[policy]\nforbid = ["buy", "reserved", "api"]\nforbid_providers = ["cheap"]\n'


def test_a_rule_costs_what_the_plan_saves_without_it(tmp_path: Path) -> None:
    """Half the price at a forbidden seller, 0.60 where reserving is forbidden; what would not be used costs nothing."""
    offers = [on_demand(), on_demand("cheap", 0.5), reserved(usd=0.6)]
    found, _ = explained(write(tmp_path, plan=RULES, rows=FLAT, offers=offers, endpoints=[api(given=9.0, made=9.0)]))
    assert the(found, "policy.forbid_providers cheap").difference_usd == pytest.approx(4 * 0.5 * YEAR)
    assert the(found, "policy.forbid reserved").difference_usd == pytest.approx(4 * 0.4 * YEAR)
    api_rule = the(found, "policy.forbid api")
    assert (api_rule.difference_usd, api_rule.clear) == (pytest.approx(0.0, abs=0.01), False)


def test_stocks_rates_and_caps_are_rules_where_they_bind(tmp_path: Path) -> None:
    """Two cheap units of stock where four are wanted, an API that takes the work of one GPU, no server allowed."""
    cheap = OWNERSHIP.replace("1460", "0").replace("value = 3000", "value = 300")
    offers = [on_demand("a", 0.5, limit_units=2), on_demand("b", 1.0, limit_units=50)]
    plan = PLAN + "[horizon]\nmonths = 1\n[policy]\nmax_owned_gpus = 0\n[[stock]]\nprovider = 'b'\ngpus = 40\n"
    endpoints = [api(given=0.01, made=0.01, tokens_per_minute=120 * 1200)]
    path = write(tmp_path, plan=plan, rows=FLAT, offers=offers, endpoints=endpoints, ownership=cheap)
    found, _ = explained(path)
    named = {rule.name for rule in found.rules}
    assert f"the stock of {GPU} on demand at a" in named
    assert f"the stock of {GPU} on demand at b" not in named
    assert the(found, "policy.max_owned_gpus 0").difference_usd >= 0
    assert the(found, "the rate limits of sells API (llama-3.2-1b)").clear
    assert not the(found, "stock 40 of b").clear


def test_residency_and_promises_have_their_cost(tmp_path: Path) -> None:
    """What stands elsewhere is half as dear; a looser promise is never dearer."""
    resident = PLAN.replace("[workloads.chat]", '[workloads.chat]\nresidency = ["eu"]')
    plan = resident + '[policy]\nforbid = ["buy", "reserved", "api"]\n'
    offers = [on_demand("near", 1.0, region="eu"), on_demand("far", 0.5, region="us")]
    found, _ = explained(write(tmp_path, plan=plan, rows=FLAT, offers=offers))
    assert the(found, "residency of chat").difference_usd == pytest.approx(4 * 0.5 * YEAR)
    assert the(found, "the promise of chat (its limits 25% looser)").most_usd >= 0


def test_the_next_tokens_cost_their_price_where_an_api_takes_all(tmp_path: Path) -> None:
    """Long-run and short-run agree, and the ends are near."""
    plan = PLAN + '[policy]\nforbid = ["buy", "reserved", "on-demand"]\n'
    found, made = explained(write(tmp_path, plan=plan, rows=FLAT))
    (margin,) = found.margins
    price = (MAIN[0] * 0.2 + MAIN[1] * 0.4) / sum(MAIN)
    assert (margin.workload, margin.step, margin.clear) == ("chat", 0.01, True)
    assert margin.usd_per_mtok == pytest.approx(price)
    assert made.workloads[0].marginal_usd_per_mtok == pytest.approx(price)


def test_in_the_long_run_the_fleet_grows_with_the_work(tmp_path: Path) -> None:
    """Forty GPUs reserved: another per cent takes one more for the year, though a full hour takes one on demand."""
    rows = forecast(24, {"chat": 100 * PER_GPU_H})
    found, _ = explained(write(tmp_path, plan=PLAN + RENTED, rows=rows, offers=[on_demand(), reserved(usd=0.6)]))
    (margin,) = found.margins
    assert margin.usd_per_mtok == pytest.approx(0.6 / (PER_GPU_H * sum(MAIN) / 1e6), rel=1e-3)


def test_the_price_at_which_another_offer_enters_is_found_by_halving(tmp_path: Path) -> None:
    """Reserved at 0.60 serves all; on demand at 1.00 is used from 0.59 and not yet at 0.63; a far dearer one never."""
    offers = [on_demand(), reserved(usd=0.6), reserved("dear", 3.0, months=6)]
    found, _ = explained(write(tmp_path, plan=PLAN + RENTED, rows=FLAT, offers=offers))
    entries = {entry.name: entry for entry in found.entries}
    near = entries[f"{GPU} on demand at rent"]
    assert (near.usd, near.enters_at, near.stays_out_at) == (1.0, 0.59375, 0.625)
    far = entries[f"{GPU} reserved 6 months at dear"]
    assert (far.enters_at, far.stays_out_at) == (None, 0.5)
    assert [entry.name for entry in found.entries] == [near.name, far.name]


def test_an_api_enters_at_a_price_of_its_tokens(tmp_path: Path) -> None:
    """GPUs at 0.0694 USD per million tokens, an API at 0.09: it enters where the two are the same."""
    plan = PLAN + '[policy]\nforbid = ["buy"]\n'
    near = write(tmp_path, plan=plan, rows=FLAT, offers=[reserved(usd=0.6)], endpoints=[api(given=0.09, made=0.09)])
    (entry,) = explained(near)[0].entries
    assert entry.usd == pytest.approx(0.09)
    price = 0.6 / (PER_GPU_H * sum(MAIN) / 1e6)
    assert entry.enters_at is not None
    assert entry.enters_at * 0.09 <= price <= entry.stays_out_at * 0.09


def test_no_more_time_is_taken_than_was_given(tmp_path: Path) -> None:
    """A clock on which a minute passes between looks: what it does not reach is listed, in order."""
    path = write(tmp_path, plan=PLAN, rows=forecast(24, {"chat": wave(24)}))
    now = iter(range(0, 10_000, 60))
    found, plan = explained(path, limit_s=130.0, clock=lambda: float(next(now)))
    everything, _ = explained(path)
    count = len(everything.supplies) + len(everything.rules) + len(everything.margins) + len(everything.entries)
    assert len(found.supplies) == 2
    assert len(found.unasked) == count - 2
    assert found.unasked[-1].startswith("cheaper ")
    assert reasons(plan)[-1].title == "What there was no time to answer"


def test_nothing_is_explained_that_was_not_asked(tmp_path: Path) -> None:
    """Without `--explain` there is no section; with it plan.json holds it and gives it back."""
    _, plan = explained(write(tmp_path, plan=PLAN + RENTED, rows=FLAT, offers=[on_demand(), reserved()]))
    assert reasons(plan.model_copy(update={"explained": None})) == ()
    write_plan(plan, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == plan


WITHOUT = Without(
    name="x", kind="supply", scheme="reserved", usd=1100.0, difference_usd=100.0, least_usd=95.0, most_usd=104.0,
    unserved_requests=0.0, instead=(Shift(name="api", token_share=0.25),),
)  # fmt: skip


def test_differences_are_told_as_far_as_they_are_known(tmp_path: Path) -> None:
    """One figure where the ends are near, both where they are not, a limit where the gaps hide it."""
    _, plan = explained(write(tmp_path, plan=PLAN + RENTED, rows=FLAT, offers=[on_demand()]), limit_s=0.0)
    told = Explained(
        supplies=(
            WITHOUT,
            replaced(WITHOUT, least_usd=50.0, unserved_requests=2e6, instead=()),
            replaced(WITHOUT, least_usd=0.0, difference_usd=3.0),
        ),
        rules=(),
        margins=(LongRun(workload="chat", step=0.1, usd_per_mtok=0.2, least_usd_per_mtok=0.1, most_usd_per_mtok=0.4),),
        entries=(
            Entry(name="o", scheme="owned", unit="USD per GPU-hour", usd=2.0, enters_at=0.75, stays_out_at=0.8),
            Entry(name="n", scheme="api", unit="USD per million tokens", usd=0.2, enters_at=None, stays_out_at=0.5),
        ),
    )
    supplies, margins, entries = (part.table for part in reasons(plan.model_copy(update={"explained": told})))
    assert supplies is not None
    assert margins is not None
    assert entries is not None
    assert supplies.rows == (
        ("x", "USD 100.00 dearer", "api +25 % of tokens"),
        ("x", "USD 50.00 to USD 104.00 dearer, 2 million requests unserved", "as before"),
        ("x", "at most USD 104.00 dearer: too little to tell", "api +25 % of tokens"),
    )
    assert margins.rows[0][2:] == ("USD 0.100 to USD 0.400", "10 %")
    assert entries.rows == (
        ("o", "USD 2.00 per GPU-hour", "from 25 % cheaper on, not yet 20 % cheaper"),
        ("n", "USD 0.200 per million tokens", "not even 50 % cheaper"),
    )


def replaced(without: Without, **changes: object) -> Without:
    return without.model_copy(update=changes)


def test_a_question_changes_nothing_of_what_was_asked_about(tmp_path: Path) -> None:
    """The case is a value: asking leaves it as it was."""
    path = write(tmp_path, plan=PLAN + RENTED, rows=FLAT, offers=[on_demand(), reserved()])
    checked = check_inputs(path, profiles=tmp_path / "profiles", today=TODAY, cwd=tmp_path)
    case = assemble(checked.forecast, checked.plan, checked.workloads, checked.book, checked.curves, today=TODAY)
    solution = solve(case.problem, gap=1e-5)
    before = replace(case.problem)
    explain(checked, Asked(case, solution, 1e-5), time_limit_s=60.0)
    assert case.problem.offers == before.offers
    assert case.problem.endpoints == before.endpoints
    assert (case.problem.blocks.demand == before.blocks.demand).all()
