"""Plan against actual cost: why the bill came out otherwise, as four effects that add up exactly.

A part of the plan (a workload) asked for q0 million tokens, of which a million costs c = f + v USD as planned: f is
committed (owned and reserved GPUs, teams: paid whether used or not), v follows the work (hours on demand, APIs, power).
Q sums over the parts, q1 is what was asked for in fact, C what was planned and A what was paid. The usual chain of
cost accounting, in this order:

    volume       (Q1 - Q0) C / Q0                    more or less work at the plan's average cost
    mix          sum q1 c - Q1 C / Q0                work that is dearer or cheaper than the average
    utilisation  sum f (q0 - q1)                     commitments are paid by more or fewer tokens than planned
    price        A - sum (f q0 + v q1)               the rest: the same work cost another amount

They add up to A - C because each begins where the one before ends. "Price" holds all that is neither volume, mix nor
committed cost spread: other prices, but also work that went elsewhere than planned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Million tokens planned and asked for, and USD planned: committed, and following the work."""

    planned_mtok: float
    actual_mtok: float
    committed_usd: float
    variable_usd: float

    @property
    def planned_usd(self) -> float:
        """What was planned."""
        return self.committed_usd + self.variable_usd


@dataclass(frozen=True)
class Effects:
    """USD; they sum to actual minus planned cost."""

    volume: float
    mix: float
    utilisation: float
    price: float


def split(parts: Sequence[Part], actual_usd: float) -> Effects:
    """The four effects; the parts together must have planned tokens.

    Two workloads of 100 million tokens. The first was planned at 100 USD committed and 100 that follow the work, the
    second at 0 and 100. The first came as twice as much, the second as planned, and 480 USD were paid. The average was
    1.50 USD a million: volume 100 x 1.5 = 150. The first costs 2.00: mix 200 x 2 + 100 x 1 - 300 x 1.5 = 50. Its
    commitment was used twice as well: -100. Then 400 USD would have been paid: price 80. Together 180 = 480 - 300.

    >>> split((Part(100, 200, 100, 100), Part(100, 100, 0, 100)), 480)
    Effects(volume=150.0, mix=50.0, utilisation=-100.0, price=80.0)
    """
    planned, asked = sum(part.planned_mtok for part in parts), sum(part.actual_mtok for part in parts)
    if planned <= 0:
        raise ValueError("no tokens were planned")
    cost = sum(part.planned_usd for part in parts)
    at_plan = sum(_at(part, part.planned_usd) for part in parts)
    volume = (asked - planned) * cost / planned
    spread = sum(part.committed_usd - _at(part, part.committed_usd) for part in parts)
    expected = sum(part.committed_usd + _at(part, part.variable_usd) for part in parts)
    return Effects(volume, at_plan - asked * cost / planned, spread, actual_usd - expected)


def _at(part: Part, usd: float) -> float:
    """Planned USD in proportion to what was asked for; a part that was not planned has no planned cost."""
    return usd * part.actual_mtok / part.planned_mtok if part.planned_mtok else 0.0
