"""The pictures of a review: demand against the capacity stack, cost by strategy, load duration, cost by month.

Each is drawn from the same values as the table beside it. `narrow` draws for a page 360 px wide: the same panels below
one another, the same letters. A scheme has one colour in every picture; dark is busy, pale is held but idle.
"""

from __future__ import annotations

import textwrap
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from planner.amounts import against, month, usd
from planner.drawing import COLOURS, EDGE, INK, UNSERVED, drawable, label, money_scale, pale, panels
from planner.hourly import HourTable
from planner.parts import told
from planner.plan import Baseline, Plan
from planner.problem import Array
from planner.weeks import Span, duration, schemes, tokens, week_spans

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDE, _NARROW = 9.0, 4.2
_WORK = "million tokens per hour"
_THOUSANDS = "{x:,g}"
_LINE_COLOURS = {
    "API": COLOURS["api"],
    "on demand": COLOURS["on demand"],
    "reserved GPUs": COLOURS["reserved"],
    "unserved": UNSERVED,
}
_OTHER_COLOURS = ("#0072B2", "#56B4E9", "#F0E442", "#7F7F7F", "#004D73", "#999933", "#882255", "#DDCC77")
_MOST_LINES = 8


def demand_picture(hours: HourTable, *, narrow: bool = False) -> Figure:
    """GPUs held by scheme with their busy part, and what each scheme serves, over the typical and the worst week."""
    spans, held = week_spans(hours), any(np.any(rows > 0) for rows in hours.gpus_held.values())
    kinds = (_gpus_panel, _work_panel) if held else (_work_panel,)
    if narrow:
        figure, axes = panels(_NARROW, 2.8 * len(spans) * len(kinds) + 0.6, len(spans) * len(kinds))
        grid = axes.reshape(len(spans), len(kinds)).T
    else:
        figure, grid = panels(_WIDE, 2.5 * len(kinds) + 0.3, len(kinds), len(spans))
    for row, panel in zip(grid, kinds, strict=True):
        for axis, span in zip(row, spans, strict=True):
            panel(axis, hours, span)
            if panel is kinds[0] or narrow:
                axis.set_title(f"{span.title}: {span.dates}", loc="left")
        top = max(axis.get_ylim()[1] for axis in row)
        for axis in row:
            axis.set_ylim(0, top)
    _week_legend(figure, hours, held=held, narrow=narrow)
    return figure


def cost_picture(plan: Plan, *, narrow: bool = False) -> Figure:
    """One bar per strategy, this plan first; a strategy that cannot serve everything has words in place of a bar."""
    figure, axes = panels(_NARROW if narrow else _WIDE, 1.0 + (0.62 if narrow else 0.37) * (len(plan.baselines) + 1))
    axis = axes[0, 0]
    rows = [("this plan", plan.cost_usd, ""), *((b.name, b.usd, _why_not(b)) for b in plan.baselines)]
    longest = max(amount or 0.0 for _, amount, _ in rows) or 1.0
    unit, word = money_scale([longest])
    for place, (_, amount, note) in enumerate(rows):
        if amount is None:
            axis.barh(place, 0.012 * longest / unit, color="white", edgecolor=UNSERVED, hatch="//////")
            said = textwrap.fill(drawable(note, 52 if narrow else 84), 26 if narrow else 84)
            axis.text(0.025 * longest / unit, place, said, va="center", color="#A04000", style="italic", fontsize=8.5)
            continue
        axis.barh(place, amount / unit, color=COLOURS["owned"] if place == 0 else "#B0B0B0")
        change = "" if place == 0 else ("\n" if narrow else ", ") + against(amount, plan.cost_usd)
        axis.text((amount + 0.01 * longest) / unit, place, f"{usd(amount)}{change}", va="center")
    names = [drawable(name, 30) for name, _, _ in rows]
    axis.set_yticks(range(len(rows)), [textwrap.fill(name, 13) for name in names] if narrow else names)
    axis.get_yticklabels()[0].set_fontweight("bold")
    axis.invert_yaxis()
    axis.set_xlim(0, longest * (2.1 if narrow else 1.5) / unit)
    axis.locator_params(axis="x", nbins=4 if narrow else 8)
    axis.set_xticks([tick for tick in axis.get_xticks() if tick <= 1.15 * longest / unit])
    axis.xaxis.set_major_formatter(_THOUSANDS)
    axis.grid(visible=False)
    axis.set_xlabel(f"{word} over {plan.horizon_months:g} months", loc="left")
    return figure


def _why_not(other: Baseline) -> str:
    if other.unfinished:
        return "not found in time; one may exist"
    return f"forbidden: {other.note}" if other.forbidden else other.note or "cannot serve everything"


def duration_picture(hours: HourTable, *, narrow: bool = False) -> Figure:
    """All hours from the busiest to the quietest, cut by the scheme that serves them."""
    figure, axes = panels(_NARROW if narrow else _WIDE, 3.8)
    axis, curve = axes[0, 0], duration(hours)
    percent, base = 100 * curve.hour_share, np.zeros(len(curve.demand))
    for scheme in schemes(hours):
        if scheme in curve.served and curve.served[scheme].any():
            top = base + curve.served[scheme]
            axis.fill_between(percent, base, top, color=COLOURS[scheme], linewidth=0, label=label(scheme))
            base = top
    if curve.unserved.any():
        _hatched(axis, percent, base, base + curve.unserved, label="not served")
    axis.plot(percent, curve.demand, color=INK, linewidth=1.3, label="demand")
    axis.set_xlim(0, 100)
    axis.set_ylim(0, 1.05 * float(curve.demand.max(initial=0.0)) or 1.0)
    axis.set_xlabel("share of hours, busiest first (%)")
    axis.set_ylabel(_WORK)
    axis.yaxis.set_major_formatter(_THOUSANDS)
    figure.legend(loc="outside upper center", ncols=3 if narrow else 7)
    return figure


def month_picture(plan: Plan, *, narrow: bool = False) -> Figure:
    """Cost by month, cut by line; credits such as a residual value hang below zero."""
    rows = month_rows(plan, _MOST_LINES)
    figure, axes = panels(_NARROW if narrow else _WIDE, 4.0 + (0.11 * len(rows) if narrow else 0.0))
    axis, names = axes[0, 0], [month(m.name) for m in plan.months]
    sums = np.sum([np.maximum(row, 0) for _, row in rows], axis=0) if rows else np.zeros(1)
    unit, word = money_scale([float(sums.max()), *(float(abs(row).max()) for _, row in rows)])
    above, below = np.zeros(len(names)), np.zeros(len(names))
    rest = iter(_OTHER_COLOURS)
    for name, amounts in rows:
        base = np.where(amounts >= 0, above, below)
        colour = _LINE_COLOURS.get(name) or next(rest)
        axis.bar(range(len(names)), amounts / unit, 0.8, base, color=colour, label=drawable(name, 28))
        above, below = above + np.maximum(amounts, 0) / unit, below + np.minimum(amounts, 0) / unit
    every = max(1, -(-len(names) // (5 if narrow else 13)))
    axis.set_xticks(range(0, len(names), every), [drawable(name, 10) for name in names[::every]])
    axis.set_xlim(-0.7, max(len(names), 4) - 0.3)
    axis.axhline(0, color=EDGE, linewidth=0.8)
    axis.yaxis.set_major_formatter(_THOUSANDS)
    axis.set_ylabel(word)
    signed = any(m.paid is None for m in plan.months)
    axis.set_xlabel("month in which it is signed or spent" if signed else "month in which it is paid")
    if rows:
        figure.legend(loc="outside upper center", ncols=2 if narrow else 4)
    return figure


def month_rows(plan: Plan, most: int) -> list[tuple[str, Array]]:
    """Amounts by line and month, the largest lines first; what does not fit is summed as "other lines"."""
    found: dict[str, Array] = {}
    for place, m in enumerate(plan.months):
        for line in m.lines if m.paid is None else m.paid:
            found.setdefault(line.name, np.zeros(len(plan.months)))[place] += line.usd
    worth = ((name, amounts) for name, amounts in found.items() if told(float(abs(amounts).sum())))
    rows = sorted(worth, key=lambda row: (-float(abs(row[1]).sum()), row[0]))
    if len(rows) <= most:
        return rows
    return [*rows[: most - 1], ("other lines", np.sum([amounts for _, amounts in rows[most - 1 :]], axis=0))]


def _gpus_panel(axis: Axes, hours: HourTable, span: Span) -> None:
    from matplotlib.ticker import MaxNLocator

    x, base = np.arange(span.last - span.first + 1.0), np.zeros(span.last - span.first + 1)
    for scheme in schemes(hours):
        held = _steps(hours.gpus_held.get(scheme), span)
        busy = np.minimum(_steps(hours.gpus_busy.get(scheme), span), held)
        if held.any():
            axis.fill_between(x, base, base + busy, step="post", color=COLOURS[scheme], linewidth=0)
            axis.fill_between(x, base + busy, base + held, step="post", color=pale(COLOURS[scheme]), linewidth=0)
        base = base + held
    axis.step(x, base, where="post", color="#666666", linewidth=0.8)
    axis.set_ylabel("GPUs held")
    axis.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    _week_axes(axis, span, base)


def _work_panel(axis: Axes, hours: HourTable, span: Span) -> None:
    x, base = np.arange(span.last - span.first + 1.0), np.zeros(span.last - span.first + 1)
    for scheme in schemes(hours):
        top = base + (_steps(tokens(hours, hours.served[scheme]), span) if scheme in hours.served else 0.0)
        axis.fill_between(x, base, top, step="post", color=COLOURS[scheme], linewidth=0)
        base = top
    missed = _steps(tokens(hours, hours.unserved), span)
    if missed.any():
        _hatched(axis, x, base, base + missed, step="post")
    demand = _steps(tokens(hours, hours.demand), span)
    axis.step(x, demand, where="post", color=INK, linewidth=1.2)
    axis.set_ylabel(_WORK)
    _week_axes(axis, span, demand)


def _hatched(axis: Axes, x: Array, low: Array, high: Array, **options: Any) -> None:
    axis.fill_between(x, low, high, facecolor="white", edgecolor=UNSERVED, hatch="////", linewidth=0, **options)


def _week_legend(figure: Figure, hours: HourTable, *, held: bool, narrow: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(color=COLOURS[scheme], label=label(scheme)) for scheme in schemes(hours)]
    if held:
        handles.append(Patch(facecolor="#D5D5D5", label="pale: held but idle"))
    if hours.unserved.any():
        handles.append(Patch(facecolor="white", edgecolor=UNSERVED, hatch="////", label="not served"))
    handles.append(Line2D([], [], color=INK, linewidth=1.2, label="demand"))
    figure.legend(handles=handles, loc="outside upper center", ncols=2 if narrow else len(handles))


def _steps(values: Array | None, span: Span) -> Array:
    """The span's hours with the last one repeated, so that a step plot shows its whole width."""
    if values is None:
        return np.zeros(span.last - span.first + 1)
    here = values[span.first : span.last]
    return np.append(here, here[-1:])


def _week_axes(axis: Axes, span: Span, highest: Array) -> None:
    hours = span.last - span.first
    every = 24 * max(1, -(-hours // (7 * 24)))
    places = list(range((-span.start.hour) % 24, hours + 1, every)) or [0]
    axis.set_xticks(places, [f"{span.start + timedelta(hours=place):%a\n%-d %b}" for place in places])
    axis.tick_params(axis="x", labelsize=8)
    axis.set_xlim(0, hours)
    axis.set_ylim(0, 1.08 * float(highest.max(initial=0.0)) or 1.0)
    axis.set_xlabel("day, UTC")
    axis.yaxis.set_major_formatter(_THOUSANDS)
