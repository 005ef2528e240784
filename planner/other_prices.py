"""Other prices for the plane of a fleet, where those of its dispatch leave much of what whole numbers cost unsaid.

Any prices bound every fleet; which of them say most at this one? The duals of a divisible hour are not always best. An
hour that lacks a tenth of a replica prices all its GPUs at their rent, though it would take an API for the tenth: at
that price mixtures of other GPUs seem to serve it for less. And it prices what is not there just so high that no part
of a request wants it, which is little for a whole replica. So what the fleet has is tried at a share of its price, and
what it neither has nor can rent at a multiple; every hour takes the prices at which its bound is highest at this fleet
(a search along a line for Lagrangian multipliers: Zou, Ahmed & Sun, Math. Program. 2019).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planner.dispatch import Hours, Priced
from planner.partition import earnings
from planner.problem import Array, Blocks
from planner.scarcity import Prices
from planner.solver import Fleet

OTHER = ((1.0, 4.0), (0.85, 4.0), (0.6, 4.0), (0.3, 4.0))
"""Shares of the price of what a fleet has, with multiples of that of what it neither has nor can rent. Three models at
eight GPUs kept a gap of 5.5 % without other prices, of 3.2 % with shares alone, of 0.7 % with these."""


@dataclass(frozen=True, eq=False)
class Raised:
    """Prices, few of them, and USD per hour that whole numbers add to each hour's bound at them."""

    priced: Priced
    extra_usd: Array
    beyond_usd: Array | None = None
    """Where the bound holds up to a level of commitments only: what it is lower by beyond that."""


def at_fleet(hours: Hours, blocks: Blocks, fleet: Fleet, raised: Raised) -> Array:
    """[t] the bound at this fleet, USD per hour."""
    priced = raised.priced
    earned = earnings(hours, priced, fleet)[priced.row, blocks.epoch]
    value: Array = (priced.worth[priced.row] * blocks.demand).sum(axis=1) - earned + raised.extra_usd
    return value


def otherwise(
    hours: Hours, fleet: Fleet, priced: Priced, rent: Array, change: tuple[float, float]
) -> tuple[Priced, Array]:
    """The prices in use, what the fleet has at a share of its price, what it lacks at a multiple; and their rents."""
    share, times = change
    rows, row = np.unique(priced.row, return_inverse=True)
    prices, worth = priced.prices.take(rows), priced.worth[rows].copy()
    for m, group in priced.matrix.price_books:
        here = np.flatnonzero(priced.row_epoch[rows] == m)
        there = (fleet.replicas[:, group] > 0).any(axis=1)
        prices.gpu_h[here] *= np.where(there, share, np.where(np.isfinite(rent[rows[here]]), 1.0, times))
        worth[here] = hours.tariff.worth(int(m), prices.take(here))
    other = replace(
        priced, row=row, row_epoch=priced.row_epoch[rows], prices=prices, worth=worth,
        unit_usd=priced.unit_usd[rows], limit_usd=priced.limit_usd[rows],
    )  # fmt: skip
    return other, rent[rows]


def higher(hours: Hours, blocks: Blocks, fleet: Fleet, one: Raised, other: Raised) -> Raised:
    """In every hour the prices at which the bound at this fleet is higher."""
    better = at_fleet(hours, blocks, fleet, other) > at_fleet(hours, blocks, fleet, one)
    a, b = one.priced, other.priced
    joined = replace(
        a,
        row=np.where(better, b.row + len(a.worth), a.row),
        row_epoch=np.concatenate([a.row_epoch, b.row_epoch]),
        prices=Prices.join([a.prices, b.prices]),
        worth=np.vstack([a.worth, b.worth]),
        unit_usd=np.vstack([a.unit_usd, b.unit_usd]),
        limit_usd=np.concatenate([a.limit_usd, b.limit_usd]),
    )
    return Raised(joined, np.where(better, other.extra_usd, one.extra_usd))
