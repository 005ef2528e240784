"""In which steps the replicas of an hour change: what units bring at once, from whom, and what of them is scarce.

A server of eight GPUs brings eight replicas of one GPU each; where nothing else runs in its pool, a fleet has whole
multiples of eight. What is rented by the hour may come one by one. Trees over whole numbers (`trees.py`) count steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.problem import Array, Ints, Offer, Problem
from planner.programme import replicas_of_units
from planner.same_matrix import Flags


@dataclass(frozen=True, eq=False)
class Steps:
    """What N counts: `replicas[n]` at once of `deployment[n]`, whole where `whole[n]`, rented where `by_hour[n]`.

    Where `offer[n]` is not -1 they come from that offer; a step takes `units[n, o]` of the scarce ones.
    """

    deployment: Ints
    replicas: Array
    whole: Flags
    by_hour: Flags
    offer: Ints
    units: Array


def steps_of(problem: Problem, scarce: Sequence[int] = ()) -> Steps:
    """Of a fleet, and by the hour where that comes in finer steps; what the fleet has never costs more than rent.

    The offers in `scarce` are counted apart from all others.
    """
    found: list[tuple[int, int, bool, int]] = []
    for d, deployment in enumerate(problem.deployments):
        there = [(o, f) for o, f in enumerate(problem.offers) if deployment.pool in f.covers and o not in scarce]
        fleet, hour = (step(problem, d, [f for _, f in there if f.placed == placed]) for placed in ("epoch", "hour"))
        if fleet:
            found.append((d, fleet, False, -1))
        if hour and not (fleet and hour % fleet == 0):
            found.append((d, hour, True, -1))
        found += [(d, 1, True, o) for o in scarce if deployment.pool in problem.offers[o].covers]
    return steps_from(problem, found, scarce)


def steps_from(problem: Problem, found: list[tuple[int, int, bool, int]], scarce: Sequence[int]) -> Steps:
    """The same as arrays: deployment, replicas, whether by the hour, and the offer or -1, of every number."""
    deployment = np.array([d for d, _, _, _ in found], dtype=np.intp)
    divisible = np.array([d.divisible for d in problem.deployments], dtype=bool)
    units = np.zeros((len(found), len(scarce)))
    for n, (d, replicas, _, o) in enumerate(found):
        if o in scarce:
            one = problem.deployments[d]
            units[n, scarce.index(o)] = problem.offers[o].covers[one.pool] * one.gpus_per_replica * replicas
    return Steps(
        deployment,
        np.array([float(replicas) for _, replicas, _, _ in found]),
        ~divisible[deployment],
        np.array([hour for _, _, hour, _ in found], dtype=bool),
        np.array([o for _, _, _, o in found], dtype=np.intp),
        units,
    )


def step(problem: Problem, d: int, offers: list[Offer]) -> int:
    """Replicas of d that these offers bring at once: what all their units have in common; 0 without offers."""
    sizes = replicas_of_units(problem, d, offers)
    return math.gcd(*sizes) if offers and sizes and min(sizes) > 0 else 1 if offers else 0
