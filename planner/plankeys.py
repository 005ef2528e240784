"""plan.toml: what the forecast does not say (models, SLOs, horizon, sites, rules). Every key has a default.

A key is accepted only where the planner acts on it: a rule that is read and then ignored is worse than none. What is
planned but not built stands in `NOT_YET`, and using it is a fault that says so; whoever builds it removes the row.
Units stand in the names; the starter that `planner init` writes (`starter/plan.toml`) shows every key with a comment.

Without a plan.toml `PlanFile()` is used and said on the first screen:

* `DEFAULT_MODEL` is qwen3-32b: the published curves of a model that teams host themselves which are saturated evidence
  for the default SLO. Its source measured it with vLLM on H100s at six shapes (1,024 and 4,096 tokens in; 128, 512 and
  1,024 out), and at each of them the SLO breaks inside the measured range of loads on two H100s. So its capacity is a
  crossing that was seen, not a floor.
* `DEFAULT_SLO`: TTFT <= 2 s and TPOT <= 0.03 s for 95 % of the requests.

An `slo` that is stated is complete: a limit that it leaves out does not limit.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from hardware_profiles.curve import NonNegative, Positive, Value
from hardware_profiles.faults import Fault, InputError
from hardware_profiles.slo import DEFAULT_SLO, Slo
from planner.finance import Accounting, Financing, Tail
from planner.hidden_costs import HiddenCosts
from planner.strain import Band
from planner.toml_lines import Keys, line_at
from planner.trends import Name, PriceTrends, Supply

DEFAULT_MODEL = "qwen3-32b"

NOT_YET: Mapping[str, str] = {
    "scenarios": "plan each scenario by itself",
    "workloads.*.deadline_h": "leave it out: all work is served in its hour",
    "workloads.*.substitutes": "name the one model that shall serve it",
    "workloads.*.bursts": "raise the requests of the hours that hold them: an hour is planned at its mean",
    "stock.*.from": "state the stock of the months with the least of it",
    "stock.*.until": "state the stock of the months with the least of it",
    "policy.max_share_per_provider": "forbid providers in [policy]",
    "policy.budget_usd_per_month": "read months.csv, and limit supplies by [policy] and [[stock]]",
    "policy.survives_loss_of": "plan once more with that provider in policy.forbid_providers, and compare",
}
"""Keys (`*` stands for any name) that a later planner will act on, and what to do until then."""

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


def _rule(what: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError("rule", "{what}", {"what": what, "remedy": remedy})


class Workload(Value):
    """[workloads.<name>]: how one stream of the forecast is to be served."""

    model: Name = DEFAULT_MODEL
    """`planner solve --model` replaces the default, not what is stated."""
    substitutes: tuple[Name, ...] = ()
    """Models that may serve it instead."""
    slo: Slo = DEFAULT_SLO
    deadline_h: Count | None = None
    """Batch work: due this many hours after it came; None: interactive."""
    residency: tuple[Name, ...] = ()
    """Regions in which it may be served; empty: anywhere."""
    spot: bool = False
    """Whether it may be served on GPUs that can be taken back at any time."""
    owner: str | None = None
    """Team, agent or feature that the bill is shown to."""
    unserved_usd_per_request: NonNegative | None = None
    """What a request that nobody serves costs; None: a default above what serving it costs (`penalty.py`)."""

    @model_validator(mode="after")
    def _slo_limits_something(self) -> Self:
        if self.slo.ttft_s is None and self.slo.tpot_s is None and self.slo.e2e_s is None:
            raise _rule("the SLO states no limit", "state ttft_s, tpot_s or e2e_s, or remove slo for the default")
        return self


class Horizon(Value):
    """[horizon]: how long the plan is."""

    months: Annotated[int, Field(ge=1, le=60)] | None = None
    hours: Annotated[int, Field(ge=1, le=60 * 744)] | None = None
    """Instead of months. Without either the plan is 12 months long."""
    start: date | None = None
    """None: the forecast's first hour."""
    discount_rate_per_year: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """0.08 is 8 % a year; the default adds up costs as they are."""
    tail: Tail = "full"
    """What is charged of a term that outlasts the horizon: all that it owes; only the part inside, of what is paid
    upfront too; or a buyout."""
    buyout_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """With `tail = "buyout"`: the share of what is still owed that ends a term when the horizon does."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.months is not None and self.hours is not None:
            raise _rule("there are months and hours", "keep one of them")
        return self

    @model_validator(mode="after")
    def _buyout_is_priced(self) -> Self:
        if (self.tail == "buyout") != (self.buyout_share is not None):
            what = "a buyout has a price, other tails have none"
            raise _rule(what, 'write buyout_share = 0.5 (the share of what is still owed) beside tail = "buyout"')
        return self


class Growth(Value):
    """[growth]: how demand changes over the horizon, as shares per year, compounding by the month."""

    requests_per_year: Annotated[float, Field(gt=-1, le=100)] = 0.0
    """0.5: half as much again after a year."""
    workloads: dict[Name, Annotated[float, Field(gt=-1, le=100)]] = Field(default_factory=dict)
    """By workload, in place of the figure for all."""

    def factor(self, workload: str, month: int) -> float:
        """Demand in that month of the horizon over demand in its first.

        >>> Growth(requests_per_year=0.21).factor("chat", 6)
        1.1
        """
        return float((1 + self.workloads.get(workload, self.requests_per_year)) ** (month / 12))


class Site(Value):
    """[site]: your own figures for owned GPUs; None keeps the price book's."""

    region: Name | None = None
    """Where they stand, as `residency` names it; None: nowhere that a residency knows."""
    power_usd_per_kwh: NonNegative | None = None
    pue: Annotated[float, Field(ge=1, le=5)] | None = None
    """Power usage effectiveness: what the building draws / what the servers draw."""
    colocation_usd_per_kw_month: NonNegative | None = None
    staff_usd_per_month: NonNegative | None = None
    """Paid while at least one GPU is owned."""
    staff_usd_per_gpu_month: NonNegative | None = None
    """On top, for each."""
    spares_share: Annotated[float, Field(ge=0, le=1)] | None = None
    """Spare servers on the shelf per server that is bought."""
    lead_time_months: Annotated[float, Field(ge=0, le=60)] | None = None
    """From signing a server to its first hour of service, rounded up to whole months."""
    max_kw: Positive | None = None
    """IT power that the site can feed; None: no limit."""
    max_rack_units: Positive | None = None
    """Rack units that the site has for servers; None: no limit."""


class Policy(Value):
    """[policy]: rules of the house."""

    capacity: Band = "mid"
    """Which end of the curves' uncertainty to plan with; `planner solve --capacity` overrules it."""
    forbid: tuple[Supply, ...] = ()
    forbid_providers: tuple[Name, ...] = ()
    forbid_gpus: tuple[Name, ...] = ()
    spot: bool = False
    """Whether every workload may be served on spot GPUs."""
    spot_interruptions_per_h: NonNegative | None = None
    """How often a spot unit is taken back per hour, where the price book does not say."""
    spot_restart_minutes: NonNegative | None = None
    """From an interruption until another unit serves, server start included, where the price book does not say."""
    keep_warm: bool = True
    """Whether a model that no API can take over has a replica running in every hour of a month in which GPUs serve."""
    start_minutes: NonNegative | None = None
    """From switching a GPU on by the hour until it serves, server start included; None: not counted."""
    max_owned_gpus: Annotated[int, Field(ge=0)] | None = None
    max_share_per_provider: Share | None = None
    """Of the bill."""


class Stock(Value):
    """[[stock]]: the most GPUs that can be had at once of each offer that it names."""

    gpus: Annotated[int, Field(ge=0)]
    provider: Name | None = None
    gpu: Name | None = None
    kind: Literal["buy", "reserved", "on-demand", "spot"] | None = None
    """Each of them None: any."""

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if (self.provider, self.gpu, self.kind) == (None, None, None):
            raise _rule("the stock of nothing is stated", "write provider, gpu or kind beside gpus")
        return self

    def of(self, provider: str, gpu: str, kind: str) -> bool:
        """Whether an offer is meant."""
        wanted = ((self.provider, provider), (self.gpu, gpu), (self.kind, kind))
        return all(mine in (None, theirs) for mine, theirs in wanted)


class Fleet(Value):
    """[[fleet]]: GPUs that are there already; what they cost is spent and not in the plan's bill."""

    gpu: Name
    gpus: Count
    kind: Literal["owned", "reserved"] = "owned"
    region: Name | None = None
    """Where they stand; None: owned ones at the site, reserved ones nowhere that a residency knows."""
    arrives: date | None = None
    """First day on which ordered ones are there; None: they are there now."""
    until: date | None = None
    """First day on which a reserved one is gone."""

    @model_validator(mode="after")
    def _reserved_ends(self) -> Self:
        if (self.kind == "reserved") != (self.until is not None):
            remedy = "write until = 2027-12-31 beside kind = 'reserved', and only there"
            raise _rule("a reserved GPU has an end, an owned one has none", remedy)
        return self


class Signed(Value):
    """[[commitments]]: a spend commitment that is signed already; what it owes is not in the plan's bill."""

    provider: Name
    usd_per_h: Positive
    until: date
    """First day on which it is over."""
    commitment: Name | None = None
    """Its name in the price book, whose rows state the committed prices."""
    term_months: Count | None = None
    """Which of the price book's terms, where they have unlike prices."""


class Prices(Value):
    """[prices]: files in place of (offers, endpoints) or laid over (ownership) the shipped price book's.

    Relative to plan.toml's folder.
    """

    offers: Path | None = None
    endpoints: Path | None = None
    ownership: Path | None = None


@dataclass(frozen=True)
class PlanSource:
    """Where a `PlanFile` was read from: for digests and for faults found later."""

    path: Path
    sha256: str
    lines: Mapping[Keys, int]


class PlanFile(Value):
    """The whole of plan.toml; `PlanFile()` is what is used when there is none."""

    workloads: dict[Name, Workload] = Field(default_factory=dict)
    horizon: Horizon = Horizon()
    growth: Growth = Growth()
    price_trends: PriceTrends = PriceTrends()
    site: Site = Site()
    policy: Policy = Policy()
    financing: Financing = Financing()
    accounting: Accounting = Accounting()
    hidden_costs: HiddenCosts = HiddenCosts()
    fleet: tuple[Fleet, ...] = ()
    commitments: tuple[Signed, ...] = ()
    stock: tuple[Stock, ...] = ()
    prices: Prices = Prices()
    _source: PlanSource | None = PrivateAttr(default=None)

    @property
    def source(self) -> PlanSource | None:
        """None when there was no file."""
        return self._source

    def with_capacity(self, band: Band) -> PlanFile:
        """The same with another end of the curves' uncertainty."""
        return self.model_copy(update={"policy": self.policy.model_copy(update={"capacity": band})})

    def fault(self, what: str, remedy: str, *keys: str | int, value: object = None) -> Fault:
        """A fault at a key of this file, with its line; for whoever finds that a value cannot be used."""
        column = ".".join(str(key) for key in keys) or None
        shown = None if value is None else str(value)
        if self._source is None:
            return Fault(what, remedy, None, None, column, shown)
        return Fault(what, remedy, str(self._source.path), line_at(self._source.lines, keys), column, shown)


def workloads_for(plan: PlanFile, names: tuple[str, ...], *, model: str | None = None) -> tuple[Workload, ...]:
    """One `Workload` per name of the forecast; a section that no row of the forecast uses is a fault.

    `model` takes the place of `DEFAULT_MODEL` where a section names none.
    """
    faults = []
    sections = [("workloads", name) for name in plan.workloads]
    for *table, name in [*sections, *(("growth", "workloads", name) for name in plan.growth.workloads)]:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            remedy = f"rename it to '{near[0]}'" if near else f"remove it; the forecast has {', '.join(names)}"
            faults.append(plan.fault("the forecast has no such workload", remedy, *table, name))
    if faults:
        raise InputError(*faults)
    found = [plan.workloads.get(name, Workload()) for name in names]
    if model is None:
        return tuple(found)
    return tuple(w if "model" in w.model_fields_set else w.model_copy(update={"model": model}) for w in found)
