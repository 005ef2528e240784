"""The rows of a forecast together: one regular time axis, every workload at every time, totals per hour.

A time that is missing, comes twice or breaks the interval is a fault, not something to fill in: a planner that guesses
a gap as zero buys too little. What a row that could not be read leaves open is not told a second time.
"""

from __future__ import annotations

import bisect
import math
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from hardware_profiles.faults import Faults
from planner.forecast_rows import ONLY_WORKLOAD, Rows

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MAX_WORKLOADS = 100
MAX_SCENARIOS = 50
MAX_HOURS = 10 * 8766
_HOUR_S = 3600


@dataclass(frozen=True, eq=False)
class HourlyTable:
    """Totals per hour of all scenarios."""

    start: datetime
    scenarios: dict[str | None, float]
    """Name -> probability; {None: 1.0} without a scenario column."""
    workloads: tuple[str, ...]
    counts: FloatArray
    """[scenario, (requests, input, cached input, output), hour, workload]."""
    source_hour: IntArray
    """The first hour of the row that each hour was made from."""
    notes: tuple[str, ...]


def hourly_table(rows: Rows, faults: Faults) -> HourlyTable:
    """Put the rows in their places and bring them to hours; raises `InputError` when a fault was found."""
    axis = _axis(rows, faults)
    scenarios = _scenarios(rows, faults)
    workloads = tuple(dict.fromkeys(rows.workload))
    table = _table(rows, axis, tuple(scenarios), workloads, faults)
    if not table[:, 0].any() and not faults.found:
        faults.add("there is no request in any row", "forecast some demand", column="requests")
    faults.check()
    counts, source_hour = _hourly(table, axis)
    start = _moment(int(axis.second[0]))
    return HourlyTable(start, scenarios, workloads, counts, source_hour, _notes(rows, axis))


@dataclass(frozen=True, eq=False)
class _Axis:
    """The rows' times: when each begins and how many seconds it lasts (whole hours, or a whole part of one)."""

    second: IntArray
    length_s: IntArray
    monthly: bool


def _axis(rows: Rows, faults: Faults) -> _Axis:
    """The interval is the commonest step between times (calendar months where they fit); other steps are faults."""
    second = np.unique(np.array(rows.second, dtype=np.int64))
    line = dict(zip(reversed(rows.second), reversed(rows.line), strict=True))
    months = [_next_month(_moment(int(s))) for s in second]
    monthly = len(second) > 1 and None not in months and months[0] == second[1]
    if monthly:
        step, expected = "month", np.array(months, dtype=np.int64)
    else:
        gaps, times = np.unique(np.diff(second), return_counts=True)
        interval = int(gaps[np.argmax(times)]) if len(gaps) else _HOUR_S
        step, expected = _duration(interval), second + interval
        if interval % _HOUR_S and _HOUR_S % interval:
            what, remedy = f"there is one row every {step}", "use whole hours or a whole part of one"
            faults.add(what, remedy, line=line[int(second[1])], column="timestamp", value=_iso(int(second[1])))
    for before, wanted, found in zip(second[:-1].tolist(), expected[:-1].tolist(), second[1:].tolist(), strict=True):
        if found > wanted and not _left_open(rows, line[before], line[found]):
            what = f"rows are missing from {_iso(wanted)} until here (one row every {step})"
            remedy = "add them, zeros where there is no demand; write times in UTC, which has no clock change"
            faults.add(what, remedy, line=line[found], column="timestamp", value=_iso(found))
        elif found < wanted:
            what, remedy = f"comes too early (one row every {step})", "keep to one interval"
            faults.add(what, remedy, line=line[found], column="timestamp", value=_iso(found))
    total_s, last = int(expected[-1] - second[0]), int(second[-1])
    if total_s % _HOUR_S and _HOUR_S % int(expected[0] - second[0]) == 0 and not rows.unplaced:
        what, remedy = "the last hour is only partly there", "add its other rows, or remove it"
        faults.add(what, remedy, line=line[last], column="timestamp", value=_iso(last))
    if total_s > MAX_HOURS * _HOUR_S:
        what, remedy = "the forecast is longer than ten years", "check the dates"
        faults.add(what, remedy, line=line[last], column="timestamp", value=_iso(last))
    return _Axis(second, expected - second, monthly)


def _left_open(rows: Rows, after: int, before: int) -> bool:
    """Whether a row between these lines could not be placed; what it leaves open is told as that row's fault."""
    at = bisect.bisect_right(rows.unplaced, after)
    return at < len(rows.unplaced) and rows.unplaced[at] < before


def _scenarios(rows: Rows, faults: Faults) -> dict[str | None, float]:
    """Scenario -> probability, in the file's order; equal ones where the file gives none."""
    names = tuple(dict.fromkeys(rows.scenario))
    if "probability" not in rows.columns:
        return dict.fromkeys(names, 1 / len(names))
    given: dict[str | None, float] = {}
    for line, name, probability in zip(rows.line, rows.scenario, rows.probability, strict=True):
        if probability is not None and given.setdefault(name, probability) != probability:
            what, remedy = (
                f"scenario '{name}' had probability {given[name]:g} before",
                "give a scenario one probability",
            )
            faults.add(what, remedy, line=line, column="probability", value=f"{probability:g}")
    if not faults.found and abs(sum(given.values()) - 1) > 1e-6:
        what = f"the probabilities of the {len(given)} scenarios sum to {sum(given.values()):g}"
        faults.add(what, "make them sum to 1", column="probability")
    return {name: given.get(name, 0.0) for name in names}


def _table(
    rows: Rows, axis: _Axis, scenarios: tuple[str | None, ...], workloads: tuple[str, ...], faults: Faults
) -> FloatArray:
    """[scenario, count, row, workload]; a cell that no row fills or two rows fill is a fault."""
    size = (len(scenarios), len(axis.second), len(workloads))
    for column, count, most in (("scenario", size[0], MAX_SCENARIOS), ("workload", size[2], MAX_WORKLOADS)):
        if count > most:
            faults.add(f"there are {count} names", f"join them until at most {most} are left", column=column)
            faults.check()
    if math.prod(size) > 20 * len(rows.line) + 1000:
        what = f"of {math.prod(size)} rows (every workload at every time) only {len(rows.line)} are there"
        faults.add(what, "give every workload a row at every time, zeros where there is no demand")
        faults.check()
    at = np.searchsorted(axis.second, np.array(rows.second, dtype=np.int64))
    place = ({name: s for s, name in enumerate(scenarios)}, {name: w for w, name in enumerate(workloads)})
    s = np.array([place[0][name] for name in rows.scenario])
    w = np.array([place[1][name] for name in rows.workload])
    cell = np.ravel_multi_index((s, at, w), size)
    _note_doubles(rows, cell, faults)
    filled = np.full(size, -1, dtype=np.int64)
    filled.flat[cell] = np.arange(len(cell))
    of = ["" if name is None else f" of scenario '{name}'" for name in scenarios]
    names = [[f"workload '{workload}'{scenario}" for workload in workloads] for scenario in of]
    _note_lacking(rows, axis, filled, names, faults)
    return np.moveaxis(np.array(rows.counts, dtype=np.float64)[filled], -1, 1)


def _note_doubles(rows: Rows, cell: IntArray, faults: Faults) -> None:
    order = np.argsort(cell, kind="stable")
    for same in np.nonzero(np.diff(cell[order]) == 0)[0]:
        one, two = order[same], order[same + 1]
        what = f"workload '{rows.workload[two]}' has a row for this time already, in line {rows.line[one]}"
        faults.add(what, "keep one", line=rows.line[two], column="timestamp", value=_iso(rows.second[two]))


def _note_lacking(rows: Rows, axis: _Axis, filled: IntArray, names: list[list[str]], faults: Faults) -> None:
    """One fault per workload and scenario that lacks rows, with the first time and how many more there are."""
    for s, w in zip(*np.nonzero((filled < 0).any(axis=1)), strict=True):
        own = filled[s, :, w]
        have, empty = np.nonzero(own >= 0)[0], np.nonzero(own < 0)[0]
        lines = [0, *(rows.line[i] for i in own[have]), sys.maxsize]
        after = np.searchsorted(have, empty)
        lacking = [t for t, n in zip(empty, after, strict=True) if not _left_open(rows, lines[n], lines[n + 1])]
        if lacking:
            more = f" and at {len(lacking) - 1} other times" if len(lacking) > 1 else ""
            what = f"{names[s][w]} has no row at {_iso(int(axis.second[lacking[0]]))}{more}"
            faults.add(what, "give every workload a row at every time, zeros where there is no demand")


def _hourly(counts: FloatArray, axis: _Axis) -> tuple[FloatArray, IntArray]:
    """Totals per hour [scenario, count, hour, workload], and for each hour the first hour of its row."""
    if axis.length_s[0] < _HOUR_S:
        per_hour = _HOUR_S // int(axis.length_s[0])
        scenarios, kinds, length, workloads = counts.shape
        summed = counts.reshape(scenarios, kinds, length // per_hour, per_hour, workloads).sum(axis=3)
        return summed, np.arange(length // per_hour, dtype=np.int64)
    hours = axis.length_s // _HOUR_S
    first = np.concatenate([[0], np.cumsum(hours)[:-1]])
    spread = np.repeat(counts / hours[:, None], hours, axis=2)
    return spread, np.repeat(first, hours)


def _notes(rows: Rows, axis: _Axis) -> tuple[str, ...]:
    notes = []
    if not rows.zoned:
        notes.append("Times in the forecast name no zone: taken as UTC.")
    if "workload" not in rows.columns:
        notes.append(f"The forecast has no workload column: its one workload is called '{ONLY_WORKLOAD}'.")
    length_s = int(axis.length_s[0])
    if len(axis.second) == 1:
        notes.append("The forecast has a single time: taken as one hour.")
    elif length_s < _HOUR_S:
        notes.append(f"The forecast has one row every {_duration(length_s)}: added up to hours.")
    elif axis.monthly or length_s > _HOUR_S:
        step = "month" if axis.monthly else _duration(length_s)
        notes.append(f"The forecast has one row every {step}: spread evenly over its hours, peaks inside are not seen.")
    if rows.scenario[0] is not None and "probability" not in rows.columns:
        notes.append("The forecast gives its scenarios no probability: taken as equally likely.")
    return tuple(notes)


def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def _iso(second: int) -> str:
    return _moment(second).strftime("%Y-%m-%dT%H:%M:%SZ")


def _next_month(moment: datetime) -> int | None:
    """The first second of the next month, for a moment that begins a month; else None."""
    if (moment.day, moment.hour, moment.minute, moment.second) != (1, 0, 0, 0):
        return None
    return int((moment + timedelta(days=31)).replace(day=1).timestamp())


def _duration(seconds: int) -> str:
    for unit_s, unit in ((_HOUR_S, "h"), (60, "min")):
        if seconds % unit_s == 0:
            return f"{seconds // unit_s} {unit}"
    return f"{seconds} s"
