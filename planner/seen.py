"""A chosen curve as the plan used it: each measured shape's points, and the knee that the SLO makes."""

from __future__ import annotations

from hardware_profiles.curve import Point
from hardware_profiles.slo import Slo
from planner.capacity import Capacity, same_shape
from planner.deployments import CaseDeployment
from planner.plan import SeenPoint, SeenShape
from planner.strain import Band, strain


def seen_shapes(info: CaseDeployment) -> tuple[SeenShape, ...]:
    """Every measured shape of the deployment's curve, those that miss the SLO included."""
    return tuple(_shape(info, capacity) for capacity in (*info.law.measured, *info.law.unmet))


def _shape(info: CaseDeployment, capacity: Capacity) -> SeenShape:
    mode = capacity.mode
    points = [
        point
        for point in info.curve.usable_points
        if same_shape(point.shape, capacity.shape) and mode in (None, point.mode)
    ]
    return SeenShape(
        input_tokens=capacity.shape.input_tokens,
        cached_tokens=capacity.shape.cached_tokens,
        output_tokens=capacity.shape.output_tokens,
        mode=mode,
        points=tuple(sorted((_point(point, info.slo, capacity.band) for point in points), key=lambda each: each.level)),
        capacity_per_s=capacity.rate_per_s,
        capacity_low_per_s=capacity.rates.low,
        capacity_high_per_s=capacity.rates.high,
        knee=capacity.load if mode == "closed" else capacity.rate_per_s,
        saturated=capacity.saturated,
    )


def _point(point: Point, slo: Slo, band: Band) -> SeenPoint:
    seen = strain(point, slo, band)
    return SeenPoint(
        throughput_per_s=point.throughput_per_s,
        level=point.load or point.offered_rate_per_s or 0.0,
        attained=None if seen is None else seen.value <= 1,
    )
