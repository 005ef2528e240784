"""Case -> the plan to recommend: the cheapest, and again where it leaves work out at a price that nobody stated.

A request that is not served costs what plan.toml says. Where it says nothing the price is a default (`penalty.py`),
which no number can make dearer than every way to serve the last request of a peak. So where such work is left out, the
decision is made again with `UNSERVED_USD` a request. What then is served is the plan, and what serving costs more is
said; what is missed even then is what nothing can serve, and the first plan stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from planner.amounts import usd
from planner.assemble import Case
from planner.attribution import missed_requests
from planner.cheapest import cheapest, left_out
from planner.problem import Problem
from planner.solve import Progress, Solution

UNSERVED_USD = 1e4


@dataclass(frozen=True, eq=False)
class Decided:
    """A plan and the case that it decides, which is the one that was given unless its notes say otherwise."""

    case: Case
    solution: Solution
    impossible: float | None = None
    """Requests that nothing can serve; None: not known, or nothing is left out."""


def decide(
    case: Case, *, gap: float, time_limit_s: float, progress: Callable[[Progress], None] = lambda _: None
) -> Decided:
    """The plan for the case; every further decision has `time_limit_s` of its own, none follows a stopped one."""
    first = _cheapest(case, gap, time_limit_s, progress)
    missed = _unpriced(first)
    if not missed or first.solution.stopped:
        return first
    careful = replace(case, problem=_careful(case))
    again = _cheapest(careful, gap, time_limit_s, progress)
    left = _unpriced(again)
    if not left:
        extra = again.solution.cost_usd - (first.solution.cost_usd - _priced(first))
        note = (
            f"{missed:,.0f} requests cost {usd(extra)} more to serve than to leave; state unserved_usd_per_request in "
            "plan.toml where such work is worth less."
        )
        return replace(again, case=replace(again.case, notes=(*again.case.notes, note)))
    return first if again.solution.gap > gap else replace(first, impossible=left)


def careful(problem: Problem) -> Problem:
    """The problem in which leaving work out does not pay."""
    return replace(problem, unserved_usd_per_request=(UNSERVED_USD,) * len(problem.classes))


def _careful(case: Case) -> Problem:
    """Only of workloads for which plan.toml states no price of unserved work."""
    usd_per_request = list(case.problem.unserved_usd_per_request)
    for workload in case.workloads:
        if workload.spec.unserved_usd_per_request is None:
            for k in workload.classes:
                usd_per_request[k] = max(UNSERVED_USD, usd_per_request[k])
    return replace(case.problem, unserved_usd_per_request=tuple(usd_per_request))


def _cheapest(case: Case, gap: float, time_limit_s: float, progress: Callable[[Progress], None]) -> Decided:
    """The cheapest plan, in a case without the offers that it was found without."""
    solution = cheapest(case.problem, gap=gap, time_limit_s=time_limit_s, progress=progress)
    gone = left_out(case.problem, solution)
    if not gone:
        return Decided(case, solution)
    labels = ", ".join(case.offers[o].label for o in gone)
    note = (
        f"Left out: {labels}. With the hours for which they are paid beyond those that need them, every plan found "
        "that uses them is dearer; the proof does not count on these hours, so its gap is wider by what they cost."
    )
    return Decided(replace(case, problem=solution.problem, notes=(*case.notes, note)), solution)


def _unpriced(decided: Decided) -> float:
    """Requests that are missed though plan.toml states no price for that."""
    missed = missed_requests(decided.solution)
    workloads = (w for w in decided.case.workloads if w.spec.unserved_usd_per_request is None)
    return sum(float(missed[list(w.classes)].sum()) for w in workloads)


def _priced(decided: Decided) -> float:
    """What unserved work is priced at in the bill, undiscounted."""
    prices = decided.case.problem.unserved_usd_per_request
    return float(missed_requests(decided.solution) @ prices)
