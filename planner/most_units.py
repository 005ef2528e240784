"""How many units of a fixed charge's offers can be of use at once: the one place that says so.

The programme keeps its relaxation tight with `FixedCharge.most_units`, so a figure that is too small forbids plans. A
deployment is placed for a whole epoch and needs at most the replicas that its busiest hour would fill if it served all
that it may serve; deployments have their busiest hours at different times, so their replicas are added up. Whoever
changes demand or GPU time states the charges anew (`tight`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from planner.problem import Array, Deployment, Offer, Problem

_HAIR = 1e-9


def most_units(offers: Iterable[Offer], deployments: Iterable[Deployment], demand: Array) -> float:
    """Units that could be of use together: what exists, and what every deployment on their GPUs would fill.

    `demand[t, k]` is in requests per hour. An upper bound; what each offer could supply alone is added up.
    """
    gpus: dict[str, float] = {}
    for deployment in deployments:
        gpus[deployment.pool] = gpus.get(deployment.pool, 0.0) + _gpus(deployment, demand)
    units = 0.0
    for offer in offers:
        filled = sum(share * gpus.get(pool, 0.0) for pool, share in offer.covers.items())
        units += math.ceil(filled - _HAIR) if offer.whole else filled
        units += max(offer.existing, default=0.0)
    return units


def tight(problem: Problem) -> Problem:
    """The problem with the `most_units` of its fixed charges as its demand and its deployments ask for."""
    named = {offer.name: offer for offer in problem.offers}
    charges = tuple(
        replace(
            charge,
            most_units=most_units((named[o] for o in charge.offers), problem.deployments, problem.blocks.demand),
        )
        for charge in problem.fixed_charges
    )
    return replace(problem, fixed_charges=charges)


def _gpus(deployment: Deployment, demand: Array) -> float:
    """GPUs that the deployment fills in its busiest hour, a replica at least."""
    hours = demand @ [time or 0.0 for time in deployment.gpu_h_per_request]
    replicas = float(hours.max(initial=0.0)) / deployment.gpus_per_replica
    whole = replicas if deployment.divisible else math.ceil(replicas - _HAIR)
    return deployment.gpus_per_replica * max(1.0, whole)
