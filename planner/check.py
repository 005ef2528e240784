"""Is this plan allowed, and does it cost what it says? Checked with arithmetic only: no solver, no programme.

The rules are written here a second time on purpose, straight from the `Problem`, so that a mistake in `programme.py` or
`dispatch.py` cannot hide. `check` returns every violation in words; an empty tuple is a pass. It runs inside every
`planner solve`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from planner.finance import Loan
from planner.problem import Array, Epoch, Offer, Problem
from planner.solve import Solution

_RELATIVE = 1e-6
_CENT = 0.01


def check(solution: Solution) -> tuple[str, ...]:
    """Every rule the plan breaks: balance, capacity, whole units, terms, stock, sites, endpoints, money to the cent.

    A plan for other hours than the problem's is told as such and checked no further.
    """
    view = _View(solution)
    if other := tuple(_joined(view)):
        return other
    families = (
        _signs, _purchases, _stock, _sites, _placement, _balance, _capacity, _on_demand, _warm, _endpoints, _money,
        _bound,
    )  # fmt: skip
    return tuple(fault for family in families for fault in family(view))


class _View:
    """The plan's numbers by name, and what is active when."""

    def __init__(self, solution: Solution) -> None:
        self.solution, self.problem = solution, solution.problem
        self.blocks, self.fleet = solution.blocks, solution.fleet
        self.values = solution.hours.values
        self.column = {key: i for i, key in enumerate(solution.hours.matrix.columns)}
        epochs = range(len(self.problem.epochs))
        self.active = np.array([[_active(self, o, m) for m in epochs] for o in range(len(self.problem.offers))])

    def of(self, family: str, *key: int) -> Array:
        """One variable over all blocks; zeros where it does not exist."""
        column = self.column.get((family, key))
        return np.zeros(len(self.blocks)) if column is None else self.values[:, column]


def _active(view: _View, o: int, m: int) -> float:
    offer: Offer = view.problem.offers[o]
    units = offer.existing[m] if m < len(offer.existing) else 0.0
    for n in range(m + 1):
        first = n + offer.lead_epochs
        last = math.inf if offer.term_epochs is None else first + offer.term_epochs
        if first <= m < last:
            units += float(view.fleet.buy[o, n])
    return units


def _joined(view: _View) -> Iterator[str]:
    """The hours that were joined stand for the problem's own: epoch, demand and weight, none left out."""
    blocks, own, place = view.blocks, view.problem.blocks, view.solution.block_of
    if len(place) != len(own) or len(view.values) != len(blocks) or not np.isin(place, np.arange(len(blocks))).all():
        yield "hours: the problem's and the plan's do not belong together"
        return
    if (blocks.epoch[place] != own.epoch).any():
        yield "hours: one stands for an hour of another epoch"
    if (blocks.demand[place] != own.demand).any():
        yield "hours: one stands for an hour with other demand"
    weight_h = np.bincount(place, weights=own.weight_h, minlength=len(blocks))
    if (np.abs(blocks.weight_h - weight_h) > _RELATIVE * weight_h).any():
        yield "hours: one does not weigh what those weigh that it stands for"


def _signs(view: _View) -> Iterator[str]:
    for name, array in (("buy", view.fleet.buy), ("replicas", view.fleet.replicas), ("hours", view.values)):
        if not np.isfinite(array).all() or array.min(initial=0) < 0:
            yield f"{name}: a value is negative or not finite"


def _purchases(view: _View) -> Iterator[str]:
    for o, offer in enumerate(view.problem.offers):
        bought = view.fleet.buy[o]
        if not offer.bought and bought.any():
            yield f"{offer.name}: bought, but it is not for sale"
        if offer.whole and (bought != np.round(bought)).any():
            yield f"{offer.name}: a purchase is not whole"


def _stock(view: _View) -> Iterator[str]:
    for o, offer in enumerate(view.problem.offers):
        if offer.bought and offer.max_units is not None and _over(view.active[o], offer.max_units):
            yield f"{offer.name}: {view.active[o].max():g} units active, {offer.max_units:g} to be had"


def _sites(view: _View) -> Iterator[str]:
    index = {offer.name: o for o, offer in enumerate(view.problem.offers)}
    for limit in view.problem.limits:
        used = sum(use * view.active[index[name]] for name, use in limit.per_unit.items())
        if _over(np.asarray(used), limit.cap):
            yield f"{limit.name}: {np.max(used):g} used of {limit.cap:g}"


def _placement(view: _View) -> Iterator[str]:
    problem = view.problem
    for d, deployment in enumerate(problem.deployments):
        replicas = view.fleet.replicas[d]
        if not deployment.divisible and (replicas != np.round(replicas)).any():
            yield f"{deployment.name}: a replica is not whole"
    for pool in problem.pools:
        gpus = np.zeros(len(problem.epochs))
        for o, offer in enumerate(problem.offers):
            if offer.placed == "epoch" and pool.name in offer.covers:
                gpus += view.active[o] / offer.covers[pool.name]
        placed = np.zeros(len(problem.epochs))
        for d, deployment in enumerate(problem.deployments):
            if deployment.pool == pool.name:
                placed += deployment.gpus_per_replica * view.fleet.replicas[d]
        if _over(placed, gpus):
            yield f"{pool.name}: replicas are placed on more GPUs than there are"


def _balance(view: _View) -> Iterator[str]:
    problem = view.problem
    for k, name in enumerate(problem.classes):
        served = view.of("unserved", k).copy()
        for d, deployment in enumerate(problem.deployments):
            work = view.of("served", k, d)
            if deployment.gpu_h_per_request[k] is None and work.any():
                yield f"{name}: served by {deployment.name}, which may not"
            served += work
        for e, endpoint in enumerate(problem.endpoints):
            sent = view.of("api", k, e)
            if endpoint.usd_per_request[k] is None and sent.any():
                yield f"{name}: sent to {endpoint.name}, which may not"
            served += sent
        demand = view.blocks.demand[:, k]
        if (np.abs(served - demand) > _RELATIVE * max(1e-9, demand.max(initial=0))).any():
            yield f"{name}: what is served differs from the demand"


def _capacity(view: _View) -> Iterator[str]:
    problem = view.problem
    for d, deployment in enumerate(problem.deployments):
        work = np.zeros(len(view.blocks))
        for k, hours in enumerate(deployment.gpu_h_per_request):
            work += (hours or 0.0) * view.of("served", k, d)
        replicas = view.fleet.replicas[d][view.blocks.epoch].copy()
        for o in range(len(problem.offers)):
            replicas += view.of("rented", o, d)
        if _over(work, replicas * deployment.gpus_per_replica):
            yield f"{deployment.name}: more work than its replicas can do inside the SLO"


def _on_demand(view: _View) -> Iterator[str]:
    problem = view.problem
    for o, offer in enumerate(problem.offers):
        if offer.placed != "hour":
            continue
        on, needed = view.of("on", o), np.zeros(len(view.blocks))
        for d, deployment in enumerate(problem.deployments):
            rented = view.of("rented", o, d)
            if not deployment.divisible and (rented != np.round(rented)).any():
                yield f"{offer.name}: a rented replica of {deployment.name} is not whole"
            needed += offer.covers.get(deployment.pool, 0.0) * deployment.gpus_per_replica * rented
        if offer.whole and (on != np.round(on)).any():
            yield f"{offer.name}: a unit switched on is not whole"
        if (offer.minimum_h > 1 or offer.start_h > 0) and len(view.blocks) != len(problem.blocks):
            yield f"{offer.name}: hours were joined, though its minimum hours or start-up ask for their order"
        if offer.whole and shortest_run(on) < offer.minimum_h:
            yield f"{offer.name}: a unit is switched off before its {offer.minimum_h:g} hours are over"
        if offer.start_h > 0 and starts_late(on, needed, offer.start_h):
            yield f"{offer.name}: replicas run on units that have not been on for {offer.start_h:g} hours"
        if _over(needed, on):
            yield f"{offer.name}: replicas run on units that are not switched on"
        stock = math.inf if offer.max_units is None else offer.max_units
        most = view.active[o][view.blocks.epoch] if offer.bought else np.asarray(stock)
        if _over(on, most):
            yield f"{offer.name}: more units are on than there are"


def shortest_run(on: Array) -> float:
    """Hours of the shortest run that ends inside the horizon, the unit that was switched on first stopping first."""
    running: list[int] = []
    shortest = math.inf
    for hour, units in enumerate(np.round(on).astype(int).tolist()):
        while len(running) > units:
            shortest = min(shortest, hour - running.pop(0))
        running += [hour] * (units - len(running))
    return shortest


def starts_late(on: Array, used: Array, start_h: float) -> bool:
    """Whether an hour uses more than was on in it and in each hour of the start-up before; the first have started."""
    early = math.ceil(start_h)
    return any(_over(used[hour : hour + 1], on[max(0, hour - early) : hour + 1].min()) for hour in range(len(on)))


def _warm(view: _View) -> Iterator[str]:
    problem, epoch = view.problem, view.blocks.epoch
    for group in problem.warm:
        served, running = np.zeros(len(epoch)), np.zeros(len(epoch))
        for d, deployment in enumerate(problem.deployments):
            if deployment.name in group:
                served += sum(view.of("served", k, d) for k in range(len(problem.classes)))
                running += view.fleet.replicas[d, epoch] + sum(
                    view.of("rented", o, d) for o in range(len(problem.offers))
                )
        for m in np.unique(epoch):
            here = epoch == m
            if served[here].max() > _RELATIVE * view.blocks.demand.max() and running[here].min() < 1 - _RELATIVE:
                yield f"{group[0]}: serves in {problem.epochs[m].name} without a replica in every hour"


def _endpoints(view: _View) -> Iterator[str]:
    problem = view.problem
    for e, endpoint in enumerate(problem.endpoints):
        sent = np.array([view.of("api", k, e) for k in range(len(problem.classes))])
        if endpoint.requests_per_h is not None and _over(sent.sum(axis=0), endpoint.requests_per_h):
            yield f"{endpoint.name}: more requests than its limit"
        if endpoint.tokens_per_h is not None:
            tokens = np.asarray(endpoint.tokens_per_request) @ sent
            if _over(tokens, endpoint.tokens_per_h):
                yield f"{endpoint.name}: more tokens than its limit"


def _money(view: _View) -> Iterator[str]:
    usd = recomputed_usd(view.solution)
    if abs(usd - view.solution.cost_usd) > max(_CENT, 1e-9 * abs(usd)):
        yield f"the plan says {view.solution.cost_usd:.2f} USD, its parts add up to {usd:.2f} USD"


def _bound(view: _View) -> Iterator[str]:
    solution = view.solution
    if solution.bound_usd > solution.cost_usd * (1 + 1e-6) + _CENT:
        yield f"the bound {solution.bound_usd:.2f} USD exceeds the plan's {solution.cost_usd:.2f} USD"


def recomputed_usd(solution: Solution) -> float:
    """Present value in USD of everything the plan pays, added up item by item."""
    problem, blocks = solution.problem, solution.blocks
    view_columns = solution.hours.matrix.columns
    items: list[float] = []
    active = _View(solution).active
    for charge in problem.fixed_charges:
        units = sum(active[o] for o, offer in enumerate(problem.offers) if offer.name in charge.offers)
        for m, (epoch, count) in enumerate(zip(problem.epochs, np.atleast_1d(units), strict=True)):
            owed = count > 0 and m not in charge.waived
            items.append(charge.usd_per_h * epoch.hours * epoch.discount if owed else 0.0)
    for (o, m), units in np.ndenumerate(solution.fleet.buy):
        if units:
            items += [units * usd for usd in _unit_usd(problem, problem.offers[o], m)]
    present_h = blocks.weight_h * np.array([epoch.discount for epoch in problem.epochs])[blocks.epoch]
    for (family, key), amounts in zip(view_columns, solution.hours.values.T, strict=True):
        price = np.array([_price(problem, family, key, m) for m in range(len(problem.epochs))])
        if amounts.any():
            items.append(float(present_h @ (amounts * price[blocks.epoch])))
    return math.fsum(items)


def _unit_usd(problem: Problem, offer: Offer, signed_in: int) -> Iterator[float]:
    """Present value in USD of what one unit pays: upfront, then month by month, then when the horizon ends."""
    scale = offer.price_path[min(signed_in, len(offer.price_path) - 1)] if offer.price_path else 1.0
    per_h = sum(line.usd for line in offer.committed) * (1.0 if offer.running_costs_stay else scale)
    upfront = scale * sum(line.usd for line in offer.upfront) * problem.epochs[signed_in].discount
    yield upfront
    held_h = past_h = 0.0
    ends = len(problem.epochs) if offer.term_epochs is None else signed_in + offer.lead_epochs + offer.term_epochs
    for m in range(signed_in + offer.lead_epochs, ends):
        month = _month(problem, m)
        inside = month.hours if m < len(problem.epochs) else 0.0
        after = 0.0 if offer.term_epochs is None else month.hours + month.past_h - inside
        held_h, past_h = held_h + inside, past_h + after
        yield per_h * (inside + (after if problem.tail == "full" else 0.0)) * month.discount
    if problem.tail == "buyout":
        yield problem.buyout_share * per_h * past_h * problem.end_discount
    if problem.tail == "prorated" and past_h:
        yield -upfront * past_h / (held_h + past_h)
    if offer.loan is not None:
        yield -upfront
        yield from _repaid(problem, scale * sum(line.usd for line in offer.upfront), offer.loan, signed_in)
    if offer.residual_usd and offer.term_epochs is None:
        age = min(len(problem.epochs) - signed_in, len(offer.residual_usd) - 1)
        yield -scale * offer.residual_usd[age] * problem.end_discount


def _repaid(problem: Problem, debt: float, loan: Loan, signed_in: int) -> Iterator[float]:
    """Present value in USD of each payment of a debt, epoch by epoch until it is gone or settled."""
    r, count = loan.interest_per_epoch, loan.epochs
    rate = debt / sum((1 + r) ** -n for n in range(1, count + 1))
    for m in range(signed_in + 1, signed_in + 1 + count):
        debt *= 1 + r
        if m >= len(problem.epochs) and problem.tail != "full":
            yield debt * problem.end_discount
            return
        yield rate * _month(problem, m).discount
        debt -= rate


def _month(problem: Problem, m: int) -> Epoch:
    """An epoch of the horizon, or of the time after it, where the last one known stands for all that follow."""
    known = (*problem.epochs, *problem.later)
    return known[min(m, len(known) - 1)]


def _price(problem: Problem, family: str, key: tuple[int, ...], epoch: int) -> float:
    """USD per request (served, api, unserved) or per unit and hour (on) at the prices of that epoch."""
    if family == "on":
        offer = problem.offers[key[0]]
        return offer.usage_usd_per_h * offer.price_factor(epoch)
    if family == "api":
        endpoint = problem.endpoints[key[1]]
        return (endpoint.usd_per_request[key[0]] or 0.0) * endpoint.price_factor(epoch)
    if family == "served":
        deployment = problem.deployments[key[1]]
        pool = problem.pools[problem.pool_index[deployment.pool]]
        return (deployment.gpu_h_per_request[key[0]] or 0.0) * pool.busy_usd_per_gpu_h
    return problem.unserved_usd_per_request[key[0]] if family == "unserved" else 0.0


def _over(amount: Array, most: Array | float) -> bool:
    limit = np.asarray(most, dtype=float)
    return bool((amount > limit + _RELATIVE * (1 + np.abs(np.where(np.isfinite(limit), limit, 0.0)))).any())
