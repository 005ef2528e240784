"""The bill if every workload were planned alone: what sharing GPUs between workloads is worth.

Each workload gets the same price book, the same site and the same stocks, as if the others were not there, and a team
of its own where it owns GPUs. GPUs that are there already are left out, because they can be given once only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from planner.assemble import Case
from planner.deployments import CaseWorkload
from planner.most_units import tight
from planner.problem import Blocks, Endpoint, Problem


def alone(case: Case, workload: CaseWorkload) -> Problem:
    """The case's problem with the classes of one workload."""
    problem, keep = case.problem, list(workload.classes)

    def kept(values: Sequence[float | None]) -> tuple[float | None, ...]:
        return tuple(values[k] for k in keep)

    blocks = problem.blocks
    deployments = (replace(d, gpu_h_per_request=kept(d.gpu_h_per_request)) for d in problem.deployments)
    offers = (replace(offer, existing=()) for offer in problem.offers)
    there = tuple(d for d in deployments if any(time is not None for time in d.gpu_h_per_request))
    names = {d.name for d in there}
    warm = (tuple(name for name in group if name in names) for group in problem.warm)
    made = replace(
        problem,
        classes=tuple(problem.classes[k] for k in keep),
        blocks=Blocks(blocks.epoch, blocks.weight_h, blocks.demand[:, keep]),
        deployments=there,
        offers=tuple(offers),
        endpoints=tuple(_endpoint(endpoint, keep) for endpoint in problem.endpoints),
        unserved_usd_per_request=tuple(problem.unserved_usd_per_request[k] for k in keep),
        warm=tuple(group for group in warm if group),
    )
    return tight(made)


def _endpoint(endpoint: Endpoint, keep: list[int]) -> Endpoint:
    tokens = tuple(endpoint.tokens_per_request[k] for k in keep) if endpoint.tokens_per_request else ()
    prices = tuple(endpoint.usd_per_request[k] for k in keep)
    return replace(endpoint, usd_per_request=prices, tokens_per_request=tokens)
