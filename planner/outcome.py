"""Case + Solution -> Plan: the numbers in the user's words, with the reason for each purchase.

Nothing is decided here. Every figure is a sum over the solution, so that plan.json, the tables and the pictures agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from importlib.metadata import version

import numpy as np

from planner.assemble import Case
from planner.attribution import (
    Carried,
    carried,
    charges_usd,
    hourly_usd,
    missed_requests,
    offer_charges_usd,
    offer_lines,
    present_hours,
    workload_usd,
)
from planner.cash import paid
from planner.check import check
from planner.deployments import CaseDeployment
from planner.headline import headline, warnings
from planner.hourly import HourTable
from planner.plan import SUPPLY_ORDER, Amount, Baseline, Deployed, Month, Plan, Purchase, Scheme, Served, Supply
from planner.priced import price_rows
from planner.problem import Array
from planner.seen import seen_shapes
from planner.solve import Solution
from planner.supplies import EndpointInfo, OfferInfo
from planner.unit_costs import input_usd
from planner.ways import model_volumes

_KINDS = ("measured", "published", "estimated")


@dataclass(frozen=True, eq=False)
class _Told:
    """A solved case with what every supply carried."""

    case: Case
    solution: Solution
    done: Carried
    weight_h: Array
    present_h: Array
    input_per_request: Array
    output_per_request: Array


def make_plan(
    name: str,
    case: Case,
    solution: Solution,
    strategies: tuple[Baseline, ...],
    inputs: dict[str, str],
    *,
    made_on: date,
) -> tuple[Plan, HourTable]:
    """The plan and its hours; the plan is checked and says what the checker found."""
    shapes = [shape for workload in case.workloads for shape in workload.shapes.classes]
    told = _Told(
        case,
        solution,
        carried(case, solution),
        solution.blocks.weight_h,
        present_hours(solution),
        np.array([shape.input_tokens for shape in shapes]),
        np.array([shape.output_tokens for shape in shapes]),
    )
    purchases = tuple(_purchases(told))
    supplies = tuple(_supplies(told))
    deployments = tuple(_deployed(told, d) for d in range(len(case.deployments)) if _runs(told, d))
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
        bound_usd=solution.bound_usd,
        gap=solution.gap,
        proof=solution.proof,
        checks=check(solution),
        unserved_requests=float(missed_requests(solution).sum()),
        evidence=max((d.kind for d in deployments), key=_KINDS.index, default=None),
        headline=headline(case, purchases, supplies, strategies, solution),
        notes=case.notes,
        warnings=warnings(case, solution, deployments, purchases, supplies),
        purchases=purchases,
        supplies=supplies,
        workloads=tuple(_workloads(told)),
        deployments=deployments,
        months=tuple(_months(told)),
        lines=_lines(told),
        baselines=strategies,
        prices=price_rows(case, supplies),
        paid=paid(solution, case.span),
        volumes=model_volumes(case),
    )
    return plan, _hours(told)


def _purchases(told: _Told) -> list[Purchase]:
    found = []
    for o, info in enumerate(told.case.offers):
        if info.offer.placed == "epoch":
            for m in np.flatnonzero(told.solution.fleet.buy[o]):
                found.append(_bought(told, o, info, int(m)))
        elif told.done.gpus_held[o].any():
            found.append(_switched_on(told, o, info))
    return sorted(found, key=lambda p: (SUPPLY_ORDER.index(p.scheme), p.epoch, p.offer))


def _bought(told: _Told, o: int, info: OfferInfo, m: int) -> Purchase:
    problem = told.case.problem
    units = float(told.solution.fleet.buy[o, m])
    lines = offer_lines(told.solution, o, m)
    gpu_h = units * info.gpus_per_unit * sum(problem.epochs[n].hours for n in problem.active_epochs(info.offer, m))
    return _purchase(told, o, info, units=units, epoch=problem.epochs[m].name, lines=lines, gpu_h=gpu_h)


def _switched_on(told: _Told, o: int, info: OfferInfo) -> Purchase:
    usd = float(told.present_h @ hourly_usd(told.solution, "on", o))
    gpu_h = float(told.weight_h @ told.done.gpus_held[o])
    units = float(told.done.gpus_held[o].max()) / info.gpus_per_unit
    return _purchase(told, o, info, units=units, epoch="by the hour", lines=(("on demand", usd),), gpu_h=gpu_h)


def _purchase(
    told: _Told,
    o: int,
    info: OfferInfo,
    *,
    units: float,
    epoch: str,
    lines: tuple[tuple[str, float], ...],
    gpu_h: float,
) -> Purchase:
    usd = sum(value for _, value in lines)
    held, busy = (float(told.weight_h @ array[o]) for array in (told.done.gpus_held, told.done.gpus_busy))
    use = busy / held if held else 0.0
    return Purchase(
        offer=info.label,
        scheme=info.scheme,
        provider=info.provider,
        gpu=info.gpu,
        units=units,
        gpus=units * info.gpus_per_unit,
        epoch=epoch,
        term_months=info.term_months,
        usd=usd,
        lines=tuple(Amount(name=name, usd=value) for name, value in lines),
        usd_per_gpu_h=usd / gpu_h if gpu_h else None,
        utilisation=use,
        source=info.source,
        lead_months=info.offer.lead_epochs or None,
        why=_why(told, o, use),
    )


def _why(told: _Told, o: int, use: float) -> str:
    """What all purchases of an offer carry, at what price a million tokens, against the cheapest API for the same."""
    usd = _offer_usd(told, o)
    requests = told.weight_h @ told.done.by_offer[o]
    tokens = float(requests @ (told.input_per_request + told.output_per_request)) / 1e6
    if tokens <= 0:
        return "serves nothing in this plan"
    said = f"{use:.0%} of its capacity at the SLO is used; {usd / tokens:.3f} USD per million tokens it serves"
    prices = [[usd if usd is not None else np.inf for usd in e.usd_per_request] for e in told.case.problem.endpoints]
    cheapest = np.min(prices, axis=0) if prices else np.full(len(requests), np.inf)
    api = float(requests[requests > 0] @ cheapest[requests > 0])
    if np.isfinite(api):
        return f"{said}, where the cheapest API would take {api / tokens:.3f} for the same requests"
    return f"{said}, and no API sells all of it"


def _supplies(told: _Told) -> list[Supply]:
    total = float((told.weight_h @ told.solution.blocks.demand).sum())
    tokens_of = told.input_per_request + told.output_per_request
    all_tokens = float(told.weight_h @ told.solution.blocks.demand @ tokens_of)
    found = []

    def add(info: OfferInfo | EndpointInfo, requests: Array, usd: float, full: float | None = None) -> None:
        tokens = float(requests @ tokens_of)
        found.append(
            Supply(
                name=info.label,
                scheme=info.scheme if isinstance(info, OfferInfo) else "api",
                requests=float(requests.sum()),
                request_share=float(requests.sum()) / total if total else 0.0,
                input_tokens=float(requests @ told.input_per_request),
                output_tokens=float(requests @ told.output_per_request),
                token_share=tokens / all_tokens if all_tokens else 0.0,
                usd=usd,
                full_usd_per_mtok=full / tokens * 1e6 if tokens and full is not None else None,
                source=info.source,
            )
        )

    for o, info in enumerate(told.case.offers):
        if told.done.gpus_held[o].any():
            requests, usd = told.weight_h @ told.done.by_offer[o], _offer_usd(told, o)
            add(info, requests, usd, _full_use_usd(told, o, usd))
    for e, endpoint in enumerate(told.case.endpoints):
        if told.done.by_endpoint[e].any():
            usd = float(told.present_h @ hourly_usd(told.solution, "api", e))
            add(endpoint, told.weight_h @ told.done.by_endpoint[e], usd)
    return sorted(found, key=lambda s: (SUPPLY_ORDER.index(s.scheme), s.name))


def _offer_usd(told: _Told, o: int) -> float:
    """All that an offer costs over the horizon: purchases, fixed charges, hours on demand, busy power."""
    bought = sum(usd for m in range(len(told.case.problem.epochs)) for _, usd in offer_lines(told.solution, o, m))
    bought += float(offer_charges_usd(told.solution)[o])
    return bought + float(told.present_h @ hourly_usd(told.solution, "on", o)) + _busy_usd(told, o)


def _full_use_usd(told: _Told, o: int, usd: float) -> float:
    """What the work of an offer would cost if every GPU-hour that is paid were full: only the used part of the rest."""
    held, busy = (float(told.weight_h @ array[o]) for array in (told.done.gpus_held, told.done.gpus_busy))
    power = _busy_usd(told, o)
    return power + (usd - power) * (busy / held if held else 0.0)


def _busy_usd(told: _Told, o: int) -> float:
    problem, offer = told.case.problem, told.case.offers[o].offer
    price = max(problem.pools[problem.pool_index[pool]].busy_usd_per_gpu_h for pool in offer.covers)
    return float(told.present_h @ told.done.gpus_busy[o]) * price


def _workloads(told: _Told) -> list[Served]:
    bills, inputs = workload_usd(told.case, told.solution), input_usd(told.case, told.solution)
    found = []
    for workload, usd, usd_in in zip(told.case.workloads, bills, inputs, strict=True):
        classes = list(workload.classes)
        demand = told.solution.blocks.demand[:, classes]
        requests = told.weight_h @ demand
        tokens_in = float(requests @ told.input_per_request[classes])
        tokens_out = float(requests @ told.output_per_request[classes])
        tokens = tokens_in + tokens_out
        marginal = float(told.weight_h @ (demand * told.solution.hours.marginal_usd[:, classes]).sum(axis=1))
        slo = workload.spec.slo
        found.append(
            Served(
                name=workload.name,
                model=workload.model,
                owner=workload.spec.owner,
                ttft_s=slo.ttft_s,
                tpot_s=slo.tpot_s,
                e2e_s=slo.e2e_s,
                attainment=slo.attainment,
                requests=float(requests.sum()),
                input_tokens=tokens_in,
                output_tokens=tokens_out,
                unserved_requests=float(missed_requests(told.solution)[classes].sum()),
                usd=float(usd),
                usd_per_mtok=float(usd) / tokens * 1e6 if tokens else None,
                marginal_usd_per_mtok=marginal / tokens * 1e6 if tokens else None,
                input_usd_per_mtok=float(usd_in) / tokens_in * 1e6 if tokens_in else None,
                output_usd_per_mtok=float(usd - usd_in) / tokens_out * 1e6 if tokens_out else None,
            )
        )
    return found


def _runs(told: _Told, d: int) -> bool:
    return bool(told.solution.fleet.replicas[d].any() or _rented(told, d).any())


def _rented(told: _Told, d: int) -> Array:
    columns = enumerate(told.solution.hours.matrix.columns)
    mine = [i for i, (family, key) in columns if family == "rented" and key[1] == d]
    total: Array = told.solution.hours.values[:, mine].sum(axis=1)
    return total


def _by_hour(told: _Told, d: int) -> tuple[float, ...]:
    """The most replicas that run in each hour of the day."""
    running = told.solution.fleet.replicas[d][told.solution.blocks.epoch] + _rented(told, d)
    hours = running[told.solution.block_of]
    of_day = (told.case.span.start.hour + np.arange(len(hours))) % 24
    return tuple(float(hours[of_day == hour].max(initial=0.0)) for hour in range(24))


def _deployed(told: _Told, d: int) -> Deployed:
    info: CaseDeployment = told.case.deployments[d]
    curve = info.curve
    epochs = told.case.problem.epochs
    return Deployed(
        name=info.name,
        model=curve.model,
        gpu=curve.gpu.name,
        gpus_per_replica=curve.gpu.count,
        precision=curve.precision,
        engine=curve.conditions.engine,
        engine_version=curve.conditions.engine_version,
        kind=curve.kind,
        saturated=info.law.saturated,
        percentile_known=info.law.percentile_known,
        gpu_time_error=info.law.error_max,
        extrapolated=info.extrapolated,
        replicas={epochs[m].name: float(n) for m, n in enumerate(told.solution.fleet.replicas[d])},
        rented_replicas_most=float(_rented(told, d).max(initial=0.0)),
        source=curve.conditions.source,
        server_args=curve.conditions.server_args,
        notes=(*curve.conditions.notes, *info.law.notes),
        dated=curve.conditions.measured_at or curve.conditions.source_date,
        weights=curve.conditions.weights,
        model_source=curve.conditions.model_source,
        tensor_parallel=curve.tensor_parallel,
        pipeline_parallel=curve.pipeline_parallel,
        data_parallel=curve.data_parallel,
        shapes=seen_shapes(info),
        by_hour=_by_hour(told, d),
    )


def _months(told: _Told) -> list[Month]:
    found = []
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
            )
        )
    return found


def _epoch_lines(told: _Told, m: int) -> tuple[Amount, ...]:
    """What purchases made in epoch m cost over their life in the plan, and what its hours cost."""
    amounts: dict[str, float] = {}
    for o in range(len(told.case.offers)):
        for name, usd in offer_lines(told.solution, o, m):
            amounts[name] = amounts.get(name, 0.0) + usd
    for charge, usd in zip(told.case.problem.fixed_charges, charges_usd(told.solution)[:, m], strict=True):
        amounts[charge.name] = amounts.get(charge.name, 0.0) + float(usd)
    here = told.solution.blocks.epoch == m
    for name, family in (("on demand", "on"), ("busy power", "served"), ("API", "api"), ("unserved", "unserved")):
        usd = float(told.present_h[here] @ hourly_usd(told.solution, family)[here])
        amounts[name] = amounts.get(name, 0.0) + usd
    return tuple(Amount(name=name, usd=usd) for name, usd in amounts.items() if usd)


def _lines(told: _Told) -> tuple[Amount, ...]:
    amounts: dict[str, float] = {}
    for m in range(len(told.case.problem.epochs)):
        for line in _epoch_lines(told, m):
            amounts[line.name] = amounts.get(line.name, 0.0) + line.usd
    return tuple(Amount(name=name, usd=usd) for name, usd in sorted(amounts.items(), key=lambda item: -item[1]))


def _hours(told: _Told) -> HourTable:
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
    tokens = requests * (told.input_per_request + told.output_per_request)
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
