"""How long a stage must be: it follows from how long its requests take, and nothing else tells it.

Why: a stage of two minutes holds hundreds of requests of a second and not one of 8192 tokens on a GPU. Where the stage
is shorter than what it measures, users march in waves past the window's edges, an open loop still fills while it is
judged, and nothing can be told to be steady. So lengths are counted in E2E times, and E2E is taken from what was
measured before.

A stage in E2E times (the 90th percentile of the stage before, so that most of a mixed shape has passed)
    closed loop   1 to start the users one after another, 5 that count, 1 in which the last of them end: 7
    open loop     2 until as many leave as arrive, 10 that count (the number in flight wanders), 1 at the end: 13
and a quarter more, because the stage before is not this one. This is a floor of the cap: a stage still ends as soon as
it is known well enough, and short requests leave the cap at `Pace.stage_s`.

Which E2E to expect
    first level      that of one round alone: as many requests as the level holds, once (`sweep.probe`)
    next level       on the line through the last two levels (E2E is about a + b load), never below the last and never
                     above its multiple by the loads' ratio: no server does worse than to take the requests in turns;
                     after a single level the geometric mean of these two bounds
    open-loop rate   on the line between the levels whose throughputs enclose the rate
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from bench.records import Floats
from hardware_profiles.curve import NonNegative, Positive, Value

Mode = Literal["closed", "open"]
RAMP_E2E: dict[Mode, int] = {"closed": 1, "open": 2}
"""E2E times before a stage is as full as it gets."""
FEWEST_E2E: dict[Mode, int] = {"closed": 5, "open": 10}
"""A window of fewer E2E times than this cannot be told to be steady."""
TAIL_E2E = 1
SPARE = 1.25
"""A quarter more than the least."""
Times = dict[str, Any]
"""Fields of a `Stage`."""
LONG_QUANTILE = 0.9
STAGE_S = 120.0
STAGGER_S, LONGEST_DRAIN_S = 1.0, 1800.0
"""Where no E2E is known: a request that is merely long must not be called failed."""
SILENCE_S, SLOW_PREFILL_PER_S = 300.0, 100.0
"""A server speaks when it has read one prompt, whoever else waits. 100 tokens/s are slower than a model of 8e9
parameters on sixteen cores of a CPU: 1k tokens may take five minutes, 128k 27."""


class Pace(Value):
    """How long stages are, and how precise."""

    stage_s: Positive | None = None
    """A stage's load stops here at the latest, warm-up included; None: after 120 s, or when its requests had the time
    that is told above. A stated one is kept even where that is too short to tell anything, and then it is said."""
    warm_up_s: NonNegative = 10.0
    """At least; more where requests are long."""
    width: Positive | None = 0.05
    """A stage stops when throughput and median TPOT are known within this share; None: always to its cap."""
    min_requests: Annotated[int, Field(ge=1)] = 50
    drain_s: NonNegative = 120.0
    """At least; twice the E2E to expect where that is longer, half an hour where nothing is known of it."""
    rate_requests: Annotated[int, Field(ge=1)] = 1000
    """Open loop: served before a stage may end early. 95 % cannot be told from less with fewer than 73 independent
    requests (Wilson's lower bound of 100 %), and neighbouring requests are not independent: with 400 a search on a
    simulated queue finds 0.74 to 1.0 of the true rate, with 1000 0.80 to 1.0, with 3000 0.84 to 1.0 (the median 0.86,
    0.91 and 0.93)."""

    rate_stages: Annotated[int, Field(ge=1)] = 16
    """Open-loop stages of one shape's search, at most."""

    silence_s: Positive | None = None
    """A server that sends nobody a byte for so long does not answer; None: as `silent_s` says."""

    def silent_s(self, input_tokens: int, e2e_s: float | None) -> float:
        """How long a server may say nothing: what is stated, else five minutes and the longest prompt's slowest
        reading; where E2E is known, twice the longest.

        >>> Pace().silent_s(1024, None), Pace().silent_s(1024, 400.0), Pace(silence_s=20).silent_s(1024, 400.0)
        (311, 800, 20.0)
        """
        if self.silence_s is not None:
            return self.silence_s
        return math.ceil(max(SILENCE_S + input_tokens / SLOW_PREFILL_PER_S, 2 * (e2e_s or 0.0)))

    def closed(self, e2e_s: float | None, most_e2e_s: float | None, *, pause_s: float = 0, turns: float = 1) -> Times:
        """A closed-loop stage's times: the E2E to expect, the longest possible, a user's mean pause and its turns.

        A user's round is E2E and pause, a conversation's as many of them as it has turns; the users start within one.
        """
        stop_s = self.stage_s or STAGE_S
        if e2e_s is None:
            drain_s = max(self.drain_s, LONGEST_DRAIN_S)
            return {"cap_s": stop_s, "warm_up_s": self.warm_up_s, "stagger_s": STAGGER_S, "drain_s": drain_s}
        most_s = most_e2e_s or e2e_s
        round_s = (e2e_s + pause_s) * turns
        warm_up_s = max(self.warm_up_s, round_s)
        longest_s = None
        if self.stage_s is None:
            stop_s = max(stop_s, SPARE * least_load_s("closed", warm_up_s, e2e_s))
            longest_s = max(stop_s, SPARE * least_load_s("closed", warm_up_s, most_s))
        return {
            "cap_s": stop_s,
            "longest_s": longest_s,
            "warm_up_s": min(warm_up_s, max(self.warm_up_s, stop_s / 2)),
            "stagger_s": min(round_s, stop_s / 2),
            "drain_s": max(self.drain_s, 2 * most_s),
        }

    def open(self, e2e_s: float | None, rate_per_s: float) -> Times:
        """An open-loop stage's times: as long as its requests take to come at this rate, at most four stages of 120 s,
        and as long as they take to be served."""
        stop_s = self.stage_s or STAGE_S
        expected_s = e2e_s or 0.0
        warm_up_s = max(self.warm_up_s, RAMP_E2E["open"] * expected_s)
        most_s = 4 * stop_s
        stop_s = max(stop_s, min(warm_up_s + 1.2 * self.rate_requests / rate_per_s, most_s))
        if self.stage_s is None:
            stop_s = max(stop_s, SPARE * least_load_s("open", warm_up_s, expected_s))
        return {
            "cap_s": stop_s,
            "warm_up_s": min(warm_up_s, max(self.warm_up_s, stop_s / 2)),
            "drain_s": max(self.drain_s, 2 * expected_s),
        }

    def too_short(self, e2e_s: float | None, rate_per_s: float) -> float | None:
        """Open loop: the stage that a stated `stage_s` would have to be where requests still fill the server when
        half of the load is over, so that no rate could be told from another; None where it is long enough."""
        if (
            e2e_s is None
            or self.stage_s is None
            or self.open(e2e_s, rate_per_s)["cap_s"] >= 2 * RAMP_E2E["open"] * e2e_s
        ):
            return None
        return SPARE * least_load_s("open", self.warm_up_s, e2e_s)

    @model_validator(mode="after")
    def _load_after_the_warm_up(self) -> Self:
        if self.warm_up_s >= (self.stage_s or STAGE_S):
            raise ValueError("the warm-up is as long as the stage")
        return self


def longest_e2e_s(levels: Sequence[tuple[int, float]], load: int) -> float | None:
    """The longest E2E that `load` can have after these levels of (load, E2E in s); None without any."""
    return levels[-1][1] * max(1.0, load / levels[-1][0]) if levels else None


def long_e2e_s(e2e_s: Floats) -> float | None:
    """What nearly all requests need; None where none was served."""
    known = e2e_s[~np.isnan(e2e_s)]
    return float(np.quantile(known, LONG_QUANTILE)) if len(known) else None


def least_load_s(mode: Mode, warm_up_s: float, e2e_s: float) -> float:
    """The shortest load whose window can be told to be steady.

    >>> least_load_s("closed", 10, 0.5), least_load_s("closed", 10, 40), least_load_s("open", 10, 40)
    (13.0, 280, 520)
    """
    return max(warm_up_s, RAMP_E2E[mode] * e2e_s) + (FEWEST_E2E[mode] + TAIL_E2E) * e2e_s


def at_load(levels: Sequence[tuple[int, float]], load: int) -> float | None:
    """E2E to expect at `load` after these levels of (load, E2E in s) in rising order; None without any.

    >>> at_load([(1, 10.0)], 4), at_load([(1, 10.0), (2, 11.0)], 4), at_load([(1, 10.0), (2, 30.0)], 4)
    (20.0, 13.0, 60.0)
    """
    if not levels:
        return None
    last, e2e_s = levels[-1]
    ratio = max(1.0, load / last)
    if len(levels) == 1:
        return e2e_s * float(ratio**0.5)
    before, shorter_s = levels[-2]
    line_s = e2e_s + (e2e_s - shorter_s) * (load - last) / max(1, last - before)
    return min(max(line_s, e2e_s), e2e_s * ratio)


def at_rate(levels: Sequence[tuple[float, float]], rate_per_s: float) -> float | None:
    """E2E to expect at an open-loop rate, from levels of (throughput per second, E2E in s); None without any.

    >>> at_rate([(1.0, 10.0), (1.9, 12.0), (2.1, 20.0)], 2.0)
    16.0
    """
    if not levels:
        return None
    throughputs, e2e_s = np.array(sorted(levels)).T
    return round(float(np.interp(rate_per_s, throughputs, np.maximum.accumulate(e2e_s))), 9)
