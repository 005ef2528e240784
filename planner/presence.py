"""What keeping a model warm costs, known while a fleet is chosen: in an idle hour its presence is asked for.

`warm.py` pays for a replica in the idle hours of a month in which a model serves. Unknown to the choice, these hours
made GPUs by the hour look cheap that in the end ran night and day. So each group of `Problem.warm` gets a class of its
own: one request in every hour in which none of its work comes, served by its deployments with a thousandth of a
replica's time, which takes a whole one. Where nobody serves it, it costs what its part of the cheapest unit by the hour
costs, since that is what `warm.py` will rent.

It is asked for in a month in which doing without the group (APIs, leaving work out) is certainly dearer than replicas
for all its work at every hour, so it serves in every plan worth having and the bound holds for plans that are kept
warm. Elsewhere nothing is asked, and the bound is lower for it. The thousandth is work that nobody does: its power is
taken off the bound (`slack_usd`), and the class is gone from the plan (`without`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from planner.dispatch import Dispatch, Hours
from planner.islands import is_enough
from planner.problem import Array, Blocks, Ints, Offer, Problem
from planner.same_matrix import Flags
from planner.solver import Fleet

_PART = 1e-3
"""Of a replica's time that presence takes: far above what a solver calls zero."""


@dataclass(frozen=True, eq=False)
class _Presence:
    """One group's class: GPU time by deployment (None: not of the group), requests per hour, price of doing without."""

    times: tuple[float | None, ...]
    demand: Array
    usd: float


def with_presence(problem: Problem) -> Problem:
    """The problem with a class for every group that is kept warm, behind its own classes."""
    found = [one for group in problem.warm for one in _presences(problem, group)]
    if not found:
        return problem
    names = tuple(f"present.{i}" for i in range(len(found)))
    return replace(
        problem,
        classes=(*problem.classes, *names),
        blocks=Blocks(
            problem.blocks.epoch,
            problem.blocks.weight_h,
            np.column_stack([problem.blocks.demand, *(one.demand for one in found)]),
        ),
        deployments=tuple(
            replace(deployment, gpu_h_per_request=(*deployment.gpu_h_per_request, *(one.times[d] for one in found)))
            for d, deployment in enumerate(problem.deployments)
        ),
        endpoints=tuple(
            replace(
                endpoint,
                usd_per_request=(*endpoint.usd_per_request, *(None for _ in found)),
                tokens_per_request=(*endpoint.tokens_per_request, *(0.0 for _ in found))
                if endpoint.tokens_per_request
                else (),
            )
            for endpoint in problem.endpoints
        ),
        unserved_usd_per_request=(*problem.unserved_usd_per_request, *(one.usd for one in found)),
    )


def slack_usd(problem: Problem, asked: Problem) -> float:
    """Present value of the power that presence takes in `asked`, at most: the bound of `problem` is lower by it."""
    busy = max((pool.busy_usd_per_gpu_h for pool in problem.pools), default=0.0)
    most = max((deployment.gpus_per_replica for deployment in problem.deployments), default=0.0)
    discount = np.array([epoch.discount for epoch in problem.epochs])
    hours = asked.blocks.weight_h * discount[asked.blocks.epoch]
    idle = (asked.blocks.demand[:, len(problem.classes) :] > 0).sum(axis=1)
    return float(hours @ idle) * busy * most * _PART


def without(hours: Hours, fleet: Fleet, dispatch: Dispatch) -> Dispatch:
    """The hours of the problem that `hours` is of, from those in which presence was asked for."""
    if dispatch.marginal_usd.shape[1] == len(hours.problem.classes):
        return dispatch
    matrix = hours.matrix(fleet)
    place = {column: i for i, column in enumerate(dispatch.matrix.columns)}
    values = dispatch.values[:, [place[column] for column in matrix.columns]]
    usd = (values * matrix.cost_usd[hours.problem.blocks.epoch]).sum(axis=1)
    marginal = dispatch.marginal_usd[:, : len(hours.problem.classes)]
    return replace(dispatch, matrix=matrix, values=values, usd_per_h=usd, marginal_usd=marginal)


def _presences(problem: Problem, group: tuple[str, ...]) -> Iterator[_Presence]:
    here = [d for d, deployment in enumerate(problem.deployments) if deployment.name in group]
    classes = _classes(problem, here)
    idle: Flags = np.asarray((problem.blocks.demand[:, classes] <= 0).all(axis=1))
    demand = np.zeros(len(idle))
    for m in np.unique(problem.blocks.epoch):
        rows = np.flatnonzero(problem.blocks.epoch == m)
        if idle[rows].any() and _must_serve(problem, here, classes, rows):
            demand[rows] = idle[rows]
    if demand.any():
        times = tuple(_PART * one.gpus_per_replica if d in here else None for d, one in enumerate(problem.deployments))
        part_usd = [usd for d in here for m in range(len(problem.epochs)) for _, usd in _by_hour(problem, d, m)]
        yield _Presence(times, demand, min(part_usd))


def _classes(problem: Problem, here: list[int]) -> Ints:
    """The classes that these deployments serve; none where others serve one of them too."""
    mine = [d in here for d in range(len(problem.deployments))]
    serves = np.array([[time is not None for time in d.gpu_h_per_request] for d in problem.deployments])
    classes: Ints = np.flatnonzero(serves[mine].any(axis=0))
    return classes if not serves[np.logical_not(mine)][:, classes].any() else classes[:0]


def _must_serve(problem: Problem, here: list[int], classes: Ints, rows: Ints) -> bool:
    """Whether to do without these blocks' work costs more than one deployment's replicas for all of it, always on."""
    m = int(problem.blocks.epoch[rows[0]])
    demand, weight_h = problem.blocks.demand[np.ix_(rows, classes)], problem.blocks.weight_h[rows]
    otherwise_usd = [
        min([problem.unserved_usd_per_request[k]]
            + [usd * e.price_factor(m) for e in problem.endpoints if (usd := e.usd_per_request[k]) is not None])
        for k in classes
    ]  # fmt: skip
    without_usd = float(weight_h @ (demand @ np.array(otherwise_usd)))
    for d in here:
        times = [problem.deployments[d].gpu_h_per_request[k] for k in classes]
        if all(time is not None for time in times):
            size = problem.deployments[d].gpus_per_replica
            replicas = np.ceil((demand @ np.array(times, dtype=float)).max(initial=0.0) / size)
            for offer, part_usd in _by_hour(problem, d, m):
                part = offer.covers[problem.deployments[d].pool] * size
                always_usd = float(np.ceil(replicas * part - 1e-9)) * part_usd / part * float(weight_h.sum())
                if is_enough(problem, offer) and always_usd < without_usd:
                    return True
    return False


def _by_hour(problem: Problem, d: int, m: int) -> Iterator[tuple[Offer, float]]:
    """Offers by the hour that need no purchase, and USD per hour of a replica's part of a unit in epoch m."""
    deployment = problem.deployments[d]
    for offer in problem.offers:
        if offer.placed == "hour" and not offer.bought and deployment.pool in offer.covers:
            part = offer.covers[deployment.pool] * deployment.gpus_per_replica
            yield offer, part * offer.usage_usd_per_h * offer.price_factor(m)
