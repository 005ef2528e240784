"""plan.toml: what the forecast does not say (models, SLOs, horizon, sites, rules). Every key has a default."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from hardware_profiles.curve import NonNegative, Positive, Value

DEFAULT_MODEL = "qwen3-32b"
DEFAULT_TTFT_S = 2.0
DEFAULT_TPOT_S = 0.03
DEFAULT_ATTAINMENT = 0.95

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Supply = Literal["buy", "reserved", "on-demand", "spot", "api"]


class Slo(Value):
    """Limits on one request and the share of requests that must meet all of them at once."""

    ttft_s: Positive | None = DEFAULT_TTFT_S
    tpot_s: Positive | None = DEFAULT_TPOT_S
    e2e_s: Positive | None = None
    attainment: Share = DEFAULT_ATTAINMENT


class Workload(Value):
    """[workloads.<name>]: how one stream of the forecast is to be served."""

    model: str | None = None
    """None: the default model, or the one that `--model` names."""
    substitutes: tuple[str, ...] = ()
    slo: Slo = Slo()
    kind: Literal["interactive", "batch"] = "interactive"
    deadline_h: Count | None = None
    """Batch only: hours after its hour by which the work must be done."""
    residency: tuple[str, ...] = ()
    """Regions in which it may be served; empty: anywhere."""
    owner: str | None = None
    unserved_usd_per_request: NonNegative | None = None
    """What a request costs that nobody serves; None: so much that it happens only when nothing else is possible."""


class Horizon(Value):
    """[horizon]."""

    months: Annotated[int, Field(ge=1, le=60)] | None = None
    hours: Count | None = None
    """Instead of months."""
    start: date | None = None
    """None: the forecast's first day."""
    discount_rate_per_year: Annotated[float, Field(ge=0, lt=1)] | None = None
    tail: Literal["full", "prorated"] = "full"
    """What a commitment owes past the horizon."""


class Site(Value):
    """[site]: overrides of the price book's figures for owned GPUs; None keeps the book's."""

    power_usd_per_kwh: NonNegative | None = None
    pue: Annotated[float, Field(ge=1)] | None = None
    colocation_usd_per_kw_month: NonNegative | None = None
    staff_usd_per_month: NonNegative | None = None


class Policy(Value):
    """[policy]: rules of the house."""

    capacity: Literal["low", "mid", "high"] = "mid"
    max_share_per_provider: Share | None = None
    forbid: tuple[Supply, ...] = ()
    forbid_providers: tuple[str, ...] = ()
    forbid_gpus: tuple[str, ...] = ()
    max_owned_gpus: Annotated[int, Field(ge=0)] | None = None


class Fleet(Value):
    """[[fleet]]: what is there already."""

    gpu: str
    gpus: Count
    kind: Literal["owned", "reserved"] = "owned"
    until: date | None = None
    """First day on which a reserved one is gone."""
    usd_per_gpu_h: NonNegative | None = None
    """What a reserved one costs per hour; None: already paid."""


class Prices(Value):
    """[prices]: files (relative to plan.toml) that add to or replace rows of the shipped price book."""

    offers: Path | None = None
    endpoints: Path | None = None
    ownership: Path | None = None


class PlanFile(Value):
    """The whole of plan.toml; `PlanFile()` is what is used when there is none."""

    workloads: dict[str, Workload] = Field(default_factory=dict)
    horizon: Horizon = Horizon()
    site: Site = Site()
    policy: Policy = Policy()
    fleet: tuple[Fleet, ...] = ()
    prices: Prices = Prices()


def read_planfile(path: Path) -> PlanFile:
    """Read plan.toml; `InputError` names every fault at once with its line."""
    raise NotImplementedError


def workloads_for(plan: PlanFile, names: tuple[str, ...], *, model: str | None = None) -> tuple[Workload, ...]:
    """One `Workload` per forecast name with its model filled in; a section that no forecast row uses is a fault."""
    raise NotImplementedError
