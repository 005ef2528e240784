"""The values a plan is made of: what is bought, what serves, what it costs (`plan.py` holds them together).

Money is in USD, present value where the horizon is discounted. The unknown is None.
"""

from __future__ import annotations

from typing import Literal

from hardware_profiles.curve import Kind, Value

Scheme = Literal["owned", "reserved", "commitment", "on demand", "spot", "existing", "api"]
SUPPLY_ORDER: tuple[Scheme, ...] = ("existing", "owned", "reserved", "commitment", "spot", "on demand", "api")


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


class Instead(Value):
    """Another way to do the work of a purchase, in full and within its limits; present value over the same hours."""

    name: str
    scheme: Scheme
    usd: float
    in_place_of_usd: float
    """What the bill holds for the work that it would do: of a longer term this purchase and later ones that it would do
    away with; of a term in place of hours on demand one replica's."""


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
    """Months from signing (in `epoch`) to the first hour of service, rounded up; None where nobody states it."""
    usd_per_h: float | None = None
    """Of a spend commitment: USD per hour that are owed, used or not; `gpus` is then the most that it pays at once."""
    serves_from: str | None = None
    """The epoch in which it begins to supply; None: the one in which it is signed."""
    without_usd: float | None = None
    """What the bill would be less without it, before its work is done otherwise: its lines, power of that work, and of
    fixed charges what only it owes."""
    instead: tuple[Instead, ...] = ()
    """The best way of each kind to do its work otherwise, cheapest first for what it would replace; empty where none
    can, or where what else the plan holds would do it."""


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
    """Requests per second inside the SLO that arrive at random, at the plan's `capacity`; None: the SLO is not met."""
    capacity_low_per_s: float | None = None
    """The same at the ends of its 95 % interval, with the optimistic side of the law of arrivals at the high one."""
    capacity_high_per_s: float | None = None
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


class Hidden(Value):
    """A cost that no price shows, of which plan.toml states a figure."""

    name: str
    usd: float | None
    """Over the horizon, present value; None: unknown."""
    inside: bool
    """Whether the bill holds it."""
    note: str


class Expense(Value):
    """A part of a line of the bill that is an expense of a month; purchases are written off under `depreciation`."""

    name: str
    line: str
    """The line of the bill that it is a part of."""
    usd: float


class BooksMonth(Value):
    """One epoch of the profit-and-loss view, at face value."""

    name: str
    expenses: tuple[Expense, ...]
    usd: float
    """Their sum, before tax."""
    tax_saved_usd: float | None
    """None where plan.toml states no tax rate."""
    book_usd: float
    """At its end: what is paid for purchases and terms and no expense yet."""
    loans_usd: float
    """At its end: what is still owed of loans."""


class Books(Value):
    """The profit-and-loss view of the plan (`books.py`)."""

    tax_rate: float | None
    life_months: dict[str, float]
    """Over how long each GPU that is bought is written off."""
    months: tuple[BooksMonth, ...]
    to_bill: tuple[Amount, ...]
    """From the whole expense to the bill, to which these add up."""


class Month(Value):
    """One epoch of the plan."""

    name: str
    hours: float
    requests: float
    usd: float
    gpus: dict[str, float]
    """GPUs held by scheme."""
    lines: tuple[Amount, ...]
    """What is signed in it, with all that it costs over the horizon, and its own running costs."""
    paid: tuple[Amount, ...] | None = None
    """What is paid in it, line by line (`cash.py`); None where that was not kept."""
