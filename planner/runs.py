"""Minimum hours and start-up: what is switched on by the hour runs as long, and starts as early, as it must.

Time couples hours here, and the programme knows no time inside an epoch. So the bound leaves both out (they can only
make a plan dearer, so it stays a bound), and the plan keeps them: hours are settled as always, then gone through in
time order. A unit that takes time to serve is switched on that many whole hours before it is needed. The units that an
hour needs are numbered from the first; each number is a unit of its own that starts when it is needed, runs for the
minimum at least, and is kept through a gap where that costs no more than a new start. What then runs anyway, and has
started, serves for nothing: the hours are dispatched again with it.

Blocks must be single hours in time order; identical ones are not joined (`solve.py`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.dispatch import Dispatch, Hours
from planner.problem import Array, Blocks, Offer, Problem
from planner.solver import Fleet
from planner.whole import settled_as


def takes_time(problem: Problem) -> bool:
    """Whether any offer by the hour has minimum hours or a start-up time."""
    return any(_takes_time(offer) for offer in problem.offers)


def _takes_time(offer: Offer) -> bool:
    return offer.minimum_h > 1 or offer.start_h > 0


def keep_running(hours: Hours, fleet: Fleet, blocks: Blocks, settled: Dispatch) -> Dispatch:
    """The settled hours with every unit started in time and kept on, dispatched again with what then runs anyway."""
    problem = hours.problem
    columns = {key: i for i, key in enumerate(settled.matrix.columns)}
    paid: dict[int, Array] = {}
    wanted = settled.values.copy()
    for o, offer in enumerate(problem.offers):
        if _takes_time(offer):
            early = int(np.ceil(offer.start_h))
            needed = _widest(settled.values[:, columns["on", (o,)]], early)
            paid[o] = units_paid(needed, int(np.ceil(offer.minimum_h)))
            started = -_widest(-paid[o][::-1], early)[::-1]
            here = [d for d, deployment in enumerate(problem.deployments) if deployment.pool in offer.covers]
            if len(here) == 1 and ("rented", (o, here[0])) in columns:
                deployment = problem.deployments[here[0]]
                per_replica = offer.covers[deployment.pool] * deployment.gpus_per_replica
                held = started / per_replica
                wanted[:, columns["rented", (o, here[0])]] = held if deployment.divisible else np.floor(held + 1e-9)
    again = settled_as(hours, fleet, blocks, wanted)
    values = again.values.copy()
    for o, units in paid.items():
        values[:, columns["on", (o,)]] = np.maximum(values[:, columns["on", (o,)]], units)
    usd = (values * again.matrix.cost_usd[blocks.epoch]).sum(axis=1)
    return replace(again, values=values, usd_per_h=usd)


def units_paid(needed: Array, minimum: int) -> Array:
    """[T] units that run when `needed[t]` must and none may stop before it has run for `minimum` hours."""
    paid = np.zeros(len(needed))
    below = 0.0
    for level in np.unique(np.ceil(needed[needed > 0])):
        share = np.minimum(needed, level) - np.minimum(needed, below)
        height = float(share.max())
        for first, last in _runs(needed > below, minimum):
            paid[first:last] += height
        below = float(level)
    return paid


def _widest(units: Array, hours: int) -> Array:
    """[T] the most units of this hour and so many following ones."""
    most = units.copy()
    for later in range(1, min(hours, len(units) - 1) + 1):
        most[:-later] = np.maximum(most[:-later], units[later:])
    return most


def _runs(needed: np.ndarray, minimum: int) -> list[tuple[int, int]]:
    """First and last + 1 hour of every run of a unit that is needed in these hours."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], needed, [False]]).astype(int)))
    runs: list[tuple[int, int]] = []
    for first, last in edges.reshape(-1, 2):
        end = max(int(last), int(first) + minimum)
        if runs and first <= runs[-1][1]:
            runs[-1] = (runs[-1][0], max(runs[-1][1], int(last)))
        elif runs and int(last) - runs[-1][1] <= end - int(first):
            runs[-1] = (runs[-1][0], int(last))
        else:
            runs.append((int(first), end))
    return [(first, min(end, len(needed))) for first, end in runs]
