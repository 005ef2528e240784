"""Verdicts on the client: were its processor, its punctuality and its clock good enough for what the point says?

Why: a client at its own limit measures itself. Tolerances as in `judge.py`.
"""

from __future__ import annotations

import numpy as np

from bench import stats
from bench.evidence import Evidence, unknown, verdict_of, within
from bench.selfcheck import Ceiling, how_measured
from hardware_profiles.curve import Check

LAG_S, LAG_SHARE = 0.010, 0.05
"""How late the client sent: p99, against 10 ms or 5 % of the median TTFT."""
BUSY_SHARE = 0.9
CLOCK_STEP_S = 0.001
"""Latencies are differences on the system's clock. It is slewed, not stepped, while time is kept well."""


def client_ceiling(evidence: Evidence) -> Check:
    """The client was measured against a known truth (`bench selfcheck`): this point must lie below what it can do."""
    ceiling = evidence.ceiling
    if ceiling is None:
        return unknown("client_ceiling", "this machine's client ceiling is not known: run `bench selfcheck`")
    if unlike := _unlike(evidence, ceiling):
        return unknown("client_ceiling", unlike)
    if not ceiling.streams:
        told = f"this client held no load within {ceiling.error_s * 1e3:g} ms when `bench selfcheck` tried"
        late = f"{told}, and its server fell behind too: run it again on a quiet machine"
        return unknown("client_ceiling", late) if ceiling.capped else verdict_of("client_ceiling", False, told)
    inside = (evidence.records.chunk_s >= evidence.window.start_s) & (evidence.records.chunk_s < evidence.window.end_s)
    events_per_s = float(inside.sum()) / evidence.window.length_s
    streams = _most_in_flight(evidence)
    share = max(events_per_s / ceiling.events_per_s, streams / ceiling.streams)
    told = (
        f"{streams} streams and {events_per_s:.0f} events/s; within {ceiling.error_s * 1e3:g} ms the client holds "
        f"{ceiling.streams} streams and {ceiling.events_per_s:.0f} events/s"
    )
    if share > 1 and ceiling.capped:
        return unknown("client_ceiling", f"{told} at least: more was not tried")
    return within("client_ceiling", share, 1.0, told)


def _unlike(evidence: Evidence, ceiling: Ceiling) -> str | None:
    """Why a ceiling says nothing about this stage's client; None where it does."""
    ours = how_measured(evidence.client)
    if ours != ceiling.wire:
        return f"measured with {ours}, the ceiling with {ceiling.wire}: unlike clients"
    if evidence.stage.turns[1] > 1:
        return "a conversation is decoded while it goes on; the ceiling's client decodes after"
    return None


def client_busy(evidence: Evidence) -> Check:
    """A worker process that has no processor time left is late with everything it does."""
    share = evidence.client.get("cpu_share")
    if not isinstance(share, int | float):
        return unknown("client_busy", "the client's processor share was not measured")
    return within("client_busy", float(share), BUSY_SHARE, f"the busiest client process used {share:.0%} of a core")


def client_lag(evidence: Evidence) -> Check:
    """Requests left when they were due: the offered load was the one that was asked for."""
    rows = evidence.windowed
    lag = rows.sent_s - rows.scheduled_s
    lag = lag[~np.isnan(lag)]
    if not len(lag):
        return unknown("client_lag", "no request was sent in the window")
    ttft = stats.ttft_s(rows)
    median = float(np.nanmedian(ttft)) if not np.isnan(ttft).all() else 0.0
    p99 = float(np.quantile(np.abs(lag), 0.99))
    return within("client_lag", p99, max(LAG_S, LAG_SHARE * median), f"99 % were sent within {p99 * 1e3:.1f} ms")


def clock(evidence: Evidence) -> Check:
    """The clock that stamps everything did not step, and workers elsewhere set theirs to it."""
    step_s, apart_s = evidence.client.get("clock_step_s"), evidence.client.get("clock_error_s")
    if not isinstance(step_s, int | float):
        return unknown("clock", "the client's clock was not watched")
    told, worst = f"the client's clock stepped by {step_s * 1e3:+.1f} ms", abs(step_s) / CLOCK_STEP_S
    if isinstance(apart_s, int | float):
        told += f", workers' clocks agree within {apart_s * 1e3:.1f} ms"
        worst = max(worst, apart_s / LAG_S)
    early = int((evidence.records.first_token_s < evidence.records.sent_s - CLOCK_STEP_S).sum())
    if early:
        return verdict_of("clock", False, f"{told}; {early} requests have a first token from before they were sent")
    return within("clock", worst, 1.0, told)


def _most_in_flight(evidence: Evidence) -> int:
    sent = evidence.records.sent_s
    inside = sent[(sent >= evidence.window.start_s) & (sent < evidence.window.end_s)]
    return int(stats.in_flight(evidence.records, inside).max(initial=0))
