"""How many independent requests a run of requests is worth, and the interval of a share that follows from it.

Requests near each other in time share a queue, so that n of them tell less than n independent ones would: near the
knee a binomial interval covers the truth in 5-8 % of runs instead of 95 %. So
    n_eff = n / (2 tau SAFETY),   tau = 1/2 + sum of autocorrelations of the series in order of sending,
the sum cut at the first lag >= 5 tau (Sokal 1997, "Monte Carlo methods in statistical mechanics", 3). tau is
estimated low in short runs; SAFETY and Student's t with n_eff - 1 degrees of freedom make up for it. Batches of five or
ten E2E times were tried and cover 14-88 % on M/G/k queues near the knee; this covers 95-100 % there and on a
processor-sharing one (tests/test_stats.py and tests/test_slo.py repeat it).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SAFETY = 1.25


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
