"""Verdicts on a point: may a planner believe it? Each compares two witnesses and says by how much they differ.

Why: a load generator measures itself as gladly as the server, and nobody sees it in the numbers. How: every check is a
pure function of a stage's evidence; it passes, fails, or is unknown with the reason why. A point that fails is kept
and marked. Tolerances stand here, with what they are for; they hold for a GPU server under a second of latency and for
a small CPU demo alike, where client and server have cores of their own.

Quantities: in flight (requests), latencies (s), shares (0 to 1), tokens. The window is the stretch of the stage that
counts; counters and latency sums of the server are compared over the whole stage, drained at both ends, because only
there both sides saw the very same requests.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench import stats, steady
from bench.evidence import Evidence, moved, primed_before, unknown, verdict_of, within
from bench.judge_cache import prefix_hits
from bench.judge_client import client_busy, client_ceiling, client_lag, clock
from bench.judge_gpu import gpu_energy, gpu_settings, gpu_shared, gpu_throttled
from hardware_profiles.curve import Check

IN_FLIGHT_SHARE, IN_FLIGHT_REQUESTS = 0.20, 1.0
"""A page is answered between two steps of the engine, when some have ended and their followers have not begun: up to
15 % less was seen on two busy cores."""
FRONT_S = 0.050
"""A request may spend this long outside the engine (HTTP, the front end and the way back), where the client counts it
and the page's running and waiting do not. Seen on a busy core that engine and front end share: 28 to 38 ms. TTFT and
E2E may differ by it, however short they are."""
UNSEEN_STEPS = 2
"""vLLM writes running and waiting when an engine step ends. A request that comes while one is under way is on no page
until the next, its own first one, has ended too. A step that reads a prompt is about as long as the TTFT of the
quickest tenth: a quarter of a second for 512 tokens was seen on a processor without bf16."""
BALANCE_SHARE = 0.05
"""Arrivals and departures in the window, beside three standard deviations of a Poisson number in flight at each end."""
TTFT_SHARE, E2E_SHARE = 0.10, 0.05
TPOT_SHARE, TPOT_S = 0.05, 0.001
GENERATION_S = 0.020
"""Client minus server: connection, HTTP and the way back belong to the client's side only."""
ERROR_SHARE = 0.01


def judge(evidence: Evidence) -> tuple[Check, ...]:
    """All verdicts, in a fixed order."""
    return tuple(check(evidence) for check in CHECKS)


def server_alive(evidence: Evidence) -> Check:
    """The server lived through the stage: it answered after it, with counters that go on from before."""
    before, after, death = evidence.watch.before, evidence.watch.after, evidence.watch.server_death
    if death is not None:
        return verdict_of("server_alive", False, death)
    if after is None:
        return unknown("server_alive", evidence.watch.pages_reason or "the server's page was not read")
    if before is not None and (moved(before, after, "requests") or 0.0) < 0:
        return verdict_of("server_alive", False, "the server began anew: its counters fell")
    return verdict_of("server_alive", True, "the server lived through the stage")


def errors(evidence: Evidence) -> Check:
    """Failed requests are misses; more than one in a hundred and the point says little about the served ones."""
    rows = evidence.windowed
    if not len(rows):
        told = "no request was sent in the window, so there is no latency: a longer stage has one (--stage-seconds)"
        return verdict_of("errors", False, told)
    failed = float(1 - rows.ok.mean())
    return within("errors", failed, ERROR_SHARE, f"{failed:.1%} of the window's requests failed")


def in_flight(evidence: Evidence) -> Check:
    """What the client holds open is what the server runs and queues."""
    pages = [(page.unix_s - evidence.zero_unix_s, page) for page in evidence.pages if page.running is not None]
    if not pages:
        return unknown("in_flight", evidence.watch.pages_reason or "no page of the server from inside the window")
    server = float(np.mean([(page.running or 0) + (page.waiting or 0) for _, page in pages]))
    client = float(stats.in_flight(evidence.records, np.array([at_s for at_s, _ in pages])).mean())
    served_per_s = stats.flow_per_s(evidence.records, evidence.window)[1]
    unseen_s = FRONT_S + (UNSEEN_STEPS * _quickest_ttft_s(evidence) if server < client else 0.0)
    tolerance = max(IN_FLIGHT_REQUESTS, IN_FLIGHT_SHARE * client, unseen_s * served_per_s)
    told = f"client {client:.2f}, server {server:.2f} (running + waiting) on average over {len(pages)} pages"
    return within("in_flight", abs(client - server), tolerance, told)


def _quickest_ttft_s(evidence: Evidence) -> float:
    """What a tenth of the window's requests took at most to their first token; 0 where none had one."""
    ttft_s = stats.ttft_s(evidence.windowed)
    known = ttft_s[~np.isnan(ttft_s)]
    return float(np.quantile(known, 0.1)) if len(known) else 0.0


def balance(evidence: Evidence) -> Check:
    """Arrivals equal departures: otherwise a queue grew and the numbers belong to no steady state."""
    start_s, end_s = evidence.window.start_s, evidence.window.end_s
    records = evidence.records
    sent = int(((records.sent_s >= start_s) & (records.sent_s < end_s)).sum())
    ended = int(((records.end_s >= start_s) & (records.end_s < end_s)).sum())
    mean = float(stats.in_flight(records, np.linspace(start_s, end_s, 100)).mean())
    tolerance = max(BALANCE_SHARE * sent, 3 * (2 * mean) ** 0.5)
    return within("balance", abs(sent - ended), tolerance, f"{sent} requests sent and {ended} ended in the window")


def stationary(evidence: Evidence) -> Check:
    """The number in flight neither climbs nor falls through the window."""
    found = steady.stationarity(evidence.records, evidence.window, mode=evidence.stage.mode)
    if found.stationary is None:
        return unknown("stationary", found.reason)
    return Check(
        name="stationary", verdict="pass" if found.stationary else "fail", reason=found.reason, value=_finite(found.z)
    )


def load_law(evidence: Evidence) -> Check:
    """A planner expects Poisson arrivals, or as many in flight as the load says: other laws tell of other loads."""
    stage = evidence.stage
    if stage.mode == "open" and stage.arrivals.law != "poisson":
        return verdict_of("load_law", False, f"{stage.arrivals.law} arrivals: a planner counts on Poisson ones")
    if stage.think_s:
        return verdict_of("load_law", False, f"users think for {stage.think_s:g} s: fewer than the load are in flight")
    return verdict_of("load_law", True, "Poisson arrivals" if stage.mode == "open" else "the load was held")


def server_latency(evidence: Evidence) -> Check:
    """The server's own mean TTFT, TPOT and E2E, over the whole stage, against the client's.

    The server's sums hold the requests that warmed its cache, so the client's must too. Those have one token each, and
    vLLM counts a single token with a TPOT of 0 (`vllm/v1/metrics/stats.py`): it adds to the count and not to the sum.
    """
    before, after = evidence.watch.before, evidence.watch.after
    if before is None or after is None:
        return unknown("server_latency", evidence.watch.pages_reason or "the server's page was not read")
    primed = primed_before(evidence)
    if primed.ttft_s is None or primed.e2e_s is None:
        why = primed.trouble or "they were not timed"
        return unknown("server_latency", f"the requests that warmed the cache are in the server's sums: {why}")
    served = evidence.records.select(evidence.records.ok)
    single = primed.requests + int((served.output_tokens == 1).sum())
    pairs = {
        "TTFT": (stats.ttft_s(served), primed.requests, primed.ttft_s, {0}, TTFT_SHARE, FRONT_S),
        "TPOT": (stats.tpot_s(served), 0, 0.0, {0, single}, TPOT_SHARE, TPOT_S),
        "E2E": (stats.e2e_s(served), primed.requests, primed.e2e_s, {0}, E2E_SHARE, FRONT_S),
    }
    told, worst = [], 0.0
    for name, (per_row, before_zero, before_zero_s, more, share, least_s) in pairs.items():
        values = per_row[~np.isnan(per_row)]
        seen = len(values) + before_zero
        count = moved(before, after, f"{name.lower()}_count")
        total_s = moved(before, after, f"{name.lower()}_sum_s")
        if name == "TPOT" and not seen and count in more:
            continue  # single tokens only
        if count is None or total_s is None or not seen or count - seen not in more:
            return unknown("server_latency", f"the server counted {count} {name}, the client {seen}")
        ours, theirs = (float(values.sum()) + before_zero_s) / seen, total_s / seen
        worst = max(worst, abs(ours - theirs) / max(least_s, share * theirs))
        told.append(f"{name} {ours * 1e3:.2f} ms (server {theirs * 1e3:.2f} ms)")
    return within("server_latency", worst, 1.0, "means: " + ", ".join(told))


def request_timings(evidence: Evidence) -> Check:
    """Request by request: the server's own queue, first-token and generation times against the client's (medians)."""
    rows = evidence.windowed.select(evidence.windowed.ok)
    waited = rows.first_token_s - rows.sent_s - rows.server_queue_s - rows.server_ttft_s
    spoke = rows.last_token_s - rows.first_token_s - rows.server_generation_s
    known = ~np.isnan(waited + spoke)
    if not known.any():
        return unknown("request_timings", "the server tells no timings of single requests")
    outside_s, longer_s = float(np.median(waited[known])), float(np.median(spoke[known]))
    engine_s = float(np.median((rows.server_queue_s + rows.server_ttft_s)[known]))
    generation_s = float(np.median(rows.server_generation_s[known]))
    worst = max(
        abs(outside_s) / max(FRONT_S, TTFT_SHARE * engine_s),
        abs(longer_s) / max(GENERATION_S, TPOT_SHARE * generation_s),
    )
    told = f"TTFT {outside_s * 1e3:+.2f} ms, generation {longer_s * 1e3:+.2f} ms of {generation_s * 1e3:.1f} ms"
    return within("request_timings", worst, 1.0, f"client minus server over {known.sum()} requests: {told}")


def tokens(evidence: Evidence) -> Check:
    """Tokens that the server counted are the tokens of `usage`, exactly; without `usage` shape and TPOT are unknown."""
    rows = evidence.records
    uncounted = int((rows.ok & ((rows.input_tokens < 0) | (rows.output_tokens < 0))).sum())
    if uncounted:
        told = f"{uncounted} of {int(rows.ok.sum())} served requests came without `usage`: their tokens are not known"
        return verdict_of("tokens", False, told)
    before, after = evidence.watch.before, evidence.watch.after
    if before is None or after is None:
        return unknown("tokens", evidence.watch.pages_reason or "the server's page was not read")
    if not rows.ok.all():
        return unknown("tokens", "failed requests have tokens that only the server counted")
    counted_in, counted_out = moved(before, after, "input_tokens"), moved(before, after, "output_tokens")
    if counted_in is None or counted_out is None:
        return unknown("tokens", "the server did not count them")
    primed = primed_before(evidence)
    ours_in = int(rows.input_tokens.sum()) + primed.input_tokens
    ours_out = int(rows.output_tokens.sum()) + primed.requests
    told = f"input {ours_in} (server {counted_in:.0f}), output {ours_out} (server {counted_out:.0f})"
    return within("tokens", abs(ours_in - counted_in) + abs(ours_out - counted_out), 0.0, told)


def drained(evidence: Evidence) -> Check:
    """What was sent was answered: no queue was left behind when the stage ended."""
    left = int((evidence.records.status == "unfinished").sum())
    after = evidence.watch.after
    if after is None and not left:
        reason = evidence.watch.pages_reason or "the server's page was not read"
        return unknown("drained", f"none unanswered; whether the server still works is not known: {reason}")
    server = int((after.running or 0) + (after.waiting or 0)) if after else 0
    return within("drained", left + server, 0.0, f"{left} unanswered, {server} left on the server")


CHECKS: tuple[Callable[[Evidence], Check], ...] = (
    server_alive,
    errors,
    client_ceiling,
    client_busy,
    client_lag,
    clock,
    in_flight,
    balance,
    stationary,
    load_law,
    server_latency,
    request_timings,
    tokens,
    prefix_hits,
    drained,
    gpu_throttled,
    gpu_shared,
    gpu_settings,
    gpu_energy,
)


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None
