"""What makes a `Problem` inconsistent: checked once, when one is made, so that nothing after it has to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from planner.problem import Problem

_NAME = re.compile(r"[A-Za-z0-9_.]+")
"""Names are joined by `@` in the LP file (`programme.py`)."""


def faults_of(problem: Problem) -> Iterable[str]:
    """Every inconsistency in words."""
    count = len(problem.classes)
    supplies = (problem.deployments, problem.offers, problem.endpoints)
    groups = (problem.epochs, problem.pools, *supplies, problem.limits, problem.fixed_charges)
    for group in (*([item.name for item in items] for items in groups), problem.classes):
        names = list(group)
        yield from (f"name {name!r} is not a slug" for name in names if not _NAME.fullmatch(name))
        yield from (f"name {name!r} appears twice" for name in sorted({n for n in names if names.count(n) > 1}))
    for deployment in problem.deployments:
        if deployment.pool not in problem.pool_index:
            yield f"deployment {deployment.name}: unknown pool {deployment.pool!r}"
        if len(deployment.gpu_h_per_request) != count:
            yield f"deployment {deployment.name}: {count} classes need {count} GPU times"
        if any(time is not None and not 0 < time < np.inf for time in deployment.gpu_h_per_request):
            yield f"deployment {deployment.name}: GPU time must be positive and finite"
    yield from _offer_faults(problem)
    if not 0 <= problem.buyout_share <= 1 or any(epoch.past_h < 0 for epoch in problem.epochs):
        yield "a buyout pays a share from 0 to 1 of what is owed; hours past the horizon are not negative"
    for endpoint in problem.endpoints:
        if len(endpoint.usd_per_request) != count:
            yield f"endpoint {endpoint.name}: {count} classes need {count} prices"
        if endpoint.tokens_per_h is not None and len(endpoint.tokens_per_request) != count:
            yield f"endpoint {endpoint.name}: a token limit needs tokens per request of every class"
    yield from (f"limit {limit.name}: unknown offer {name!r}" for limit in problem.limits for name in limit.per_unit
                if name not in {offer.name for offer in problem.offers})  # fmt: skip
    yield from (f"limit {limit.name}: holds for no offer" for limit in problem.limits if not limit.per_unit)
    for charge in problem.fixed_charges:
        bought = {offer.name for offer in problem.offers if offer.bought}
        yield from (
            f"charge {charge.name}: {name!r} is no offer that is bought" for name in charge.offers if name not in bought
        )
    there = {deployment.name for deployment in problem.deployments}
    yield from (f"warm: {name!r} is no deployment" for group in problem.warm for name in group if name not in there)
    split = {deployment.name for deployment in problem.deployments if deployment.divisible}
    yield from (f"warm: a replica of {name!r} is divisible, so none can be kept" for group in problem.warm
                for name in group if name in split)  # fmt: skip
    if len(problem.unserved_usd_per_request) != count:
        yield f"{count} classes need {count} penalties for unserved requests"
    yield from _block_faults(problem)


def _offer_faults(problem: Problem) -> Iterable[str]:
    for offer in problem.offers:
        yield from (
            f"offer {offer.name}: unknown pool {pool!r}" for pool in offer.covers if pool not in problem.pool_index
        )
        if not offer.covers or any(not 0 < share < np.inf for share in offer.covers.values()):
            yield f"offer {offer.name}: covers at least one pool, each with a positive share of a unit per GPU"
        if offer.placed == "epoch" and (len(offer.covers) != 1 or offer.usage_usd_per_h):
            yield f"offer {offer.name}: units placed by epoch cover one pool and have no price of use"
        if offer.term_epochs is not None and offer.term_epochs < 1:
            yield f"offer {offer.name}: a term is at least one epoch"
        if offer.lead_epochs < 0 or (offer.max_units is not None and offer.max_units < 0):
            yield f"offer {offer.name}: lead time and stock are not negative"
        if offer.loan is not None and (offer.loan.epochs < 1 or offer.loan.interest_per_epoch < 0):
            yield f"offer {offer.name}: a loan has a payment at least, and its interest is not negative"
        slow = offer.minimum_h > 1 or offer.start_h > 0
        if offer.minimum_h < 1 or offer.start_h < 0 or (slow and (offer.placed == "epoch" or offer.bought)):
            yield f"offer {offer.name}: only units switched on by the hour have minimum hours (1 or more) or start-up"


def _block_faults(problem: Problem) -> Iterable[str]:
    blocks = problem.blocks
    if not len(blocks) or blocks.demand.shape != (len(blocks), len(problem.classes)):
        yield "demand has one row per block and one column per class"
        return
    if blocks.epoch.shape != (len(blocks),) or blocks.epoch.min() < 0 or blocks.epoch.max() >= len(problem.epochs):
        yield "every block names an epoch"
    if not (np.isfinite(blocks.demand).all() and (blocks.demand >= 0).all()):
        yield "demand is finite and not negative"
    if not (np.isfinite(blocks.weight_h).all() and (blocks.weight_h > 0).all()):
        yield "a block stands for more than zero hours"
