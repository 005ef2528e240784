"""The plan's tables as CSV, for people's own sums: full values, one row per thing, units in the column names.

`hours.csv` is long: a row per hour, scheme and workload that serves something (`requests`), a row per hour and scheme
that holds GPUs (`gpus_held`, `gpus_busy`), a row per hour that costs something by itself (`usd`: on demand, API, busy
power). Zeros are left out. When that would be more than `MOST_ROWS` rows, requests are summed over workloads ("all"),
so that a spreadsheet still opens the file. Text never becomes a formula.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

import numpy as np

from hardware_profiles.curve import Value
from planner.acting import calendar_of, command
from planner.hourly import HourTable
from planner.names import csv_safe
from planner.plan import SUPPLY_ORDER, Amount, Plan, Price, Purchase, Served, Source, Supply
from planner.problem import Array

MOST_ROWS = 400_000
HOUR_COLUMNS = ("hour_utc", "scheme", "workload", "requests", "gpus_held", "gpus_busy", "usd")
_GPUS = {"existing": "gpus_existing", "owned": "gpus_owned", "reserved": "gpus_reserved",
         "commitment": "gpus_commitment", "spot": "gpus_spot", "on demand": "gpus_on_demand"}  # fmt: skip

Cell = str | float | int | None


def plan_tables(plan: Plan) -> dict[str, str]:
    """CSV text of every table of the plan, by file name."""
    return {
        "purchases.csv": _purchases(plan),
        "purchase_lines.csv": _purchase_lines(plan),
        "supplies.csv": _with_source(plan.supplies, Supply),
        "calendar.csv": table(
            ("day", "what", "note"), ((d.day.isoformat(), d.what, d.note) for d in calendar_of(plan))
        ),
        "replicas_by_hour.csv": _replicas_by_hour(plan),
        "prices.csv": _with_source(plan.prices, Price),
        "curve_points.csv": _curve_points(plan),
        "workloads.csv": _rows(plan.workloads, tuple(Served.model_fields)),
        "deployments.csv": _deployments(plan),
        "months.csv": _months(plan),
        "month_lines.csv": _month_lines(plan),
        "lines.csv": _rows(plan.lines, ("name", "usd")),
        "sensitivities.csv": _sensitivities(plan),
        "baselines.csv": _rows(plan.baselines, ("name", "usd", "gap", "forbidden", "note")),
        "paid.csv": _paid(plan),
        "profit_and_loss.csv": _expenses(plan),
        "books.csv": _books(plan),
        "expense_to_bill.csv": _rows(plan.books.to_bill if plan.books else (), ("name", "usd")),
    }


def hours_table(hours: HourTable, most_rows: int = MOST_ROWS) -> str:
    """`hours.csv`; see above."""
    served: dict[str, Array] = {scheme: hours.served[scheme] for scheme in SUPPLY_ORDER if scheme in hours.served}
    served["unserved"] = hours.unserved
    names = hours.workloads
    if _count(hours, served) > most_rows:
        names, served = ("all",), {key: values.sum(axis=1, keepdims=True) for key, values in served.items()}
    times = [f"{hours.start + timedelta(hours=t):%Y-%m-%dT%H:%MZ}" for t in range(len(hours.demand))]
    rows = sorted(
        [*_served_rows(served, [_quoted(shown_name(name)) for name in names]), *_gpu_rows(hours), *_usd_rows(hours)],
        key=lambda row: row[0],
    )
    lines = [f"{times[t]},{rest}\n" for t, rest in rows]
    return ",".join(HOUR_COLUMNS) + "\n" + "".join(lines)


def table(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """CSV text: text made harmless, numbers as they are, None empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return out.getvalue()


def _harmless(cell: Cell) -> Cell:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return shown_name(cell) if isinstance(cell, str) else cell


def _rows(items: Sequence[Value], columns: Sequence[str]) -> str:
    """A table of flat values: one column per field named."""
    dumped = [item.model_dump() for item in items]
    return table(columns, ([row[column] for column in columns] for row in dumped))


def _with_source(items: Sequence[Supply | Price], kind: type[Value]) -> str:
    """Values with a source: one column per field, the source's own ones last."""
    columns = [name for name in kind.model_fields if name != "source"]
    rows = ([*(getattr(item, name) for name in columns), *_source(item.source)] for item in items)
    return table([*columns, "price_source", "price_as_of", "price_stale", "price_confidence"], rows)


def _source(source: Source | None) -> tuple[Cell, ...]:
    return (None,) * 4 if source is None else (source.text, source.as_of, source.stale, source.confidence)


def _curve_points(plan: Plan) -> str:
    """Every point of the curves that serve, and the knee of its shape."""
    columns = ("deployment", "input_tokens", "cached_tokens", "output_tokens", "mode", "level", "throughput_per_s",
               "attained", "capacity_per_s", "capacity_low_per_s", "capacity_high_per_s", "knee",
               "saturated")  # fmt: skip
    rows: Iterable[tuple[Cell, ...]] = (
        (d.name, s.input_tokens, s.cached_tokens, s.output_tokens, s.mode, p.level, p.throughput_per_s, p.attained,
         s.capacity_per_s, s.capacity_low_per_s, s.capacity_high_per_s, s.knee, s.saturated)
        for d in plan.deployments
        for s in d.shapes
        for p in s.points
    )  # fmt: skip
    return table(columns, rows)


def _replicas_by_hour(plan: Plan) -> str:
    """The most replicas that run in each hour of the day, and how each is started."""
    rows = ((d.name, hour, count, command(d)) for d in plan.deployments for hour, count in enumerate(d.by_hour))
    return table(("deployment", "hour_utc", "replicas_most", "command"), rows)


def _purchases(plan: Plan) -> str:
    columns = ("offer", "scheme", "provider", "gpu", "units", "gpus", "epoch", "term_months", "usd", "usd_per_gpu_h",
               "utilisation", "price_source", "price_as_of", "price_stale", "price_confidence", "without_usd",
               "next_best", "next_best_usd", "next_best_in_place_of_usd", "why")  # fmt: skip
    rows: Iterable[tuple[Cell, ...]] = (
        (p.offer, p.scheme, p.provider, p.gpu, p.units, p.gpus, p.epoch, p.term_months, p.usd, p.usd_per_gpu_h,
         p.utilisation, *_source(p.source), p.without_usd, *_next_best(p), p.why)
        for p in plan.purchases
    )  # fmt: skip
    return table(columns, rows)


def _next_best(purchase: Purchase) -> tuple[Cell, ...]:
    way = purchase.instead[0] if purchase.instead else None
    return (None,) * 3 if way is None else (way.name, way.usd, way.in_place_of_usd)


def _purchase_lines(plan: Plan) -> str:
    rows = ((p.offer, p.epoch, *_amount(line)) for p in plan.purchases for line in p.lines)
    return table(("offer", "epoch", "line", "usd"), rows)


def _deployments(plan: Plan) -> str:
    columns = ("name", "model", "gpu", "gpus_per_replica", "precision", "engine", "engine_version", "kind", "saturated",
               "percentile_known", "gpu_time_error", "extrapolated", "epoch", "replicas", "rented_replicas_most",
               "source")  # fmt: skip
    rows: Iterable[tuple[Cell, ...]] = (
        (d.name, d.model, d.gpu, d.gpus_per_replica, d.precision, d.engine, d.engine_version, d.kind, d.saturated,
         d.percentile_known, d.gpu_time_error, d.extrapolated, epoch, replicas, d.rented_replicas_most, d.source)
        for d in plan.deployments
        for epoch, replicas in d.replicas.items()
    )  # fmt: skip
    return table(columns, rows)


def _months(plan: Plan) -> str:
    rows: Iterable[tuple[Cell, ...]] = (
        (m.name, m.hours, m.requests, m.usd, *(m.gpus.get(s, 0.0) for s in _GPUS)) for m in plan.months
    )
    return table(("month", "hours", "requests", "usd", *_GPUS.values()), rows)


def _month_lines(plan: Plan) -> str:
    return table(("month", "line", "usd"), ((m.name, *_amount(line)) for m in plan.months for line in m.lines))


def _sensitivities(plan: Plan) -> str:
    """Factors of what the plan assumes; decisions as GPUs by scheme, empty where the plan's own holds."""
    columns = ("figure", "factor_low", "factor_high", "usd_low", "usd_high", "turns_below", "decision_below",
               "turns_above", "decision_above")  # fmt: skip
    rows: Iterable[tuple[Cell, ...]] = (
        (s.driver, s.low, s.high, s.usd_low, s.usd_high, s.turns_below, _decision(s.decision_below), s.turns_above,
         _decision(s.decision_above))
        for s in plan.sensitivities
    )  # fmt: skip
    return table(columns, rows)


def _decision(decision: dict[str, float] | None) -> str | None:
    return None if decision is None else "; ".join(f"{n:g} {key}" for key, n in sorted(decision.items())) or "nothing"


def _paid(plan: Plan) -> str:
    """What each strategy has cost by the end of each month (0: at the start)."""
    strategies = (("this plan", plan.paid), *((other.name, other.paid) for other in plan.baselines))
    rows = ((name, month, usd) for name, paid in strategies for month, usd in enumerate(paid))
    return table(("strategy", "months", "usd_paid"), rows)


def _expenses(plan: Plan) -> str:
    """Every month's expenses at face value, and the line of the bill that each is a part of."""
    months = plan.books.months if plan.books else ()
    rows = ((m.name, e.name, e.line, e.usd) for m in months for e in m.expenses)
    return table(("month", "expense", "line", "usd"), rows)


def _books(plan: Plan) -> str:
    """Each month's whole expense, the tax that it saves, and what stands in the books at its end."""
    months = plan.books.months if plan.books else ()
    rows = ((m.name, m.usd, m.tax_saved_usd, m.book_usd, m.loans_usd) for m in months)
    return table(("month", "expense_usd", "tax_saved_usd", "book_usd", "loans_usd"), rows)


def _amount(line: Amount) -> tuple[str, float]:
    return line.name, line.usd


def _count(hours: HourTable, served: dict[str, Array]) -> int:
    groups = [*served.values(), *hours.gpus_held.values(), hours.usd]
    return sum(int(np.count_nonzero(values)) for values in groups)


def _served_rows(served: dict[str, Array], names: list[str]) -> Iterator[tuple[int, str]]:
    for scheme, values in served.items():
        for w, name in enumerate(names):
            column = values[:, w]
            for t in np.flatnonzero(column).tolist():
                yield t, f"{scheme},{name},{column[t]:.9g},,,"


def _gpu_rows(hours: HourTable) -> Iterator[tuple[int, str]]:
    for scheme in SUPPLY_ORDER:
        if scheme in hours.gpus_held:
            held, busy = hours.gpus_held[scheme], hours.gpus_busy.get(scheme, np.zeros(len(hours.demand)))
            for t in np.flatnonzero(held).tolist():
                yield t, f"{scheme},,,{held[t]:.9g},{busy[t]:.9g},"


def _usd_rows(hours: HourTable) -> Iterator[tuple[int, str]]:
    for t in np.flatnonzero(hours.usd).tolist():
        yield t, f",,,,,{hours.usd[t]:.9g}"


def shown_name(name: str) -> str:
    """A name as it reads in a CSV cell: harmless and on one line."""
    return csv_safe(_one_line(name))


def _quoted(cell: str) -> str:
    """A cell with the quotes that CSV asks for."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow((cell,))
    return out.getvalue()


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
