"""Groups of hours: a start from their means, and lower bounds on their cost from the prices of their hours.

The master decides on fleets against one cost variable per group of hours, bounded from below by planes (Benders 1962,
one cut per group: Birge & Louveaux 1988). A plane comes from scarcity prices of every hour (`scarcity.py`) and holds
for every fleet, whichever prices they are; with the duals of a dispatch it is exact at the fleet dispatched. Nothing
else enters the bound: not the means of the groups, no sample. Groups never cross an epoch.

Prices need not be optimal to be valid. So a fleet is first **sketched**: a few hours of every group are dispatched, and
each hour takes those of their prices that value it highest. That is a tenth of the work for a bound that is a few
hundredths of a per cent lower; only fleets that the master proposes twice are dispatched in every hour.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from planner.dispatch import Hours, Priced, dispatch
from planner.master import Level, Plane
from planner.problem import Array, Blocks, Ints, Problem
from planner.scarcity import Prices
from planner.solver import Fleet


def partition(blocks: Blocks, importance: Array, count: int) -> Ints:
    """At most `count` groups per epoch, by quantile of demand weighed with `importance[k]`, more at the extremes."""
    labels = np.zeros(len(blocks), dtype=np.intp)
    size = blocks.demand @ importance
    cuts = (1 - np.cos(np.pi * np.arange(1, count) / count)) / 2
    total = 0
    for m in np.unique(blocks.epoch):
        rows = np.flatnonzero(blocks.epoch == m)
        limits = np.quantile(size[rows], cuts, method="lower")
        _, groups = np.unique(np.searchsorted(limits, size[rows], side="left"), return_inverse=True)
        labels[rows] = total + groups
        total += int(groups.max()) + 1
    return labels


def importance_of(problem: Problem) -> Array:
    """A scale for demand: the least GPU time, else the least API price, per class."""
    scale = np.ones(len(problem.classes))
    for k in range(len(problem.classes)):
        times = [d.gpu_h_per_request[k] for d in problem.deployments if d.gpu_h_per_request[k] is not None]
        prices = [e.usd_per_request[k] for e in problem.endpoints if e.usd_per_request[k] is not None]
        scale[k] = min((value for value in (times or prices) if value is not None), default=1.0)
    return scale


def at_means(blocks: Blocks, labels: Ints) -> Blocks:
    """One block per group: the hours' total weight and weighted mean demand."""
    weight: Array = np.bincount(labels, weights=blocks.weight_h).astype(np.float64)
    epoch = np.zeros(len(weight), dtype=np.intp)
    epoch[labels] = blocks.epoch
    return Blocks(epoch, weight, means(blocks, labels, blocks.demand))


def plane(
    hours: Hours,
    blocks: Blocks,
    labels: Ints,
    priced: Priced,
    extra_usd: Array | float = 0.0,
    *,
    level: Level | None = None,
) -> Plane:
    """The prices of every hour as one lower bound per group; `extra_usd[t]` is what whole numbers add for sure.

    `level.usd` is given per block.
    """
    row, tariff, problem = priced.row, hours.tariff, hours.problem
    usd = (priced.worth[row] * blocks.demand).sum(axis=1) - priced.limit_usd[row] + extra_usd
    unit = np.zeros((len(priced.worth), len(problem.offers)))
    unit[:, tariff.hourly] = priced.unit_usd
    replica = priced.prices.gpu_h * tariff.gpus
    mean_usd = means(blocks, labels, usd[:, None])[:, 0]
    if level is not None:
        level = replace(level, usd=means(blocks, labels, level.usd[:, None])[:, 0])
    return Plane(mean_usd, means(blocks, labels, replica[row]), means(blocks, labels, unit[row]), level)


def unpriced(hours: Hours, blocks: Blocks) -> Priced:
    """Nothing is scarce: what hours cost at least with any fleet whatever."""
    problem, tariff = hours.problem, hours.tariff
    epochs = len(problem.epochs)
    free = [np.zeros((epochs, count)) for count in (len(problem.deployments), len(problem.endpoints))]
    prices = Prices(free[0], free[1], free[1], np.zeros((epochs, 0)))
    worth = np.vstack([tariff.worth(m, prices.take(np.array([m]))) for m in range(epochs)])
    usd = (worth[blocks.epoch] * blocks.demand).sum(axis=1)
    nothing = np.zeros((epochs, len(tariff.hourly)))
    return Priced(
        hours.form.bare, None, blocks.epoch, None, usd, blocks.epoch, np.arange(epochs), prices, worth, nothing,
        np.zeros(epochs),
    )  # fmt: skip


def sketch(hours: Hours, fleet: Fleet, blocks: Blocks, sample: Ints) -> Priced:
    """Lower bounds on every hour with `fleet` from the prices of the hours in `sample`; `x` is not known."""
    some = Blocks(blocks.epoch[sample], blocks.weight_h[sample], blocks.demand[sample])
    priced = dispatch(hours, fleet, some)
    earned = earnings(hours, priced, fleet)
    usd, best = np.zeros(len(blocks)), np.zeros(len(blocks), dtype=np.intp)
    for m, group in priced.matrix.price_books:
        here, rows = np.flatnonzero(np.isin(blocks.epoch, group)), np.flatnonzero(priced.row_epoch == m)
        if len(here):
            value = blocks.demand[here] @ priced.worth[rows].T - earned[rows][:, blocks.epoch[here]].T
            best[here], usd[here] = rows[np.argmax(value, axis=1)], value.max(axis=1)
    return replace(priced, epoch=blocks.epoch, reduced=None, x=None, usd_per_h=usd, row=best)


def earnings(hours: Hours, priced: Priced, fleet: Fleet) -> Array:
    """[row, epoch] what the fleet and the limits earn per hour at each of the prices."""
    active = hours.problem.active_units(fleet.buy)[hours.tariff.hourly]
    earned: Array = priced.prices.gpu_h @ (hours.tariff.gpus[:, None] * fleet.replicas) + priced.unit_usd @ active
    return earned + priced.limit_usd[:, None]


def sample_of(blocks: Blocks, labels: Ints, importance: Array, each: int) -> Ints:
    """A few hours of every group, evenly by the size of their demand."""
    size = blocks.demand @ importance
    order = np.lexsort((size, labels))
    starts = np.searchsorted(labels[order], np.arange(int(labels.max()) + 2))
    picked = [
        np.unique(np.linspace(first, last - 1, each).round().astype(np.intp))
        for first, last in itertools.pairwise(starts)
    ]
    return np.sort(order[np.concatenate(picked)])


def busiest(problem: Problem) -> Ints:
    """The busiest hour of every epoch for every deployment, each once."""
    found: set[int] = set()
    blocks = problem.blocks
    for deployment in problem.deployments:
        work = blocks.demand @ np.array([time or 0.0 for time in deployment.gpu_h_per_request])
        for m in np.unique(blocks.epoch):
            rows = np.flatnonzero(blocks.epoch == m)
            found.add(int(rows[np.argmax(work[rows])]))
    return np.array(sorted(found), dtype=np.intp)


def means(blocks: Blocks, labels: Ints, values: Array) -> Array:
    """Weighted mean of every column over each group's hours."""
    weight = np.bincount(labels, weights=blocks.weight_h)
    sums = np.zeros((len(weight), values.shape[1]))
    for column in range(values.shape[1]):
        sums[:, column] = np.bincount(labels, weights=blocks.weight_h * values[:, column])
    means: Array = sums / weight[:, None]
    return means
