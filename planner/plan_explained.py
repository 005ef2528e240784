"""Why the plan is as it is, by solving again: without each supply, without each rule, with a little more work, cheaper.

Every figure is a difference of two proven plans, and each is known to its gap only. `least_usd` and `most_usd` hold the
difference whatever plans the two gaps hide; where `least_usd` is not above zero, the gaps hide it.
"""

from __future__ import annotations

from typing import Literal

from hardware_profiles.curve import Value
from planner.plan_parts import Scheme


class Shift(Value):
    """What carries more tokens instead, as a share of all tokens."""

    name: str
    token_share: float


class Without(Value):
    """The plan without one of its supplies, or without one of the rules of plan.toml and the price book."""

    name: str
    kind: Literal["supply", "rule"]
    scheme: Scheme | None
    """Of a supply."""
    usd: float
    """The bill without it."""
    difference_usd: float
    """Without a supply: how much dearer; without a rule: how much cheaper."""
    least_usd: float
    most_usd: float
    unserved_requests: float
    """Of the plan without it."""
    instead: tuple[Shift, ...]

    @property
    def clear(self) -> bool:
        """Whether the gaps leave no doubt that it makes a difference."""
        return self.least_usd > 0


class LongRun(Value):
    """What a little more of one workload costs when the fleet may change with it."""

    workload: str
    step: float
    """0.01: one per cent more in every hour."""
    usd_per_mtok: float
    least_usd_per_mtok: float
    most_usd_per_mtok: float

    @property
    def clear(self) -> bool:
        """Whether the gaps leave it known to a quarter."""
        return self.most_usd_per_mtok - self.least_usd_per_mtok <= 0.5 * abs(self.usd_per_mtok)


class Entry(Value):
    """At which price something that the plan does not use would be used; factors of today's price."""

    name: str
    scheme: Scheme
    unit: str
    usd: float
    """Today's price: per GPU-hour, or of an API per million tokens of the work it could do."""
    enters_at: float | None
    """A factor at which it is used; None: it is not used at the lowest that was tried either."""
    stays_out_at: float
    """The lowest factor at which it was seen not to be used."""


class Explained(Value):
    """All that was asked; what there was no time for stands in `unasked`."""

    supplies: tuple[Without, ...]
    rules: tuple[Without, ...]
    margins: tuple[LongRun, ...]
    entries: tuple[Entry, ...]
    unasked: tuple[str, ...] = ()
