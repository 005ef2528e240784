"""Kinks: what hours cost at least with one fleet bounds what they cost with every other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from planner_problems import company, mixed, models
from test_search import any_problem

from planner import whole
from planner.dispatch import Hours, dispatch
from planner.islands import islands_of
from planner.kinks import Bending, can_bend, in_place_usd, most_replicas
from planner.partition import unpriced
from planner.problem import Array, Problem
from planner.solver import Fleet
from planner.units import in_units
from planner.whole import Settled, settle


def _bendable(problem: Problem) -> Problem:
    """The problem without commitments used by the hour, every replica whole."""
    offers = tuple(offer for offer in problem.offers if not (offer.bought and offer.placed == "hour"))
    deployments = tuple(replace(deployment, divisible=False) for deployment in problem.deployments)
    return in_units(replace(problem, offers=offers, deployments=deployments))


def _placed(problem: Problem, seed: int) -> list[Fleet]:
    """Fleets of up to three replicas of every deployment; what is bought for them does not matter to an hour."""
    rng = np.random.default_rng(seed)
    nothing = np.zeros((len(problem.offers), len(problem.epochs)))
    shape = len(problem.deployments), len(problem.epochs)
    return [Fleet(nothing, rng.integers(0, 4, shape) * (rng.random(shape) < 0.6).astype(float)) for _ in range(5)]


def _settled(hours: Hours, fleet: Fleet) -> Settled:
    blocks = hours.problem.blocks
    return settle(hours, fleet, blocks, dispatch(hours, fleet, blocks))


def _at(hours: Hours, bending: Bending, known: tuple[Fleet, Array], other: Fleet) -> Array:
    """[t] what the kink of the known fleet, whose hours cost so much at least, says of the other."""
    fleet, least_usd = known
    kink = bending.kink(fleet, least_usd)
    over = np.clip(np.minimum(other.replicas, kink.most) - kink.replicas, 0.0, None)
    saved = kink.saved_usd * over.T[hours.problem.blocks.epoch]
    value: Array = least_usd - saved.sum(axis=1)
    return value


@pytest.mark.parametrize("make", [any_problem, mixed])
@pytest.mark.parametrize("seed", range(16))
def test_the_kink_of_one_fleet_bounds_every_other(make: type, seed: int) -> None:
    """No fleet's hours, each solved exactly, cost less than the kink of any other fleet says; at its own fleet it says
    all. Fleets with more replicas and with fewer, of one size and of several, in pools that deployments share."""
    problem = _bendable(make(seed))
    hours = Hours(problem)
    bending = Bending(hours, unpriced(hours, problem.blocks).usd_per_h)
    fleets = _placed(problem, seed)
    exact = [_settled(hours, fleet) for fleet in fleets]
    for fleet, settled in zip(fleets, exact, strict=True):
        least_usd = settled.least_usd_per_h
        np.testing.assert_allclose(least_usd, settled.usd_per_h, atol=1e-6)
        np.testing.assert_allclose(_at(hours, bending, (fleet, least_usd), fleet), least_usd)
        for other, cost in zip(fleets, exact, strict=True):
            assert (_at(hours, bending, (fleet, least_usd), other) <= cost.usd_per_h + 1e-6).all()


@pytest.mark.parametrize("seed", range(8))
def test_what_trees_say_of_a_fleet_is_not_more_than_it_costs(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hours are too many to be solved one by one, what they cost at least is not above what they cost exactly,
    and not below what they cost if on-demand units divide; continued from what is known it is no lower."""
    problem = _bendable(any_problem(seed))
    hours, blocks = Hours(problem), problem.blocks
    for fleet in _placed(problem, seed)[:3]:
        priced, exact = dispatch(hours, fleet, blocks), _settled(hours, fleet)
        monkeypatch.setattr(whole, "_FEW", 0)
        first = settle(hours, fleet, blocks, priced)
        again = settle(hours, fleet, blocks, priced, known=first)
        monkeypatch.undo()
        assert (first.least_usd_per_h <= exact.usd_per_h + 1e-6).all()
        assert (first.least_usd_per_h >= priced.usd_per_h - 1e-9).all()
        assert (again.least_usd_per_h >= first.least_usd_per_h - 1e-9).all()
        assert (again.usd_per_h <= first.usd_per_h + 1e-9).all()


def test_no_more_is_looked_for_where_a_fleet_is_known_to_cost_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fleet that is shown to cost more than the best plan needs no tree: the plan is dearer, and honest about it."""
    problem = in_units(company(peak_gpus=6, workloads=2, gpus=2, hours=400))
    hours, blocks = Hours(problem), problem.blocks
    fleet = Fleet(np.zeros((len(problem.offers), 1)), np.zeros((len(problem.deployments), 1)))
    priced = dispatch(hours, fleet, blocks)
    monkeypatch.setattr(whole, "_FEW", 0)
    grown: list[float] = []
    grow = whole.grow
    monkeypatch.setattr(whole, "grow", lambda *args, **more: grown.append(more["enough"]) or grow(*args, **more))
    settle(hours, fleet, blocks, priced, enough_usd=float(blocks.weight_h @ priced.usd_per_h) * 0.99)
    assert not grown
    closely = settle(hours, fleet, blocks, priced)
    assert grown
    assert blocks.weight_h @ closely.least_usd_per_h > blocks.weight_h @ priced.usd_per_h


def test_a_replica_saves_no_more_than_renting_in_its_place() -> None:
    """A GPU that is owned runs what a rented one of its kind runs: it saves its rent; one that takes twice as long on
    every request is replaced by half as many."""
    problem = models(company(peak_gpus=8, workloads=3, gpus=2, hours=48), (1.0, 2.0, 4.0))
    hours = Hours(problem)
    rent = {offer.name: offer.usage_usd_per_h for offer in problem.offers}
    found = in_place_usd(hours)[0]
    names = [deployment.name for deployment in problem.deployments]
    for d, name in enumerate(names):
        size = problem.deployments[d].gpus_per_replica
        assert found[d] <= size * rent[f"hourly.{name.split('.')[1]}"] + 1e-9
    slow = replace(problem.deployments[0], gpu_h_per_request=tuple(
        None if time is None else 2 * time for time in problem.deployments[names.index("on.gpu0.rented.m0")]
        .gpu_h_per_request
    ))  # fmt: skip
    slower = Hours(replace(problem, deployments=(slow, *problem.deployments[1:])))
    assert in_place_usd(slower)[0][0] <= rent["hourly.gpu0"] + 1e-9
    scarce = replace(problem, offers=tuple(
        replace(offer, max_units=1.0) if offer.placed == "hour" else offer for offer in problem.offers
    ))  # fmt: skip
    assert np.isinf(in_place_usd(Hours(scarce))).all()


def test_no_more_replicas_count_than_the_busiest_hour_fills() -> None:
    """All work of a model in its busiest hour, rounded up to whole replicas, epoch by epoch."""
    problem = in_units(models(company(peak_gpus=8, workloads=3, gpus=1, hours=48, epochs=2), (2.0,)))
    for d, deployment in enumerate(problem.deployments):
        work = problem.blocks.demand @ np.array(deployment.gpu_h_per_request, dtype=float)
        for m in range(2):
            busiest = work[problem.blocks.epoch == m].max()
            assert most_replicas(problem)[d, m] == np.ceil(busiest / 2.0)


def test_planes_bend_only_where_replicas_are_whole_and_all_that_counts() -> None:
    """Half a replica may save more than half of what a replica does; commitments used by the hour have levels."""
    problem = company(peak_gpus=8, workloads=3, gpus=1, hours=24)
    assert can_bend(problem)
    assert not can_bend(company(peak_gpus=8, workloads=3, gpus=1, hours=24, whole_hours=False))
    committed = replace(problem.offers[1], bought=True)
    assert not can_bend(replace(problem, offers=(problem.offers[0], committed, *problem.offers[2:])))


def test_an_islands_kink_stands_at_its_deployments_of_the_whole() -> None:
    """Deployments of other islands neither bend it nor save anything."""
    problem = in_units(models(company(peak_gpus=8, workloads=3, gpus=1, hours=24), (1.0, 2.0, 4.0)))
    island = islands_of(problem)[1]
    hours = Hours(island.problem)
    bending = Bending(hours, unpriced(hours, island.problem.blocks).usd_per_h)
    fleet = Fleet(np.zeros((len(problem.offers), 1)), np.arange(6.0).reshape(6, 1))
    kink = bending.kink(island.fleet(fleet), np.full(24, 100.0)).within(island.deployments, 6)
    others = np.setdiff1d(np.arange(6), island.deployments)
    assert (kink.replicas[island.deployments] == fleet.replicas[island.deployments]).all()
    assert not kink.saved_usd[:, others].any()
    assert not kink.replicas[others].any()
