"""How sure: 95 % intervals for numbers that come from requests which share a queue.

n_eff, the number of independent requests that a run is worth: `hardware_profiles/independent.py`.
    share:      Wilson's interval (1927) with n_eff and t in place of n and z
    percentile: the order statistics at the ends of the Wilson interval of its rank; a bound that would lie beyond
                what n_eff requests can show is None
    mean:       value +- t s / sqrt(n_eff)
    rate:       batch means over equal stretches of time (Law, Simulation Modeling and Analysis, 9.5.3)
"""

from __future__ import annotations

import math

import numpy as np

from bench.records import Floats
from hardware_profiles.curve import Estimate, Statistic
from hardware_profiles.independent import SAFETY, autocorrelation_time, effective, t_quantile, wilson

__all__ = [
    "SAFETY",
    "autocorrelation_time",
    "effective",
    "percentiles",
    "rate",
    "relative_width",
    "t_quantile",
    "wilson",
]

QUANTILES: dict[Statistic, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
FEWEST_BATCHES, MOST_BATCHES = 5, 20


def percentiles(values: Floats, n_eff: float | None = None) -> dict[Statistic, Estimate]:
    """Mean and percentiles of values in order of sending, NaN left out; `n_eff` when it is known from elsewhere."""
    known = values[~np.isnan(values)]
    if not len(known):
        return {}
    worth = effective(known) if n_eff is None else min(n_eff, float(len(known)))
    mean = float(known.mean())
    told: dict[Statistic, Estimate] = {"mean": Estimate(value=mean)}
    if worth >= 2:
        half = t_quantile(worth - 1) * float(known.std(ddof=1)) / math.sqrt(worth)
        told["mean"] = Estimate(value=mean, low=max(0.0, mean - half), high=mean + half)
    ordered = np.sort(known)
    for name, share in QUANTILES.items():
        low, high = wilson(share, worth)
        told[name] = Estimate(
            value=float(np.quantile(ordered, share)),
            low=float(np.quantile(ordered, low)) if low > 1 / (worth + 1) else None,
            high=float(np.quantile(ordered, high)) if high < worth / (worth + 1) else None,
        )
    return told


def rate(moments_s: Floats, weights: Floats | None, span_s: tuple[float, float], batch_s: float) -> Estimate:
    """Sum of weights per second in [start, end), by batch means of at least `batch_s` each; no bounds below five."""
    start, end = span_s
    inside = (moments_s >= start) & (moments_s < end)
    moments_s, weights = moments_s[inside], np.ones(len(moments_s))[inside] if weights is None else weights[inside]
    value = float(weights.sum()) / (end - start)
    batches = min(MOST_BATCHES, int((end - start) / batch_s)) if batch_s > 0 else 0
    if batches < FEWEST_BATCHES:
        return Estimate(value=value)
    rates = np.histogram(moments_s, batches, span_s, weights=weights)[0] * batches / (end - start)
    half = t_quantile(batches - 1) * float(rates.std(ddof=1)) / math.sqrt(batches)
    return Estimate(value=value, low=max(0.0, value - half), high=value + half)


def relative_width(estimate: Estimate | None) -> float | None:
    """Half of the interval as a share of the value; None where there is no interval."""
    if estimate is None or estimate.low is None or estimate.high is None or estimate.value <= 0:
        return None
    return (estimate.high - estimate.low) / 2 / estimate.value
