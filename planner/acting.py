"""From plan to action: when to sign what, how to start each server, and how many replicas run at which hour."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from operator import itemgetter

from planner.amounts import count, number, usd
from planner.parts import Section, Table, first, placed_name
from planner.plan import Deployed, Plan, Purchase

_PARALLEL = (
    ("--tensor-parallel-size", "-tp", "tensor_parallel"),
    ("--pipeline-parallel-size", "-pp", "pipeline_parallel"),
    ("--data-parallel-size", "-dp", "data_parallel"),
)
_COLUMNS = 6


@dataclass(frozen=True)
class Due:
    """Something to do by a day."""

    day: date
    what: str
    note: str


def calendar_of(plan: Plan) -> tuple[Due, ...]:
    """Sign-by days of everything that is bought or reserved, when it serves and when its term ends, in order.

    Counted backwards: what is to serve from a day has to be signed its lead time before that day.
    """
    found = []
    for purchase in plan.purchases:
        serves = _serves(plan, purchase)
        if purchase.scheme not in ("owned", "reserved", "commitment") or serves is None:
            continue
        lead = purchase.lead_months or 0
        sign = months_later(serves, -lead)
        what = f"{number(purchase.units)} x {purchase.offer} ({count(purchase.gpus, 'GPU')})"
        if purchase.usd_per_h is not None:
            what = f"{purchase.offer}: {usd(purchase.usd_per_h)} an hour"
        past = f"; this day was past when the plan was made: {what} can only come later" if _past(plan, sign) else ""
        found.append(Due(sign, f"sign {what}", f"{_lead(purchase, serves)}{past}"))
        if lead:
            found.append(Due(serves, f"in service: {what}", "check that it was delivered"))
        if purchase.term_months is not None:
            end = months_later(serves, purchase.term_months)
            found.append(Due(end, f"term ends: {what}", "decide before whether to renew"))
    return tuple(sorted(found, key=lambda due: (due.day, due.what)))


def months_later(day: date, months: int) -> date:
    """The same day of a later month, or that month's last day.

    >>> months_later(date(2027, 1, 31), 1), months_later(date(2027, 11, 4), 3), months_later(date(2027, 1, 4), -2)
    (datetime.date(2027, 2, 28), datetime.date(2028, 2, 4), datetime.date(2026, 11, 4))
    """
    year, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + year, month + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def command(deployed: Deployed) -> str:
    """How the server of a replica is started: the arguments that were measured, and the parallelism they rest on."""
    given = list(deployed.server_args)
    flags = {argument.partition("=")[0] for argument in given}
    for long, short, field in _PARALLEL:
        count = getattr(deployed, field)
        if count > 1 and not flags & {long, short}:
            given += [long, str(count)]
    if deployed.engine != "vllm":
        return " ".join(given)
    return " ".join(("vllm serve", deployed.model_source or deployed.model, *given))


def acting(plan: Plan) -> tuple[Section, ...]:
    """The calendar and the replicas by hour."""
    return tuple(section for section in (_calendar(plan), _replicas(plan)) if section is not None)


def _serves(plan: Plan, purchase: Purchase) -> date | None:
    """The first day of the epoch in which it begins to serve; None for what has no epoch (by the hour)."""
    start = date.fromisoformat(plan.horizon_start[:10])
    names = [month.name for month in plan.months]
    if purchase.serves_from in names:
        return months_later(start, names.index(purchase.serves_from))
    if purchase.epoch not in names:
        return None
    return months_later(start, names.index(purchase.epoch) + (purchase.lead_months or 0))


def _past(plan: Plan, day: date) -> bool:
    return day < date.fromisoformat(plan.made_on)


def _lead(purchase: Purchase, serves: date) -> str:
    if purchase.lead_months is None:
        return "it is to serve from this day: sign earlier by the seller's lead time, which is not stated"
    if not purchase.lead_months:
        return "it serves from this day: there is no lead time"
    return f"delivery takes {count(purchase.lead_months, 'month')}: it is to serve from {serves.isoformat()}"


def _calendar(plan: Plan) -> Section | None:
    rows = tuple((due.day.isoformat(), due.what, due.note) for due in calendar_of(plan))
    if not rows:
        return None
    says = "What has to be signed by when (the day on which it is to serve less its lead time), and when it ends."
    return Section("Calendar", says, Table(("by", "what", "note"), rows, words=first(3)))


def _replicas(plan: Plan) -> Section | None:
    shown = [d for d in plan.deployments if d.by_hour][:_COLUMNS]
    if not shown:
        return None
    by_hour = [tuple(number(d.by_hour[hour]) for d in shown) for hour in range(24)]
    runs = [(counts, [hour for hour, _ in run]) for counts, run in groupby(enumerate(by_hour), key=itemgetter(1))]
    rows = tuple((f"{hours[0]:02}:00 to {hours[-1] + 1:02}:00", *counts) for counts, hours in runs)
    says = (
        "The most replicas that run in each hour of the day (UTC) on any day of the horizon, placed and rented "
        "together: what an autoscaler must be able to reach."
    )
    if len(shown) < len(plan.deployments):
        says += " The other deployments are in replicas_by_hour.csv."
    columns = ("hours", *(placed_name(d) for d in shown))
    return Section("Replicas by hour of day", says, Table(columns, rows))
