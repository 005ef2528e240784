"""Unit costs add up to the bill, follow GPU time and API prices, and every price and curve names its source."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from review_fixtures import plan

from hardware_profiles.curve import Shape
from planner.assemble import Case, assemble
from planner.economics import by_owner, by_supply, by_workload
from planner.evidence import curves_used, extra_costs, price_book
from planner.inputs import check_inputs
from planner.outcome import make_plan
from planner.plan import Plan
from planner.solve import solve

EXAMPLE = Path(__file__).parents[1] / "examples" / "forecast.csv"
TODAY = date(2026, 11, 20)


@pytest.fixture(scope="module")
def case() -> Case:
    checked = check_inputs(EXAMPLE, today=TODAY)
    return assemble(checked.forecast, checked.plan, checked.workloads, checked.book, checked.curves, today=TODAY)


@pytest.fixture(scope="module")
def solved(case: Case) -> Plan:
    return make_plan("example", case, solve(case.problem, gap=0.02), (), {}, made_on=TODAY)[0]


def test_input_and_output_costs_are_the_workloads_bill(solved: Plan) -> None:
    """Price times tokens, in and out, is what the workload pays; output is the dearer token."""
    for w in solved.workloads:
        assert w.input_usd_per_mtok is not None
        assert w.output_usd_per_mtok is not None
        paid = (w.input_usd_per_mtok * w.input_tokens + w.output_usd_per_mtok * w.output_tokens) / 1e6
        assert paid == pytest.approx(w.usd, rel=1e-9)
        assert 0 < w.input_usd_per_mtok < w.output_usd_per_mtok


def test_an_api_only_plan_pays_the_apis_own_prices(case: Case) -> None:
    """Where one API serves everything, the unit costs are its prices."""
    from planner.baselines import restricted

    bare = restricted(case, ("api",))
    made, _ = make_plan("api", bare, solve(bare.problem, gap=0.01), (), {}, made_on=TODAY)
    (supply,) = made.supplies
    (price,) = [price for price in made.prices if price.used]
    assert price.name == supply.name
    for w in made.workloads:
        assert w.input_usd_per_mtok == pytest.approx(price.input_usd_per_mtok)
        assert w.output_usd_per_mtok == pytest.approx(price.output_usd_per_mtok)


def test_the_law_says_what_part_of_gpu_time_is_prefill(case: Case) -> None:
    """a input / (a input + b output + c output (input + output / 2)), between nothing and all."""
    law = case.deployments[0].law
    shape = Shape(input_tokens=1000, output_tokens=100)
    (a, b, c), *others = law.coefficients
    assert not others
    whole = a * 1000 + b * 100 + c * 100 * 1050
    assert law.input_share(shape) == pytest.approx(a * 1000 / whole)
    assert law.busy_gpu_s(shape) == pytest.approx(whole)


def test_full_use_is_never_dearer_than_use_as_it_is(solved: Plan) -> None:
    """Idle hours only add cost; an API has none."""
    for supply in solved.supplies:
        if supply.scheme == "api":
            assert supply.full_usd_per_mtok is None
        else:
            tokens = (supply.input_tokens + supply.output_tokens) / 1e6
            assert supply.full_usd_per_mtok is not None
            assert supply.full_usd_per_mtok <= supply.usd / tokens * (1 + 1e-9)
            (purchase,) = [p for p in solved.purchases if p.offer == supply.name]
            assert purchase.utilisation is not None
            assert supply.full_usd_per_mtok == pytest.approx(supply.usd / tokens * purchase.utilisation)


def test_every_price_and_curve_names_its_source(solved: Plan, case: Case) -> None:
    """All offers and endpoints are in the price book, those that serve are marked, each curve has date and points."""
    assert len(solved.prices) == len(case.offers) + len(case.endpoints)
    assert {price.name for price in solved.prices if price.used} == {supply.name for supply in solved.supplies}
    assert all(supply.source is not None for supply in solved.supplies)
    for deployed in solved.deployments:
        assert deployed.dated
        assert deployed.shapes
        for shape in deployed.shapes:
            assert shape.points
            assert [point.level for point in shape.points] == sorted(point.level for point in shape.points)
            if shape.saturated and shape.capacity_per_s is not None:
                assert shape.knee is not None
                assert shape.points[0].level <= shape.knee <= shape.points[-1].level


def test_hidden_costs_are_lines_of_their_own() -> None:
    """A cost that the bill holds is shown with its amount, one that it does not hold is said to be missing."""
    table = extra_costs(plan()).table
    assert table is not None
    rows = {row[0]: row[2:] for row in table.rows}
    assert rows["rack"] == ("USD 4,000", "1.5 %")
    assert rows["residual value"] == ("USD -25,000", "")
    assert rows["staff"] == ("none in this plan", "")
    idle = 129_000 * 0.19 + 90_000 * 0.36 + 30_000 * 0.1
    assert rows["capacity that stands idle"][0] == f"USD {idle:,.0f}"
    for missing in ("orchestration", "compliance", "migration", "egress"):
        assert rows[missing] == ("not in this bill", "")


def test_tables_of_sources_and_unit_costs() -> None:
    """Stale prices are marked, API prices are told by token, unknown unit costs as unknown."""
    made = plan()
    prices, curves = price_book(made), curves_used(made)
    assert prices is not None
    assert prices.table is not None
    assert "stale (undated, or older than a quarter): 4." in prices.says
    assert prices.table.rows[3][4:8] == (
        "in USD 0.200, out USD 0.600 per million tokens", "not stated", "https://example.com/prices", "undated (stale)"
    )  # fmt: skip
    assert curves is not None
    assert curves.table is not None
    assert curves.table.rows[0][1:8] == (
        "published", "2026-09-30", "vllm 0.9.0", "bf16", "real", "2", "--max-num-seqs 256"
    )  # fmt: skip
    table = by_workload(made).table
    assert table is not None
    assert table.rows[0][5:7] == ("USD 3.00", "USD 10.00")
    assert table.rows[1][5:7] == ("unknown", "unknown")
    owners = by_owner(made)
    assert owners is not None
    assert owners.table is not None
    assert owners.table.rows[1] == (
        "platform", "35 billion", "USD 210,000", "80.8 %", "USD 3.00", "USD 10.00", "USD 6.00", "USD 5.25"
    )  # fmt: skip
    supplies = by_supply(made).table
    assert supplies is not None
    assert supplies.rows[0][-2:] == ("USD 4.71", "USD 3.77")
    bare = made.model_copy(update={"prices": (), "deployments": ()})
    assert (price_book(bare), curves_used(bare)) == (None, None)
