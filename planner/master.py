r"""The search's master: what is bought and placed, against lower bounds on what hours cost with it.

In place of the blocks' own variables (`programme.py`) there is one cost per block, bounded from below by planes
(Benders 1962): linear in the fleet, each holds for every fleet.

Variables (all >= 0)
    cost[t]          USD per hour of block t
    usable[o,m]      units of a commitment used by the hour that whole replicas can use
    times[o,i,m]     as many of each size i                                             whole
    beyond[o,m,u]    1 only where usable exceeds u                                      0 or 1

What hours save by a commitment comes in steps: a commitment of half a replica saves nothing. No plane can follow a
step, but every hour uses whole multiples of the replicas' sizes, so the most that any hour of the epoch uses is such a
sum: `usable` stands for it. A plane may also hold up to a level u of usable units only; beyond that it lets go.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from planner.kinks import Bends, Kink, over_rows, past_rows
from planner.problem import Array, Offer, Problem
from planner.programme import (
    FIRST_STAGE,
    Programme,
    Relax,
    Row,
    Term,
    active,
    begin,
    new_row,
    new_variable,
    set_objective,
    state,
)

_HAIR = 1e-7
_MOST_SUMS = 20_000


@dataclass(frozen=True, eq=False)
class Level:
    """A plane holds where no commitment has more usable units than `units[o, m]` (infinite: not of its island).

    Elsewhere it is lower by `usd[t]` per hour, as low as if commitments were free.
    """

    units: Array
    usd: Array


@dataclass(frozen=True, eq=False)
class Plane:
    """A lower bound on the cost of some blocks, linear in the fleet: `usd[t] - replica[t] r[m(t)] - unit[t] active`.

    USD per hour; `replica_usd[t, d]` per replica, `unit_usd[t, o]` per active unit of an hour-placed offer. They are
    the blocks from `first` on: those of an island (`islands.py`).
    """

    usd: Array
    replica_usd: Array
    unit_usd: Array
    level: Level | None = None
    first: int = 0
    kink: Kink | None = None


@dataclass(eq=False)
class Master:
    """The master while it is built; `programme` is what is solved."""

    programme: Programme
    planes: tuple[Plane, ...]
    usable: dict[tuple[int, int], Any] = field(default_factory=dict)
    times: dict[tuple[int, int, int], Any] = field(default_factory=dict)
    beyond: dict[tuple[int, int, float], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.bends = Bends(self.programme)


def build_master(
    problem: Problem, planes: tuple[Plane, ...], relax: Relax, name: str = "master", buy: Array | None = None
) -> Programme:
    """State what is bought and placed, with the blocks' costs bounded from below by `planes` in place of the blocks.

    Levels and kinks hold for whole fleets only: where purchases or placement are relaxed, they are left out. With
    `buy[o, m]` the purchases are these.
    """
    programme = begin(problem, relax, name)
    if buy is not None:
        for key, variable in programme.buy.items():
            variable.lowBound = variable.upBound = float(buy[key])
    fractions = relax.purchases or relax.placement
    master = Master(programme, tuple(p for p in planes if not (fractions and (p.level or p.kink))))
    for block in range(len(problem.blocks)):
        programme.cost[block] = new_variable(programme, f"cost.{block}")
    if not fractions:
        usable_variables(master)
        beyond_variables(master)
        kink_variables(master)
    set_objective(programme)
    for family in FIRST_STAGE:
        state(programme, family(programme))
    for rows in MASTER:
        state(programme, rows(master))
    return programme


def whole_use(problem: Problem) -> list[int]:
    """Commitments used by the hour that whole replicas use, divisible or not."""
    found = []
    for o, offer in enumerate(problem.offers):
        here = [d for d in problem.deployments if d.pool in offer.covers]
        if offer.placed == "hour" and offer.bought and here and not any(d.divisible for d in here):
            found.append(o)
    return found


def usable_variables(master: Master) -> None:
    """usable[o,m], and times[o,i,m] where the commitment divides."""
    programme = master.programme
    problem = programme.problem
    for o in whole_use(problem):
        offer = problem.offers[o]
        for m, epoch in enumerate(problem.epochs):
            master.usable[o, m] = new_variable(programme, f"usable.{offer.name}@{epoch.name}")
            for i in range(0 if offer.whole else len(_sizes(problem, offer))):
                master.times[o, i, m] = new_variable(programme, f"times.{offer.name}.{i}@{epoch.name}", True)


def beyond_variables(master: Master) -> None:
    """beyond[o,m,u] for every level u of a plane."""
    programme = master.programme
    problem = programme.problem
    for plane in master.planes:
        for o, m in _held(master, plane):
            assert plane.level is not None
            key = o, m, _rounded(plane.level.units[o, m])
            if key not in master.beyond:
                name = f"beyond.{problem.offers[o].name}@{problem.epochs[m].name}.{len(master.beyond)}"
                master.beyond[key] = new_variable(programme, name, True, 1.0)


def kink_variables(master: Master) -> None:
    """over[d,m,u] and past[d,m,u] of every kink (`kinks.py`)."""
    for plane in master.planes:
        if plane.kink is not None:
            master.bends.add(plane.kink)


def usable_units(master: Master) -> Iterator[Row]:
    """usable[o,m] <= active(o,m)."""
    problem = master.programme.problem
    for (o, m), variable in master.usable.items():
        bought, there = active(master.programme, o, m)
        units = [(purchase, -count) for purchase, count in bought]
        yield f"usable_units.{_at(problem, o, m)}", new_row([(variable, 1.0), *units], "<=", there)


def usable_sizes(master: Master) -> Iterator[Row]:
    """usable[o,m] = sum_i size[o,i] times[o,i,m]."""
    problem = master.programme.problem
    for (o, m), variable in master.usable.items():
        if (o, 0, m) in master.times:
            sizes = [(master.times[o, i, m], -size) for i, size in enumerate(_sizes(problem, problem.offers[o]))]
            yield f"usable_sizes.{_at(problem, o, m)}", new_row([(variable, 1.0), *sizes], "==", 0.0)


def beyond_needed(master: Master) -> Iterator[Row]:
    """usable[o,m] >= (the least use above u) beyond[o,m,u]; nothing gains by a `beyond` that is less than it may be."""
    problem = master.programme.problem
    for i, ((o, m, level), variable) in enumerate(master.beyond.items()):
        above = _next_use(problem, problem.offers[o], level)
        terms = [(master.usable[o, m], 1.0), (variable, -above)]
        yield f"beyond_needed.{_at(problem, o, m)}.{i}", new_row(terms, ">=", 0.0)


def cost_plane(master: Master) -> Iterator[Row]:
    """cost[t] + sum_d replica_usd[t,d] replicas[d,m(t)] + sum_o unit_usd[t,o] active(o,m(t)) >= usd[t], every plane.

    usable[o,m] in place of active(o,m) where there is such a variable; with a level u, level_usd[t] beyond[o,m,u] is
    added on the left.
    """
    epoch = master.programme.problem.blocks.epoch
    for i, plane in enumerate(master.planes):
        for row in range(len(plane.usd)):
            t = plane.first + row
            terms, least = _plane_terms(master, plane, row, int(epoch[t]))
            yield f"cost_plane.{i}.{t}", new_row([(master.programme.cost[t], 1.0), *terms], ">=", least)


def kink_over(master: Master) -> Iterator[Row]:
    """over[d,m,u] + u past[d,m,u] <= replicas[d,m]."""
    return over_rows(master.bends)


def kink_past(master: Master) -> Iterator[Row]:
    """over[d,m,u] <= (most[d,m] - u) past[d,m,u]."""
    return past_rows(master.bends)


MASTER = (usable_units, usable_sizes, beyond_needed, kink_over, kink_past, cost_plane)


def _plane_terms(master: Master, plane: Plane, t: int, m: int) -> tuple[list[Term], float]:
    programme, least = master.programme, float(plane.usd[t])
    terms: list[Term] = []
    for d, usd in enumerate(plane.replica_usd[t]):
        if usd and (d, m) in programme.replicas:
            terms.append((programme.replicas[d, m], float(usd)))
    for o in map(int, np.flatnonzero(plane.unit_usd[t])):
        usd = float(plane.unit_usd[t, o])
        if (o, m) in master.usable:
            terms.append((master.usable[o, m], usd))
        else:
            bought, there = active(programme, o, m)
            terms += [(variable, usd) for variable, _ in bought]
            least -= usd * there
    if plane.level and plane.level.usd[t] > 0:
        here = [o for o, n in _held(master, plane) if n == m]
        beyond = [master.beyond[o, m, _rounded(plane.level.units[o, m])] for o in here]
        terms += [(variable, float(plane.level.usd[t])) for variable in beyond]
    if plane.kink is not None:
        terms += master.bends.terms(plane.kink, t, m)
    return terms, least


def _held(master: Master, plane: Plane) -> list[tuple[int, int]]:
    """The commitments and epochs whose usable units the plane holds to a level."""
    level = plane.level
    return [] if level is None else [(o, m) for o, m in master.usable if math.isfinite(level.units[o, m])]


def _sizes(problem: Problem, offer: Offer) -> list[float]:
    """Units of the offer that one replica of a deployment uses, each once."""
    here = [d for d in problem.deployments if d.pool in offer.covers]
    return sorted({offer.covers[d.pool] * d.gpus_per_replica for d in here})


def _next_use(problem: Problem, offer: Offer, level: float) -> float:
    """The least sum of replicas' sizes above the level, or the next whole unit; the level where there are too many."""
    if offer.whole:
        return math.floor(level + _HAIR) + 1.0
    sums, last = {0.0}, [0.0]
    while last and len(sums) < _MOST_SUMS:
        more = {_rounded(units + size) for units in last if units <= level + _HAIR for size in _sizes(problem, offer)}
        last = list(more - sums)
        sums |= more
    return level if last else min(units for units in sums if units > level + _HAIR)


def _rounded(units: float) -> float:
    return round(float(units), 9)


def _at(problem: Problem, o: int, m: int) -> str:
    return f"{problem.offers[o].name}@{problem.epochs[m].name}"
