r"""Problem -> linear programme with whole numbers, stated once, in PuLP.

Sets
    m epochs, t blocks of hours (each in one epoch m(t)), k classes, p pools, d deployments, o offers, e endpoints.

Variables (all >= 0; only for allowed pairs)
    buy[o,m]        units bought in epoch m                                          whole unless the offer divides
    replicas[d,m]   replicas placed on epoch-placed units                            whole unless divisible or relaxed
    opened[f,m]     whether fixed charge f is owed in epoch m                        0 or 1 unless relaxed
    on[o,t]         units of an hour-placed offer that are switched on               whole unless relaxed
    rented[o,d,t]   replicas placed on them in that block                            whole unless divisible or relaxed
    served[k,d,t]   requests per hour that deployment d serves
    api[k,e,t]      requests per hour that endpoint e serves
    unserved[k,t]   requests per hour nobody serves, at a penalty
    (cost[t], USD per hour of block t, in place of the block's own variables in the search's master: `master.py`)

Parameters (units in `problem.py`)
    active(o,m) = existing[o,m] + sum of buy[o,n] over purchases n that supply in m; w[t] hours; r[m] discount.

Objective (USD, present value)
    min  sum_{o,m} unit_cost(o,m) buy[o,m] + sum_{f,m} fixed(f,m) opened[f,m]
       + sum_t r w [ sum_o usage on + sum_{k,d} gpu_h busy served + sum_{k,e} price api + sum_k penalty unserved ]

Each family of constraints is one function: its docstring is the inequality, its name the row's in the LP file. There
`@` stands between two names, which may hold dots but no `@` (`problem_faults.py`): `served.chat@chat.on.owned.0`.
A replica count whose pool holds nothing else, filled by units of whole replicas, is whole by itself: it is left
continuous (`whole_by_itself`), which halves the whole numbers of a plan.
`relax` says which whole numbers are let go: a bound may drop any of them, a plan none. The capacity expansion form is
that of energy systems (PyPSA, Brown et al., J. Open Research Software 2018): GPUs for plants, requests for power.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from planner.problem import Deployment, Offer, Problem

Row = tuple[str, Any]
Term = tuple[Any, float]


@dataclass(frozen=True)
class Relax:
    """Which whole numbers are let go."""

    purchases: bool = False
    placement: bool = False
    hours: bool = False


@dataclass
class Programme:
    """The programme while it is built and after; `lp` never leaves `programme.py` and `solver.py`."""

    problem: Problem
    relax: Relax
    lp: Any
    buy: dict[tuple[int, int], Any] = field(default_factory=dict)
    replicas: dict[tuple[int, int], Any] = field(default_factory=dict)
    opened: dict[tuple[int, int], Any] = field(default_factory=dict)
    on: dict[tuple[int, int], Any] = field(default_factory=dict)
    rented: dict[tuple[int, int, int], Any] = field(default_factory=dict)
    served: dict[tuple[int, int, int], Any] = field(default_factory=dict)
    api: dict[tuple[int, int, int], Any] = field(default_factory=dict)
    unserved: dict[tuple[int, int], Any] = field(default_factory=dict)
    cost: dict[int, Any] = field(default_factory=dict)


def build(problem: Problem, relax: Relax = Relax(), name: str = "spillway") -> Programme:
    """State the programme of `problem`; nothing is solved here."""
    programme = begin(problem, relax, name)
    for block in range(len(problem.blocks)):
        block_variables(programme, block)
    set_objective(programme)
    for family in FIRST_STAGE:
        state(programme, family(programme))
    for block in range(len(problem.blocks)):
        for by_block in EVERY_BLOCK:
            state(programme, by_block(programme, block))
    return programme


def begin(problem: Problem, relax: Relax, name: str) -> Programme:
    """A programme with the variables of the first stage."""
    import pulp

    programme = Programme(problem, relax, pulp.LpProblem(name, pulp.LpMinimize))
    first_stage_variables(programme)
    fixed_charge_variables(programme)
    return programme


def set_objective(programme: Programme) -> None:
    """Minimise the present value of everything."""
    import pulp

    programme.lp.setObjective(pulp.LpAffineExpression(list(_costs(programme))))


def state(programme: Programme, rows: Iterator[Row]) -> None:
    """Add these rows."""
    for name, constraint in rows:
        programme.lp.addConstraint(constraint, name)


def first_stage_variables(programme: Programme) -> None:
    """buy[o,m] where a purchase in m still supplies inside the horizon, and replicas[d,m]."""
    problem, relax = programme.problem, programme.relax
    for m, epoch in enumerate(problem.epochs):
        for o, offer in enumerate(problem.offers):
            if offer.bought and len(problem.active_epochs(offer, m)):
                whole = offer.whole and not relax.purchases
                programme.buy[o, m] = new_variable(programme, f"buy.{offer.name}@{epoch.name}", whole, offer.max_units)
        for d, deployment in enumerate(problem.deployments):
            if any(_supplies(offer, deployment) for offer in problem.offers):
                whole = not (deployment.divisible or relax.placement or whole_by_itself(problem, d))
                programme.replicas[d, m] = new_variable(programme, f"replicas.{deployment.name}@{epoch.name}", whole)


def whole_by_itself(problem: Problem, d: int) -> bool:
    """Whether whole units make whole replicas of d: alone in its pool, units there are whole multiples of a replica."""
    offers = [offer for offer in problem.offers if _supplies(offer, problem.deployments[d])]
    return not problem.deployments[d].divisible and replicas_of_units(problem, d, offers) is not None


def replicas_of_units(problem: Problem, d: int, offers: list[Offer]) -> list[int] | None:
    """Replicas of d that a unit of each of these offers makes; None unless d is alone in its pool and all are whole."""
    deployment = problem.deployments[d]
    sizes = [1 / (offer.covers[deployment.pool] * deployment.gpus_per_replica) for offer in offers]
    counts = [count for offer in offers for count in offer.existing]
    whole = all(offer.whole for offer in offers) and all(abs(n - round(n)) < 1e-9 for n in (*sizes, *counts))
    alone = sum(other.pool == deployment.pool for other in problem.deployments) == 1
    return [round(size) for size in sizes] if whole and alone else None


def fixed_charge_variables(programme: Programme) -> None:
    """opened[f,m], at most one."""
    for f, charge in enumerate(programme.problem.fixed_charges):
        for m, epoch in enumerate(programme.problem.epochs):
            name = f"opened.{charge.name}@{epoch.name}"
            programme.opened[f, m] = new_variable(programme, name, not programme.relax.purchases, 1.0)


def block_variables(programme: Programme, t: int) -> None:
    """on, rented, served, api and unserved of block t, for allowed pairs."""
    problem, relax = programme.problem, programme.relax
    for o, offer in enumerate(problem.offers):
        if offer.placed == "hour":
            whole = offer.whole and not relax.hours
            programme.on[o, t] = new_variable(programme, f"on.{offer.name}.{t}", whole)
            for d, deployment in enumerate(problem.deployments):
                if deployment.pool in offer.covers:
                    whole = not (deployment.divisible or relax.hours)
                    programme.rented[o, d, t] = new_variable(
                        programme, f"rented.{offer.name}@{deployment.name}.{t}", whole
                    )
    for k, name in enumerate(problem.classes):
        for d, deployment in enumerate(problem.deployments):
            if deployment.gpu_h_per_request[k] is not None:
                programme.served[k, d, t] = new_variable(programme, f"served.{name}@{deployment.name}.{t}")
        for e, endpoint in enumerate(problem.endpoints):
            if endpoint.usd_per_request[k] is not None:
                programme.api[k, e, t] = new_variable(programme, f"api.{name}@{endpoint.name}.{t}")
        programme.unserved[k, t] = new_variable(programme, f"unserved.{name}.{t}")


def stock(programme: Programme) -> Iterator[Row]:
    """active(o,m) <= max_units[o]."""
    for o, offer in enumerate(programme.problem.offers):
        if offer.bought and offer.max_units is not None:
            for m, epoch in enumerate(programme.problem.epochs):
                terms, there = active(programme, o, m)
                yield f"stock.{offer.name}@{epoch.name}", new_row(terms, "<=", offer.max_units - there)


def site(programme: Programme) -> Iterator[Row]:
    """sum_o per_unit[o] active(o,m) <= cap."""
    problem = programme.problem
    index = {offer.name: o for o, offer in enumerate(problem.offers)}
    for limit in problem.limits:
        for m, epoch in enumerate(problem.epochs):
            terms: list[Term] = []
            room = limit.cap
            for name, use in limit.per_unit.items():
                bought, there = active(programme, index[name], m)
                terms += [(variable, use * count) for variable, count in bought]
                room -= use * there
            yield f"site.{limit.name}@{epoch.name}", new_row(terms, "<=", room)


def placement(programme: Programme) -> Iterator[Row]:
    """sum_{d in p} gpus_per_replica[d] replicas[d,m] <= sum_{o in p, placed by epoch} active(o,m) / covers[o,p]."""
    problem = programme.problem
    for pool in problem.pools:
        here = [d for d, deployment in enumerate(problem.deployments) if deployment.pool == pool.name]
        offers = [o for o, f in enumerate(problem.offers) if f.placed == "epoch" and pool.name in f.covers]
        for m, epoch in enumerate(problem.epochs if here and offers else ()):
            terms = [(programme.replicas[d, m], problem.deployments[d].gpus_per_replica) for d in here]
            gpus = 0.0
            for o in offers:
                bought, there = active(programme, o, m)
                terms += [(variable, -count / problem.offers[o].covers[pool.name]) for variable, count in bought]
                gpus += there / problem.offers[o].covers[pool.name]
            yield f"placement.{pool.name}@{epoch.name}", new_row(terms, "<=", gpus)


def fixed_charge(programme: Programme) -> Iterator[Row]:
    """sum_{o in f} active(o,m) <= most_units[f] opened[f,m]."""
    problem = programme.problem
    index = {offer.name: o for o, offer in enumerate(problem.offers)}
    for f, charge in enumerate(problem.fixed_charges):
        for m, epoch in enumerate(problem.epochs):
            terms: list[Term] = [(programme.opened[f, m], -charge.most_units)]
            room = 0.0
            for name in charge.offers:
                bought, there = active(programme, index[name], m)
                terms += bought
                room -= there
            yield f"fixed_charge.{charge.name}@{epoch.name}", new_row(terms, "<=", room)


def balance(programme: Programme, t: int) -> Iterator[Row]:
    """sum_d served[k,d,t] + sum_e api[k,e,t] + unserved[k,t] = demand[t,k]."""
    problem = programme.problem
    for k, name in enumerate(problem.classes):
        parts = [programme.served[k, d, t] for d in range(len(problem.deployments)) if (k, d, t) in programme.served]
        parts += [programme.api[k, e, t] for e in range(len(problem.endpoints)) if (k, e, t) in programme.api]
        terms = [(part, 1.0) for part in (*parts, programme.unserved[k, t])]
        yield f"balance.{name}.{t}", new_row(terms, "==", float(problem.blocks.demand[t, k]))


def capacity(programme: Programme, t: int) -> Iterator[Row]:
    """sum_k gpu_h[k,d] served[k,d,t] <= gpus_per_replica[d] (replicas[d,m(t)] + sum_o rented[o,d,t])."""
    problem = programme.problem
    m = int(problem.blocks.epoch[t])
    for d, deployment in enumerate(problem.deployments):
        terms = [(programme.served[k, d, t], time) for k, time in enumerate(deployment.gpu_h_per_request) if time]
        supply = [programme.rented[o, d, t] for o in range(len(problem.offers)) if (o, d, t) in programme.rented]
        supply += [programme.replicas[d, m]] if (d, m) in programme.replicas else []
        if terms:
            terms += [(replicas, -deployment.gpus_per_replica) for replicas in supply]
            yield f"capacity.{deployment.name}.{t}", new_row(terms, "<=", 0.0)


def switched_on(programme: Programme, t: int) -> Iterator[Row]:
    """sum_d covers[o,pool(d)] gpus_per_replica[d] rented[o,d,t] <= on[o,t]."""
    problem = programme.problem
    for o, offer in enumerate(problem.offers):
        if offer.placed == "hour":
            terms = [
                (programme.rented[o, d, t], offer.covers[deployment.pool] * deployment.gpus_per_replica)
                for d, deployment in enumerate(problem.deployments)
                if (o, d, t) in programme.rented
            ]
            yield f"switched_on.{offer.name}.{t}", new_row([*terms, (programme.on[o, t], -1.0)], "<=", 0.0)


def committed(programme: Programme, t: int) -> Iterator[Row]:
    """on[o,t] <= active(o,m(t)) for offers that are bought but used by the hour."""
    problem = programme.problem
    for o, offer in enumerate(problem.offers):
        if offer.placed == "hour" and offer.bought:
            bought, there = active(programme, o, int(problem.blocks.epoch[t]))
            terms = [(programme.on[o, t], 1.0), *((variable, -count) for variable, count in bought)]
            yield f"committed.{offer.name}.{t}", new_row(terms, "<=", there)


def on_demand_stock(programme: Programme, t: int) -> Iterator[Row]:
    """on[o,t] <= max_units[o] for offers that are not bought."""
    for o, offer in enumerate(programme.problem.offers):
        if offer.placed == "hour" and not offer.bought and offer.max_units is not None:
            yield f"on_demand_stock.{offer.name}.{t}", new_row([(programme.on[o, t], 1.0)], "<=", offer.max_units)


def endpoint_requests(programme: Programme, t: int) -> Iterator[Row]:
    """sum_k api[k,e,t] <= requests_per_h[e]."""
    for e, endpoint in enumerate(programme.problem.endpoints):
        if endpoint.requests_per_h is not None:
            terms = [(variable, 1.0) for _, variable in _sent(programme, e, t)]
            yield f"endpoint_requests.{endpoint.name}.{t}", new_row(terms, "<=", endpoint.requests_per_h)


def endpoint_tokens(programme: Programme, t: int) -> Iterator[Row]:
    """sum_k tokens_per_request[e,k] api[k,e,t] <= tokens_per_h[e]."""
    for e, endpoint in enumerate(programme.problem.endpoints):
        if endpoint.tokens_per_h is not None:
            terms = [(variable, endpoint.tokens_per_request[k]) for k, variable in _sent(programme, e, t)]
            yield f"endpoint_tokens.{endpoint.name}.{t}", new_row(terms, "<=", endpoint.tokens_per_h)


FIRST_STAGE = (stock, site, placement, fixed_charge)
EVERY_BLOCK = (balance, capacity, switched_on, committed, on_demand_stock, endpoint_requests, endpoint_tokens)


def active(programme: Programme, o: int, m: int) -> tuple[list[Term], float]:
    """active(o,m): the purchases that supply in epoch m, and the units that exist anyway."""
    problem = programme.problem
    offer = problem.offers[o]
    bought = [n for n in range(m + 1) if (o, n) in programme.buy and m in problem.active_epochs(offer, n)]
    return [(programme.buy[o, n], 1.0) for n in bought], offer.existing_units(m)


def block_costs(programme: Programme, t: int) -> Iterator[Term]:
    """USD per unit of every variable of block t for one hour at that epoch's prices, before weight and discount."""
    problem = programme.problem
    m = int(problem.blocks.epoch[t])
    for o, offer in enumerate(problem.offers):
        if (o, t) in programme.on:
            yield programme.on[o, t], offer.usage_usd_per_h * offer.price_factor(m)
    for k in range(len(problem.classes)):
        for d, deployment in enumerate(problem.deployments):
            if (k, d, t) in programme.served:
                busy = problem.pools[problem.pool_index[deployment.pool]].busy_usd_per_gpu_h
                yield programme.served[k, d, t], (deployment.gpu_h_per_request[k] or 0.0) * busy
        for e, endpoint in enumerate(problem.endpoints):
            if (k, e, t) in programme.api:
                price = endpoint.usd_per_request[k]
                yield programme.api[k, e, t], (price or 0.0) * endpoint.price_factor(m)
        yield programme.unserved[k, t], problem.unserved_usd_per_request[k]


def _costs(programme: Programme) -> Iterator[Term]:
    problem = programme.problem
    for (o, m), variable in programme.buy.items():
        yield variable, sum(usd for _, usd in problem.unit_cost(problem.offers[o], m))
    for (f, m), variable in programme.opened.items():
        yield variable, problem.fixed_usd(problem.fixed_charges[f], m)
    for t in range(len(problem.blocks)):
        present = float(problem.blocks.weight_h[t]) * problem.epochs[int(problem.blocks.epoch[t])].discount
        costs = ((programme.cost[t], 1.0),) if t in programme.cost else block_costs(programme, t)
        yield from ((variable, usd * present) for variable, usd in costs)


def _sent(programme: Programme, e: int, t: int) -> Iterator[tuple[int, Any]]:
    return ((k, programme.api[k, e, t]) for k in range(len(programme.problem.classes)) if (k, e, t) in programme.api)


def _supplies(offer: Offer, deployment: Deployment) -> bool:
    return offer.placed == "epoch" and deployment.pool in offer.covers


def new_variable(programme: Programme, name: str, whole: bool = False, most: float | None = None) -> Any:
    """A variable from 0 to `most`."""
    return programme.lp.add_variable(name, 0, most, "Integer" if whole else "Continuous")


def new_row(terms: list[Term], sense: str, bound: float) -> Any:
    """The sum of `terms` is `<=`, `==` or `>=` the bound."""
    import pulp

    senses = {"<=": pulp.LpConstraintLE, "==": pulp.LpConstraintEQ, ">=": pulp.LpConstraintGE}
    return pulp.LpConstraint(pulp.LpAffineExpression(terms), senses[sense], rhs=bound)
