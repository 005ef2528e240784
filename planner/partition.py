"""Clusters of hours: a small master programme whose optimum is a true lower bound, refined where it is loose.

For a fixed fleet the cost of an hour is convex in its demand (a linear programme's value in its right-hand side), so
the cost of a cluster at its mean demand is at most the cost of its hours (Jensen). A master over clusters at their
mean, **with divisible hours**, therefore bounds the whole horizon from below; whole numbers inside such a cluster would
break the argument, whole purchases and placements do not. Clusters never cross an epoch.

The bound is loose where hours of one cluster have different duals; such clusters are split along them. Every hour's
dual gives a plane that supports the cost function; with the planes of the hours that lose most as anchors, every hour
goes to the plane that values it highest. Adaptive partition method: Espinoza & Moreno, Comput. Optim. Appl. 2014; Song
& Luedtke, SIAM J. Optim. 2015.
"""

from __future__ import annotations

import numpy as np

from planner.dispatch import Dispatch
from planner.problem import Array, Blocks, Ints

_FIRST_CUTS = (0.05, 0.25, 0.5, 0.75, 0.95)
_ANCHORS = 4


def first_partition(blocks: Blocks, importance: Array) -> Ints:
    """Labels by epoch and by quantile of the demand weighed with `importance[k]` (cost per request of each class)."""
    labels = np.zeros(len(blocks), dtype=np.intp)
    size = blocks.demand @ importance
    total = 0
    for m in np.unique(blocks.epoch):
        rows = np.flatnonzero(blocks.epoch == m)
        cuts = np.quantile(size[rows], _FIRST_CUTS, method="lower")
        groups = np.searchsorted(cuts, size[rows], side="left")
        _, groups = np.unique(groups, return_inverse=True)
        labels[rows] = total + groups
        total += int(groups.max()) + 1
    return labels


def cluster(blocks: Blocks, labels: Ints) -> Blocks:
    """One block per label: the hours' total weight and weighted mean demand."""
    weight: Array = np.bincount(labels, weights=blocks.weight_h).astype(np.float64)
    demand = np.column_stack([np.bincount(labels, weights=blocks.weight_h * column) for column in blocks.demand.T])
    epoch = np.zeros(len(weight), dtype=np.intp)
    epoch[labels] = blocks.epoch
    return Blocks(epoch, weight, demand / weight[:, None])


def split(blocks: Blocks, labels: Ints, fine: Dispatch, coarse: Dispatch, *, enough: float) -> Ints:
    """Split the clusters that explain the gap (all but `enough` of it, a share) along the duals of their hours.

    `fine` is the dispatch of every hour, `coarse` of the clusters at their mean, both with the same fleet. Returns new
    labels.
    """
    weight = np.bincount(labels, weights=blocks.weight_h)
    gap = np.bincount(labels, weights=blocks.weight_h * fine.usd_per_h) - weight * coarse.usd_per_h
    order = np.argsort(-gap, kind="stable")
    explained = np.cumsum(gap[order]) / max(gap.sum(), 1e-300)
    chosen = order[: int(np.searchsorted(explained, 1 - enough)) + 1]
    result = labels.copy()
    total = int(labels.max()) + 1
    for label in chosen:
        rows = np.flatnonzero(labels == label)
        groups = _groups(blocks.demand[rows], blocks.weight_h[rows], fine.marginal_usd[rows], fine.usd_per_h[rows])
        for group in range(1, int(groups.max()) + 1):
            result[rows[groups == group]] = total
            total += 1
    return result


def _groups(demand: Array, weight: Array, slope: Array, usd: Array) -> Ints:
    """Each hour's group: the anchor plane that values it highest; anchors are where the others lose most."""
    offset = usd - (slope * demand).sum(axis=1)
    mean = np.average(demand, axis=0, weights=weight)
    anchors = [int(np.argmax(slope @ mean + offset))]
    for _ in range(_ANCHORS - 1):
        loss = weight * (usd - (demand @ slope[anchors].T + offset[anchors]).max(axis=1))
        worst = int(np.argmax(loss))
        if loss[worst] <= 1e-9 * (weight * np.abs(usd)).sum():
            break
        anchors.append(worst)
    planes = demand @ slope[anchors].T + offset[anchors]
    _, groups = np.unique(np.argmax(planes, axis=1), return_inverse=True)
    return groups.astype(np.intp)
