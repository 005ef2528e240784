"""What an unserved request costs where plan.toml does not say: more than serving it, as far as one number can.

For each shape class the largest of

* ten times what its GPU time or its API call costs at the dearest price;
* what the dearest unit costs for an hour, so that no whole unit is left off to save itself;
* twice the cost per request of the cheapest way to serve its workload alone, paid as it is: whole units, by the month,
  the term or the hour, one of them on at all hours, a team where there is one. Work that is rare costs far more a
  request than its GPU time does.

The last request of a peak may still cost more than this to serve; `decide.py` asks again before work is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from planner.deployments import CaseWorkload
from planner.problem import Array, Deployment, Endpoint, Offer, Problem
from planner.supply import OfferInfo

_TIMES_DEAREST = 10.0
_TIMES_ALONE = 2.0
_HAIR = 1e-9


def penalties(problem: Problem, workloads: Iterable[CaseWorkload], offers: Sequence[OfferInfo]) -> tuple[float, ...]:
    """USD per unserved request of every class, as plan.toml states or by default."""
    dearest_gpu_h = max((info.usd_per_gpu_h for info in offers), default=1.0)
    unit_h = max((info.usd_per_gpu_h * info.gpus_per_unit for info in offers), default=0.0)
    unit_h = max([unit_h, *(dearest_gpu_h * d.gpus_per_replica for d in problem.deployments)])
    found = []
    for workload in workloads:
        stated = workload.spec.unserved_usd_per_request
        alone = _alone(problem, list(workload.classes)) if stated is None else 0.0
        for k in workload.classes:
            times = [time for d in problem.deployments if (time := d.gpu_h_per_request[k]) is not None]
            prices = [price for e in problem.endpoints if (price := e.usd_per_request[k]) is not None]
            dearest = max([time * dearest_gpu_h for time in times] + prices, default=1.0)
            by_default = max(_TIMES_DEAREST * dearest, unit_h, _TIMES_ALONE * alone)
            found.append(by_default if stated is None else stated)
    return tuple(found)


def _alone(problem: Problem, classes: list[int]) -> float:
    """USD per request of the cheapest way to serve these classes alone; 0 where no one way serves all of them."""
    asked = problem.blocks.demand[:, classes]
    requests = float(_present_h(problem) @ asked.sum(axis=1))
    if not requests:
        return 0.0
    bills = [_api_usd(problem, endpoint, classes) for endpoint in problem.endpoints]
    for deployment in problem.deployments:
        times = [deployment.gpu_h_per_request[k] for k in classes]
        if None in times:
            continue
        work: Array = asked @ np.array(times, dtype=float)
        busy = problem.pools[problem.pool_index[deployment.pool]].busy_usd_per_gpu_h
        power = busy * float(_present_h(problem) @ work)
        for offer in problem.offers:
            sold = not offer.existing and (offer.bought or offer.placed == "hour")
            if sold and deployment.pool in offer.covers:
                bills.append(power + _rented_usd(problem, offer, deployment, work))
    least = min(bills, default=math.inf)
    return least / requests if math.isfinite(least) else 0.0


def _api_usd(problem: Problem, endpoint: Endpoint, classes: list[int]) -> float:
    """The API's whole bill; endless where it does not sell all of it or takes less an hour."""
    prices = [endpoint.usd_per_request[k] for k in classes]
    if None in prices:
        return math.inf
    asked = problem.blocks.demand[:, classes]
    if endpoint.requests_per_h is not None and asked.sum(axis=1).max() > endpoint.requests_per_h:
        return math.inf
    tokens = [endpoint.tokens_per_request[k] for k in classes] if endpoint.tokens_per_h is not None else []
    if endpoint.tokens_per_h is not None and (asked @ np.array(tokens)).max() > endpoint.tokens_per_h:
        return math.inf
    factors = np.array([endpoint.price_factor(m) for m in range(len(problem.epochs))])[problem.blocks.epoch]
    return float((_present_h(problem) * factors) @ (asked @ np.array(prices, dtype=float)))


def _rented_usd(problem: Problem, offer: Offer, deployment: Deployment, work: Array) -> float:
    """What the offer's units cost that serve the work; endless where the stock or a limit does not reach."""
    replicas = np.maximum(np.ceil(work / deployment.gpus_per_replica - _HAIR), 1.0)
    units: Array = offer.covers[deployment.pool] * deployment.gpus_per_replica * replicas
    units = np.ceil(units - _HAIR) if offer.whole else units
    most = float(units.max())
    caps = [limit.cap / use for limit in problem.limits if (use := limit.per_unit.get(offer.name, 0.0))]
    if most > min([math.inf if offer.max_units is None else offer.max_units, *caps]):
        return math.inf
    if not offer.bought:
        factors = np.array([offer.price_factor(m) for m in range(len(problem.epochs))])[problem.blocks.epoch]
        return offer.usage_usd_per_h * float((_present_h(problem) * factors) @ units)
    epochs = len(problem.epochs)
    starts = range(0, epochs, offer.term_epochs or epochs)
    usd = most * sum(sum(amount for _, amount in problem.unit_cost(offer, m)) for m in starts)
    for charge in problem.fixed_charges:
        if offer.name in charge.offers:
            usd += sum(problem.fixed_usd(charge, m) for m in range(epochs))
    return usd


def _present_h(problem: Problem) -> Array:
    discount = np.array([epoch.discount for epoch in problem.epochs])
    hours: Array = problem.blocks.weight_h * discount[problem.blocks.epoch]
    return hours
