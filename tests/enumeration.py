"""The least that a tiny problem can cost, found by trying everything: no programme, no search, no PuLP.

Whole numbers are enumerated: purchases, replicas placed on them, replicas rented in every hour. What divides is left to
scipy, an hour at a time. That is enough where

* stocks are stated, so that purchases can be counted out;
* of the purchases at most one offer divides: whole replicas use it in multiples of `PART`, its stock and what exists of
  it are such multiples, and terms are runs of epochs (an interval matrix is totally unimodular), so some optimum buys
  multiples of `PART`;
* a pool has one deployment at most that divides: it takes the GPUs that whole replicas leave.

More replicas never cost more, so only placements are tried to which none can be added. What time asks of a plan
(minimum hours, start-up, models kept warm) is not here: it is in no bound either.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np

from planner.problem import Offer, Problem

PART = 0.5
_HAIR = 1e-9
Numbers = tuple[float, ...]


def least_usd(problem: Problem) -> float:
    """Over every allowed purchase; inf where what exists breaks a rule."""
    tried, best = _Tried(problem), math.inf
    for buy in _purchases(problem):
        best = min(best, tried.usd(buy, best))
    return best


def _purchases(problem: Problem) -> Iterator[dict[tuple[int, int], float]]:
    epochs = range(len(problem.epochs))
    keys = [(o, m) for o, offer in enumerate(problem.offers) for m in epochs
            if offer.bought and m + offer.lead_epochs < len(problem.epochs)]  # fmt: skip
    amounts = [_counted(problem.offers[o].max_units, 1.0 if problem.offers[o].whole else PART) for o, _ in keys]
    for units in itertools.product(*amounts):
        yield dict(zip(keys, units, strict=True))


def _counted(most: float | None, by: float) -> Numbers:
    assert most is not None
    return tuple(by * n for n in range(math.floor(most / by + _HAIR) + 1))


def unit_usd(problem: Problem, offer: Offer, signed: int) -> float:
    """What one unit signed in that epoch pays, each sum at the discount of the day on which it is paid."""
    epochs, end = problem.epochs, len(problem.epochs)
    path = offer.price_path or (1.0,)
    scale = path[min(signed, len(path) - 1)]
    per_h = sum(line.usd for line in offer.committed) * (1.0 if offer.running_costs_stay else scale)
    upfront = scale * sum(line.usd for line in offer.upfront)
    first = signed + offer.lead_epochs
    if offer.term_epochs is None:
        usd = upfront * epochs[signed].discount + sum(per_h * e.hours * e.discount for e in epochs[first:])
        ages = offer.residual_usd or (0.0,)
        return usd - scale * ages[min(end - signed, len(ages) - 1)] * problem.end_discount
    later = problem.later or epochs[-1:]
    run = range(first, first + offer.term_epochs)
    inside = [epochs[m] for m in run if m < end]
    past = [(e.past_h, e.discount) for e in inside]
    past += [(e.hours + e.past_h, e.discount) for m in run if m >= end for e in [later[min(m - end, len(later) - 1)]]]
    past_h, inside_h = sum(hours for hours, _ in past), sum(e.hours for e in inside)
    usd = upfront * epochs[signed].discount + sum(per_h * e.hours * e.discount for e in inside)
    if problem.tail == "full":
        return usd + sum(per_h * hours * discount for hours, discount in past)
    if problem.tail == "buyout":
        return usd + problem.buyout_share * per_h * past_h * problem.end_discount
    return usd - upfront * epochs[signed].discount * past_h / (past_h + inside_h)


class _Tried:
    """What was tried before is looked up: an epoch by the units active in it, an hour by replicas and units."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.paid = cache(lambda o, m: unit_usd(problem, problem.offers[o], m))
        self.epoch_usd, self.hour_usd, self.served_usd = (
            cache(f) for f in (self._epoch_usd, self._hour_usd, self._served_usd)
        )
        work = np.array([[t or 0.0 for t in d.gpu_h_per_request] for d in problem.deployments])
        busiest = (problem.blocks.demand @ work.T).max(axis=0)
        self.useful = [
            math.ceil(hours / d.gpus_per_replica - _HAIR) for hours, d in zip(busiest, problem.deployments, strict=True)
        ]

    def usd(self, buy: dict[tuple[int, int], float], most: float) -> float:
        """With these purchases; inf where a rule forbids them, or they cost `most` already and hours cost more."""
        problem, total = self.problem, 0.0
        active = np.zeros((len(problem.offers), len(problem.epochs)))
        for o, offer in enumerate(problem.offers):
            active[o, : len(offer.existing)] = offer.existing[: len(problem.epochs)]
        for (o, m), units in buy.items():
            if units:
                offer = problem.offers[o]
                first = m + offer.lead_epochs
                active[o, first : None if offer.term_epochs is None else first + offer.term_epochs] += units
                total += units * self.paid(o, m)
        if total >= most:
            return math.inf
        for m, epoch in enumerate(problem.epochs):
            units_of = {offer.name: float(active[o, m]) for o, offer in enumerate(problem.offers)}
            if any(f.bought and f.max_units is not None and units_of[f.name] > f.max_units for f in problem.offers):
                return math.inf
            if any(sum(n * units_of[o] for o, n in limit.per_unit.items()) > limit.cap for limit in problem.limits):
                return math.inf
            for charge in problem.fixed_charges:
                if any(units_of[name] > 0 for name in charge.offers):
                    total += charge.usd_per_h * epoch.hours * epoch.discount
            total += epoch.discount * self.epoch_usd(m, tuple(active[:, m].tolist()))
        return total

    def _epoch_usd(self, m: int, active: Numbers) -> float:
        """All hours of an epoch, with the best of all placements on the units that are placed by epoch."""
        problem = self.problem
        blocks = [(float(problem.blocks.weight_h[t]), tuple(problem.blocks.demand[t].tolist()))
                  for t in np.flatnonzero(problem.blocks.epoch == m)]  # fmt: skip
        if not blocks:
            return 0.0
        pools = [list(self._placements(p, active)) for p in range(len(problem.pools))]
        best = math.inf
        for placed in itertools.product(*pools):
            replicas = [0.0] * len(problem.deployments)
            for d, count in itertools.chain(*placed):
                replicas[d] = count
            best = min(best, sum(w * self.hour_usd(m, demand, tuple(replicas), active) for w, demand in blocks))
        return best

    def _placements(self, p: int, active: Numbers) -> Iterator[list[tuple[int, float]]]:
        problem, pool = self.problem, self.problem.pools[p].name
        gpus = sum(active[o] / f.covers[pool] for o, f in enumerate(problem.offers)
                   if f.placed == "epoch" and pool in f.covers)  # fmt: skip
        here = [d for d, deployment in enumerate(problem.deployments) if deployment.pool == pool]
        whole = [d for d in here if not problem.deployments[d].divisible]
        size = {d: problem.deployments[d].gpus_per_replica for d in here}
        for counts in itertools.product(*(range(self.useful[d] + 1) for d in whole)):
            left = gpus - sum(size[d] * n for d, n in zip(whole, counts, strict=True))
            more = any(size[d] <= left + _HAIR and n < self.useful[d] for d, n in zip(whole, counts, strict=True))
            divides = [(d, max(left, 0.0) / size[d]) for d in here if d not in whole]
            assert len(divides) <= 1
            if left >= -_HAIR and (divides or not more):
                yield [*zip(whole, map(float, counts), strict=True), *divides]

    def _hour_usd(self, m: int, demand: Numbers, replicas: Numbers, active: Numbers) -> float:
        """One hour, with the best of all numbers of replicas rented and of units switched on for them."""
        problem, best = self.problem, math.inf
        pairs = [(o, d) for o, f in enumerate(problem.offers) if f.placed == "hour"
                 for d, deployment in enumerate(problem.deployments)
                 if deployment.pool in f.covers and not deployment.divisible]  # fmt: skip
        for counts in itertools.product(*(range(max(0, self.useful[d] - int(replicas[d])) + 1) for _, d in pairs)):
            there, used = list(replicas), dict.fromkeys((o for o, f in enumerate(problem.offers)), 0.0)
            for (o, d), n in zip(pairs, counts, strict=True):
                deployment = problem.deployments[d]
                there[d] += n
                used[o] += n * problem.offers[o].covers[deployment.pool] * deployment.gpus_per_replica
            extra = any(n and there[d] > self.useful[d] for (_, d), n in zip(pairs, counts, strict=True))
            for on in () if extra else itertools.product(*(self._switched_on(o, used[o], active[o]) for o in used)):
                paid = sum(units * self._usage(o, m) for o, units in enumerate(on))
                room = tuple(self._room(o, units, used[o], active[o]) for o, units in enumerate(on))
                if paid < best:
                    best = min(best, paid + self.served_usd(m, demand, tuple(there), room))
        return best

    def _usage(self, o: int, m: int) -> float:
        offer = self.problem.offers[o]
        path = offer.price_path or (1.0,)
        return offer.usage_usd_per_h * path[min(m, len(path) - 1)]

    def _most(self, o: int, active: float) -> float:
        """Units of an offer by the hour that can be on."""
        offer = self.problem.offers[o]
        useful = math.ceil(sum(offer.covers.get(d.pool, 0.0) * d.gpus_per_replica * n
                               for d, n in zip(self.problem.deployments, self.useful, strict=True)))  # fmt: skip
        return active if offer.bought else float(useful) if offer.max_units is None else offer.max_units

    def _divides(self, o: int) -> list[int]:
        offer = self.problem.offers[o]
        return [d for d, one in enumerate(self.problem.deployments) if one.divisible and one.pool in offer.covers]

    def _switched_on(self, o: int, used: float, active: float) -> Iterable[float]:
        """How many units can be on for this use by whole replicas; more than they need for those that divide."""
        offer = self.problem.offers[o]
        if offer.placed == "epoch":
            return (0.0,)
        most = self._most(o, active)
        least = float(math.ceil(used - _HAIR)) if offer.whole else used
        numbers = [least] if not (offer.whole and self._divides(o)) else [least + n for n in range(math.ceil(most) + 1)]
        return [n for n in numbers if n <= most + _HAIR]

    def _room(self, o: int, on: float, used: float, active: float) -> float:
        """Units that those that divide may use: on already, or (of an offer that divides) to be had."""
        offer = self.problem.offers[o]
        if offer.placed == "epoch" or not self._divides(o):
            return 0.0
        return (on if offer.whole else self._most(o, active)) - used

    def _served_usd(self, m: int, demand: Numbers, replicas: Numbers, room: Numbers) -> float:
        """Who serves what: a linear programme of `served`, `api`, `unserved` and, of what divides, `rented`."""
        from scipy.optimize import linprog

        problem, classes = self.problem, range(len(demand))
        columns: list[tuple[float, dict[tuple[str, int], float]]] = []
        bound: dict[tuple[str, int], float] = {}
        for d, deployment in enumerate(problem.deployments):
            bound["gpu", d] = replicas[d] * deployment.gpus_per_replica
            busy = next(pool.busy_usd_per_gpu_h for pool in problem.pools if pool.name == deployment.pool)
            for k, time in enumerate(deployment.gpu_h_per_request):
                if time is not None:
                    columns.append((time * busy, {("class", k): 1.0, ("gpu", d): time}))
        for e, endpoint in enumerate(problem.endpoints):
            path = endpoint.price_path or (1.0,)
            bound["requests", e] = math.inf if endpoint.requests_per_h is None else endpoint.requests_per_h
            bound["tokens", e] = math.inf if endpoint.tokens_per_h is None else endpoint.tokens_per_h
            for k, usd in enumerate(endpoint.usd_per_request):
                if usd is not None:
                    tokens = endpoint.tokens_per_request[k] if endpoint.tokens_per_request else 0.0
                    use = {("class", k): 1.0, ("requests", e): 1.0, ("tokens", e): tokens}
                    columns.append((usd * path[min(m, len(path) - 1)], use))
        for o, units in enumerate(room):
            bound["units", o] = units
            for d in self._divides(o) if units else ():
                use_units = problem.offers[o].covers[problem.deployments[d].pool]
                usd = 0.0 if problem.offers[o].whole else self._usage(o, m) * use_units
                columns.append((usd, {("units", o): use_units, ("gpu", d): -1.0}))
        columns += [(problem.unserved_usd_per_request[k], {("class", k): 1.0}) for k in classes]
        limited = [key for key, most in bound.items() if most < math.inf and any(key in use for _, use in columns)]
        above = np.array([[use.get(key, 0.0) for _, use in columns] for key in limited]).reshape(-1, len(columns))
        equal = np.array([[use.get(("class", k), 0.0) for _, use in columns] for k in classes])
        found = linprog([usd for usd, _ in columns], A_ub=above, b_ub=[bound[key] for key in limited],
                        A_eq=equal, b_eq=demand, method="highs")  # fmt: skip
        assert found.status == 0
        return float(found.fun)
