"""The plan as a file: what to buy, rent and commit to, who serves what, what it costs, and the proof.

`plan.json` is what the report is made from and what the next review compares itself with, so it stands alone: it names
every input by digest, every price by source and date, and every curve by kind. Money is in USD, present value where the
horizon is discounted. The unknown is None.

Format history
    spillway-plan/1 (2026-11-20): first version.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from hardware_profiles.curve import Kind, Value, write_text
from hardware_profiles.faults import Faults

FORMAT = "spillway-plan/1"

Scheme = Literal["owned", "reserved", "on demand", "spot", "existing", "api"]
LAST_PLAN = "last plan at today's prices"
"""The strategy that keeps the last review's purchases."""
SUPPLY_ORDER: tuple[Scheme, ...] = ("existing", "owned", "reserved", "spot", "on demand", "api")


class Amount(Value):
    """One line of a bill."""

    name: str
    usd: float


class Source(Value):
    """Where a price comes from; `stale` when it is undated or older than a quarter on the day of the plan."""

    text: str
    as_of: str | None
    stale: bool
    confidence: str | None = None


class Price(Value):
    """One row of the price book that the plan could choose: a price per GPU-hour, or per million tokens."""

    name: str
    scheme: Scheme
    provider: str
    what: str
    """GPU or model."""
    used: bool
    term_months: int | None
    usd_per_gpu_h: float | None
    input_usd_per_mtok: float | None
    cached_input_usd_per_mtok: float | None
    output_usd_per_mtok: float | None
    units: float | None
    """Units to be had; None where the book states no limit."""
    source: Source


class Purchase(Value):
    """What is bought, rented for a term, or switched on by the hour (then `units` is the most at once)."""

    offer: str
    scheme: Scheme
    provider: str
    gpu: str
    units: float
    gpus: float
    epoch: str
    term_months: int | None
    usd: float
    """All that this purchase costs over the horizon, busy power not included."""
    lines: tuple[Amount, ...]
    usd_per_gpu_h: float | None
    """Average over the GPU-hours it provides (on demand: that are switched on)."""
    utilisation: float | None
    """Share of those GPU-hours that work fills at the SLO's capacity; None for the whole of a pool shared by others."""
    source: Source
    why: str
    lead_months: int | None = None
    """Months from signing to the first hour of service; None where the price book does not state it."""


class Supply(Value):
    """What one way of serving carries over the horizon."""

    name: str
    scheme: Scheme
    requests: float
    request_share: float
    input_tokens: float
    output_tokens: float
    token_share: float
    usd: float
    full_usd_per_mtok: float | None = None
    """Cost of a million tokens if the GPUs worked at the SLO's capacity in every hour that is paid."""
    source: Source | None = None


class Served(Value):
    """One workload: its promise, its evidence, and what it costs."""

    name: str
    model: str
    owner: str | None
    ttft_s: float | None
    tpot_s: float | None
    e2e_s: float | None
    attainment: float
    requests: float
    input_tokens: float
    output_tokens: float
    unserved_requests: float
    usd: float
    usd_per_mtok: float | None
    marginal_usd_per_mtok: float | None
    """Cost of one more million tokens with the fleet fixed (short-run)."""
    input_usd_per_mtok: float | None = None
    """The bill is split between input and output as GPU time (prefill, decode) and API prices are."""
    output_usd_per_mtok: float | None = None


class SeenPoint(Value):
    """One measured point of a shape, for the whole deployment."""

    throughput_per_s: float
    level: float
    """Requests in flight (closed loop) or offered per second (open loop)."""
    attained: bool | None
    """Whether it met the SLO; None where that cannot be told."""


class SeenShape(Value):
    """A measured shape: its points and what the SLO leaves of them."""

    input_tokens: float
    cached_tokens: float
    output_tokens: float
    mode: Literal["open", "closed"] | None
    points: tuple[SeenPoint, ...]
    capacity_per_s: float | None
    """Requests per second inside the SLO that arrive at random; None: the SLO is not met."""
    knee: float | None
    """The level at which the SLO breaks, or the highest measured one."""
    saturated: bool
    """False: the SLO never broke, so the capacity is a floor."""


class Deployed(Value):
    """One model on one kind of GPU: the evidence it rests on and the replicas that run."""

    name: str
    model: str
    gpu: str
    gpus_per_replica: int
    precision: str | None
    engine: str
    engine_version: str | None
    kind: Kind
    saturated: bool
    percentile_known: bool
    gpu_time_error: float | None
    """Largest leave-one-shape-out error of the GPU-time law, a share."""
    extrapolated: bool
    replicas: dict[str, float]
    """Placed replicas by epoch."""
    rented_replicas_most: float
    source: str | None
    server_args: tuple[str, ...]
    notes: tuple[str, ...]
    dated: str | None = None
    """When it was measured, else the date of its source."""
    weights: str | None = None
    model_source: str | None = None
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    data_parallel: int = 1
    shapes: tuple[SeenShape, ...] = ()
    by_hour: tuple[float, ...] = ()
    """The most replicas, placed and rented, that run in each of the 24 hours of the day (UTC)."""


Levels = tuple[tuple[float, float], ...]
"""(share of hours, load as a multiple of the mean), highest first."""


class Way(Value):
    """One way to serve a model alone; `gpu_h_per_mtok` None: an API at `usd_per_mtok`."""

    name: str
    scheme: Scheme
    usd_per_mtok: float
    """An API's price; of GPUs only the power that work draws."""
    gpu_h_per_mtok: float | None = None
    gpus_per_step: float = 1.0
    usd_per_gpu_h: float = 0.0
    fixed_usd_per_h: float = 0.0
    """Owed however many GPUs there are."""


class Volume(Value):
    """A model's volume and the cheapest way of each kind to serve it."""

    model: str
    mtok_per_h: float
    """Mean over the horizon, in million tokens."""
    levels: Levels
    ways: tuple[Way, ...]


class Baseline(Value):
    """Another strategy, priced by the same programme."""

    name: str
    usd: float | None
    """None where it cannot serve everything."""
    gap: float | None
    note: str
    paid: tuple[float, ...] = ()
    """USD paid at the start, then by the end of each month of the horizon."""
    forbidden: bool = False
    """Whether a rule of plan.toml rules it out; `usd` is None then."""


class Sensitivity(Value):
    """One figure moved to both ends of a range (factors of what the plan assumes), everything decided again."""

    driver: str
    low: float
    high: float
    usd_low: float
    usd_high: float
    decision_low: dict[str, float]
    """GPUs bought or reserved by kind of supply."""
    decision_high: dict[str, float]
    turns_below: float | None
    """Factor below which the plan's decision is no longer the best; None: it holds over the range."""
    turns_above: float | None
    decision_below: dict[str, float] | None = None
    """What is decided where it turns; None where it does not."""
    decision_above: dict[str, float] | None = None


class PriceMove(Value):
    """One price in the last review and now."""

    name: str
    unit: str
    old_usd: float
    new_usd: float


class Miss(Value):
    """What the last plan expected of a workload in a period, and what came."""

    workload: str
    planned_requests: float
    actual_requests: float
    planned_tokens: float
    actual_tokens: float


class Hindsight(Value):
    """What a commitment cost in a period, and what its work would have cost at the cheapest API."""

    name: str
    paid_usd: float
    worth_usd: float


class Since(Value):
    """What changed since the last review; None where no actuals say it."""

    name: str
    made_on: str
    moves: tuple[PriceMove, ...]
    gone: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    start: str | None = None
    end: str | None = None
    misses: tuple[Miss, ...] = ()
    planned_usd: float | None = None
    actual_usd: float | None = None
    volume_usd: float | None = None
    """The four effects add up to actual less planned cost (see `variance.py`)."""
    mix_usd: float | None = None
    utilisation_usd: float | None = None
    price_usd: float | None = None
    hindsights: tuple[Hindsight, ...] = ()


class Month(Value):
    """One epoch of the plan."""

    name: str
    hours: float
    requests: float
    usd: float
    gpus: dict[str, float]
    """GPUs held by scheme."""
    lines: tuple[Amount, ...]


class Plan(Value):
    """Everything that a review needs."""

    format: Literal["spillway-plan/1"] = "spillway-plan/1"
    name: str
    made_on: str
    spillway_version: str
    inputs: dict[str, str]
    """SHA-256 of every file the plan was made from, by role and name."""
    horizon_start: str
    horizon_months: float
    horizon_hours: int
    discount_rate_per_year: float
    cost_usd: float
    bound_usd: float
    gap: float = Field(ge=0)
    proof: str
    checks: tuple[str, ...]
    """What the checker found wrong; empty when nothing."""
    unserved_requests: float
    evidence: Kind | None
    """The worst kind of curve the plan rests on; None when only APIs serve."""
    headline: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    purchases: tuple[Purchase, ...]
    supplies: tuple[Supply, ...]
    workloads: tuple[Served, ...]
    deployments: tuple[Deployed, ...]
    months: tuple[Month, ...]
    lines: tuple[Amount, ...]
    baselines: tuple[Baseline, ...]
    sensitivities: tuple[Sensitivity, ...] = ()
    prices: tuple[Price, ...] = ()
    paid: tuple[float, ...] = ()
    """USD paid at the start, then by the end of each month of the horizon."""
    volumes: tuple[Volume, ...] = ()
    since: Since | None = None


def read_plan(path: Path) -> Plan:
    """Read and validate plan.json; raises `InputError` with every fault in it."""
    faults = Faults(str(path))
    try:
        return Plan.model_validate_json(path.read_bytes())
    except OSError as error:
        faults.add(f"cannot be read ({error.strerror})", "check the path and its permissions")
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            faults.add(
                detail["msg"], f"write the file as {FORMAT} says", column=".".join(map(str, detail["loc"])) or None
            )
    faults.check()
    raise AssertionError("unreachable")


def write_plan(plan: Plan, path: Path) -> None:
    """Write plan.json whole or not at all."""
    write_text(path, json.dumps(plan.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")
