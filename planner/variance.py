"""Plan against actual cost: why the bill came out otherwise, as four effects, each by a formula of its own.

A part of the plan (a workload) asked for q0 million tokens and was planned to cost f + v USD: f is committed (owned and
reserved GPUs, teams: paid whether used or not), v follows the work (hours on demand, APIs, power). It then asked for q1
and a was paid. What a part costs is a product of four things, which the effects replace one after another by what
really was (the chain of cost accounting; the order is a convention, and another one would share the sums otherwise):

    cost = Q x share x (committed per million / utilisation + variable per million) x price index

* Q is the sum of tokens, share = q / Q the mix; planned per million: f / q0 and v / q0;
* utilisation is how much more work the commitment carried than planned, q1 / q0 (planned: 1);
* the price index is what was paid for the part over what its work should have cost, a / (f + v q1 / q0) (planned: 1).

In that order, with c = (f + v) / q0 and sums over the parts:

    volume       (Q1 - Q0) sum share0 c                            more or less work
    mix          Q1 sum (share1 - share0) c                        dearer or cheaper work
    utilisation  Q1 sum share1 f / q0 (1 / utilisation - 1)        commitments paid by more or fewer tokens
    price        sum (f + v q1 / q0) (index - 1)                   the same work cost another amount

A part that was not planned has the plan's average cost, following the work. Where only the whole bill is known, not
what each part paid, one index holds for all. Where nothing should have been paid, what was paid is price.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Million tokens planned and asked for, and USD planned: committed, and following the work; and paid, if known."""

    planned_mtok: float
    actual_mtok: float
    committed_usd: float
    variable_usd: float
    paid_usd: float | None = None

    def __post_init__(self) -> None:
        if not self.planned_mtok and self.planned_usd:
            raise ValueError("what was not planned has no planned cost")

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
    """The four effects; the parts together must have planned tokens. `actual_usd` is the whole bill.

    Two workloads of 100 million tokens. The first was planned at 100 USD committed and 100 that follow the work, the
    second at 0 and 100. The first came as twice as much, the second as planned, and 500 USD were paid. The average was
    1.50 USD a million: volume 100 x 1.5 = 150. The first costs 2.00: mix 200 x 2 + 100 x 1 - 300 x 1.5 = 50. Its
    commitment was used twice as well: -100. Then 400 USD would have been paid, and 500 are 1.25 times that: price 100.

    >>> split((Part(100, 200, 100, 100), Part(100, 100, 0, 100)), 500)
    Effects(volume=150.0, mix=50.0, utilisation=-100.0, price=100.0)
    """
    planned, asked = (math.fsum(of(part) for part in parts) for of in (_planned_mtok, _actual_mtok))
    if planned <= 0:
        raise ValueError("no tokens were planned")
    average = math.fsum(part.planned_usd for part in parts) / planned
    cost = [part.planned_usd / part.planned_mtok if part.planned_mtok else average for part in parts]
    volume = (asked - planned) * math.fsum(p.planned_mtok / planned * c for p, c in zip(parts, cost, strict=True))
    mix = math.fsum(
        (part.actual_mtok - asked * part.planned_mtok / planned) * c for part, c in zip(parts, cost, strict=True)
    )
    utilisation = math.fsum(_committed(part) for part in parts)
    return Effects(volume, mix, utilisation, _price(parts, [_expected(part, average) for part in parts], actual_usd))


def _planned_mtok(part: Part) -> float:
    return part.planned_mtok


def _actual_mtok(part: Part) -> float:
    return part.actual_mtok


def _committed(part: Part) -> float:
    """What the commitment costs beyond what its planned share of a million tokens would pay for the work that came."""
    if not part.planned_mtok:
        return 0.0
    return part.committed_usd * (1 - part.actual_mtok / part.planned_mtok)


def _expected(part: Part, average: float) -> float:
    """What the work that came should have cost."""
    if not part.planned_mtok:
        return average * part.actual_mtok
    return part.committed_usd + part.variable_usd * part.actual_mtok / part.planned_mtok


def _price(parts: Sequence[Part], expected: Sequence[float], actual_usd: float) -> float:
    paid = [part.paid_usd for part in parts]
    if any(usd is None for usd in paid):
        whole = math.fsum(expected)
        return whole * (actual_usd / whole - 1) if whole else actual_usd
    known = [usd or 0.0 for usd in paid]
    return math.fsum(usd * (a / usd - 1) if usd else a for usd, a in zip(expected, known, strict=True))
