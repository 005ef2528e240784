"""The rules that a plan obeys, each with the case in which it is lifted and all others hold.

Rules of plan.toml are lifted there and the case is assembled anew, so that whatever follows from them is lifted too.
Stocks and rates of the price book are lifted in the problem, and only those that bind. A promise is not lifted, for
without one a GPU has no capacity; its limits are made a quarter looser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import numpy as np

from hardware_profiles.slo import Slo
from planner.assemble import Case, assemble
from planner.attribution import carried
from planner.caps import CAPS
from planner.inputs import Checked
from planner.planfile import PlanFile, Workload
from planner.solve import Solution

LOOSER = 1.25
_NEAR = 1e-6

Rule = tuple[str, Callable[[], Case]]


def rules(checked: Checked, case: Case, solution: Solution) -> Iterable[Rule]:
    """Every rule by name, and how to make the case without it."""
    yield from _policies(checked, case)
    yield from _workloads(checked, case)
    yield from _stocks(case, solution)
    yield from _rates(case, solution)


def _again(checked: Checked, plan: PlanFile, specs: tuple[Workload, ...], case: Case) -> Case:
    return assemble(checked.forecast, plan, specs, checked.book, checked.curves, today=case.today)


def _policies(checked: Checked, case: Case) -> Iterable[Rule]:
    plan, policy = checked.plan, checked.plan.policy
    changes: list[tuple[str, dict[str, object]]] = []
    for key in ("forbid", "forbid_providers", "forbid_gpus"):
        names = getattr(policy, key)
        for name in names:
            rest = tuple(other for other in names if other != name)
            changes.append((f"policy.{key} {name}", {"policy": policy.model_copy(update={key: rest})}))
    for cap in CAPS.values():
        if (most := cap.of(plan)) is not None:
            lifted = getattr(plan, cap.table).model_copy(update={cap.key: None})
            changes.append((f"{'.'.join(cap.keys)} {most:g}", {cap.table: lifted}))
    for at, stock in enumerate(plan.stock):
        what = " ".join(filter(None, (stock.provider, stock.gpu, stock.kind)))
        rest_of = (*plan.stock[:at], *plan.stock[at + 1 :])
        changes.append((f"stock {stock.gpus} of {what}", {"stock": rest_of}))
    for name, update in changes:
        yield name, partial(_again, checked, plan.model_copy(update=update), checked.workloads, case)


def _workloads(checked: Checked, case: Case) -> Iterable[Rule]:
    """Residencies, and promises a quarter looser."""
    for w, spec in enumerate(checked.workloads):
        name = checked.forecast.workloads[w]
        if spec.residency:
            freed = spec.model_copy(update={"residency": ()})
            yield f"residency of {name}", partial(_with, checked, case, w, freed)
        loose = spec.model_copy(update={"slo": _looser(spec.slo)})
        what = f"the promise of {name} (its limits {LOOSER - 1:.0%} looser)"
        yield what, partial(_with, checked, case, w, loose)


def _with(checked: Checked, case: Case, w: int, spec: Workload) -> Case:
    """The case with another specification of one workload; plan.toml's own says whether regions matter."""
    name = checked.forecast.workloads[w]
    plan = checked.plan.model_copy(update={"workloads": checked.plan.workloads | {name: spec}})
    specs = (*checked.workloads[:w], spec, *checked.workloads[w + 1 :])
    return _again(checked, plan, specs, case)


def _looser(slo: Slo) -> Slo:
    return slo.model_copy(update={f"{name}_s": limit * LOOSER for name, limit in slo.limits.items()})


def _stocks(case: Case, solution: Solution) -> Iterable[Rule]:
    """Stocks that are used up at some hour."""
    problem, held = case.problem, carried(case, solution).gpus_held
    active = problem.active_units(solution.fleet.buy)
    for o, info in enumerate(case.offers):
        most = info.offer.max_units
        if most is None:
            continue
        units = float(active[o].max()) if info.offer.bought else float(held[o].max()) / info.gpus_per_unit
        if units >= most - _NEAR:
            yield f"the stock of {info.label}", partial(_offer_freed, case, o)


def _offer_freed(case: Case, o: int) -> Case:
    free = replace(case.offers[o], offer=replace(case.offers[o].offer, max_units=None))
    offers = (*case.offers[:o], free, *case.offers[o + 1 :])
    return replace(case, offers=offers, problem=replace(case.problem, offers=tuple(info.offer for info in offers)))


def _rates(case: Case, solution: Solution) -> Iterable[Rule]:
    """Rate limits of APIs that are reached at some hour."""
    sent = carried(case, solution).by_endpoint
    for e, info in enumerate(case.endpoints):
        api = info.endpoint
        full = api.requests_per_h is not None and sent[e].sum(axis=1).max() >= api.requests_per_h * (1 - _NEAR)
        if api.tokens_per_h is not None:
            full = full or float((sent[e] @ np.array(api.tokens_per_request)).max()) >= api.tokens_per_h * (1 - _NEAR)
        if full:
            yield f"the rate limits of {info.label}", partial(_endpoint_freed, case, e)


def _endpoint_freed(case: Case, e: int) -> Case:
    free = replace(case.endpoints[e].endpoint, requests_per_h=None, tokens_per_h=None)
    endpoints = (*case.endpoints[:e], replace(case.endpoints[e], endpoint=free), *case.endpoints[e + 1 :])
    made = tuple(info.endpoint for info in endpoints)
    return replace(case, endpoints=endpoints, problem=replace(case.problem, endpoints=made))
