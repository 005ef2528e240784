"""The search for a fleet: bounds from below, plans from above, until they agree.

The master (`master.py`) holds what is bought and placed, with a cost variable per group of an island's hours
(`islands.py`). Planes bound these costs from below for every fleet; they are collected on the way (`explored.py`):

1. the hours at their groups' means, everything divisible, are solved as one programme: a fleet to begin with, and
   planes at that fleet and at multiples of it;
2. with divisible purchases, a few steps halfway between the best fleet so far and the master's (in-out separation:
   Ben-Ameur & Neto, Networks 2007) bring the planes near the optimum;
3. with whole purchases, the master's fleet is sketched. When it proposes a fleet again, no other promises less: that
   one is dispatched in every hour and made payable, and a plane that bends at it says what it costs at least, whole
   on-demand units included (`kinks.py`). Where replicas divide, or commitments are used by the hour, its planes are
   raised by what whole numbers add for every fleet (`forest.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.dispatch import Hours, Priced
from planner.explored import Explored
from planner.islands import islands_of
from planner.master import build_master
from planner.partition import at_means, importance_of, partition
from planner.payable import Payable, Plan
from planner.present import fleet_usd
from planner.problem import Blocks, Problem
from planner.programme import Programme, Relax, build
from planner.rounded import is_allowed
from planner.solver import Answer, Fleet, solve_programme
from planner.whole import Settled, settled_as

_ROUNDS = 200
"""Masters with whole purchases."""
_MOST_STEPS = 12
"""Steps with divisible purchases: one an epoch, and no more than this."""
_VISITS = 2
"""How often one fleet is dispatched in every hour, each time more closely."""
_RISING, _MOST_FLAT = 20.0, 3
"""Steps that raise the bound by no more than this part of the gap asked for, one after another, until they end."""
_MULTIPLES = (0.6, 1.0, 1.4)
"""Of the first fleet, at which planes are made."""
_NEAR = 0.7
"""A sketched fleet this close to the bound, in shares of the gap asked for, is worth a dispatch of every hour."""
_AMPLE = 1.5
"""Times what the bound needs, a plane is raised at once if it can be."""
_COARSEST, _FINEST, _CLOSEST = 2.0, 4.0, 64.0
"""The master is solved to a quarter of the gap asked for. Where deployments share GPUs that takes long, and it is wrong
about their mix at first: there to twice the gap until it knows nothing new. More closely where no fleet promises less
than the best plan and the gap: then its bound may be all that is missing."""
_WORTH_IT = 0.03
"""Of what the plan of a fleet may be too dear: if a dispatch brings it down by less, one more is not tried."""
_MIXES = 8
"""Mixes of deployments tried on the GPUs of one fleet, before the master decides on purchases again."""
_SPARE = 0.9
"""Of what whole on-demand units may cost so that bound and plan still agree."""
_GROUPS, _MEANS = 240, 100
"""Groups of hours in the master, and in the programme that begins the search, all epochs together."""


@dataclass(frozen=True)
class Progress:
    """Where the search stands; `groups` of hours in the master, 0 for one programme."""

    bound_usd: float
    plan_usd: float
    groups: int


class ImpossibleError(Exception):
    """No plan satisfies the problem's rules (stock, site limits)."""


def _stop_with(answer: Answer) -> None:
    if answer.stopped:
        raise KeyboardInterrupt


def _key(fleet: Fleet) -> bytes:
    return fleet.buy.tobytes() + fleet.replicas.tobytes()


class Search:
    """What is known so far: the bound and its proof, the best plan, what was learnt of every island."""

    def __init__(
        self,
        problem: Problem,
        gap: float,
        end: float,
        clock: Callable[[], float],
        progress: Callable[[Progress], None],
    ) -> None:
        self.problem, self.wanted, self.end, self.clock, self.tell = problem, gap, end, clock, progress
        self.blocks = problem.blocks
        self.hours = Hours(problem)
        self.bound, self.proof = -math.inf, "no bound"
        self.islands = islands_of(problem)
        self.payable = Payable(self.hours, self.islands, gap, self.is_over)
        self.explored: list[Explored] = []
        self.seen: dict[bytes, int] = {}
        self.missing_usd: dict[bytes, float] = {}
        """By fleet dispatched, by how much its plan may be dearer than the least that it can cost."""
        self.divisible: Fleet | None = None
        self.visited: tuple[bytes, list[Priced], list[Settled]] | None = None
        self.mixed = any(sum(d.pool == pool.name for d in problem.deployments) > 1 for pool in problem.pools)
        self.exactness = gap * (_COARSEST if self.mixed else 1 / _FINEST)
        self.promising: tuple[float, Fleet] | None = None

    @property
    def plan(self) -> Plan | None:
        """The best so far."""
        return self.payable.best

    def is_over(self) -> bool:
        """Whether time is."""
        return self.clock() >= self.end

    @property
    def straight(self) -> bool:
        """Whether some island's planes do not bend (`kinks.py`)."""
        return not all(one.bends for one in self.explored)

    def variables(self) -> int:
        """Size of the one programme."""
        return len(self.blocks) * len(self.hours.form.bare.columns)

    def gap(self) -> float:
        """Relative distance of plan and bound."""
        if self.plan is None:
            return math.inf
        return (self.plan.usd - self.bound) / abs(self.plan.usd) if self.plan.usd else self.plan.usd - self.bound

    def left_s(self) -> float:
        """Seconds until the time limit, at least a little."""
        return max(1.0, self.end - self.clock())

    def best(self) -> Plan:
        """The plan found; made of the most promising fleet if there is none yet."""
        if self.plan is None:
            if self.promising:
                self.payable.add(self.promising[1])
            if is_allowed(self.problem, self._nothing()):
                self.payable.add(self._nothing())
            if self.divisible is not None:
                self.payable.add_rounded(self.divisible)
        if self.plan is None:
            raise ImpossibleError("no fleet satisfies the stock and site limits")
        return self.plan

    def one_programme(self) -> None:
        """Whole numbers everywhere; HiGHS's bound is the proof."""
        answer = solve_programme(build(self.problem), gap=self.wanted / 2, time_limit_s=self.left_s() / 2)
        self._bound(answer, "one programme")
        if answer.fleet is not None:
            assert answer.values is not None
            self.payable.keep(answer.fleet, settled_as(self.hours, answer.fleet, self.blocks, answer.values))
        self._progress(0)
        _stop_with(answer)

    def decompose(self) -> None:
        """The search described above; it ends when bound and plan agree or time is over."""
        self._explore()
        self._approach(self._begin())
        for _ in range(_ROUNDS):
            answer = self._master(Relax(hours=True), self.exactness)
            self._progress(len(self.groups))
            if answer.fleet is None or self.gap() <= self.wanted:
                break
            closer = self.exactness > self.wanted / _CLOSEST and answer.cost_usd >= self._enough_usd()
            learnt = not closer and self._look_at(answer.fleet, answer.cost_usd)
            if self.is_over() or not (learnt or closer or self.exactness > self.wanted / _FINEST):
                break
            if not learnt:
                self.exactness /= 2

    def _explore(self) -> None:
        """The islands, each with its groups of hours."""
        each = _GROUPS // (len(self.problem.epochs) * len(self.islands))
        first = 0
        for island in self.islands:
            groups = max(4 if len(self.islands) == 1 else 2, min(16, each))
            self.explored.append(Explored(self.hours, island, first, groups, self.is_over))
            first += len(self.explored[-1].groups)
        parts = [one.groups for one in self.explored]
        nothing = np.zeros((first, len(self.problem.classes)))
        epoch, weight_h = (np.concatenate([getattr(part, name) for part in parts]) for name in ("epoch", "weight_h"))
        self.groups = Blocks(epoch, weight_h, nothing)

    def _begin(self) -> Fleet:
        """The fleet of hours at the means of groups, everything divisible, and planes around it."""
        count = max(2, min(6, _MEANS // len(self.problem.epochs)))
        labels = partition(self.blocks, importance_of(self.problem), count)
        means = self.problem.with_blocks(at_means(self.blocks, labels))
        answer = solve_programme(build(means, Relax(True, True, True)), gap=0.0, time_limit_s=self.left_s() / 4)
        _stop_with(answer)
        if answer.status == "infeasible":
            raise ImpossibleError("no fleet satisfies the stock and site limits")
        fleet = answer.fleet or self._nothing()
        self.divisible = fleet
        for share in _MULTIPLES:
            self._sketch(Fleet(fleet.buy * share, fleet.replicas * share))
        return fleet

    def _approach(self, inner: Fleet) -> None:
        """Planes halfway between the best divisible fleet and the master's, until its bound is near or rises no more.

        A fixed charge is whole in a fleet and divided in the master: then they do not meet.
        """
        best, flat = self._sketch(inner), 0
        for _ in range(min(_MOST_STEPS, len(self.problem.epochs))):
            before = self.bound
            answer = self._master(Relax(True, True, True), 0.0)
            self._progress(len(self.groups))
            near = best - self.bound <= self.wanted / 3 * abs(best)
            flat = flat + 1 if self.bound - before <= self.wanted / _RISING * abs(best) else 0
            if answer.fleet is None or near or flat >= _MOST_FLAT or self.is_over():
                return
            outer = answer.fleet
            middle = Fleet((inner.buy + outer.buy) / 2, (inner.replicas + outer.replicas) / 2)
            for fleet in (outer, middle):
                usd = self._sketch(fleet)
                if usd < best:
                    inner, best = fleet, usd
                    self.divisible = inner

    def _look_at(self, fleet: Fleet, promised_usd: float) -> bool:
        """Learn about the master's fleet, or the most promising one; False when nothing more can be learnt."""
        key = _key(fleet)
        if key not in self.seen:
            self.seen[key] = 0
            usd = self._sketch(fleet)
            if self.mixed and usd > promised_usd * (1 + self.wanted):
                self._mix(fleet)
            if self.promising is None or usd < self.promising[0]:
                self.promising = (usd, fleet)
            assert self.promising is not None
            near_share = max(_NEAR * self.wanted, self.exactness)
            near = self.promising[0] - self.bound <= near_share * abs(self.promising[0])
            if not near or self.seen[_key(self.promising[1])]:
                return True
            fleet = self.promising[1]
        times = self.seen[_key(fleet)] = self.seen[_key(fleet)] + 1
        if times > 2 * _VISITS:
            return False
        closer = (times + 1) // 2 if self.straight else 2 ** (times - 1)
        wanted_usd = self.wanted * abs(self.promising[0] if self.promising else self.bound) / closer
        if self.straight and times % 2 == 0 and self.visited is not None and self.visited[0] == _key(fleet):
            return self._raise(fleet, wanted_usd / 2)
        return self._dispatch(fleet, wanted_usd / 8) or self.straight

    def _mix(self, fleet: Fleet) -> None:
        """Planes at other mixes of deployments on the GPUs that this fleet buys, each the best as far as is known."""
        for _ in range(_MIXES):
            master = self._state(Relax(True, True, True), fleet)
            answer = solve_programme(master, gap=0.0, time_limit_s=self.left_s())
            _stop_with(answer)
            if answer.fleet is None:
                return
            mixed = Fleet(fleet.buy, answer.fleet.replicas)
            if self._sketch(mixed) <= answer.cost_usd * (1 + self.wanted) or self.is_over():
                return

    def _dispatch(self, fleet: Fleet, allowed_usd: float) -> bool:
        """Every hour with this fleet, payable; it may be shown to cost so much too much.

        At first, or where planes do not bend, as much as bound and plan can spare; a bound that bent planes lifted
        above what divisible hours cost spares no more. False if the hours are known no more closely than before.
        """
        priced = [one.dispatch(fleet) for one in self.explored]
        usd = self._usd(fleet, priced)
        if self.straight or _key(fleet) not in self.missing_usd:
            allowed_usd = max(allowed_usd, _SPARE * (min(self.bound, usd) / max(1 - self.wanted, 1e-9) - usd))
        enough_usd = self._enough_usd() - fleet_usd(self.problem, fleet)
        settled = self.payable.settle(fleet, self.explored, priced, allowed_usd, enough_usd)
        self.visited = (_key(fleet), priced, settled)
        for one, paid in zip(self.explored, settled, strict=True):
            one.bend(fleet, paid)
        pairs = zip(self.explored, settled, strict=True)
        missing_usd = math.fsum(one.usd(paid.usd_per_h - paid.least_usd_per_h) for one, paid in pairs)
        known_usd, self.missing_usd[_key(fleet)] = self.missing_usd.get(_key(fleet), math.inf), missing_usd
        return missing_usd < (1 - _WORTH_IT) * known_usd

    def _enough_usd(self) -> float:
        """What no fleet need be shown to cost more than: so much is within the gap of the best plan."""
        return math.inf if self.plan is None else self.plan.usd - self.wanted * abs(self.plan.usd)

    def _raise(self, fleet: Fleet, allowed_usd: float) -> bool:
        """The planes of the fleet dispatched last, by what whole numbers add to its hours; False if that is nothing."""
        assert self.visited is not None
        assert self.plan is not None
        _, priced, settled = self.visited
        pairs = zip(self.explored, priced, settled, strict=True)
        missing_usd = np.array([one.usd(paid.usd_per_h - least.usd_per_h) for one, least, paid in pairs])
        needed_usd = (1 - self.wanted) * self.plan.usd - self.bound
        total = float(missing_usd.sum())
        if total <= allowed_usd / 50:
            return False
        allowed_usd = max(allowed_usd, total - _AMPLE * needed_usd)
        for one, least, paid, missing in zip(self.explored, priced, settled, missing_usd, strict=True):
            if missing > 0 and not one.bends:
                one.raise_plane(fleet, least, paid, allowed_usd * missing / total)
        return True

    def _master(self, relax: Relax, gap: float) -> Answer:
        start = self.plan.fleet if self.plan is not None and not relax.purchases else None
        answer = solve_programme(self._state(relax), gap=gap, time_limit_s=self.left_s(), start=start)
        self._bound(answer, f"bounds on {len(self.blocks):,} unlike hours")
        _stop_with(answer)
        return answer

    def _state(self, relax: Relax, fleet: Fleet | None = None) -> Programme:
        """The master on all planes; with a fleet, its purchases stay."""
        planes = tuple(plane for one in self.explored for plane in one.planes)
        groups = self.problem.with_blocks(self.groups)
        return build_master(groups, planes, relax, buy=None if fleet is None else fleet.buy)

    def _bound(self, answer: Answer, proof: str) -> None:
        if answer.status == "infeasible":
            raise ImpossibleError("no fleet satisfies the stock and site limits")
        if answer.bound_usd > self.bound:
            self.bound, self.proof = answer.bound_usd, proof

    def _sketch(self, fleet: Fleet) -> float:
        """What the fleet and its hours cost at least, and planes that say so."""
        return fleet_usd(self.problem, fleet) + math.fsum(one.sketch(fleet) for one in self.explored)

    def _usd(self, fleet: Fleet, priced: list[Priced]) -> float:
        hours = (one.usd(least.usd_per_h) for one, least in zip(self.explored, priced, strict=True))
        return fleet_usd(self.problem, fleet) + math.fsum(hours)

    def _progress(self, groups: int) -> None:
        usd = self.plan.usd if self.plan is not None else math.inf
        self.tell(Progress(self.bound, usd, groups))

    def _nothing(self) -> Fleet:
        epochs = len(self.problem.epochs)
        return Fleet(np.zeros((len(self.problem.offers), epochs)), np.zeros((len(self.problem.deployments), epochs)))
