"""What a deployment can promise: the highest request rate at which the SLO's attainment is met.

Why. A plan buys GPUs by the requests per second that one deployment serves inside the SLO, so this number, and how it
is known, carries the whole plan. `docs/capacity.md` explains it with figures.

How, for one measured shape of a curve:

1. Points whose checks failed are left out, as are points that lack a latency which the SLO limits.
2. Open-loop points decide when there are any: the offered rate at their knee (`knee.py`).
3. Otherwise the closed loop's knee n* is the load that the SLO bears, and the rate is what Poisson arrivals may bring
   without exceeding it (`arrivals.py`). Where other shapes of the curve were measured both ways, the rate is multiplied
   by the smallest measured / law ratio, and never exceeds what the closed loop served.
4. Nothing is extrapolated: failing at the lowest point means none, passing at the highest means a floor.

Band: `low` and `high` take attainments and latencies at the ends of their 95 % intervals; for a closed loop `high` also
trusts the law's optimistic side (`ends` = 1 in `arrivals.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from hardware_profiles.curve import Curve, Kind, Point, Shape
from hardware_profiles.slo import Latency, Slo
from planner.arrivals import closed_throughput, highest_arrival_rate
from planner.knee import Knee, closed_knee, closed_residence, open_knee
from planner.strain import Band

BANDS: tuple[Band, ...] = ("low", "mid", "high")
SAME_SHAPE = 0.01
"""Tokens of two shapes that differ by no more than this share are the same shape."""
_SMALL_LOAD = 3.0


@dataclass(frozen=True)
class Rates:
    """Requests per second of the whole deployment at each band; None where the SLO cannot be met."""

    low: float | None = None
    mid: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Derating:
    """Rate under random arrivals / rate of the closed loop that just met the SLO, and how it is known."""

    factor: float
    method: Literal["measured", "law"]
    """`measured`: open and closed loop of this shape, or the law corrected by other shapes measured both ways."""


@dataclass(frozen=True)
class Capacity:
    """The answer, and what it rests on. `rate_per_s` is None when there is none, and `reason` says why."""

    shape: Shape
    band: Band
    kind: Kind
    rate_per_s: float | None = None
    """Requests per second of the whole deployment at the band asked for."""
    rates: Rates = Rates()
    reason: str | None = None
    saturated: bool = True
    """False: the highest measured point still met the SLO, so the rate is a floor."""
    evidence: Literal["sample", "measured", "published", "estimated"] = "sample"
    """`sample`: computed from single requests; otherwise stated numbers of that kind were compared with the limits."""
    percentile_known: bool = True
    """False: a stated number is a median, a mean or unnamed, not the percentile that the attainment asks for."""
    mode: Literal["open", "closed"] | None = None
    load: float | None = None
    """n*: requests in flight up to which the closed loop met the SLO; None where no closed loop did."""
    residence_s: float | None = None
    """Mean E2E of that closed loop."""
    closed_rate_per_s: float | None = None
    """What that closed loop served."""
    derated_by: Derating | None = None
    """None where open and closed loop cannot be compared."""
    limiting: Latency | None = None
    """The latency that breaks first beyond the capacity; at a floor, the one nearest to its limit."""
    notes: tuple[str, ...] = ()


def capacity(curve: Curve, shape: Shape, slo: Slo, band: Band = "mid") -> Capacity:
    """Highest rate (requests/s of the whole deployment) at which `shape`, one of the curve's own, meets the SLO."""
    found = {each: _capacity(curve, shape, slo, each) for each in BANDS}
    return replace(found[band], rates=Rates(**{each: found[each].rate_per_s for each in BANDS}))


def measured_shapes(curve: Curve) -> tuple[Shape, ...]:
    """The shapes of the curve's usable points, smallest first; shapes within 1 % of each other are one."""
    shapes: list[Shape] = []
    for shape in sorted((point.shape for point in curve.usable_points), key=_tokens):
        if not any(same_shape(shape, other) for other in shapes):
            shapes.append(shape)
    return tuple(shapes)


def same_shape(shape: Shape, other: Shape) -> bool:
    """Whether input, cached and output tokens agree within 1 % (cached tokens: 1 % of the input)."""
    size = max(shape.input_tokens, other.input_tokens)
    sizes = (size, size, max(shape.output_tokens, other.output_tokens))
    return all(abs(a - b) <= SAME_SHAPE * c for a, b, c in zip(_tokens(shape), _tokens(other), sizes, strict=True))


def _tokens(shape: Shape) -> tuple[float, float, float]:
    return shape.input_tokens, shape.cached_tokens, shape.output_tokens


def _points(curve: Curve, shape: Shape) -> tuple[Point, ...]:
    return tuple(point for point in curve.usable_points if same_shape(point.shape, shape))


def _capacity(curve: Curve, shape: Shape, slo: Slo, band: Band) -> Capacity:
    """At one band: the open loop where there is one, else the closed loop derated."""
    points = _points(curve, shape)
    bare = Capacity(shape, band, curve.kind, saturated=False)
    closed = _closed(points, slo, bare)
    opened = _opened(points, slo, bare)
    if opened is not None:
        return _beside(opened, closed)
    if closed is not None:
        return _corrected(closed, _correction(curve, shape, slo, band))
    lack = "no usable point states a latency that the SLO limits" if points else "the curve has no usable point"
    return replace(bare, reason=f"{lack} for {shape_name(shape)}")


def shape_name(shape: Shape) -> str:
    """How a shape is written for people.

    >>> shape_name(Shape(input_tokens=4096, cached_tokens=1024, output_tokens=512))
    '4096 in (1024 cached), 512 out'
    """
    cached = f" ({shape.cached_tokens:g} cached)" if shape.cached_tokens else ""
    return f"{shape.input_tokens:g} in{cached}, {shape.output_tokens:g} out"


def _opened(points: Sequence[Point], slo: Slo, bare: Capacity) -> Capacity | None:
    """The open loop's knee is the capacity."""
    knee = open_knee(points, slo, bare.band)
    if knee is None:
        return None
    found = _at_knee(replace(bare, mode="open"), knee, "offered rate", "requests/s")
    if any(point.mode == "open" and point.sample and point.duration_s is None for point in points):
        found = _noted(found, "An open-loop point states no duration, so its attainment has no interval.")
    return replace(found, rate_per_s=knee.level)


def _closed(points: Sequence[Point], slo: Slo, bare: Capacity) -> Capacity | None:
    """The rate that Poisson arrivals may bring while the load stays within the closed loop's knee."""
    knee, residence = closed_knee(points, slo, bare.band), closed_residence(points, bare.band)
    if knee is None or residence is None:
        return None
    found = replace(_at_knee(replace(bare, mode="closed"), knee, "load", "in flight"), load=knee.level)
    if knee.level is None:
        return found
    served = float(closed_throughput(np.array([knee.level]), *residence)[0])
    found = replace(found, residence_s=knee.level / served, closed_rate_per_s=served)
    ends = 1 if bare.band == "high" else 2
    rate = highest_arrival_rate(knee.level, *residence, slo.attainment, ends=ends)
    if rate is None:
        why = f"the SLO bears {knee.level:.3g} in flight, which random arrivals exceed too often at any rate"
        return replace(found, reason=why)
    return replace(found, rate_per_s=rate, derated_by=Derating(rate / served, "law"))


def _at_knee(bare: Capacity, knee: Knee, level: str, unit: str) -> Capacity:
    """What a knee says of a capacity, rate excepted."""
    found = replace(
        bare,
        saturated=knee.saturated,
        evidence="sample" if knee.sampled else bare.kind,
        percentile_known=knee.percentile_known,
        limiting=knee.limiting,
    )
    if knee.level is None:
        why = f"at the lowest measured {level} ({knee.lowest:g} {unit}) the SLO is missed"
        found = replace(found, reason=why + (f" ({knee.limiting.upper()})" if knee.limiting else ""))
    elif not knee.saturated:
        found = _noted(found, f"The SLO still held at the highest measured {level} ({knee.highest:g} {unit}): a floor.")
    if not knee.sampled:
        stated = "percentiles" if knee.percentile_known else "numbers (not the percentile asked for)"
        found = _noted(found, f"Attainment is not known: {bare.kind} {stated} were compared with the limits.")
    if knee.left_out:
        found = _noted(found, f"{knee.left_out} points lack a latency that the SLO limits and were left out.")
    return found


def _correction(curve: Curve, shape: Shape, slo: Slo, band: Band) -> float | None:
    """Smallest measured / law ratio among the curve's other shapes whose knees were found both ways."""
    ratios = []
    for other in measured_shapes(curve):
        points, bare = _points(curve, other), Capacity(other, band, curve.kind)
        if same_shape(other, shape) or {point.mode for point in points} != {"open", "closed"}:
            continue
        opened, closed = _opened(points, slo, bare), _closed(points, slo, bare)
        if opened and closed and opened.saturated and closed.saturated and opened.rate_per_s and closed.rate_per_s:
            ratios.append(opened.rate_per_s / closed.rate_per_s)
    return min(ratios, default=None)


def _corrected(closed: Capacity, correction: float | None) -> Capacity:
    """The law's rate, times the measured correction where there is one; at most what the closed loop served."""
    if closed.rate_per_s is None or closed.closed_rate_per_s is None:
        return closed
    rate = min(closed.rate_per_s * (correction or 1.0), closed.closed_rate_per_s)
    share = rate / closed.closed_rate_per_s
    found = replace(closed, rate_per_s=rate, derated_by=Derating(share, "measured" if correction else "law"))
    how = f"{correction:.2f} of the law, as other shapes measured" if correction else "law: docs/capacity.md"
    served = f"{closed.closed_rate_per_s:.4g}/s that a closed loop served with {closed.load:.4g} in flight"
    found = _noted(found, f"Random arrivals leave {share:.2f} of the {served} ({how}).")
    if correction is None and closed.load is not None and closed.load < _SMALL_LOAD:
        found = _noted(found, "At so small a load the law can be half too high: measure with an open loop.")
    return found


def _beside(opened: Capacity, closed: Capacity | None) -> Capacity:
    """The open loop's capacity, with what the closed loop of the same shape served."""
    if closed is None or closed.closed_rate_per_s is None:
        return opened
    served = closed.closed_rate_per_s
    both = replace(opened, load=closed.load, residence_s=closed.residence_s, closed_rate_per_s=served)
    if opened.rate_per_s is None or not (opened.saturated and closed.saturated):
        return both
    return replace(both, derated_by=Derating(opened.rate_per_s / served, "measured"))


def _noted(found: Capacity, note: str) -> Capacity:
    return replace(found, notes=(*found.notes, note))
