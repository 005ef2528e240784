"""What whole numbers add to the plane of a fleet: few prices for all hours, and trees grown where most is missing.

The hours of a dispatch have hundreds of price vectors. A handful of them, each hour taking the one that values it
highest, gives nearly the same plane, and hours with the same prices share trees (`trees.py`). Trees are grown one
after another for the hour whose bound is furthest below what it is known to cost, and tried on every hour; they hold
for later fleets too.

What a commitment used by the hour saves comes in steps, which no plane can follow (`master.py`). So a second plane is
made that holds up to the fleet's own units: there the trees keep to that limit instead of paying a price for units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from planner.dispatch import Dispatch, Hours, Priced
from planner.master import whole_use
from planner.other_prices import OTHER, Raised, at_fleet, higher, otherwise
from planner.partition import earnings
from planner.problem import Array, Blocks, Ints
from planner.reduced import Reduced, reduce
from planner.same_matrix import Flags
from planner.solver import Fleet
from planner.steps import Steps, steps_of
from planner.trees import Asked, Hour, Terms, Tree, bounds, grow, nearest

_CANDIDATES = 200
"""Price vectors of a dispatch, the most used, of which few are chosen."""
_VECTORS = 8
_LOSS = 1e-4
"""As many are chosen at most, fewer where they lose no larger share of the bound."""
_MOST_TREES = 200
_NODES = 100
_NEAR = 500
"""Trees for one price book, nodes of a tree, hours that a tree is tried on."""
_PATIENCE = 30
"""Trees after which what is missing must have shrunk by 3 %."""


@dataclass(frozen=True, eq=False)
class _Stand:
    """Hours with the price book of epoch m: which, which of `terms` (what their N cost, `trees.py`) each is asked on.

    Of every hour, h is known to be at most `owed` and at least `worth`; `reference` is its N if they divide.
    """

    m: int
    here: Ints
    kind: Ints
    terms: list[Terms]
    owed: Array
    worth: Array
    reference: Array


@dataclass
class Forest:
    """Trees grown so far, by the epoch whose prices they were grown at and whether commitments were held to a level."""

    hours: Hours
    blocks: Blocks
    is_over: Callable[[], bool]
    """Whether time is over: then no more trees are grown."""
    trees: dict[tuple[int, bool], list[Tree]] = field(default_factory=dict)
    solvers: dict[tuple[int, bool], Hour] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problem, tariff = self.hours.problem, self.hours.tariff
        self.held = np.isin(tariff.hourly, whole_use(problem))
        """[o] of the hour-placed offers, commitments that can be held to a level."""
        self.steps = {False: steps_of(problem), True: steps_of(problem, [int(o) for o in tariff.hourly[self.held]])}

    @property
    def present_h(self) -> Array:
        """Hours that each block stands for, discounted."""
        discount = np.array([epoch.discount for epoch in self.hours.problem.epochs])
        present_h: Array = self.blocks.weight_h * discount[self.blocks.epoch]
        return present_h

    @cached_property
    def reduced(self) -> Reduced:
        """The hour's programme wherever a fleet may have capacity."""
        return reduce(self.hours.problem, self.hours.form.bare, self.blocks, rent=False, everywhere=True)

    def solver(self, m: int, held: bool) -> Hour:
        """The hour's programme at the prices of epoch m."""
        if (m, held) not in self.solvers:
            self.solvers[m, held] = Hour(self.hours, m, self.steps[held], self.reduced)
        return self.solvers[m, held]

    def raise_plane(self, fleet: Fleet, priced: Priced, settled: Dispatch, allowed_usd: float) -> Raised:
        """`priced` on few price vectors, and what whole numbers add.

        No bound need exceed what the hours cost with `fleet` as settled. Trees are grown until all bounds together miss
        no more than `allowed_usd` (present value) of that, or more trees no longer help. Where they miss more, other
        prices are tried, and every hour takes those at which it costs most.
        """
        rent = self._rent(priced, self.hours.tariff.stock > 0)
        priced = self._dearest(fleet, priced, rent)
        earned, row = earnings(self.hours, priced, fleet), priced.row.copy()
        for _, group in priced.matrix.price_books:
            here = np.flatnonzero(np.isin(self.blocks.epoch, group))
            if len(here):
                row[here] = _few(self.blocks, priced, earned, here)
        priced = replace(priced, row=row)
        everywhere = np.ones(len(self.blocks), dtype=bool)
        raised = self._at_prices(fleet, priced, rent, settled, allowed_usd=allowed_usd, where=everywhere)
        for change in OTHER:
            missing = self._missing(fleet, raised, settled)
            if missing.sum() <= allowed_usd or self.is_over():
                break
            lower, rents = otherwise(self.hours, fleet, priced, rent, change)
            other = self._at_prices(fleet, lower, rents, settled, allowed_usd=allowed_usd, where=missing > 0)
            raised = higher(self.hours, self.blocks, fleet, raised, other)
        return raised

    def _at_prices(
        self, fleet: Fleet, priced: Priced, rent: Array, settled: Dispatch, *, allowed_usd: float, where: Flags
    ) -> Raised:
        """What whole numbers add to the hours in `where` at the prices of their row."""
        row, extra = priced.row, np.zeros(len(self.blocks))
        earned = earnings(self.hours, priced, fleet)
        missing = self._missing(fleet, Raised(priced, extra), settled)
        for m, group in priced.matrix.price_books:
            here = np.flatnonzero(np.isin(self.blocks.epoch, group) & where)
            if len(here):
                rows, kind = np.unique(row[here], return_inverse=True)
                owed = settled.usd_per_h[here] + earned[row[here], self.blocks.epoch[here]]
                limits, worth = self._worth(priced, row, here)
                terms = [self._terms(m, priced, rent, int(r)) for r in rows]
                reference = _reference(self.steps[False], fleet, self.blocks, priced)[here]
                stand = _Stand(m, here, kind, terms, owed - limits, worth, reference)
                share = float(missing[here].sum()) / max(float(missing.sum()), 1e-300)
                extra[here] = self._grown(stand, allowed_usd * share, held=False) - worth
        return Raised(priced, extra)

    def _missing(self, fleet: Fleet, raised: Raised, settled: Dispatch) -> Array:
        """[t] by how much the bound at this fleet is below what the hour costs as settled, present value."""
        value = at_fleet(self.hours, self.blocks, fleet, raised)
        missing: Array = self.present_h * np.maximum(settled.usd_per_h - value, 0.0)
        return missing

    def hold_level(self, fleet: Fleet, raised: Raised, settled: Dispatch, allowed_usd: float) -> Raised:
        """The raised plane where commitments have no more units than in `fleet`: higher, since that limit is kept."""
        priced, tariff, blocks = raised.priced, self.hours.tariff, self.blocks
        rent = self._rent(priced, (tariff.stock > 0) & ~self.held)
        active = self.hours.problem.active_units(fleet.buy)[tariff.hourly[self.held]]
        earned = earnings(self.hours, priced, fleet)
        extra, beyond = np.zeros(len(blocks)), np.zeros(len(blocks))
        missing = self.present_h * np.maximum(settled.usd_per_h - priced.usd_per_h - raised.extra_usd, 0.0)
        for m, group in priced.matrix.price_books:
            here = np.flatnonzero(np.isin(blocks.epoch, group))
            if len(here):
                pairs, kind = np.unique(np.stack([priced.row, blocks.epoch])[:, here], axis=1, return_inverse=True)
                units_usd = (priced.unit_usd[priced.row[here]][:, self.held] * active.T[blocks.epoch[here]]).sum(axis=1)
                limits, worth = self._worth(priced, priced.row, here)
                owed = settled.usd_per_h[here] + earned[priced.row[here], blocks.epoch[here]] - limits - units_usd
                terms = [self._terms(m, priced, rent, int(r), active[:, n]) for r, n in pairs.T]
                reference = _reference(self.steps[True], fleet, blocks, priced)[here]
                stand = _Stand(
                    m, here, kind.ravel(), terms, owed, worth + raised.extra_usd[here] - units_usd, reference
                )
                share = float(missing[here].sum()) / max(float(missing.sum()), 1e-300)
                now = self._grown(stand, allowed_usd * share, held=True)
                extra[here] = now - worth
                beyond[here] = np.maximum(now - self._without_limit(m, priced, here), 0.0)
        free = np.where(self.held, 0.0, priced.unit_usd)
        return Raised(replace(priced, unit_usd=free), extra, beyond)

    def _worth(self, priced: Priced, row: Ints, here: Ints) -> tuple[Array, Array]:
        """What the limits of endpoints earn in these hours, and what h is at least without trees."""
        limits = self.hours.tariff.limits_usd(priced.prices)[row[here]]
        worth: Array = (priced.worth[row[here]] * self.blocks.demand[here]).sum(axis=1) - limits
        return limits, worth

    def _without_limit(self, m: int, priced: Priced, here: Ints) -> Array:
        """What h is at least in these hours if commitments had units without end."""
        tariff, row = self.hours.tariff, priced.row[here]
        gpu_h = priced.prices.gpu_h.copy()
        for o in np.flatnonzero(self.held):
            gpu_h = np.minimum(gpu_h, np.where(tariff.covers[o] > 0, tariff.covers[o] * tariff.usage[o, m], np.inf))
        worth = tariff.worth(m, replace(priced.prices, gpu_h=gpu_h))
        least: Array = (worth[row] * self.blocks.demand[here]).sum(axis=1) - tariff.limits_usd(priced.prices)[row]
        return least

    def _rent(self, priced: Priced, offers: Flags) -> Array:
        """[row, d] the least price of a GPU-hour by the hour; what is scarce about an offer stands in its price."""
        tariff = self.hours.tariff
        rent = np.full(priced.prices.gpu_h.shape, np.inf)
        for m in np.unique(priced.row_epoch):
            rows = np.flatnonzero(priced.row_epoch == m)
            use = tariff.usage[:, m] + tariff.above_use(int(m), priced.prices.take(rows))
            for o in np.flatnonzero(offers):
                price = np.where(tariff.covers[o] > 0, tariff.covers[o] * use[:, o, None], np.inf)
                rent[rows] = np.minimum(rent[rows], price)
        return rent

    def _dearest(self, fleet: Fleet, priced: Priced, rent: Array) -> Priced:
        """What the fleet does not have costs as much as by the hour, where it can be rented.

        The duals price it just so high that no request wants it, and whole replicas could be had too cheaply. The plane
        stays as high at this fleet, and is steeper elsewhere.
        """
        gpu_h = priced.prices.gpu_h.copy()
        for m, group in priced.matrix.price_books:
            rows = np.flatnonzero(priced.row_epoch == m)
            absent = (fleet.replicas[:, group] == 0).all(axis=1) & np.isfinite(rent[rows])
            gpu_h[rows] = np.where(absent, np.maximum(gpu_h[rows], rent[rows]), gpu_h[rows])
        return replace(priced, prices=replace(priced.prices, gpu_h=gpu_h))

    def _grown(self, stand: _Stand, allowed_usd: float, *, held: bool) -> Array:
        m, here, owed = stand.m, stand.here, stand.owed
        hour = self.solver(m, held)
        demand, weight = self.blocks.demand[here], self.present_h[here]
        alike = [
            (mine, Asked(m, terms, demand[mine], stand.reference[mine]))
            for i, terms in enumerate(stand.terms)
            for mine in [np.flatnonzero(stand.kind == i)]
        ]
        now = stand.worth.copy()

        def use(tree: Tree) -> None:
            for mine, asked in alike:
                near = nearest(hour, tree, asked, max(_NEAR * len(mine) // len(here), 1))
                few = asked.take(near)
                now[mine[near]] = np.maximum(now[mine[near]], bounds(hour, tree, few))

        trees = self.trees.setdefault((m, held), [])
        for tree in trees:
            use(tree)
        tried = np.zeros(len(here), dtype=bool)
        history = [float(weight @ np.maximum(owed - now, 0.0))]
        for _ in range(_MOST_TREES):
            missing = weight * np.maximum(owed - now, 0.0)
            stuck = len(history) > _PATIENCE and history[-1] > 0.97 * history[-1 - _PATIENCE]
            if history[-1] <= allowed_usd or stuck or tried.all() or self.is_over():
                break
            t = int(np.argmax(np.where(tried, -1.0, missing)))
            tried[t] = True
            terms = stand.terms[stand.kind[t]]
            trees.append(grow(hour, demand[t], terms, stand.reference[t], enough=float(owed[t]), nodes=_NODES))
            use(trees[-1])
            history.append(float(weight @ np.maximum(owed - now, 0.0)))
        return now

    def _terms(self, m: int, priced: Priced, rent: Array, row: int, units: Array | None = None) -> Terms:
        """What a fleet has at its scarcity price, what is rented at its rent; commitments at their price of use."""
        tariff, steps = self.hours.tariff, self.steps[units is not None]
        price = np.where(steps.by_hour, rent[row, steps.deployment], priced.prices.gpu_h[row, steps.deployment])
        for n in np.flatnonzero(steps.offer >= 0):
            o = int(np.flatnonzero(tariff.hourly == steps.offer[n])[0])
            price[n] = tariff.covers[o, steps.deployment[n]] * tariff.usage[o, m]
        there = np.isfinite(price)
        usd = np.where(there, price, 0.0) * tariff.gpus[steps.deployment] * steps.replicas
        return Terms(usd, there, np.zeros(0) if units is None else units, np.zeros(len(tariff.gpus)))


def _reference(steps: Steps, fleet: Fleet, blocks: Blocks, priced: Priced) -> Array:
    """[t, n] steps placed and, divisibly, rented."""
    placed, rented = fleet.replicas.T[blocks.epoch], np.zeros((len(blocks), len(fleet.replicas)))
    own = {(int(o), int(d)): n for n, (o, d) in enumerate(zip(steps.offer, steps.deployment, strict=True)) if o >= 0}
    reference, values = np.zeros((len(blocks), len(steps.replicas))), priced.full().values
    for column, (family, key) in enumerate(priced.matrix.columns):
        if family == "rented" and key in own:
            reference[:, own[key[0], key[1]]] = values[:, column]
        elif family == "rented":
            rented[:, key[1]] += values[:, column]
    shared = steps.offer < 0
    twice = np.bincount(steps.deployment[shared], minlength=len(fleet.replicas))[steps.deployment] > 1
    both = placed + rented
    apart = np.where(steps.by_hour, rented[:, steps.deployment], placed[:, steps.deployment])
    found: Array = np.where(shared, np.where(twice, apart, both[:, steps.deployment]), reference) / steps.replicas
    return found


def _few(blocks: Blocks, priced: Priced, earned: Array, here: Ints) -> Ints:
    """[t] for each block in `here` one of a few rows of `priced`, chosen so that little of the bound is lost."""
    weight = blocks.weight_h[here]
    rows, uses = np.unique(priced.row[here], return_inverse=True)
    used = np.bincount(uses, weights=weight * np.abs(priced.usd_per_h[here]))
    rows = rows[np.argsort(-used, kind="stable")[:_CANDIDATES]]
    value = blocks.demand[here] @ priced.worth[rows].T - earned[rows][:, blocks.epoch[here]].T
    chosen = [int(np.argmax(weight @ value))]
    best = value[:, chosen[0]]
    total = float(weight @ priced.usd_per_h[here])
    while len(chosen) < min(_VECTORS, len(rows)) and total - float(weight @ best) > _LOSS * abs(total):
        gain = weight @ np.maximum(value, best[:, None])
        chosen.append(int(np.argmax(gain)))
        best = np.maximum(best, value[:, chosen[-1]])
    picked: Ints = rows[np.array(chosen)[np.argmax(value[:, chosen], axis=1)]]
    return picked
