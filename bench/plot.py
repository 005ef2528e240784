"""Pictures of curves, from the `Curve` value that the file holds.

Throughput against load, and TPOT and TTFT against throughput with the SLO's limits; dotted at the load up to which as
many requests as the SLO asks met it (the knee). Shapes have their own colour, marked points are hollow, and squares are
open-loop stages (p95).
"""

from __future__ import annotations

import io
from html import escape as html_escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from bench.show import curve_table, knees, shape_text, shapes, typical
from hardware_profiles.curve import Curve, Estimate, Point, Statistic, write_text
from hardware_profiles.faults import Fault, InputError, printable
from hardware_profiles.slo import Slo

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Axes3 = Any
"""Three of matplotlib's axes, side by side: it ships no type for an array of them."""


def write_plot(curve: Curve, path: Path, slo: Slo | None = None) -> None:
    """Write a PNG, SVG or self-contained HTML, told by the ending."""
    kind = path.suffix.lower()
    if kind == ".html":
        svg = _plot(curve, "svg", slo).decode()
        console = Console(record=True, width=160, file=io.StringIO())
        console.print(curve_table(curve))
        table = console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")
        title = html_escape(printable(f"{curve.model} on {curve.gpu.name}"))
        body = f"<h1>{title}</h1>\n{svg[svg.index('<svg') :]}\n{table}"
        write_text(
            path, f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>\n{body}\n</html>\n'
        )
    elif kind == ".svg":
        write_text(path, _plot(curve, "svg", slo).decode())
    elif kind == ".png":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_plot(curve, "png", slo))
    else:
        raise InputError(
            Fault("not a kind of picture", "end it in .png, .svg or .html", column="--plot", value=str(path))
        )


def _plot(curve: Curve, kind: str, slo: Slo | None) -> bytes:
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "spillway", "font.size": 9, "text.parse_math": False}):
        buffer = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else None
        figure_of(curve, slo).savefig(buffer, format=kind, dpi=150, metadata=metadata)
        return buffer.getvalue()


def figure_of(curve: Curve, slo: Slo | None) -> Figure:
    """The picture: three pairs of axes, a colour a shape."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    axes = figure.subplots(1, 3)
    for number, shape in enumerate(shapes(curve)):
        _draw(axes, [point for point in curve.points if point.shape == shape], f"C{number % 10}")
    if slo is not None and slo.limits:
        _draw_slo(axes, curve, slo)
    for axis, x, y in zip(axes, ("load (requests in flight)", *["output tokens/s"] * 2), _Y_AXES, strict=True):
        axis.set(xlabel=x, ylabel=y, ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].legend(title="input/output tokens")
    figure.suptitle(printable(f"{curve.model} on {curve.gpu.count} x {curve.gpu.name} ({curve.kind})"))
    return figure


def _draw_slo(axes: Axes3, curve: Curve, slo: Slo) -> None:
    """Limits as lines across, knees as lines up."""
    for axis, limit in ((axes[1], slo.tpot_s), (axes[2], slo.ttft_s)):
        if limit is not None:
            axis.axhline(limit * 1e3, color="black", linestyle="--", linewidth=0.8, label="SLO")
    for number, (_, knee, _) in enumerate(knees(curve, slo)):
        if knee is not None:
            axes[0].axvline(knee.load, color=f"C{number % 10}", linestyle=":", linewidth=1)


_Y_AXES = ("output tokens/s", "TPOT, ms (median, p95 dotted)", "TTFT, ms (median, p95 dotted)")


def _draw(axes: Axes3, points: list[Point], colour: str) -> None:
    closed = [point for point in points if point.mode == "closed"]
    label = shape_text(points[0].shape)
    axes[0].plot([p.load for p in closed], [p.output_tokens_per_s for p in closed], color=colour, label=label)
    axes[0].set_xscale("log", base=2)
    axes[0].xaxis.set_major_formatter("{x:g}")
    for point in closed:
        _mark(axes[0], point, colour, point.load, point.output_tokens_per_s)
    for axis, name in ((axes[1], "tpot_s"), (axes[2], "ttft_s")):
        for picked, style in ((typical, "-"), (_p95, ":")):
            seen = [(point, picked(getattr(point, name))) for point in closed]
            known = [(point.output_tokens_per_s, told.value * 1e3) for point, told in seen if told is not None]
            axis.plot(*zip(*known, strict=True), style, color=colour) if known else None
        for point in points:
            told = _p95(getattr(point, name)) if point.mode == "open" else typical(getattr(point, name))
            if told is not None:
                _mark(axis, point, colour, point.output_tokens_per_s, told.value * 1e3)


def _p95(estimates: dict[Statistic, Estimate]) -> Estimate | None:
    return estimates.get("p95")


def _mark(axis: Any, point: Point, colour: str, x: float | None, y: float) -> None:
    """One point: a square for an open-loop stage, hollow where a check failed."""
    marker = "s" if point.mode == "open" else "o"
    axis.plot(x, y, marker, color=colour, markerfacecolor=colour if point.usable else "none")
