"""Which rules leave work unserved: the limits that hold in the hours in which a workload is not served in full.

A limit is named where it binds in such an hour for a supply that could serve the work: a stock that is used up, a cap
of the site, GPUs that have not arrived, an API's rate. What plan.toml forbids altogether is named beside them. Read off
the solution; nothing is solved again (`planner solve --explain` prices each rule).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from planner.assemble import Case
from planner.attribution import missed_requests
from planner.caps import CAPS
from planner.deployments import CaseWorkload
from planner.problem import Array, Limit
from planner.solve import Solution

_NEAR = 1e-6


def causes(case: Case, solution: Solution) -> tuple[str, ...]:
    """A sentence for every workload that is not served in full."""
    missed, said = missed_requests(solution), []
    for workload in case.workloads:
        count = float(missed[list(workload.classes)].sum())
        if count <= 0 or workload.spec.unserved_usd_per_request is not None:
            continue
        reasons = list(dict.fromkeys((*_binding(case, solution, workload), *_forbidden(case, workload))))
        if reasons:
            said.append(f"{workload.name}: {count:,.0f} requests are unserved because of {'; '.join(reasons)}.")
    return tuple(said)


def _binding(case: Case, solution: Solution, workload: CaseWorkload) -> Iterable[str]:
    problem, blocks = case.problem, solution.blocks
    values, columns = solution.hours.values, solution.hours.matrix.columns
    at = {key: i for i, key in enumerate(columns)}
    short = np.zeros(len(blocks), dtype=bool)
    for k in workload.classes:
        short |= values[:, at["unserved", (k,)]] > _NEAR * max(1.0, float(blocks.demand[:, k].max()))
    epochs = np.unique(blocks.epoch[short])
    pools = {d.pool for d in problem.deployments if any(d.gpu_h_per_request[k] for k in workload.classes)}
    active = problem.active_units(solution.fleet.buy)
    for o, info in enumerate(case.offers):
        offer = info.offer
        if not pools & set(offer.covers):
            continue
        used = values[:, at["on", (o,)]][short] if offer.placed == "hour" and not offer.bought else active[o, epochs]
        if offer.max_units is not None and (used >= offer.max_units - _NEAR).any():
            yield f"the stock of {info.label} ({offer.max_units:,.6g} unit{'s' * (offer.max_units != 1)})"
        if info.lead_months and (epochs < offer.lead_epochs).any():
            yield f"the lead time of {info.label}"
        for limit in problem.limits:
            if offer.bought and offer.name in limit.per_unit and _full(limit, case, active[:, epochs], offer.name):
                yield ".".join(CAPS[limit.name].keys) + f" ({limit.cap:g})"
    for e, sold in enumerate(case.endpoints):
        sent = np.array(
            [values[short, at["api", (k, e)]] for k in range(len(problem.classes)) if ("api", (k, e)) in at]
        )
        if any(sold.endpoint.usd_per_request[k] is not None for k in workload.classes):
            yield from _rates(sold.label, sold.endpoint.requests_per_h, sent.sum(axis=0), "requests")
            tokens = np.array(
                [t for k, t in enumerate(sold.endpoint.tokens_per_request) if ("api", (k, e)) in at], dtype=float
            )
            yield from _rates(sold.label, sold.endpoint.tokens_per_h, tokens @ sent, "tokens")


def _full(limit: Limit, case: Case, active: Array, offer: str) -> bool:
    """Whether a unit more of the offer would not fit under the cap in some of the epochs."""
    use = np.array([limit.per_unit.get(info.offer.name, 0.0) for info in case.offers])
    return bool((use @ active + limit.per_unit[offer] > limit.cap * (1 + _NEAR)).any())


def _rates(label: str, limit_per_h: float | None, used: Array, what: str) -> Iterable[str]:
    if limit_per_h is not None and (used >= limit_per_h * (1 - _NEAR)).any():
        yield f"the {what} per minute that {label} takes ({limit_per_h / 60:,.6g})"


def _forbidden(case: Case, workload: CaseWorkload) -> Iterable[str]:
    policy = case.plan.policy
    for key in ("forbid", "forbid_providers", "forbid_gpus"):
        if names := getattr(policy, key):
            yield f"policy.{key} ({', '.join(names)})"
    if workload.spec.residency:
        yield f"its residency ({', '.join(workload.spec.residency)})"
