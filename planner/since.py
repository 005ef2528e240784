"""What changed since the last review: prices, demand and cost against its plan, and what should not have been signed.

From the last review's folder (plan.json, hours.csv), the actuals and the new plan. Planned figures are those of the
last plan's own hours in the period of the actuals: requests by workload, what work costs by the hour, and committed
cost (owned, reserved, teams) in proportion to the period's share of the horizon.

A commitment in hindsight: what it cost in the period against what its work would have cost without one, at the cheapest
API or GPUs on demand of its day, whichever was the cheaper for each model (the last plan's break-even figures, for the
plan's own mix of models). Its work is the planned one in proportion to the tokens that came, up to what its GPUs can
do. Where a model could be had in neither way, nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from hardware_profiles.faults import Fault, InputError
from planner.actuals import Actuals, Used, read_actuals
from planner.breakeven import usd_per_mtok
from planner.hourly import HourTable
from planner.hours_file import read_hours
from planner.plan import Hindsight, Miss, Plan, Price, PriceMove, Since, read_plan
from planner.variance import Part, split

_VARIABLE = frozenset({"on demand", "API", "busy power", "unserved"})
_UNITS = (
    ("usd_per_gpu_h", "USD per GPU-hour"),
    ("input_usd_per_mtok", "USD per million input tokens"),
    ("output_usd_per_mtok", "USD per million output tokens"),
)


@dataclass(frozen=True, eq=False)
class Last:
    """The last review and what happened."""

    plan: Plan
    hours: HourTable | None
    actuals: Actuals | None


@dataclass(frozen=True)
class _Period:
    """The actuals' period inside the last plan's horizon: its ends, its hours, and its share of the horizon."""

    start: datetime
    end: datetime
    rows: slice
    share: float


def read_last(folder: Path, actuals: tuple[Path, ...]) -> Last:
    """Read the last review; its hours only where there are actuals to compare with."""
    plan = read_plan(folder / "plan.json")
    if not actuals:
        return Last(plan, None, None)
    return Last(plan, read_hours(folder / "hours.csv", plan), read_actuals(actuals))


def since(last: Last, prices: tuple[Price, ...]) -> Since:
    """The comparison; `prices` are today's."""
    moves, gone, new = _moves(last.plan.prices, prices)
    told = Since(name=last.plan.name, made_on=last.plan.made_on, moves=moves, gone=gone, new=new)
    if last.hours is None or last.actuals is None:
        return told
    period = _period(last.hours, last.actuals)
    misses = _misses(last, period)
    asked, planned = (sum(m.actual_tokens for m in misses), sum(m.planned_tokens for m in misses))
    known: dict[str, object] = {"start": period.start.isoformat(), "end": period.end.isoformat(), "misses": misses}
    known |= _paid(last, period)
    if planned > 0 and last.actuals.used:
        known |= _effects(last, misses, period)
        known["hindsights"] = _hindsights(last.plan, period.share, asked / planned)
    return told.model_copy(update=known)


def _moves(
    before: tuple[Price, ...], now: tuple[Price, ...]
) -> tuple[tuple[PriceMove, ...], tuple[str, ...], tuple[str, ...]]:
    old, new = ({(price.scheme, price.name): price for price in prices} for prices in (before, now))
    moves = [
        PriceMove(name=new[key].name, unit=unit, old_usd=was, new_usd=to)
        for key in old.keys() & new.keys()
        for field, unit in _UNITS
        if (was := getattr(old[key], field)) is not None and (to := getattr(new[key], field)) is not None
        if abs(to - was) > 1e-9 * max(abs(was), abs(to))
    ]
    moves.sort(key=lambda move: (move.name, move.unit))
    gone = tuple(sorted(old[key].name for key in old.keys() - new.keys()))
    return tuple(moves), gone, tuple(sorted(new[key].name for key in new.keys() - old.keys()))


def _period(hours: HourTable, actuals: Actuals) -> _Period:
    first, last = actuals.period
    end = hours.start + timedelta(hours=len(hours.demand))
    start, stop = max(first, hours.start), min(last, end)
    at = round((start - hours.start) / timedelta(hours=1))
    count = round((stop - start) / timedelta(hours=1))
    if count < 1:
        what = f"the actuals ({first:%Y-%m-%d} to {last:%Y-%m-%d}) lie outside the last plan's horizon"
        remedy = f"give actuals from {hours.start:%Y-%m-%d} to {end:%Y-%m-%d}"
        raise InputError(Fault(what, remedy, None, None, "--actuals"))
    return _Period(start, stop, slice(at, at + count), count / len(hours.demand))


def _misses(last: Last, period: _Period) -> tuple[Miss, ...]:
    """Requests and tokens by workload, planned and asked for; a workload that was not planned is there too."""
    assert last.hours is not None
    assert last.actuals is not None
    planned = dict(zip(last.hours.workloads, last.hours.demand[period.rows].sum(axis=0).tolist(), strict=True))
    tokens = dict(zip(last.hours.workloads, last.hours.tokens_per_request.tolist(), strict=True))
    used = _used(last.actuals, period)
    if last.hours.workloads == ("all",):
        used_by = {"all": used}
    else:
        names = planned.keys() | {row.workload for row in used}
        used_by = {name: [row for row in used if row.workload == name] for name in names}
    return tuple(
        Miss(
            workload=name,
            planned_requests=planned.get(name, 0.0),
            actual_requests=sum(row.requests for row in mine),
            planned_tokens=planned.get(name, 0.0) * tokens.get(name, 0.0),
            actual_tokens=sum(row.input_tokens + row.output_tokens for row in mine),
        )
        for name, mine in sorted(used_by.items())
    )


def _committed(plan: Plan) -> float:
    return sum(line.usd for line in plan.lines if line.name not in _VARIABLE)


def _variable(last: Last, period: _Period) -> float:
    assert last.hours is not None
    return float(np.sum(last.hours.usd[period.rows]))


def _paid(last: Last, period: _Period) -> dict[str, float | None]:
    planned = _committed(last.plan) * period.share + _variable(last, period)
    return {"planned_usd": planned, "actual_usd": _actual_usd(last, period)}


def _actual_usd(last: Last, period: _Period) -> float | None:
    """The bill where there is one, else the usage's own; None where a row does not say what it cost."""
    assert last.actuals is not None
    if last.actuals.charges:
        return sum(charge.inside(period.start, period.end) for charge in last.actuals.charges)
    used = _used(last.actuals, period)
    if not used or any(row.usd is None for row in used):
        return None
    return sum(row.usd or 0.0 for row in used)


def _used(actuals: Actuals, period: _Period) -> list[Used]:
    return [row for row in actuals.used if period.start <= row.start < period.end]


def _effects(last: Last, misses: tuple[Miss, ...], period: _Period) -> dict[str, float]:
    """The four effects, where what was paid is known. A workload's share of both costs is that of its planned bill."""
    actual = _actual_usd(last, period)
    if actual is None:
        return {}
    committed, variable = _committed(last.plan) * period.share, _variable(last, period)
    bills = _bills(last.plan, misses)
    whole = sum(bills) or 1.0
    paid = _paid_by_workload(last, misses, period)
    parts = [
        Part(
            miss.planned_tokens / 1e6, miss.actual_tokens / 1e6, committed * bill / whole, variable * bill / whole, usd
        )
        for miss, bill, usd in zip(misses, bills, paid, strict=True)
    ]
    found = split(parts, actual)
    return {
        "volume_usd": found.volume,
        "mix_usd": found.mix,
        "utilisation_usd": found.utilisation,
        "price_usd": found.price,
    }


def _paid_by_workload(last: Last, misses: tuple[Miss, ...], period: _Period) -> list[float | None]:
    """What each workload paid where the usage says so; a bill knows providers, not workloads."""
    assert last.actuals is not None
    if last.actuals.charges:
        return [None] * len(misses)
    used, whole = _used(last.actuals, period), [miss.workload for miss in misses] == ["all"]
    return [sum(row.usd or 0.0 for row in used if whole or row.workload == miss.workload) for miss in misses]


def _bills(plan: Plan, misses: tuple[Miss, ...]) -> list[float]:
    """What each workload's planned tokens of the period cost at its planned price."""
    price = {w.name: w.usd_per_mtok or 0.0 for w in plan.workloads}
    tokens = sum(w.input_tokens + w.output_tokens for w in plan.workloads)
    average = 1e6 * plan.cost_usd / tokens if tokens else 0.0
    return [miss.planned_tokens * price.get(miss.workload, average) for miss in misses]


def _hindsights(plan: Plan, part: float, ratio: float) -> tuple[Hindsight, ...]:
    """Every commitment with what its work was worth in the period."""
    found = []
    tokens = sum(supply.input_tokens + supply.output_tokens for supply in plan.supplies)
    for supply in plan.supplies:
        if supply.scheme not in ("owned", "reserved"):
            continue
        bought = [p for p in plan.purchases if p.offer == supply.name]
        use = max((p.utilisation for p in bought if p.utilisation), default=1.0)
        work = supply.input_tokens + supply.output_tokens
        came = min(ratio, 1 / use)
        otherwise = _uncommitted(plan, came * work / tokens if tokens else 0.0)
        if otherwise is None:
            continue
        price, names = otherwise
        worth = work / 1e6 * part * came * price
        found.append(Hindsight(name=supply.name, paid_usd=supply.usd * part, worth_usd=worth, instead=names))
    return tuple(found)


def _uncommitted(plan: Plan, share: float) -> tuple[float, str] | None:
    """The cheapest way without a commitment for this share of the plan's mix of models: USD per million tokens, names.

    None where a model could be had neither from an API nor on demand, or where there is no work.
    """
    chosen = []
    for volume in plan.volumes:
        mtok_per_h = share * volume.mtok_per_h
        ways = [way for way in volume.ways if way.scheme in ("api", "on demand")]
        if not ways or mtok_per_h <= 0:
            return None
        costs = [(usd_per_mtok(way, volume.levels, mtok_per_h), way.name) for way in ways]
        chosen.append((mtok_per_h, *min(costs)))
    if not chosen:
        return None
    mean = sum(mtok * usd for mtok, usd, _ in chosen) / sum(mtok for mtok, _, _ in chosen)
    return mean, ", ".join(dict.fromkeys(name for _, _, name in chosen))
