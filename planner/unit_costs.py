"""What input and output tokens cost: each class's bill, split as its GPU time and its API prices are.

A GPU's cost is split between input and output as the law of GPU time splits a request's busy time: prefill by uncached
input token is input, decode and the KV cache that it reads are output (`gpu_time.py`). An API's cost is split by its
own prices. What a class pays for GPUs that it does not use, and the penalty for work that nobody serves, follow the
split of the rest of its bill; where there is none, the numbers of tokens.
"""

from __future__ import annotations

import numpy as np

from planner.assemble import Case
from planner.attribution import class_usd, present_hours
from planner.problem import Array
from planner.solve import Solution
from planner.supplies import EndpointInfo, usd_per_request


def input_usd(case: Case, solution: Solution) -> Array:
    """[W] the part of each workload's bill that is its input's; the rest is its output's."""
    of_class = class_usd(case, solution)
    api, api_input = _api(case, solution)
    gpu_share = _gpu_share(case, solution)
    gpus = np.where(np.isnan(gpu_share), 0.0, of_class - api)
    known = gpus + api
    inside = np.nan_to_num(gpu_share) * gpus + api_input
    share = np.divide(inside, known, out=_token_share(case), where=known > 0)
    return np.array([float(share[list(w.classes)] @ of_class[list(w.classes)]) for w in case.workloads])


def _api(case: Case, solution: Solution) -> tuple[Array, Array]:
    """[K] USD paid to APIs for each class, and its input's part."""
    hours, shapes = present_hours(solution), [shape for w in case.workloads for shape in w.shapes.classes]
    total, inside = np.zeros(len(shapes)), np.zeros(len(shapes))
    for i, (family, key) in enumerate(solution.hours.matrix.columns):
        if family == "api":
            k, e = key[0], key[1]
            price = solution.hours.matrix.cost_usd[solution.blocks.epoch, i]
            paid = float(hours @ (solution.hours.values[:, i] * price))
            total[k] += paid
            inside[k] += paid * _api_share(case.endpoints[e], case, k)
    return total, inside


def _api_share(info: EndpointInfo, case: Case, k: int) -> float:
    """Part of a request's API price that its input is."""
    shape = [shape for w in case.workloads for shape in w.shapes.classes][k]
    whole = 0.0 if info.row is None else usd_per_request(info.row, shape)
    if info.row is None or not whole:
        return float(_token_share(case)[k])
    return 1 - shape.output_tokens * info.row.output_usd_per_mtok / 1e6 / whole


def _gpu_share(case: Case, solution: Solution) -> Array:
    """[K] input's part of the GPU time that each class takes; NaN where it takes none."""
    count = len(case.problem.classes)
    shapes = [shape for w in case.workloads for shape in w.shapes.classes]
    total, inside = np.zeros(count), np.zeros(count)
    for i, (family, key) in enumerate(solution.hours.matrix.columns):
        if family == "served":
            k, d = key[0], key[1]
            time = (case.problem.deployments[d].gpu_h_per_request[k] or 0.0) * float(
                solution.blocks.weight_h @ solution.hours.values[:, i]
            )
            total[k] += time
            inside[k] += time * case.deployments[d].law.input_share(shapes[k])
    share: Array = np.divide(inside, total, out=np.full(count, np.nan), where=total > 0)
    return share


def _token_share(case: Case) -> Array:
    shapes = [shape for w in case.workloads for shape in w.shapes.classes]
    return np.array([shape.input_tokens / (shape.input_tokens + shape.output_tokens) for shape in shapes])
