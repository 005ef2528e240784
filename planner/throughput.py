"""The throughput curve per GPU with the SLO's knee: what was measured, and how far of it the plan may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.amounts import UNKNOWN, number
from planner.drawing import INK, drawable, panels
from planner.parts import Table, first
from planner.picture import Picture
from planner.plan import Deployed, Plan, SeenShape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = 4
_WIDE, _NARROW = 4.5, 4.2
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F", "#882255")
_AXES = {"closed": "requests in flight", "open": "requests offered per second", None: "load"}


def throughput(plan: Plan) -> Picture | None:
    """The picture with its sentence and table; None where no curve serves."""
    shown = _shown(plan)
    if not shown:
        return None
    rows = [_row(d, s) for d in shown for s in d.shapes]
    floors = sum(not s.saturated for d in shown for s in d.shapes if s.capacity_per_s is not None)
    missed = sum(s.capacity_per_s is None for d in shown for s in d.shapes)
    says = (
        "Dots are the curve's points, the cross is where the SLO breaks: beyond it the throughput still grows, but too "
        "many requests are too slow. Capacity is lower than the throughput there, because requests arrive at random."
    )
    says += " From and to: the ends of its 95 % interval."
    if floors:
        says += f" {floors} of {len(rows)} shapes never broke the SLO: their capacity is a floor."
    if missed:
        says += f" {missed} of {len(rows)} shapes miss the SLO at every load."
    columns = ("curve", "shape (tokens)", "measured loads", "most served per second", "SLO breaks at",
               "capacity per second", "from", "to", "per GPU")  # fmt: skip
    return Picture(
        "throughput",
        "Throughput and where the SLO breaks",
        f"Lines: requests served per second against load, for {len(shown)} curves, with a cross where the SLO breaks.",
        says,
        Table(columns, tuple(rows), words=first(2)),
        lambda narrow: throughput_picture(plan, narrow=narrow),
    )


def throughput_picture(plan: Plan, *, narrow: bool = False) -> Figure:
    """One panel per curve, one line per shape."""
    shown = _shown(plan)
    wide = 1 if narrow else min(2, len(shown))
    down = -(-len(shown) // wide)
    figure, axes = panels(_NARROW if narrow else _WIDE * max(wide, 2), 4.0 * down, down, wide)
    for place, axis in enumerate(axes.flat):
        if place < len(shown):
            _panel(axis, shown[place])
        else:
            axis.set_visible(False)
    return figure


def _panel(axis: Axes, deployed: Deployed) -> None:
    for place, shape in enumerate(deployed.shapes):
        levels, served = [p.level for p in shape.points], [p.throughput_per_s for p in shape.points]
        colour = _COLOURS[place % len(_COLOURS)]
        axis.plot(levels, served, "o-", color=colour, markersize=3, linewidth=1.3, label=_name(shape))
        if shape.knee is not None and shape.saturated and len(levels) > 1:
            axis.plot([shape.knee], [_between(levels, served, shape.knee)], "X", color=INK, markersize=8,
                      markeredgecolor="white")  # fmt: skip
    modes = {shape.mode for shape in deployed.shapes}
    axis.set_xlabel(_AXES[modes.pop()] if len(modes) == 1 else "load")
    axis.set_ylabel("requests served per second")
    axis.set_ylim(bottom=0)
    axis.set_xlim(left=0)
    axis.set_title(drawable(f"{deployed.model} on {deployed.gpus_per_replica}x {deployed.gpu}", 42), loc="left")
    axis.legend(title="tokens in / out", title_fontsize=8, fontsize=8, ncols=3, loc="upper center",
                bbox_to_anchor=(0.5, -0.18), columnspacing=1.0)  # fmt: skip


def _between(levels: list[float], served: list[float], level: float) -> float:
    import numpy as np

    return float(np.interp(level, levels, served))


def _shown(plan: Plan) -> list[Deployed]:
    """Each curve once, however many places it is used in."""
    found: dict[tuple[object, ...], Deployed] = {}
    for d in plan.deployments:
        if d.shapes:
            found.setdefault((d.model, d.gpu, d.gpus_per_replica, d.precision, d.shapes), d)
    return list(found.values())[:_PANELS]


def _name(shape: SeenShape) -> str:
    cached = f" ({shape.cached_tokens:,g} cached)" if shape.cached_tokens else ""
    return f"{shape.input_tokens:,g}{cached} / {shape.output_tokens:,g}"


def _row(deployed: Deployed, shape: SeenShape) -> tuple[str, ...]:
    most = max((p.throughput_per_s for p in shape.points), default=None)
    unit = "in flight" if shape.mode == "closed" else "per second"
    knee = "at every load" if shape.knee is None else f"{number(shape.knee)} {unit}"
    rate = shape.capacity_per_s
    rates = (rate, shape.capacity_low_per_s, shape.capacity_high_per_s)
    return (
        f"{deployed.model} on {deployed.gpus_per_replica}x {deployed.gpu}",
        _name(shape),
        str(len(shape.points)),
        number(most),
        knee if shape.saturated or shape.knee is None else f"not up to {knee}",
        *("none" if each is None else number(each) for each in rates),
        UNKNOWN if rate is None else number(rate / deployed.gpus_per_replica),
    )
