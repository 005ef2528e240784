"""Tables of curves, all from the `Curve` value that the file holds.

A table row is one point: its load, what it served, TTFT and TPOT, and what the checks said. Latencies are medians in
milliseconds (for a published point whatever its source states), with the 95 % interval where the curve has one; a
column without a number is left out.
"""

from __future__ import annotations

import itertools
from collections import deque

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hardware_profiles.curve import Curve, Ended, Estimate, Point, Shape, Statistic
from hardware_profiles.faults import printable
from hardware_profiles.slo import Slo, attainment

COLUMNS = (
    "load",
    "req/s",
    "tok/s",
    "TTFT ms",
    "p95",
    "TPOT ms",
    "p95",
    "KV",
    "hit",
    "W",
    "J/tok",
    "checks",
)


def curve_table(curve: Curve) -> Group:
    """Everything a terminal shows of one curve."""
    gpu, conditions = curve.gpu, curve.conditions
    engine = f"{conditions.engine} {conditions.engine_version or ''}".strip()
    title = (
        f"{curve.model} on {gpu.count} x {gpu.name}, {engine}, {curve.precision or 'precision unknown'}, {curve.kind}"
    )
    lines = [Text(printable(title), style="bold")]
    lines += [Text(printable(f"note: {note}"), style="dim") for note in conditions.notes]
    tables = [points_table([point for point in curve.points if point.shape == shape]) for shape in shapes(curve)]
    failed = [
        f"{_load(point)}: {check.name}: {check.reason}"
        for point in curve.points
        for check in point.checks
        if check.verdict == "fail"
    ]
    return Group(*lines, *tables, *(Text(printable(f"failed at {text}"), style="red") for text in failed))


def points_table(points: list[Point]) -> Table:
    """The points of one shape."""
    rows = [point_row(point) for point in points]
    told = [number for number in range(len(COLUMNS)) if any(row[number] for row in rows)]
    title = f"{shape_text(points[0].shape)} tokens"
    table = Table(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number in told:
        column = COLUMNS[number]
        table.add_column(column, justify="left" if column == "checks" else "right", no_wrap=column != "checks")
    for point, row in zip(points, rows, strict=True):
        table.add_row(*(escape(row[number]) for number in told), style=None if point.usable else "red")
    return table


def point_row(point: Point) -> tuple[str, ...]:
    """One line of the table; what is unknown is left out, not zero."""
    ttft, tpot = point.ttft_s, point.tpot_s
    return (
        _load(point),
        _number(point.throughput_per_s, ".3g"),
        _with_interval(point.output_rate, ".4g"),
        _ms(typical(ttft), interval=True),
        _ms(ttft.get("p95")),
        _ms(typical(tpot), interval=True),
        _ms(tpot.get("p95")),
        _number(point.kv_cache_use, ".0%"),
        _number(point.prefix_hit_rate, ".0%"),
        _number(point.power_w, ".0f"),
        _number(point.energy_j_per_output_token, ".3g"),
        "; ".join(filter(None, (verdicts(point), early_end(point.ended)))),
    )


def typical(estimates: dict[Statistic, Estimate]) -> Estimate | None:
    """The median; where a source states something else, that."""
    return estimates.get("p50") or estimates.get("mean") or estimates.get("unstated")


def early_end(ended: Ended | None) -> str:
    """What a reader must know of a stage's end: the cap came before the width asked for, or nearly everything failed.

    >>> early_end(Ended(why="cap", asked_width=0.05, width=0.08))
    'at cap, ±8%'
    """
    if ended is not None and ended.unsettled:
        return "at cap" if ended.width is None else f"at cap, ±{ended.width:.0%}"
    return "failing" if ended is not None and ended.why == "failing" else ""


def verdicts(point: Point) -> str:
    """`11 of 15 pass` (others unknown), `FAIL: errors`; and what held the point back; nothing without checks."""
    if not point.checks:
        return ""
    failed = [check.name for check in point.checks if check.verdict == "fail"]
    passed = sum(check.verdict == "pass" for check in point.checks)
    told = f"FAIL: {', '.join(failed)}" if failed else f"{passed} of {len(point.checks)} pass"
    return f"{told} ({point.bottleneck})" if point.bottleneck else told


def knees(curve: Curve, slo: Slo) -> list[tuple[Shape, Point | None, Point | None]]:
    """For each shape the highest load and the highest rate up to which every usable point meets the SLO."""
    found = []
    for shape in shapes(curve):
        ends: dict[str, Point | None] = {}
        for mode in ("closed", "open"):
            points = [point for point in curve.usable_points if point.shape == shape and point.mode == mode]
            points.sort(key=lambda point: point.load or point.offered_rate_per_s or 0.0)
            met = itertools.takewhile(lambda point: _meets(point, slo), points)
            ends[mode] = next(iter(deque(met, maxlen=1)), None)
        found.append((shape, ends["closed"], ends["open"]))
    return found


def _meets(point: Point, slo: Slo) -> bool:
    share = attainment(point, slo)
    return share is not None and share.value >= slo.attainment


def knee_lines(curve: Curve, slo: Slo) -> list[str]:
    """The knee of each shape in words; nothing where no single requests are known."""
    if not any(point.sample for point in curve.points):
        return ["the SLO's knee is unknown: this curve has no single requests"]
    limits = ", ".join(f"{name.upper()} {limit:g} s" for name, limit in slo.limits.items())
    lines = []
    for shape, closed, opened in knees(curve, slo):
        told = [f"load {closed.load:g} ({closed.output_tokens_per_s:.4g} tok/s)"] if closed else []
        told += [f"{opened.offered_rate_per_s:g} requests/s" if opened.offered_rate_per_s else ""] if opened else []
        where = " and ".join(told) or "no load that was measured"
        lines.append(f"{shape_text(shape)}: {slo.attainment:.0%} within {limits} up to {where}")
    return lines


def shapes(curve: Curve) -> list[Shape]:
    """The shapes of a curve, in its order."""
    return list(dict.fromkeys(point.shape for point in curve.points))


def _load(point: Point) -> str:
    return f"{point.load:g}" if point.load is not None else f"{point.offered_rate_per_s:g}/s"


def shape_text(shape: Shape) -> str:
    """Input (and what of it was cached) and output tokens."""
    cached = f" ({shape.cached_tokens:.0f} cached)" if shape.cached_tokens else ""
    return f"{shape.input_tokens:.0f}{cached}/{shape.output_tokens:.0f}"


def _ms(estimate: Estimate | None, *, interval: bool = False) -> str:
    if estimate is None:
        return ""
    scaled = Estimate.model_validate({key: x and x * 1e3 for key, x in estimate.model_dump().items()})
    return _with_interval(scaled, ".3g") if interval else format(scaled.value, ".3g")


def _with_interval(estimate: Estimate, form: str) -> str:
    told = format(estimate.value, form)
    if estimate.low is None or estimate.high is None or not estimate.value:
        return told
    half = max(estimate.high - estimate.value, estimate.value - estimate.low)
    return f"{told} ±{half / estimate.value:.0%}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def library_table(curves: tuple[Curve, ...]) -> Table:
    """What `bench list` prints."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for column in ("GPUs", "model", "weights", "engine", "kind", "points", "when"):
        table.add_column(column, justify="right" if column == "points" else "left", no_wrap=column == "GPUs")
    for curve in curves:
        conditions = curve.conditions
        cells = (
            f"{curve.gpu.count} x {curve.gpu.name}",
            curve.model,
            f"{curve.precision or '?'} tp{curve.tensor_parallel}",
            f"{conditions.engine} {conditions.engine_version or '?'}",
            curve.kind,
            str(len(curve.points)),
            (conditions.measured_at or conditions.source_date or "")[:7],
        )
        table.add_row(*(escape(printable(cell)) for cell in cells))
    return table
