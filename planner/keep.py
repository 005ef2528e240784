"""Ties go to what is there, then to the last plan, so that quarters do not flip for a difference that is not proven.

The cheapest plan found is replaced by another fleet where that one, dispatched anew at today's prices and demand, obeys
every rule and costs no more than the gap asked for above the proven bound: the two cannot be told apart to that gap.
Tried in order: signing nothing new, where plan.toml states a [[fleet]]; the purchases of the last review, where it is
given. What the kept fleet costs more than the cheapest plan found is said and stays in the bill.

A last purchase whose month is over counts as signed: it is in the [[fleet]] if one is stated, else it is made now.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from planner.amounts import share, usd
from planner.assemble import Case
from planner.check import check
from planner.plan import Kept, Plan
from planner.present import fleet_usd, hours_usd
from planner.problem import Array
from planner.recost import bought, held
from planner.solve import ImpossibleError, Solution, solve
from planner.solver import Fleet

CENT = 0.01
THERE, LAST = "what is there already", "the last plan's purchases"


def keep(
    case: Case, solution: Solution, last: Plan | None, *, gap: float, time_limit_s: float
) -> tuple[Solution, Kept | None]:
    """The plan to recommend, and why, where that is not the cheapest that was found."""
    for what, buy in _candidates(case, last):
        if np.array_equal(buy, solution.fleet.buy):
            return solution, None
        other = with_fleet(case, solution, buy, gap=gap / 2, time_limit_s=time_limit_s)
        if other is not None and other.gap <= gap:
            return other, _told(what, solution, other)
    return solution, None


def with_fleet(case: Case, solution: Solution, buy: Array, *, gap: float, time_limit_s: float) -> Solution | None:
    """The best use of this fleet, with the proof of `solution`; None where it breaks a rule.

    A fleet that costs less than the bound refutes it, so the bound stays as it is, for `check` to find.
    """
    problem = case.problem
    try:
        used = solve(held(problem, buy), gap=gap, time_limit_s=time_limit_s)
    except ImpossibleError:
        return None
    fleet = Fleet(buy, used.fleet.replicas)
    cost = fleet_usd(problem, fleet) + hours_usd(problem, used.blocks, used.hours.usd_per_h)
    bound = min(solution.bound_usd, cost)
    made = Solution(problem, fleet, used.blocks, used.block_of, used.hours, cost, bound, solution.proof)
    return None if check(made) else replace(made, bound_usd=solution.bound_usd)


def _candidates(case: Case, last: Plan | None) -> Iterable[tuple[str, Array]]:
    there = any(info.scheme == "existing" for info in case.offers)
    if there:
        yield THERE, np.zeros((len(case.offers), len(case.problem.epochs)))
    if last is not None:
        signed = last
        if there and last.horizon_start < case.span.start.isoformat():
            begun = case.problem.epochs[0].name
            future = tuple(p for p in last.purchases if p.epoch != "start" and p.epoch >= begun)
            signed = last.model_copy(update={"purchases": future})
        buy = bought(case, signed)
        if not isinstance(buy, str):
            yield LAST, buy


def _told(what: str, cheapest: Solution, kept: Solution) -> Kept:
    extra = kept.cost_usd - cheapest.cost_usd
    part = extra / kept.cost_usd if kept.cost_usd else 0.0
    begin = "Sign nothing new" if what == THERE else "Keep the last plan's purchases"
    says = f"{begin}: no cheaper plan was found."
    if extra > CENT:
        says = f"{begin}: the cheapest plan found costs {usd(extra)} ({share(part)}) less, within the gap asked for."
    return Kept(what=what, extra_usd=extra, cheapest_usd=cheapest.cost_usd, says=says)
