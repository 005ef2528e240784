"""Prices on what is scarce, and trees over whole numbers: lower bounds for every fleet, whatever the prices."""

from __future__ import annotations

import numpy as np
import pytest
from test_search import any_problem

from planner.dispatch import Hours, dispatch
from planner.forest import Forest
from planner.master import whole_use
from planner.partition import plane, sketch, unpriced
from planner.problem import Array, Problem
from planner.reduced import reduce
from planner.solver import Fleet, replicas_that_fit
from planner.steps import steps_of
from planner.trees import Asked, Hour, Terms, bounds, grow, promises
from planner.units import in_units
from planner.whole import settle


def _fleets(problem: Problem, count: int, seed: int) -> list[Fleet]:
    """Some allowed purchases, with as many replicas of one deployment per pool as fit."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(count):
        buy = np.zeros((len(problem.offers), len(problem.epochs)))
        for o, offer in enumerate(problem.offers):
            if offer.bought:
                buy[o, 0] = rng.integers(0, 3)
        replicas = np.array([np.floor(replicas_that_fit(problem, buy, d)) for d in range(len(problem.deployments))])
        found.append(Fleet(buy, replicas))
    return found


def _at(problem: Problem, bound: Array, fleet: Fleet, planes: tuple[Array, Array]) -> Array:
    """A plane's value at a fleet, per hour."""
    replica, unit = planes
    active = problem.active_units(fleet.buy)
    epoch = problem.blocks.epoch
    value: Array = bound - (replica * fleet.replicas[:, epoch].T).sum(axis=1) - (unit * active[:, epoch].T).sum(axis=1)
    return value


@pytest.mark.parametrize("seed", range(12))
def test_prices_of_one_fleet_bound_every_other(seed: int) -> None:
    """A plane is exact where it was made and never above the dispatched cost of another fleet; a sketch neither."""
    problem = in_units(any_problem(seed))
    hours, labels = Hours(problem), np.arange(len(problem.blocks))
    fleets = _fleets(problem, 4, seed)
    costs = [dispatch(hours, fleet, problem.blocks).usd_per_h for fleet in fleets]
    nothing = plane(hours, problem.blocks, labels, unpriced(hours, problem.blocks))
    for i, fleet in enumerate(fleets):
        exact = plane(hours, problem.blocks, labels, dispatch(hours, fleet, problem.blocks))
        rough = plane(hours, problem.blocks, labels, sketch(hours, fleet, problem.blocks, np.arange(0, len(labels), 5)))
        np.testing.assert_allclose(
            _at(problem, exact.usd, fleet, (exact.replica_usd, exact.unit_usd)), costs[i], atol=1e-6
        )
        for j, other in enumerate(fleets):
            for made in (exact, rough, nothing):
                value = _at(problem, made.usd, other, (made.replica_usd, made.unit_usd))
                assert (value <= costs[j] + 1e-6).all()


def _only_by_the_hour(problem: Problem, fleet: Fleet) -> Fleet:
    """Of a fleet, the commitments that are used by the hour."""
    buy = fleet.buy.copy()
    buy[[o for o, offer in enumerate(problem.offers) if offer.placed == "epoch"]] = 0.0
    replicas = np.array([np.floor(replicas_that_fit(problem, buy, d)) for d in range(len(problem.deployments))])
    return Fleet(buy, replicas)


def _is_beyond(problem: Problem, fleet: Fleet, level: Fleet) -> Array:
    """[t] 1 where the fleet has more units of a commitment used by the hour than `level` has."""
    more = (problem.active_units(fleet.buy) > problem.active_units(level.buy))[whole_use(problem)].any(axis=0)
    beyond: Array = more[problem.blocks.epoch].astype(float)
    return beyond


@pytest.mark.parametrize("seed", [*range(12), 38, 45, 58, 59])
def test_what_trees_add_holds_for_every_whole_fleet(seed: int) -> None:
    """With whole on-demand units in the bound, no fleet's hours settled one by one cost less than its plane says; not
    where all that a fleet has is a spend commitment over several GPU types either (the later seeds). Nor where a plane
    keeps to its own fleet's units of a commitment, and the other has no more."""
    problem = in_units(any_problem(seed))
    hours, labels = Hours(problem), np.arange(len(problem.blocks))
    fleets = _fleets(problem, 4, seed)
    fleets[::2] = [_only_by_the_hour(problem, fleet) for fleet in fleets[::2]]
    settled = [settle(hours, fleet, problem.blocks, dispatch(hours, fleet, problem.blocks)) for fleet in fleets]
    for i, fleet in enumerate(fleets):
        priced = dispatch(hours, fleet, problem.blocks)
        assert (settled[i].usd_per_h >= priced.usd_per_h - 1e-6).all()
        forest = Forest(hours, problem.blocks, lambda: False)
        raised = forest.raise_plane(fleet, priced, settled[i], 0.0)
        held = forest.hold_level(fleet, raised, settled[i], 0.0)
        assert held.beyond_usd is not None
        for one in (raised, held):
            made = plane(hours, problem.blocks, labels, one.priced, one.extra_usd)
            for j, other in enumerate(fleets):
                value = _at(problem, made.usd, other, (made.replica_usd, made.unit_usd))
                if one is held:
                    value -= held.beyond_usd * _is_beyond(problem, other, fleet)
                assert (value <= settled[j].usd_per_h + 1e-5).all()


@pytest.mark.parametrize("seed", range(4))
def test_a_tree_holds_for_hours_that_may_take_what_its_own_could_not(seed: int) -> None:
    """Grown for an hour without one way to have replicas, it bounds the same hour with it; and the other way round."""
    problem = in_units(any_problem(seed))
    hours, steps = Hours(problem), steps_of(problem)
    everywhere = reduce(problem, hours.form.bare, problem.blocks, rent=False, everywhere=True)
    solver = Hour(hours, 0, steps, everywhere)
    count, none = len(steps.replicas), np.zeros(len(problem.deployments))
    usd = np.linspace(0.1, 1.0, count)
    few = [Terms(usd, np.arange(count) != n, np.zeros(0), none) for n in range(count)]
    for t in (1, 5):
        demand, reference = problem.blocks.demand[[t]], np.zeros((1, count))
        every = [Asked(0, terms, demand, reference) for terms in (*few, Terms(usd, usd > 0, np.zeros(0), none))]
        trees = [grow(solver, demand[0], asked.terms, reference[0], enough=np.inf, nodes=200) for asked in every]
        for asked, own in zip(every, trees, strict=True):
            least = promises(solver, own, asked)[1][0]
            for tree in trees:
                assert bounds(solver, tree, asked)[0] <= least + 1e-6
