"""The profit-and-loss view: the same money as `cash.py` tells, as an expense of the month that uses it.

Money is as it is here, not discounted: what is written off of a purchase adds up to its price, not to a present value.

* What runs (commitments, power, a team, hours on demand, APIs) is an expense of its month, as it is paid.
* What is bought is written off in a straight line to nothing, from the month in which it serves, over [accounting]
  `depreciation_years`, else the price book's life of a server. What a sale brings at the end is not in it: that month
  shows the book value instead.
* What a term costs upfront is an expense of its hours, those past the horizon not yet.
* Interest is an expense of the month in which it is owed; what a loan pays back is none.
* A buyout is an expense of the last month.

`to_bill` leads from the whole expense to the bill, line by line: what is paid and not used yet (book values), what is
owed past the horizon, what a sale would bring, and last what discounting takes off. Where the horizon covers the lives
of all that is bought, is not discounted and owes nothing after it, the expense is the bill.

The plan is decided before tax; the tax that an expense saves is shown beside it, for a house with profits to tax.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from planner.assemble import Case
from planner.cash import Flows, flows
from planner.plan import Amount, Books, BooksMonth, Expense
from planner.problem import Array, Epoch, Offer, Problem
from planner.solve import Solution
from planner.supply import OfferInfo

DEPRECIATION, INTEREST = "depreciation", "interest"
_BUYOUT, _FINANCING, _PENALTY = "buyout at the end", "financing", "unserved"
"""Lines of the bill; the penalty is one that nobody pays, so it saves no tax."""
_CENT = 0.005


@dataclass(frozen=True, eq=False)
class _Ledger:
    """[M] by epoch: expenses by (name, line of the bill), and what is left at its end of purchases, terms and loans."""

    expenses: dict[tuple[str, str], Array]
    bought: Array
    prepaid: Array
    loans: Array


def books(case: Case, solution: Solution) -> Books:
    """The plan's expenses month by month, and the way from them to its bill."""
    face = replace(solution, problem=_at_face_value(solution.problem))
    count, moved = len(face.problem.epochs), flows(face)
    ledger = _Ledger(defaultdict(lambda: np.zeros(count)), *(np.zeros(count) for _ in range(3)))
    for name, (_, running, at_end) in moved.items():
        ledger.expenses[name, name] += running
        if name == _BUYOUT:
            ledger.expenses[name, name][-1] += at_end
    lengths = months_of(face.problem.epochs, case.span.months)
    for (o, m), units in np.ndenumerate(face.fleet.buy):
        if units:
            _spread(ledger, face.problem, case.offers[o], m, units=float(units), lengths=lengths)
    rate = case.plan.accounting.tax_rate
    bought = [case.offers[o] for o in np.flatnonzero(face.fleet.buy.any(axis=1))]
    return Books(
        tax_rate=rate,
        life_months={info.gpu: info.write_off_months for info in bought if info.write_off_months is not None},
        months=tuple(_month(ledger, m, epoch.name, rate) for m, epoch in enumerate(face.problem.epochs)),
        to_bill=tuple(_to_bill(ledger, moved, solution.cost_usd)),
    )


def months_of(epochs: tuple[Epoch, ...], months: float) -> Array:
    """[M] calendar months in every epoch: all of the horizon in a single one, else one each, the last perhaps cut.

    >>> months_of((Epoch("a", 744.0), Epoch("b", 168.0, past_h=504.0)), 1.25).tolist()
    [1.0, 0.25]
    """
    if len(epochs) == 1:
        return np.array([months])
    return np.array([epoch.hours / (epoch.hours + epoch.past_h) for epoch in epochs])


def written_off(lengths: Array, from_epoch: int, life_months: float) -> Array:
    """[M] share of a purchase that is written off in every epoch, in a straight line from the one in which it serves.

    >>> written_off(np.ones(5), 1, 3.0).round(3).tolist()
    [0.0, 0.333, 0.333, 0.333, 0.0]
    """
    age = np.concatenate([[0.0], np.cumsum(np.where(np.arange(len(lengths)) >= from_epoch, lengths, 0.0))])
    share: Array = np.diff(np.minimum(age / life_months, 1.0))
    return share


def _at_face_value(problem: Problem) -> Problem:
    """The problem without discounts."""
    epochs, later = (tuple(replace(epoch, discount=1.0) for epoch in each) for each in (problem.epochs, problem.later))
    return replace(problem, epochs=epochs, later=later, end_discount=1.0)


def _spread(ledger: _Ledger, problem: Problem, info: OfferInfo, m: int, *, units: float, lengths: Array) -> None:
    """Put one purchase's money of the first day into the months that use it, and its loan's interest."""
    offer, factor = info.offer, units * info.offer.price_factor(m)
    is_bought = info.write_off_months is not None
    if info.write_off_months is not None:
        shares = written_off(lengths, m + offer.lead_epochs, info.write_off_months)
    else:
        shares = _used(problem, offer, m)
    left = np.where(np.arange(len(shares)) >= m, 1 - np.cumsum(shares), 0.0)
    for line in offer.upfront:
        usd = factor * line.usd
        ledger.expenses[DEPRECIATION if is_bought else line.name, line.name] += usd * shares
        (ledger.bought if is_bought else ledger.prepaid)[:] += usd * left
    if offer.loan is not None:
        owed = np.array([offer.loan.owed(n - m) if n >= m else 0.0 for n in range(len(shares))])
        owed *= factor * offer.upfront_usd
        ledger.expenses[INTEREST, _FINANCING] += offer.loan.interest_per_epoch * owed
        ledger.loans[:] += (1 + offer.loan.interest_per_epoch) * owed


def _used(problem: Problem, offer: Offer, m: int) -> Array:
    """[M] share of a term's hours in every epoch; those past the horizon are in none."""
    hours = np.zeros(len(problem.epochs))
    inside = list(problem.active_epochs(offer, m))
    hours[inside] = [problem.epochs[n].hours for n in inside]
    share: Array = hours / (hours.sum() + sum(past for past, _ in problem.past(offer, m)))
    return share


def _month(ledger: _Ledger, m: int, name: str, tax_rate: float | None) -> BooksMonth:
    expenses = tuple(
        Expense(name=what, line=line, usd=float(usd[m])) for (what, line), usd in ledger.expenses.items() if usd[m]
    )
    taxed = sum(expense.usd for expense in expenses if expense.line != _PENALTY)
    return BooksMonth(
        name=name,
        expenses=expenses,
        usd=sum(expense.usd for expense in expenses),
        tax_saved_usd=None if tax_rate is None else tax_rate * taxed,
        book_usd=float(ledger.bought[m] + ledger.prepaid[m]),
        loans_usd=float(ledger.loans[m]),
    )


def _to_bill(ledger: _Ledger, moved: Flows, bill_usd: float) -> Iterable[Amount]:
    """From the whole expense to the bill; each row is computed by itself, so that they add up only if all is right."""
    paid = {name: float(at_once.sum() + running.sum()) + at_end for name, (at_once, running, at_end) in moved.items()}
    interest = float(ledger.expenses[INTEREST, _FINANCING].sum())
    rows = [
        ("expense of the horizon", sum(float(usd.sum()) for usd in ledger.expenses.values())),
        ("book value at the end of what is bought", float(ledger.bought[-1])),
        ("paid upfront for terms' hours past the horizon", float(ledger.prepaid[-1])),
        ("interest owed past the horizon", paid.get(_FINANCING, 0.0) - interest),
        *((name, paid.get(name, 0.0)) for name in ("owed past the horizon", "upfront for later", "residual value")),
        ("discounted to present value", bill_usd - sum(paid.values())),
    ]
    yield from (Amount(name=name, usd=usd) for n, (name, usd) in enumerate(rows) if not n or abs(usd) >= _CENT)
