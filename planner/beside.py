"""What the hidden costs of plan.toml come to in a plan: those inside the bill, and those beside it.

Inside are orchestration and egress, which the programme decided with (`hidden_costs.py`); each tells the lines that
hold it. Beside are compliance, the same whatever is decided, and migration, which the last review counts. Present
value in USD, like the bill.
"""

from __future__ import annotations

import numpy as np

from planner.assemble import Case
from planner.attribution import offer_lines, present_hours
from planner.hidden_costs import ORCHESTRATION, YEAR_H
from planner.plan import Hidden, Plan
from planner.solve import Solution
from planner.told import solved

_BY_THE_HOUR = ("on demand", "spot")


def hidden_amounts(case: Case, solution: Solution) -> tuple[Hidden, ...]:
    """Every hidden cost of which plan.toml states a figure, migration aside."""
    costs, found = case.plan.hidden_costs, []
    if costs.orchestration_usd_per_gpu_year is not None:
        inside = "inside the bill: a line of its own, and of on-demand GPUs a part of their line"
        found.append(Hidden(name=ORCHESTRATION, usd=_orchestration(case, solution), inside=True, note=inside))
    if costs.compliance_usd_per_year is not None:
        years = sum(epoch.hours * epoch.discount for epoch in case.problem.epochs) / YEAR_H
        note = "beside the bill: the same whatever is decided"
        found.append(Hidden(name="compliance", usd=costs.compliance_usd_per_year * years, inside=False, note=note))
    if costs.egress_usd_per_million_api_tokens is not None:
        note = "inside the bill, as a part of the line API"
        found.append(Hidden(name="egress", usd=_egress(case, solution), inside=True, note=note))
    return tuple(found)


def migration(plan: Plan, last: Plan | None, usd_per_swap: float | None) -> tuple[Hidden, ...]:
    """What swapping models and APIs since the last review costs; nothing where no figure is stated."""
    if usd_per_swap is None:
        return ()
    if last is None:
        return (Hidden(name="migration", usd=None, inside=False, note="unknown without the last review (--last)"),)
    before = {workload.name: workload.model for workload in last.workloads}
    models = sum(before.get(w.name, w.model) != w.model for w in plan.workloads)
    apis = {s.name for s in plan.supplies if s.scheme == "api"} - {s.name for s in last.supplies if s.scheme == "api"}
    note = f"beside the bill: swapped since the last review: models of workloads {models}, APIs {len(apis)}"
    return (Hidden(name="migration", usd=usd_per_swap * (models + len(apis)), inside=False, note=note),)


def _orchestration(case: Case, solution: Solution) -> float:
    problem, told = case.problem, solved(case, solution)
    usd = sum(
        amount
        for (o, m), units in np.ndenumerate(solution.fleet.buy)
        if units
        for name, amount in offer_lines(solution, o, m)
        if name == ORCHESTRATION
    )
    rate = (case.plan.hidden_costs.orchestration_usd_per_gpu_year or 0.0) / YEAR_H
    for o, info in enumerate(case.offers):
        if info.scheme in _BY_THE_HOUR:
            factor = np.array([info.offer.price_factor(m) for m in range(len(problem.epochs))])
            units = told.done.gpus_held[o] * min(info.offer.covers.values())
            hours = told.present_h * factor[solution.blocks.epoch]
            usd += float(hours @ units) * info.gpus_per_unit * rate
    return float(usd)


def _egress(case: Case, solution: Solution) -> float:
    told = solved(case, solution)
    rate = (case.plan.hidden_costs.egress_usd_per_million_api_tokens or 0.0) / 1e6
    usd = 0.0
    for e, info in enumerate(case.endpoints):
        factor = np.array([info.endpoint.price_factor(m) for m in range(len(case.problem.epochs))])
        hours = present_hours(solution) * factor[solution.blocks.epoch]
        usd += float(hours @ told.done.by_endpoint[e] @ told.tokens_per_request) * rate
    return usd
