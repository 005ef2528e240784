"""What the pictures show of the hours: a typical week, the worst one, and the load-duration curve.

Work of different workloads is added up as tokens (input and output), which is nearer to GPU time and to money than
requests are. Unit here: million tokens per hour. Weeks are counted from the first hour of the horizon, so that a week
is whole; a rest of less than a week at the end is left out of the choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from planner.hourly import HourTable
from planner.plan import SUPPLY_ORDER, Scheme
from planner.problem import Array

WEEK_H = 168
_POINTS = 500


@dataclass(frozen=True)
class Span:
    """Hours `first` to `last` (not included) of the table, and what they stand for."""

    title: str
    first: int
    last: int
    start: datetime

    @property
    def dates(self) -> str:
        """First and last day, for people."""
        end = self.start + timedelta(hours=self.last - self.first - 1)
        if (self.start.year, self.start.month) == (end.year, end.month):
            return f"{self.start:%-d} to {end:%-d %b %Y}"
        return f"{self.start:%-d %b} to {end:%-d %b %Y}"


@dataclass(frozen=True, eq=False)
class Duration:
    """Hours sorted by demand: at `hour_share[i]` of the hours (0 to 1) the demand and who serves what of it."""

    hour_share: Array
    demand: Array
    served: dict[Scheme, Array]
    unserved: Array


def tokens(table: HourTable, requests: Array) -> Array:
    """Requests per hour [t, w] as million tokens per hour [t]."""
    return np.asarray(requests @ table.tokens_per_request / 1e6, dtype=np.float64)


def schemes(table: HourTable) -> tuple[Scheme, ...]:
    """Schemes that hold GPUs or serve something, in the order in which they are stacked."""
    used = {name for group in (table.served, table.gpus_held) for name, rows in group.items() if np.any(rows > 0)}
    return tuple(scheme for scheme in SUPPLY_ORDER if scheme in used)


def week_spans(table: HourTable) -> tuple[Span, ...]:
    """The typical and the worst week; one span where the weeks are alike or there is no whole one.

    Typical: the week with the median of all weeks' tokens. Worst: most left unserved, then the highest single hour.
    """
    hours, count = len(table.demand), len(table.demand) // WEEK_H
    if count == 0:
        return (_span(table, "All hours", 0, hours),)
    demand = _by_week(tokens(table, table.demand), count)
    unserved = _by_week(tokens(table, table.unserved), count)
    if np.allclose(demand, demand[0], rtol=1e-6, atol=0) and not unserved.any():
        return (_span(table, "Every week alike" if count > 1 else "The week", 0, WEEK_H),)
    totals = (demand.sum(axis=1) / demand.sum()).round(9)  # so that weeks alike but for rounding tie, the first winning
    typical = int(np.argmax(totals == np.sort(totals)[(count - 1) // 2]))
    highest = (demand.max(axis=1) / demand.max()).round(9)
    worst = int(np.lexsort((-highest, -unserved.sum(axis=1).round(9)))[0])
    found = [("Typical week", typical)] if typical == worst else [("Typical week", typical), ("Worst week", worst)]
    if typical == worst:
        found = [("Typical and worst week", typical)]
    return tuple(_span(table, title, week * WEEK_H, (week + 1) * WEEK_H) for title, week in found)


def duration(table: HourTable, points: int = _POINTS) -> Duration:
    """The load-duration curve: the highest hour alone, then at most `points` groups of neighbouring hours, averaged."""
    demand = tokens(table, table.demand)
    order = np.argsort(-demand, kind="stable")
    groups = [order[:1], *np.array_split(order[1:], min(points, max(1, len(order) - 1)))]
    groups = [group for group in groups if len(group)]
    ends = np.cumsum([len(group) for group in groups])
    middles = (ends - np.array([len(group) for group in groups]) / 2) / len(order)
    middles[0], middles[-1] = 0.0, 1.0 if len(groups) > 1 else 0.0

    def mean(values: Array) -> Array:
        return np.array([values[group].mean() for group in groups])

    served = {scheme: mean(tokens(table, rows)) for scheme, rows in table.served.items()}
    return Duration(middles, mean(demand), served, mean(tokens(table, table.unserved)))


def _by_week(values: Array, count: int) -> Array:
    return values[: count * WEEK_H].reshape(count, WEEK_H)


def _span(table: HourTable, title: str, first: int, last: int) -> Span:
    return Span(title, first, last, table.start + timedelta(hours=first))
