"""A workload's fixed shape classes, and each hour's demand as requests per class."""

from __future__ import annotations

from dataclasses import dataclass

from hardware_profiles.curve import Shape
from planner.forecast import FloatArray, Forecast


@dataclass(frozen=True)
class Residual:
    """What the classes cannot say exactly: sums over all hours of absolute differences; 0 when all hours are inside."""

    hours: int
    input_tokens: float
    cached_tokens: float
    output_tokens: float


@dataclass(frozen=True, eq=False)
class ShapeClasses:
    """`demand[t] @ shapes` gives back hour t's requests, input, cached and output tokens."""

    workload: str
    classes: tuple[Shape, ...]
    """1 to 4, fixed for all hours."""
    demand: FloatArray
    """[T, K] requests per hour, never negative."""
    residual: Residual


def shape_classes(forecast: Forecast, workload: str) -> ShapeClasses:
    """Choose the classes from all hours of one workload and split every hour's demand among them."""
    raise NotImplementedError
