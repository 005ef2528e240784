"""What the search has learnt of one island: its hours at the fleets looked at, and the planes that they gave.

A fleet is seen here by its part: the replicas of the island's deployments, and the units of its offers by the hour.
Many fleets share a part, so what was learnt of it is kept: a sketch gives its plane once, hours made payable are the
start of the next attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from planner.dispatch import Dispatch, Hours, Priced, dispatch
from planner.forest import Forest
from planner.islands import Island
from planner.kinks import Bending, can_bend
from planner.master import Level, Plane, whole_use
from planner.partition import at_means, busiest, importance_of, means, partition, plane, sample_of, sketch, unpriced
from planner.present import hours_usd
from planner.problem import Array, Blocks
from planner.solver import Fleet
from planner.whole import Settled, settle


class Explored:
    """One island of the problem of `whole` with its groups of hours, blocks `first` and following of the master."""

    def __init__(self, whole: Hours, island: Island, first: int, groups: int, is_over: Callable[[], bool]) -> None:
        self.whole, self.island, self.first, self.is_over = whole.problem, island, first, is_over
        self.problem, self.blocks = island.problem, island.problem.blocks
        self.hours = whole if island.problem is whole.problem else Hours(island.problem)
        self.forest = Forest(self.hours, self.blocks, is_over)
        importance, epochs = importance_of(self.problem), len(self.problem.epochs)
        self.labels = partition(self.blocks, importance, groups)
        evenly = sample_of(self.blocks, self.labels, importance, 8 if epochs < 12 else 4)
        self.sample = np.union1d(evenly, busiest(self.problem))
        self.steps_in_commitments = bool(whole_use(self.problem))
        self.sketched: dict[bytes, float] = {}
        self.settled: tuple[bytes, Settled] | None = None
        self.planes: list[Plane] = []
        self.floor = unpriced(self.hours, self.blocks)
        self._add(self.floor)
        self.bending = Bending(self.hours, self.floor.usd_per_h) if can_bend(self.problem) else None

    @property
    def groups(self) -> Blocks:
        """One block a group, at its mean demand."""
        return at_means(self.blocks, self.labels)

    def usd(self, usd_per_h: Array) -> float:
        """Present value of these hours."""
        return hours_usd(self.problem, self.blocks, usd_per_h)

    def sketch(self, fleet: Fleet) -> float:
        """A lower bound on what the hours cost with `fleet`, and the plane that says so."""
        mine = self.island.fleet(fleet)
        key = self._key(mine)
        if key not in self.sketched:
            priced = sketch(self.hours, mine, self.blocks, self.sample)
            self._add(priced)
            self.sketched[key] = self.usd(priced.usd_per_h)
        return self.sketched[key]

    def dispatch(self, fleet: Fleet) -> Priced:
        """Every hour with `fleet` at its cheapest, on-demand units divisible, and the plane of its prices."""
        priced = dispatch(self.hours, self.island.fleet(fleet), self.blocks)
        self._add(priced)
        return priced

    def settle(self, fleet: Fleet, priced: Priced, allowed_usd: float, enough_usd: float) -> Settled:
        """The hours payable, from where this was left; where they cost `enough_usd`, no more need be known."""
        mine = self.island.fleet(fleet)
        key = self._key(mine)
        known = self.settled[1] if self.settled and self.settled[0] == key else None
        settled = settle(
            self.hours, mine, self.blocks, priced, allowed_usd=allowed_usd, enough_usd=enough_usd, known=known,
            is_over=self.is_over,
        )  # fmt: skip
        self.settled = key, settled
        return settled

    def raise_plane(self, fleet: Fleet, priced: Priced, settled: Dispatch, allowed_usd: float) -> None:
        """The plane of a dispatch, by what whole numbers add to its hours."""
        mine = self.island.fleet(fleet)
        raised = self.forest.raise_plane(mine, priced, settled, allowed_usd)
        self._add(raised.priced, raised.extra_usd)
        if self.steps_in_commitments:
            held = self.forest.hold_level(mine, raised, settled, allowed_usd)
            assert held.beyond_usd is not None
            self._add(held.priced, held.extra_usd, Level(self.problem.active_units(mine.buy), held.beyond_usd))

    @property
    def bends(self) -> bool:
        """Whether what whole numbers cost stands in kinks (`kinks.py`); otherwise planes are raised by it."""
        return self.bending is not None

    def bend(self, fleet: Fleet, settled: Settled) -> None:
        """What the hours cost at least with `fleet`, for fleets with more replicas too."""
        if self.bending is not None:
            least_usd = settled.least_usd_per_h
            kink = self.bending.kink(self.island.fleet(fleet), least_usd)
            kink = replace(kink, saved_usd=means(self.blocks, self.labels, kink.saved_usd))
            usd = means(self.blocks, self.labels, least_usd[:, None])[:, 0]
            none = [np.zeros((len(usd), len(each))) for each in (self.problem.deployments, self.problem.offers)]
            self.planes.append(self._of_the_whole(Plane(usd, none[0], none[1], kink=kink)))

    def _key(self, mine: Fleet) -> bytes:
        return mine.replicas.tobytes() + self.problem.active_units(mine.buy)[self.hours.tariff.hourly].tobytes()

    def _add(self, priced: Priced, extra_usd: Array | float = 0.0, level: Level | None = None) -> None:
        made = plane(self.hours, self.blocks, self.labels, priced, extra_usd, level=level)
        self.planes.append(self._of_the_whole(made))

    def _of_the_whole(self, made: Plane) -> Plane:
        """The plane in the deployments and offers of the whole problem, and at its place among the master's blocks."""
        replica = np.zeros((len(made.usd), len(self.whole.deployments)))
        unit = np.zeros((len(made.usd), len(self.whole.offers)))
        replica[:, self.island.deployments], unit[:, self.island.offers] = made.replica_usd, made.unit_usd
        level = made.level
        if level is not None:
            units = np.full((len(self.whole.offers), len(self.whole.epochs)), np.inf)
            units[self.island.offers] = level.units
            level = replace(level, units=units)
        kink = None if made.kink is None else made.kink.within(self.island.deployments, len(self.whole.deployments))
        return Plane(made.usd, replica, unit, level, self.first, kink)
