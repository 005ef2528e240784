"""How much whole numbers add to the cost of an hour: branch-and-bound trees that hours share.

An hour may take N[n] whole steps of replicas, each step for some deployment and at a price q[n], on top of what it has.
Its cost

    h = min over whole N >= 0 of  sum_n q[n] N[n] + (cost of serving its demand with N, what it has, and the endpoints)
        subject to  sum_n units[n, o] N[n] <= limits[o]   where offers are scarce

is found by branch and bound. The tree proves a bound for *every* hour: a leaf is a box of N with scarcity prices of
its own (`scarcity.py`), at which any demand x costs at least a linear function of x inside that box; the least of these
over the leaves of one tree is a lower bound for any hour. An hour that needs three replicas more moves all boxes by
three: they hold every whole N as before. The whole numbers found on the way are good guesses for other hours. As with
bases, a few dozen trees serve a year of hours.

Two hours are asked about. With a fleet given, N are the replicas rented at their price: that is the plan
(`whole.py`). With no fleet and the prices lambda of a dispatch, N are the replicas of a fleet at lambda, in the steps
in which units bring them, and those rented at what they cost by the hour: h then stands in place of `worth x` in the
plane of the hour, for every fleet at once (`forest.py`; Zou, Ahmed & Sun, Math. Program. 2019, call it a strengthened
Benders cut).
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from planner.dispatch import Hours
from planner.problem import Array, Ints
from planner.reduced import Reduced
from planner.same_matrix import Flags, SameMatrix
from planner.scarcity import Prices
from planner.steps import Steps

_WHOLE = 1e-6
_ENDLESS = 1e9
_ROUNDING = 1e-6
_CHUNK = 64


@dataclass(frozen=True, eq=False)
class Tree:
    """Leaves: boxes `least <= N <= most` (in steps) that together hold every N, with prices for each.

    `points` are whole N met on the way, with prices that are exact there for the hour the tree was grown for.
    `reference` is about what that hour takes if N divides: for other hours boxes and points move by the difference.
    """

    reference: Array
    least: Array
    most: Array
    prices: Prices
    points: Array
    point_prices: Prices


@dataclass(frozen=True, eq=False)
class Terms:
    """What an hour may take: `usd[n]` for one step more, `limits[o]` units of scarce offers; `base[d]` it has.

    `there[n]` tells whether there is any.
    """

    usd: Array
    there: Flags
    limits: Array
    base: Array

    @property
    def most(self) -> Array:
        """Steps at most; scarce offers have their own limit."""
        return np.where(self.there, np.inf, 0.0)


class Hour:
    """HiGHS with the hour's programme of one epoch: ways out, what is scarce (as `reduced` has it), and N."""

    def __init__(self, hours: Hours, m: int, steps: Steps, reduced: Reduced) -> None:
        problem = hours.problem
        self.tariff, self.m, self.steps = hours.tariff, m, steps
        self.gpus = self.tariff.gpus[steps.deployment] * steps.replicas
        self.names = reduced.names
        self.constant = reduced.right_hand_side(hours.form.bare.constant)[m]
        self.capacity = np.full(len(problem.deployments), -1, dtype=np.intp)
        for d, deployment in enumerate(problem.deployments):
            if f"capacity.{deployment.name}" in self.names:
                self.capacity[d] = self.names.index(f"capacity.{deployment.name}")
        row = self.capacity[steps.deployment]
        supply = np.zeros((len(self.names), len(row)))
        there = np.flatnonzero(row >= 0)
        supply[row[there], there] = -self.gpus[there]
        first, count, scarce = reduced.coefficients.shape[1], *steps.units.shape
        self.numbers, self.beyond = first + np.arange(count), first + count + np.arange(scarce)
        matrix_of_hour = np.zeros((len(self.names) + scarce, first + count + scarce))
        matrix_of_hour[: len(self.names), : first + count] = np.hstack([reduced.coefficients, supply])
        matrix_of_hour[len(self.names) :, first:] = np.hstack([steps.units.T, -np.eye(scarce)])
        cost = np.concatenate([reduced.cost_usd[m], np.zeros(count), self._beyond_usd()])
        equality = np.concatenate([reduced.equality, np.zeros(scarce, dtype=bool)])
        self.programme = SameMatrix(matrix_of_hour, equality, cost, tolerance=1e-7)

    def _beyond_usd(self) -> Array:
        """[o] USD for a unit of a scarce offer beyond its limit: more than any work that it could do is worth.

        So every box has an optimum, and its prices are a bound for hours that have more units too.
        """
        tariff = self.tariff
        worth = (tariff.penalty / np.where(tariff.gpu_h > 0, tariff.gpu_h, np.inf)).max(axis=1, initial=0.0)
        units = self.steps.units
        value = (worth[self.steps.deployment] * self.gpus)[:, None] / np.where(units > 0, units, np.inf)
        most: Array = 2 * value.max(axis=0, initial=0.0)
        return most

    def weight(self, terms: Terms) -> Array:
        """[n] USD, about what a step more or less matters; what is scarce matters as much as the dearest."""
        scarce = (self.steps.units > 0).any(axis=1)
        weight: Array = np.where(self.steps.whole, np.where(scarce, terms.usd.max(initial=1.0), terms.usd), 0.0)
        return weight

    def ask(self, demand: Array, terms: Terms) -> None:
        """Set the hour's demand and terms."""
        b = self.constant.copy()
        b[: len(demand)] += demand
        there = self.capacity >= 0
        b[self.capacity[there]] += (self.tariff.gpus * terms.base)[there]
        self.programme.right_hand_side(np.concatenate([b, terms.limits]))
        self.programme.prices(self.numbers, terms.usd)

    def prices(self, duals: list[Array]) -> Prices:
        """Scarcity prices from the duals of the hour's rows."""
        count = len(self.names)
        dual = np.array(duals).reshape(len(duals), count + self.steps.units.shape[1])
        prices = self.tariff.from_duals(self.m, self.names, dual[:, :count], rent=False)
        return replace(prices, unit=np.maximum(-dual[:, count:], 0.0))

    def solve(self, least: Array, most: Array) -> tuple[float, Array, Array]:
        """Cost, N and row duals with N in this box."""
        self.programme.box(self.numbers, least, most)
        usd, x, dual = self.programme.solve()
        return usd, x[self.numbers], dual

    def has(self, number: Array, terms: Terms) -> bool:
        """Whether there are units enough for N."""
        return bool((number @ self.steps.units <= terms.limits + _WHOLE).all())


@dataclass(eq=False)
class _Growing:
    """A tree while it grows: open nodes by their bound, leaves, and the whole N met."""

    hour: Hour
    terms: Terms
    best: float = math.inf
    order: Any = field(default_factory=itertools.count)
    heap: list[tuple[float, int, Array, Array, Array, Array]] = field(default_factory=list)
    leaves: list[tuple[Array, Array, Array]] = field(default_factory=list)
    points: dict[tuple[int, ...], Array] = field(default_factory=dict)

    def add(self, least: Array, most: Array) -> None:
        if (least <= most).all():
            usd, number, dual = self.hour.solve(least, most)
            heapq.heappush(self.heap, (usd, next(self.order), least, most, number, dual))

    def off(self, number: Array) -> Array:
        """By how much each N that must be whole is not, weighed by its price; what is free can be rounded up."""
        off = np.abs(number - np.round(number))
        return np.where(off > _WHOLE, off * self.hour.weight(self.terms), 0.0)

    def guess(self, number: Array, least: Array, most: Array) -> None:
        """Try this N rounded up and to the nearest."""
        for rounded in (np.ceil(number - _WHOLE), np.round(number)):
            whole = np.clip(np.where(self.hour.steps.whole, rounded, number), least, most)
            if tuple(whole.round(6)) not in self.points and self.hour.has(whole, self.terms):
                usd, _, dual = self.hour.solve(whole, whole)
                self.points[tuple(whole.round(6))] = dual
                self.best = min(self.best, usd)


def grow(hour: Hour, demand: Array, terms: Terms, reference: Array, *, enough: float, nodes: int) -> Tree:
    """Branch and bound for one hour until its bound reaches `enough` or is exact, at most so many nodes."""
    hour.ask(demand, terms)
    tree = _Growing(hour, terms)
    tree.add(np.zeros(len(terms.usd)), terms.most)
    for node in range(nodes):
        if not tree.heap or tree.heap[0][0] >= min(enough, tree.best) - 1e-9 * (1 + abs(enough)):
            break
        usd, _, least, most, number, dual = heapq.heappop(tree.heap)
        off = tree.off(number)
        if not off.any():
            whole = np.where(hour.steps.whole, np.ceil(number - _WHOLE), number)
            if hour.has(whole, terms):
                tree.best = min(tree.best, usd)
                tree.points[tuple(whole.round(6))] = dual
            tree.leaves.append((least, most, dual))
            continue
        if node < 8:
            tree.guess(number, least, most)
        d = int(np.argmax(off))
        below, above = most.copy(), least.copy()
        below[d], above[d] = math.floor(number[d]), math.floor(number[d]) + 1
        tree.add(least, below)
        tree.add(above, most)
    leaves = tree.leaves + [(least, most, dual) for _, _, least, most, _, dual in tree.heap]
    points = np.array(list(tree.points)).reshape(-1, len(terms.usd))
    least, most = (np.array([leaf[end] for leaf in leaves]) for end in (0, 1))
    return Tree(
        reference, least, most, hour.prices([leaf[2] for leaf in leaves]), points,
        hour.prices(list(tree.points.values())),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Asked:
    """Hours of epoch m on the same terms: `demand[t, k]`, and `reference[t, n]`, what each takes if N divides."""

    m: int
    terms: Terms
    demand: Array
    reference: Array

    def take(self, rows: Ints) -> Asked:
        """Some of the hours."""
        return Asked(self.m, self.terms, self.demand[rows], self.reference[rows])


def nearest(hour: Hour, tree: Tree, asked: Asked, count: int) -> Ints:
    """The hours most like the one the tree was grown for: by how far, once moved, their N are from its N, in USD."""
    by = asked.reference - tree.reference
    away = np.abs(by - np.round(by)) @ hour.weight(asked.terms)
    return np.argsort(away, kind="stable")[:count]


def bounds(hour: Hour, tree: Tree, asked: Asked) -> Array:
    """[t] the tree's lower bound on h: in every leaf that of the best prices of any leaf, then the least leaf.

    A side of a box that no branching made moves with nothing: it ends where the hour's own steps end.
    """
    own, shift = asked.terms.most, _shift(hour, tree, asked)
    split_low, split_high = tree.least > 0, tree.most < tree.most.max(axis=0)
    low = np.where(split_low, np.maximum(tree.least + shift[:, None, :], 0.0), 0.0)
    high = np.minimum(np.where(split_high, tree.most + shift[:, None, :], own), own)
    value = _best(hour, asked, tree.prices, low, high)
    value[((low > high) | (high < 0)).any(axis=2)] = np.inf
    least: Array = value.min(axis=1)
    return least


def promises(hour: Hour, tree: Tree, asked: Asked) -> tuple[Array, Array]:
    """[t, n] the one of the tree's whole N, moved, that promises least, and [t] a lower bound on what it costs."""
    points = np.minimum(np.maximum(tree.points + _shift(hour, tree, asked)[:, None, :], 0.0), asked.terms.most)
    value = _best(hour, asked, Prices.join([tree.prices, tree.point_prices]), points, points)
    everything, best = np.arange(len(value)), np.argmin(value, axis=1)
    return points[everything, best], value[everything, best]


def _shift(hour: Hour, tree: Tree, asked: Asked) -> Array:
    by = asked.reference - tree.reference
    return np.where(hour.steps.whole, np.round(by), by)


def _best(hour: Hour, asked: Asked, prices: Prices, low: Array, high: Array) -> Array:
    """[t, box] the highest lower bound that any of the prices gives with N in the box [low, high] of that hour.

    Where a box has no end, prices at which a GPU-hour is worth more than it costs give none.
    """
    tariff, terms = hour.tariff, asked.terms
    deployment, gpu_h = hour.steps.deployment, prices.gpu_h.copy()
    usd = terms.usd + prices.unit @ hour.steps.units.T
    over = gpu_h[:, deployment] * hour.gpus - usd
    fair = np.where((over > 0) & (over <= _ROUNDING * (1 + usd)), usd / hour.gpus, np.inf)
    np.minimum.at(gpu_h.T, deployment, fair.T)
    worth = tariff.worth(asked.m, replace(prices, gpu_h=gpu_h))
    limits = tariff.limits_usd(prices) + prices.unit @ terms.limits
    flat = asked.demand @ worth.T - (limits + gpu_h @ (tariff.gpus * terms.base))
    margin = usd - gpu_h[:, deployment] * hour.gpus
    paid, earned = np.maximum(margin, 0.0), np.where(margin < -_ROUNDING / 2 * (1 + usd), -margin, 0.0)
    finite = np.where(np.isfinite(high), high, _ENDLESS)
    value = np.empty(low.shape[:2])
    for start in range(0, len(low), _CHUNK):
        part = slice(start, start + _CHUNK)
        value[part] = (flat[part, None, :] + low[part] @ paid.T - finite[part] @ earned.T).max(axis=2)
    return value
