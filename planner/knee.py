"""The knee of a measured shape: the load or offered rate up to which its points meet the SLO.

Points are noisy and few, so what must be monotone is made so first (pool-adjacent-violators: Ayer et al. 1955), and
the crossing is linear between the two neighbouring levels. Nothing is extrapolated.

* Open loop: attainment, non-increasing in the offered rate, against the target. Around the knee attainment falls ever
  faster, so the chord lies below it and the crossing is on the cautious side.
* Closed loop: strain (`strain.py`), non-decreasing in the load, against 1. Linear in the load is how TPOT grows: when
  each inner load of the published curves is left out, it is met within 4.4 % on average, with no bias worth mending
  (median -1.2 %); linear in the logarithm of the load errs by 10.4 % and is 7.4 % too slow.
* Residence (mean E2E) of the closed loop: load / throughput (Little's law), throughput made non-decreasing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hardware_profiles.curve import Point
from hardware_profiles.slo import Latency, Slo, attainment
from planner.arrivals import Floats
from planner.strain import Band, Strain, strain

_WORST_STRAIN = 1e9
"""Stands for a point where too many requests failed, so that averages stay finite."""
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Knee:
    """Where the SLO breaks. `level` is a load (closed loop) or requests/s (open loop); None: it fails at `lowest`."""

    level: float | None
    lowest: float
    highest: float
    saturated: bool
    """False: `highest` still met the SLO."""
    limiting: Latency | None
    """The latency that is worst at the first failing level; at the highest level when none fails."""
    sampled: bool
    percentile_known: bool
    left_out: int
    """Points that lack a latency which the SLO limits."""


Judged = tuple[Point, Strain]


def open_knee(points: Sequence[Point], slo: Slo, band: Band) -> Knee | None:
    """Offered rate up to which the attainment meets the target; None without an open-loop point that can be judged."""

    def missing(judged: Judged) -> float:
        return slo.attainment - _attained(judged, slo, band)

    opened = [point for point in points if point.mode == "open"]
    return _knee(opened, slo, band, lambda point: point.offered_rate_per_s or 0.0, missing, weigh=True)


def closed_knee(points: Sequence[Point], slo: Slo, band: Band) -> Knee | None:
    """Load up to which the strain stays at most 1; None without a closed-loop point that can be judged."""

    def above(judged: Judged) -> float:
        return min(judged[1].value, _WORST_STRAIN) - 1

    closed = [point for point in points if point.mode == "closed"]
    return _knee(closed, slo, band, lambda point: point.load or 0.0, above, weigh=False)


def closed_residence(points: Sequence[Point], band: Band) -> tuple[Floats, Floats] | None:
    """Loads and mean E2E (s) of the closed loop, throughput made non-decreasing; None where nothing was served."""
    served: dict[float, list[float]] = {}
    for point in points:
        if point.mode == "closed" and point.load is not None:
            served.setdefault(point.load, []).append(_served_per_s(point, band))
    loads = np.array(sorted(served))
    if not served:
        return None
    throughput = isotonic(np.array([np.mean(served[load]) for load in loads]))
    return (loads, loads / throughput) if throughput[0] > 0 else None


def isotonic(values: Floats, weights: Floats | None = None) -> Floats:
    """The nearest non-decreasing sequence (least squares, pool-adjacent-violators).

    >>> isotonic(np.array([1.0, 3.0, 2.0, 4.0])).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    from scipy.optimize import isotonic_regression

    fitted: Floats = isotonic_regression(values, weights=weights).x
    return fitted


def crossing(levels: Floats, excess: Floats) -> tuple[float | None, int]:
    """The level at which non-decreasing `excess` leaves 0, and the index of the first level beyond it.

    >>> levels = np.array([2.0, 4.0])
    >>> crossing(levels, np.array([-0.5, 0.5])), crossing(levels, np.array([-0.5, 0.0]))
    ((3.0, 1), (4.0, 2))
    >>> crossing(levels, np.array([0.1, 0.5]))
    (None, 0)
    """
    beyond = int(np.argmax(excess > _ROUNDING)) if (excess > _ROUNDING).any() else len(levels)
    if beyond == 0:
        return None, 0
    if beyond == len(levels):
        return float(levels[-1]), beyond
    inside = min(float(excess[beyond - 1]), 0.0)
    share = inside / (inside - float(excess[beyond]))
    return float(levels[beyond - 1] + share * (levels[beyond] - levels[beyond - 1])), beyond


def _knee(
    points: Sequence[Point],
    slo: Slo,
    band: Band,
    level_of: Callable[[Point], float],
    excess_of: Callable[[Judged], float],
    *,
    weigh: bool,
) -> Knee | None:
    """Group the points by level, make the excess monotone, find the crossing."""
    judged = [(point, seen) for point in points if (seen := strain(point, slo, band))]
    if not judged:
        return None
    levels = np.array(sorted({level_of(point) for point, _ in judged}))
    groups = [[each for each in judged if level_of(each[0]) == level] for level in levels]
    sizes = [[max(len(point.sample), 1) if weigh else 1 for point, _ in group] for group in groups]
    means = [np.average([excess_of(each) for each in group], weights=w) for group, w in zip(groups, sizes, strict=True)]
    fitted = isotonic(np.array(means), np.array([sum(size) for size in sizes], dtype=np.float64))
    level, beyond = crossing(levels, fitted)
    return Knee(
        level=level,
        lowest=float(levels[0]),
        highest=float(levels[-1]),
        saturated=beyond < len(levels),
        limiting=_limiting(groups[min(beyond, len(groups) - 1)]),
        sampled=all(seen.sampled for _, seen in judged),
        percentile_known=all(seen.percentile_known for _, seen in judged),
        left_out=len(points) - len(judged),
    )


def _limiting(group: Sequence[Judged]) -> Latency | None:
    """The latency that most of the level's points name."""
    named = Counter(seen.limiting for _, seen in group if seen.limiting is not None)
    return max(sorted(named), key=lambda name: named[name], default=None)


def _attained(judged: Judged, slo: Slo, band: Band) -> float:
    """Attainment at the band; without a sample all or nothing, as the stated numbers say."""
    point, seen = judged
    share = attainment(point, slo)
    if share is None:
        return 1.0 if seen.value <= 1 else 0.0
    end = {"low": share.low, "mid": share.value, "high": share.high}[band]
    return share.value if end is None else end


def _served_per_s(point: Point, band: Band) -> float:
    """Throughput; at the band's end of the mean E2E's interval where one is given (load / E2E, Little)."""
    mean = point.e2e_s.get("mean")
    end = None if mean is None else {"low": mean.high, "mid": None, "high": mean.low}[band]
    if mean is None or not end:
        return point.throughput_per_s
    return point.throughput_per_s * mean.value / end
