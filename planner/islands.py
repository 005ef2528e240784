"""Islands: classes and deployments that share nothing within an hour with any others, so that each island's hours are
programmes of their own.

A company serves several models. In an hour, GPUs that run one model do nothing for another; what the models compete for
is the fleet, which is decided once an epoch. So with the fleet given an hour falls apart into one small programme per
model, and its cost is a sum. That matters for the proof: whole replicas of four models met together make more mixtures
than branch and bound can look at, met one by one they are few. It matters for the master too: one cost per island and
group of hours lets it join what was learnt of one island at one fleet with what was learnt of another at another
fleet (a multicut: Birge & Louveaux 1988).

What keeps classes together: a deployment that serves both, an API or an offer by the hour whose limit their demand can
reach, a spend commitment. Limits that no demand can reach are dropped in an island, and units by the hour that hold
replicas of several islands divide there: both only lower the bound. The plan keeps them (`join`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from planner.dispatch import Dispatch, Hours
from planner.problem import Blocks, Endpoint, Ints, Offer, Problem
from planner.renting import SLACK, Rented
from planner.solver import Fleet

T = TypeVar("T")
Column = tuple[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Island:
    """A part of a problem as a problem; `classes`, `deployments`, `offers` and `endpoints` say which of the whole's."""

    problem: Problem
    classes: Ints
    deployments: Ints
    offers: Ints
    endpoints: Ints

    def fleet(self, fleet: Fleet) -> Fleet:
        """The part of a fleet that counts here."""
        return Fleet(fleet.buy[self.offers], fleet.replicas[self.deployments])

    def columns(self, columns: Sequence[Column]) -> Iterator[Column]:
        """The whole problem's names of this part's columns of the hour."""
        of = {"k": self.classes, "d": self.deployments, "o": self.offers, "e": self.endpoints}
        for family, key in columns:
            kinds = _KEYS[family]
            yield family, tuple(int(of[kind][i]) for kind, i in zip(kinds, key, strict=True))


_KEYS = {"served": "kd", "api": "ke", "unserved": "k", "on": "o", "rented": "od"}


def islands_of(problem: Problem) -> tuple[Island, ...]:
    """Every class is in one island; a problem that does not fall apart is one island, as it is."""
    groups = _groups(problem)
    if len(groups) == 1:
        everything = (problem.classes, problem.deployments, problem.offers, problem.endpoints)
        return (Island(problem, *(np.arange(len(each)) for each in everything)),)
    return tuple(_island(problem, classes) for classes in groups)


def join(hours: Hours, islands: Sequence[Island], fleet: Fleet, blocks: Blocks, parts: Sequence[Dispatch]) -> Dispatch:
    """The whole problem's hours from every island's, with as many whole units switched on as the replicas take."""
    if len(parts) == 1:
        return parts[0]
    matrix = hours.matrix(fleet)
    place = {column: i for i, column in enumerate(matrix.columns)}
    values = np.zeros((len(blocks), len(place)))
    marginal = np.zeros((len(blocks), len(hours.problem.classes)))
    for island, part in zip(islands, parts, strict=True):
        where = [place[column] for column in island.columns(part.matrix.columns)]
        values[:, where] += part.values
        marginal[:, island.classes] = part.marginal_usd
    divisible = Dispatch(matrix, values, np.zeros(len(blocks)), marginal)
    return Rented(hours, fleet, blocks).exactly_whole(divisible, values)


def share_units(problem: Problem, islands: Sequence[Island]) -> bool:
    """Whether a whole unit by the hour may hold replicas of several islands, so that they are made whole together."""
    for o, offer in enumerate(problem.offers):
        if offer.placed == "hour" and offer.whole and sum(o in island.offers for island in islands) > 1:
            here = [d for d in problem.deployments if d.pool in offer.covers]
            units = np.array([offer.covers[d.pool] * d.gpus_per_replica for d in here])
            if (np.abs(units - np.round(units)) > SLACK).any() or any(d.divisible for d in here):
                return True
    return False


def _groups(problem: Problem) -> list[Ints]:
    """Classes that something keeps together, in their order."""
    group = np.arange(len(problem.classes))
    for together in _ties(problem):
        group[np.isin(group, group[together])] = group[together].min(initial=len(group))
    return [np.flatnonzero(group == first) for first in np.unique(group)]


def _ties(problem: Problem) -> Iterator[Ints]:
    serves = _serves(problem)
    yield from (np.flatnonzero(row) for row in serves)
    alone = ~serves.any(axis=0)  # no GPU serves these: they go with whatever island there is
    yield np.append(np.flatnonzero(alone), np.flatnonzero(~alone)[:1])
    for endpoint in problem.endpoints:
        if not _is_ample(problem, endpoint):
            yield np.array([k for k, usd in enumerate(endpoint.usd_per_request) if usd is not None], dtype=np.intp)
    for offer in problem.offers:
        if offer.placed == "hour" and (offer.bought or not is_enough(problem, offer)):
            here = [d for d, deployment in enumerate(problem.deployments) if deployment.pool in offer.covers]
            yield np.flatnonzero(serves[here].any(axis=0))


def _serves(problem: Problem) -> np.ndarray:
    """[d, k] whether a deployment may serve a class."""
    times = [[time is not None for time in d.gpu_h_per_request] for d in problem.deployments]
    return np.array(times, dtype=bool).reshape(-1, len(problem.classes))


def _is_ample(problem: Problem, endpoint: Endpoint) -> bool:
    """Whether all work together cannot reach the endpoint's limits."""
    demand = problem.blocks.demand
    here = np.array([usd is not None for usd in endpoint.usd_per_request])
    requests = endpoint.requests_per_h is None or demand[:, here].sum(axis=1).max(initial=0) <= endpoint.requests_per_h
    if endpoint.tokens_per_h is None:
        return bool(requests)
    tokens = np.where(here, np.array(endpoint.tokens_per_request), 0.0)
    return bool(requests and (demand @ tokens).max(initial=0) <= endpoint.tokens_per_h)


def is_enough(problem: Problem, offer: Offer) -> bool:
    """Whether all work on any deployments, rounded up to a replica of each, takes no more units than there are."""
    if offer.max_units is None:
        return True
    most, spare = np.zeros(len(problem.classes)), 0.0
    for deployment in problem.deployments:
        if deployment.pool in offer.covers:
            unit = offer.covers[deployment.pool]
            work = np.array([time or 0.0 for time in deployment.gpu_h_per_request]) * unit
            most, spare = np.maximum(most, work), spare + unit * deployment.gpus_per_replica
    return bool((problem.blocks.demand @ most).max(initial=0) + spare <= offer.max_units)


def _island(problem: Problem, classes: Ints) -> Island:
    deployments = np.flatnonzero(_serves(problem)[:, classes].any(axis=1))
    pools = {problem.deployments[d].pool for d in deployments}
    shared = {one.pool for d, one in enumerate(problem.deployments) if d not in deployments}
    offers = np.array([o for o, offer in enumerate(problem.offers) if pools & set(offer.covers)], dtype=np.intp)
    endpoints = np.array(
        [e for e, one in enumerate(problem.endpoints) if any(one.usd_per_request[k] is not None for k in classes)],
        dtype=np.intp,
    )
    part = replace(
        problem,
        classes=tuple(problem.classes[k] for k in classes),
        blocks=Blocks(problem.blocks.epoch, problem.blocks.weight_h, problem.blocks.demand[:, classes]),
        pools=tuple(pool for pool in problem.pools if pool.name in pools),
        deployments=tuple(
            replace(problem.deployments[d], gpu_h_per_request=_some(problem.deployments[d].gpu_h_per_request, classes))
            for d in deployments
        ),
        offers=tuple(_offer(problem.offers[o], pools, shared) for o in offers),
        endpoints=tuple(_endpoint(problem, problem.endpoints[e], classes) for e in endpoints),
        limits=(),
        fixed_charges=(),
        unserved_usd_per_request=_some(problem.unserved_usd_per_request, classes),
        warm=(),
    )
    return Island(part, classes, deployments, offers, endpoints)


def _offer(offer: Offer, pools: set[str], shared: set[str]) -> Offer:
    """An offer as an island sees it: a unit whose GPUs others may use too divides."""
    covers = {pool: units for pool, units in offer.covers.items() if pool in pools}
    return replace(offer, covers=covers, whole=offer.whole and not shared & set(offer.covers))


def _endpoint(problem: Problem, endpoint: Endpoint, classes: Ints) -> Endpoint:
    part = replace(
        endpoint,
        usd_per_request=_some(endpoint.usd_per_request, classes),
        tokens_per_request=_some(endpoint.tokens_per_request, classes) if endpoint.tokens_per_request else (),
    )
    return replace(part, requests_per_h=None, tokens_per_h=None) if _is_ample(problem, endpoint) else part


def _some(values: tuple[T, ...], indices: Ints) -> tuple[T, ...]:
    return tuple(values[i] for i in indices)
