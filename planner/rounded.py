"""A whole fleet from a divisible one: enough units in every epoch, and replicas on them.

Where time ends before the search has a whole fleet, this one is dispatched: a plan that serves what the divisible one
served, if stocks and sites leave room.
"""

from __future__ import annotations

import numpy as np

from planner.problem import Array, Problem
from planner.solver import Fleet

_HAIR = 1e-6


def rounded_up(problem: Problem, fleet: Fleet, spare: Array | float = 1.0) -> Fleet:
    """The least whole purchases, epoch by epoch, whose active units are nowhere fewer than `spare[m]` times those of
    `fleet`."""
    wanted, buy = problem.active_units(fleet.buy) * spare, fleet.buy.copy()
    for o, offer in enumerate(problem.offers):
        if offer.bought and offer.whole:
            buy[o] = 0.0
            for m in range(len(problem.epochs)):
                months = problem.active_epochs(offer, m)
                if len(months):
                    missing = np.ceil(wanted[o, months[0]] - problem.active_units(buy)[o, months[0]] - _HAIR)
                    buy[o, m] = max(0.0, missing)
    return Fleet(buy, _placed(problem, buy, fleet.replicas * spare))


def _placed(problem: Problem, buy: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Whole replicas on these units, those that miss most first, until the GPUs of the pool are used."""
    active, replicas = problem.active_units(buy), np.zeros_like(wanted)
    for pool in problem.pools:
        here = [d for d, deployment in enumerate(problem.deployments) if deployment.pool == pool.name]
        for m in range(len(problem.epochs)):
            gpus = sum(
                active[o, m] / offer.covers[pool.name]
                for o, offer in enumerate(problem.offers)
                if offer.placed == "epoch" and pool.name in offer.covers
            )
            while True:
                fits = [d for d in here if problem.deployments[d].gpus_per_replica <= gpus + _HAIR]
                if not fits:
                    break
                d = max(fits, key=lambda d: wanted[d, m] - replicas[d, m])
                size = problem.deployments[d].gpus_per_replica
                count = max(1.0, np.floor(min(wanted[d, m] - replicas[d, m], gpus / size)))
                replicas[d, m] += count
                gpus -= count * size
    return replicas


def is_allowed(problem: Problem, fleet: Fleet) -> bool:
    """Whether what exists keeps the stock and site limits."""
    active = problem.active_units(fleet.buy)
    index = {offer.name: o for o, offer in enumerate(problem.offers)}
    sites = all(
        (sum(use * active[index[name]] for name, use in limit.per_unit.items()) <= limit.cap + 1e-9).all()
        for limit in problem.limits
    )
    return sites and all(
        offer.max_units is None or (active[o] <= offer.max_units + 1e-9).all()
        for o, offer in enumerate(problem.offers)
        if offer.bought
    )
