"""Inputs -> Problem: workloads become classes, curves become deployments, price rows become offers.

The `Case` keeps beside the plain numbers what each of them stands for (which workload, curve or price row), so that the
answer can be told in the user's words.

* One deployment per (curve, place): the same model on the same GPUs, owned or rented, at the strictest SLO of the
  workloads that share it; where SLOs differ, each also gets deployments of its own, and the programme chooses.
* Of curves that differ in engine version only, the best kind and then the newest is used.
* GPU time per request is the curve's at that SLO (`gpu_time.py`), in GPU-hours.
* The horizon is months. While nothing changes from month to month (a forecast that is repeated, constant prices), it is
  one epoch: purchases are made at its start, and terms shorter than it are renewed through it.
"""

from __future__ import annotations

import calendar
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np

from hardware_profiles.curve import Curve, Shape
from hardware_profiles.faults import Fault, InputError
from hardware_profiles.slo import Slo, strictest
from planner.forecast import Forecast, tile
from planner.gpu_time import GpuTimeLaw, gpu_time_law
from planner.names import slugs
from planner.planfile import PlanFile, Workload
from planner.prices import PriceBook
from planner.problem import Array, Blocks, Deployment, Epoch, Limit, Problem
from planner.shapes import ShapeClasses, shape_classes
from planner.supplies import EndpointInfo, OfferInfo, Place, Span, endpoints_for, offers_for, places_for, staff_charge

_KINDS = ("measured", "published", "estimated")
_DEFAULT_MONTHS = 12
_PENALTY = 10.0
"""An unserved request costs this many times the dearest way to serve it, and as much as the dearest unit costs in an
hour (so that no whole unit is left off to save itself), unless plan.toml says what it costs."""
_SHAPES = 3
"""Measured shapes that a GPU-time law needs to tell its three coefficients apart."""


@dataclass(frozen=True, eq=False)
class CaseWorkload:
    """A workload and its classes in the problem (`first` and following)."""

    name: str
    slug: str
    spec: Workload
    model: str
    shapes: ShapeClasses
    first: int

    @property
    def classes(self) -> range:
        """Indices of its classes."""
        return range(self.first, self.first + len(self.shapes.classes))


@dataclass(frozen=True, eq=False)
class CaseDeployment:
    """A deployment and the evidence it rests on."""

    name: str
    curve: Curve
    place: Place
    slo: Slo
    law: GpuTimeLaw
    shapes: tuple[Shape, ...]

    @property
    def extrapolated(self) -> bool:
        """Whether a class lies outside the measured shapes."""
        return any(self.law.covers(shape).extrapolated for shape in self.shapes)


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
    span = horizon(forecast, plan)
    tiled, note = tile(forecast, span.hours)
    whole = grown(tiled, span, plan)
    workloads = _workloads(whole, specs)
    names = tuple(f"{w.slug}.{i}" for w in workloads for i in range(len(w.shapes.classes)))
    places = places_for(book, plan)
    deployments, missing = _deployments(workloads, curves, places, plan)
    stated = tuple(_stated(deployment, workloads, len(names)) for deployment in deployments)
    used = tuple(place for place in places if any(d.place is place for d in deployments))
    offers = offers_for(book, plan, span, today, places=used)
    shapes = tuple((w.model, shape) for w in workloads for shape in w.shapes.classes)
    where = tuple(w.spec.residency for w in workloads for _ in w.classes)
    endpoints = endpoints_for(book, plan, span, today, classes=shapes, residency=where)
    _each_can_be_served(workloads, stated, endpoints, missing)
    problem = Problem(
        epochs=span.epochs,
        classes=names,
        blocks=_blocks(span, workloads),
        pools=tuple(place.stated for place in used),
        deployments=stated,
        offers=tuple(info.offer for info in offers),
        endpoints=tuple(info.endpoint for info in endpoints),
        limits=_limits(plan, offers),
        fixed_charges=staff_charge(book, plan, offers, _most_gpus(workloads, stated)),
        unserved_usd_per_request=_penalties(workloads, stated, offers, endpoints),
        tail=plan.horizon.tail,
    )
    told = (*noted, *forecast.notes, *([note] if note else []), *_notes(workloads, span))
    notes = (*told, *missing, *supply_notes(book, deployments, offers))
    return Case(problem, whole, plan, span, workloads, deployments, offers, endpoints, notes, ())


def horizon(forecast: Forecast, plan: PlanFile) -> Span:
    """Calendar months from the forecast's start (or `horizon.start`), as one epoch or one per month."""
    start = forecast.start
    if plan.horizon.start is not None:
        start = datetime(plan.horizon.start.year, plan.horizon.start.month, plan.horizon.start.day, tzinfo=start.tzinfo)
    months = plan.horizon.months or _DEFAULT_MONTHS
    lengths = [_month_hours(start, m) for m in range(months)]
    hours = sum(lengths)
    rate = plan.horizon.discount_rate_per_year or 0.0
    if plan.horizon.hours is not None:
        hours = plan.horizon.hours
        return Span(start, hours * 12 / 8760, hours, (Epoch("start", hours),), rate)
    if forecast.hours < hours and rate == 0 and not _changes(plan):
        return Span(start, months, hours, (Epoch("start", hours),), rate)
    epochs = tuple(
        Epoch(f"{_month_start(start, m):%Y.%m}", length, (1 + rate) ** (-m / 12)) for m, length in enumerate(lengths)
    )
    return Span(start, months, hours, epochs, rate)


def _changes(plan: PlanFile) -> bool:
    """Whether demand or prices change from month to month."""
    trends = plan.price_trends
    rates = (trends.api_per_year, trends.rental_per_year, trends.purchase_per_year, plan.growth.requests_per_year)
    return any(rates) or any(plan.growth.workloads.values()) or any(fleet.until for fleet in plan.fleet)


def grown(forecast: Forecast, span: Span, plan: PlanFile) -> Forecast:
    """The forecast with every hour's requests and tokens multiplied by its month's growth."""
    if not (plan.growth.requests_per_year or any(plan.growth.workloads.values())):
        return forecast
    bounds = np.cumsum([_month_hours(span.start, m) for m in range(math.ceil(span.months) + 1)])
    month = np.searchsorted(bounds, np.arange(span.hours), side="right")
    factors = [[plan.growth.factor(name, m) for name in forecast.workloads] for m in range(int(month.max()) + 1)]
    by_hour: Array = np.array(factors)[month]
    return replace(
        forecast,
        requests=forecast.requests * by_hour,
        input_tokens=forecast.input_tokens * by_hour,
        cached_input_tokens=forecast.cached_input_tokens * by_hour,
        output_tokens=forecast.output_tokens * by_hour,
    )


def best_curves(curves: Iterable[Curve], model: str) -> tuple[Curve, ...]:
    """The curves of one model: of those alike but for the engine version, the best kind and then the newest version."""
    best: dict[tuple[object, ...], Curve] = {}
    for curve in curves:
        if curve.model == model:
            key = (*curve.key[:8],)
            if key not in best or _rank(curve) > _rank(best[key]):
                best[key] = curve
    return tuple(best[key] for key in sorted(best, key=str))


def _rank(curve: Curve) -> tuple[int, tuple[int, ...]]:
    version = tuple(int(part) for part in (curve.conditions.engine_version or "").split(".") if part.isdigit())
    return -_KINDS.index(curve.kind), version


def _workloads(forecast: Forecast, specs: tuple[Workload, ...]) -> tuple[CaseWorkload, ...]:
    slug = slugs(forecast.workloads)
    found, first = [], 0
    for name, spec in zip(forecast.workloads, specs, strict=True):
        shapes = shape_classes(forecast, name)
        found.append(CaseWorkload(name, slug[name], spec, spec.model or "", shapes, first))
        first += len(shapes.classes)
    return tuple(found)


def _deployments(
    workloads: tuple[CaseWorkload, ...], curves: tuple[Curve, ...], places: tuple[Place, ...], plan: PlanFile
) -> tuple[tuple[CaseDeployment, ...], tuple[str, ...]]:
    found: list[CaseDeployment] = []
    notes: list[str] = []
    for model in dict.fromkeys(w.model for w in workloads):
        sharing = [w for w in workloads if w.model == model]
        slos = list(dict.fromkeys([strictest([w.spec.slo for w in sharing]), *(w.spec.slo for w in sharing)]))
        for number, slo in enumerate(slos):
            laws, unfit = _laws(best_curves(curves, model), slo, plan)
            notes += unfit
            shapes = tuple(s for w in sharing if _meets(slo, w.spec.slo) for s in w.shapes.classes)
            for curve, law in laws:
                here = [place for place in places if place.gpu == curve.gpu.name]
                found += [CaseDeployment(_name(curve, place, number), curve, place, slo, law, shapes) for place in here]
    return tuple(found), tuple(dict.fromkeys(notes))


def _laws(curves: tuple[Curve, ...], slo: Slo, plan: PlanFile) -> tuple[list[tuple[Curve, GpuTimeLaw]], list[str]]:
    """Each curve's law at the SLO. Where one was measured at enough shapes, those that were not are left out."""
    laws, notes = [], []
    for curve in curves:
        try:
            laws.append((curve, gpu_time_law(curve, slo, plan.policy.capacity)))
        except InputError as error:
            notes.append(f"{_label(curve)} is not used: {error.faults[0].what}.")
    full = [(curve, law) for curve, law in laws if len(law.measured) >= _SHAPES]
    if full:
        for curve, law in laws:
            if len(law.measured) < _SHAPES:
                notes.append(f"{_label(curve)} is not used: it was measured at {len(law.measured)} shapes only.")
    return full or laws, notes


def _stated(deployment: CaseDeployment, workloads: tuple[CaseWorkload, ...], count: int) -> Deployment:
    """The deployment with its GPU time per request of every class that it may serve.

    Classes share the room that random arrivals need in the proportions of their requests over the horizon: a rare class
    of long prompts pays the room of the mix it arrives in, not of a server of its own.
    """
    mine = [
        (k, shape)
        for workload in workloads
        if _may_serve(deployment, workload)
        for k, shape in zip(workload.classes, workload.shapes.classes, strict=True)
    ]
    requests = np.concatenate([workload.shapes.demand.sum(axis=0) for workload in workloads])
    seconds = deployment.law.gpu_s_in_mix([(shape, float(requests[k])) for k, shape in mine])
    times: list[float | None] = [None] * count
    for place, (k, shape) in enumerate(mine):
        alone = deployment.law.gpu_s(shape) if seconds is None else seconds[place]
        times[k] = None if alone is None else alone / 3600
    return Deployment(deployment.name, deployment.place.pool, tuple(times), deployment.curve.gpu.count)


def _may_serve(deployment: CaseDeployment, workload: CaseWorkload) -> bool:
    where = workload.spec.residency
    allowed = not where or deployment.place.region in where
    return allowed and workload.model == deployment.curve.model and _meets(deployment.slo, workload.spec.slo)


def _meets(slo: Slo, promised: Slo) -> bool:
    return strictest([slo, promised]) == slo


def _name(curve: Curve, place: Place, number: int) -> str:
    parts = [curve.model, f"{curve.gpu.count}x{curve.gpu.name}", curve.precision or "", place.owner]
    parts += [f"slo{number}"] if number else []
    if curve.pipeline_parallel * curve.data_parallel > 1:
        parts.append(f"tp{curve.tensor_parallel}pp{curve.pipeline_parallel}dp{curve.data_parallel}")
    return ".".join(part.replace("-", "_") for part in parts if part)


def _label(curve: Curve) -> str:
    precision = f" {curve.precision}" if curve.precision else ""
    return f"{curve.model}{precision} on {curve.gpu.count}x {curve.gpu.name} ({curve.kind})"


def _blocks(span: Span, workloads: tuple[CaseWorkload, ...]) -> Blocks:
    demand: Array = np.hstack([workload.shapes.demand for workload in workloads])
    bounds = np.cumsum([epoch.hours for epoch in span.epochs])
    epoch = np.searchsorted(bounds, np.arange(span.hours), side="right")
    return Blocks(epoch, np.ones(span.hours), demand)


def _limits(plan: PlanFile, offers: tuple[OfferInfo, ...]) -> tuple[Limit, ...]:
    owned = [info for info in offers if info.scheme == "owned"]
    found = []
    if owned and plan.policy.max_owned_gpus is not None:
        gpus = {info.offer.name: info.gpus_per_unit for info in owned}
        found.append(Limit("owned_gpus", gpus, float(plan.policy.max_owned_gpus)))
    if owned and plan.site.max_kw is not None:
        found.append(Limit("site_kw", {info.offer.name: info.kw_per_unit for info in owned}, plan.site.max_kw))
    return tuple(found)


def _most_gpus(workloads: tuple[CaseWorkload, ...], deployments: tuple[Deployment, ...]) -> float:
    """GPUs that the busiest hour would fill if the slowest deployment served all of it, and a replica of each."""
    demand = np.hstack([workload.shapes.demand for workload in workloads])
    slowest = [max((d.gpu_h_per_request[k] or 0.0 for d in deployments), default=0.0) for k in range(demand.shape[1])]
    return float((demand @ np.array(slowest)).max()) + sum(d.gpus_per_replica for d in deployments)


def _penalties(
    workloads: tuple[CaseWorkload, ...],
    deployments: tuple[Deployment, ...],
    offers: tuple[OfferInfo, ...],
    endpoints: tuple[EndpointInfo, ...],
) -> tuple[float, ...]:
    dearest_gpu_h = max((info.usd_per_gpu_h for info in offers), default=1.0)
    unit_h = max((info.usd_per_gpu_h * info.gpus_per_unit for info in offers), default=0.0)
    unit_h = max([unit_h, *(dearest_gpu_h * d.gpus_per_replica for d in deployments)])
    penalties = []
    for workload in workloads:
        for k in workload.classes:
            times = [time for d in deployments if (time := d.gpu_h_per_request[k]) is not None]
            prices = [price for info in endpoints if (price := info.endpoint.usd_per_request[k]) is not None]
            dearest = max([time * dearest_gpu_h for time in times] + prices, default=1.0)
            stated = workload.spec.unserved_usd_per_request
            penalties.append(max(_PENALTY * dearest, unit_h) if stated is None else stated)
    return tuple(penalties)


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
                remedy = "relax the SLO, name another model, measure it with `bench run`, or add an endpoint"
                what = f"model {workload.model!r} can be served by no GPU and no API ({because})"
                faults.append(Fault(what, remedy, None, None, "workload", workload.name))
                break
    if faults:
        raise InputError(*faults)


def _notes(workloads: tuple[CaseWorkload, ...], span: Span) -> Iterable[str]:
    if len(span.epochs) == 1:
        yield (
            "Demand and prices repeat, so the horizon is one decision: purchases start with it and terms shorter than "
            "it are renewed through it."
        )
    for workload in workloads:
        lost = workload.shapes.residual
        if lost.hours:
            yield f"{workload.name}: {lost.hours} hours are rounded by at most half a token a request."


def supply_notes(
    book: PriceBook, deployments: tuple[CaseDeployment, ...], offers: tuple[OfferInfo, ...]
) -> Iterable[str]:
    """What was assumed about the price book's rows."""
    largest = max((d.curve.gpu.count for d in deployments if d.place.owner == "rented"), default=1)
    small = sorted({info.provider for info in offers if info.provider != "yours" and info.gpus_per_unit < largest})
    if small:
        sellers = ", ".join(small)
        yield f"GPUs rented one by one ({sellers}) are assumed to stand in one server where a replica needs several."
    if any(info.scheme in ("on demand", "reserved") and info.offer.max_units is None for info in offers):
        yield "Where the price book states no stock, rented GPUs and APIs are assumed to be there when they are wanted."
    if any(row.scheme == "spot" for row in book.offers):
        yield "Spot GPUs are left out: interruptions are not modelled yet."


def _month_start(start: datetime, months: int) -> datetime:
    year, month = divmod(start.month - 1 + months, 12)
    year, month = start.year + year, month + 1
    return start.replace(year=year, month=month, day=min(start.day, calendar.monthrange(year, month)[1]))


def _month_hours(start: datetime, month: int) -> int:
    return round((_month_start(start, month + 1) - _month_start(start, month)) / timedelta(hours=1))
