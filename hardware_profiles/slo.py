"""The promise: limits on one request's latencies, and the share of requests that must meet all of them at once.

Both rooms judge requests by it: `bench` while it searches a rate, `planner` when it reads a curve. So what "met" means
is written here and nowhere else.

* TTFT, TPOT and E2E as `curve.py` keeps them, seconds. A limit of None does not limit.
* A request is met when every limit holds at once. A single output token has no TPOT, so its TPOT limit holds.
* A failed request is a miss, whatever the limits.
* Open loop: a point's joint sample counts TTFT and E2E from the scheduled moment (`bench` writes it so).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from hardware_profiles.curve import Estimate, Point, Positive, Sample, Value

Latency = Literal["ttft", "tpot", "e2e"]


class Slo(Value):
    """Limits of one request in seconds (None: no limit), and the share of requests that must meet all of them."""

    ttft_s: Positive | None = None
    tpot_s: Positive | None = None
    e2e_s: Positive | None = None
    attainment: Annotated[float, Field(gt=0, le=1)] = 0.95

    @property
    def limits(self) -> dict[Latency, float]:
        """The limits that are set, in seconds."""
        raise NotImplementedError

    def met_by(self, request: Sample) -> bool:
        """Whether this served request met every limit at once."""
        raise NotImplementedError


def strictest(slos: Iterable[Slo]) -> Slo:
    """The SLO that meets all of them: the smallest of each limit, the largest attainment. In a shared pool it rules."""
    raise NotImplementedError


def attainment(point: Point, slo: Slo) -> Estimate | None:
    """Share of the point's requests that met the SLO, with its 95 % interval; None without a joint sample."""
    raise NotImplementedError
