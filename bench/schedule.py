"""Who sends what, and when: one global schedule for a stage, however many workers share it.

Why: a schedule that each worker draws for itself changes with the number of workers, and two rates that draw afresh
differ by luck as well as by rate. So all rows come from one seeded stream; worker w of n takes rows w, w + n, ...; and
open-loop arrivals are drawn at unit rate and divided by the rate (common random numbers: Law, Simulation Modeling and
Analysis, 11.2), so that a higher rate sees the same arrivals, only faster.

Closed loop: `load` users each send, wait for the last byte and send again. Open loop: a row is sent at its scheduled
moment whether or not the server keeps up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from bench.prompts import ShapeLaw, Trace, draw
from hardware_profiles.curve import Positive, Value

_CYCLE = 1 << 14
"""Closed loop: lengths are drawn for this many requests, then begin again (the prompts never do)."""


class Arrivals(Value):
    """The law of the gaps between open-loop arrivals at unit rate (mean 1).

    `poisson`: exponential gaps; `constant`: gaps of one; `gamma`: gamma gaps with coefficient of variation `cv`
    (cv > 1 is bursty); `trace`: the times of a `Trace` shape law, as they stand.
    """

    law: Literal["poisson", "constant", "gamma", "trace"] = "poisson"
    cv: Positive | None = None

    @model_validator(mode="after")
    def _cv_for_gamma_only(self) -> Self:
        if (self.law == "gamma") != (self.cv is not None):
            raise ValueError("`cv` belongs to gamma arrivals, and only to them")
        return self


class Stage(Value):
    """One stretch of load, and when it may stop."""

    name: str
    """Becomes a file name: letters, digits, `-`, `_` and `.` only."""
    mode: Literal["closed", "open"]
    shape: ShapeLaw
    seed: int
    load: Annotated[int, Field(ge=1)] | None = None
    """Closed loop: requests held in flight over all workers."""
    rate_per_s: Positive | None = None
    """Open loop: requests per second over all workers; None with trace arrivals (their own times)."""
    arrivals: Arrivals = Arrivals()
    cached_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the input that is the head of a shared prefix, rounded down to whole blocks."""
    prefixes: Annotated[int, Field(ge=1)] = 4
    """How many shared prefixes there are when `cached_share` > 0."""
    block_tokens: Annotated[int, Field(ge=1)] = 16
    """The server's cache block: only whole blocks are cached (vLLM's default is 16)."""
    cap_s: Positive = 120.0
    """The load stops here at the latest, warm-up included; see `longest_s`."""
    longest_s: Positive | None = None
    """Closed loop: where requests prove longer than expected the load goes on past the cap until the window holds
    enough of them (`bench.length`), at most until here."""
    warm_up_s: Annotated[float, Field(ge=0)] = 5.0
    """Requests sent before this moment never count towards stopping, nor to a window."""
    min_requests: Annotated[int, Field(ge=1)] = 50
    """Served after the warm-up before the stage may stop early."""
    width: Positive | None = 0.05
    """Stop when the 95 % interval's half-width is below this share of the value, for throughput (closed loop)
    and median TPOT; None runs to the cap."""
    stagger_s: Annotated[float, Field(ge=0)] = 1.0
    """Closed loop: user i of n starts at i/n of this: within one E2E, or users march in waves."""
    drain_s: Annotated[float, Field(ge=0)] = 60.0
    """How long requests in flight may finish after the load stopped; what is left then has status `unfinished`."""
    silence_s: Positive = 300.0
    """Where the server sends no byte for so long, to any request of a worker, those in flight have failed."""
    think_s: Annotated[float, Field(ge=0)] = 0.0
    """Closed loop: mean of the exponential pause between a user's answer and its next request."""
    turns: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 1)
    """Closed loop: a conversation has between so many turns, drawn evenly. Each turn's prompt is all that was said
    before, answers included, and as many new tokens as the shape law draws. The answer is decoded when its turn ends,
    some microseconds a token in which other streams' reads wait (the kernel's stamps do not)."""
    most_context: Annotated[int, Field(ge=1)] | None = None
    """A conversation also ends before a prompt and its answer would be longer than this."""

    @model_validator(mode="after")
    def _mode_has_its_load(self) -> Self:
        if (self.mode == "closed") != (self.load is not None):
            raise ValueError("a closed loop, and only it, has `load`")
        traced = self.arrivals.law == "trace"
        if (self.mode == "open" and not traced) != (self.rate_per_s is not None):
            raise ValueError("an open loop, and only it, has `rate_per_s` (trace arrivals bring their own times)")
        if traced and not isinstance(self.shape, Trace):
            raise ValueError("trace arrivals need a trace shape law")
        if self.turns[1] < self.turns[0] or (self.turns[1] > 1 and self.mode == "open"):
            raise ValueError("turns go from few to many, and conversations need a closed loop")
        if not self.name or not all(c.isalnum() or c in "-_." for c in self.name) or self.name.startswith("."):
            raise ValueError("a stage's name has letters, digits, '-', '_' and '.' only")
        if self.longest_s is not None and (self.mode == "open" or self.longest_s < self.cap_s):
            raise ValueError("`longest_s` belongs to a closed loop and is not below the cap")
        if self.warm_up_s >= self.cap_s:
            raise ValueError("the warm-up is as long as the cap")
        return self


def turns(stage: Stage, first: int) -> int:
    """How many turns the conversation has that begins with request `first`."""
    return int(np.random.default_rng([stage.seed, 8, first]).integers(*stage.turns, endpoint=True))


@dataclass(frozen=True, eq=False)
class Plan:
    """Every row of a stage, in order of its number; a closed loop takes them one after another and begins again."""

    at_s: NDArray[np.float64]
    """Open loop: scheduled moments since the stage's zero. Closed loop: zeros."""
    input_tokens: NDArray[np.int64]
    cached_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    prefix: NDArray[np.int64]
    """Which shared prefix the cached tokens are the head of."""

    def __len__(self) -> int:
        """Rows."""
        return len(self.at_s)


def plan(stage: Stage) -> Plan:
    """The one global schedule of a stage; it does not depend on how many workers share it."""
    at_s = np.zeros(_CYCLE) if stage.mode == "closed" else arrivals_s(stage)
    count = len(at_s)
    inputs, outputs = draw(stage.shape, stage.seed, count)
    cached = (inputs * stage.cached_share / stage.block_tokens).astype(np.int64) * stage.block_tokens
    prefix = np.random.default_rng([stage.seed, 4]).integers(0, stage.prefixes, count)
    return Plan(at_s, inputs, cached, outputs, prefix)


def arrivals_s(stage: Stage) -> NDArray[np.float64]:
    """Open-loop moments before the cap: unit-rate arrivals of the seed, divided by the rate."""
    if isinstance(stage.shape, Trace) and stage.arrivals.law == "trace":
        times = np.array([row[0] for row in stage.shape.rows])
        return times[times < stage.cap_s]
    assert stage.rate_per_s is not None
    expected = stage.rate_per_s * stage.cap_s
    count = int(expected + 10 * (stage.arrivals.cv or 1.0) * expected**0.5 + 100)
    times = np.cumsum(_unit_gaps(stage.arrivals, stage.seed, count)) / stage.rate_per_s
    return times[times < stage.cap_s]


def _unit_gaps(arrivals: Arrivals, seed: int, count: int) -> NDArray[np.float64]:
    generator = np.random.default_rng([seed, 5])
    if arrivals.law == "constant":
        return np.ones(count)
    if arrivals.cv is not None:  # gamma: shape 1/cv^2 and scale cv^2 give mean 1 and coefficient of variation cv
        return generator.standard_gamma(arrivals.cv**-2, count) * arrivals.cv**2
    return generator.standard_exponential(count)


def share(rows: int, worker: int, workers: int) -> range:
    """The rows of one worker: w, w + n, w + 2n, ..."""
    return range(worker, rows, workers)
