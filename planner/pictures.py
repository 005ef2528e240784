"""Each picture of a review with what belongs to it: its title, the sentence that says what to see, its words for
those who cannot see it, and its table.
"""

from __future__ import annotations

import numpy as np

from planner.amounts import against, big, month, number, share, usd
from planner.cumulative import cumulative
from planner.drawing import label
from planner.hourly import HourTable
from planner.parts import Table, told
from planner.picture import Picture
from planner.plan import Plan, Scheme
from planner.plots import cost_picture, demand_picture, duration_picture, month_picture, month_rows
from planner.problem import Array
from planner.profit_and_loss import how_bought
from planner.sections import strategies
from planner.throughput import throughput
from planner.tornado import tornado
from planner.volume import volume
from planner.weeks import Span, duration, schemes, tokens, week_spans

_WHEN = {"All hours": "over all hours", "Every week alike": "in every week, all being alike,"}
_MONTHLY_PAID = "Paid in the month: commitments as they run, {}, what a sale brings at the end."
_MONTHLY_SIGNED = "A purchase counts in the month in which it is signed, with all that it costs over the horizon."
_CUTS = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)


def pictures(plan: Plan, hours: HourTable) -> tuple[Picture, ...]:
    """All pictures, in the order in which they are read; the first two are those of the Markdown.

    A plan of one epoch has no months to show, one without --what-if no tornado.
    """
    made = (
        _cost(plan), _demand(hours), _duration(hours), _months(plan), cumulative(plan), volume(plan), throughput(plan),
        tornado(plan),
    )  # fmt: skip
    return tuple(picture for picture in made if picture is not None)


def _cost(plan: Plan) -> Picture:
    known = [(other.usd, other.name) for other in plan.baselines if other.usd is not None]
    forbidden = sum(other.forbidden for other in plan.baselines)
    impossible = len(plan.baselines) - len(known) - forbidden
    says = f"This plan costs {usd(plan.cost_usd)}"
    if known:
        nearest, name = min(known)
        says += f"; the cheapest other strategy, {name}, costs {usd(nearest)} ({against(nearest, plan.cost_usd)})"
    if impossible:
        says += f"; {impossible} of {len(plan.baselines)} others {'has' if impossible == 1 else 'have'} no bill"
    if forbidden:
        says += f"; {forbidden} {'is' if forbidden == 1 else 'are'} forbidden by a rule"
    alt = f"Bars: the bill of this plan and of {len(plan.baselines)} other strategies over the horizon, in USD."
    return Picture(
        "cost",
        "Cost by strategy",
        alt,
        f"{says}.",
        strategies(plan),
        lambda narrow: cost_picture(plan, narrow=narrow),
    )


def _demand(hours: HourTable) -> Picture:
    spans, shown = week_spans(hours), schemes(hours)
    rows = tuple(_week(hours, span, shown) for span in spans)
    columns = ("week", "tokens", "busiest hour (million tokens)", *(f"served by {label(s)}" for s in shown),
               "not served", "GPUs held at most", "of GPU-hours idle")  # fmt: skip
    sentences = "; ".join(_told(hours, span, shown) for span in spans)
    weeks = " and ".join(f"{span.title.lower()} ({span.dates})" for span in spans)
    alt = f"Areas by the hour: GPUs held and busy, and tokens served, stacked by scheme: {weeks}."
    return Picture(
        "demand",
        "Demand against the capacity stack",
        alt,
        f"{sentences[:1].upper()}{sentences[1:]}.",
        Table(columns, rows),
        lambda narrow: demand_picture(hours, narrow=narrow),
    )


def _duration(hours: HourTable) -> Picture:
    curve, shown = duration(hours), schemes(hours)
    served = [scheme for scheme in shown if scheme in curve.served]
    rows = []
    for cut in _CUTS:
        at = int(np.searchsorted(curve.hour_share, cut).clip(0, len(curve.demand) - 1))
        parts = (number(float(curve.served[scheme][at])) for scheme in served)
        rows.append((share(cut), number(float(curve.demand[at])), *parts, number(float(curve.unserved[at]))))
    used = [f"{label(scheme)} in {share(_hours_used(hours, scheme))} of the hours" for scheme in served]
    peak, middle = float(curve.demand[0]), float(np.median(tokens(hours, hours.demand)))
    ratio = f"; the busiest hour asks for {number(peak / middle)} times as much as the middle one" if middle else ""
    columns = ("hours that are busier", "demand", *(label(scheme) for scheme in served), "not served")
    return Picture(
        "duration",
        "Load duration: who serves the peaks and who the base",
        "Areas: tokens per hour in all hours sorted from busiest to quietest, cut by the scheme that serves them.",
        f"Who serves: {', '.join(used)}{ratio}. Table: million tokens in the hour than which so many are busier.",
        Table(columns, tuple(rows)),
        lambda narrow: duration_picture(hours, narrow=narrow),
    )


def _months(plan: Plan) -> Picture | None:
    if len(plan.months) < 2:
        return None
    rows = month_rows(plan, 8)
    sums = np.sum([amounts for _, amounts in rows], axis=0) if rows else np.zeros(len(plan.months))
    table = tuple(
        (month(m.name), *(_or_none(float(amounts[place])) for _, amounts in rows), usd(float(sums[place])))
        for place, m in enumerate(plan.months)
    )
    says = _MONTHLY_SIGNED if any(m.paid is None for m in plan.months) else _MONTHLY_PAID.format(how_bought(plan))
    if plan.cost_usd:
        most = int(np.argmax(sums))
        part = share(float(sums[most]) / plan.cost_usd)
        dearest = f"{month(plan.months[most].name)} with {usd(float(sums[most]))} ({part} of the bill)"
        says = f"The dearest month is {dearest}. {says}"
    return Picture(
        "months",
        "Cost by month and line",
        f"Stacked bars: cost of each of {len(plan.months)} months by line, in USD; credits hang below zero.",
        says,
        Table(("month", *(name for name, _ in rows), "all"), table),
        lambda narrow: month_picture(plan, narrow=narrow),
    )


def _or_none(amount: float) -> str:
    """An amount; a dash for nothing, so that what is there stands out."""
    return usd(amount) if told(amount) else "–"  # noqa: RUF001  # a dash, not a minus


def _week(hours: HourTable, span: Span, shown: tuple[Scheme, ...]) -> tuple[str, ...]:
    demand = tokens(hours, hours.demand)[span.first : span.last]
    held, busy = (_gpus(group, span) for group in (hours.gpus_held, hours.gpus_busy))
    idle = 1 - float(busy.sum() / held.sum()) if held.any() else None
    return (
        f"{span.title}: {span.dates}",
        big(1e6 * float(demand.sum())),
        number(float(demand.max(initial=0.0))),
        *(share(_served_share(hours, span, scheme)) for scheme in shown),
        share(_share_of(hours, span, hours.unserved)),
        number(float(held.max(initial=0.0))),
        "no GPUs" if idle is None else share(max(0.0, idle)),
    )


def _told(hours: HourTable, span: Span, shown: tuple[Scheme, ...]) -> str:
    """Who serves what part of the span's tokens, the largest part first."""
    parts = [(_served_share(hours, span, s), "APIs" if s == "api" else f"{label(s)} GPUs") for s in shown]
    parts = sorted(((part, name) for part, name in parts if part > 0), key=lambda found: -found[0])
    when = _WHEN.get(span.title, f"in the {span.title.lower()}")
    if not parts:
        return f"{when} nothing is served"
    (most, first), *others = parts
    parts_told = [
        f"{when} {first} serve {share(most)} of the tokens",
        *(f"{name} {share(part)}" for part, name in others),
    ]
    missed = _share_of(hours, span, hours.unserved)
    parts_told += [f"nobody {share(missed)}"] if missed > 0 else []
    return ", ".join(parts_told)


def _served_share(hours: HourTable, span: Span, scheme: Scheme) -> float:
    return _share_of(hours, span, hours.served[scheme]) if scheme in hours.served else 0.0


def _share_of(hours: HourTable, span: Span, requests: Array) -> float:
    asked = float(tokens(hours, hours.demand)[span.first : span.last].sum())
    return float(tokens(hours, requests)[span.first : span.last].sum()) / asked if asked else 0.0


def _gpus(group: dict[Scheme, Array], span: Span) -> Array:
    rows = [values[span.first : span.last] for values in group.values()]
    return np.sum(rows, axis=0) if rows else np.zeros(span.last - span.first)


def _hours_used(hours: HourTable, scheme: Scheme) -> float:
    served = tokens(hours, hours.served[scheme])
    return float(np.mean(served > 1e-9)) if len(served) else 0.0
