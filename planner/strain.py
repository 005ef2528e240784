"""How near a measured point comes to the limits: 1 is exactly at the SLO, below it passes, above it fails.

Attainment itself falls from 1 to 0 between two loads of a sweep, so a load in between cannot be read off it. The
strain of a point can: it is the `attainment` quantile, over its requests, of the largest latency / limit. A point
passes (its attainment meets the target) exactly when its strain is at most 1, and strain grows smoothly with load.

* With a joint sample: over single requests, failures counted as infinitely late.
* Without one: the stated number over the limit, the largest of them. The statistic used is the smallest stated
  percentile that reaches the attainment; failing that the highest percentile, the mean or the unnamed number that is
  there, and then the percentile is not known. E2E that nobody stated is load / throughput (Little's law).
* A point that lacks a needed latency is judged only if the others already exceed their limits.
* Band: `low` takes each number at the bad end of its interval, `high` at the good end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hardware_profiles.curve import Estimate, Point, Statistic
from hardware_profiles.independent import t_quantile
from hardware_profiles.slo import Latency, Slo, effective_requests, served_share

Band = Literal["low", "mid", "high"]

_QUANTILE: dict[Statistic, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Strain:
    """Largest latency over its limit at the attainment asked for, and which latency it is."""

    value: float
    limiting: Latency | None
    sampled: bool
    """Computed from single requests."""
    percentile_known: bool


def strain(point: Point, slo: Slo, band: Band = "mid") -> Strain | None:
    """The point's strain under the SLO; None when a latency that the SLO limits is not known."""
    if served_share(point) < slo.attainment:
        return Strain(math.inf, None, bool(point.sample), True)
    return _from_sample(point, slo, band) if point.sample else _from_statistics(point, slo, band)


def _from_sample(point: Point, slo: Slo, band: Band) -> Strain:
    """Quantile of the requests' largest ratios; the level is higher the more requests failed."""
    limits = tuple(slo.limits)
    if not limits:
        return Strain(0.0, None, True, True)
    ratios = np.array([[slo.ratios(request)[name] for name in limits] for request in point.sample])
    largest = ratios.max(axis=1)
    level = slo.attainment / served_share(point)
    worth = effective_requests(point, slo)
    if band != "mid" and worth >= 2:
        half = t_quantile(worth - 1) * math.sqrt(level * (1 - level) / worth)
        level = min(max(level + half if band == "low" else level - half, 0.0), 1.0)
    value = float(np.quantile(largest, level, method="inverted_cdf"))
    worst = ratios[largest >= value].argmax(axis=1)
    return Strain(value, limits[int(np.bincount(worst).argmax())], True, True)


def _from_statistics(point: Point, slo: Slo, band: Band) -> Strain | None:
    """The largest stated number over its limit."""
    ratios: dict[Latency, float] = {}
    percentiles_known = True
    for name, limit in slo.limits.items():
        seen, known = _stated(point, name, slo.attainment)
        percentiles_known &= known
        if seen is not None:
            ratios[name] = _at(seen, band) / limit
    worst = max(ratios, key=lambda name: ratios[name], default=None)
    if len(ratios) < len(slo.limits) and (worst is None or ratios[worst] <= 1):
        return None
    return Strain(ratios[worst] if worst else 0.0, worst, False, percentiles_known)


def _stated(point: Point, name: Latency, attainment: float) -> tuple[Estimate | None, bool]:
    """The stated number that comes nearest to the attainment quantile, and whether it reaches it."""
    if name == "tpot" and point.shape.output_tokens <= 1:
        return Estimate(value=0.0), True
    stated = {"ttft": point.ttft_s, "tpot": point.tpot_s, "e2e": point.e2e_s}[name]
    reaching = [statistic for statistic, level in _QUANTILE.items() if level >= attainment and statistic in stated]
    if reaching:
        return stated[reaching[0]], True
    below: tuple[Statistic, ...] = ("p99", "p95", "p90", "mean", "p50", "unstated")
    number = next((stated[statistic] for statistic in below if statistic in stated), None)
    if number is None and name == "e2e" and point.load is not None and point.throughput_per_s > 0:
        number = Estimate(value=point.load / point.throughput_per_s)
    return number, False


def _at(number: Estimate, band: Band) -> float:
    """A latency at the bad end of its interval for `low`, at the good end for `high`."""
    end = {"low": number.high, "mid": number.value, "high": number.low}[band]
    return number.value if end is None else end
