"""From plan to action: when to sign what, how to start each server, and how many replicas run at which hour."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date

from planner.amounts import number
from planner.parts import Section, Table, first
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
    """Sign-by days of everything that is bought or reserved, and the days on which terms end, in order."""
    found = []
    for purchase in plan.purchases:
        day = _begins(plan, purchase)
        if purchase.scheme not in ("owned", "reserved", "commitment") or day is None:
            continue
        gpus = f"{number(purchase.units)} x {purchase.offer} ({number(purchase.gpus)} GPUs)"
        if purchase.usd_per_h is not None:
            gpus = f"{purchase.offer}: {number(purchase.usd_per_h)} USD per hour"
        found.append(Due(day, f"sign {gpus}", _lead(purchase)))
        if purchase.term_months is not None:
            end = months_later(day, (purchase.lead_months or 0) + purchase.term_months)
            found.append(Due(end, f"term ends: {gpus}", "decide before whether to renew"))
    return tuple(sorted(found, key=lambda due: (due.day, due.what)))


def months_later(day: date, months: int) -> date:
    """The same day of a later month, or that month's last day.

    >>> months_later(date(2027, 1, 31), 1), months_later(date(2027, 11, 4), 3)
    (datetime.date(2027, 2, 28), datetime.date(2028, 2, 4))
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


def _begins(plan: Plan, purchase: Purchase) -> date | None:
    """The first day of the epoch in which it is signed; None for what has no epoch (by the hour)."""
    start = date.fromisoformat(plan.horizon_start[:10])
    names = [month.name for month in plan.months]
    return months_later(start, names.index(purchase.epoch)) if purchase.epoch in names else None


def _lead(purchase: Purchase) -> str:
    if purchase.lead_months is None:
        return "its GPUs are to serve from this day: sign earlier by the seller's lead time, which is not stated"
    if not purchase.lead_months:
        return "its GPUs serve from this day: there is no lead time"
    return f"delivery takes {purchase.lead_months} months; its GPUs serve after that"


def _calendar(plan: Plan) -> Section | None:
    rows = tuple((due.day.isoformat(), due.what, due.note) for due in calendar_of(plan))
    if not rows:
        return None
    says = "What has to be signed by when, and when it ends."
    return Section("Calendar", says, Table(("day", "what", "note"), rows, words=first(3)))


def _replicas(plan: Plan) -> Section | None:
    shown = [d for d in plan.deployments if d.by_hour][:_COLUMNS]
    if not shown:
        return None
    rows = tuple((f"{hour:02}:00", *(number(d.by_hour[hour]) for d in shown)) for hour in range(24))
    says = (
        "The most replicas that run in each hour of the day (UTC) on any day of the horizon, placed and rented "
        "together: what an autoscaler must be able to reach."
    )
    if len(shown) < len(plan.deployments):
        says += " The other deployments are in replicas_by_hour.csv."
    columns = ("hour", *(f"{d.model} on {d.gpus_per_replica}x {d.gpu}" for d in shown))
    return Section("Replicas by hour of day", says, Table(columns, rows))
