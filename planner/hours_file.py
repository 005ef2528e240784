"""Reads hours.csv back, so that a review's texts and pictures can be made anew without solving.

What hours.csv leaves out (zeros, what it sums over workloads when there are too many rows) is put back as far as it is
known: demand is what is served and what is not; tokens per request are plan.json's. Where requests were summed over
workloads the table has one workload, "all", with the mean tokens of all requests. A month's last hour is not cut off
although nothing happens in it: the length is plan.json's.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hardware_profiles.faults import Faults
from planner.hourly import HourTable
from planner.plan import SUPPLY_ORDER, Plan
from planner.problem import Array
from planner.tables import HOUR_COLUMNS, shown_name

_MOST_FAULTS = 20


class _Row(NamedTuple):
    """One line; a plain tuple, because a plan of three years has several hundred thousand."""

    hour: int
    scheme: str
    workload: str
    requests: float
    gpus_held: float
    gpus_busy: float
    usd: float


def read_hours(path: Path, plan: Plan) -> HourTable:
    """The hours beside a plan.json; raises `InputError` with the faults in them."""
    faults = Faults(str(path))
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(_rows(csv.reader(file), plan, faults))
    except (OSError, UnicodeDecodeError) as error:
        faults.add(f"cannot be read ({error})", "solve again, which writes it")
    faults.check()
    return _table(rows, plan)


def _rows(reader: Iterator[list[str]], plan: Plan, faults: Faults) -> Iterator[_Row]:
    start = datetime.fromisoformat(plan.horizon_start)
    if next(reader, None) != list(HOUR_COLUMNS):
        faults.add("has other columns than hours.csv", "solve again, which writes it", line=1)
        return
    known = {"", "unserved", *SUPPLY_ORDER}
    times: dict[str, int] = {}
    for line, cells in enumerate(reader, start=2):
        try:
            stamp, scheme, workload, *numbers = cells
            if stamp not in times:
                times[stamp] = round((datetime.fromisoformat(stamp) - start) / timedelta(hours=1))
            row = _Row(times[stamp], scheme, workload, *(float(cell or 0) for cell in numbers))
            sound = scheme in known and 0 <= row.hour < plan.horizon_hours
        except (TypeError, ValueError):
            sound = False
        if sound:
            yield row
            continue
        faults.add("is no row of this plan's hours", "solve again, which writes the file", line=line)
        if len(faults.found) >= _MOST_FAULTS:
            return


def _table(rows: list[_Row], plan: Plan) -> HourTable:
    names, tokens = _workloads(rows, plan)
    place, count = {shown_name(name): w for w, name in enumerate(names)}, plan.horizon_hours
    served: dict[str, Array] = defaultdict(lambda: np.zeros((count, len(names))))
    held: dict[str, Array] = defaultdict(lambda: np.zeros(count))
    busy: dict[str, Array] = defaultdict(lambda: np.zeros(count))
    usd = np.zeros(count)
    for row in rows:
        if not row.scheme:
            usd[row.hour] += row.usd
        elif row.workload in place:
            served[row.scheme][row.hour, place[row.workload]] += row.requests
        else:
            held[row.scheme][row.hour] += row.gpus_held
            busy[row.scheme][row.hour] += row.gpus_busy
    unserved = served.pop("unserved", np.zeros((count, len(names))))
    return HourTable(
        start=datetime.fromisoformat(plan.horizon_start),
        workloads=names,
        demand=np.sum([*served.values(), unserved], axis=0),
        served={scheme: served[scheme] for scheme in SUPPLY_ORDER if scheme in served},
        unserved=unserved,
        tokens_per_request=tokens,
        gpus_held={scheme: held[scheme] for scheme in SUPPLY_ORDER if scheme in held},
        gpus_busy={scheme: busy[scheme] for scheme in SUPPLY_ORDER if scheme in busy},
        usd=usd,
    )


def _workloads(rows: list[_Row], plan: Plan) -> tuple[tuple[str, ...], Array]:
    """The workloads of the table and their tokens per request."""
    names = tuple(w.name for w in plan.workloads)
    requests = np.array([w.requests for w in plan.workloads])
    tokens = np.array([w.input_tokens + w.output_tokens for w in plan.workloads])
    summed = {row.workload for row in rows if row.requests} == {"all"} and names != ("all",)
    if summed:
        return ("all",), np.array([tokens.sum() / requests.sum() if requests.sum() else 0.0])
    return names, np.divide(tokens, requests, out=np.zeros(len(names)), where=requests > 0)
