"""Case + Solution -> Plan: the numbers in the user's words, with the reason for each purchase.

Nothing is decided here. Every figure is a sum over the solution, so that plan.json, the tables and the pictures agree.
"""

from __future__ import annotations

from datetime import date
from importlib.metadata import version

import numpy as np

from planner.assemble import Case
from planner.attribution import HOURLY_LINES, charges_usd, hourly_usd, missed_requests, offer_lines
from planner.baselines import RESTRICTED
from planner.books import books
from planner.cash import paid, paid_lines
from planner.check import check
from planner.headline import faulty, headline, unserved, warnings
from planner.hourly import HourTable
from planner.plan import SUPPLY_ORDER, Amount, Baseline, Kept, Month, Plan, Scheme
from planner.priced import price_rows
from planner.problem import Array
from planner.purchases import purchases, supplies
from planner.rented import spot_risks
from planner.serving import deployments, workloads
from planner.solve import Solution
from planner.told import Told, solved
from planner.unserved import causes
from planner.ways import model_volumes

_ROUNDING, _CENT = 1e-6, 0.01
_KINDS = ("measured", "published", "estimated")


def make_plan(
    name: str,
    case: Case,
    solution: Solution,
    strategies: tuple[Baseline, ...],
    inputs: dict[str, str],
    *,
    made_on: date,
    kept: Kept | None = None,
    impossible: float | None = None,
) -> tuple[Plan, HourTable]:
    """The plan and its hours; the plan is checked, and a fault that the checker finds leads it and withdraws its proof.

    `kept` says why it is not the cheapest plan found, `impossible` how many requests nothing can serve, where it is
    known (`decide.py`).
    """
    told, faults = solved(case, solution), (*check(solution), *refuted(case, solution, strategies))
    bought, used, running = tuple(purchases(told)), tuple(supplies(told)), deployments(told)
    doubts = warnings(case, running, bought, used)
    left = unserved(case, solution, impossible)
    first = headline(case, bought, used, strategies, solution, proven=not faults, left=left)
    wrong = faulty(faults)
    plan = Plan(
        name=name,
        made_on=made_on.isoformat(),
        spillway_version=version("spillway"),
        inputs=inputs,
        horizon_start=case.span.start.isoformat(),
        horizon_months=case.span.months,
        horizon_hours=case.span.hours,
        discount_rate_per_year=case.span.rate,
        cost_usd=solution.cost_usd,
        bound_usd=None if faults else solution.bound_usd,
        gap=None if faults else solution.gap,
        proof=f"withdrawn: {solution.proof}" if faults else solution.proof,
        checks=faults,
        unserved_requests=float(missed_requests(solution).sum()),
        evidence=max((d.kind for d in running), key=_KINDS.index, default=None),
        capacity=case.plan.policy.capacity,
        headline=(*wrong, *([] if kept is None else [kept.says]), *first),
        notes=case.notes,
        warnings=(*wrong, *left, *causes(case, solution), *doubts, *spot_risks(case.offers, bought)),
        purchases=bought,
        supplies=used,
        workloads=tuple(workloads(told)),
        deployments=running,
        months=tuple(_months(told)),
        lines=_lines(told),
        baselines=strategies,
        prices=price_rows(case, used),
        paid=paid(solution, case.span),
        kept=kept,
        books=books(case, solution),
        volumes=model_volumes(case),
    )
    return plan, _hours(told)


def refuted(case: Case, solution: Solution, strategies: tuple[Baseline, ...]) -> tuple[str, ...]:
    """Strategies with fewer supplies that cost less than the bound, which no plan can.

    Without the GPUs that are there more may be bought under a site's caps: then nothing can be said.
    """
    if case.problem.limits and any(info.scheme == "existing" for info in case.offers):
        return ()
    least = solution.bound_usd * (1 - _ROUNDING) - _CENT
    return tuple(
        f"{other.name} costs {other.usd:,.2f} USD, less than the bound of {solution.bound_usd:,.2f} USD"
        for other in strategies
        if other.usd is not None and other.usd < least and other.name in RESTRICTED
    )


def _months(told: Told) -> list[Month]:
    found, flows = [], paid_lines(told.solution)
    epoch_of = told.solution.blocks.epoch
    for m, epoch in enumerate(told.case.problem.epochs):
        here = epoch_of == m
        gpus: dict[str, float] = {}
        for o, info in enumerate(told.case.offers):
            if here.any():
                most = float(told.done.gpus_held[o][here].max())
                gpus[info.scheme] = gpus.get(info.scheme, 0.0) + most
        lines = _epoch_lines(told, m)
        found.append(
            Month(
                name=epoch.name,
                hours=epoch.hours,
                requests=float((told.weight_h[here] @ told.solution.blocks.demand[here]).sum()),
                usd=sum(line.usd for line in lines),
                gpus={scheme: count for scheme, count in gpus.items() if count},
                lines=lines,
                paid=tuple(Amount(name=name, usd=usd) for name, usd in flows[m].items()),
            )
        )
    return found


def _epoch_lines(told: Told, m: int) -> tuple[Amount, ...]:
    """What purchases made in epoch m cost over their life in the plan, and what its hours cost."""
    amounts: dict[str, float] = {}
    for o in range(len(told.case.offers)):
        for name, usd in offer_lines(told.solution, o, m):
            amounts[name] = amounts.get(name, 0.0) + usd
    for charge, usd in zip(told.case.problem.fixed_charges, charges_usd(told.solution)[:, m], strict=True):
        amounts[charge.name] = amounts.get(charge.name, 0.0) + float(usd)
    here = told.solution.blocks.epoch == m
    for name, family in HOURLY_LINES:
        usd = float(told.present_h[here] @ hourly_usd(told.solution, family)[here])
        amounts[name] = amounts.get(name, 0.0) + usd
    return tuple(Amount(name=name, usd=usd) for name, usd in amounts.items() if usd)


def _lines(told: Told) -> tuple[Amount, ...]:
    amounts: dict[str, float] = {}
    for m in range(len(told.case.problem.epochs)):
        for line in _epoch_lines(told, m):
            amounts[line.name] = amounts.get(line.name, 0.0) + line.usd
    return tuple(Amount(name=name, usd=usd) for name, usd in sorted(amounts.items(), key=lambda item: -item[1]))


def _hours(told: Told) -> HourTable:
    """The joined blocks laid out again over the hours of the horizon."""
    case, index = told.case, told.solution.block_of
    member = np.zeros((len(case.problem.classes), len(case.workloads)))
    for w, workload in enumerate(case.workloads):
        member[list(workload.classes), w] = 1.0
    schemes = [s for s in SUPPLY_ORDER if s == "api" or any(info.scheme == s for info in case.offers)]
    served: dict[Scheme, Array] = {}
    held: dict[Scheme, Array] = {}
    busy: dict[Scheme, Array] = {}
    for scheme in schemes:
        if scheme == "api":
            served[scheme] = (told.done.by_endpoint.sum(axis=0) @ member)[index]
            continue
        mine = [o for o, info in enumerate(case.offers) if info.scheme == scheme]
        served[scheme] = (told.done.by_offer[mine].sum(axis=0) @ member)[index]
        held[scheme] = told.done.gpus_held[mine].sum(axis=0)[index]
        busy[scheme] = told.done.gpus_busy[mine].sum(axis=0)[index]
    requests = told.weight_h @ told.solution.blocks.demand
    tokens = requests * told.tokens_per_request
    return HourTable(
        start=case.span.start,
        workloads=tuple(workload.name for workload in case.workloads),
        demand=(told.solution.blocks.demand @ member)[index],
        served=served,
        unserved=(told.done.unserved @ member)[index],
        tokens_per_request=np.divide(
            tokens @ member, requests @ member, out=np.zeros(len(case.workloads)), where=requests @ member > 0
        ),
        gpus_held=held,
        gpus_busy=busy,
        usd=told.solution.hours.usd_per_h[index],
    )
