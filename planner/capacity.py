"""What a deployment can promise: the highest request rate at which the SLO's attainment is met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hardware_profiles.curve import Curve, Kind, Shape
from hardware_profiles.slo import Latency, Slo

Band = Literal["low", "mid", "high"]


@dataclass(frozen=True)
class Rates:
    """Requests per second of the whole deployment at each band; None where the SLO cannot be met."""

    low: float | None
    mid: float | None
    high: float | None


@dataclass(frozen=True)
class Derating:
    """Rate under random arrivals / rate of the closed loop that just met the SLO, and how it is known."""

    factor: float
    method: Literal["measured", "law"]


@dataclass(frozen=True)
class Capacity:
    """The answer, and what it rests on. `rate_per_s` is None when there is none, and `reason` says why."""

    shape: Shape
    band: Band
    rates: Rates
    reason: str | None
    saturated: bool
    """False: the highest measured point still met the SLO, so the rate is a floor."""
    kind: Kind
    evidence: Literal["sample", "measured", "published", "estimated"]
    """`sample`: attainment computed from single requests; otherwise stated numbers were compared with the limits."""
    percentile_known: bool
    """False: the stated number is a median, a mean or unnamed, not the percentile that the attainment asks for."""
    mode: Literal["open", "closed"] | None
    load: float | None
    """Closed loop: requests in flight up to which the limits hold. Open loop: None."""
    residence_s: float | None
    """Mean E2E at that load or rate."""
    closed_rate_per_s: float | None
    """What the closed loop served at `load`; None where it was not measured."""
    derated_by: Derating | None
    limiting: Latency | None
    notes: tuple[str, ...]

    @property
    def rate_per_s(self) -> float | None:
        """Requests per second at the band asked for."""
        raise NotImplementedError


def capacity(curve: Curve, shape: Shape, slo: Slo, band: Band = "mid") -> Capacity:
    """Highest rate (requests/s of the whole deployment) at which `shape`, one of the curve's own, meets the SLO."""
    raise NotImplementedError
