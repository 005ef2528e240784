"""The promise: limits on one request's latencies, and the share of requests that must meet all of them at once.

Both rooms judge requests by it: `bench` while it searches a rate, `planner` when it reads a curve. So what "met" means
is written here and nowhere else.

* TTFT, TPOT and E2E as `curve.py` keeps them, seconds. A limit of None does not limit.
* A request is met when every limit holds at once. A single output token has no TPOT, so its TPOT limit holds.
* A failed request is a miss, whatever the limits.
* Open loop: a point's joint sample counts TTFT and E2E from the scheduled moment (`bench` writes it so).

How sure an attainment is. Neighbouring requests share their queue, so they miss together and a binomial interval is
many times too narrow near the knee. How many independent requests a sample is worth (`independent.py`) is taken from
whichever wanders most: a request's time in units of its limits, its TTFT where TTFT or E2E is limited, its TPOT where
TPOT or E2E is. The misses themselves show too little while they are rare. The interval is then Wilson's (1927) with
Student's t. In simulation near the knee it covers the truth in 95 % of windows and more; blocks of ten E2E times, which
stood here before, in 31 to 88 %.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from hardware_profiles.curve import Estimate, Point, Positive, Sample, Value
from hardware_profiles.independent import effective, wilson

Latency = Literal["ttft", "tpot", "e2e"]

SLACK_CAP = 3.0
"""A request that took 100 times its limit tells no more about the queue than one that took three times."""


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
    """Share of the point's requests that met the SLO, with its 95 % interval; None without a joint sample."""
    if not point.sample:
        return Estimate(value=0.0) if served_share(point) == 0 else None
    met = sum(slo.met_by(request) for request in point.sample) / len(point.sample)
    share = met * served_share(point)
    low, high = wilson(share, effective_requests(point, slo))
    return Estimate(value=share, low=min(low, share), high=max(high, share))


def effective_requests(point: Point, slo: Slo) -> float:
    """How many independent requests the point's sample is worth when it is asked whether they met the SLO."""
    limits = slo.limits
    slack = [max(slo.ratios(request).values(), default=0.0) for request in point.sample]
    series = [np.minimum(np.array(slack), SLACK_CAP)]
    if "ttft" in limits or "e2e" in limits:  # the spread of lengths hides the queue in E2E: TTFT and TPOT show it
        series.append(np.array([request.ttft_s for request in point.sample]))
    if "tpot" in limits or "e2e" in limits:
        series.append(np.array([request.tpot_s for request in point.sample if request.tpot_s is not None]))
    return min(effective(one, len(point.sample)) for one in series)
