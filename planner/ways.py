"""The cheapest way of each kind to serve a model alone, from the case's capacities and prices (see `breakeven.py`).

Of all offers of a scheme with all deployments that may serve every request of the model, the one with the lowest price
of GPU time counts; of all APIs that sell every request, the cheapest for the model's mix over the horizon. Terms longer
than the horizon count only where no shorter one is offered.
"""

from __future__ import annotations

import math

import numpy as np

from planner.assemble import Case
from planner.plan import Levels, Scheme, Volume, Way
from planner.problem import Array
from planner.supplies import OfferInfo

_SCHEMES: tuple[Scheme, ...] = ("owned", "reserved", "on demand")
_LEVELS = 48


def model_volumes(case: Case) -> tuple[Volume, ...]:
    """Every model of the case with its swing of load and its ways."""
    return tuple(_volume(case, model) for model in dict.fromkeys(w.model for w in case.workloads))


def _volume(case: Case, model: str) -> Volume:
    classes = [k for w in case.workloads if w.model == model for k in w.classes]
    shapes = [shape for w in case.workloads if w.model == model for shape in w.shapes.classes]
    blocks = case.problem.blocks
    tokens = np.array([shape.input_tokens + shape.output_tokens for shape in shapes])
    by_hour: Array = blocks.demand[:, classes] @ tokens / 1e6
    mean = float(np.average(by_hour, weights=blocks.weight_h))
    requests: Array = blocks.weight_h @ blocks.demand[:, classes] / max(1e-12, float(blocks.weight_h @ by_hour))
    ways = [_api(case, classes, requests), *(_gpus(case, scheme, classes, requests) for scheme in _SCHEMES)]
    return Volume(
        model=model,
        mtok_per_h=mean,
        levels=_levels(by_hour / mean, blocks.weight_h) if mean else (),
        ways=tuple(way for way in ways if way is not None),
    )


def _levels(relative: Array, hours: Array) -> Levels:
    """(share of hours, level): the highest hour alone, then groups of neighbouring hours at their mean."""
    order = np.argsort(-relative, kind="stable")
    groups = [order[:1], *np.array_split(order[1:], min(_LEVELS, max(1, len(order) - 1)))]
    total = float(hours.sum())
    return tuple(
        (float(hours[group].sum()) / total, float(np.average(relative[group], weights=hours[group])))
        for group in groups
        if len(group)
    )


def _api(case: Case, classes: list[int], requests: Array) -> Way | None:
    """`requests` are those of each class per million tokens."""
    found = []
    for info in case.endpoints:
        prices = [info.endpoint.usd_per_request[k] for k in classes]
        if all(price is not None for price in prices):
            found.append(
                Way(name=info.label, scheme="api", usd_per_mtok=float(requests @ np.array(prices, dtype=float)))
            )
    return min(found, key=lambda way: (way.usd_per_mtok, way.name), default=None)


def _offers(case: Case, scheme: Scheme) -> list[OfferInfo]:
    """The scheme's offers; of terms, those that end inside the horizon where there are any."""
    mine = [info for info in case.offers if info.scheme == scheme]
    inside = [info for info in mine if (info.term_months or 0) <= case.span.months]
    return inside or mine


def _gpus(case: Case, scheme: Scheme, classes: list[int], requests: Array) -> Way | None:
    problem, found = case.problem, []
    for info in _offers(case, scheme):
        fixed = sum(charge.usd_per_h for charge in problem.fixed_charges if info.offer.name in charge.offers)
        for deployment in problem.deployments:
            times = [deployment.gpu_h_per_request[k] for k in classes]
            if deployment.pool not in info.offer.covers or any(time is None for time in times):
                continue
            hours = float(requests @ np.array(times, dtype=float))
            unit, replica = round(info.gpus_per_unit), round(deployment.gpus_per_replica)
            way = Way(
                name=f"{info.label}, {replica} GPUs a replica",
                scheme=scheme,
                usd_per_mtok=hours * problem.pools[problem.pool_index[deployment.pool]].busy_usd_per_gpu_h,
                gpu_h_per_mtok=hours,
                gpus_per_step=float(math.lcm(max(unit, 1), max(replica, 1))),
                usd_per_gpu_h=info.usd_per_gpu_h,
                fixed_usd_per_h=fixed,
            )
            found.append((hours * info.usd_per_gpu_h, way.gpus_per_step, way.name, way))
    return min(found, key=lambda each: each[:3])[3] if found else None
