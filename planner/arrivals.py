"""From a closed loop to random arrivals: how fast may requests come so that the load rarely exceeds what the SLO bears?

Why. A closed loop holds the load at n; people do not. Under Poisson arrivals the load swings, and a deployment that
just meets its limits at a steady load n* misses them whenever more than n* are in flight. Most published curves are
closed loop only, so the step from one to the other must be a law; where both were measured, the measurement rules.

The law. Let x(n) be the throughput of the closed loop at load n, requests/s. A deployment that shares itself among
the requests in it is, seen from outside, one server that works at rate x(n) when n are in flight (flow-equivalent
server: Chandy, Herzog & Woo, IBM J. Res. Dev. 19, 1975). Fed by Poisson arrivals of rate r its load is

    P(N = n)  proportional to  r^n / (x(1) x(2) ... x(n)),

whatever the distribution of request sizes (insensitivity of symmetric queues: Cohen, Acta Informatica 12, 1979; Kelly,
Reversibility and Stochastic Networks, 1979, chapter 3). Where requests do not slow each other down, x(n) = n / E2E and
this is the Poisson distribution with mean r E2E: M/G/infinity and Little's law (1961), hence the square-root staffing
rule n* = m + k sqrt(m). Where they do, the load swings more, and the Poisson law alone would promise too much.

A request is one of those in flight: it finds N others when it comes (Poisson arrivals see time averages) and, by
reversibility, leaves N others with the same distribution. It is safe when N + 1 <= n* at both ends of its life, so

    P(N >= n*)  <=  (1 - attainment) / 2        (`ends` = 2; 1 looks at one end alone).

x(n) between measured loads: E2E is linear in the load there; below the lowest, E2E is the lowest's (slower than the
truth); above the highest, x stays at its highest (no extrapolation). n* between whole numbers: probabilities linear.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_HALVINGS = 50


def highest_arrival_rate(
    limit_load: float, loads: Floats, e2e_s: Floats, attainment: float, *, ends: int = 2
) -> float | None:
    """Highest Poisson rate (requests/s) that keeps the load within `limit_load`; None when no rate does.

    `loads` rise strictly, `e2e_s` are the mean E2E there and loads / e2e_s must not fall. None when even a lone request
    exceeds the limit (`limit_load` < 1), or when every single request must meet it (attainment 1).

    At limit 1 nobody else may be there. With x = 1/s throughout, the load is geometric, P(N >= 1) = r, and half of the
    5 % may be lost at either end:

    >>> round(highest_arrival_rate(1.0, np.array([1.0]), np.array([1.0]), 0.95), 6)
    0.025
    >>> highest_arrival_rate(0.5, np.array([1.0]), np.array([1.0]), 0.95) is None
    True
    """
    if limit_load < 1 or attainment >= 1:
        return None
    throughput = closed_throughput(np.arange(1, math.ceil(max(limit_load, loads[-1])) + 1), loads, e2e_s)
    low, high = 0.0, float(throughput[-1])
    for _ in range(_HALVINGS):
        rate = (low + high) / 2
        if _exceeds(limit_load, rate, throughput) <= (1 - attainment) / ends:
            low = rate
        else:
            high = rate
    return low


def closed_throughput(at: Floats | NDArray[np.int_], loads: Floats, e2e_s: Floats) -> Floats:
    """Requests/s that a closed loop serves at each load of `at`: load / E2E, flat beyond the highest measured."""
    served: Floats = np.minimum(at, loads[-1]) / np.interp(at, loads, e2e_s)
    return served


def steady_arrival_share(limit_load: float, attainment: float, *, ends: int = 2) -> float | None:
    """The same for requests of one steady E2E (M/G/infinity): highest rate x E2E / `limit_load`; None when none.

    At limit 2 one other may be there: exp(-m) (1 + m) = 0.975 gives m = 0.2422, a share of 0.1211.

    >>> round(steady_arrival_share(2.0, 0.95), 4)
    0.1211
    """
    share = float(steady_arrival_shares(np.array([limit_load]), attainment, ends=ends)[0])
    return None if math.isnan(share) else share


def steady_arrival_shares(limit_loads: Floats, attainment: float, *, ends: int = 2) -> Floats:
    """`steady_arrival_share` of many loads at once; NaN where there is none."""
    from scipy.special import gammaincinv

    if attainment >= 1:
        return np.full(len(limit_loads), np.nan)
    loads = np.where(limit_loads >= 1, limit_loads, 1.0)
    whole = np.floor(loads)
    lower, upper = (gammaincinv(n, (1 - attainment) / ends) for n in (whole, whole + 1))
    found: Floats = np.where(limit_loads >= 1, (lower + (loads - whole) * (upper - lower)) / loads, np.nan)
    return found


def _exceeds(limit_load: float, rate: float, throughput: Floats) -> float:
    """P(N >= limit_load) of the birth-death chain with births `rate` and deaths throughput[n - 1] at load n."""
    weight = np.concatenate([[0.0], np.cumsum(math.log(rate) - np.log(throughput))])
    weight = np.exp(weight - weight.max())
    beyond = rate / throughput[-1]
    total = weight.sum() + weight[-1] * beyond / (1 - beyond)
    whole = math.floor(limit_load)
    within = weight[:whole].sum() + (limit_load - whole) * weight[min(whole, len(weight) - 1)]
    return float(1 - within / total)
