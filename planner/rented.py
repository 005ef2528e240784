"""Rows of rented GPUs -> offers: reserved for a term, committed to in USD, or switched on by the hour.

* Reserved rows are placed by epoch, on-demand rows by the hour. In a plan of one epoch a term that does not divide the
  horizon is renewed until it covers it, and what is paid upfront is paid with every renewal.
* A **spend commitment** is one offer whose unit is one USD per hour, owed through its term, used or not. In every hour
  GPUs that it covers draw their committed price from it, dearest saving first because the programme is free to choose;
  what exceeds it is rented at the on-demand price of any seller, the same one's included where the price book has that
  row, and served otherwise where it has not. So sellers bill (AWS, "Understanding how Savings Plans apply to your
  usage", docs.aws.amazon.com/savingsplans/latest/userguide/sp-applying.html). A replica is covered whole or not at all,
  where a bill may split its last hour: the plan can only be too dear by that. Of a price that changes with time, what
  is signed later buys as much use at the price of its month. One that covers a single GPU type is placed by epoch, like
  reserved GPUs in divisible units, which the search proves far faster and which can again only be too dear: models then
  share it from hour to hour as they share reserved GPUs.
* **Spot** units are switched on by the hour and may be taken back at any time. Of every hour that is paid,

      usable = 1 - interruptions_per_h x restart_minutes / 60

  is served: each interruption costs the time until another unit serves in its place, which is paid as the unit loads.
  More units are switched on for it (SkyServe overprovisions likewise: Mao et al., arXiv 2411.01438), whole ones, so a
  small fleet keeps a spare. It is a mean: `spot_risks` says what it is not. A row whose rate of interruptions or time
  to restart nobody states cannot be used.
* A row that another beats in every respect (same place, scheme and term; not dearer, not coarser, not later, not
  interrupted more, no stock limit) is left out: it could never be chosen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from typing import Literal

from planner.horizon import Span
from planner.plan import Purchase, Scheme, Source
from planner.planfile import PlanFile, Signed
from planner.prices import OfferRow, PriceBook
from planner.problem import Line, Offer
from planner.supply import MONTH_H, OfferInfo, Place, source_of, stock_of

_FORBIDDEN_AS = {"reserved": "reserved", "on_demand": "on-demand", "spot": "spot", "commitment": "commitment"}
COMMITTED = "committed spend"
"""The line of the bill that a commitment is."""


def rented_rows(book: PriceBook, plan: PlanFile) -> list[OfferRow]:
    """Rows under the plan's rules; spot rows with plan.toml's figures where they state none, if they can be used."""
    policy = plan.policy
    rows = (
        _completed(row, plan)
        for row in book.offers
        if row.scheme in _FORBIDDEN_AS
        and _FORBIDDEN_AS[row.scheme] not in policy.forbid
        and row.provider not in policy.forbid_providers
        and row.gpu not in policy.forbid_gpus
    )
    return [row for row in rows if row.scheme != "spot" or (spot_allowed(plan) and usable(row))]


def spot_allowed(plan: PlanFile) -> bool:
    """Whether any workload may be served on spot GPUs."""
    return plan.policy.spot or any(workload.spot for workload in plan.workloads.values())


def usable(row: OfferRow) -> float | None:
    """Share of a spot unit's hours that serve; None where that cannot be told or nothing is left.

    0.05 interruptions an hour, 12 minutes each: 1 - 0.05 x 0.2 = 0.99.
    """
    if row.interruptions_per_h is None or row.restart_minutes is None:
        return None
    share = 1 - row.interruptions_per_h * row.restart_minutes / 60
    return share if share > 0 else None


def undominated(rows: Iterable[OfferRow]) -> list[OfferRow]:
    """Rows without those that could never be chosen."""
    kept: list[OfferRow] = []
    for row in sorted(rows, key=lambda row: (_usd_per_gpu_h(row), row.gpus_per_unit, row.provider)):
        if not any(_beats(other, row) for other in kept):
            kept.append(row)
    return kept


def rented(row: OfferRow, span: Span, today: date, place: Place) -> OfferInfo:
    """The offer of one row in its place."""
    gpus = float(row.gpus_per_unit)
    covers = {place.pool: 1 / gpus}
    if row.scheme == "on_demand":
        usage = row.usage_usd_per_gpu_h * gpus
        offer = Offer("", covers, "hour", bought=False, usage_usd_per_h=usage, max_units=row.limit_units,
                      minimum_h=max(1.0, row.minimum_hours or 1.0))  # fmt: skip
        return _info(offer, "on demand", row, today)
    if row.scheme == "spot":
        share = usable(row) or 1.0
        offer = Offer("", {place.pool: 1 / (gpus * share)}, "hour", bought=False, max_units=row.limit_units,
                      usage_usd_per_h=row.usage_usd_per_gpu_h * gpus, usable=share)  # fmt: skip
        return _info(offer, "spot", row, today)
    term_epochs, upfront = _term(row, "reserved GPUs", span)
    offer = Offer(
        "",
        covers,
        term_epochs=term_epochs,
        lead_epochs=span.lead_epochs(row.lead_time_months),
        upfront=upfront,
        committed=(Line("reserved GPUs", row.committed_usd_per_gpu_h * gpus),),
        max_units=row.limit_units,
    )
    return _info(offer, "reserved", row, today)


def commitments(rows: list[OfferRow], span: Span, today: date, places: tuple[Place, ...]) -> list[OfferInfo]:
    """Every spend commitment of the rows, with the committed price of each place that it covers."""
    groups: dict[tuple[object, ...], list[OfferRow]] = {}
    for row in rows:
        if row.scheme == "commitment":
            groups.setdefault((row.provider, row.commitment, row.term_months), []).append(row)
    found = []
    for members in groups.values():
        if covers := _covers(members, places):
            found.append(_commitment(members, covers, span, today))
    return found


def signed_rows(book: PriceBook, plan: PlanFile, signed: Signed) -> list[OfferRow]:
    """The price book's rows of a commitment that is signed already, of GPUs that may be used."""
    wanted = (signed.provider, signed.commitment)
    rows = [row for row in book.offers if row.scheme == "commitment" and (row.provider, row.commitment) == wanted]
    rows = [row for row in rows if signed.term_months in (None, row.term_months)]
    return [row for row in rows if row.gpu not in plan.policy.forbid_gpus]


def signed_already(book: PriceBook, plan: PlanFile, span: Span, places: tuple[Place, ...]) -> Iterable[OfferInfo]:
    """Commitments that are there, in the whole months before they end; none can be bought."""
    for signed in plan.commitments:
        covers = _covers(signed_rows(book, plan, signed), places)
        if not covers:
            continue
        end, units = span.start, []
        for epoch in span.epochs:
            end += timedelta(hours=epoch.hours)
            units.append(signed.usd_per_h if end.date() <= signed.until else 0.0)
        placed = _placed(covers)
        offer = Offer("", covers, placed, bought=placed == "hour", lead_epochs=len(span.epochs),
                      existing=tuple(units), whole=False)  # fmt: skip
        name = f" {signed.commitment}" if signed.commitment else ""
        yield OfferInfo(
            offer=offer,
            label=f"spend commitment{name} at {signed.provider} already",
            scheme="existing",
            provider=signed.provider,
            gpu=", ".join(dict.fromkeys(row.gpu for row in signed_rows(book, plan, signed))),
            gpus_per_unit=1 / max(covers.values()),
            term_months=None,
            usd_per_gpu_h=0.0,
            source=Source(text="plan.toml", as_of=None, stale=False),
        )


def _placed(covers: dict[str, float]) -> Literal["epoch", "hour"]:
    return "epoch" if len(covers) == 1 else "hour"


def _covers(rows: list[OfferRow], places: tuple[Place, ...]) -> dict[str, float]:
    """By pool, the committed price of a GPU-hour: the least where regions are not told apart."""
    covers: dict[str, float] = {}
    for row in rows:
        for place in places:
            if (place.gpu, place.owner) == (row.gpu, "rented") and place.region in (None, row.region):
                price = row.usage_usd_per_gpu_h
                covers[place.pool] = min(price, covers.get(place.pool, price))
    return covers


def spot_risks(offers: tuple[OfferInfo, ...], purchases: tuple[Purchase, ...]) -> tuple[str, ...]:
    """What the mean of a spot unit's usable hours does not say, for each that the plan uses."""
    said = []
    used = {purchase.offer: purchase for purchase in purchases if purchase.scheme == "spot"}
    for info in offers:
        if info.label in used:
            gpus, share = used[info.label].gpus, info.offer.usable
            said.append(
                f"{info.label}: counted at {share:.1%} of its hours ({info.interruptions_per_h:g} interruptions per "
                f"unit and hour, {info.restart_minutes:g} minutes each), which is a mean. All {gpus:,.0f} GPUs may be "
                "taken at once and none may be had for a while: have another supply ready for the work on them."
            )
    return tuple(said)


def _completed(row: OfferRow, plan: PlanFile) -> OfferRow:
    """The row with plan.toml's stock, the lesser counts, and its figures of spot where the row states none."""
    stock = stock_of(plan, row.provider, row.gpu, _FORBIDDEN_AS[row.scheme])
    if stock is not None and row.scheme != "commitment":
        units = float(stock // row.gpus_per_unit)
        row = replace(row, limit_units=units if row.limit_units is None else min(units, row.limit_units))
    if row.scheme != "spot":
        return row
    rate, minutes = row.interruptions_per_h, row.restart_minutes
    return replace(
        row,
        interruptions_per_h=plan.policy.spot_interruptions_per_h if rate is None else rate,
        restart_minutes=plan.policy.spot_restart_minutes if minutes is None else minutes,
    )


def _term(row: OfferRow, line: str, span: Span) -> tuple[int, tuple[Line, ...]]:
    """How many epochs a purchase holds, and what is owed at once, for every renewal that it stands for."""
    term_epochs, terms = span.term_epochs(row.term_months or 1)
    return term_epochs, (Line(line, terms * row.upfront_usd_per_unit),) if row.upfront_usd_per_unit else ()


def _commitment(rows: list[OfferRow], covers: dict[str, float], span: Span, today: date) -> OfferInfo:
    row = rows[0]
    term_epochs, upfront = _term(row, COMMITTED, span)
    offer = Offer(
        "",
        covers,
        _placed(covers),
        term_epochs=term_epochs,
        lead_epochs=span.lead_epochs(row.lead_time_months),
        upfront=upfront,
        committed=(Line(COMMITTED, 1.0),),
        max_units=row.limit_units,
        whole=False,
    )
    name = f" {row.commitment}" if row.commitment else ""
    dearest = max(covers.values())
    return OfferInfo(
        offer=offer,
        label=f"spend commitment{name} {_months(row)} at {row.provider}",
        scheme="commitment",
        provider=row.provider,
        gpu=", ".join(dict.fromkeys(each.gpu for each in rows)),
        gpus_per_unit=1 / dearest,
        term_months=row.term_months,
        usd_per_gpu_h=dearest,
        source=source_of(min(rows, key=lambda each: each.as_of or date.min), today),
        lead_months=row.lead_time_months,
    )


def _beats(one: OfferRow, other: OfferRow) -> bool:
    alike = (one.scheme, one.term_months) == (other.scheme, other.term_months)
    prices = ((row.upfront_usd_per_unit / row.gpus_per_unit, row.committed_usd_per_gpu_h, row.usage_usd_per_gpu_h)
              for row in (one, other))  # fmt: skip
    cheaper = all(price <= more for price, more in zip(*prices, strict=True))
    sooner = (one.lead_time_months or 0.0) <= (other.lead_time_months or 0.0)
    steadier = (usable(one) or 1.0) >= (usable(other) or 1.0)
    finer = other.gpus_per_unit % one.gpus_per_unit == 0
    shorter = (one.minimum_hours or 1.0) <= (other.minimum_hours or 1.0)
    return alike and cheaper and sooner and steadier and finer and shorter and one.limit_units is None


def _usd_per_gpu_h(row: OfferRow) -> float:
    upfront = row.upfront_usd_per_unit / row.gpus_per_unit / (MONTH_H * (row.term_months or 1))
    return upfront + row.committed_usd_per_gpu_h + row.usage_usd_per_gpu_h


def _months(row: OfferRow) -> str:
    return f"{row.term_months} month{'s' * (row.term_months != 1)}"


def _info(offer: Offer, scheme: Scheme, row: OfferRow, today: date) -> OfferInfo:
    term = f" {_months(row)}" if scheme == "reserved" else ""
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
        interruptions_per_h=row.interruptions_per_h,
        restart_minutes=row.restart_minutes,
    )
