"""How long the plan is, in which steps purchases can start, and how demand grows over it.

Where no month differs from another (`alike.py`: a few weeks that are repeated, constant prices, no lead time, no loan)
the horizon is one epoch: purchases are made at its start, and terms shorter than it are renewed through it. Otherwise
every month is an epoch. A horizon in hours goes by the same months, the last of them cut where the hours end; terms go
by whole ones.
"""

from __future__ import annotations

import calendar
import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from planner.alike import changes, repeats, terms_end, waits
from planner.forecast import Forecast, later, tile
from planner.planfile import PlanFile
from planner.prices import PriceBook
from planner.problem import Array, Epoch
from planner.trends import SupplyTrend

_DEFAULT_MONTHS = 12
_MONTHS_PAST = 120
"""Months past the horizon whose lengths are known; terms of ten years end inside them."""


@dataclass(frozen=True)
class Span:
    """The horizon: where it starts, how long it is, and its epochs; `rate` is the discount rate per year."""

    start: datetime
    months: float
    hours: int
    epochs: tuple[Epoch, ...]
    rate: float
    later: tuple[Epoch, ...] = ()
    """The months past it, in which terms may still run."""
    whole_months: int = 0
    """Calendar months that it touches."""

    def lead_epochs(self, months: float | None) -> int:
        """A lead time in epochs, rounded up: what arrives within a month serves from the next one on.

        >>> Span(datetime(2027, 1, 1), 12, 8760, (), 0.0).lead_epochs(2.5)
        3
        """
        return math.ceil((months or 0.0) - 1e-9)

    def term_epochs(self, months: int) -> tuple[int, int]:
        """How many epochs a purchase for a term holds, and of how many terms it is made.

        In one epoch a term that is shorter than the horizon divides it and is renewed through it; what reaches past it
        of a longer one are further epochs.

        >>> year = Span(datetime(2027, 1, 1), 12, 8760, (Epoch("start", 8760),), 0.0, whole_months=12)
        >>> year.term_epochs(6), year.term_epochs(36)
        ((1, 2), (25, 1))
        """
        if len(self.epochs) > 1:
            return months, 1
        terms = max(1, self.whole_months // months)
        return 1 + terms * months - self.whole_months, terms

    def path(self, trend: SupplyTrend) -> tuple[float, ...]:
        """A price's multiplier in every epoch; empty where it does not change."""
        factors = tuple(trend.factor(m, _month_start(self.start, m).date()) for m in range(len(self.epochs)))
        return factors if any(factor != 1.0 for factor in factors) else ()


def horizon(forecast: Forecast, plan: PlanFile, book: PriceBook | None = None) -> Span:
    """Calendar months (or hours) from the forecast's start (or `horizon.start`), as one epoch or one per month.

    `book` says which terms may be signed and whether anything in it has a lead time.
    """
    start = forecast.start
    if plan.horizon.start is not None:
        start = datetime(plan.horizon.start.year, plan.horizon.start.month, plan.horizon.start.day, tzinfo=start.tzinfo)
    hours = plan.horizon.hours
    months = hours * 12 / 8760 if hours is not None else plan.horizon.months or _DEFAULT_MONTHS
    lengths = _lengths(start, plan.horizon.months or _DEFAULT_MONTHS, hours)
    total, count = sum(lengths), len(lengths)
    past_h = _month_hours(start, count - 1) - lengths[-1]
    rate = plan.horizon.discount_rate_per_year or 0.0
    dated = [
        Epoch(f"{_month_start(start, m):%Y.%m}", _month_hours(start, m), (1 + rate) ** (-m / 12))
        for m in range(count + _MONTHS_PAST)
    ]
    epochs = (*dated[: count - 1], replace(dated[count - 1], hours=lengths[-1], past_h=past_h))
    if _one_decision(forecast, plan, book, start, epochs):
        epochs = (Epoch("start", total, past_h=past_h),)
    return Span(start, months, total, epochs, rate, tuple(dated[count:]), count)


def _one_decision(
    forecast: Forecast, plan: PlanFile, book: PriceBook | None, start: datetime, epochs: tuple[Epoch, ...]
) -> bool:
    """Whether the forecast is shorter than the horizon, and no month of the horizon differs from another."""
    last = skipped(forecast, start) + round(sum(epoch.hours for epoch in epochs))
    if forecast.hours >= last or changes(plan):
        return False
    if book is not None and (waits(plan, book) or not terms_end(plan, book, epochs)):
        return False
    return len(epochs) == 1 or repeats(later(tile(forecast, last)[0], skipped(forecast, start)))


def _lengths(start: datetime, months: int, hours: int | None) -> list[int]:
    """Hours of each calendar month of the horizon; with `hours` so many in all, the last month cut."""
    if hours is None:
        return [_month_hours(start, m) for m in range(months)]
    lengths: list[int] = []
    while (left := hours - sum(lengths)) > 0:
        lengths.append(min(_month_hours(start, len(lengths)), left))
    return lengths


def skipped(forecast: Forecast, start: datetime) -> int:
    """Hours of the forecast before the plan begins; negative where the plan would begin before it."""
    return round((start - forecast.start) / timedelta(hours=1))


def over(forecast: Forecast, span: Span) -> tuple[Forecast, tuple[str, ...]]:
    """The forecast over exactly the horizon, and what was done to it: cut, repeated by whole weeks, begun later."""
    skip = skipped(forecast, span.start)
    tiled, note = tile(forecast, skip + span.hours)
    if not skip:
        return tiled, (note,) if note else ()
    said = f"The plan begins on {span.start:%Y-%m-%d}: the forecast's first {skip} h are left out."
    if skip + span.hours > forecast.hours:
        said += f" Where its {forecast.hours} h end, its last whole weeks are repeated."
    return later(tiled, skip), (said,)


def grown(forecast: Forecast, span: Span, plan: PlanFile) -> Forecast:
    """The forecast with every hour's requests and tokens multiplied by its month's growth."""
    if not (plan.growth.requests_per_year or any(plan.growth.workloads.values())):
        return forecast
    bounds = np.cumsum([_month_hours(span.start, m) for m in range(math.ceil(span.months) + 1)])
    month = np.searchsorted(bounds, np.arange(span.hours), side="right")
    factors = [[plan.growth.factor(name, m) for name in forecast.workloads] for m in range(int(month.max()) + 1)]
    by_hour: Array = np.array(factors)[month]
    return replace(
        forecast,
        requests=forecast.requests * by_hour,
        input_tokens=forecast.input_tokens * by_hour,
        cached_input_tokens=forecast.cached_input_tokens * by_hour,
        output_tokens=forecast.output_tokens * by_hour,
    )


def _month_start(start: datetime, months: int) -> datetime:
    year, month = divmod(start.month - 1 + months, 12)
    year, month = start.year + year, month + 1
    return start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))


def _month_hours(start: datetime, month: int) -> int:
    return round((_month_start(start, month + 1) - _month_start(start, month)) / timedelta(hours=1))
