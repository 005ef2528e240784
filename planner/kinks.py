r"""Where a plane bends: no fleet with no more replicas than one that is known makes hours cheaper than it does.

What hours cost with whole replicas falls in steps as a fleet grows. No plane that holds for every fleet follows the
steps: three models at eight GPUs kept a gap of 1.6 % with the best prices of the best fleet. But with V the least that
an hour costs with u[d] replicas, trees over what it rents and all (`whole.py`), and for every fleet,

    cost >= V - sum_d saved[d] max(0, replicas[d] - u[d])

since a replica fewer never makes an hour cheaper, and one more saves no more than renting in its place would cost, nor
more than what the hour costs beyond the least with any fleet. The right-hand side bends the wrong way for a linear
programme, so the master counts what is above u with a whole number (integer optimality cuts: Laporte & Louveaux, Oper.
Res. Lett. 1993):

    over[d,m,u]     replicas above u
    past[d,m,u]     1 only where there are any                                                    0 or 1
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from planner.dispatch import Hours
from planner.islands import is_enough
from planner.problem import Array, Ints, Offer, Problem
from planner.programme import Programme, Row, Term, new_row, new_variable
from planner.scarcity import Tariff
from planner.solver import Fleet

_HAIR = 1e-9


@dataclass(frozen=True, eq=False)
class Kink:
    """The replicas u at which a plane bends, `saved_usd[t, d]` for each above; above `most[d, m]` none saves more."""

    replicas: Array
    most: Array
    saved_usd: Array

    def within(self, deployments: Ints, count: int) -> Kink:
        """The kink of an island among the `count` deployments of the whole problem."""
        replicas, most = np.zeros((count, self.most.shape[1])), np.zeros((count, self.most.shape[1]))
        saved_usd = np.zeros((len(self.saved_usd), count))
        replicas[deployments], most[deployments], saved_usd[:, deployments] = self.replicas, self.most, self.saved_usd
        return Kink(replicas, most, saved_usd)


def can_bend(problem: Problem) -> bool:
    """Whether only replicas matter to an hour, and come whole: half a replica may save more than half of what one does.

    Commitments used by the hour have levels (`master.py`).
    """
    commitments = any(offer.bought and offer.placed == "hour" for offer in problem.offers)
    return not commitments and not any(deployment.divisible for deployment in problem.deployments)


class Bending:
    """What replicas beyond those of a fleet can save in the hours of a problem, which cost at least `floor_usd[t]`."""

    def __init__(self, hours: Hours, floor_usd: Array) -> None:
        self.epoch, self.floor_usd = hours.problem.blocks.epoch, floor_usd
        self.in_place_usd, self.most = in_place_usd(hours), most_replicas(hours.problem)

    def kink(self, fleet: Fleet, least_usd: Array) -> Kink:
        """Of a fleet with which the hours cost at least `least_usd[t]`."""
        most_usd = np.maximum(least_usd - self.floor_usd, 0.0)[:, None]
        return Kink(fleet.replicas, self.most, np.minimum(self.in_place_usd[self.epoch], most_usd))


@dataclass(eq=False)
class Bends:
    """The master's variables for what is above the replicas of kinks, by deployment, epoch and u."""

    programme: Programme
    over: dict[tuple[int, int, float], Any] = field(default_factory=dict)
    past: dict[tuple[int, int, float], Any] = field(default_factory=dict)
    most: dict[tuple[int, int], float] = field(default_factory=dict)

    def add(self, kink: Kink) -> None:
        """State over[d,m,u] and past[d,m,u] of a kink where they are not stated yet."""
        problem = self.programme.problem
        used = set(np.flatnonzero((kink.saved_usd > 0).any(axis=0)))
        for d, m in self.programme.replicas:
            u, most = float(kink.replicas[d, m]), float(kink.most[d, m])
            if d in used and most > u and (d, m, u) not in self.over:
                name = f"{problem.deployments[d].name}@{problem.epochs[m].name}.{u:g}"
                self.over[d, m, u] = new_variable(self.programme, f"over.{name}")
                self.past[d, m, u] = new_variable(self.programme, f"past.{name}", True, 1.0)
                self.most[d, m] = most

    def terms(self, kink: Kink, t: int, m: int) -> list[Term]:
        """What the replicas above u save in block t of epoch m."""
        keys = [(int(d), m, float(kink.replicas[d, m])) for d in np.flatnonzero(kink.saved_usd[t])]
        return [(self.over[key], float(kink.saved_usd[t, key[0]])) for key in keys if key in self.over]


def over_rows(bends: Bends) -> Iterator[Row]:
    """Those of `master.kink_over`."""
    for key, variable in bends.over.items():
        d, m, u = key
        terms = [(variable, 1.0), (bends.past[key], u), (bends.programme.replicas[d, m], -1.0)]
        yield f"kink_over.{_at(bends, *key)}", new_row(terms, "<=", 0.0)


def past_rows(bends: Bends) -> Iterator[Row]:
    """Those of `master.kink_past`."""
    for key, variable in bends.over.items():
        d, m, u = key
        terms = [(variable, 1.0), (bends.past[key], u - bends.most[d, m])]
        yield f"kink_past.{_at(bends, *key)}", new_row(terms, "<=", 0.0)


def _at(bends: Bends, d: int, m: int, u: float) -> str:
    problem = bends.programme.problem
    return f"{problem.deployments[d].name}@{problem.epochs[m].name}.{u:g}"


def most_replicas(problem: Problem) -> Array:
    """[d, m] replicas that all work of the epoch's busiest hour would fill."""
    most = np.zeros((len(problem.deployments), len(problem.epochs)))
    for d, deployment in enumerate(problem.deployments):
        work = problem.blocks.demand @ np.array([time or 0.0 for time in deployment.gpu_h_per_request])
        np.maximum.at(most[d], problem.blocks.epoch, np.ceil(work / deployment.gpus_per_replica - _HAIR))
    return most


def in_place_usd(hours: Hours) -> Array:
    """[m, d] what renting in place of one replica costs at most, USD per hour; infinite where nothing is ample."""
    problem, tariff = hours.problem, hours.tariff
    found = np.full((len(problem.epochs), len(problem.deployments)), np.inf)
    for i, o in enumerate(tariff.hourly):
        offer = problem.offers[o]
        for e, other in enumerate(problem.deployments):
            if other.pool in offer.covers and _is_ample(problem, offer):
                units = offer.covers[other.pool] * other.gpus_per_replica
                units = math.ceil(units - _HAIR) if offer.whole else units
                for d in range(len(problem.deployments)):
                    count, busy_usd = _instead(hours.tariff, d, e)
                    found[:, d] = np.minimum(found[:, d], count * units * tariff.usage[i] + busy_usd)
    return found


def _is_ample(problem: Problem, offer: Offer) -> bool:
    """Whether there are as many units by the hour as could ever be of use, whole ones where they are whole."""
    broken = offer.whole and offer.max_units is not None and not float(offer.max_units).is_integer()
    return not offer.bought and not broken and is_enough(problem, offer)


def _instead(tariff: Tariff, d: int, e: int) -> tuple[float, float]:
    """Replicas of e that do whatever one of d does, and what their work costs more at most, USD per hour."""
    if d == e:
        return 1.0, 0.0
    serves, works = np.isfinite(tariff.gpu_h[d]), np.isfinite(tariff.gpu_h[d]) & (tariff.gpu_h[d] > 0)
    if not np.isfinite(tariff.gpu_h[e, serves]).all() or (tariff.gpu_h[e, serves & ~works] > 0).any():
        return math.inf, 0.0
    gpu_h, gpus = tariff.gpu_h[d, works], float(tariff.gpus[d])
    longer = float((tariff.gpu_h[e, works] / gpu_h).max(initial=0.0))
    dearer = float(((tariff.busy[e, works] - tariff.busy[d, works]) / gpu_h).max(initial=0.0))
    return math.ceil(longer * gpus / float(tariff.gpus[e]) - _HAIR), dearer * gpus
