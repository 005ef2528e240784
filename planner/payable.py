"""Fleets made payable: every hour in whole units, and the cheapest plan met so far.

A fleet of the search's master serves its hours in fractions of a replica. A plan cannot: here its hours are settled
(`whole.py`), island by island where they can be put together again, and the cheapest plan is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.dispatch import Dispatch, Hours, Priced, dispatch
from planner.explored import Explored
from planner.islands import Island, join, share_units
from planner.present import fleet_usd, hours_usd
from planner.rounded import is_allowed, rounded_up
from planner.solver import Fleet
from planner.whole import Settled, can_rent, settle

_REPAIRS, _MORE = 8, 1.1
"""How often a divisible fleet rounded up is given more where it falls short, and how much."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A fleet with payable hours."""

    fleet: Fleet
    hours: Dispatch
    usd: float


class Payable:
    """The best plan so far; `wanted` is the gap asked for, `is_over` tells that no more time be spent on plans."""

    def __init__(self, hours: Hours, islands: tuple[Island, ...], wanted: float, is_over: Callable[[], bool]) -> None:
        self.hours, self.islands, self.wanted, self.is_over = hours, islands, wanted, is_over
        self.problem, self.blocks = hours.problem, hours.problem.blocks
        self.units_shared = share_units(self.problem, islands)
        self.best: Plan | None = None

    def keep(self, fleet: Fleet, hours: Dispatch) -> None:
        """Take this plan if it is cheaper than the best."""
        usd = fleet_usd(self.problem, fleet) + hours_usd(self.problem, self.blocks, hours.usd_per_h)
        if self.best is None or usd < self.best.usd:
            self.best = Plan(fleet, hours, usd)

    def settle(
        self, fleet: Fleet, explored: list[Explored], priced: list[Priced], allowed_usd: float, enough_usd: float
    ) -> list[Settled]:
        """Make every island's hours payable; where they can be so together, the plan is kept if it is the best.

        They may be shown to cost `allowed_usd` too much. Where they cost `enough_usd` at least, nobody wants to know
        more of them.
        """
        usd = np.array([one.usd(least.usd_per_h) for one, least in zip(explored, priced, strict=True)])
        share = usd / max(float(usd.sum()), 1e-300)
        others_usd, settled = float(usd.sum()), []
        for i, (one, least) in enumerate(zip(explored, priced, strict=True)):
            others_usd -= float(usd[i])
            hours = one.settle(fleet, least, allowed_usd * float(share[i]), enough_usd - others_usd)
            others_usd += one.usd(hours.least_usd_per_h)
            settled.append(hours)
        together = join(self.hours, self.islands, fleet, self.blocks, settled)
        if len(settled) == 1 or can_rent(self.hours, fleet, self.blocks, together.values):
            self.keep(fleet, together)
        if self.units_shared:
            self._settle_whole(fleet, dispatch(self.hours, fleet, self.blocks), allowed_usd)
        return settled

    def add(self, fleet: Fleet) -> Dispatch:
        """Every hour with this fleet, as it would be paid."""
        priced = dispatch(self.hours, fleet, self.blocks)
        usd = fleet_usd(self.problem, fleet) + hours_usd(self.problem, self.blocks, priced.usd_per_h)
        return self._settle_whole(fleet, priced, self.wanted / 8 * usd)

    def add_rounded(self, divisible: Fleet) -> None:
        """The divisible fleet rounded up, with more to spare in the epochs in which it leaves work unserved."""
        spare = np.ones(len(self.problem.epochs))
        for _ in range(_REPAIRS):
            fleet = rounded_up(self.problem, divisible, spare)
            if not is_allowed(self.problem, fleet):
                return
            left_out = self.add(fleet).left_out > 0
            short = np.unique(self.blocks.epoch[left_out])
            if not len(short):
                return
            spare[short] *= _MORE

    def _settle_whole(self, fleet: Fleet, priced: Priced, allowed_usd: float) -> Dispatch:
        """All islands at once."""
        hours = settle(self.hours, fleet, self.blocks, priced, allowed_usd=allowed_usd, is_over=self.is_over)
        self.keep(fleet, hours)
        return hours
