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
    """Hours with the price book of epoch m: which, their row of prices, what h is known to be at most, their N."""

    m: int
    here: Ints
    row: Ints
    owed: Array
    reference: Array


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
            self.solvers[m] = Hour(self.hours, self.blocks, m)
        return self.solvers[m]

    def raise_plane(self, fleet: Fleet, priced: Priced, settled: Dispatch, allowed_usd: float) -> tuple[Priced, Array]:
        """`priced` on few price vectors, and USD per hour that whole numbers add to each hour's bound.

        No bound need exceed what the hours cost with `fleet` as settled. Trees are grown until all bounds together miss
        no more than `allowed_usd` (present value) of that, or more trees no longer help.
        """
        usd_per_h, replicas = settled.usd_per_h, _replicas(fleet, self.blocks, priced)
        priced = self._dearest(fleet, priced)
        row, extra = priced.row.copy(), np.zeros(len(self.blocks))
        earned = earnings(self.hours, priced, fleet)
        missing = self.present_h * (usd_per_h - priced.usd_per_h)
        for m, group in same_prices(priced.matrix):
            here = np.flatnonzero(np.isin(self.blocks.epoch, group))
            if len(here):
                row[here] = _few(self.blocks, priced, earned, here)
                owed = usd_per_h[here] + earned[row[here], self.blocks.epoch[here]]
                share = float(missing[here].sum()) / max(float(missing.sum()), 1e-300)
                stand = _Stand(m, here, row[here], owed, replicas[here] / self.solver(m).steps)
                extra[here] = self._grown(stand, priced, allowed_usd * share)
        return replace(priced, row=row), extra

    def _dearest(self, fleet: Fleet, priced: Priced) -> Priced:
        """What the fleet does not have costs as much as by the hour, where it can be rented.

        The duals price it just so high that no request wants it, and whole replicas could be had too cheaply. The plane
        stays as high at this fleet, and is steeper elsewhere.
        """
        tariff, gpu_h = self.hours.tariff, priced.prices.gpu_h.copy()
        for m, group in same_prices(priced.matrix):
            rows = np.flatnonzero(priced.row_epoch == m)
            for o in np.flatnonzero(~tariff.bought & (tariff.stock > 0)):
                absent = (tariff.covers[o] > 0) & (fleet.replicas[:, group] == 0).all(axis=1)
                price = np.where(absent, tariff.covers[o] * tariff.usage[o, m], 0.0)
                cheapest = self._cheapest(m)
                gpu_h[rows] = np.maximum(gpu_h[rows], np.minimum(price, cheapest))
        return replace(priced, prices=replace(priced.prices, gpu_h=gpu_h))

    def _cheapest(self, m: int) -> Array:
        """[d] the least price of a GPU-hour by the hour in epoch m."""
        tariff = self.hours.tariff
        price = np.full(len(tariff.gpus), np.inf)
        for o in np.flatnonzero(~tariff.bought & (tariff.stock > 0)):
            price = np.where(tariff.covers[o] > 0, np.minimum(price, tariff.covers[o] * tariff.usage[o, m]), price)
        return price

    def _grown(self, stand: _Stand, priced: Priced, allowed_usd: float) -> Array:
        m, here, row, owed = stand.m, stand.here, stand.row, stand.owed
        hour = self.solver(m)
        demand, weight = self.blocks.demand[here], self.present_h[here]
        alike = [
            (mine, Asked(m, self._terms(hour, priced, int(r)), demand[mine], stand.reference[mine]))
            for r in np.unique(row)
            for mine in [np.flatnonzero(row == r)]
        ]
        worth: Array = (priced.worth[row] * demand).sum(axis=1)
        now = worth.copy()

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
            terms = self._terms(hour, priced, int(row[t]))
            tree = grow(hour, demand[t], terms, stand.reference[t], enough=float(owed[t]), nodes=_NODES)
            self.trees.setdefault(m, []).append(tree)
            use(tree)
            history.append(float(weight @ np.maximum(owed - now, 0.0)))
        return now - worth

    def _terms(self, hour: Hour, priced: Priced, row: int) -> Terms:
        return Terms(priced.prices.gpu_h[row] * hour.size, np.full(len(hour.size), np.inf), np.zeros(len(hour.size)))


def _replicas(fleet: Fleet, blocks: Blocks, priced: Priced) -> Array:
    """[t, d] replicas placed and, divisibly, rented."""
    replicas: Array = fleet.replicas.T[blocks.epoch].copy()
    for column, (family, key) in enumerate(priced.matrix.columns):
        if family == "rented":
            replicas[:, key[1]] += priced.full.values[:, column]
    return replicas


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
