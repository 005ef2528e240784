"""The same demand served in another way: what the plan saves is told against these.

One way only, every workload alone (`silos.py`), today's fleet and APIs, the last plan's purchases (`recost.py`). Each
is the same programme with fewer supplies, so a strategy that cannot serve everything (a stock that runs out, a
model that no API sells) shows as impossible instead of as cheap. Each is solved at the plan's own penalty for unserved
work first; a strategy that leaves out more than one request in a million is solved again at `decide.UNSERVED_USD` each,
so that leaving work out does not pay. What a rule of the house forbids is called forbidden.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from planner.assemble import Case
from planner.cash import paid
from planner.cheapest import cheapest
from planner.decide import careful
from planner.fewer import fewer
from planner.plan import LAST_PLAN, Baseline, Plan, Scheme
from planner.problem import Problem
from planner.recost import fixed
from planner.silos import alone
from planner.solve import ImpossibleError, Solution

_HAIR = 1e-6
"""Share of the requests that a strategy may leave out: the last of a month's peak can cost a GPU for the month."""
SILOS, TODAY, LAST = "silos per workload", "today's fleet and APIs", LAST_PLAN

_SILOS_NOTE = "without the GPUs that are there already, which can be given to one workload only"
_LAST_NOTE = "what it signed is taken as there: today's stocks and site limits are not asked again"
_NO_FLEET = "no [[fleet]] in plan.toml: the same as all API"

STRATEGIES: tuple[tuple[str, tuple[Scheme, ...]], ...] = (
    ("all API", ("api",)),
    ("all rented on demand", ("on demand",)),
    ("all reserved", ("reserved",)),
    ("all owned", ("owned",)),
    ("no API", ("existing", "owned", "reserved", "commitment", "spot", "on demand")),
)

RESTRICTED = frozenset({*(name for name, _ in STRATEGIES), TODAY})
"""Strategies that are the plan's own problem with fewer supplies, so that none can cost less than its bound."""

_RULED_OUT: dict[Scheme, str] = {
    "api": "api", "on demand": "on-demand", "reserved": "reserved", "owned": "buy", "spot": "spot",
    "commitment": "commitment",
}  # fmt: skip
"""What `policy.forbid` calls each scheme."""


def baselines(
    case: Case,
    *,
    gap: float,
    time_limit_s: float,
    last: Plan | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Baseline, ...]:
    """Every strategy of `STRATEGIES`, silos, today's fleet and the last plan, priced in `time_limit_s` altogether.

    The fleet that is there already stays and is used only where it is named.
    """
    made: list[tuple[str, Callable[[float], Baseline]]] = [
        (name, partial(_one_way, case, name, schemes, gap)) for name, schemes in STRATEGIES
    ]
    if len(case.workloads) > 1:
        made.append((SILOS, partial(_silos, case, gap)))
    made.append((TODAY, partial(_today, case, gap)))
    if last is not None:
        made.append((LAST, partial(_last, case, last, gap)))
    found = []
    for name, price in made:
        progress(name)
        found.append(price(time_limit_s / len(made)))
    return _no_dearer_than_a_part(found)


def _no_dearer_than_a_part(found: list[Baseline]) -> tuple[Baseline, ...]:
    """What may use several ways costs at most what one of them alone does, whatever the search found in its time."""
    by_name = {baseline.name: baseline for baseline in found}
    ways = dict(STRATEGIES) | {TODAY: ("existing", "api")}
    made = []
    for baseline in found:
        parts = [
            part
            for name, schemes in STRATEGIES
            if set(schemes) < set(ways.get(baseline.name, ())) and (part := by_name[name]).usd is not None
        ]
        best = min(parts, key=lambda part: part.usd or 0.0, default=None)
        if best is not None and (baseline.usd is None or baseline.usd > (best.usd or 0.0)) and not baseline.forbidden:
            note = f"the search found nothing cheaper than {best.name}"
            made.append(best.model_copy(update={"name": baseline.name, "note": note, "gap": None}))
        else:
            made.append(baseline)
    return tuple(made)


def _one_way(case: Case, name: str, schemes: tuple[Scheme, ...], gap: float, limit_s: float) -> Baseline:
    allowed = [scheme for scheme in schemes if _RULED_OUT.get(scheme) not in case.plan.policy.forbid]
    if not allowed:
        rules = ", ".join(_RULED_OUT[scheme] for scheme in schemes)
        return Baseline(name=name, usd=None, gap=None, note=f"policy.forbid rules it out: {rules}", forbidden=True)
    offered = {info.scheme for info in case.offers} | ({"api"} if case.endpoints else set())
    if not offered & set(schemes):
        return _none(name, "nothing in the price book serves in this way")
    return _priced(case, name, restricted(case, schemes).problem, gap, limit_s)


def _silos(case: Case, gap: float, limit_s: float) -> Baseline:
    """Every workload planned alone, the bills added up."""
    costly = careful(case.problem)
    asking = [workload for workload in case.workloads if workload.classes]
    parts = [_priced(case, SILOS, alone(replace(case, problem=costly), w), gap, limit_s / len(asking)) for w in asking]
    for part, workload in zip(parts, asking, strict=True):
        if part.usd is None:
            return _none(SILOS, f"{workload.name}: {part.note}")
    bills = [part.usd or 0.0 for part in parts]
    total = sum(bills)
    lost = sum((part.gap or 0.0) * usd for part, usd in zip(parts, bills, strict=True))
    months = tuple(sum(amounts) for amounts in zip(*(part.paid for part in parts), strict=True))
    note = _SILOS_NOTE if any(info.scheme == "existing" for info in case.offers) else ""
    return Baseline(name=SILOS, usd=total, gap=lost / total if total else 0.0, note=note, paid=months)


def _today(case: Case, gap: float, limit_s: float) -> Baseline:
    if not any(info.scheme == "existing" for info in case.offers):
        found = _one_way(case, TODAY, ("api",), gap, limit_s)
        return found.model_copy(update={"note": "; ".join(filter(None, (_NO_FLEET, found.note)))})
    return _priced(case, TODAY, restricted(case, ("existing", "api")).problem, gap, limit_s)


def _last(case: Case, last: Plan, gap: float, limit_s: float) -> Baseline:
    found = fixed(case, last)
    if isinstance(found, str):
        return _none(LAST, found)
    made = _priced(case, LAST, careful(found.problem), gap, limit_s)
    if made.usd is None:
        return made
    usd = made.usd + found.purchases_usd
    gap = (made.gap or 0.0) * made.usd / usd if usd else 0.0
    return made.model_copy(update={"usd": usd, "gap": gap, "paid": (), "note": _LAST_NOTE})


def _none(name: str, note: str) -> Baseline:
    return Baseline(name=name, usd=None, gap=None, note=note)


def restricted(case: Case, schemes: tuple[Scheme, ...]) -> Case:
    """The case with the supplies of these schemes only."""
    less = fewer(case, lambda info: info.scheme in schemes, lambda _: "api" in schemes)
    return replace(less, problem=careful(less.problem))


def _priced(case: Case, name: str, problem: Problem, gap: float, limit_s: float) -> Baseline:
    """At the case's own penalty first, which is found sooner; where that leaves more than a hair out, with care."""
    penalty = max(case.problem.unserved_usd_per_request)
    usual = replace(problem, unserved_usd_per_request=(penalty,) * len(problem.classes))
    try:
        solution = cheapest(usual, gap=gap, time_limit_s=limit_s)
        if (missed := _missed_share(solution)) > _HAIR:
            solution = cheapest(problem, gap=gap, time_limit_s=limit_s)
            missed = _missed_share(solution)
    except ImpossibleError as error:
        return _none(name, str(error))
    if missed <= _HAIR:
        note = "" if missed <= 1e-9 else "the last request in a million is left out, at the penalty for unserved work"
        return Baseline(name=name, usd=solution.cost_usd, gap=solution.gap, note=note, paid=paid(solution, case.span))
    if solution.gap > gap:
        note = f"no plan that serves everything was found in {limit_s:.0f} s; one may exist"
        return _none(name, note).model_copy(update={"unfinished": True})
    return _none(name, f"cannot serve everything: {missed:.2%} of the requests have no supply")


def _missed_share(solution: Solution) -> float:
    requests = float((solution.blocks.weight_h @ solution.blocks.demand).sum())
    return float(solution.unserved.sum()) / requests if requests else 0.0
