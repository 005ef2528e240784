"""Rows of rented GPUs -> offers: reserved for a term, or switched on by the hour.

* Reserved rows are placed by epoch, on-demand rows by the hour. In a plan of one epoch a term that does not divide the
  horizon is renewed until it covers it; what then reaches past the end is owed and shown (`tail`).
* A row that another beats in every respect (same place, scheme and term; not dearer, not coarser, not later, no stock
  limit) is left out: it could never be chosen.
* Spot rows are left out and said so: interruptions are not modelled yet, and a price without them would be too good.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date

from planner.horizon import Span
from planner.plan import Scheme
from planner.planfile import PlanFile
from planner.prices import OfferRow, PriceBook
from planner.problem import Line, Offer
from planner.supply import MONTH_H, OfferInfo, Place, source_of


def rented_rows(book: PriceBook, plan: PlanFile) -> list[OfferRow]:
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


def undominated(rows: Iterable[OfferRow]) -> list[OfferRow]:
    """Rows without those that could never be chosen."""
    kept: list[OfferRow] = []
    for row in sorted(rows, key=lambda row: (_usd_per_gpu_h(row), row.gpus_per_unit, row.provider)):
        if not any(_beats(other, row) for other in kept):
            kept.append(row)
    return kept


def rented(row: OfferRow, span: Span, today: date, place: Place, tail: str) -> OfferInfo:
    """The offer of one row in its place."""
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
        owed_h = (terms * term - span.months) * MONTH_H
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
        lead_epochs=span.lead_epochs(row.lead_time_months),
        upfront=tuple(upfront),
        committed=(committed,),
        max_units=row.limit_units,
    )
    return _info(offer, "reserved", row, today)


def _beats(one: OfferRow, other: OfferRow) -> bool:
    alike = (one.scheme, one.term_months) == (other.scheme, other.term_months)
    prices = ((row.upfront_usd_per_unit / row.gpus_per_unit, row.committed_usd_per_gpu_h, row.usage_usd_per_gpu_h)
              for row in (one, other))  # fmt: skip
    cheaper = all(price <= more for price, more in zip(*prices, strict=True))
    sooner = (one.lead_time_months or 0.0) <= (other.lead_time_months or 0.0)
    finer = other.gpus_per_unit % one.gpus_per_unit == 0
    return alike and cheaper and sooner and finer and one.limit_units is None


def _usd_per_gpu_h(row: OfferRow) -> float:
    upfront = row.upfront_usd_per_unit / row.gpus_per_unit / (MONTH_H * (row.term_months or 1))
    return upfront + row.committed_usd_per_gpu_h + row.usage_usd_per_gpu_h


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
        source=source_of(row, today),
        lead_months=row.lead_time_months,
    )
