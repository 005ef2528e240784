"""GPU seconds per request of any shape, from the capacities of the measured shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hardware_profiles.curve import Curve, Shape
from hardware_profiles.slo import Slo
from planner.capacity import Band, Capacity


@dataclass(frozen=True)
class Coverage:
    """How far a shape lies beyond the measured ones: 1.0 is inside, 2.0 is twice the largest or half the smallest."""

    extrapolated: bool
    factor: float


@dataclass(frozen=True)
class GpuTimeLaw:
    """GPU seconds of one deployment per request, at one SLO."""

    coefficients: tuple[tuple[float, float, float], ...]
    """(a, b, c) in GPU seconds; several where the shapes were too few to tell them apart: the dearest counts."""
    measured: tuple[Capacity, ...]
    error_max: float | None
    """Largest leave-one-shape-out error of `gpu_s`, as a share; None with fewer than four shapes."""
    error_mean: float | None
    reason: str | None
    """Why fewer coefficients were fitted than three, or None."""
    saturated: bool
    percentile_known: bool
    notes: tuple[str, ...]

    def busy_gpu_s(self, shape: Shape) -> float:
        """GPU seconds per request at a steady load (closed loop), before room for random arrivals."""
        raise NotImplementedError

    def gpu_s(self, shape: Shape) -> float | None:
        """GPU seconds per request when requests of this shape alone arrive at random; None: cannot be served."""
        raise NotImplementedError

    def gpu_s_in_mix(self, shapes: Sequence[Shape], requests: Sequence[float]) -> tuple[float, ...] | None:
        """GPU seconds per request of each shape when they share the deployment in these proportions."""
        raise NotImplementedError

    def covers(self, shape: Shape) -> Coverage:
        """Whether the shape lies inside the measured range."""
        raise NotImplementedError


def gpu_time_law(curve: Curve, slo: Slo, band: Band = "mid") -> GpuTimeLaw:
    """Fit the law to the curve's shapes that meet the SLO; `InputError` when none does."""
    raise NotImplementedError
