"""Inputs -> Problem: workloads become classes, curves become deployments, price rows become offers.

The `Case` keeps beside the plain numbers what each of them stands for (which workload, curve or price row), so that the
answer can be told in the user's words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from hardware_profiles.curve import Curve
from hardware_profiles.faults import Fault, InputError
from planner.caps import limits_of, uncounted, unknown
from planner.contradictions import contradictions
from planner.deployments import CaseDeployment, CaseWorkload, deployments_for, stated
from planner.forecast import Forecast
from planner.hidden_costs import orchestrated, with_egress
from planner.horizon import Span, grown, horizon, over
from planner.names import slugs
from planner.owned import staff_notes
from planner.penalty import penalties
from planner.planfile import PlanFile, Workload
from planner.prices import PriceBook
from planner.problem import Array, Blocks, Deployment, Problem
from planner.rented import rented_rows, spot_allowed
from planner.shapes import shape_classes
from planner.starting import start_notes
from planner.supplies import (
    EndpointInfo,
    OfferInfo,
    Place,
    endpoints_for,
    in_time,
    offers_for,
    places_for,
    staff_charge,
)
from planner.supply import place_of


@dataclass(frozen=True, eq=False)
class Case:
    """The problem, and what its numbers stand for; tuples are in the problem's order."""

    problem: Problem
    forecast: Forecast
    """Over the whole horizon."""
    plan: PlanFile
    span: Span
    workloads: tuple[CaseWorkload, ...]
    deployments: tuple[CaseDeployment, ...]
    offers: tuple[OfferInfo, ...]
    endpoints: tuple[EndpointInfo, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    today: date
    """The day on which prices are fresh or stale."""


def assemble(
    forecast: Forecast,
    plan: PlanFile,
    specs: tuple[Workload, ...],
    book: PriceBook,
    curves: tuple[Curve, ...],
    *,
    today: date,
    noted: tuple[str, ...] = (),
) -> Case:
    """State the decision; `InputError` when a workload's model has neither a usable curve nor an endpoint."""
    span = horizon(forecast, plan, book)
    tiled, cut = over(forecast, span)
    whole = grown(tiled, span, plan)
    workloads = _workloads(whole, specs, plan)
    names = tuple(f"{w.slug}.{i}" for w in workloads for i in range(len(w.shapes.classes)))
    places = places_for(book, plan)
    deployments, missing = deployments_for(workloads, curves, places, plan)
    found = tuple(stated(deployment, workloads, len(names)) for deployment in deployments)
    used = tuple(place for place in places if any(d.place is place for d in deployments))
    known = offers_for(book, plan, span, today, places=used)
    offers = tuple(_with_orchestration(info, plan) for info in known if in_time(info, span))
    shapes = tuple((w.model, shape) for w in workloads for shape in w.shapes.classes)
    where = tuple(w.spec.residency for w in workloads for _ in w.classes)
    endpoints = endpoints_for(book, plan, span, today, classes=shapes, residency=where)
    tokens = tuple(shape.input_tokens + shape.output_tokens for _, shape in shapes)
    endpoints = tuple(replace(e, endpoint=with_egress(e.endpoint, tokens, plan.hidden_costs)) for e in endpoints)
    _each_can_be_served(workloads, found, endpoints, missing)
    limits = limits_of(plan, offers)
    if impossible := (*unknown(plan, offers), *contradictions(plan, span.epochs, offers, limits)):
        raise InputError(*impossible)
    blocks = _blocks(span, workloads)
    problem = Problem(
        epochs=span.epochs,
        classes=names,
        blocks=blocks,
        pools=tuple(place.stated for place in used),
        deployments=found,
        offers=tuple(info.offer for info in offers),
        endpoints=tuple(info.endpoint for info in endpoints),
        limits=limits,
        fixed_charges=staff_charge(book, plan, offers, span, deployments=found, demand=blocks.demand),
        unserved_usd_per_request=(0.0,) * len(names),
        tail=plan.horizon.tail,
        buyout_share=1.0 if plan.horizon.buyout_share is None else plan.horizon.buyout_share,
        later=span.later,
        warm=_kept_warm(workloads, deployments, endpoints) if plan.policy.keep_warm else (),
        end_discount=(1 + span.rate) ** (-span.months / 12),
    )
    problem = replace(problem, unserved_usd_per_request=penalties(problem, workloads, offers))
    told = (*noted, *forecast.notes, *cut, *_notes(workloads, span), *_idle(plan, used), *uncounted(plan, offers))
    notes = (*told, *missing, *supply_notes(book, plan, deployments, known, span))
    return Case(problem, whole, plan, span, workloads, deployments, offers, endpoints, notes, (), today)


def _kept_warm(
    workloads: tuple[CaseWorkload, ...], deployments: Iterable[CaseDeployment], endpoints: Iterable[EndpointInfo]
) -> tuple[tuple[str, ...], ...]:
    """The deployments of each model that no API can take over while weights load: one of them is kept warm."""
    prices = [info.endpoint.usd_per_request for info in endpoints]
    alone = {w.model for w in workloads if any(all(usd[k] is None for usd in prices) for k in w.classes)}
    by_model: dict[str, list[str]] = {}
    for deployment in deployments:
        if deployment.curve.model in alone:
            by_model.setdefault(deployment.curve.model, []).append(deployment.name)
    return tuple(tuple(names) for names in by_model.values())


def _with_orchestration(info: OfferInfo, plan: PlanFile) -> OfferInfo:
    """What is there already and what is committed in USD carries none."""
    if info.scheme in ("existing", "commitment"):
        return info
    return replace(info, offer=orchestrated(info.offer, info.gpus_per_unit, plan.hidden_costs))


def _workloads(forecast: Forecast, specs: tuple[Workload, ...], plan: PlanFile) -> tuple[CaseWorkload, ...]:
    slug = slugs(forecast.workloads)
    found, first = [], 0
    for name, spec in zip(forecast.workloads, specs, strict=True):
        shapes = shape_classes(forecast, name)
        ruled = spec.model_copy(update={"spot": spec.spot or plan.policy.spot})
        found.append(CaseWorkload(name, slug[name], ruled, spec.model or "", shapes, first))
        first += len(shapes.classes)
    return tuple(found)


def _blocks(span: Span, workloads: tuple[CaseWorkload, ...]) -> Blocks:
    demand: Array = np.hstack([workload.shapes.demand for workload in workloads])
    bounds = np.cumsum([epoch.hours for epoch in span.epochs])
    epoch = np.searchsorted(bounds, np.arange(span.hours), side="right")
    return Blocks(epoch, np.ones(span.hours), demand)


def _each_can_be_served(
    workloads: tuple[CaseWorkload, ...],
    deployments: tuple[Deployment, ...],
    endpoints: tuple[EndpointInfo, ...],
    notes: tuple[str, ...],
) -> None:
    faults = []
    for workload in workloads:
        for k in workload.classes:
            ways = [d for d in deployments if d.gpu_h_per_request[k] is not None]
            sold = [info for info in endpoints if info.endpoint.usd_per_request[k] is not None]
            if not ways and not sold:
                because = "; ".join(note.rstrip(".") for note in notes) or "no curve covers it and no endpoint sells it"
                where = workload.spec.residency
                if where and not notes:
                    because = f"its residency is {', '.join(where)}, and nothing that serves it is known to stand there"
                remedy = "relax the SLO, name another model, measure it with `bench run`, or add an endpoint"
                what = f"model {workload.model!r} can be served by no GPU and no API ({because})"
                faults.append(Fault(what, remedy, None, None, "workload", workload.name))
                break
    if faults:
        raise InputError(*faults)


def _notes(workloads: tuple[CaseWorkload, ...], span: Span) -> Iterable[str]:
    if len(span.epochs) == 1:
        yield (
            "The same few weeks repeat at the same prices, so the horizon is one decision: purchases start with it and "
            "terms shorter than it are renewed through it. That months cut these weeks differently is not planned for."
        )
    for workload in workloads:
        lost = workload.shapes.residual
        if lost.hours:
            yield f"{workload.name}: {lost.hours} hours are rounded by at most half a token a request."


def _idle(plan: PlanFile, used: tuple[Place, ...]) -> Iterable[str]:
    """GPUs that are there and can serve nothing."""
    for fleet in plan.fleet:
        if place_of(fleet, plan, used) is None:
            yield f"{fleet.gpus} {fleet.gpu} of the fleet serve nothing: no curve in use was measured on them."
    if any(workload.residency for workload in plan.workloads.values()) and plan.site.region is None:
        yield "GPUs that you own have no region here, so they serve no workload with a residency."


def supply_notes(
    book: PriceBook,
    plan: PlanFile,
    deployments: tuple[CaseDeployment, ...],
    offers: tuple[OfferInfo, ...],
    span: Span,
) -> Iterable[str]:
    """What was assumed about the price book's rows."""
    largest = max((d.curve.gpu.count for d in deployments if d.place.owner == "rented"), default=1)
    small = sorted({info.provider for info in offers if info.provider != "yours" and info.gpus_per_unit < largest})
    if small:
        sellers = ", ".join(small)
        yield f"GPUs rented one by one ({sellers}) are assumed to stand in one server where a replica needs several."
    if any(
        info.scheme in ("on demand", "reserved", "commitment", "spot") and info.offer.max_units is None
        for info in offers
    ):
        yield "Where the price book states no stock, rented GPUs and APIs are assumed to be there when they are wanted."
    yield from staff_notes(book, plan, offers, span)
    if any(info.offer.loan is not None for info in offers):
        yield plan.financing.says(plan.horizon.tail)
    yield from _lead_notes(offers, span)
    yield from _spot_notes(book, plan)
    yield from start_notes(plan.policy.start_minutes, deployments, offers)
    for row in rented_rows(book, plan):
        if row.scheme == "commitment" and row.gpus_per_unit > 1:
            yield (
                f"Use of {row.gpu} under {row.provider}'s spend commitment is counted by GPU, though it is rented in "
                f"units of {row.gpus_per_unit}: an hour may cost more by less than one such unit."
            )
        if (row.minimum_hours or 0.0) > 1:
            yield (
                f"{row.gpu} at {row.provider} is rented for at least {row.minimum_hours:g} hours at a time: the plan "
                "pays for them, and its proof does not count on them, so its gap is wider by what they cost."
            )


def _spot_notes(book: PriceBook, plan: PlanFile) -> Iterable[str]:
    """Which spot rows are left out, and why."""
    rows = [row for row in book.offers if row.scheme == "spot"]
    if not rows or "spot" in plan.policy.forbid:
        return
    if not spot_allowed(plan):
        yield "Spot GPUs are left out: they may be taken back at any time, and no workload says spot = true."
        return
    used = {(row.provider, row.gpu, row.gpus_per_unit) for row in rented_rows(book, plan) if row.scheme == "spot"}
    unknown = [row for row in rows if (row.provider, row.gpu, row.gpus_per_unit) not in used]
    for provider in sorted({row.provider for row in unknown} - set(plan.policy.forbid_providers)):
        gpus = ", ".join(dict.fromkeys(row.gpu for row in unknown if row.provider == provider))
        yield (
            f"Spot {gpus} at {provider} cannot be used: nobody states how often it is interrupted and how long a "
            "restart takes, or a restart takes longer than it runs (spot_interruptions_per_h and spot_restart_minutes "
            "in plan.toml's [policy])."
        )


def _lead_notes(offers: tuple[OfferInfo, ...], span: Span) -> Iterable[str]:
    """When what is signed arrives, where that is not at once."""
    for info in offers:
        if not info.lead_months:
            continue
        stated = f"lead time {info.lead_months:g} month{'s' * (info.lead_months != 1)}"
        if not in_time(info, span):
            yield f"{info.label} is left out: it would arrive after the horizon ends ({stated}; whole steps count)."
            continue
        months = info.offer.lead_epochs
        rounded = "" if months == info.lead_months else ", rounded up to whole months"
        later = f"{months} month{'s' * (months != 1)}"
        yield f"{info.label} serves {later} after it is signed ({stated}{rounded})."
