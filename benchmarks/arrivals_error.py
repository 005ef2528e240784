"""How far is the law of random arrivals (planner/arrivals.py) from the truth? Simulated on a server that shares itself.

    python benchmarks/arrivals_error.py

The server gives every request in flight the same pace: TPOT = alpha + beta x load seconds per token, so that a closed
loop of n* requests just meets the TPOT limit. Requests arrive at random (Poisson) and have a fixed, an even (20 % to
180 % of the mean) or an exponential number of tokens. The truth is the highest rate at which 95 % of the simulated
requests meet the limit. Printed: truth / closed loop's rate, then law / truth for `ends` 2 (bands low and mid), 1 (band
high) and for the Poisson law that takes E2E as steady at the mean load. Seeded: the same figures every time.
"""

from __future__ import annotations

import heapq
import math

import numpy as np

from planner.arrivals import Floats, highest_arrival_rate

LIMIT_S = 0.03
TOKENS = 200.0


def simulate(
    rate: float, alpha: float, beta: float, *, sizes: str = "fixed", requests: int = 40_000, seed: int = 1
) -> tuple[Floats, Floats, Floats]:
    """Arrival (s), tokens and E2E (s) of every request, in order of arrival; starts empty."""
    random = np.random.default_rng(seed)
    arrivals = np.cumsum(random.exponential(1 / rate, requests))
    tokens = {
        "fixed": np.full(requests, TOKENS),
        "even": random.uniform(0.2 * TOKENS, 1.8 * TOKENS, requests),
        "exponential": random.exponential(TOKENS, requests),
    }[sizes]
    ends = np.empty(requests)
    inside: list[tuple[float, int]] = []
    now = given = 0.0  # `given`: tokens that a request in flight since the beginning would have received
    for arrival, request in [(float(at), i) for i, at in enumerate(arrivals)] + [(math.inf, -1)]:
        while inside and now + (inside[0][0] - given) * (alpha + beta * len(inside)) <= arrival:
            done, leaver = inside[0]
            now += (done - given) * (alpha + beta * len(inside))
            given = done
            heapq.heappop(inside)
            ends[leaver] = now
        if request >= 0:
            if inside:
                given += (arrival - now) / (alpha + beta * len(inside))
            now = arrival
            heapq.heappush(inside, (given + float(tokens[request]), request))
    return arrivals, tokens, ends - arrivals


def attained(rate: float, alpha: float, beta: float, *, sizes: str, requests: int = 40_000, seed: int = 1) -> float:
    """Share of requests within the TPOT limit, the first tenth left out."""
    _, tokens, e2e_s = simulate(rate, alpha, beta, sizes=sizes, requests=requests, seed=seed)
    return float(np.mean((e2e_s / tokens)[requests // 10 :] <= LIMIT_S))


def true_rate(alpha: float, beta: float, *, sizes: str, target: float = 0.95) -> float:
    """Highest rate whose attainment meets the target, by halving with the same random numbers throughout."""
    low, high = 0.0, 1 / (TOKENS * beta)
    for _ in range(13):
        rate = (low + high) / 2
        low, high = (rate, high) if attained(rate, alpha, beta, sizes=sizes) >= target else (low, rate)
    return low


def law_rate(limit_load: float, alpha: float, beta: float, *, ends: int) -> float:
    """What the law says from closed-loop points at 1, 2, 4, ... up to twice the limit."""
    loads = 2.0 ** np.arange(0, math.ceil(math.log2(limit_load)) + 2)
    return highest_arrival_rate(limit_load, loads, TOKENS * (alpha + beta * loads), 0.95, ends=ends) or 0.0


def steady_rate(limit_load: float, alpha: float, beta: float) -> float:
    """Highest rate r with P(Poisson(m) > n*) <= 5 % and m = r E2E(m)."""
    from scipy.special import gammaincinv

    mean = float(gammaincinv(math.floor(limit_load) + 1, 0.05))
    return mean / (TOKENS * (alpha + beta * max(mean, 1.0)))


def main() -> None:
    """Print the table."""
    print("   n*  slowdown  sizes        truth/closed  law/truth: ends=2  ends=1  steady Poisson")
    for limit_load in (2, 4, 8, 16, 32, 64, 128):
        for slowdown in (0.1, 0.5, 0.9):
            beta = LIMIT_S * slowdown / limit_load
            alpha = LIMIT_S - beta * limit_load
            closed = limit_load / (TOKENS * LIMIT_S)
            laws = [law_rate(limit_load, alpha, beta, ends=ends) for ends in (2, 1)]
            laws.append(steady_rate(limit_load, alpha, beta))
            for sizes in ("fixed", "even", "exponential"):
                truth = true_rate(alpha, beta, sizes=sizes)
                shown = "".join(f"{law / truth:>10.2f}" for law in laws)
                print(f"{limit_load:5d}  {slowdown:8.1f}  {sizes:12s} {truth / closed:12.2f}     {shown}")


if __name__ == "__main__":
    main()
