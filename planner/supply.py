"""What a supply of the problem stands for: a place, and the price row behind an offer or an endpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from planner.plan import Scheme, Source
from planner.planfile import Fleet, PlanFile
from planner.prices import EndpointRow, OfferRow, Ownership, stale
from planner.problem import Endpoint, Offer, Pool

MONTH_H = 8760 / 12


@dataclass(frozen=True)
class Place:
    """A pool and what it stands for: `owner` is owned, rented or spot; `region` None is anywhere."""

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
    kw_per_unit: float | None = None
    rack_units_per_unit: float | None = None
    """Of the site's power and rack space that it takes, owned units only; None: nobody states it."""
    owned: bool = False
    """Whether it counts among the GPUs that are owned: bought, or owned already."""
    lead_months: float | None = None
    """From signing to service, as stated; None: nobody says."""
    write_off_months: float | None = None
    """Of what is bought: over how long the books write it off."""
    interruptions_per_h: float | None = None
    restart_minutes: float | None = None
    """Spot units only."""

    def named(self, name: str) -> OfferInfo:
        """The same with the offer's name in the problem."""
        return replace(self, offer=replace(self.offer, name=name))


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


def region_of(fleet: Fleet, plan: PlanFile) -> str | None:
    """Where GPUs that are there already stand: an owned one at the site unless it says otherwise."""
    return fleet.region or (plan.site.region if fleet.kind == "owned" else None)


def place_of(fleet: Fleet, plan: PlanFile, places: tuple[Place, ...]) -> Place | None:
    """The place in which they serve; None where no curve in use was measured on them."""
    owner, region = "owned" if fleet.kind == "owned" else "rented", region_of(fleet, plan)
    found = (p for p in places if (p.gpu, p.owner) == (fleet.gpu, owner) and p.region in (None, region))
    return next(found, None)


def stock_of(plan: PlanFile, provider: str, gpu: str, kind: str) -> int | None:
    """The most GPUs of an offer that plan.toml says can be had at once; None: it does not say."""
    return min((stock.gpus for stock in plan.stock if stock.of(provider, gpu, kind)), default=None)


def source_of(row: OfferRow | EndpointRow | Ownership, today: date) -> Source:
    """Where its price comes from, and whether that is old today."""
    as_of = None if row.as_of is None else str(row.as_of)
    return Source(text=row.source, as_of=as_of, stale=stale(row, today), confidence=row.confidence)
