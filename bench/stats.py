"""Every metric's definition, once, and how sure we are of it: a pure pass over raw records.

Definitions (seconds)
    TTFT = first token's arrival - send                    open loop: from the scheduled moment
    E2E  = last token's arrival - send                     open loop: from the scheduled moment
    TPOT = (E2E - TTFT) / (output tokens - 1)              one per request, none for a single token; reasoning that
                                                           was counted and never streamed is no part of its tokens
    chunk gap = time between two arrivals of tokens on one stream (what some tools call ITL)

How sure each number is: `bench.sure`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.length import LONG_QUANTILE, Mode
from bench.records import Floats, Records
from bench.schedule import Stage
from bench.sure import effective, percentiles, rate, wilson
from hardware_profiles.curve import Estimate, Point, Sample, Shape
from hardware_profiles.slo import SLACK_CAP, Slo


@dataclass(frozen=True)
class Window:
    """The stretch of a stage that counts: [start_s, end_s) since the stage's zero; requests are those SENT in it."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """How long it is."""
        return self.end_s - self.start_s

    @property
    def span_s(self) -> tuple[float, float]:
        """Both ends."""
        return self.start_s, self.end_s


@dataclass(frozen=True)
class Attainment:
    """Share of requests that met every limit, with a 95 % interval and its verdict against the target."""

    share: float
    low: float
    high: float
    requests: int
    effective_requests: float
    outcome: Literal["pass", "fail", "undecided"]


# metrics of one request -------------------------------------------------------------------------------------------


def ttft_s(records: Records, *, scheduled: bool = False) -> Floats:
    """TTFT per row; NaN where no token came."""
    return np.maximum(records.first_token_s - _begin_s(records, scheduled), 0.0)


def e2e_s(records: Records, *, scheduled: bool = False) -> Floats:
    """E2E per row; NaN where no token came."""
    return np.maximum(records.last_token_s - _begin_s(records, scheduled), 0.0)


def tpot_s(records: Records) -> Floats:
    """TPOT per row; NaN for a single token, and where the number of tokens is unknown."""
    streamed = records.output_tokens - _hidden_tokens(records)
    more = np.where(streamed > 1, streamed - 1, 1)
    known = streamed > 1
    return np.where(known, np.maximum(records.last_token_s - records.first_token_s, 0.0) / more, math.nan)


def _hidden_tokens(records: Records) -> NDArray[np.int64]:
    """Reasoning tokens that `usage` counts and nobody saw: what came first was visible already."""
    unseen = records.first_visible_s <= records.first_token_s
    return np.where(unseen, np.maximum(records.reasoning_tokens, 0), 0)


def chunk_gaps_s(records: Records) -> Floats:
    """All gaps between consecutive token-carrying chunks of served requests."""
    served = records.select(records.ok)
    gaps = np.diff(served.chunk_s)
    between = served.chunk_from[1:-1] - 1  # from the last chunk of a row to the first of the next
    inside = np.ones(len(gaps), dtype=bool)
    inside[between[(between >= 0) & (between < len(gaps))]] = False
    return np.maximum(gaps[inside], 0.0)


def _counted(records: Records) -> NDArray[np.bool_]:
    """Rows whose output tokens the server counted in `usage`."""
    counted: NDArray[np.bool_] = records.output_tokens > 0
    return counted


def _begin_s(records: Records, scheduled: bool) -> Floats:
    return records.scheduled_s if scheduled else records.sent_s


def expected_e2e_s(records: Records, stage: Stage) -> float | None:
    """What nearly all requests of the stage's shape would take at the pace of these few; None where none was served."""
    from bench.schedule import plan

    served = records.select(records.ok)
    first_s, steps_s = ttft_s(served), tpot_s(served)
    if not len(served):
        return None
    steps = float(np.quantile(plan(stage).output_tokens, LONG_QUANTILE)) - 1
    step_s = 0.0 if np.isnan(steps_s).all() else float(np.nanmedian(steps_s))
    return float(np.median(first_s)) + steps * step_s


# windows ------------------------------------------------------------------------------------------------------------


def in_window(records: Records, window: Window) -> Records:
    """Rows sent (or, never sent, scheduled) inside the window."""
    at = np.where(np.isnan(records.sent_s), records.scheduled_s, records.sent_s)
    return records.select((at >= window.start_s) & (at < window.end_s))


def in_flight(records: Records, times_s: Floats) -> Floats:
    """Requests sent and not yet ended at each moment."""
    sent = np.sort(records.sent_s[~np.isnan(records.sent_s)])
    ended = np.sort(records.end_s[~np.isnan(records.sent_s)])
    inside = np.searchsorted(sent, times_s, "right") - np.searchsorted(ended, times_s, "right")
    return inside.astype(np.float64)


def flow_per_s(records: Records, window: Window) -> tuple[float, float]:
    """(requests sent, requests ended) per second inside the window: alike when nothing piles up."""
    sent = np.count_nonzero((records.sent_s >= window.start_s) & (records.sent_s < window.end_s))
    left = records.end_s[~np.isnan(records.sent_s)]
    ended = np.count_nonzero((left >= window.start_s) & (left < window.end_s))
    return sent / window.length_s, ended / window.length_s


# a window's numbers -------------------------------------------------------------------------------------------------


def batch_s(records: Records, mode: Mode) -> float:
    """Shortest batch of a rate: five median E2E times; one in a closed loop, whose number in flight cannot wander."""
    served = records.select(records.ok)
    typical = float(np.median(e2e_s(served))) if len(served) else math.inf
    return typical * (5 if mode == "open" else 1)


def throughput_per_s(records: Records, window: Window, *, mode: Mode = "closed") -> Estimate:
    """Requests served in the window, per second; each counts by the share of its tokens that arrived there.

    Whole requests would count at their ends only, and where they are long the ends of users in step lie inside the
    window or just outside it by luck: a sixth to a half off (tests/test_length.py).
    """
    served = records.select(records.ok)
    lengths = np.diff(served.chunk_from)
    weights = np.repeat(1 / np.maximum(lengths, 1), lengths)
    return rate(served.chunk_s, weights, window.span_s, batch_s(records, mode))


def output_tokens_per_s(records: Records, window: Window, *, mode: Mode = "closed") -> Estimate:
    """Output tokens that arrived in the window, per second; a row's tokens are spread evenly over its chunks."""
    served = records.select(records.ok & (records.output_tokens > 0))
    lengths = np.diff(served.chunk_from)
    weights = np.repeat(served.output_tokens / np.maximum(lengths, 1), lengths)
    return rate(served.chunk_s, weights, window.span_s, batch_s(records, mode))


def input_tokens_per_s(records: Records, window: Window, *, mode: Mode = "closed") -> Estimate:
    """Input tokens of the requests whose first token arrived in the window, per second."""
    served = records.select(records.ok & (records.input_tokens > 0))
    return rate(served.first_token_s, served.input_tokens.astype(np.float64), window.span_s, batch_s(records, mode))


def met(records: Records, slo: Slo, *, scheduled: bool) -> NDArray[np.bool_]:
    """Rows that were served within every limit."""
    good = records.ok
    for limit, values in _limited(records, slo, scheduled):
        good = good & ~(values > limit)  # NaN, the TPOT of a single token, breaks no limit
    return good


def _limited(records: Records, slo: Slo, scheduled: bool) -> list[tuple[float, Floats]]:
    """(limit, latencies) of each limit; a TPOT that is not known because nobody counted the tokens is a miss."""
    tpot = np.where(records.ok & ~_counted(records), math.inf, tpot_s(records))
    pairs = (
        (slo.ttft_s, ttft_s(records, scheduled=scheduled)),
        (slo.tpot_s, tpot),
        (slo.e2e_s, e2e_s(records, scheduled=scheduled)),
    )
    return [(limit, values) for limit, values in pairs if limit is not None]


def attainment(records: Records, window: Window, slo: Slo, *, scheduled: bool) -> Attainment:
    """Joint attainment of the requests sent in the window; failures are misses.

    How many independent requests they are worth is taken from whichever wanders most of the request's time in units of
    its limits and the latencies that are limited: the indicator itself shows too little while misses are rare, and it
    wanders no more than what it is the threshold of.
    """
    rows = in_window(records, window)
    n = len(rows)
    if not n:
        return Attainment(math.nan, 0.0, 1.0, 0, 0.0, "undecided")
    share = float(met(rows, slo, scheduled=scheduled).mean())
    slack = np.where(rows.ok, 0.0, SLACK_CAP)
    for limit, values in _limited(rows, slo, scheduled):
        slack = np.fmax(slack, np.minimum(values / limit, SLACK_CAP))
    series = [slack]  # the spread of the lengths hides the queue in E2E: TTFT and TPOT show it
    if slo.ttft_s or slo.e2e_s:
        series.append(ttft_s(rows, scheduled=scheduled))
    if slo.tpot_s or slo.e2e_s:
        series.append(tpot_s(rows))
    n_eff = min(effective(one[~np.isnan(one)], n) for one in series)
    return _judged(share, n, n_eff, slo.attainment)


def pooled_attainment(runs: Sequence[Attainment], target: float) -> Attainment:
    """Attainment over independent runs (other seeds) of the same rate."""
    seen = [run for run in runs if run.requests]
    n = sum(run.requests for run in seen)
    if not n:
        return Attainment(math.nan, 0.0, 1.0, 0, 0.0, "undecided")
    share = sum(run.share * run.requests for run in seen) / n
    return _judged(share, n, sum(run.effective_requests for run in seen), target)


def _judged(share: float, requests: int, n_eff: float, target: float) -> Attainment:
    low, high = wilson(share, n_eff)
    outcome: Literal["pass", "fail", "undecided"] = "undecided"
    if low >= target:
        outcome = "pass"
    elif high < target:
        outcome = "fail"
    return Attainment(share, low, high, requests, n_eff, outcome)


def joint_sample(records: Records, *, limit: int = 500, seed: int = 0, scheduled: bool = False) -> tuple[Sample, ...]:
    """(TTFT, TPOT, E2E) of served requests in order of sending, thinned at random to `limit`.

    Requests whose tokens nobody counted are left out: a reader takes a missing TPOT for a single token's.
    """
    served = records.select(records.ok & _counted(records))
    if len(served) > limit:
        served = served.select(np.sort(np.random.default_rng([seed, 6]).choice(len(served), limit, replace=False)))
    columns = ttft_s(served, scheduled=scheduled), tpot_s(served), e2e_s(served, scheduled=scheduled)
    return tuple(
        Sample(ttft_s=float(first), tpot_s=None if math.isnan(step) else float(step), e2e_s=float(whole))
        for first, step, whole in zip(*columns, strict=True)
    )


def window_point(records: Records, window: Window, stage: Stage, *, seed: int = 0) -> Point:
    """The point of a stage, without what only the server or the driver knows (KV use, power, checks)."""
    rows = in_window(records, window)
    served = rows.select(rows.ok)
    scheduled = stage.mode == "open"
    tpot = tpot_s(served)
    sent_rate = stage.rate_per_s or len(rows) / window.length_s
    load: dict[str, Any] = {"offered_rate_per_s": sent_rate} if scheduled else {"load": stage.load}
    output = output_tokens_per_s(records, window, mode=stage.mode)
    bounds = None if output.low is None or output.high is None else (output.low, output.high)
    return Point(
        shape=_shape(served if len(served) else rows, stage),
        mode=stage.mode,
        **load,
        throughput_per_s=throughput_per_s(records, window, mode=stage.mode).value,
        output_tokens_per_s=output.value,
        output_tokens_per_s_interval=bounds,
        input_tokens_per_s=input_tokens_per_s(records, window, mode=stage.mode).value,
        ttft_s=percentiles(ttft_s(served, scheduled=scheduled)),
        tpot_s=percentiles(tpot),
        e2e_s=percentiles(e2e_s(served, scheduled=scheduled)),
        chunk_gap_s=percentiles(chunk_gaps_s(rows), n_eff=effective(tpot[~np.isnan(tpot)])),
        sample=joint_sample(rows, seed=seed, scheduled=scheduled),
        completed=len(served),
        failed=len(rows) - len(served),
        errors=dict(sorted(Counter(rows.status[~rows.ok].tolist()).items())),
        duration_s=window.length_s,
    )


def _shape(rows: Records, stage: Stage) -> Shape:
    """Mean tokens as the server counted them, as asked where it did not say; cached only what it says it found."""
    if not len(rows):
        from bench.schedule import plan

        asked = plan(stage)
        columns = asked.input_tokens, np.zeros(1), asked.output_tokens
    else:
        columns = (
            np.where(rows.input_tokens > 0, rows.input_tokens, rows.asked_input),
            np.maximum(rows.cached_tokens, 0),
            np.where(rows.output_tokens > 0, rows.output_tokens, rows.asked_output),
        )
    inputs, cached, outputs = (float(column.mean()) for column in columns)
    return Shape(input_tokens=inputs, cached_tokens=min(cached, inputs), output_tokens=outputs)
