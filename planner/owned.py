"""Owned GPUs: servers that can be bought, what running them costs, the team they need, and what is there already.

Owned GPUs come in whole servers; of spares a share of each is bought on top, and sold with it. Idle power is owed at
all hours, the rest of the power while a GPU works; what a sale brings at the end of the horizon is credited. The team
that any owned GPU needs is charged once, and not in months in which it is there anyway for GPUs that are owned already:
what these cost is spent and in no plan's bill. A server serves from the month in which it arrives (`lead_time_months`),
and its running costs begin then. Where plan.toml borrows, what it costs at once is repaid month by month.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta

from planner.horizon import Span
from planner.most_units import most_units
from planner.plan import Source
from planner.planfile import Fleet, PlanFile
from planner.prices import Ownership, PriceBook, Site
from planner.problem import Array, Deployment, FixedCharge, Line, Offer
from planner.supply import MONTH_H, OfferInfo, Place, place_of, source_of, stock_of

_FIGURES = (
    "power_usd_per_kwh", "pue", "colocation_usd_per_kw_month", "staff_usd_per_month", "staff_usd_per_gpu_month",
    "spares_share",
)  # fmt: skip


def site_of(book: PriceBook, plan: PlanFile) -> Site:
    """The price book's site with plan.toml's figures in place of its own."""
    stated = {name: value for name in _FIGURES if (value := getattr(plan.site, name)) is not None}
    return book.site.model_copy(update=stated)


def staff_charge(
    book: PriceBook,
    plan: PlanFile,
    offers: tuple[OfferInfo, ...],
    span: Span,
    *,
    deployments: tuple[Deployment, ...],
    demand: Array,
) -> tuple[FixedCharge, ...]:
    """The team that owning any GPU at all needs, in months in which it is not there already."""
    owned = tuple(info.offer for info in offers if info.scheme == "owned")
    usd, there = site_of(book, plan).staff_usd_per_month, _team_there(plan, span)
    if not owned or not usd or len(there) == len(span.epochs):
        return ()
    most = most_units(owned, deployments, demand)
    return (FixedCharge("staff", tuple(offer.name for offer in owned), usd / MONTH_H, most, there),)


def staff_notes(book: PriceBook, plan: PlanFile, offers: tuple[OfferInfo, ...], span: Span) -> Iterable[str]:
    """That a team which is there already is not charged, where more could be bought."""
    usd, there = site_of(book, plan).staff_usd_per_month, _team_there(plan, span)
    if usd and there and any(info.scheme == "owned" for info in offers):
        months = "" if len(there) == len(span.epochs) else f" in {len(there)} of {len(span.epochs)} months"
        yield (
            f"The team for owned GPUs is there already{months}, for the fleet, so what is bought beside it is not "
            "charged with it; staff_usd_per_gpu_month in [site] states what more GPUs need."
        )


def _team_there(plan: PlanFile, span: Span) -> frozenset[int]:
    """Epochs in which GPUs that are owned already need the team anyway."""
    mine = [_there(fleet, span) for fleet in plan.fleet if fleet.kind == "owned"]
    return frozenset(m for months in mine for m, there in enumerate(months) if there)


def _there(fleet: Fleet, span: Span) -> list[bool]:
    """Whether it is there through all of each epoch."""
    end, found = span.start, []
    for epoch in span.epochs:
        begin, end = end, end + timedelta(hours=epoch.hours)
        arrived = fleet.arrives is None or begin.date() >= fleet.arrives
        found.append(arrived and (fleet.until is None or end.date() <= fleet.until))
    return found


def lead_months(own: Ownership, plan: PlanFile) -> float | None:
    """From signing to service: plan.toml's figure, else the price book's."""
    stated = plan.site.lead_time_months
    return own.lead_time_months if stated is None else stated


def owned(book: PriceBook, plan: PlanFile, span: Span, today: date, place: Place) -> OfferInfo:
    """Servers of the place's GPU that can be bought."""
    own, site = book.ownership[place.gpu], site_of(book, plan)
    gpus = float(own.gpus_per_server)
    idle_w = own.busy_w if own.idle_w is None else own.idle_w
    spares = own.spares_usd(site)
    upfront = {"GPU purchase": own.gpu_usd, "chassis": own.chassis_usd, "network": own.network_usd, "spares": spares}
    capital_usd, loan = sum(upfront.values()), plan.financing.loan
    interest_usd = 0.0 if loan is None else capital_usd * (loan.payment * loan.epochs - 1)
    committed = {
        "repairs": (own.failures_per_year or 0.0) * own.gpu_usd / 8760,
        "support": (own.support_usd_per_month or 0.0) / MONTH_H,
        "idle power": idle_w / 1000 * site.pue * site.power_usd_per_kwh,
        "rack": own.provisioned_w / 1000 * (site.colocation_usd_per_kw_month or 0.0) / MONTH_H,
        "staff per GPU": (site.staff_usd_per_gpu_month or 0.0) / MONTH_H,
    }
    cut = 0.0 if len(span.epochs) == 1 else len(span.epochs) - span.months
    ages = [0.0, span.months] if len(span.epochs) == 1 else [max(0.0, m - cut) for m in range(len(span.epochs) + 1)]
    lead = lead_months(own, plan)
    stock = stock_of(plan, "yours", own.gpu, "buy")
    written_off = plan.accounting.depreciation_years
    offer = Offer(
        "",
        {place.pool: 1 / gpus},
        max_units=None if stock is None else float(stock // own.gpus_per_server),
        lead_epochs=span.lead_epochs(lead),
        upfront=tuple(Line(name, usd * gpus) for name, usd in upfront.items() if usd),
        committed=tuple(Line(name, usd * gpus) for name, usd in committed.items() if usd),
        running_costs_stay=True,
        loan=loan,
        residual_usd=tuple(capital_usd * gpus * own.residual_share(age) for age in ages),
    )
    return OfferInfo(
        offer,
        f"{own.gpu} owned",
        "owned",
        "yours",
        own.gpu,
        gpus,
        None,
        (capital_usd + interest_usd) / (MONTH_H * own.life_months) + sum(committed.values()),
        source_of(own, today),
        kw_per_unit=own.provisioned_w / 1000 * gpus,
        rack_units_per_unit=None if own.rack_units is None else own.rack_units * gpus,
        owned=True,
        lead_months=lead,
        write_off_months=float(own.life_months) if written_off is None else 12 * written_off,
    )


def busy_usd_per_gpu_h(own: Ownership, site: Site) -> float:
    """What a GPU costs on top of its idle power while it works."""
    idle_w = own.busy_w if own.idle_w is None else own.idle_w
    return (own.busy_w - idle_w) / 1000 * site.pue * site.power_usd_per_kwh


def existing(book: PriceBook, plan: PlanFile, span: Span, places: tuple[Place, ...]) -> Iterable[OfferInfo]:
    """GPUs that are there already, month by month: from the first whole month in which they are there, to the last."""
    for fleet in plan.fleet:
        place = place_of(fleet, plan, places)
        if place is None:
            continue
        units = tuple(float(fleet.gpus) if there else 0.0 for there in _there(fleet, span))
        offer = Offer("", {place.pool: 1.0}, bought=False, existing=units)
        source = Source(text="plan.toml", as_of=None, stale=False)
        label = f"{fleet.gpu} {fleet.kind} already"
        mine = fleet.kind == "owned"
        info = OfferInfo(offer, label, "existing", "yours", fleet.gpu, 1.0, None, 0.0, source, owned=mine)
        if mine and (own := book.ownership.get(fleet.gpu)) is not None:
            info = replace(info, kw_per_unit=own.provisioned_w / 1000, rack_units_per_unit=own.rack_units)
        yield info
