"""Break-even volume per model: what a million tokens costs at any volume, by API, by the hour, reserved and owned."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from planner.amounts import UNKNOWN, big, number, usd
from planner.breakeven import break_even, usd_per_mtok, volumes
from planner.drawing import COLOURS, EDGE, INK, drawable, label, panels
from planner.parts import Table, first
from planner.picture import Picture
from planner.plan import Plan, Volume, Way

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MONTH_H = 730.0
_PANELS = 4
_WIDE, _NARROW = 4.5, 4.2


def volume(plan: Plan) -> Picture | None:
    """The picture with its sentence and table; None where no model has a GPU and another way to compare."""
    shown = _shown(plan)
    if not shown:
        return None
    rows, told = [], []
    for each in shown:
        for way in each.ways:
            rows.append(_row(each, way))
            reached = _reached(each, way)
            if reached is not None:
                told.append(f"{each.model} {label(way.scheme)} from {big(1e6 * _MONTH_H * reached)} tokens a month")
    says = (
        "Each way serves all of a model's work alone, with this plan's capacities, prices and swing of load; a plan "
        "that mixes them (the diamond) can cost less than each. "
    )
    says += (
        f"Cheaper than the cheapest API: {'; '.join(told)}."
        if told
        else "At no volume that is drawn is another way cheaper than the API."
    )
    columns = ("model", "way", "offer", "per million tokens at this plan's volume", "cheaper than an API from, a month")
    return Picture(
        "breakeven",
        "Break-even volume per model",
        f"Lines: cost of a million tokens against tokens a month, by way, for {len(shown)} models.",
        says,
        Table(columns, tuple(rows), words=first(3)),
        lambda narrow: volume_picture(plan, narrow=narrow),
    )


def volume_picture(plan: Plan, *, narrow: bool = False) -> Figure:
    """One panel per model, this plan's volume as a line, a dot where a way becomes cheaper than the API."""
    shown = _shown(plan)
    wide = 1 if narrow else min(2, len(shown))
    down = -(-len(shown) // wide)
    figure, axes = panels(_NARROW if narrow else _WIDE * max(wide, 2), 3.3 * down + 0.4, down, wide)
    for place, axis in enumerate(axes.flat):
        if place < len(shown):
            _panel(axis, plan, shown[place])
        else:
            axis.set_visible(False)
    handles = {
        text: handle for axis in axes.flat for handle, text in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2 if narrow else 6)
    return figure


def _panel(axis: Axes, plan: Plan, each: Volume) -> None:
    from matplotlib.ticker import FuncFormatter

    at = volumes(each.mtok_per_h)
    x = [1e6 * _MONTH_H * volume for volume in at]
    ends = []
    for way in each.ways:
        cost = _costs(each, way)
        axis.plot(x, cost, color=COLOURS[way.scheme], linewidth=1.8, label=label(way.scheme))
        reached = _reached(each, way)
        if reached is not None:
            axis.plot([1e6 * _MONTH_H * reached], [usd_per_mtok(way, each.levels, reached)], "o",
                      color=COLOURS[way.scheme], markeredgecolor="white")  # fmt: skip
        ends.append(min(cost))
    axis.axvline(1e6 * _MONTH_H * each.mtok_per_h, color=EDGE, linestyle="--", linewidth=1, label="this plan's volume")
    paid = _paid(plan, each)
    if paid is not None:
        axis.plot([1e6 * _MONTH_H * each.mtok_per_h], [paid], "D", color=INK, markersize=7, label="this plan")
    axis.set_xscale("log")
    axis.set_xlim(x[0], x[-1])
    axis.set_ylim(0, 3 * max(ends))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: big(value)))
    axis.tick_params(axis="x", labelsize=7.5)
    axis.locator_params(axis="x", numticks=5)
    axis.set_title(drawable(each.model, 32), loc="left")
    axis.set_xlabel("tokens a month")
    axis.set_ylabel("USD per million tokens")


def _shown(plan: Plan) -> list[Volume]:
    """Models with a GPU way and another one, those of most tokens first."""
    found = [v for v in plan.volumes if v.mtok_per_h > 0 and len(v.ways) > 1 and any(w.gpu_h_per_mtok for w in v.ways)]
    return sorted(found, key=lambda v: (-v.mtok_per_h, v.model))[:_PANELS]


@cache
def _costs(each: Volume, way: Way) -> tuple[float, ...]:
    """USD per million tokens at every volume that is drawn."""
    return tuple(usd_per_mtok(way, each.levels, volume) for volume in volumes(each.mtok_per_h))


def _reached(each: Volume, way: Way) -> float | None:
    """Million tokens an hour from which the way stays cheaper than the API; None: never, or no API sells the model."""
    api = next((other for other in each.ways if other.scheme == "api"), None)
    if api is None or way.scheme == "api":
        return None
    return break_even(_costs(each, way), _costs(each, api), volumes(each.mtok_per_h))


def _paid(plan: Plan, each: Volume) -> float | None:
    """What a million tokens of the model costs in this plan."""
    mine = [w for w in plan.workloads if w.model == each.model]
    tokens = sum(w.input_tokens + w.output_tokens for w in mine)
    return 1e6 * sum(w.usd for w in mine) / tokens if tokens else None


def _row(each: Volume, way: Way) -> tuple[str, ...]:
    reached = _reached(each, way)
    sold = any(other.scheme == "api" for other in each.ways)
    turn = "" if way.scheme == "api" else UNKNOWN if not sold else "never up to 100 times this plan's volume"
    if reached is not None:
        turn = f"{big(1e6 * _MONTH_H * reached)} tokens ({number(reached / each.mtok_per_h)} times this plan's)"
    return each.model, label(way.scheme), way.name, usd(usd_per_mtok(way, each.levels, each.mtok_per_h)), turn
