"""When a plan's money moves, month by month: what makes the cumulative cost of strategies comparable.

The bill counts a purchase in the month in which it is signed, with all that it costs. Here each part falls where it is
paid: purchases at once (what a loan lends for them is a payment less, and paid back month by month), commitments and
running costs over the months in which they run, work in its hours, and what is settled when the horizon ends (what a
sale brings, what a term or a loan still owes, what upfront money pays for later) in the last month. Present value in
USD, like the bill, to which the months add up. A plan of one epoch repeats itself, so its running costs are spread
evenly.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from itertools import accumulate

import numpy as np

from planner.attribution import HOURLY_LINES, charges_usd, hourly_usd, present_hours
from planner.horizon import Span
from planner.problem import Array, Offer, Problem
from planner.solve import Solution

Flows = Mapping[str, tuple[Array, Array, float]]
"""By line of the bill: [M] paid at the start of every epoch, [M] paid through it, and what is settled at the end."""
_DIGITS = 6
"""USD to a millionth: what is left of a subtraction is no payment."""


def paid(solution: Solution, span: Span) -> tuple[float, ...]:
    """USD paid at the start, then by the end of each month, purchases at the next one's start included.

    The last is the bill.
    """
    lines = tuple(flows(solution).values())
    at_once = np.sum([start for start, _, _ in lines], axis=0)
    running = np.sum([through for _, through, _ in lines], axis=0)
    if len(running) == 1:
        count = max(1, math.ceil(span.months - 1e-9))
        running = np.full(count, running[0] / count)
    moved = np.zeros(len(running) + 1)
    moved[: len(at_once)] = at_once
    moved[1:] += running
    moved[-1] += sum(at_end for _, _, at_end in lines)
    return tuple(accumulate(moved.tolist()))


def paid_lines(solution: Solution) -> tuple[dict[str, float], ...]:
    """USD paid in each epoch by line, what is settled at the end in the last one; a line adds up to the bill's."""
    months: tuple[dict[str, float], ...] = tuple({} for _ in solution.problem.epochs)
    for name, (at_once, running, at_end) in flows(solution).items():
        usd = at_once + running
        usd[-1] += at_end
        for month, amount in zip(months, usd.tolist(), strict=True):
            if amount:
                month[name] = amount
    return months


def flows(solution: Solution) -> Flows:
    """When every line of the bill is paid."""
    problem, count = solution.problem, len(solution.problem.epochs)
    at_once: dict[str, Array] = defaultdict(lambda: np.zeros(count))
    running: dict[str, Array] = defaultdict(lambda: np.zeros(count))
    at_end: dict[str, float] = defaultdict(float)
    for charge, usd in zip(problem.fixed_charges, charges_usd(solution), strict=True):
        running[charge.name] += usd
    for name, family in HOURLY_LINES:
        np.add.at(running[name], solution.blocks.epoch, present_hours(solution) * hourly_usd(solution, family))
    for (o, m), units in np.ndenumerate(solution.fleet.buy):
        if units:
            offer = problem.offers[o]
            first, through = _at_once(problem, offer, m), _through(problem, offer, m)
            for name, usds in first.items():
                at_once[name] += units * usds
            for name, usds in through.items():
                running[name] += units * usds
            for name, usd in problem.unit_cost(offer, m):
                at_end[name] += units * usd
            for name in first.keys() | through.keys():
                at_end[name] -= units * float(np.sum(first.get(name, 0.0)) + np.sum(through.get(name, 0.0)))
    names = dict.fromkeys((*running, *at_once, *at_end))
    return {name: (at_once[name], running[name], round(at_end[name], _DIGITS)) for name in names}


def _at_once(problem: Problem, offer: Offer, m: int) -> dict[str, Array]:
    """By line, [M] what one unit costs at the start of every epoch: its purchase, a loan for it, and payments."""
    usd: dict[str, Array] = defaultdict(lambda: np.zeros(len(problem.epochs)))
    for line in offer.upfront:
        usd[line.name][m] += offer.price_factor(m) * line.usd * problem.epochs[m].discount
    if offer.loan is not None:
        borrowed = offer.price_factor(m) * offer.upfront_usd
        usd["financing"][m] -= borrowed * problem.epochs[m].discount
        for n, paid in problem.repaid(offer.loan, m)[0].items():
            usd["financing"][n] += borrowed * paid
    return usd


def _through(problem: Problem, offer: Offer, m: int) -> dict[str, Array]:
    """By line, [M] the commitment and running costs of one unit in every epoch in which it is there."""
    factor = 1.0 if offer.running_costs_stay else offer.price_factor(m)
    usd: dict[str, Array] = defaultdict(lambda: np.zeros(len(problem.epochs)))
    for line in offer.committed:
        for n in problem.active_epochs(offer, m):
            usd[line.name][n] += factor * line.usd * problem.epochs[n].hours * problem.epochs[n].discount
    return usd
