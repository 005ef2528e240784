"""The review as a spreadsheet whose totals are formulas, so that finance can change a price and see the bill move.

The bill of the fixed plan is quantity x price, item by item: what is bought and for how many units (rented by the hour:
GPU-hours; APIs: million tokens), at a price that stands once, on the sheet "Price book". Everything else follows by
formula: "Cost build-up" (each item), "Cost by line", "Months" (each month's amount moves with its line), "Strategies"
(the others stay as they were solved). The plan is not solved again: at other prices another plan may be cheaper.

Lines that no single purchase owns (busy power, a team) are one item each. Names are text cells that stay text when
somebody edits them. The same plan gives the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from planner.drawing import label
from planner.parts import EVIDENCE
from planner.plan import Plan, Purchase, Source
from planner.turning import UNTRIED

_CENT = 0.005
_LONGEST = 32_000
_API = "API"
_PRICE_UNITS = {
    "units": "USD per unit",
    "GPU-hours": "USD per GPU-hour",
    "million tokens": "USD per million tokens",
    "whole horizon": "USD",
}
_BY_HOUR = ("on demand", "spot")


@dataclass(frozen=True)
class Thing:
    """What has a quantity in the plan."""

    name: str
    scheme: str
    start: str
    quantity: float
    unit: str
    source: Source | None


@dataclass(frozen=True)
class Item:
    """One price of a thing: `usd` is its part of the bill."""

    thing: int
    line: str
    usd: float


@dataclass(frozen=True)
class Formula:
    """A formula and what it comes to with the plan's own numbers."""

    text: str
    value: float


@dataclass(frozen=True)
class Given:
    """A number that a person may change."""

    value: float


Cell = str | float | None | Formula | Given


def workbook(plan: Plan) -> bytes:
    """The .xlsx file."""
    import xlsxwriter

    buffer = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(buffer, options) as book:
        book.set_properties({"title": f"Build-vs-buy review {_text(plan.name)}", "created": _day(plan)})
        _fill(_Writer(book), plan)
    return buffer.getvalue()


def bill(plan: Plan) -> tuple[tuple[Thing, ...], tuple[Item, ...]]:
    """The whole bill as quantities and prices; the items add up to the plan's lines, line by line."""
    things, items = [], []
    for purchase in plan.purchases:
        things.append(_bought(purchase))
        items += [Item(len(things) - 1, line.name, line.usd) for line in purchase.lines]
    for supply in plan.supplies:
        if supply.scheme == "api":
            tokens = (supply.input_tokens + supply.output_tokens) / 1e6
            things.append(Thing(supply.name, "api", "by the hour", tokens or 1.0, "million tokens", supply.source))
            items.append(Item(len(things) - 1, _API, supply.usd))
    for line in plan.lines:
        rest = line.usd - sum(item.usd for item in items if item.line == line.name)
        if abs(rest) > _CENT:
            things.append(Thing(f"{line.name}, all together", "", "", 1.0, "whole horizon", None))
            items.append(Item(len(things) - 1, line.name, rest))
    return tuple(things), tuple(items)


def _bought(purchase: Purchase) -> Thing:
    """Rented by the hour: GPU-hours; anything else: units."""
    name, scheme, start, source = purchase.offer, purchase.scheme, purchase.epoch, purchase.source
    if scheme in _BY_HOUR and purchase.usd_per_gpu_h:
        return Thing(name, scheme, start, purchase.usd / purchase.usd_per_gpu_h, "GPU-hours", source)
    return Thing(name, scheme, start, purchase.units or 1.0, "units", source)


class _Writer:
    """Sheets of rows: a bold header, inputs marked, names as text."""

    def __init__(self, book: Any) -> None:
        self.book = book
        self.head = book.add_format({"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"})
        self.name = book.add_format({"quote_prefix": True, "text_wrap": True, "valign": "top"})
        self.number = book.add_format({"num_format": "#,##0.00##", "valign": "top"})
        self.given = book.add_format({"num_format": "#,##0.00####", "font_color": "#0000C0", "bg_color": "#FFFBE0"})

    def sheet(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], widths: Sequence[int] = (34, 16)
    ) -> None:
        """One sheet; the last of `widths` holds for the columns beyond."""
        sheet = self.book.add_worksheet(title)
        for i, column in enumerate(columns):
            sheet.set_column(i, i, widths[min(i, len(widths) - 1)])
            sheet.write_string(0, i, _text(column), self.head)
        for r, row in enumerate(rows, start=1):
            for c, cell in enumerate(row):
                self._cell(sheet, r, c, cell)
        sheet.freeze_panes(1, 1)
        sheet.set_landscape()
        sheet.set_paper(9)  # A4
        sheet.fit_to_pages(1, 0)
        sheet.repeat_rows(0)

    def _cell(self, sheet: Any, row: int, column: int, cell: Cell) -> None:
        match cell:
            case None | "":
                return
            case str():
                sheet.write_string(row, column, _text(cell), self.name)
            case Formula():
                sheet.write_formula(row, column, f"={cell.text}", self.number, cell.value)
            case Given():
                sheet.write_number(row, column, cell.value, self.given)
            case _:
                sheet.write_number(row, column, cell, self.number)


def _fill(writer: _Writer, plan: Plan) -> None:
    things, items = bill(plan)
    total = Formula(f"'Cost build-up'!$F${len(items) + 2}", sum(item.usd for item in items))
    _review(writer, plan, total)
    _inputs(writer, plan)
    _price_book(writer, things, items)
    _plan(writer, things)
    _build_up(writer, things, items)
    _by_line(writer, plan, items)
    _months(writer, plan)
    _demand(writer, plan)
    _strategies(writer, plan, total)
    _sensitivity(writer, plan)
    _offers(writer, plan)
    _curves(writer, plan)


def _review(writer: _Writer, plan: Plan, total: Formula) -> None:
    months = plan.horizon_months
    rows: list[Sequence[Cell]] = [
        ("bill of this plan, USD", total),
        ("per month, USD", Formula("B2/Inputs!$B$2", total.value / months) if months else None),
        ("bill in plan.json, USD", plan.cost_usd),
        ("moved by, USD", Formula("B2-B4", total.value - plan.cost_usd)),
        ("", ""),
        *(("recommendation" if i == 0 else "", sentence) for i, sentence in enumerate(plan.headline)),
        *(("warnings" if i == 0 else "", warning) for i, warning in enumerate(plan.warnings)),
        ("", ""),
        ("how to use", "Coloured cells are inputs (sheets Inputs, Price book, Plan). Change one, and the bill moves."),
        ("", "The plan itself stays as it is: at other prices another plan may be cheaper. Solve again to know."),
    ]
    writer.sheet("Review", (plan.name, f"made on {plan.made_on}"), rows, (30, 110))


def _inputs(writer: _Writer, plan: Plan) -> None:
    rows: list[Sequence[Cell]] = [
        ("horizon, months", Given(plan.horizon_months)),
        ("horizon, hours", float(plan.horizon_hours)),
        ("horizon starts", plan.horizon_start),
        ("discount rate per year", plan.discount_rate_per_year),
        ("no plan is cheaper than, USD", plan.bound_usd),
        ("proven gap", plan.gap),
        ("proof", plan.proof),
        ("worst evidence", EVIDENCE[plan.evidence]),
        ("unserved requests", plan.unserved_requests),
        ("Spillway", plan.spillway_version),
        *((f"SHA-256 of {name}", digest) for name, digest in sorted(plan.inputs.items())),
        *(("assumption", note) for note in plan.notes),
    ]
    writer.sheet("Inputs", ("input", "value"), rows, (34, 90))


def _price_book(writer: _Writer, things: Sequence[Thing], items: Sequence[Item]) -> None:
    rows = []
    for item in items:
        thing = things[item.thing]
        source = thing.source
        price, unit = Given(item.usd / thing.quantity), _PRICE_UNITS[thing.unit]
        told = (source.text, source.as_of or "undated", "stale" if source.stale else "") if source else ("", "", "")
        rows.append((thing.name, item.line, price, unit, thing.start, *told))
    columns = ("what", "line", "price over the horizon", "unit", "from", "source", "as of", "stale")
    writer.sheet("Price book", columns, rows, (34, 20, 18, 24, 14, 50, 14))


def _plan(writer: _Writer, things: Sequence[Thing]) -> None:
    rows = [(t.name, _scheme(t), t.start, Given(t.quantity), t.unit) for t in things]
    writer.sheet("Plan", ("what", "scheme", "from", "quantity", "unit"), rows, (34, 16))


def _build_up(writer: _Writer, things: Sequence[Thing], items: Sequence[Item]) -> None:
    rows: list[Sequence[Cell]] = []
    for r, item in enumerate(items, start=2):
        thing = things[item.thing]
        quantity = Formula(f"Plan!$D${item.thing + 2}", thing.quantity)
        price = Formula(f"'Price book'!$C${r}", item.usd / thing.quantity)
        rows.append((thing.name, item.line, _scheme(thing), quantity, price, Formula(f"D{r}*E{r}", item.usd)))
    total = Formula(f"SUM(F2:F{len(items) + 1})", sum(item.usd for item in items)) if items else 0.0
    rows.append(("the whole bill", "", "", None, None, total))
    writer.sheet("Cost build-up", ("what", "line", "scheme", "quantity", "price", "cost, USD"), rows, (34, 20, 16))


def _by_line(writer: _Writer, plan: Plan, items: Sequence[Item]) -> None:
    rows: list[Sequence[Cell]] = []
    for r, line in enumerate(plan.lines, start=2):
        mine = [i for i, item in enumerate(items, start=2) if item.line == line.name]
        now = Formula("+".join(f"'Cost build-up'!$F${i}" for i in mine) or "0", line.usd if mine else 0.0)
        moved = Formula(f"IF(B{r}=0,1,C{r}/B{r})", now.value / line.usd if line.usd else 1.0)
        rows.append((line.name, line.usd, now, moved))
    last = len(plan.lines) + 1
    spent = sum(line.usd for line in plan.lines)
    if plan.lines:
        rows.append(("all", Formula(f"SUM(B2:B{last})", spent), Formula(f"SUM(C2:C{last})", spent)))
    writer.sheet("Cost by line", ("line", "planned, USD", "now, USD", "now / planned"), rows, (34, 18))


def _months(writer: _Writer, plan: Plan) -> None:
    names = [line.name for line in plan.lines]
    rows: list[Sequence[Cell]] = []
    sums = [0.0] * len(names)
    for r, month in enumerate(plan.months, start=2):
        cells: list[Cell] = []
        for place, name in enumerate(names):
            usd = sum(line.usd for line in month.lines if line.name == name)
            sums[place] += usd
            cells.append(Formula(f"{usd!r}*'Cost by line'!$D${place + 2}", usd) if usd else 0.0)
        whole = Formula(f"SUM(B{r}:{_letters(len(names))}{r})", month.usd) if names else month.usd
        rows.append((month.name, *cells, whole))
    if plan.months and names:
        last = len(plan.months) + 1
        totals = [
            Formula(f"SUM({_letters(c)}2:{_letters(c)}{last})", usd) for c, usd in enumerate([*sums, sum(sums)], 1)
        ]
        rows.append(("all", *totals))
    writer.sheet("Months", ("month", *(f"{name}, USD" for name in names), "all, USD"), rows, (14, 16))


def _demand(writer: _Writer, plan: Plan) -> None:
    rows = [
        (w.name, w.owner, w.model, w.requests, w.input_tokens, w.output_tokens, w.unserved_requests, w.usd,
         Formula(f"IF(E{r}+F{r}=0,0,H{r}/(E{r}+F{r})*1000000)", w.usd_per_mtok or 0.0),
         Formula(f"IF(D{r}=0,0,H{r}/D{r}*1000)", 1000 * w.usd / w.requests if w.requests else 0.0))
        for r, w in enumerate(plan.workloads, start=2)
    ]  # fmt: skip
    columns = ("workload", "owner", "model", "requests", "input tokens", "output tokens", "not served",
               "cost as planned, USD", "USD per million tokens", "USD per 1,000 requests")  # fmt: skip
    writer.sheet("Demand", columns, rows, (30, 18))


def _strategies(writer: _Writer, plan: Plan, total: Formula) -> None:
    months = plan.horizon_months or 1.0
    rows: list[Sequence[Cell]] = [("this plan", total, Formula("B2/Inputs!$B$2", total.value / months))]
    for r, other in enumerate(plan.baselines, start=3):
        if other.usd is None:
            rows.append((other.name, "forbidden" if other.forbidden else "not possible", None, None, None, other.note))
            continue
        rows.append(
            (
                other.name,
                other.usd,
                Formula(f"B{r}/Inputs!$B$2", other.usd / months),
                Formula(f"B{r}-B$2", other.usd - total.value),
                Formula(f"IF(B$2=0,0,B{r}/B$2)", other.usd / total.value if total.value else 0.0),
                other.note,
            )
        )
    columns = ("strategy", "bill, USD", "per month, USD", "more than this plan, USD", "times this plan", "note")
    writer.sheet("Strategies", columns, rows, (30, 18, 18, 18, 18, 60))


def _sensitivity(writer: _Writer, plan: Plan) -> None:
    """Solved bills, so no formulas: at another price another plan may be cheaper."""
    rows = [
        (s.driver, s.low, s.usd_low, s.usd_low - plan.cost_usd, s.high, s.usd_high, s.usd_high - plan.cost_usd,
         s.turns_below, s.turns_above)
        for s in plan.sensitivities
    ]  # fmt: skip
    columns = ("figure", "times, low", "bill, USD", "more than this plan, USD", "times, high", "bill, USD",
               "more than this plan, USD", "decision turns below, times", "above, times")  # fmt: skip
    writer.sheet("Sensitivity", columns, rows or [(UNTRIED,)], (30, 16))


def _offers(writer: _Writer, plan: Plan) -> None:
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
    writer.sheet("Offers", columns, rows, (44, 16))


def _curves(writer: _Writer, plan: Plan) -> None:
    rows = [
        (d.name, d.kind, d.dated or "undated", d.engine, d.engine_version, d.precision, d.weights,
         " ".join(d.server_args), d.source)
        for d in plan.deployments
    ]  # fmt: skip
    columns = ("curve", "kind", "date", "engine", "version", "precision", "weights", "server arguments", "source")
    writer.sheet("Curves", columns, rows, (44, 16, 16, 16, 16, 16, 16, 50))


def _scheme(thing: Thing) -> str:
    return label(thing.scheme) if thing.scheme else ""  # type: ignore[arg-type]  # a scheme's name or nothing


def _letters(column: int) -> str:
    """The spreadsheet's name of a column counted from 0."""
    name = ""
    while column >= 0:
        name = chr(65 + column % 26) + name
        column = column // 26 - 1
    return name


def _text(text: str) -> str:
    """One line that a cell can hold."""
    return "".join(c if c.isprintable() else " " for c in text)[:_LONGEST]


def _day(plan: Plan) -> datetime:
    return datetime.fromisoformat(plan.made_on)
