"""Since the last review: effects that add up, prices that moved, and what was a mistake in hindsight."""

from __future__ import annotations

import doctest
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from review_fixtures import HOSTILE, hours, plan

from hardware_profiles.faults import InputError
from planner import variance
from planner.actuals import Charge, read_actuals
from planner.breakeven import usd_per_mtok
from planner.changes import changes, watch
from planner.hourly import HourTable
from planner.markdown import markdown
from planner.plan import Plan, Since
from planner.report import write_review
from planner.since import read_last, since
from planner.variance import Effects, Part, split

START = datetime(2027, 1, 4, tzinfo=UTC)
AMOUNT = st.just(0.0) | st.floats(1e-3, 1e6)
PART = st.one_of(
    st.builds(Part, st.floats(1e-3, 1e6), AMOUNT, AMOUNT, AMOUNT),
    st.builds(Part, st.just(0.0), AMOUNT, st.just(0.0), st.just(0.0)),
)
PARTS = st.lists(PART, min_size=1, max_size=6)


def test_the_example_by_hand() -> None:
    """The docstring's case comes out as it says."""
    tried = doctest.testmod(variance)
    assert (tried.attempted, tried.failed) == (1, 0)


PAID = st.lists(st.tuples(PART, st.floats(0, 3)), min_size=1, max_size=6)


def _cost(part: Part, tokens: float, share: float, used: float, index: float) -> float:
    """The product of the docstring, with the commitment whole where nothing came of the part."""
    committed = part.committed_usd if not used else tokens * share * part.committed_usd / part.planned_mtok / used
    return (committed + tokens * share * part.variable_usd / part.planned_mtok) * index


@given(PAID)
def test_each_effect_is_its_own_step_and_they_add_up_exactly(drawn: list[tuple[Part, float]]) -> None:
    """Tokens, mix, utilisation and price are replaced one after another in the product; nothing is left over.

    The bill is made from the price indices, so what was paid is not an input that the price effect could copy.
    """
    planned = [(part, index) for part, index in drawn if part.planned_mtok]
    parts = [part for part, _ in planned]
    if not parts:
        return
    before, after = sum(p.planned_mtok for p in parts), sum(p.actual_mtok for p in parts)
    shares0 = [p.planned_mtok / before for p in parts]
    shares1 = [p.actual_mtok / after if after else s for p, s in zip(parts, shares0, strict=True)]
    used = [p.actual_mtok / p.planned_mtok for p in parts]
    ones = [1.0] * len(parts)
    indices = [index for _, index in planned]

    def cost(tokens: float, shares: list[float], use: list[float], index: list[float]) -> float:
        return sum(_cost(p, tokens, s, u, i) for p, s, u, i in zip(parts, shares, use, index, strict=True))

    steps = [cost(before, shares0, ones, ones), cost(after, shares0, ones, ones), cost(after, shares1, ones, ones),
             cost(after, shares1, used, ones), cost(after, shares1, used, indices)]  # fmt: skip
    bills = [_cost(p, after, s, u, i) for p, s, u, i in zip(parts, shares1, used, indices, strict=True)]
    found = split([replace(p, paid_usd=bill) for p, bill in zip(parts, bills, strict=True)], sum(bills))
    effects = (found.volume, found.mix, found.utilisation, found.price)
    size = max(1.0, *(abs(step) for step in steps))
    for effect, start, end in zip(effects, steps, steps[1:], strict=False):
        assert effect == pytest.approx(end - start, abs=1e-9 * size)
    assert sum(effects) == pytest.approx(steps[-1] - steps[0], abs=1e-9 * size)


@given(PARTS, st.floats(0, 1e7))
def test_effects_add_up_where_only_the_whole_bill_is_known(parts: list[Part], actual: float) -> None:
    """One index for all parts; parts that were not planned have the average cost and no mix effect of their own."""
    if sum(part.planned_mtok for part in parts) <= 0:
        return
    found = split(parts, actual)
    planned = sum(part.planned_usd for part in parts)
    size = max(1.0, planned, actual, abs(found.volume), abs(found.mix), abs(found.utilisation), abs(found.price))
    total = found.volume + found.mix + found.utilisation + found.price
    assert total == pytest.approx(actual - planned, abs=1e-9 * size)


def test_work_that_was_not_planned_is_volume_at_the_average_cost() -> None:
    """100 million tokens at 1 USD were planned; 50 of another workload came too, and 200 USD were paid."""
    found = split((Part(100, 100, 0, 100), Part(0, 50, 0, 0)), 200)
    assert found == Effects(volume=50.0, mix=pytest.approx(0), utilisation=0, price=pytest.approx(50))


@given(PARTS)
def test_a_period_as_planned_has_no_effects(parts: list[Part]) -> None:
    """The planned tokens at the planned cost: nothing to explain."""
    as_planned = [
        Part(p.planned_mtok, p.planned_mtok, p.committed_usd, p.variable_usd) for p in parts if p.planned_mtok
    ]
    if not as_planned:
        return
    cost = sum(part.planned_usd for part in as_planned)
    found = split(as_planned, cost)
    for effect in (found.volume, found.mix, found.utilisation, found.price):
        assert effect == pytest.approx(0, abs=1e-9 * max(1.0, cost))


def test_nothing_planned_cannot_be_split() -> None:
    """There is no average cost then."""
    with pytest.raises(ValueError, match="no tokens were planned"):
        split((Part(0, 1, 0, 0),), 5)
    with pytest.raises(ValueError, match="what was not planned has no planned cost"):
        Part(0, 1, 1, 0)


@pytest.fixture(scope="module")
def last_review(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Plan, HourTable]:
    """Last quarter's review: a plan whose workloads and hours agree."""
    folder = tmp_path_factory.mktemp("last") / "2026-Q3"
    table = hours(336)
    made = plan("2026-Q3")
    requests = table.demand.sum(axis=0).tolist()
    workloads = tuple(
        w.model_copy(update={"requests": r, "input_tokens": 0.8 * r * t, "output_tokens": 0.2 * r * t})
        for w, r, t in zip(made.workloads, requests, table.tokens_per_request.tolist(), strict=True)
    )
    made = made.model_copy(update={"workloads": workloads, "horizon_hours": 336})
    write_review(made, table, folder)
    return folder, made, table


def _usage(path: Path, table: HourTable, factor: float, usd: float | None) -> Path:
    """The first week by the day, `factor` times what was planned."""
    lines = ["timestamp,workload,requests,input_tokens,output_tokens" + (",usd" if usd is not None else "")]
    for day in range(7):
        for w, name in enumerate(table.workloads):
            requests = factor * float(table.demand[24 * day : 24 * day + 24, w].sum())
            tokens = requests * float(table.tokens_per_request[w])
            paid = "" if usd is None else f",{usd / 14}"
            when = START + timedelta(days=day)
            lines.append(f"{when:%Y-%m-%d},{name},{requests},{0.8 * tokens},{0.2 * tokens}{paid}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_actuals_as_planned_and_half_as_much_again(tmp_path: Path, last_review: tuple[Path, Plan, HourTable]) -> None:
    """Half as much again is a volume effect of half the planned cost, less what commitments did not cost again."""
    folder, made, table = last_review
    usage = _usage(tmp_path / "usage.csv", table, 1.5, 40_000.0)
    told = since(read_last(folder, (usage,)), made.prices)
    assert (told.start, told.end) == ("2027-01-04T00:00:00+00:00", "2027-01-11T00:00:00+00:00")
    committed = (150_000 + 90_000 + 4_000 - 25_000) / 2
    planned = committed + float(table.usd[:168].sum())
    assert told.planned_usd == pytest.approx(planned)
    assert told.actual_usd == pytest.approx(40_000)
    assert told.volume_usd == pytest.approx(0.5 * planned, rel=1e-6)
    assert told.mix_usd == pytest.approx(0, abs=1e-3)
    assert told.utilisation_usd == pytest.approx(-0.5 * committed, rel=1e-6)
    assert None not in (told.volume_usd, told.mix_usd, told.utilisation_usd, told.price_usd)
    effects = (told.volume_usd or 0) + (told.mix_usd or 0) + (told.utilisation_usd or 0) + (told.price_usd or 0)
    assert effects == pytest.approx(40_000 - planned)
    for miss in told.misses:
        assert miss.actual_requests == pytest.approx(1.5 * miss.planned_requests)
        assert miss.actual_tokens == pytest.approx(1.5 * miss.planned_tokens)


def test_a_commitment_is_judged_by_the_work_that_came(
    tmp_path: Path, last_review: tuple[Path, Plan, HourTable]
) -> None:
    """Paid: its cost in the period. Worth: its tokens at the cheapest API, no more than its GPUs can do."""
    folder, made, table = last_review
    told = since(read_last(folder, (_usage(tmp_path / "u.csv", table, 0.5, 1.0),)), made.prices)
    server = next(h for h in told.hindsights if h.name == "h100 server of 8")
    assert server.paid_usd == pytest.approx(130_000 / 2)
    assert server.worth_usd == pytest.approx(0.6 * 46_000 / 2 * 0.5 * 0.9)
    more = since(read_last(folder, (_usage(tmp_path / "u.csv", table, 9, 1.0),)), made.prices)
    assert more.hindsights[0].worth_usd == pytest.approx(0.6 * 46_000 / 2 / 0.81 * 0.9)


def test_a_commitment_is_judged_by_gpus_on_demand_where_they_were_cheaper(
    tmp_path: Path, last_review: tuple[Path, Plan, HourTable]
) -> None:
    """GPUs by the hour at a tenth of the API's price: they are named, and the work is worth that price."""
    folder, made, table = last_review
    last = read_last(folder, (_usage(tmp_path / "u.csv", table, 1.0, 1.0),))
    (volume,) = last.plan.volumes
    hourly = volume.ways[2].model_copy(update={"usd_per_gpu_h": 0.05})
    cheap = volume.model_copy(update={"ways": (*volume.ways[:2], hourly)})
    told = since(replace(last, plan=last.plan.model_copy(update={"volumes": (cheap,)})), made.prices)
    by_api = since(last, made.prices)
    assert {h.instead for h in told.hindsights} == {"hourly"}
    assert {h.instead for h in by_api.hindsights} == {"Example API, llama-3-8b"}
    supply = next(s for s in made.supplies if s.name == told.hindsights[0].name)
    tokens = supply.input_tokens + supply.output_tokens
    part = tokens / sum(s.input_tokens + s.output_tokens for s in made.supplies)
    price = usd_per_mtok(hourly, volume.levels, part * volume.mtok_per_h)
    assert told.hindsights[0].worth_usd == pytest.approx(tokens / 1e6 / 2 * price, rel=1e-6)


def test_a_focus_bill_is_read(tmp_path: Path, last_review: tuple[Path, Plan, HourTable]) -> None:
    """Effective cost where there is one, no taxes, and the share of a charge that lies inside the period."""
    folder, made, table = last_review
    bill = tmp_path / "focus.csv"
    bill.write_text(
        "ProviderName,ServiceName,ChargeCategory,BillingCurrency,BilledCost,EffectiveCost,ChargePeriodStart,ChargePeriodEnd\n"
        "X,GPU Cloud,Usage,USD,9000,700,2027-01-04T00:00:00Z,2027-01-05T00:00:00Z\n"
        "X,GPU Cloud,Tax,USD,100,100,2027-01-04T00:00:00Z,2027-01-05T00:00:00Z\n"
        "X,API,Credit,USD,-50,,2027-01-05T00:00:00Z,2027-01-06T00:00:00Z\n"
        "X,API,Usage,USD,200,200,2027-01-03T00:00:00Z,2027-01-05T00:00:00Z\n",
        encoding="utf-8",
    )
    found = read_actuals((bill,))
    assert [(charge.service, charge.usd) for charge in found.charges] == [
        ("GPU Cloud", 700),
        ("API", -50),
        ("API", 200),
    ]
    told = since(read_last(folder, (bill, _usage(tmp_path / "u.csv", table, 1, None))), made.prices)
    assert told.actual_usd == pytest.approx(700 - 50 + 100)
    assert told.volume_usd == pytest.approx(0, abs=1e-3)
    only = since(read_last(folder, (bill,)), made.prices)
    assert (only.actual_usd, only.volume_usd) == (pytest.approx(700 - 50 + 100), None)
    assert Charge(START, START, "x", 5.0).inside(START, START + timedelta(1)) == 5.0


def test_prices_that_moved_went_and_came(tmp_path: Path, last_review: tuple[Path, Plan, HourTable]) -> None:
    """The same offer at two prices, one that is gone, one that is new."""
    folder, made, _ = last_review
    owned, reserved, hourly, api, other = made.prices
    now = (
        owned,
        reserved.model_copy(update={"usd_per_gpu_h": 10.0}),
        hourly,
        api.model_copy(update={"output_usd_per_mtok": 0.3}),
        other.model_copy(update={"name": "Third API"}),
    )
    told = since(read_last(folder, ()), now)
    assert [(m.name, m.unit, m.old_usd, m.new_usd) for m in told.moves] == [
        ("Example API, llama-3-8b", "USD per million output tokens", pytest.approx(0.6), 0.3),
        ("Example Cloud 3 months", "USD per GPU-hour", 11.16, 10.0),
    ]
    assert (told.gone, told.new) == (("Other API, llama-3-8b",), ("Third API",))
    assert told.start is None


def test_faults_in_actuals_are_told(tmp_path: Path, last_review: tuple[Path, Plan, HourTable]) -> None:
    """Both kinds of file, every fault with its line; a period that the plan does not know."""
    folder, _, _ = last_review
    bad, other, euro = tmp_path / "bad.csv", tmp_path / "other.csv", tmp_path / "euro.csv"
    bad.write_text(
        "timestamp,workload,requests,input_tokens,output_tokens\nx,a,1,1,1\n2027-01-04,a,-1,1,1\n", encoding="utf-8"
    )
    other.write_text("a,b\n1,2\n", encoding="utf-8")
    euro.write_text(
        "BilledCost,ChargePeriodStart,ChargePeriodEnd,BillingCurrency\n1,2027-01-04,2027-01-05,EUR\n", encoding="utf-8"
    )
    with pytest.raises(InputError) as caught:
        read_actuals((bad, other, euro, tmp_path / "none.csv"))
    assert [(Path(f.file or "").name, f.line, f.what.split(" (")[0]) for f in caught.value.faults] == [
        ("bad.csv", 2, "is no time"),
        ("bad.csv", 3, "is no number of 0 or more"),
        ("other.csv", 1, "is neither usage nor a FOCUS bill"),
        ("euro.csv", 2, "is not in USD"),
        ("none.csv", None, "cannot be read"),
    ]
    early = tmp_path / "early.csv"
    early.write_text("timestamp,workload,requests,input_tokens,output_tokens\n2025-01-01,a,1,1,1\n", encoding="utf-8")
    with pytest.raises(InputError, match="lie outside the last plan's horizon"):
        since(read_last(folder, (early,)), ())


def test_the_report_says_what_changed(tmp_path: Path, last_review: tuple[Path, Plan, HourTable]) -> None:
    """Cost, effects, forecast, hindsight and prices as tables; names stay text."""
    folder, made, table = last_review
    told = since(read_last(folder, (_usage(tmp_path / "u.csv", table, 1.5, 4e4),)), made.prices)
    sections = {section.title: section for section in changes(made.model_copy(update={"since": told}))}
    assert list(sections) == [
        "Since the last review", "Forecast against actual", "Commitments in hindsight", "Price moves"
    ]  # fmt: skip
    cost = sections["Since the last review"].table
    assert cost is not None
    rows = dict(cost.rows)  # type: ignore[arg-type]  # two columns
    assert rows["paid"] == "USD 40,000"
    assert rows["of which mix: dearer or cheaper work"] == "nothing"
    assert "50 % more" in str(sections["Forecast against actual"].table)
    assert sections["Price moves"].says == "No price of the price book has moved."
    hostile = Since(name=HOSTILE, made_on=HOSTILE, moves=(), gone=(HOSTILE,), new=())
    assert "<script" not in markdown(made.model_copy(update={"since": hostile}), ())
    assert changes(made) == ()


def test_numbers_to_watch_can_be_looked_up() -> None:
    """Tokens a month and prices at which the decision turns, soonest first."""
    section = watch(plan())
    assert section is not None
    assert section.table is not None
    instead = "buy and reserve nothing, 100 % of the tokens to APIs in place of 1.5 %"
    assert section.table.rows[:2] == (
        ("API prices", "Example API, llama-3-8b: in USD 0.200, out USD 0.600", "3 % lower",
         "Example API, llama-3-8b: in USD 0.194, out USD 0.582", instead),
        ("demand", "23 billion tokens a month", "25 % lower", "17.2 billion tokens a month",
         "reserve no h100-80gb-sxm"),
    )  # fmt: skip
    assert watch(plan().model_copy(update={"sensitivities": ()})) is None
