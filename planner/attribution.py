"""Who carried what, and what it cost them: a Solution in the terms of a bill.

The programme decides by deployment and pool; people ask by offer, API and workload. The rules of attribution:

* In a block, a deployment's placed replicas (owned, reserved, there already) work first and rented ones take the rest.
* Offers whose units are placed in the same pool share its placed work in proportion to their GPUs.
* A pool's cost (purchases, hours on demand, busy power) belongs to the workloads in proportion to the GPU-hours they
  used of it, and so do fixed charges over the pools of their offers; what nobody used is shared by requests. So the
  workloads' bills add up to the whole bill.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.assemble import Case
from planner.problem import Array
from planner.solve import Solution

_ROUNDING = 1e-9
HOURLY_LINES = (("on demand", "on"), ("busy power", "served"), ("API", "api"), ("unserved", "unserved"))
"""Lines of the bill that follow the work, and the family of variables that each is the cost of."""


@dataclass(frozen=True, eq=False)
class Carried:
    """Arrays over joined blocks t (not weighted): requests per hour by offer [O, T, K] and endpoint [E, T, K]."""

    by_offer: Array
    by_endpoint: Array
    unserved: Array
    gpus_held: Array
    """[O, T]: GPUs there (on demand: switched on)."""
    gpus_busy: Array
    """[O, T]: GPUs filled with work at the SLO's capacity."""


def carried(case: Case, solution: Solution) -> Carried:
    """Requests and GPUs of every offer and endpoint in every block."""
    problem, blocks = case.problem, solution.blocks
    column = {key: i for i, key in enumerate(solution.hours.matrix.columns)}
    values = solution.hours.values
    count, classes = len(blocks), len(problem.classes)
    by_offer = np.zeros((len(problem.offers), count, classes))
    busy = np.zeros((len(problem.offers), count))
    held = _held(solution)
    for d, deployment in enumerate(problem.deployments):
        times = np.array([time or 0.0 for time in deployment.gpu_h_per_request])
        served = np.zeros((count, classes))
        for k in range(classes):
            if ("served", (k, d)) in column:
                served[:, k] = values[:, column["served", (k, d)]]
        work = served @ times
        placed = solution.fleet.replicas[d][blocks.epoch] * deployment.gpus_per_replica
        share_placed = np.divide(np.minimum(work, placed), work, out=np.zeros(count), where=work > 0)
        for o, part in _shares(solution, d, held, share_placed).items():
            by_offer[o] += served * part[:, None]
            busy[o] += work * part
    by_endpoint = np.zeros((len(problem.endpoints), count, classes))
    for (family, key), i in column.items():
        if family == "api":
            by_endpoint[key[1], :, key[0]] = values[:, i]
    unserved = np.column_stack([values[:, column["unserved", (k,)]] for k in range(classes)])
    return Carried(by_offer, by_endpoint, unserved, held, busy)


def _held(solution: Solution) -> Array:
    """[O, T] GPUs of every offer: active units, units switched on, or what a commitment pays."""
    problem, blocks = solution.problem, solution.blocks
    held = np.zeros((len(problem.offers), len(blocks)))
    active = problem.active_units(solution.fleet.buy)
    for o, offer in enumerate(problem.offers):
        if offer.placed == "epoch":
            held[o] = active[o][blocks.epoch] / min(offer.covers.values())
    for i, (family, key) in enumerate(solution.hours.matrix.columns):
        if family == "on" and not problem.offers[key[0]].bought:
            unit = problem.offers[key[0]]
            held[key[0]] += solution.hours.values[:, i] / min(unit.covers.values()) / unit.usable
        if family == "rented" and problem.offers[key[0]].bought:
            held[key[0]] += solution.hours.values[:, i] * problem.deployments[key[1]].gpus_per_replica
    return held


def _shares(solution: Solution, d: int, held: Array, share_placed: Array) -> dict[int, Array]:
    """Share of deployment d's work in every block by offer."""
    problem = solution.problem
    pool = problem.deployments[d].pool
    shares: dict[int, Array] = {}
    placed = [o for o, offer in enumerate(problem.offers) if offer.placed == "epoch" and pool in offer.covers]
    total = held[placed].sum(axis=0) if placed else np.zeros(held.shape[1])
    for o in placed:
        shares[o] = share_placed * np.divide(held[o], total, out=np.zeros_like(total), where=total > 0)
    rented = {
        key[0]: solution.hours.values[:, i]
        for i, (family, key) in enumerate(solution.hours.matrix.columns)
        if family == "rented" and key[1] == d
    }
    total = np.sum(list(rented.values()), axis=0) if rented else np.zeros(held.shape[1])
    for o, replicas in rented.items():
        shares[o] = (1 - share_placed) * np.divide(replicas, total, out=np.zeros_like(total), where=total > 0)
    return shares


def present_hours(solution: Solution) -> Array:
    """[T] hours of each joined block, discounted."""
    discount = np.array([epoch.discount for epoch in solution.problem.epochs])
    hours: Array = solution.blocks.weight_h * discount[solution.blocks.epoch]
    return hours


def offer_lines(solution: Solution, o: int, m: int) -> tuple[tuple[str, float], ...]:
    """The lines of what is bought of offer o in epoch m, in USD."""
    units = float(solution.fleet.buy[o, m])
    return tuple((name, units * usd) for name, usd in solution.problem.unit_cost(solution.problem.offers[o], m))


def hourly_usd(solution: Solution, family: str, first: int | None = None) -> Array:
    """[T] USD per hour (undiscounted) of one family of variables, of one offer or endpoint if given."""
    matrix, total = solution.hours.matrix, np.zeros(len(solution.blocks))
    for i, (name, key) in enumerate(matrix.columns):
        owner = key[1] if name == "api" else key[0]
        if name == family and first in (None, owner):
            total += solution.hours.values[:, i] * matrix.cost_usd[solution.blocks.epoch, i]
    return total


def charges_usd(solution: Solution) -> Array:
    """[F, M] present value of every fixed charge in every epoch."""
    problem = solution.problem
    active = problem.active_units(solution.fleet.buy)
    usd = np.zeros((len(problem.fixed_charges), len(problem.epochs)))
    for f, charge in enumerate(problem.fixed_charges):
        mine = [o for o, offer in enumerate(problem.offers) if offer.name in charge.offers]
        for m in np.flatnonzero(active[mine].sum(axis=0)):
            usd[f, m] = problem.fixed_usd(charge, int(m))
    return usd


def offer_charges_usd(solution: Solution) -> Array:
    """[O] each offer's part of the fixed charges, by the GPU-hours that it holds in the epoch; they add up."""
    problem, epochs = solution.problem, range(len(solution.problem.epochs))
    held = problem.active_units(solution.fleet.buy)
    held = held / np.array([[min(offer.covers.values())] for offer in problem.offers]).reshape(-1, 1)
    usd = np.zeros(len(problem.offers))
    for charge, owed in zip(problem.fixed_charges, charges_usd(solution), strict=True):
        mine = [o for o, offer in enumerate(problem.offers) if offer.name in charge.offers]
        for m in epochs:
            if owed[m]:
                usd[mine] += owed[m] * held[mine, m] / held[mine, m].sum()
    return usd


def missed_requests(solution: Solution) -> Array:
    """[K] requests that nobody serves; what is less than a billionth of all is the solver's rounding."""
    asked = float((solution.blocks.weight_h @ solution.blocks.demand).sum())
    missed = solution.unserved
    return missed if missed.sum() > _ROUNDING * asked else np.zeros(len(missed))


def workload_usd(case: Case, solution: Solution) -> Array:
    """[W] present value of each workload's part of the bill; they add up to the plan's cost."""
    of_class = class_usd(case, solution)
    return np.array([of_class[list(workload.classes)].sum() for workload in case.workloads])


def class_usd(case: Case, solution: Solution) -> Array:
    """[K] present value of each class's part of the bill."""
    problem = case.problem
    hours = present_hours(solution)
    requests: Array = solution.blocks.weight_h @ solution.blocks.demand
    used = _gpu_hours(solution)
    of_class = np.zeros(len(problem.classes))

    def share(usd: float, pools: list[int]) -> Array:
        weight = used[pools].sum(axis=0)
        weight = weight if weight.any() else requests
        return usd * weight / weight.sum() if weight.any() else np.zeros(len(weight))

    for o, offer in enumerate(problem.offers):
        usd = sum(usd for m in range(len(problem.epochs)) for _, usd in offer_lines(solution, o, m))
        usd += float(hours @ hourly_usd(solution, "on", o))
        if usd:
            of_class += share(usd, [problem.pool_index[pool] for pool in offer.covers])
    for charge, usd in zip(problem.fixed_charges, charges_usd(solution).sum(axis=1), strict=True):
        mine = [offer for offer in problem.offers if offer.name in charge.offers]
        of_class += share(float(usd), sorted({problem.pool_index[pool] for offer in mine for pool in offer.covers}))
    for i, (family, key) in enumerate(solution.hours.matrix.columns):
        if family in ("served", "api", "unserved"):
            price = solution.hours.matrix.cost_usd[solution.blocks.epoch, i]
            of_class[key[0]] += float(hours @ (solution.hours.values[:, i] * price))
    return of_class


def _gpu_hours(solution: Solution) -> Array:
    """[P, K] GPU-hours of every pool that each class used."""
    problem = solution.problem
    used = np.zeros((len(problem.pools), len(problem.classes)))
    for i, (family, key) in enumerate(solution.hours.matrix.columns):
        if family == "served":
            deployment = problem.deployments[key[1]]
            time = deployment.gpu_h_per_request[key[0]] or 0.0
            amount = float(solution.blocks.weight_h @ solution.hours.values[:, i])
            used[problem.pool_index[deployment.pool], key[0]] += amount * time
    return used
