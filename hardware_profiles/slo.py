"""The promise: limits on one request's latencies, and the share of requests that must meet all of them at once.

Both rooms judge requests by it: `bench` while it searches a rate, `planner` when it reads a curve. So what "met" means
is written here and nowhere else.

* TTFT, TPOT and E2E as `curve.py` keeps them, seconds. A limit of None does not limit.
* A request is met when every limit holds at once. A single output token has no TPOT, so its TPOT limit holds.
* A failed request is a miss, whatever the limits.
* Open loop: a point's joint sample counts TTFT and E2E from the scheduled moment (`bench` writes it so).

How sure an attainment is. Neighbouring requests share their queue, so they miss together and a binomial interval is
many times too narrow near the knee. A sample in order of sending is therefore cut into blocks of at least ten mean E2E
times; the variance between blocks over the binomial one is the design effect (Kish, Survey Sampling, 1965), the sample
counts as n / design effect requests, and the interval is Wilson's (1927) with Student's t for as many blocks (after
Korn & Graubard, Survey Methodology 24, 1998). In simulation at the knee it covers the truth in about 90 % of windows of
100 E2E times or more (a binomial interval in 20 to 60 %), fewer in shorter windows or where a server is close to its
last request per second: there only independent runs help.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hardware_profiles.curve import Estimate, Point, Positive, Sample, Value

Latency = Literal["ttft", "tpot", "e2e"]

_BLOCK_E2E_TIMES = 10
_MOST_BLOCKS = 20


class Slo(Value):
    """Limits of one request in seconds (None: no limit), and the share of requests that must meet all of them."""

    ttft_s: Positive | None = None
    tpot_s: Positive | None = None
    e2e_s: Positive | None = None
    attainment: Annotated[float, Field(gt=0, le=1)] = 0.95

    @property
    def limits(self) -> dict[Latency, float]:
        """The limits that are set, in seconds."""
        named: dict[Latency, float | None] = {"ttft": self.ttft_s, "tpot": self.tpot_s, "e2e": self.e2e_s}
        return {name: limit for name, limit in named.items() if limit is not None}

    def met_by(self, request: Sample) -> bool:
        """Whether this served request met every limit at once."""
        return all(ratio <= 1 for ratio in self.ratios(request).values())

    def ratios(self, request: Sample) -> dict[Latency, float]:
        """Each latency of a served request over its limit; 0 for the TPOT of a single token."""
        seen: dict[Latency, float | None] = {"ttft": request.ttft_s, "tpot": request.tpot_s, "e2e": request.e2e_s}
        return {name: (seen[name] or 0.0) / limit for name, limit in self.limits.items()}


DEFAULT_SLO = Slo(ttft_s=2.0, tpot_s=0.03, attainment=0.95)
"""Where nobody states one: what a reader of streamed text hardly notices. Every result that rests on it says so."""


def strictest(slos: Iterable[Slo]) -> Slo:
    """The SLO that meets all of them: the smallest of each limit, the largest attainment. In a shared pool it rules.

    >>> strictest([Slo(ttft_s=2, tpot_s=0.03), Slo(ttft_s=1, attainment=0.99)])
    Slo(ttft_s=1.0, tpot_s=0.03, e2e_s=None, attainment=0.99)
    """
    known = tuple(slos)
    if not known:
        raise ValueError("strictest of no SLO")

    def least(limits: Iterable[float | None]) -> float | None:
        return min((limit for limit in limits if limit is not None), default=None)

    return Slo(
        ttft_s=least(slo.ttft_s for slo in known),
        tpot_s=least(slo.tpot_s for slo in known),
        e2e_s=least(slo.e2e_s for slo in known),
        attainment=max(slo.attainment for slo in known),
    )


def served_share(point: Point) -> float:
    """Requests served / requests that ended, failures included; 1 where the point does not count them."""
    served = point.completed if point.completed is not None else len(point.sample)
    ended = served + (point.failed or 0)
    return served / ended if ended else 1.0


def attainment(point: Point, slo: Slo) -> Estimate | None:
    """Share of the point's requests that met the SLO, with its 95 % interval; None without a joint sample.

    Without a duration the blocks cannot be cut, and the interval is None; with fewer than two blocks it is 0 to 1.
    """
    if not point.sample:
        return Estimate(value=0.0) if served_share(point) == 0 else None
    met = np.array([slo.met_by(request) for request in point.sample], dtype=np.float64)
    share = float(met.mean()) * served_share(point)
    low, high = _interval(share, effective_requests(met, point), blocks(point))
    return Estimate(value=share, low=low, high=high)


def blocks(point: Point) -> int | None:
    """How many stretches of at least ten mean E2E times the point's sample covers (30 at most); None: unknown."""
    if not point.sample or point.duration_s is None:
        return None
    mean_e2e_s = sum(request.e2e_s for request in point.sample) / len(point.sample)
    longest = len(point.sample) if mean_e2e_s == 0 else int(point.duration_s / (_BLOCK_E2E_TIMES * mean_e2e_s))
    return min(longest, _MOST_BLOCKS, len(point.sample))


def effective_requests(flags: NDArray[np.float64], point: Point) -> float:
    """How many independent requests the point's sample is worth for the share of `flags`: n / design effect."""
    count, cut = len(flags), blocks(point)
    share = float(flags.mean())
    independent = share * (1 - share)
    if not cut or cut < 2 or independent == 0:
        return float(count)
    means = np.array([block.mean() for block in np.array_split(flags, cut)])
    return count / max(1.0, float(means.var(ddof=1)) * (count / cut) / independent)


def student_t(cut: int) -> float:
    """The 97.5 % point of Student's t with one degree of freedom fewer than there are blocks."""
    from scipy.special import stdtrit

    return float(stdtrit(cut - 1, 0.975))


def _interval(share: float, requests: float, cut: int | None) -> tuple[float | None, float | None]:
    """Wilson's interval of a share that `requests` independent requests would give, with t for the blocks."""
    if cut is None:
        return None, None
    if cut < 2:
        return 0.0, 1.0
    t2 = student_t(cut) ** 2 / requests
    centre = (share + t2 / 2) / (1 + t2)
    half = math.sqrt(t2 * share * (1 - share) + t2 * t2 / 4) / (1 + t2)
    return min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share)
