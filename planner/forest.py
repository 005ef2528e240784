"""What whole numbers add to the plane of a fleet: few prices for all hours, and trees grown where most is missing.

The hours of a dispatch have hundreds of price vectors. A handful of them, each hour taking the one that values it
highest, gives nearly the same plane, and hours with the same prices share trees (`trees.py`). Trees are grown one
after another for the hour whose bound is furthest below what it is known to cost, and tried on every hour; they hold
for later fleets too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from planner.dispatch import Dispatch, Hours, Priced, same_prices
from planner.partition import earnings
from planner.problem import Array, Blocks, Ints
from planner.solver import Fleet
from planner.trees import Asked, Hour, Steps, Terms, Tree, bounds, grow, nearest, steps_of

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
    """Hours with the price book of epoch m: which, their row of prices, and what each row's N cost (`trees.py`).

    Of every hour, h is known to be at most `owed` and at least `worth`; `reference` is its N if they divide.
    """

    m: int
    here: Ints
    row: Ints
    owed: Array
    worth: Array
    reference: Array
    terms: dict[int, Terms]


@dataclass
class Forest:
    """Trees grown so far, by the epoch whose prices they were grown at."""

    hours: Hours
    blocks: Blocks
    is_over: Callable[[], bool]
    """Whether time is over: then no more trees are grown."""
    trees: dict[int, list[Tree]] = field(default_factory=dict)
    solvers: dict[int, Hour] = field(default_factory=dict)

    @property
    def present_h(self) -> Array:
        """Hours that each block stands for, discounted."""
        discount = np.array([epoch.discount for epoch in self.hours.problem.epochs])
        present_h: Array = self.blocks.weight_h * discount[self.blocks.epoch]
        return present_h

    def solver(self, m: int) -> Hour:
        """The hour's programme at the prices of epoch m."""
        if m not in self.solvers:
            self.solvers[m] = Hour(self.hours, self.blocks, m, steps_of(self.hours.problem))
        return self.solvers[m]

    def raise_plane(self, fleet: Fleet, priced: Priced, settled: Dispatch, allowed_usd: float) -> tuple[Priced, Array]:
        """`priced` on few price vectors, and USD per hour that whole numbers add to each hour's bound.

        No bound need exceed what the hours cost with `fleet` as settled. Trees are grown until all bounds together miss
        no more than `allowed_usd` (present value) of that, or more trees no longer help.
        """
        usd_per_h, rent = settled.usd_per_h, self._rent(priced)
        priced = self._dearest(fleet, priced, rent)
        row, extra = priced.row.copy(), np.zeros(len(self.blocks))
        earned = earnings(self.hours, priced, fleet)
        missing = self.present_h * (usd_per_h - priced.usd_per_h)
        for m, group in same_prices(priced.matrix):
            here = np.flatnonzero(np.isin(self.blocks.epoch, group))
            if len(here):
                row[here] = _few(self.blocks, priced, earned, here)
                limits = self.hours.tariff.limits_usd(priced.prices)[row[here]]
                owed = usd_per_h[here] + earned[row[here], self.blocks.epoch[here]] - limits
                worth = (priced.worth[row[here]] * self.blocks.demand[here]).sum(axis=1) - limits
                share = float(missing[here].sum()) / max(float(missing.sum()), 1e-300)
                reference = _reference(self.solver(m).steps, fleet, self.blocks, priced)[here]
                terms = {int(r): self._terms(m, priced, rent, int(r)) for r in np.unique(row[here])}
                stand = _Stand(m, here, row[here], owed, worth, reference, terms)
                extra[here] = self._grown(stand, allowed_usd * share)
        return replace(priced, row=row), extra

    def _rent(self, priced: Priced) -> Array:
        """[row, d] the least price of a GPU-hour by the hour; what is scarce about an offer stands in its price."""
        tariff = self.hours.tariff
        rent = np.full(priced.prices.gpu_h.shape, np.inf)
        for m in np.unique(priced.row_epoch):
            rows = np.flatnonzero(priced.row_epoch == m)
            use = tariff.usage[:, m] + tariff.above_use(int(m), priced.prices.take(rows))
            for o in np.flatnonzero(tariff.stock > 0):
                price = np.where(tariff.covers[o] > 0, tariff.covers[o] * use[:, o, None], np.inf)
                rent[rows] = np.minimum(rent[rows], price)
        return rent

    def _dearest(self, fleet: Fleet, priced: Priced, rent: Array) -> Priced:
        """What the fleet does not have costs as much as by the hour, where it can be rented.

        The duals price it just so high that no request wants it, and whole replicas could be had too cheaply. The plane
        stays as high at this fleet, and is steeper elsewhere.
        """
        gpu_h = priced.prices.gpu_h.copy()
        for m, group in same_prices(priced.matrix):
            rows = np.flatnonzero(priced.row_epoch == m)
            absent = (fleet.replicas[:, group] == 0).all(axis=1) & np.isfinite(rent[rows])
            gpu_h[rows] = np.where(absent, np.maximum(gpu_h[rows], rent[rows]), gpu_h[rows])
        return replace(priced, prices=replace(priced.prices, gpu_h=gpu_h))

    def _grown(self, stand: _Stand, allowed_usd: float) -> Array:
        m, here, row, owed = stand.m, stand.here, stand.row, stand.owed
        hour = self.solver(m)
        demand, weight = self.blocks.demand[here], self.present_h[here]
        alike = [
            (mine, Asked(m, stand.terms[int(r)], demand[mine], stand.reference[mine]))
            for r in np.unique(row)
            for mine in [np.flatnonzero(row == r)]
        ]
        now = stand.worth.copy()

        def use(tree: Tree) -> None:
            for mine, asked in alike:
                near = nearest(hour, tree, asked, max(_NEAR * len(mine) // len(here), 1))
                few = asked.take(near)
                now[mine[near]] = np.maximum(now[mine[near]], bounds(hour, tree, few))

        for tree in self.trees.get(m, []):
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
            terms = stand.terms[int(row[t])]
            tree = grow(hour, demand[t], terms, stand.reference[t], enough=float(owed[t]), nodes=_NODES)
            self.trees.setdefault(m, []).append(tree)
            use(tree)
            history.append(float(weight @ np.maximum(owed - now, 0.0)))
        extra: Array = now - stand.worth
        return extra

    def _terms(self, m: int, priced: Priced, rent: Array, row: int) -> Terms:
        """What a fleet has at its scarcity price, what is rented at its rent."""
        hour = self.solver(m)
        steps, fleet = hour.steps, priced.prices.gpu_h[row]
        gpu_h = np.where(steps.by_hour, rent[row, steps.deployment], fleet[steps.deployment])
        there = np.isfinite(gpu_h)
        usd = np.where(there, gpu_h, 0.0) * hour.gpus
        return Terms(usd, there, np.zeros(0), np.zeros(len(hour.tariff.gpus)))


def _reference(steps: Steps, fleet: Fleet, blocks: Blocks, priced: Priced) -> Array:
    """[t, n] steps placed and, divisibly, rented."""
    placed, rented = fleet.replicas.T[blocks.epoch], np.zeros((len(blocks), len(fleet.replicas)))
    for column, (family, key) in enumerate(priced.matrix.columns):
        if family == "rented":
            rented[:, key[1]] += priced.full.values[:, column]
    twice = np.bincount(steps.deployment, minlength=len(fleet.replicas))[steps.deployment] > 1
    both = placed + rented
    apart = np.where(steps.by_hour, rented[:, steps.deployment], placed[:, steps.deployment])
    reference: Array = np.where(twice, apart, both[:, steps.deployment]) / steps.replicas
    return reference


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
