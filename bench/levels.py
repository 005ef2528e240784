"""Which stage next, and when to stop: pure decisions on the points so far, so that a resumed sweep decides the same.

Closed loop: loads 1, 2, 4, ... doubled until throughput gains less than 5 % (from the fourth level on: a curve of fewer
could not be read between its points), requests queue at the server, fewer than half of the requests meet the SLO (it is
broken beyond repair), or the limit is reached. Stated loads end early for the same reasons. A request that only had no
time to end counts neither as failed nor as a miss: where nothing ended, nothing is known.

Open loop: the highest Poisson rate whose attainment stays at the target. Outcomes are pass, fail and undecided; a rate
that leaves a queue behind has failed whatever its attainment, and so has one that is unsteady in most of at least two
batches: steadiness is judged at 1 %, rates share their seeds, and so one false alarm would else come again at every
rate and end the search at a tenth of the truth. An undecided rate is tried again with another seed, up to three in
all, and then counts as too high (the cautious side). Rates share their seeds, so two rates differ by rate and not by
luck. The search starts at 80 % of the best closed-loop throughput, moves by 25 % until it has a rate that passes and
one that does not, and then halves the gap between them (on the logarithm) until they are within 10 %.

What is then known: the true rate lies between the highest that passed and the lowest that failed. On simulated queues
at the default of 1000 requests a batch the rate that passed is 0.80 to 1.02 of the truth (tests/test_sweep.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

GAIN = 0.05
LEAST_LEVELS = 4
QUEUED = 0.05
BROKEN = 0.5
FIRST_SHARE = 0.8
STEP = 1.25
CLOSE = 1.10
MOST_BATCHES = 3

Outcome = Literal["pass", "fail", "undecided"]


@dataclass(frozen=True)
class Level:
    """One closed-loop stage, as far as stopping goes."""

    load: int
    throughput_per_s: float
    queueing: float | None
    """Share of the requests at the server that wait."""
    met_share: float | None
    """Attainment of the SLO; None where no request was sent in the window: the stage is shorter than one."""
    failed_share: float
    """Share of the requests that failed; one that only had no time to end did not."""


def next_load(levels: Sequence[Level], most: int, stated: Sequence[int] = ()) -> tuple[int | None, str]:
    """The next load, or None and why the levels end there; `stated` loads take the place of doubling up to `most`."""
    last = levels[-1].load if levels else 0
    following = next((load for load in stated if load > last), None) if stated else max(1, last * 2)
    why = _why_stop(levels) if levels else ""
    if why:
        return None, why
    if following is None:
        return None, "the loads asked for were measured"
    return (following, "") if stated or following <= max(1, most) else (None, f"the limit of {most} is reached")


def _why_stop(levels: Sequence[Level]) -> str:
    last = levels[-1]
    at = f"at load {last.load}"
    if last.failed_share > BROKEN:
        return f"{last.failed_share:.0%} of the requests failed {at}"
    if last.queueing is not None and last.queueing > QUEUED:
        return f"{last.queueing:.0%} of the requests wait at the server {at}"
    if not last.throughput_per_s:
        return f"no request had time to end {at}: leave --stage-seconds out, then stages last as long as they need"
    if last.met_share is not None and last.met_share < BROKEN:
        return f"{last.met_share:.0%} of the requests meet the SLO {at}"
    if len(levels) >= LEAST_LEVELS and last.throughput_per_s < levels[-2].throughput_per_s * (1 + GAIN):
        return f"load {last.load} gives less than {GAIN:.0%} more than load {levels[-2].load}"
    return ""


@dataclass(frozen=True)
class Tried:
    """One rate with everything known about it so far: its outcome is over all its batches."""

    rate_per_s: float
    batches: int
    outcome: Outcome


@dataclass(frozen=True)
class NextRate:
    """What to run next, or the end of the search with what was found."""

    rate_per_s: float | None
    batch: int
    passed_per_s: float | None
    not_passed_per_s: float | None
    why: str
    failed_per_s: float | None = None
    """The lowest rate above `passed_per_s` that was shown to be too high; what lies between them is undecided."""


def next_rate(tried: Sequence[Tried], best_closed_per_s: float, most_stages: int) -> NextRate:
    """The next rate and batch, or the result; at most `most_stages` are run."""
    low = max((one.rate_per_s for one in tried if one.outcome == "pass"), default=None)
    high = min((one.rate_per_s for one in tried if one.outcome != "pass" and one.rate_per_s > (low or 0)), default=None)
    failed = min(
        (one.rate_per_s for one in tried if one.outcome == "fail" and one.rate_per_s > (low or 0)), default=None
    )
    if sum(one.batches for one in tried) >= most_stages:
        return NextRate(None, 0, low, high, f"{most_stages} stages were spent", failed)
    for one in tried:
        if one.outcome == "undecided" and one.batches < MOST_BATCHES:
            return NextRate(one.rate_per_s, one.batches, None, None, "")
    if low is not None and high is not None and high / low <= CLOSE:
        return NextRate(None, 0, low, high, f"known within {CLOSE - 1:.0%}", failed)
    if low is not None and high is not None:
        rate = (low * high) ** 0.5
    elif low is not None:
        rate = low * STEP
    elif high is not None:
        rate = high / STEP
    else:
        rate = best_closed_per_s * FIRST_SHARE
    return NextRate(_rounded(rate), 0, low, high, "")


def rate_outcome(attained: Outcome, unsteady: Sequence[bool], *, queue_left: bool) -> Outcome:
    """Of one rate over all its batches: their pooled attainment, which of them were unsteady, a queue left behind."""
    if queue_left or attained == "fail" or (len(unsteady) > 1 and 2 * sum(unsteady) > len(unsteady)):
        return "fail"
    return "undecided" if all(unsteady) else attained


def _rounded(rate: float) -> float:
    """Four digits, so that the rate in a stage's name is the rate."""
    return float(f"{rate:.4g}")
