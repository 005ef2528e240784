"""Price rows -> offers and endpoints of the problem.

* A **place** is a pool: one GPU type, owned or rented (in one region, where a workload may not leave its regions).
* Reserved rows are placed by epoch, on-demand rows by the hour. In a plan of one epoch a term that does not divide the
  horizon is renewed until it covers it; what then reaches past the end is owed and shown (`tail`).
* A row that another beats in every respect (same place, scheme and term; not dearer, not coarser, no stock limit) is
  left out: it could never be chosen.
* Owned GPUs come in whole servers. Idle power is owed at all hours, the rest of the power while a GPU works; what a
  sale brings at the end of the horizon is credited; the team that any owned GPU needs is charged once.
* Spot rows are left out and said so: interruptions are not modelled yet, and a price without them would be too good.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta

from hardware_profiles.curve import Shape
from planner.horizon import Span
from planner.names import slugs
from planner.plan import Scheme, Source
from planner.planfile import PlanFile
from planner.prices import EndpointRow, OfferRow, Ownership, PriceBook, Site, stale
from planner.problem import Endpoint, FixedCharge, Line, Offer, Pool

_MONTH_H = 8760 / 12


@dataclass(frozen=True)
class Place:
    """A pool and what it stands for; `region` None is anywhere."""

    stated: Pool
    gpu: str
    owner: str
    region: str | None

    @property
    def pool(self) -> str:
        """The pool's name."""
        return self.stated.name


@dataclass(frozen=True)
class OfferInfo:
    """An offer of the problem and the price row it stands for."""

    offer: Offer
    label: str
    scheme: Scheme
    provider: str
    gpu: str
    gpus_per_unit: float
    term_months: int | None
    usd_per_gpu_h: float
    source: Source
    kw_per_unit: float = 0.0
    """Of the site's power that it takes, owned units only."""


@dataclass(frozen=True)
class EndpointInfo:
    """An endpoint of the problem and the price row it stands for."""

    endpoint: Endpoint
    label: str
    provider: str
    model: str
    evidenced: bool
    source: Source
    row: EndpointRow | None = None


def places_for(book: PriceBook, plan: PlanFile) -> tuple[Place, ...]:
    """Every GPU type that can be owned or rented under the plan's rules."""
    found = []
    if "buy" not in plan.policy.forbid or plan.fleet:
        gpus = dict.fromkeys([*book.ownership, *(fleet.gpu for fleet in plan.fleet if fleet.kind == "owned")])
        for gpu in gpus:
            if gpu not in plan.policy.forbid_gpus:
                busy = _busy_usd_per_gpu_h(book.ownership[gpu], site_of(book, plan)) if gpu in book.ownership else 0.0
                found.append(Place(Pool(f"{_part(gpu)}.owned", busy), gpu, "owned", None))
    regional = any(workload.residency for workload in plan.workloads.values())
    rented = dict.fromkeys((row.gpu, row.region if regional else None) for row in _rented_rows(book, plan))
    rented |= dict.fromkeys((fleet.gpu, None) for fleet in plan.fleet if fleet.kind == "reserved")
    slug = slugs(region for _, region in rented if region)
    for gpu, region in rented:
        name = ".".join(part for part in (_part(gpu), "rented", slug.get(region or "", "")) if part)
        found.append(Place(Pool(name), gpu, "rented", region))
    return tuple(found)


def offers_for(
    book: PriceBook, plan: PlanFile, span: Span, today: date, *, places: tuple[Place, ...]
) -> tuple[OfferInfo, ...]:
    """Offers in the given places: what is there already, what can be bought, reserved and rented by the hour."""
    found = [*_existing(plan, span, places)]
    if "buy" not in plan.policy.forbid:
        for place in places:
            if place.owner == "owned" and place.gpu in book.ownership:
                found.append(_owned(book.ownership[place.gpu], site_of(book, plan), span, today, place))
    for place in places:
        if place.owner == "rented":
            rows = [row for row in _rented_rows(book, plan) if row.gpu == place.gpu]
            rows = [row for row in rows if place.region in (None, row.region)]
            found += [_rented(row, span, today, place, plan.horizon.tail) for row in _undominated(rows)]
    trends = plan.price_trends
    per_year = {
        "owned": trends.purchase_per_year,
        "reserved": trends.rental_per_year,
        "on demand": trends.rental_per_year,
    }
    found = [replace(i, offer=replace(i.offer, price_path=span.path(per_year.get(i.scheme, 0.0)))) for i in found]
    names = slugs(f"{info.label} {i}" if _repeats(found, info) else info.label for i, info in enumerate(found))
    return tuple(_named(info, name) for info, name in zip(found, names.values(), strict=True))


def _repeats(found: list[OfferInfo], info: OfferInfo) -> bool:
    return sum(other.label == info.label for other in found) > 1


def site_of(book: PriceBook, plan: PlanFile) -> Site:
    """The price book's site with plan.toml's figures in place of its own."""
    stated = {
        name: value
        for name in (
            "power_usd_per_kwh",
            "pue",
            "colocation_usd_per_kw_month",
            "staff_usd_per_month",
            "staff_usd_per_gpu_month",
        )
        if (value := getattr(plan.site, name)) is not None
    }
    return book.site.model_copy(update=stated)


def staff_charge(
    book: PriceBook, plan: PlanFile, offers: tuple[OfferInfo, ...], most_gpus: float
) -> tuple[FixedCharge, ...]:
    """The team that owning any GPU at all needs; `most_gpus` is more than could ever be of use."""
    owned = [info for info in offers if info.scheme == "owned"]
    usd = site_of(book, plan).staff_usd_per_month
    if not owned or not usd:
        return ()
    units = sum(math.ceil(most_gpus / info.gpus_per_unit) for info in owned)
    return (FixedCharge("staff", tuple(info.offer.name for info in owned), usd / _MONTH_H, float(units)),)


def _owned(own: Ownership, site: Site, span: Span, today: date, place: Place) -> OfferInfo:
    gpus = float(own.gpus_per_server)
    idle_w = own.busy_w if own.idle_w is None else own.idle_w
    upfront = {"GPU purchase": own.gpu_usd, "chassis": own.chassis_usd, "network": own.network_usd}
    committed = {
        "repairs": (own.failures_per_year or 0.0) * own.gpu_usd / 8760,
        "support": (own.support_usd_per_month or 0.0) / _MONTH_H,
        "idle power": idle_w / 1000 * site.pue * site.power_usd_per_kwh,
        "rack": own.provisioned_w / 1000 * (site.colocation_usd_per_kw_month or 0.0) / _MONTH_H,
        "staff per GPU": (site.staff_usd_per_gpu_month or 0.0) / _MONTH_H,
    }
    ages = [0.0, span.months] if len(span.epochs) == 1 else list(range(len(span.epochs) + 1))
    offer = Offer(
        "",
        {place.pool: 1 / gpus},
        upfront=tuple(Line(name, usd * gpus) for name, usd in upfront.items() if usd),
        committed=tuple(Line(name, usd * gpus) for name, usd in committed.items() if usd),
        running_costs_stay=True,
        residual_usd=tuple(own.capital_usd * gpus * own.residual_share(age) for age in ages),
    )
    usd_per_gpu_h = own.capital_usd / (_MONTH_H * own.life_months) + sum(committed.values())
    label = f"{own.gpu} owned"
    kw = own.provisioned_w / 1000 * gpus
    return OfferInfo(offer, label, "owned", "yours", own.gpu, gpus, None, usd_per_gpu_h, _source(own, today), kw)


def _busy_usd_per_gpu_h(own: Ownership, site: Site) -> float:
    """What a GPU costs on top of its idle power while it works."""
    idle_w = own.busy_w if own.idle_w is None else own.idle_w
    return (own.busy_w - idle_w) / 1000 * site.pue * site.power_usd_per_kwh


def _part(text: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in text.lower())


def _rented_rows(book: PriceBook, plan: PlanFile) -> list[OfferRow]:
    """Rows under the plan's rules; spot is not planned with."""
    policy = plan.policy
    allowed = {"reserved": "reserved" not in policy.forbid, "on_demand": "on-demand" not in policy.forbid}
    return [
        row
        for row in book.offers
        if allowed.get(row.scheme, False)
        and row.provider not in policy.forbid_providers
        and row.gpu not in policy.forbid_gpus
    ]


def _undominated(rows: Iterable[OfferRow]) -> list[OfferRow]:
    kept: list[OfferRow] = []
    for row in sorted(rows, key=lambda row: (_usd_per_gpu_h(row), row.gpus_per_unit, row.provider)):
        if not any(_beats(other, row) for other in kept):
            kept.append(row)
    return kept


def _beats(one: OfferRow, other: OfferRow) -> bool:
    alike = (one.scheme, one.term_months) == (other.scheme, other.term_months)
    prices = ((row.upfront_usd_per_unit / row.gpus_per_unit, row.committed_usd_per_gpu_h, row.usage_usd_per_gpu_h)
              for row in (one, other))  # fmt: skip
    cheaper = all(price <= more for price, more in zip(*prices, strict=True))
    return alike and cheaper and one.limit_units is None and other.gpus_per_unit % one.gpus_per_unit == 0


def _usd_per_gpu_h(row: OfferRow) -> float:
    upfront = row.upfront_usd_per_unit / row.gpus_per_unit / (_MONTH_H * (row.term_months or 1))
    return upfront + row.committed_usd_per_gpu_h + row.usage_usd_per_gpu_h


def _rented(row: OfferRow, span: Span, today: date, place: Place, tail: str) -> OfferInfo:
    gpus = float(row.gpus_per_unit)
    covers = {place.pool: 1 / gpus}
    if row.scheme == "on_demand":
        usage = row.usage_usd_per_gpu_h * gpus
        offer = Offer("", covers, "hour", bought=False, usage_usd_per_h=usage, max_units=row.limit_units)
        return _info(offer, "on demand", row, today)
    term = row.term_months or 1
    committed = Line("reserved GPUs", row.committed_usd_per_gpu_h * gpus)
    upfront_usd = row.upfront_usd_per_unit
    upfront = []
    if len(span.epochs) == 1:
        terms = math.ceil(span.months / term - 1e-9)
        upfront_usd *= terms
        owed_h = (terms * term - span.months) * _MONTH_H
        if owed_h > 1 and tail == "full":
            upfront.append(Line("owed past the horizon", committed.usd * owed_h))
        term_epochs = 1
    else:
        term_epochs = term
    if upfront_usd:
        upfront.append(Line("reserved GPUs", upfront_usd))
    offer = Offer(
        "",
        covers,
        term_epochs=term_epochs,
        upfront=tuple(upfront),
        committed=(committed,),
        max_units=row.limit_units,
    )
    return _info(offer, "reserved", row, today)


def _info(offer: Offer, scheme: Scheme, row: OfferRow, today: date) -> OfferInfo:
    term = f" {row.term_months} month{'s' * (row.term_months != 1)}" if scheme == "reserved" else ""
    return OfferInfo(
        offer=offer,
        label=f"{row.gpu} {scheme}{term} at {row.provider}",
        scheme=scheme,
        provider=row.provider,
        gpu=row.gpu,
        gpus_per_unit=float(row.gpus_per_unit),
        term_months=row.term_months if scheme == "reserved" else None,
        usd_per_gpu_h=_usd_per_gpu_h(row),
        source=_source(row, today),
    )


def _source(row: OfferRow | EndpointRow | Ownership, today: date) -> Source:
    as_of = None if row.as_of is None else str(row.as_of)
    return Source(text=row.source, as_of=as_of, stale=stale(row, today), confidence=row.confidence)


def _existing(plan: PlanFile, span: Span, places: tuple[Place, ...]) -> Iterable[OfferInfo]:
    for fleet in plan.fleet:
        owner = "owned" if fleet.kind == "owned" else "rented"
        place = next((p for p in places if (p.gpu, p.owner, p.region) == (fleet.gpu, owner, None)), None)
        if place is None:
            continue
        end, units = span.start, []
        for epoch in span.epochs:
            end += timedelta(hours=epoch.hours)
            stays = fleet.until is None or end.date() <= fleet.until
            units.append(float(fleet.gpus) if stays else 0.0)
        offer = Offer("", {place.pool: 1.0}, bought=False, existing=tuple(units))
        source = Source(text="plan.toml", as_of=None, stale=False)
        label = f"{fleet.gpu} {fleet.kind} already"
        yield OfferInfo(offer, label, "existing", "yours", fleet.gpu, 1.0, None, 0.0, source)


def _named(info: OfferInfo, name: str) -> OfferInfo:
    return replace(info, offer=replace(info.offer, name=name))


def endpoints_for(
    book: PriceBook,
    plan: PlanFile,
    span: Span,
    today: date,
    *,
    classes: tuple[tuple[str, Shape], ...],
    residency: tuple[tuple[str, ...], ...],
) -> tuple[EndpointInfo, ...]:
    """Every endpoint that sells the model of at least one class (model, shape), under the plan's rules."""
    if "api" in plan.policy.forbid:
        return ()
    found = []
    for row in book.endpoints:
        prices = tuple(
            usd_per_request(row, shape) if model == row.model and (not where or row.region in where) else None
            for (model, shape), where in zip(classes, residency, strict=True)
        )
        if row.provider not in plan.policy.forbid_providers and any(price is not None for price in prices):
            found.append((row, prices))
    names = slugs(" ".join((row.provider, row.model, row.region or "")).strip() for row, _ in found)
    tokens = tuple(shape.input_tokens + shape.output_tokens for _, shape in classes)
    return tuple(
        EndpointInfo(
            endpoint=Endpoint(
                name,
                prices,
                requests_per_h=None if row.requests_per_minute is None else row.requests_per_minute * 60.0,
                tokens_per_h=None if row.tokens_per_minute is None else row.tokens_per_minute * 60.0,
                tokens_per_request=tokens,
                price_path=span.path(plan.price_trends.api_per_year),
            ),
            label=f"{row.provider} API ({row.model})",
            provider=row.provider,
            model=row.model,
            evidenced=bool(row.latency_evidence),
            source=_source(row, today),
            row=row,
        )
        for (row, prices), name in zip(found, names.values(), strict=True)
    )


def usd_per_request(row: EndpointRow, shape: Shape) -> float:
    """((input - cached) * input price + cached * cached price + output * output price) / 1e6.

    Cached input costs the full price where the row states no other.
    """
    cached_price = row.input_usd_per_mtok if row.cached_input_usd_per_mtok is None else row.cached_input_usd_per_mtok
    fresh = shape.input_tokens - shape.cached_tokens
    usd = fresh * row.input_usd_per_mtok + shape.cached_tokens * cached_price
    return (usd + shape.output_tokens * row.output_usd_per_mtok) / 1e6
