"""How sure: 95 % intervals for numbers that come from requests which share a queue.

Requests near each other in time share a queue, so that n of them tell less than n independent ones would: near the
knee a binomial interval covers the truth in 5-8 % of runs instead of 95 %. Every interval here therefore rests on
    n_eff = n / (2 tau SAFETY),   tau = 1/2 + sum of autocorrelations of the series in order of sending,
the sum cut at the first lag >= 5 tau (Sokal 1997, "Monte Carlo methods in statistical mechanics", 3). tau is
estimated low in short runs; SAFETY and Student's t with n_eff - 1 degrees of freedom make up for it. Batches of
five E2E times were tried first and cover 14-83 % on M/G/k queues; this covers 95-100 % there and on a
processor-sharing one (tests/test_stats.py repeats it).
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

QUANTILES: dict[Statistic, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
SAFETY = 1.25
FEWEST_BATCHES, MOST_BATCHES = 5, 20


def autocorrelation_time(series: Floats) -> float:
    """Integrated autocorrelation time, in steps of the series; 0.5 for independent values."""
    n = len(series)
    centred = series - series.mean() if n else series
    power = float(centred @ centred)
    if n < 4 or power <= 1e-24 * n * float(np.max(np.abs(series))) ** 2:
        return 0.5
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    correlation = np.fft.irfft(spectrum * np.conj(spectrum), size)[:n] / power
    sums = 0.5 + np.cumsum(correlation[1:])
    beyond = np.flatnonzero(np.arange(1, n) >= 5 * sums)
    return max(0.5, float(sums[beyond[0] if len(beyond) else -1]))


def effective(series: Floats, n: int | None = None) -> float:
    """How many independent values `n` (by default all) of the series are worth."""
    count = len(series) if n is None else n
    tau = autocorrelation_time(series)
    return max(1.0, min(float(count), count / (2 * tau * SAFETY))) if tau > 0.5 else float(max(count, 1))


def t_quantile(degrees: float) -> float:
    """Student's t at 97.5 %."""
    from scipy.special import stdtrit

    return float(stdtrit(max(degrees, 1.0), 0.975))


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's interval of a share seen in `n` independent tries, with t for z; everything below two tries."""
    if n < 2:
        return 0.0, 1.0
    z2 = t_quantile(n - 1) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


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
