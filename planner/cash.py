"""When a plan's money moves, month by month: what makes the cumulative cost of strategies comparable.

The bill counts a purchase in the month in which it is signed, with all that it costs. Here each part falls where it is
paid: purchases at once, commitments and running costs over the months in which they run, work in its hours, and what is
settled when the horizon ends (what a sale brings, what a term still owes) in the last month. Present value in USD, like
the bill, to which the months add up. A plan of one epoch repeats itself, so its running costs are spread evenly.
"""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np

from planner.attribution import charges_usd, present_hours
from planner.horizon import Span
from planner.problem import Array, Offer, Problem
from planner.solve import Solution

_LATER = "owed past the horizon"


def paid(solution: Solution, span: Span) -> tuple[float, ...]:
    """USD paid at the start, then by the end of each month, purchases at the next one's start included.

    The last is the bill.
    """
    at_once, running, at_end = _flows(solution)
    if len(running) == 1:
        count = max(1, math.ceil(span.months - 1e-9))
        running = np.full(count, running[0] / count)
    moved = np.zeros(len(running) + 1)
    moved[: len(at_once)] = at_once
    moved[1:] += running
    moved[-1] += at_end
    return tuple(accumulate(moved.tolist()))


def _flows(solution: Solution) -> tuple[Array, Array, float]:
    """By epoch: paid at its start and paid through it; and what is settled at the end."""
    problem, count = solution.problem, len(solution.problem.epochs)
    at_once, at_end = np.zeros(count), 0.0
    running: Array = charges_usd(solution).sum(axis=0) if problem.fixed_charges else np.zeros(count)
    np.add.at(running, solution.blocks.epoch, present_hours(solution) * solution.hours.usd_per_h)
    for (o, m), units in np.ndenumerate(solution.fleet.buy):
        if units:
            offer = problem.offers[o]
            first, through = _at_once(problem, offer, m), _through(problem, offer, m)
            at_once[m] += units * first
            running += units * through
            at_end += units * (sum(usd for _, usd in problem.unit_cost(offer, m)) - first - float(through.sum()))
    return at_once, running, at_end


def _at_once(problem: Problem, offer: Offer, m: int) -> float:
    usd = sum(line.usd for line in offer.upfront if line.name != _LATER)
    return offer.price_factor(m) * usd * problem.epochs[m].discount


def _through(problem: Problem, offer: Offer, m: int) -> Array:
    """[M] the commitment and running costs of one unit in every epoch in which it is there."""
    factor = 1.0 if offer.running_costs_stay else offer.price_factor(m)
    usd = np.zeros(len(problem.epochs))
    for n in problem.active_epochs(offer, m):
        usd[n] = factor * offer.committed_usd_per_h * problem.epochs[n].hours * problem.epochs[n].discount
    return usd
