"""GPUs that serve alike, whoever owns them, as one: which of them runs which class makes no difference.

A GPU type that is owned, reserved and rented by the hour is several deployments with the same GPU time for every class.
Whatever their prices, every split of the classes over them costs the same: an hour's programme that tells them apart
has as many optimal bases as there are ways to fill them, hundreds, and no basis would serve a second hour (degenerate
duals). So they are one kind here:

    sum_k gpu_h[k] served[k] <= sum_s run[s],   run[s] <= the GPUs of source s,   at so many USD per GPU-hour of s

with a source for every deployment that has capacity, and one without limit for every ample offer by the hour. Of every
class the sources run the same share of what they run of all.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from planner.problem import Array, Problem
from planner.solver import HourMatrix

Place = dict[tuple[str, tuple[int, ...]], int]


class Source(NamedTuple):
    """The capacity of a deployment, or what an offer (-1: none) rents out for it without limit."""

    deployment: int
    offer: int = -1


def alike(problem: Problem, held: set[int], rentable: list[tuple[int, ...]]) -> list[tuple[Source, ...]]:
    """The sources of every kind that has several, one of them `held`; `rentable` are (offer, deployment)."""
    groups: dict[tuple[float | None, ...], list[Source]] = {}
    for source in [*(Source(d) for d in sorted(held)), *(Source(d, o) for o, d in rentable)]:
        groups.setdefault(problem.deployments[source.deployment].gpu_h_per_request, []).append(source)
    return [tuple(sources) for sources in groups.values() if len(sources) > 1 and sources[0].offer < 0]


class Kind:
    """The columns [served by class | run by source] of one kind, of which the classes can save something in some epoch.

    `rows` are their coefficients in the rows of the full matrix (what is served is balanced, what has a capacity keeps
    to it), `run` those in the kind's own row.
    """

    def __init__(self, problem: Problem, matrix: HourMatrix, sources: tuple[Source, ...], out_usd: Array) -> None:
        place = {column: i for i, column in enumerate(matrix.columns)}
        times = problem.deployments[sources[0].deployment].gpu_h_per_request
        cost = np.array([_usd_per_gpu_h(problem, matrix, place, source) for source in sources])
        able = [
            k for k, time in enumerate(times) if time is not None and (cost.min(axis=0) * time < out_usd[:, k]).any()
        ]
        self.sources, self.classes = sources, np.array(able, dtype=np.intp)
        time = np.array([times[k] for k in able], dtype=float)
        self.count = len(able) + len(sources)
        self.run = np.concatenate([time, -np.ones(len(sources))])
        self.cost_usd = np.hstack([np.zeros((len(matrix.cost_usd), len(able))), cost.T])
        self.rows = np.zeros((len(matrix.rows), self.count))
        self.rows[able, np.arange(len(able))] = 1.0
        for i, source in enumerate(sources):
            if source.offer < 0:
                name = f"capacity.{problem.deployments[source.deployment].name}"
                self.rows[matrix.rows.index(name), len(able) + i] = 1.0
        self._served = {
            s.deployment: np.array([place["served", (k, s.deployment)] for k in able], dtype=np.intp) for s in sources
        }
        self._rented = {s: _rented(problem, place, s) for s in sources if s.offer >= 0}

    def expand(self, x: Array, values: Array) -> None:
        """Add what these columns say to the full ones."""
        served, run = x[:, : len(self.classes)], x[:, len(self.classes) :]
        total = run.sum(axis=1)
        share = run / np.where(total > 0, total, 1.0)[:, None]
        for i, source in enumerate(self.sources):
            values[:, self._served[source.deployment]] += served * share[:, i, None]
            for column, per_gpu in self._rented.get(source, ()):
                values[:, column] += run[:, i] * per_gpu


def _usd_per_gpu_h(problem: Problem, matrix: HourMatrix, place: Place, source: Source) -> Array:
    """[m] what a GPU-hour of the source costs."""
    pool = problem.pools[problem.pool_index[problem.deployments[source.deployment].pool]]
    usd = np.full(len(matrix.cost_usd), pool.busy_usd_per_gpu_h)
    for column, per_gpu in _rented(problem, place, source) if source.offer >= 0 else ():
        usd += matrix.cost_usd[:, column] * per_gpu
    return usd


def _rented(problem: Problem, place: Place, source: Source) -> tuple[tuple[int, float], ...]:
    """The full columns that a rented GPU takes, and how much of them."""
    deployment = problem.deployments[source.deployment]
    units = problem.offers[source.offer].covers[deployment.pool]
    rented, on = place["rented", (source.offer, source.deployment)], place["on", (source.offer,)]
    return (rented, 1 / deployment.gpus_per_replica), (on, units)
