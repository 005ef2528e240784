"""A workload's fixed shape classes, and each hour's demand as requests per class.

Why classes are fixed: an hour of a forecast states totals, so its mean shape drifts from hour to hour. If GPU time per
request drifted with it, every hour would be a programme with coefficients of its own, and clusters of hours would no
longer bound the true cost (bounds were seen 1.5-7 % above the optimum). With fixed classes GPU time and API price
belong to the class, and only right-hand sides vary.

How: the classes are the corners of a box around all hours' means of (input, cached share of the input, output). An hour
is the product of its positions between the box's sides:

    w(x) = (x - low) / (high - low),   demand[corner] = requests * product over dimensions of w or 1 - w

which is never negative and keeps requests, input, cached and output tokens exactly. A dimension that does not vary has
one level, so there are 1, 2, 4 or (where the cached share varies too) 8 classes, and no corner is longer or shorter
than what was forecast. Corners that no hour uses are left out.

Why a box and not the smallest triangle: GPU time has a term in output * (input + output / 2), the KV traffic (see
`gpu_time.py`). The product form keeps output * input exactly and overstates output**2 by (high - output)(output - low)
only. On 14 days of two production services (ServeGen, arXiv:2505.09999) the KV traffic of the box was 6 % above that of
the hourly means (at most 20 % in an hour); the smallest triangle made it 22 % less and 90 % more (half to 3.5 times in
an hour), with corners longer than anything forecast. `kv_overstated` tells the share; while it exceeds `KV_TOLERANCE`
(an hour with an odd mean stretches the box) another output level is put where it helps most.

What a file of whole tokens cannot say is no variation: where half a token per hour explains it all (and 1e-4 of the
tokens), the dimension is constant, and `residual` says what that moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from hardware_profiles.curve import Shape
from planner.forecast import FloatArray, Forecast

KV_TOLERANCE = 0.1
"""Overstatement of KV traffic that is accepted: of the order of what the GPU-time law errs by itself."""
MAX_OUTPUT_LEVELS = 4
_HALF_TOKEN = 0.5
_SMALL = 1e-4
_ROUNDING = 1e-12
_EXACT = 1e-9


@dataclass(frozen=True)
class Residual:
    """What the classes do not keep exactly: sums over all hours of absolute differences, in tokens."""

    hours: int
    """In which a total differs by more than 1e-9 of itself."""
    input_tokens: float
    cached_tokens: float
    output_tokens: float


@dataclass(frozen=True, eq=False)
class ShapeClasses:
    """Hour t's requests, input, cached and output tokens are the sums of `demand[t]` times those of the classes."""

    workload: str
    classes: tuple[Shape, ...]
    """Fixed for all hours; none when the workload has no request at all."""
    demand: FloatArray
    """[T, K] requests per hour, never negative."""
    residual: Residual
    kv_overstated: float
    """KV traffic of the classes over that of the hourly means, minus 1."""


def shape_classes(forecast: Forecast, workload: str) -> ShapeClasses:
    """Choose the classes from all hours of one workload and split every hour's demand among them."""
    w = forecast.workloads.index(workload)
    requests, given = forecast.requests[:, w], forecast.input_tokens[:, w]
    cached, output = forecast.cached_input_tokens[:, w], forecast.output_tokens[:, w]
    busy = requests > 0
    if not busy.any():
        return ShapeClasses(workload, (), np.zeros((forecast.hours, 0)), Residual(0, 0.0, 0.0, 0.0), 0.0)
    mean_in, mean_out = given[busy] / requests[busy], output[busy] / requests[busy]
    share = cached[busy] / given[busy]
    in_levels = _levels(mean_in, requests[busy])
    share_levels = _levels(share, given[busy])
    out_levels = _output_levels(mean_in, mean_out, requests[busy])
    weights = [_weights(x, at) for x, at in ((mean_in, in_levels), (share, share_levels), (mean_out, out_levels))]
    shapes, columns = [], []
    for i, s, o in product(*(range(len(at)) for at in (in_levels, share_levels, out_levels))):
        split = weights[0][:, i] * weights[1][:, s] * weights[2][:, o]
        if split.any():
            shapes.append((in_levels[i], share_levels[s] * in_levels[i], out_levels[o]))
            columns.append(requests[busy] * split)
    demand = np.zeros((forecast.hours, len(shapes)))
    demand[busy] = np.column_stack(columns)
    demand.setflags(write=False)
    classes = tuple(Shape(input_tokens=a, cached_tokens=min(b, a), output_tokens=c) for a, b, c in shapes)
    residual = _residual(demand, np.array(shapes), np.column_stack([given, cached, output]))
    overstated = _overstated(mean_in, mean_out, requests[busy], out_levels)
    return ShapeClasses(workload, classes, demand, residual, overstated)


def _levels(means: FloatArray, weights: FloatArray) -> FloatArray:
    """[value] where rounding to whole tokens explains all variation, else [lowest, highest]."""
    slack = np.maximum(np.minimum(_HALF_TOKEN / weights, _SMALL * means), _ROUNDING * means)
    low, high = (means - slack).max(), (means + slack).min()
    if low <= high:
        return np.array([np.clip((means * weights).sum() / weights.sum(), low, high)])
    return np.array([means.min(), means.max()])


def _output_levels(mean_in: FloatArray, mean_out: FloatArray, requests: FloatArray) -> FloatArray:
    """The output's levels, with more of them between the ends while KV traffic is overstated too much."""
    levels = _levels(mean_out, requests)
    places = np.unique(np.quantile(mean_out, np.linspace(0, 1, 101)))
    while 1 < len(levels) < MAX_OUTPUT_LEVELS and _overstated(mean_in, mean_out, requests, levels) > KV_TOLERANCE:
        tries = [np.sort(np.append(levels, place)) for place in places if place not in levels]
        if not tries:
            break
        levels = min(tries, key=lambda levels: _overstated(mean_in, mean_out, requests, levels))
    return levels


def _overstated(mean_in: FloatArray, mean_out: FloatArray, requests: FloatArray, levels: FloatArray) -> float:
    """sum requests * (sum w * level**2 - output**2) / 2, as a share of sum requests * output * (input + output / 2)."""
    square = (_weights(mean_out, levels) * levels**2).sum(axis=1)
    extra = (requests * (square - mean_out**2) / 2).sum()
    return max(0.0, float(extra / (requests * mean_out * (mean_in + mean_out / 2)).sum()))


def _weights(means: FloatArray, levels: FloatArray) -> FloatArray:
    """[T, L]: each mean as a mix of the two levels around it; a single level takes all."""
    weights = np.zeros((len(means), len(levels)))
    if len(levels) == 1:
        weights[:, 0] = 1.0
        return weights
    right = np.clip(np.searchsorted(levels, means), 1, len(levels) - 1)
    place = (means - levels[right - 1]) / (levels[right] - levels[right - 1])
    rows = np.arange(len(means))
    weights[rows, right - 1] = 1 - place
    weights[rows, right] = place
    return weights


def _residual(demand: FloatArray, shapes: FloatArray, totals: FloatArray) -> Residual:
    lost = np.abs(demand @ shapes - totals)
    hours = (lost > _EXACT * totals).any(axis=1).sum()
    given, cached, output = np.where(lost > _EXACT * totals, lost, 0.0).sum(axis=0)
    return Residual(int(hours), float(given), float(cached), float(output))
