"""What only a purchase carries: the work that the rest of its plan would not do if it was not made.

GPUs that are divided by the month (owned, reserved): without a purchase its pool has so many GPUs less, and replicas
are given up until the others fit, those first that do the least work for their GPUs. A replica that is given up leaves
the work above what those that stay could do in the same hour. So of two purchases that share an hour's work each is
asked about the top of it, which is what it is there for; the base of it would be done without it.

What is paid by the hour (on demand, spot, a commitment over several GPU types) carries what is served on its replicas.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from planner.attribution import hourly_usd
from planner.present import fleet_usd
from planner.problem import Array
from planner.told import Told

_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class Running:
    """A told case by deployment d, arrays over joined blocks t: requests served [T, K], and replicas [T]."""

    told: Told
    served: Mapping[int, Array]
    busy: Mapping[int, Array]
    """Replicas' worth of work at the SLO's capacity."""
    placed: Mapping[int, Array]
    """The part of it on replicas that are placed by the month; they work first."""
    rented: Mapping[tuple[int, int], Array]
    """By offer and deployment: replicas switched on by the hour."""
    _tops: dict[tuple[int, int], Array] = field(default_factory=dict)

    def rented_of(self, d: int) -> Array:
        """Replicas of a deployment that are switched on by the hour, of all offers."""
        mine = [replicas for (_, each), replicas in self.rented.items() if each == d]
        return np.sum(mine, axis=0) if mine else np.zeros(len(self.told.weight_h))

    def tops(self, d: int, m: int) -> Array:
        """What each of a deployment's placed replicas does in epoch m above those before it, in discounted hours."""
        if (d, m) not in self._tops:
            here = self.told.solution.blocks.epoch == m
            below = np.arange(math.ceil(self.told.solution.fleet.replicas[d][m] - _ROUNDING))
            work = np.clip(self.placed[d][here][:, None] - below, 0.0, 1.0)
            self._tops[d, m] = self.told.present_h[here] @ work
        return self._tops[d, m]


@dataclass(frozen=True, eq=False)
class Work:
    """Requests per hour [T, K] by the deployment that serves them now, and what the bill holds for that."""

    served: Mapping[int, Array]
    usd: float
    """Present value: purchases, what only they owe of fixed charges, power of the work; or hours on demand."""

    @property
    def requests(self) -> Array:
        """[T, K] of all deployments."""
        total: Array = np.sum(list(self.served.values()), axis=0)
        return total


def running(told: Told) -> Running:
    """Who runs what in every block."""
    problem, solution = told.case.problem, told.solution
    values, epoch = solution.hours.values, solution.blocks.epoch
    served: dict[int, Array] = {}
    rented: dict[tuple[int, int], Array] = {}
    for i, (family, key) in enumerate(solution.hours.matrix.columns):
        if family == "served":
            served.setdefault(key[1], np.zeros((len(values), len(problem.classes))))[:, key[0]] = values[:, i]
        elif family == "rented":
            rented[key[0], key[1]] = values[:, i]
    busy, placed = {}, {}
    for d, requests in served.items():
        deployment = problem.deployments[d]
        times = np.array([time or 0.0 for time in deployment.gpu_h_per_request])
        busy[d] = requests @ times / deployment.gpus_per_replica
        placed[d] = np.minimum(busy[d], solution.fleet.replicas[d][epoch])
    return Running(told, served, busy, placed, rented)


def without(run: Running, less: Array) -> Work:
    """What is left to do where `less[o, m]` units fewer are bought, of offers that are placed by the month."""
    told, problem = run.told, run.told.case.problem
    fleet = told.solution.fleet
    before, after = (problem.active_units(buy) for buy in (fleet.buy, fleet.buy - less))
    epochs = np.flatnonzero((before - after).any(axis=0))
    served, power = {}, 0.0
    for pool in {pool for o in np.flatnonzero(less.any(axis=1)) for pool in problem.offers[o].covers}:
        here = [d for d in run.served if problem.deployments[d].pool == pool]
        stay = {d: fleet.replicas[d].copy() for d in here}
        for m in epochs:
            gpus = sum(after[o, m] / offer.covers[pool] for o, offer in enumerate(problem.offers)
                       if offer.placed == "epoch" and pool in offer.covers)  # fmt: skip
            _give_up(run, stay, int(m), gpus)
        for d in here:
            left = np.maximum(0.0, run.placed[d] - stay[d][told.solution.blocks.epoch])
            if left.any():
                part = np.divide(left, run.busy[d], out=np.zeros_like(left), where=run.busy[d] > 0)
                served[d] = run.served[d] * part[:, None]
                power += float(told.present_h @ left) * problem.deployments[d].gpus_per_replica * _busy_usd(run, d)
    usd = fleet_usd(problem, fleet) - fleet_usd(problem, replace(fleet, buy=fleet.buy - less))
    return Work(served, usd + power)


def by_the_hour(run: Running, o: int, m: int | None = None) -> Work:
    """What an offer's hours carry; of a commitment over several GPU types the part of what is signed in epoch m."""
    told, problem = run.told, run.told.case.problem
    epoch, buy = told.solution.blocks.epoch, told.solution.fleet.buy
    part = np.ones(len(epoch))
    usd = float(told.present_h @ hourly_usd(told.solution, "on", o))
    if m is not None:
        less = np.zeros_like(buy)
        less[o, m] = buy[o, m]
        mine = problem.active_units(less)[o] / np.maximum(problem.active_units(buy)[o], _ROUNDING)
        part = np.minimum(1.0, mine)[epoch]
        fleet = told.solution.fleet
        usd = fleet_usd(problem, fleet) - fleet_usd(problem, replace(fleet, buy=buy - less))
    served = {}
    for (offer, d), replicas in run.rented.items():
        if offer == o and d in run.served and (replicas * part).any():
            all_of_it, rented = run.busy[d], run.rented_of(d)
            share = np.divide(replicas, rented, out=np.zeros_like(rented), where=rented > 0) * part
            share *= np.divide(all_of_it - run.placed[d], all_of_it, out=np.zeros_like(rented), where=all_of_it > 0)
            served[d] = run.served[d] * share[:, None]
    return Work(served, usd)


def _busy_usd(run: Running, d: int) -> float:
    problem = run.told.case.problem
    return problem.pools[problem.pool_index[problem.deployments[d].pool]].busy_usd_per_gpu_h


def _give_up(run: Running, stay: dict[int, Array], m: int, gpus: float) -> None:
    """Take replicas out of `stay` in epoch m until they fit on so many GPUs."""
    deployments = run.told.case.problem.deployments
    size = {d: deployments[d].gpus_per_replica for d in stay}

    def lost(d: int) -> float:
        count = math.ceil(stay[d][m] - _ROUNDING)
        return float(run.tops(d, m)[count - 1]) / size[d] if count else math.inf

    held, losses = sum(stay[d][m] * size[d] for d in stay), {d: lost(d) for d in stay}
    while held > gpus + _ROUNDING:
        least = min(losses, key=lambda d: losses[d])
        given = min(1.0, stay[least][m])
        stay[least][m] -= given
        held -= given * size[least]
        losses[least] = lost(least)
