"""Two curves, level by level: faster, slower or cannot tell.

For each shape and load that both have: the ratio second / first of throughput, median TTFT and median TPOT. Shapes are
means over what was served, which luck moves a little where lengths are drawn: within 3 % they are the same one. Both
measurements are independent, so the difference's 95 % half-width is the root of the sum of squares of the two; where it
covers zero, or a curve has no interval, nobody can tell. The intervals hold what varies inside a run; what varies
between runs (another machine, a hotter room) shows only by measuring twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich.markup import escape
from rich.table import Table

from hardware_profiles.curve import Curve, Estimate, Point

SAME_SHAPE = 0.03
Comparison = Literal["faster", "slower", "cannot tell"]


@dataclass(frozen=True)
class Difference:
    """One quantity of one level."""

    ratio: float | None
    """Second / first."""
    verdict: Comparison


def difference(first: Estimate | None, second: Estimate | None, *, lower_is_faster: bool) -> Difference:
    """Of two independent estimates.

    >>> a, b = Estimate(value=10, low=9, high=11), Estimate(value=12, low=11, high=13)
    >>> difference(a, b, lower_is_faster=True)
    Difference(ratio=1.2, verdict='slower')
    """
    if first is None or second is None or not first.value:
        return Difference(None, "cannot tell")
    ratio = second.value / first.value
    halves = [_half_width(estimate) for estimate in (first, second)]
    if halves[0] is None or halves[1] is None:
        return Difference(ratio, "cannot tell")
    if abs(second.value - first.value) <= (halves[0] ** 2 + halves[1] ** 2) ** 0.5:
        return Difference(ratio, "cannot tell")
    return Difference(ratio, "faster" if (second.value < first.value) == lower_is_faster else "slower")


def common_levels(first: Curve, second: Curve) -> list[tuple[Point, Point]]:
    """Points of the same shape, mode and load in both; marked ones left out."""
    pairs = []
    for point in first.usable_points:
        alike = [other for other in second.usable_points if _same_level(point, other)]
        if alike:
            pairs.append((point, min(alike, key=lambda other: _apart(point, other))))
    return pairs


def comparison_table(first: Curve, second: Curve) -> Table:
    """What `bench compare` prints: ratios second / first and their verdicts."""
    table = Table(title="second / first; intervals 95 %", title_justify="left")
    for column in ("shape", "load", "tok/s", "", "TTFT p50", "", "TPOT p50", ""):
        table.add_column(column, justify="left" if not column else "right")
    for a, b in common_levels(first, second):
        rows = (
            difference(a.output_rate, b.output_rate, lower_is_faster=False),
            difference(a.ttft_s.get("p50"), b.ttft_s.get("p50"), lower_is_faster=True),
            difference(a.tpot_s.get("p50"), b.tpot_s.get("p50"), lower_is_faster=True),
        )
        cells = [cell for row in rows for cell in ("" if row.ratio is None else f"{row.ratio:.3f}", row.verdict)]
        shape = f"{a.shape.input_tokens:.0f}/{a.shape.output_tokens:.0f}"
        load = f"{a.load:g}" if a.load is not None else f"{a.offered_rate_per_s:g}/s"
        table.add_row(escape(shape), load, *cells)
    if not table.row_count:
        table.caption = "no shape and load in common"
    return table


def _half_width(estimate: Estimate) -> float | None:
    if estimate.low is None or estimate.high is None:
        return None
    return max(estimate.high - estimate.value, estimate.value - estimate.low)


def _same_level(first: Point, second: Point) -> bool:
    size = first.mode, first.load, first.offered_rate_per_s
    return size == (second.mode, second.load, second.offered_rate_per_s) and _apart(first, second) <= SAME_SHAPE


def _apart(first: Point, second: Point) -> float:
    """The largest relative difference of input, uncached input and output tokens."""
    pairs = [
        (of.input_tokens, of.input_tokens - of.cached_tokens, of.output_tokens) for of in (first.shape, second.shape)
    ]
    return max(abs(a - b) / max(a, b) if a or b else 0.0 for a, b in zip(*pairs, strict=True))
