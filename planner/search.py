"""The search for a fleet: bounds from below, plans from above, until they agree.

The master (`programme.build_master`) holds what is bought and placed, with a cost variable per group of hours. Planes
bound these costs from below for every fleet; they are collected on the way:

1. the hours at their groups' means, everything divisible, are solved as one programme: a fleet to begin with, and
   planes at that fleet and at multiples of it;
2. with divisible purchases, a few steps halfway between the best fleet so far and the master's (in-out separation:
   Ben-Ameur & Neto, Networks 2007) bring the planes near the optimum;
3. with whole purchases, the master's fleet is sketched. When it proposes a fleet again, no other promises less: that
   one is dispatched in every hour and made payable, and its planes become exact, whole on-demand units included.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.dispatch import Dispatch, Hours, Priced, dispatch
from planner.forest import Forest
from planner.master import Level, Plane, build_master, whole_use
from planner.partition import at_means, partition, plane, sample_of, sketch, unpriced
from planner.problem import Array, Blocks, Ints, Problem
from planner.programme import Relax, build
from planner.rounded import rounded_up
from planner.solver import Answer, Fleet, solve_programme
from planner.whole import settle, settled_as

_ROUNDS = 200
"""Masters with whole purchases."""
_MOST_STEPS = 12
"""Steps with divisible purchases: one an epoch, and no more than this."""
_VISITS = 2
"""How often one fleet is dispatched in every hour, each time more closely."""
_MULTIPLES = (0.6, 1.0, 1.4)
"""Of the first fleet, at which planes are made."""
_NEAR = 0.7
"""A sketched fleet this close to the bound, in shares of the gap asked for, is worth a dispatch of every hour."""
_AMPLE = 1.5
"""Times what the bound needs, a plane is raised at once if it can be."""
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


@dataclass(frozen=True, eq=False)
class Plan:
    """A fleet with payable hours."""

    fleet: Fleet
    hours: Dispatch
    usd: float


def fleet_usd(problem: Problem, fleet: Fleet) -> float:
    """Present value of everything bought, fixed charges included."""
    costs: list[float] = []
    for (o, m), units in np.ndenumerate(fleet.buy):
        if units:
            costs.append(float(units) * sum(usd for _, usd in problem.unit_cost(problem.offers[o], m)))
    active = problem.active_units(fleet.buy)
    index = {offer.name: o for o, offer in enumerate(problem.offers)}
    for charge in problem.fixed_charges:
        owed = active[[index[name] for name in charge.offers]].sum(axis=0) > 0
        costs += [problem.fixed_usd(charge, int(m)) for m in np.flatnonzero(owed)]
    return math.fsum(costs)


def hours_usd(problem: Problem, blocks: Blocks, usd_per_h: Array) -> float:
    """Present value of the hours."""
    discount = np.array([epoch.discount for epoch in problem.epochs])
    return math.fsum(blocks.weight_h * discount[blocks.epoch] * usd_per_h)


def _stop_with(answer: Answer) -> None:
    if answer.stopped:
        raise KeyboardInterrupt


def _key(fleet: Fleet) -> bytes:
    return fleet.buy.tobytes() + fleet.replicas.tobytes()


class Search:
    """What is known so far: the bound and its proof, the best plan, fleets seen and the planes they gave."""

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
        self.forest = Forest(self.hours, self.blocks, self.is_over)
        self.bound, self.proof = -math.inf, "no bound"
        self.plan: Plan | None = None
        self.labels = np.zeros(len(self.blocks), dtype=np.intp)
        self.planes: list[Plane] = []
        self.seen: dict[bytes, int] = {}
        self.divisible: Fleet | None = None
        self.settled: dict[bytes, Dispatch] = {}
        self.visited: tuple[Priced, Dispatch] | None = None
        self.steps_in_commitments = bool(whole_use(problem))
        self.promising: tuple[float, Fleet] | None = None

    def is_over(self) -> bool:
        """Whether time is."""
        return self.clock() >= self.end

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
            fleets = [self.promising[1]] if self.promising else self._without_search()
            if not fleets:
                raise ImpossibleError("no fleet satisfies the stock and site limits")
            for fleet in fleets:
                priced = dispatch(self.hours, fleet, self.blocks)
                self._settle(fleet, priced, self.wanted / 8 * self._usd(fleet, priced))
        assert self.plan is not None
        return self.plan

    def one_programme(self) -> None:
        """Whole numbers everywhere; HiGHS's bound is the proof."""
        answer = solve_programme(build(self.problem), gap=self.wanted / 2, time_limit_s=self.left_s() / 2)
        self._bound(answer, "one programme")
        if answer.fleet is not None:
            assert answer.values is not None
            hours = settled_as(self.hours, answer.fleet, self.blocks, answer.values)
            self._keep(answer.fleet, hours)
        self._progress(0)
        _stop_with(answer)

    def decompose(self) -> None:
        """The search described above; it ends when bound and plan agree or time is over."""
        blocks, importance = self.blocks, self._importance()
        epochs = len(self.problem.epochs)
        self.labels = partition(blocks, importance, max(4, min(16, _GROUPS // epochs)))
        self.sample = sample_of(blocks, self.labels, importance, 8 if epochs < 12 else 4)
        self._add(unpriced(self.hours, blocks))
        fleet = self._begin(partition(blocks, importance, max(2, min(6, _MEANS // epochs))))
        self._approach(fleet)
        for _ in range(_ROUNDS):
            answer = self._master(Relax(hours=True), self.wanted / 4)
            self._progress(int(self.labels.max()) + 1)
            if answer.fleet is None or self.gap() <= self.wanted or not self._look_at(answer.fleet):
                break
            if self.is_over():
                break

    def _begin(self, labels: Ints) -> Fleet:
        """The fleet of the groups' means, everything divisible, and planes around it."""
        means = self.problem.with_blocks(at_means(self.blocks, labels))
        answer = solve_programme(build(means, Relax(True, True, True)), gap=0.0, time_limit_s=self.left_s() / 4)
        if answer.status == "infeasible":
            raise ImpossibleError("no fleet satisfies the stock and site limits")
        fleet = answer.fleet or self._nothing()
        self.divisible = fleet
        for share in _MULTIPLES:
            self._add(self._sketch(Fleet(fleet.buy * share, fleet.replicas * share)))
        return fleet

    def _approach(self, inner: Fleet) -> None:
        """Planes halfway between the best divisible fleet and the master's, until its bound is near."""
        best = self._usd(inner, self._sketch(inner))
        for _ in range(min(_MOST_STEPS, len(self.problem.epochs))):
            answer = self._master(Relax(True, True, True), 0.0)
            if answer.fleet is None or best - self.bound <= self.wanted / 3 * abs(best) or self.is_over():
                return
            outer = answer.fleet
            middle = Fleet((inner.buy + outer.buy) / 2, (inner.replicas + outer.replicas) / 2)
            for fleet in (outer, middle):
                priced = self._sketch(fleet)
                self._add(priced)
                usd = self._usd(fleet, priced)
                if usd < best:
                    inner, best = fleet, usd
                    self.divisible = inner

    def _look_at(self, fleet: Fleet) -> bool:
        """Learn about the master's fleet, or the most promising one; False when nothing more can be learnt."""
        key = _key(fleet)
        if key not in self.seen:
            self.seen[key] = 0
            priced = self._sketch(fleet)
            self._add(priced)
            usd = self._usd(fleet, priced)
            if self.promising is None or usd < self.promising[0]:
                self.promising = (usd, fleet)
            assert self.promising is not None
            near = self.promising[0] - self.bound <= _NEAR * self.wanted * abs(self.promising[0])
            if not near or self.seen[_key(self.promising[1])]:
                return True
            fleet = self.promising[1]
        times = self.seen[_key(fleet)] = self.seen[_key(fleet)] + 1
        if times > 2 * _VISITS:
            return False
        wanted_usd = self.wanted * abs(self.promising[0] if self.promising else self.bound) / ((times + 1) // 2)
        if times % 2:
            self._dispatch(fleet, wanted_usd / 8)
        else:
            self._raise(fleet, wanted_usd / 2)
        return True

    def _dispatch(self, fleet: Fleet, allowed_usd: float) -> None:
        """Every hour with this fleet, payable; it may cost so much too much, or as much as bound and plan can spare."""
        priced = dispatch(self.hours, fleet, self.blocks)
        self._add(priced)
        usd = self._usd(fleet, priced)
        spare_usd = _SPARE * (self.bound / max(1 - self.wanted, 1e-9) - usd)
        settled = self._settle(fleet, priced, max(allowed_usd, spare_usd))
        self.visited = (priced, settled)

    def _raise(self, fleet: Fleet, allowed_usd: float) -> None:
        """The plane of the fleet dispatched last, by what whole numbers add to its hours."""
        assert self.visited is not None
        assert self.plan is not None
        priced, settled = self.visited
        missing_usd = hours_usd(self.problem, self.blocks, settled.usd_per_h - priced.usd_per_h)
        needed_usd = (1 - self.wanted) * self.plan.usd - self.bound
        if missing_usd > allowed_usd / 50:
            allowed_usd = max(allowed_usd, missing_usd - _AMPLE * needed_usd)
            raised = self.forest.raise_plane(fleet, priced, settled, allowed_usd)
            self._add(raised.priced, raised.extra_usd)
            if self.steps_in_commitments:
                held = self.forest.hold_level(fleet, raised, settled, allowed_usd)
                units, beyond = self.problem.active_units(fleet.buy), held.beyond_usd
                assert beyond is not None
                self._add(held.priced, held.extra_usd, Level(units, beyond))

    def _without_search(self) -> list[Fleet]:
        """What can be had where no whole fleet was found in time: the divisible one rounded up, and nothing."""
        fleets = [self._nothing()]
        if self.divisible is not None:
            fleets.append(rounded_up(self.problem, self.divisible))
        return [fleet for fleet in fleets if self._is_allowed(fleet)]

    def _settle(self, fleet: Fleet, priced: Priced, allowed_usd: float) -> Dispatch:
        """Make the hours payable, from where this was left, and keep the plan if it is the best."""
        key = _key(fleet)
        hours = settle(
            self.hours,
            fleet,
            self.blocks,
            priced,
            allowed_usd=allowed_usd,
            known=self.settled.get(key),
            is_over=self.is_over,
        )
        self.settled = {key: hours}
        self._keep(fleet, hours)
        return hours

    def _keep(self, fleet: Fleet, hours: Dispatch) -> None:
        usd = fleet_usd(self.problem, fleet) + hours_usd(self.problem, self.blocks, hours.usd_per_h)
        if self.plan is None or usd < self.plan.usd:
            self.plan = Plan(fleet, hours, usd)

    def _master(self, relax: Relax, gap: float) -> Answer:
        means = self.problem.with_blocks(at_means(self.blocks, self.labels))
        master = build_master(means, tuple(self.planes), relax)
        start = self.plan.fleet if self.plan is not None and not relax.purchases else None
        answer = solve_programme(master, gap=gap, time_limit_s=self.left_s(), start=start)
        self._bound(answer, f"bounds on {len(self.blocks):,} unlike hours")
        _stop_with(answer)
        return answer

    def _bound(self, answer: Answer, proof: str) -> None:
        if answer.status == "infeasible":
            raise ImpossibleError("no fleet satisfies the stock and site limits")
        if answer.bound_usd > self.bound:
            self.bound, self.proof = answer.bound_usd, proof

    def _add(self, priced: Priced, extra_usd: Array | float = 0.0, level: Level | None = None) -> None:
        self.planes.append(plane(self.hours, self.blocks, self.labels, priced, extra_usd, level=level))

    def _sketch(self, fleet: Fleet) -> Priced:
        return sketch(self.hours, fleet, self.blocks, self.sample)

    def _usd(self, fleet: Fleet, priced: Priced) -> float:
        return fleet_usd(self.problem, fleet) + hours_usd(self.problem, self.blocks, priced.usd_per_h)

    def _progress(self, groups: int) -> None:
        usd = self.plan.usd if self.plan is not None else math.inf
        self.tell(Progress(self.bound, usd, groups))

    def _nothing(self) -> Fleet:
        epochs = len(self.problem.epochs)
        return Fleet(np.zeros((len(self.problem.offers), epochs)), np.zeros((len(self.problem.deployments), epochs)))

    def _is_allowed(self, fleet: Fleet) -> bool:
        """Whether what exists keeps the stock and site limits."""
        problem, active = self.problem, self.problem.active_units(fleet.buy)
        index = {offer.name: o for o, offer in enumerate(problem.offers)}
        sites = all(
            (sum(use * active[index[name]] for name, use in limit.per_unit.items()) <= limit.cap + 1e-9).all()
            for limit in problem.limits
        )
        return sites and all(
            offer.max_units is None or (active[o] <= offer.max_units + 1e-9).all()
            for o, offer in enumerate(problem.offers)
            if offer.bought
        )

    def _importance(self) -> Array:
        """A scale for demand: the least GPU time, else the least API price, per class."""
        problem = self.problem
        scale = np.ones(len(problem.classes))
        for k in range(len(problem.classes)):
            times = [d.gpu_h_per_request[k] for d in problem.deployments if d.gpu_h_per_request[k] is not None]
            prices = [e.usd_per_request[k] for e in problem.endpoints if e.usd_per_request[k] is not None]
            scale[k] = min((value for value in (times or prices) if value is not None), default=1.0)
        return scale
