"""The last plan on today's inputs: its purchases stay as they were decided, today's prices and demand do the rest.

What the last plan bought or reserved is there without a choice, from the month in which it was to begin (from the first
month, where that lies in the past, with its whole term), and is paid at today's price of the same offer. What is
switched on by the hour and what goes to APIs is decided anew, hour by hour.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planner.assemble import Case
from planner.plan import Plan, Purchase
from planner.problem import Array, Offer, Problem

_SIGNED = ("owned", "reserved", "commitment")


@dataclass(frozen=True, eq=False)
class Fixed:
    """A problem in which nothing more can be bought, and what its purchases cost."""

    problem: Problem
    purchases_usd: float


def fixed(case: Case, last: Plan) -> Fixed | str:
    """The last plan's purchases as GPUs that are there; or, in words, why that cannot be done."""
    buy = bought(case, last)
    return buy if isinstance(buy, str) else Fixed(held(case.problem, buy), _usd(case.problem, buy))


def bought(case: Case, last: Plan) -> Array | str:
    """[O, M] units of the last plan's purchases in today's offers and epochs; or, in words, why that cannot be told."""
    problem = case.problem
    index = {info.label: o for o, info in enumerate(case.offers)}
    signed = [p for p in last.purchases if p.scheme in _SIGNED]
    gone = sorted({p.offer for p in signed if p.offer not in index})
    if gone:
        return f"no longer in the price book: {', '.join(gone)}"
    if len(problem.epochs) == 1:
        first = min((p.epoch for p in signed), default="")
        signed = [p for p in signed if p.epoch == first]
    buy = np.zeros((len(problem.offers), len(problem.epochs)))
    for purchase in signed:
        m = _epoch(problem, purchase)
        if m is not None:
            buy[index[purchase.offer], m] += purchase.units
    return buy


def _epoch(problem: Problem, purchase: Purchase) -> int | None:
    """The epoch in which it begins: the first for one of the past, None beyond the horizon."""
    names = [epoch.name for epoch in problem.epochs]
    if purchase.epoch in names:
        return names.index(purchase.epoch)
    return 0 if len(names) == 1 or purchase.epoch < names[0] else None


def held(problem: Problem, buy: Array) -> Problem:
    """The problem in which these purchases are there and nothing more can be bought."""
    active = problem.active_units(buy)
    offers = tuple(
        _there(problem, offer, tuple(active[o].tolist())) if offer.bought else offer
        for o, offer in enumerate(problem.offers)
    )
    return replace(problem, offers=offers, fixed_charges=(), limits=())


def _there(problem: Problem, offer: Offer, units: tuple[float, ...]) -> Offer:
    """Its units are there and no more can be had: more of a commitment would arrive too late."""
    if offer.placed == "epoch":
        return replace(offer, bought=False, existing=units, max_units=None)
    return replace(offer, existing=units, max_units=None, lead_epochs=len(problem.epochs))


def _usd(problem: Problem, buy: Array) -> float:
    """Present value of the purchases and of what is owed while any of them is there."""
    usd: float = sum(
        units * sum(amount for _, amount in problem.unit_cost(problem.offers[o], m))
        for (o, m), units in np.ndenumerate(buy)
        if units
    )
    active = problem.active_units(buy)
    for charge in problem.fixed_charges:
        mine = [o for o, offer in enumerate(problem.offers) if offer.name in charge.offers]
        usd += sum(problem.fixed_usd(charge, int(m)) for m in np.flatnonzero(active[mine].sum(axis=0)))
    return float(usd)
