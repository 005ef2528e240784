"""What was really asked for and paid: usage as plain CSV, bills as plain CSV or as a FOCUS export.

* Usage: `timestamp, workload, requests, input_tokens, output_tokens[, usd]`; a row holds until the next timestamp.
* A bill in the FinOps Open Cost and Usage Specification (FOCUS 1.0 to 1.3, focus.finops.org): one row per charge, of
  which `ChargePeriodStart`, `ChargePeriodEnd`, `BilledCost`, and if there `EffectiveCost`, `BillingCurrency`,
  `ServiceName` and `ChargeCategory` are read; other columns may be there. EffectiveCost is preferred, because it
  spreads what was paid in advance over its term, as the plan does. Taxes are left out, as in the plan's prices.

Times without an offset are UTC. A charge counts in the period in the share of its hours that lies inside.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from hardware_profiles.faults import Fault, Faults, InputError

USAGE = ("timestamp", "workload", "requests", "input_tokens", "output_tokens")
FOCUS = ("BilledCost", "ChargePeriodStart", "ChargePeriodEnd")
_MOST_FAULTS = 20


@dataclass(frozen=True)
class Used:
    """What one workload asked for from `start` to `end`."""

    start: datetime
    end: datetime
    workload: str
    requests: float
    input_tokens: float
    output_tokens: float
    usd: float | None


@dataclass(frozen=True)
class Charge:
    """One charge of a bill."""

    start: datetime
    end: datetime
    service: str
    usd: float

    def inside(self, start: datetime, end: datetime) -> float:
        """USD of the part that lies inside a period."""
        length = self.end - self.start
        common = min(self.end, end) - max(self.start, start)
        return self.usd * max(0.0, common / length) if length > timedelta(0) else self.usd * (start <= self.start < end)


@dataclass(frozen=True)
class Actuals:
    """All files together."""

    used: tuple[Used, ...]
    charges: tuple[Charge, ...]

    @property
    def period(self) -> tuple[datetime, datetime]:
        """From the first to the last moment of the usage, else of the charges."""
        rows = self.used or self.charges
        return min(row.start for row in rows), max(row.end for row in rows)


def read_actuals(paths: tuple[Path, ...]) -> Actuals:
    """Every file, whichever of both it is; raises `InputError` with the faults of all of them."""
    used: list[Used] = []
    charges: list[Charge] = []
    found: list[Fault] = []
    for path in paths:
        faults = Faults(str(path))
        rows = list(_rows(path, faults))
        names = set(rows[0][1]) if rows else set()
        if names >= set(FOCUS):
            charges += [c for line, row in rows if (c := _charge(row, line, faults)) is not None]
        elif names >= set(USAGE):
            used += _used(rows, faults)
        elif not faults.found:
            known = f"usage needs {', '.join(USAGE)}; a FOCUS export {', '.join(FOCUS)}"
            faults.add("is neither usage nor a FOCUS bill", known, line=1)
        found += faults.found[:_MOST_FAULTS]
    if found:
        raise InputError(*found)
    return Actuals(tuple(used), tuple(charges))


def _rows(path: Path, faults: Faults) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                if None in row or None in row.values():
                    faults.add("has more or fewer cells than columns", "mend the line", line=reader.line_num)
                else:
                    yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        faults.add(f"cannot be read ({error})", "check the path and write UTF-8 CSV")


def _used(rows: list[tuple[int, dict[str, str]]], faults: Faults) -> list[Used]:
    """Rows with their ends: the next timestamp; the last one is as long as the one before it (an hour, if alone)."""
    starts = [_time(row["timestamp"], line, "timestamp", faults) for line, row in rows]
    times = sorted({start for start in starts if start is not None})
    steps = [after - before for before, after in pairwise(times)] or [timedelta(hours=1)]
    ends = {start: start + step for start, step in zip(times, [*steps, steps[-1]], strict=False)}
    found = []
    for (line, row), start in zip(rows, starts, strict=True):
        asked, tokens_in, tokens_out = (_number(row[name], line, name, faults) for name in USAGE[2:])
        paid = _number(row["usd"], line, "usd", faults) if row.get("usd") else None
        if start is not None and not math.isnan(asked + tokens_in + tokens_out):
            found.append(Used(start, ends[start], row["workload"], asked, tokens_in, tokens_out, paid))
    return found


def _charge(row: dict[str, str], line: int, faults: Faults) -> Charge | None:
    currency = row.get("BillingCurrency") or "USD"
    if currency != "USD":
        faults.add("is not in USD", "convert the export", line=line, column="BillingCurrency", value=currency)
    if row.get("ChargeCategory") == "Tax":
        return None
    start, end = (_time(row[name], line, name, faults) for name in FOCUS[1:])
    column = "EffectiveCost" if row.get("EffectiveCost") else "BilledCost"
    usd = _number(row[column], line, column, faults, least=-math.inf)
    if start is None or end is None or math.isnan(usd):
        return None
    return Charge(start, end, row.get("ServiceName") or "unnamed", usd)


def _time(text: str, line: int, column: str, faults: Faults) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        faults.add("is no time", "write 2027-01-31T13:00Z", line=line, column=column, value=text)
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _number(text: str, line: int, column: str, faults: Faults, least: float = 0.0) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        faults.add("is no number" + (" of 0 or more" if not least else ""), "write digits", line=line, column=column,
                   value=text)  # fmt: skip
        return math.nan
    return value
