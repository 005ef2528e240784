"""Present value of what a fleet costs, and of its hours."""

from __future__ import annotations

import math

import numpy as np

from planner.problem import Array, Blocks, Problem
from planner.solver import Fleet


def fleet_usd(problem: Problem, fleet: Fleet) -> float:
    """Present value of everything bought, fixed charges included."""
    costs: list[float] = []
    for (o, m), units in np.ndenumerate(fleet.buy):
        if units:
            costs.append(float(units) * sum(usd for _, usd in problem.unit_cost(problem.offers[o], m)))
    active = problem.active_units(fleet.buy)
    index = {offer.name: o for o, offer in enumerate(problem.offers)}
    for charge in problem.fixed_charges:
        owed = active[[index[name] for name in charge.offers]].sum(axis=0) > 0
        costs += [problem.fixed_usd(charge, int(m)) for m in np.flatnonzero(owed)]
    return math.fsum(costs)


def hours_usd(problem: Problem, blocks: Blocks, usd_per_h: Array) -> float:
    """Present value of the hours."""
    discount = np.array([epoch.discount for epoch in problem.epochs])
    return math.fsum(blocks.weight_h * discount[blocks.epoch] * usd_per_h)
