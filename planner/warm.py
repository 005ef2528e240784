"""A model that GPUs alone serve keeps one replica warm: weights take minutes to load, and no latency promise waits.

In a month in which any of a group's deployments serves, one replica of the group runs in every hour of it. Owned and
reserved replicas run anyway; a model that is served on demand alone pays for a replica through its idle hours, or
leaves the month to APIs, whichever is cheaper. This couples hours that the programme takes one by one, so it is settled
here, after a fleet is chosen. Where a model must serve, the choice and the bound know of it (`presence.py`); where it
may leave a month, the bound leaves it out (it can only make a plan dearer).

Which models that concerns is said by `Problem.warm`; `assemble.py` names those that no API can take over meanwhile.
"""

from __future__ import annotations

import numpy as np

from planner.dispatch import Dispatch, Hours
from planner.problem import Array, Blocks, Ints, Problem
from planner.solver import Fleet
from planner.whole import can_rent, settled_as

_NOTHING = 1e-9


def keep_warm(hours: Hours, fleet: Fleet, blocks: Blocks, settled: Dispatch) -> Dispatch:
    """The settled hours with a replica of every group of `Problem.warm` in every hour of a month in which it serves."""
    problem = hours.problem
    wanted = settled.values.copy()
    for group in problem.warm:
        rented = _columns(settled, problem, "rented", group)
        for m, cold in _cold(problem, fleet, blocks, settled, group):
            rows = np.flatnonzero(blocks.epoch == m)
            part = Blocks(blocks.epoch[rows], blocks.weight_h[rows], blocks.demand[rows])
            trials = [_without(wanted[rows], rented)]
            trials += [_with_one(wanted[rows], column, np.isin(rows, cold)) for column in rented]
            usd = [_usd(hours, fleet, part, trial) for trial in trials]
            wanted[rows] = trials[int(np.argmin(usd))]
    if not problem.warm or (wanted == settled.values).all():
        return settled
    return settled_as(hours, fleet, blocks, wanted)


def _cold(
    problem: Problem, fleet: Fleet, blocks: Blocks, hours: Dispatch, group: tuple[str, ...]
) -> list[tuple[int, Ints]]:
    """Epochs in which the group serves, with the blocks of it in which none of its replicas runs."""
    here = [d for d, deployment in enumerate(problem.deployments) if deployment.name in group]
    served = hours.values[:, _columns(hours, problem, "served", group)].sum(axis=1)
    running = fleet.replicas[here][:, blocks.epoch].sum(axis=0)
    running = running + hours.values[:, _columns(hours, problem, "rented", group)].sum(axis=1)
    idle = _NOTHING * (1 + blocks.demand.max(initial=0.0))
    found = []
    for m in np.unique(blocks.epoch):
        rows = np.flatnonzero(blocks.epoch == m)
        cold = rows[running[rows] < 1 - 1e-6]
        if len(cold) and served[rows].max() > idle:
            found.append((int(m), cold))
    return found


def _columns(hours: Dispatch, problem: Problem, family: str, group: tuple[str, ...]) -> Ints:
    names = [deployment.name for deployment in problem.deployments]
    return np.array(
        [i for i, (f, key) in enumerate(hours.matrix.columns) if f == family and names[key[1]] in group], dtype=np.intp
    )


def _without(values: Array, rented: Ints) -> Array:
    trial = values.copy()
    trial[:, rented] = 0.0
    return trial


def _with_one(values: Array, column: int, cold: np.ndarray) -> Array:
    trial = values.copy()
    trial[cold, column] = np.maximum(trial[cold, column], 1.0)
    return trial


def _usd(hours: Hours, fleet: Fleet, blocks: Blocks, wanted: Array) -> float:
    """What these hours cost so; endless where the stock does not reach."""
    if not can_rent(hours, fleet, blocks, wanted):
        return float("inf")
    return float(blocks.weight_h @ settled_as(hours, fleet, blocks, wanted).usd_per_h)
