"""The cheapest plan that was found, also where time couples hours.

Minimum hours and start-up are paid after a fleet is chosen (`runs.py`): the bound leaves them out, and the choice does
not see them. So an offer with a low price and long minimum hours may win and turn out dear. Where such offers are in
use and the plan is further from its bound than was asked for, the decision is made again without them, those tied
longest first, and the cheaper plan is kept. Its bound stays the one of the whole decision, so what is proven holds for
plans with these offers too; the gap is wider by what their hours cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from planner.problem import Offer, Problem
from planner.solve import Progress, Solution, solve

_LITTLE = 1e-6


def cheapest(
    problem: Problem,
    *,
    gap: float,
    time_limit_s: float,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Solution:
    """`solve`, and again without what keeps units on longer than they are needed, where that may be cheaper.

    Each further decision has `time_limit_s` of its own. A plan that was found without some offers has a `problem` in
    which they are out of stock. Raises `ImpossibleError` as `solve` does.
    """
    first = solve(problem, gap=gap, time_limit_s=time_limit_s, progress=progress)

    def proven(less: Problem) -> Solution:
        other = solve(less, gap=gap, time_limit_s=time_limit_s, progress=progress)
        return replace(other, bound_usd=first.bound_usd, proof=first.proof)

    return untied(first, proven, gap)


def untied(first: Solution, answer: Callable[[Problem], Solution], gap: float) -> Solution:
    """The cheapest of a solution and of what is answered without the offers that it uses and that are tied longest.

    Nothing more is asked once a solution is within `gap` of its bound, or Ctrl-C ended its search.
    """
    best, problem = first, first.problem
    for tied_h in sorted({tied(offer) for offer in problem.offers}, reverse=True):
        if tied_h and best.gap > gap and not best.stopped and _uses(best, tied_h):
            less = replace(problem, offers=tuple(_without(offer, tied_h) for offer in problem.offers))
            other = answer(less)
            best = replace(min(best, other, key=lambda solution: solution.cost_usd), stopped=other.stopped)
    return best


def tied(offer: Offer) -> float:
    """Hours that a unit is paid for beyond the one in which it is needed; 0 where that is none."""
    return offer.minimum_h - 1 + offer.start_h


def left_out(problem: Problem, solution: Solution) -> tuple[int, ...]:
    """The offers of `problem` without which the solution was found."""
    pairs = zip(problem.offers, solution.problem.offers, strict=True)
    return tuple(o for o, (before, now) in enumerate(pairs) if before != now)


def _uses(solution: Solution, tied_h: float) -> bool:
    hours = solution.total("on", len(solution.problem.offers))
    return any(hours[o] > _LITTLE for o, offer in enumerate(solution.problem.offers) if tied(offer) >= tied_h)


def _without(offer: Offer, tied_h: float) -> Offer:
    return replace(offer, max_units=0.0, minimum_h=1.0, start_h=0.0) if tied(offer) >= tied_h else offer
