"""The review as a spreadsheet whose totals are formulas, so that finance can change a price and see the bill move.

The bill of the fixed plan is quantity x price, item by item: what is bought and for how many units (rented by the hour:
GPU-hours; APIs: million tokens), at a price that stands once, on the sheet "Price book". Everything else follows by
formula: "Cost build-up" (each item), "Cost by line", "Months" and "Profit and loss" (each month's amount moves with its
line), "Strategies" (the others stay as they were solved). The plan is not solved again: at other prices another plan
may be cheaper.

Lines that no single purchase owns (busy power, a team) are one item each. Names are text cells that stay text when
somebody edits them. The same plan gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime

from planner.amounts import UNKNOWN, month
from planner.bill import Item, Thing, bill
from planner.books_sheet import books_sheets
from planner.cells import Cell, Formula, Given, Kind, Number, Writer, letters, text_cell
from planner.drawing import label
from planner.parts import EVIDENCE, told
from planner.plan import Amount, Plan
from planner.sections import none_of
from planner.turning import UNTRIED, then_decided

_PRICE_UNITS = {
    "units": "USD per unit",
    "GPU-hours": "USD per GPU-hour",
    "million tokens": "USD per million tokens",
    "whole horizon": "USD",
}


def workbook(plan: Plan) -> bytes:
    """The .xlsx file."""
    import xlsxwriter

    buffer = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(buffer, options) as book:
        book.set_properties({"title": f"Build-vs-buy review {text_cell(plan.name)}", "created": _day(plan)})
        _fill(Writer(book), plan)
    return buffer.getvalue()


def _fill(writer: Writer, plan: Plan) -> None:
    things, items = bill(plan)
    total = Formula(f"'Cost build-up'!$F${len(items) + 2}", sum(item.usd for item in items))
    _review(writer, plan, total)
    _inputs(writer, plan)
    _price_book(writer, things, items)
    _plan(writer, things)
    _build_up(writer, things, items)
    _by_line(writer, plan, items)
    _months(writer, plan)
    books_sheets(writer, plan, {line.name: f"'Cost by line'!$D${r}" for r, line in enumerate(_lines(plan), start=2)})
    _demand(writer, plan)
    _strategies(writer, plan, total)
    _sensitivity(writer, plan)
    _offers(writer, plan)
    _curves(writer, plan)


def _review(writer: Writer, plan: Plan, total: Formula) -> None:
    months = plan.horizon_months
    rows: list[Sequence[Cell]] = [
        ("bill of this plan, USD", total),
        ("per month, USD", Formula("B2/Inputs!$B$2", total.value / months) if months else None),
        ("bill in plan.json, USD", plan.cost_usd),
        ("moved by, USD", Formula("B2-B4", total.value - plan.cost_usd)),
        *((f"{hidden.name}, USD ({hidden.note})", hidden.usd) for hidden in plan.hidden if not hidden.inside),
        ("", ""),
        *(("recommendation" if i == 0 else "", sentence) for i, sentence in enumerate(plan.headline)),
        *(("warnings" if i == 0 else "", warning) for i, warning in enumerate(plan.warnings)),
        ("", ""),
        ("how to use", "Coloured cells are inputs (sheets Inputs, Price book, Plan). Change one, and the bill moves."),
        ("", "The plan itself stays as it is: at other prices another plan may be cheaper. Solve again to know."),
    ]
    writer.sheet("Review", (plan.name, f"made on {plan.made_on}"), rows, (30, 110))


def _inputs(writer: Writer, plan: Plan) -> None:
    rows: list[Sequence[Cell]] = [
        ("horizon, months", Given(plan.horizon_months, "plain")),
        ("horizon, hours", Number(plan.horizon_hours, "count")),
        ("horizon starts", plan.horizon_start),
        ("discount rate per year", Number(plan.discount_rate_per_year, "share")),
        ("no plan is cheaper than, USD", UNKNOWN if plan.bound_usd is None else plan.bound_usd),
        ("proven gap", UNKNOWN if plan.gap is None else Number(plan.gap, "share")),
        ("proof", plan.proof),
        ("worst evidence", EVIDENCE[plan.evidence]),
        ("unserved requests", Number(plan.unserved_requests, "count")),
        ("Spillway", plan.spillway_version),
        *((f"SHA-256 of {name}", digest) for name, digest in sorted(plan.inputs.items())),
        *(("assumption", note) for note in plan.notes),
    ]
    writer.sheet("Inputs", ("input", "value"), rows, (34, 90))


def _price_book(writer: Writer, things: Sequence[Thing], items: Sequence[Item]) -> None:
    rows = []
    for item in items:
        thing = things[item.thing]
        source = thing.source
        price, unit = Given(item.usd / thing.quantity), _PRICE_UNITS[thing.unit]
        dated = (source.text, source.as_of or "undated", "stale" if source.stale else "") if source else ("", "", "")
        rows.append((thing.name, item.line, price, unit, month(thing.start), *dated))
    columns = ("what", "line", "price over the horizon", "unit", "from", "source", "as of", "stale")
    writer.sheet("Price book", columns, rows, (34, 18, 16, 22, 12, 50, 12, 8), ("price",))


def _plan(writer: Writer, things: Sequence[Thing]) -> None:
    rows = [(t.name, _scheme(t), month(t.start), Given(t.quantity), t.unit) for t in things]
    writer.sheet("Plan", ("what", "scheme", "from", "quantity", "unit"), rows, (44, 16), ("plain",))


def _build_up(writer: Writer, things: Sequence[Thing], items: Sequence[Item]) -> None:
    rows: list[Sequence[Cell]] = []
    for r, item in enumerate(items, start=2):
        thing = things[item.thing]
        quantity = Formula(f"Plan!$D${item.thing + 2}", thing.quantity, "plain")
        price = Formula(f"'Price book'!$C${r}", item.usd / thing.quantity, "price")
        rows.append((thing.name, item.line, _scheme(thing), quantity, price, Formula(f"D{r}*E{r}", item.usd)))
    total = Formula(f"SUM(F2:F{len(items) + 1})", sum(item.usd for item in items)) if items else 0.0
    rows.append(("the whole bill", "", "", None, None, total))
    writer.sheet("Cost build-up", ("what", "line", "scheme", "quantity", "price", "cost, USD"), rows, (44, 20, 16))


def _by_line(writer: Writer, plan: Plan, items: Sequence[Item]) -> None:
    rows: list[Sequence[Cell]] = []
    for r, line in enumerate(_lines(plan), start=2):
        mine = [i for i, item in enumerate(items, start=2) if item.line == line.name]
        now = Formula("+".join(f"'Cost build-up'!$F${i}" for i in mine) or "0", line.usd if mine else 0.0)
        moved = Formula(f"IF(B{r}=0,1,C{r}/B{r})", now.value / line.usd if line.usd else 1.0, "plain")
        rows.append((line.name, line.usd, now, moved))
    last = len(_lines(plan)) + 1
    spent = sum(line.usd for line in _lines(plan))
    if _lines(plan):
        rows.append(("all", Formula(f"SUM(B2:B{last})", spent), Formula(f"SUM(C2:C{last})", spent)))
    writer.sheet("Cost by line", ("line", "planned, USD", "now, USD", "now / planned"), rows, (34, 18))


def _months(writer: Writer, plan: Plan) -> None:
    """What is paid in each month where the plan knows it, else what is signed in it."""
    names = [line.name for line in _lines(plan)]
    paid = all(m.paid is not None for m in plan.months)
    rows: list[Sequence[Cell]] = []
    sums = [0.0] * len(names)
    for r, each in enumerate(plan.months, start=2):
        cells: list[Cell] = []
        of_month = 0.0
        for place, name in enumerate(names):
            usd = sum(line.usd for line in each.paid or each.lines if line.name == name)
            of_month += usd
            sums[place] += usd
            cells.append(Formula(f"{usd!r}*'Cost by line'!$D${place + 2}", usd) if usd else 0.0)
        whole = Formula(f"SUM(B{r}:{letters(len(names))}{r})", of_month) if names else each.usd
        rows.append((month(each.name), *cells, whole))
    if plan.months and names:
        last = len(plan.months) + 1
        totals = [Formula(f"SUM({letters(c)}2:{letters(c)}{last})", usd) for c, usd in enumerate([*sums, sum(sums)], 1)]
        rows.append(("all", *totals))
    first = "month in which it is paid" if paid else "month in which it is signed"
    writer.sheet("Months", (first, *(f"{name}, USD" for name in names), "all, USD"), rows, (14, 16))


def _demand(writer: Writer, plan: Plan) -> None:
    rows = [
        (w.name, w.owner, w.model, w.requests, w.input_tokens, w.output_tokens, w.unserved_requests, w.usd,
         Formula(f"IF(E{r}+F{r}=0,0,H{r}/(E{r}+F{r})*1000000)", w.usd_per_mtok or 0.0),
         Formula(f"IF(D{r}=0,0,H{r}/D{r}*1000)", 1000 * w.usd / w.requests if w.requests else 0.0))
        for r, w in enumerate(plan.workloads, start=2)
    ]  # fmt: skip
    columns = ("workload", "owner", "model", "requests", "input tokens", "output tokens", "not served",
               "cost as planned, USD", "USD per million tokens", "USD per 1,000 requests")  # fmt: skip
    kinds: tuple[Kind, ...] = ("count", "count", "count", "count", "count", "count", "count", "money", "price", "price")
    writer.sheet("Demand", columns, rows, (30, 18), kinds)


def _strategies(writer: Writer, plan: Plan, total: Formula) -> None:
    months = plan.horizon_months or 1.0
    rows: list[Sequence[Cell]] = [("this plan", total, Formula("B2/Inputs!$B$2", total.value / months))]
    for r, other in enumerate(plan.baselines, start=3):
        if other.usd is None:
            rows.append((other.name, none_of(other), None, None, None, other.note))
            continue
        rows.append(
            (
                other.name,
                other.usd,
                Formula(f"B{r}/Inputs!$B$2", other.usd / months),
                Formula(f"B{r}-B$2", other.usd - total.value),
                Formula(f"IF(B$2=0,0,B{r}/B$2)", other.usd / total.value if total.value else 0.0, "plain"),
                other.note,
            )
        )
    columns = ("strategy", "bill, USD", "per month, USD", "more than this plan, USD", "times this plan", "note")
    writer.sheet("Strategies", columns, rows, (30, 18, 18, 18, 12, 60))


def _sensitivity(writer: Writer, plan: Plan) -> None:
    """Solved bills, so no formulas: at another price another plan may be cheaper."""
    rows = [
        (s.driver, _times(s.low), s.usd_low, s.usd_low - plan.cost_usd, s.kept_usd_low, _times(s.high), s.usd_high,
         s.usd_high - plan.cost_usd, s.kept_usd_high, _times(s.turns_below), _then(plan, s.turns_below,
         s.decision_below, s.shares_below), _times(s.turns_above), _then(plan, s.turns_above, s.decision_above,
         s.shares_above))
        for s in plan.sensitivities
    ]  # fmt: skip
    ends = ("bill, USD", "more than this plan, USD", "if its purchases were kept, USD")
    columns = ("figure", "times, low", *ends, "times, high", *ends, "decision turns below, times", "then",
               "decision turns above, times", "then")  # fmt: skip
    widths = (26, 10, 16, 16, 16, 10, 16, 16, 16, 14, 40, 14, 40)
    writer.sheet("Sensitivity", columns, rows or [(UNTRIED,)], widths)


def _times(factor: float | None) -> Number | None:
    return None if factor is None else Number(factor, "plain")


def _then(
    plan: Plan, factor: float | None, decision: dict[str, float] | None, shares: dict[str, float] | None
) -> str | None:
    return None if factor is None else then_decided(plan, decision, shares)


def _lines(plan: Plan) -> list[Amount]:
    """Those worth a row."""
    return [line for line in plan.lines if told(line.usd)]


def _offers(writer: Writer, plan: Plan) -> None:
    """Every price that could be chosen, where it is from and how old it is."""
    rows = [
        (p.name, label(p.scheme), p.what, "yes" if p.used else "", p.term_months, p.usd_per_gpu_h, p.input_usd_per_mtok,
         p.cached_input_usd_per_mtok, p.output_usd_per_mtok, p.units, p.source.text, p.source.as_of or "undated",
         "stale" if p.source.stale else "", p.source.confidence)
        for p in plan.prices
    ]  # fmt: skip
    columns = ("offer", "scheme", "GPU or model", "used", "term, months", "USD per GPU-hour", "USD per million in",
               "USD per million cached in", "USD per million out", "units to be had", "source", "as of", "stale",
               "confidence")  # fmt: skip
    widths = (44, 12, 24, 6, 8, 12, 12, 12, 12, 12, 50, 12, 8, 12)
    prices: tuple[Kind, ...] = (
        "plain",
        "plain",
        "plain",
        "plain",
        "plain",
        "price",
        "price",
        "price",
        "price",
        "plain",
    )
    writer.sheet("Offers", columns, rows, widths, prices)


def _curves(writer: Writer, plan: Plan) -> None:
    rows = [
        (d.name, d.kind, d.dated or "undated", d.engine, d.engine_version, d.precision, d.weights,
         " ".join(d.server_args), d.source)
        for d in plan.deployments
    ]  # fmt: skip
    columns = ("curve", "kind", "date", "engine", "version", "precision", "weights", "server arguments", "source")
    writer.sheet("Curves", columns, rows, (44, 12, 12, 10, 10, 12, 12, 40, 50))


def _scheme(thing: Thing) -> str:
    return label(thing.scheme) if thing.scheme else ""  # type: ignore[arg-type]  # a scheme's name or nothing


def _day(plan: Plan) -> datetime:
    return datetime.fromisoformat(plan.made_on)
