"""What a plan is compared with: other strategies, other figures, the last review."""

from __future__ import annotations

from hardware_profiles.curve import Value

LAST_PLAN = "last plan at today's prices"
"""The strategy that keeps the last review's purchases."""


class Baseline(Value):
    """Another strategy, priced by the same programme."""

    name: str
    usd: float | None
    """None where it cannot serve everything."""
    gap: float | None
    note: str
    paid: tuple[float, ...] = ()
    """USD paid at the start, then by the end of each month of the horizon."""
    unfinished: bool = False
    """Whether none was found in the time it had; one may exist. `usd` is None then."""
    forbidden: bool = False
    """Whether a rule of plan.toml rules it out; `usd` is None then."""


class Kept(Value):
    """The fleet that is kept although a cheaper plan was found, because the gap asked for does not tell them apart."""

    what: str
    extra_usd: float
    """What it costs more; it is in the bill."""
    cheapest_usd: float
    says: str


class Sensitivity(Value):
    """One figure moved to both ends of a range (factors of what the plan assumes), everything decided again."""

    driver: str
    low: float
    high: float
    usd_low: float
    usd_high: float
    decision_low: dict[str, float]
    """GPUs bought or reserved by kind of supply, the most at once."""
    decision_high: dict[str, float]
    turns_below: float | None
    """Factor below which another decision saves more than `whatif.WORTH`; None: the plan's holds over the range."""
    turns_above: float | None
    decision_below: dict[str, float] | None = None
    """What is decided where it turns; None where it does not."""
    decision_above: dict[str, float] | None = None
    shares_below: dict[str, float] | None = None
    """Share of the tokens on on-demand GPUs and APIs ("on demand", "api") where it turns."""
    shares_above: dict[str, float] | None = None
    kept_usd_low: float | None = None
    """The bill at this end if the plan's purchases were kept and only the hours decided anew."""
    kept_usd_high: float | None = None


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
    """What a commitment cost in a period, and what its work would have cost without one."""

    name: str
    paid_usd: float
    worth_usd: float
    instead: str = ""
    """The API or on-demand GPUs that would have been the cheapest."""


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
