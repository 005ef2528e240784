"""The hour's programme without what is never scarce.

Most ways to serve a request have no limit that an hour can reach: an API without a token limit, GPUs on demand with
ample stock, leaving the request unserved at its penalty. Of these only the cheapest can ever be used by a class, at a
price per request that is known beforehand: its **way out**. The hour's programme is then: fill what is scarce (GPUs
owned or reserved, limited endpoints and offers) with the requests that save most against their way out. That is a
tenth of the columns, and nothing is lost: `expand` gives the full answer back.

GPUs that serve alike, whoever owns them, are one **kind** (`kinds.py`).

`rent=False` takes hour-placed offers out altogether: the programme of an hour in which replicas are given (their number
is on the right-hand side of the capacity rows).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from planner.kinds import Kind, alike
from planner.problem import Array, Blocks, Ints, Problem
from planner.same_matrix import Flags
from planner.solver import HourMatrix


@dataclass(frozen=True, eq=False)
class Reduced:
    """Rows `A x <= or == b` over [way out of each class | the kept columns of the full matrix | those of kinds].

    `rows` are the kept rows of the full matrix, one row a kind follows; `names` are those of all. `kept` are its kept
    columns, `ways[w]` what one request on way out w adds to the full columns, `way[m, k]` the way out of class k in
    epoch m.
    """

    coefficients: Array
    equality: Flags
    cost_usd: Array
    rows: Ints
    names: tuple[str, ...]
    kept: Ints
    ways: Array
    way: Ints
    kinds: tuple[Kind, ...]

    def right_hand_side(self, b: Array) -> Array:
        """[t, r] of these rows, from [t, r] of the full matrix."""
        return np.hstack([b[:, self.rows], np.zeros((len(b), len(self.kinds)))])

    def key(self) -> tuple[object, ...]:
        """What tells apart the matrices of one problem."""
        kinds = tuple((tuple(kind.classes.tolist()), kind.sources) for kind in self.kinds)
        return tuple(self.rows.tolist()), tuple(self.kept.tolist()), kinds

    def expand(self, epoch: Ints, x: Array) -> Array:
        """The full columns of blocks in these epochs from the reduced ones."""
        count = self.way.shape[1]
        values = np.zeros((len(x), self.ways.shape[1]))
        first = count + len(self.kept)
        values[:, self.kept] = x[:, count:first]
        for k, way in enumerate(self.way.T):
            for w in np.unique(way):
                served = np.where(way[epoch] == w, x[:, k], 0.0)
                for column in np.flatnonzero(self.ways[w]):
                    values[:, column] += served * self.ways[w, column]
        for kind in self.kinds:
            kind.expand(x[:, first : first + kind.count], values)
            first += kind.count
        return values


def reduce(
    problem: Problem, matrix: HourMatrix, blocks: Blocks, *, rent: bool = True, everywhere: bool = False
) -> Reduced:
    """What is scarce in these blocks with the fleet on the matrix's right-hand side (`everywhere`: or could be)."""
    ample = _Ample(problem, matrix, blocks)
    classes, usd = len(problem.classes), matrix.cost_usd
    scarce = {key[0] for family, key in matrix.columns if family == "on" and rent} - ample.offers - ample.absent
    held = _held(problem, matrix, scarce, rent=rent, everywhere=everywhere)
    rentable = [key for family, key in matrix.columns if family == "rented" and key[0] in ample.offers] if rent else []
    shared = alike(problem, held, rentable)
    inside = {source.deployment for sources in shared for source in sources}
    ways, of_class = _ways(problem, matrix, ample, [pair for pair in rentable if pair[1] not in inside])
    price = usd @ ways.T
    way = np.empty((len(usd), classes), dtype=np.intp)
    for k in range(classes):
        mine = np.flatnonzero(of_class == k)
        way[:, k] = mine[np.argmin(price[:, mine], axis=1)]
    out_usd = np.take_along_axis(price, way, axis=1)
    kept = _kept(matrix, ample, out_usd, held - inside, scarce)
    kinds = tuple(Kind(problem, matrix, sources, out_usd) for sources in shared)
    outside = np.eye(len(matrix.rows), classes)  # the balances come first
    wide = np.hstack([outside, matrix.coefficients[:, kept], *(kind.rows for kind in kinds)])
    rows = np.flatnonzero((wide != 0).any(axis=1))
    return Reduced(
        coefficients=np.vstack([wide[rows], *_own_rows(kinds, classes + len(kept))]),
        equality=np.concatenate([matrix.equality[rows], np.zeros(len(kinds), dtype=bool)]),
        cost_usd=np.hstack([out_usd, usd[:, kept], *(kind.cost_usd for kind in kinds)]),
        rows=rows,
        names=(*(matrix.rows[r] for r in rows), *(f"kind.{g}" for g in range(len(kinds)))),
        kept=kept,
        ways=ways,
        way=way,
        kinds=kinds,
    )


def _own_rows(kinds: tuple[Kind, ...], first: int) -> Iterator[Array]:
    """The row of every kind; its columns follow `first` others and those of the kinds before it."""
    count = first + sum(kind.count for kind in kinds)
    for kind in kinds:
        row = np.zeros(count)
        row[first : first + kind.count] = kind.run
        first += kind.count
        yield row


class _Ample:
    """Which offers and endpoints the largest demand cannot exhaust, and which offers are not there at all."""

    def __init__(self, problem: Problem, matrix: HourMatrix, blocks: Blocks) -> None:
        self.offers: set[int] = set()
        self.absent: set[int] = set()
        constant = dict(zip(matrix.rows, matrix.constant.max(axis=0), strict=True))
        for o, offer in enumerate(problem.offers):
            if offer.placed != "hour":
                continue
            stock = np.inf if offer.max_units is None else offer.max_units
            if offer.bought:
                stock = constant[f"committed.{offer.name}"]
            if stock <= 0:
                self.absent.add(o)
            elif not offer.bought and (blocks.demand @ _most_units(problem, o)).max() <= stock:
                self.offers.add(o)
        self.endpoints = {
            e
            for e, endpoint in enumerate(problem.endpoints)
            if (endpoint.requests_per_h is None or blocks.demand.sum(axis=1).max() <= endpoint.requests_per_h)
            and (
                endpoint.tokens_per_h is None
                or (blocks.demand @ np.array(endpoint.tokens_per_request)).max() <= endpoint.tokens_per_h
            )
        }


def _most_units(problem: Problem, o: int) -> Array:
    """Units of an offer that one request per hour of each class can need at most."""
    covers = problem.offers[o].covers
    need = [
        [(time or 0.0) * covers.get(deployment.pool, 0.0) for time in deployment.gpu_h_per_request]
        for deployment in problem.deployments
    ]
    most: Array = np.array(need).reshape(len(need), -1).max(axis=0, initial=0.0)
    return most


def _held(problem: Problem, matrix: HourMatrix, scarce: set[int], *, rent: bool, everywhere: bool) -> set[int]:
    """Deployments that have capacity, or may have."""
    there = {name: bool(row.max() > 0) for name, row in zip(matrix.rows, matrix.constant.T, strict=True)}
    fed = {key[1] for family, key in matrix.columns if family == "rented" and (not rent or key[0] in scarce)}
    serving = {key[1] for family, key in matrix.columns if family == "served"}
    return {d for d in serving if everywhere or d in fed or there[f"capacity.{problem.deployments[d].name}"]}


def _ways(problem: Problem, matrix: HourMatrix, ample: _Ample, pairs: list[tuple[int, ...]]) -> tuple[Array, Ints]:
    """What a request adds to the columns on every way that has no limit, and its class; `pairs` are rented so."""
    place = {column: i for i, column in enumerate(matrix.columns)}
    ways: list[Array] = []
    of_class: list[int] = []
    for family, key in matrix.columns:
        if family == "unserved" or (family == "api" and key[1] in ample.endpoints):
            ways.append(_one(len(place), {place[family, key]: 1.0}))
            of_class.append(key[0])
    for o, d in pairs:
        deployment = problem.deployments[d]
        unit = problem.offers[o].covers[deployment.pool]
        for k, time in enumerate(deployment.gpu_h_per_request):
            if time is not None:
                rented, on = time / deployment.gpus_per_replica, time * unit
                way = {place["served", (k, d)]: 1.0, place["rented", (o, d)]: rented, place["on", (o,)]: on}
                ways.append(_one(len(place), way))
                of_class.append(k)
    return np.array(ways), np.array(of_class)


def _kept(matrix: HourMatrix, ample: _Ample, out_usd: Array, held: set[int], scarce: set[int]) -> Ints:
    """Columns of what is scarce and can save something in some epoch."""
    kept = []
    for i, (family, key) in enumerate(matrix.columns):
        keep = False
        if family == "served":
            keep = key[1] in held
        elif family == "api":
            keep = key[1] not in ample.endpoints
        elif family in ("on", "rented"):
            keep = key[0] in scarce
        if family in ("served", "api"):
            keep = keep and bool((matrix.cost_usd[:, i] < out_usd[:, key[0]]).any())
        if keep:
            kept.append(i)
    return np.array(kept, dtype=np.intp)


def _one(length: int, entries: dict[int, float]) -> Array:
    row = np.zeros(length)
    for place, value in entries.items():
        row[place] = value
    return row
