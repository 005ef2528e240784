"""What `planner` shows on a terminal: progress while it searches, then the plan's first screen."""

from __future__ import annotations

import math
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from hardware_profiles.faults import printable
from planner.amounts import month
from planner.inputs import Checked
from planner.parts import CAPACITY, Section
from planner.plan import Plan, Purchase
from planner.reasons import reasons
from planner.review import Review
from planner.sections import none_of
from planner.solve import Progress
from planner.why import next_best

_WIDE, _OTHERWISE = 100, "the same work otherwise"
"""Columns of a terminal from which on all of a purchase has room."""


class Screen:
    """A status line on stderr that tells the bound, the plan and their gap as they close."""

    def __init__(self) -> None:
        self._status = Status("", console=Console(stderr=True))

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def step(self, text: str) -> None:
        """What is being done."""
        self._status.update(text)

    def progress(self, at: Progress) -> None:
        """Bound, plan and gap."""
        self._status.update(f"solving: {standing(at)}")


def standing(at: Progress) -> str:
    """Where a search stands, in words; what it does not have yet is not a number."""
    bound = f"bound USD {at.bound_usd:,.0f}" if math.isfinite(at.bound_usd) else "no bound yet"
    plan = f"plan USD {at.plan_usd:,.0f}" if math.isfinite(at.plan_usd) else "no plan yet"
    if not (math.isfinite(at.bound_usd) and math.isfinite(at.plan_usd)):
        return f"{bound}, {plan}"
    gap = max(0.0, at.plan_usd - at.bound_usd) / at.plan_usd if at.plan_usd else 0.0
    return f"{bound}, {plan}, gap {gap:.2%}"


def print_review(made: Review) -> None:
    """The first screen, then where the report is."""
    console = Console()
    plan = made.plan
    for sentence in plan.headline:
        console.print(_text(sentence), style="bold")
    console.print()
    tables = [purchases(plan, wide=console.width >= _WIDE), _supplies(plan), _baselines(plan)]
    for table in (*tables, *([_sensitivities(plan)] if plan.sensitivities else []), *map(_section, reasons(plan))):
        console.print(table)
    console.print(_text(_proof(plan)))
    console.print(_text(f"Evidence: {_evidence(plan)}."))
    for text in (*plan.warnings, *plan.notes):
        console.print(_text(f"* {text}"))
    folder = made.files[0].parent if made.files else None
    console.print(_text(f"Report: {folder}"))


def _evidence(plan: Plan) -> str:
    return "no curve is used" if plan.evidence is None else f"{plan.evidence}; capacity {CAPACITY[plan.capacity]}"


def _proof(plan: Plan) -> str:
    if plan.bound_usd is None or plan.gap is None:
        return f"Proof: {plan.proof}. THE CHECKER FOUND: {'; '.join(plan.checks)}."
    proven = f"no plan costs less than {plan.bound_usd:,.0f} USD (gap {plan.gap:.2%}, {plan.proof})"
    return f"Proof: {proven}; the checker found no broken rule."


def print_checked(checked: Checked) -> None:
    """What was understood."""
    console = Console()
    forecast = checked.forecast
    count = len(forecast.workloads)
    streams = f"{count} workload{'s' * (count != 1)}"
    console.print(_text(f"{forecast.path}: {forecast.hours:,} hours, {streams}, no faults."))
    for name, spec in zip(forecast.workloads, checked.workloads, strict=True):
        slo = ", ".join(f"{limit} {value:g} s" for limit, value in spec.slo.limits.items())
        console.print(_text(f"  {name}: {spec.model}, {slo}, {spec.slo.attainment:.0%} of requests"))
    for note in (*forecast.notes, *checked.notes):
        console.print(_text(f"* {note}"))


def purchases(plan: Plan, *, wide: bool) -> Table:
    """What is bought and rented; what the same work would cost otherwise only on a wide screen (the report has it)."""
    table = Table(title="What to buy, rent and commit to", title_justify="left")
    columns = ("what", "GPUs", "from", "USD", "USD per GPU-h", "used", _OTHERWISE, "price as of")
    for column in columns:
        if wide or column != _OTHERWISE:
            left = column in ("what", "from", _OTHERWISE, "price as of")
            table.add_column(column, justify="left" if left else "right", overflow="fold")
    for p in plan.purchases:
        price = "" if p.usd_per_gpu_h is None else f"{p.usd_per_gpu_h:.2f}"
        use = "" if p.utilisation is None else f"{p.utilisation:.0%}"
        as_of = (p.source.as_of or "undated") + (" (stale)" if p.source.stale else "")
        other = [_text(next_best(p))] if wide else []
        table.add_row(_text(p.offer), _held(p), _from(p), f"{p.usd:,.0f}", price, use, *other, as_of)
    return table


def _held(purchase: Purchase) -> str:
    """GPUs; of a spend commitment what is owed, and the most GPUs that it pays at once."""
    gpus = f"{purchase.gpus:,.0f}"
    return gpus if purchase.usd_per_h is None else f"USD {purchase.usd_per_h:,.2f} an hour, {gpus}"


def _from(purchase: Purchase) -> str:
    """When it is signed and, if that is later, when it serves."""
    return month(purchase.epoch) + (f", serves {month(purchase.serves_from)}" if purchase.serves_from else "")


def _supplies(plan: Plan) -> Table:
    table = Table(title="Who serves", title_justify="left")
    for column in ("supply", "requests", "tokens", "USD", "USD per M tokens"):
        table.add_column(column, justify="left" if column == "supply" else "right")
    for s in plan.supplies:
        tokens = (s.input_tokens + s.output_tokens) / 1e6
        price = f"{s.usd / tokens:.3f}" if tokens else ""
        table.add_row(_text(s.name), f"{s.request_share:.1%}", f"{s.token_share:.1%}", f"{s.usd:,.0f}", price)
    return table


def _baselines(plan: Plan) -> Table:
    table = Table(title="The bill against other strategies", title_justify="left")
    for column in ("strategy", "USD", "against this plan"):
        table.add_column(column, justify="left" if column == "strategy" else "right")
    table.add_row("this plan", f"{plan.cost_usd:,.0f}", "")
    for b in plan.baselines:
        if b.usd is None:
            table.add_row(_text(b.name), none_of(b), _text(b.note))
        else:
            table.add_row(_text(b.name), f"{b.usd:,.0f}", f"{(b.usd - plan.cost_usd) / plan.cost_usd:+.1%}")
    return table


def _sensitivities(plan: Plan) -> Table:
    table = Table(title="What would change the bill and the decision", title_justify="left")
    for column in ("figure", "moved to", "USD", "the decision turns"):
        table.add_column(column, justify="left" if column in ("figure", "the decision turns") else "right")
    for s in plan.sensitivities:
        below = None if s.turns_below is None else f"below {s.turns_below - 1:+.0%}"
        above = None if s.turns_above is None else f"above {s.turns_above - 1:+.0%}"
        turns = " and ".join(part for part in (below, above) if part) or "not in this range"
        table.add_row(s.driver, f"{s.low - 1:+.0%} / {s.high - 1:+.0%}", f"{s.usd_low:,.0f} / {s.usd_high:,.0f}", turns)
    return table


def _section(section: Section) -> Table:
    """A section's table; its sentence is for the report."""
    table = Table(title=section.title, title_justify="left")
    for place, column in enumerate(section.table.columns if section.table else ()):
        words = section.table is None or place in section.table.words
        table.add_column(column, justify="left" if words else "right")
    for row in section.table.rows if section.table else ():
        table.add_row(*(_text(cell) for cell in row))
    return table


def _text(text: str) -> str:
    return escape(printable(text))
