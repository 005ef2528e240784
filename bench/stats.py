"""Every metric's definition, once, and how sure we are of it: a pure pass over raw records.

Definitions (DESIGN 1; seconds)
    TTFT = first token's arrival - send (open loop: also from the scheduled moment)
    E2E  = last token's arrival - send
    TPOT = (E2E - TTFT) / (output tokens - 1); None for a single token
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.records import Floats, Records
from bench.schedule import Stage
from hardware_profiles.curve import Estimate, Point, Positive, Sample, Statistic, Value

QUANTILES: dict[Statistic, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


class Slo(Value):
    """Limits of one request, and the share of requests that must meet all of them at once."""

    ttft_s: Positive | None = None
    tpot_s: Positive | None = None
    e2e_s: Positive | None = None
    attainment: float = 0.95


@dataclass(frozen=True)
class Window:
    """The stretch of a stage that counts: [start_s, end_s) since the stage's zero; requests are those SENT in it."""

    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """How long it is."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Stationarity:
    """Whether the window is steady; `stationary` is None when it is too short to tell."""

    stationary: bool | None
    z: float | None
    reason: str


@dataclass(frozen=True)
class Attainment:
    """Share of requests that met every limit, with a 95 % interval and its verdict against the target."""

    share: float
    low: float
    high: float
    requests: int
    effective_requests: float
    outcome: Literal["pass", "fail", "undecided"]


def ttft_s(records: Records, *, scheduled: bool = False) -> Floats:
    """TTFT per row; NaN where no token came."""
    raise NotImplementedError


def e2e_s(records: Records, *, scheduled: bool = False) -> Floats:
    """E2E per row; NaN where no token came."""
    raise NotImplementedError


def tpot_s(records: Records) -> Floats:
    """TPOT per row; NaN for a single token."""
    raise NotImplementedError


def chunk_gaps_s(records: Records) -> Floats:
    """All gaps between consecutive token-carrying chunks of served requests."""
    raise NotImplementedError


def stage_window(records: Records, stage: Stage, load_s: float) -> Window:
    """From the warm-up's end (at the earliest when every user has been answered once) to the load's stop, tail cut."""
    raise NotImplementedError


def in_window(records: Records, window: Window) -> Records:
    """Rows sent (or, never sent, scheduled) inside the window."""
    raise NotImplementedError


def in_flight(records: Records, times_s: Floats) -> Floats:
    """Requests sent and not yet ended at each moment."""
    raise NotImplementedError


def stationarity(records: Records, window: Window) -> Stationarity:
    """Is the number in flight steady through the window?"""
    raise NotImplementedError


def throughput_per_s(records: Records, window: Window) -> Estimate:
    """Requests served (ended ok) in the window, per second."""
    raise NotImplementedError


def output_tokens_per_s(records: Records, window: Window) -> Estimate:
    """Output tokens that arrived in the window, per second."""
    raise NotImplementedError


def percentiles(values: Floats, order_s: Floats, block_s: float, *, seed: int = 0) -> dict[Statistic, Estimate]:
    """Mean and percentiles with 95 % intervals that respect autocorrelation."""
    raise NotImplementedError


def attainment(records: Records, window: Window, slo: Slo, *, scheduled: bool) -> Attainment:
    """Joint attainment; failures are misses; open loop counts TTFT and E2E from the scheduled moment."""
    raise NotImplementedError


def pooled_attainment(runs: Sequence[Attainment], target: float) -> Attainment:
    """Attainment over independent runs (other seeds) of the same rate."""
    raise NotImplementedError


def joint_sample(records: Records, *, limit: int = 500, seed: int = 0, scheduled: bool = False) -> tuple[Sample, ...]:
    """(TTFT, TPOT, E2E) of served requests, thinned evenly at random."""
    raise NotImplementedError


def window_point(records: Records, window: Window, stage: Stage, *, seed: int = 0) -> Point:
    """The point of a stage, without what only the server or the driver knows (KV use, power, checks)."""
    raise NotImplementedError
