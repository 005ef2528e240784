"""What held a point back: the KV cache, the queue, the GPU's power, its compute, or our own client.

Why: "saturated" does not say what to buy. How: the client is named when a check on it failed; then requests waiting at
the server are put down to the KV cache when it is full or preempts, to the queue (the server's own limit on requests)
otherwise; a GPU that gives no more throughput for more load is held by its power cap when the driver says so in a fifth
of its readings, else by compute.
"""

from __future__ import annotations

from typing import Literal

from bench.evidence import Evidence, moved
from bench.gpu import POWER_REASONS
from hardware_profiles.curve import Check

Bottleneck = Literal["kv_cache", "compute", "queue", "client", "power", "unknown"]
KV_FULL = 0.95
QUEUE_SHARE = 0.05
POWER_SHARE = 0.20
"""A cap that slows the GPU shows in many readings; a moment at it in one or two."""
CLIENT_CHECKS = frozenset({"client_ceiling", "client_busy", "client_lag"})
UNFAIR_CHECKS = CLIENT_CHECKS | {"clock"}
"""What fails one of these shows the client or its clock, and not the server."""


def queueing(evidence: Evidence) -> float | None:
    """Mean share of the requests at the server that wait to be scheduled; None without pages."""
    pages = [page for page in evidence.pages if page.running is not None and page.waiting is not None]
    at_server = sum((page.running or 0) + (page.waiting or 0) for page in pages)
    return None if not pages else sum(page.waiting or 0 for page in pages) / max(1.0, at_server)


def kv_cache_use(evidence: Evidence) -> float | None:
    """The largest share of the KV cache in use inside the window."""
    return max((page.kv_cache_use for page in evidence.pages if page.kv_cache_use is not None), default=None)


def bottleneck(evidence: Evidence, checks: tuple[Check, ...], *, saturated: bool) -> Bottleneck | None:
    """What held the point back; None while nothing did (more load still gave more throughput, and nothing waited)."""
    if any(check.verdict == "fail" for check in checks if check.name in CLIENT_CHECKS):
        return "client"
    waiting = queueing(evidence)
    if waiting is not None and waiting > QUEUE_SHARE:
        return "kv_cache" if (kv_cache_use(evidence) or 0) > KV_FULL or _preempted(evidence) else "queue"
    if not saturated:
        return None
    if _power_capped(evidence) >= POWER_SHARE:
        return "power"
    return "unknown" if waiting is None else "compute"


def _power_capped(evidence: Evidence) -> float:
    """Share of the readings in which the driver names the power cap."""
    told = [set(reading.throttled) for reading in evidence.readings if reading.throttled is not None]
    return sum(bool(POWER_REASONS & reasons) for reasons in told) / len(told) if told else 0.0


def _preempted(evidence: Evidence) -> bool:
    before, after = evidence.watch.before, evidence.watch.after
    return bool(before and after and moved(before, after, "preemptions"))
