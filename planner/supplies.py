"""Places, and the offers and endpoints in them: the price book under the plan's rules.

A **place** is a pool: one GPU type, owned, rented or rented as spot (in one region, where a workload may not leave its
regions). What
an offer costs and when it supplies is said in `owned.py` and `rented.py`; an endpoint's price belongs to a class.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

from hardware_profiles.curve import Shape
from planner.horizon import Span
from planner.names import apart, slugs
from planner.owned import busy_usd_per_gpu_h, existing, owned, site_of, staff_charge
from planner.plan import Scheme
from planner.planfile import PlanFile
from planner.prices import EndpointRow, OfferRow, PriceBook
from planner.problem import Endpoint, Pool
from planner.rented import commitments, rented, rented_rows, signed_already, signed_rows, undominated
from planner.supply import EndpointInfo, OfferInfo, Place, region_of, source_of
from planner.trends import KINDS, Supply

__all__ = [
    "EndpointInfo", "OfferInfo", "Place", "endpoints_for", "in_time", "offers_for", "places_for", "staff_charge",
    "usd_per_request",
]  # fmt: skip

_KINDS: dict[Scheme, Supply] = {
    "owned": "buy", "reserved": "reserved", "commitment": "commitment", "on demand": "on-demand", "spot": "spot",
}  # fmt: skip
"""Schemes as plan.toml calls them."""


def places_for(book: PriceBook, plan: PlanFile) -> tuple[Place, ...]:
    """Every GPU type that can be owned or rented under the plan's rules."""
    regional = any(workload.residency for workload in plan.workloads.values())
    found: dict[tuple[str, str, str | None], Pool] = {}
    own = [(gpu, plan.site.region) for gpu in book.ownership if "buy" not in plan.policy.forbid or plan.fleet]
    own += [(fleet.gpu, region_of(fleet, plan)) for fleet in plan.fleet if fleet.kind == "owned"]
    hired = [(row.gpu, "spot" if row.scheme == "spot" else "rented", row.region) for row in rented_rows(book, plan)]
    hired += [(fleet.gpu, "rented", fleet.region) for fleet in plan.fleet if fleet.kind == "reserved"]
    hired += [(row.gpu, "rented", row.region) for s in plan.commitments for row in signed_rows(book, plan, s)]
    keys = [(gpu, "owned", region) for gpu, region in own if gpu not in plan.policy.forbid_gpus] + hired
    keys = [(gpu, owner, region if regional else None) for gpu, owner, region in keys]
    kinds, slug = slugs(gpu for gpu, _, _ in keys), slugs(region for _, _, region in keys if region)
    for gpu, owner, region in keys:
        name = ".".join(word for word in (kinds[gpu], owner, slug.get(region or "", "")) if word)
        busy = owner == "owned" and gpu in book.ownership
        usd = busy_usd_per_gpu_h(book.ownership[gpu], site_of(book, plan)) if busy else 0.0
        found.setdefault((gpu, owner, region), Pool(name, usd))
    return tuple(Place(pool, *key) for key, pool in found.items())


def offers_for(
    book: PriceBook, plan: PlanFile, span: Span, today: date, *, places: tuple[Place, ...]
) -> tuple[OfferInfo, ...]:
    """Offers in the given places: what is there already, what can be bought, signed for and rented by the hour."""
    found = [*existing(book, plan, span, places)]
    if "buy" not in plan.policy.forbid:
        for place in places:
            if place.owner == "owned" and place.gpu in book.ownership and place.region in (None, plan.site.region):
                found.append(owned(book, plan, span, today, place))
    known = rented_rows(book, plan)
    for place in places:
        if place.owner != "owned":
            rows = [row for row in known if row.gpu == place.gpu and place.region in (None, row.region)]
            rows = [row for row in rows if _owner(row) == place.owner]
            found += [
                rented(row, span, today, place) for alike in _by_trend(rows, plan, span) for row in undominated(alike)
            ]
    found += signed_already(book, plan, span, places)
    found += commitments(known, span, today, places)
    found = [replace(i, offer=replace(i.offer, price_path=_path(i, plan, span))) for i in found]
    found = [_started(i, plan.policy.start_minutes) for i in found]
    names = slugs(apart((info.label for info in found), " "))
    return tuple(info.named(name) for info, name in zip(found, names.values(), strict=True))


def _started(info: OfferInfo, start_minutes: float | None) -> OfferInfo:
    """What is switched on by the hour takes so long until it serves."""
    if info.offer.placed == "epoch" or info.offer.bought or not start_minutes:
        return info
    return replace(info, offer=replace(info.offer, start_h=start_minutes / 60))


def _owner(row: OfferRow) -> str | None:
    """The owner of the places it is offered in; a commitment covers many and is one offer."""
    return {"spot": "spot", "commitment": None}.get(row.scheme, "rented")


def _by_trend(rows: list[OfferRow], plan: PlanFile, span: Span) -> Iterable[list[OfferRow]]:
    """Rows whose prices move alike, so that the cheaper one stays the cheaper one."""
    groups: dict[tuple[float, ...], list[OfferRow]] = {}
    for row in rows:
        path = span.path(plan.price_trends.of(KINDS[row.scheme], row.provider, gpu=row.gpu))
        groups.setdefault(path, []).append(row)
    return groups.values()


def _path(info: OfferInfo, plan: PlanFile, span: Span) -> tuple[float, ...]:
    """Its price's multiplier in every epoch; a commitment to several GPU types is of no single one."""
    if info.scheme == "existing":
        return ()
    return span.path(plan.price_trends.of(_KINDS[info.scheme], info.provider, gpu=info.gpu))


def in_time(info: OfferInfo, span: Span) -> bool:
    """Whether it can supply before the horizon ends."""
    return info.scheme == "existing" or info.offer.lead_epochs < len(span.epochs)


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
    names = slugs(apart((" ".join((row.provider, row.model, row.region or "")).strip() for row, _ in found), " "))
    tokens = tuple(shape.input_tokens + shape.output_tokens for _, shape in classes)
    return tuple(
        EndpointInfo(
            endpoint=Endpoint(
                name,
                prices,
                requests_per_h=None if row.requests_per_minute is None else row.requests_per_minute * 60.0,
                tokens_per_h=None if row.tokens_per_minute is None else row.tokens_per_minute * 60.0,
                tokens_per_request=tokens,
                price_path=span.path(plan.price_trends.of("api", row.provider, model=row.model)),
            ),
            label=f"{row.provider} API ({row.model})",
            provider=row.provider,
            model=row.model,
            evidenced=bool(row.latency_evidence),
            source=source_of(row, today),
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
