"""The same demand served in one way only: what the plan saves is told against these.

Each is the same programme with fewer supplies, so a strategy that cannot serve everything (a stock that runs out, a
model that no API sells) shows as impossible instead of as cheap. Leaving work out must not pay here: a request that
nobody serves costs `UNSERVED_USD`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from planner.assemble import Case
from planner.cash import paid
from planner.plan import Baseline, Scheme
from planner.solve import ImpossibleError, Solution, solve

UNSERVED_USD = 1e4

STRATEGIES: tuple[tuple[str, tuple[Scheme, ...]], ...] = (
    ("all API", ("api",)),
    ("all rented on demand", ("on demand",)),
    ("all reserved", ("reserved",)),
    ("all owned", ("owned",)),
    ("no API", ("existing", "owned", "reserved", "spot", "on demand")),
)


def baselines(
    case: Case, *, gap: float, time_limit_s: float, progress: Callable[[str], None] = lambda _: None
) -> tuple[Baseline, ...]:
    """Every strategy of `STRATEGIES`, priced; the fleet that is there already stays and is used only where named."""
    found = []
    for name, schemes in STRATEGIES:
        progress(name)
        found.append(_priced(case, name, schemes, gap, time_limit_s))
    return tuple(found)


def restricted(case: Case, schemes: tuple[Scheme, ...]) -> Case:
    """The case with the supplies of these schemes only."""
    offers = tuple(info for info in case.offers if info.scheme in schemes)
    endpoints = case.endpoints if "api" in schemes else ()
    names = {info.offer.name for info in offers}
    kept = (
        replace(charge, offers=tuple(name for name in charge.offers if name in names))
        for charge in case.problem.fixed_charges
    )
    problem = replace(
        case.problem,
        fixed_charges=tuple(charge for charge in kept if charge.offers),
        offers=tuple(info.offer for info in offers),
        endpoints=tuple(info.endpoint for info in endpoints),
        unserved_usd_per_request=(UNSERVED_USD,) * len(case.problem.classes),
        limits=tuple(
            replace(limit, per_unit={name: use for name, use in limit.per_unit.items() if name in names})
            for limit in case.problem.limits
        ),
    )
    return replace(case, problem=problem, offers=offers, endpoints=endpoints)


def _priced(case: Case, name: str, schemes: tuple[Scheme, ...], gap: float, time_limit_s: float) -> Baseline:
    offered = {info.scheme for info in case.offers} | ({"api"} if case.endpoints else set())
    if not offered & set(schemes):
        return Baseline(name=name, usd=None, gap=None, note="nothing in the price book serves in this way")
    try:
        solution = solve(restricted(case, schemes).problem, gap=gap, time_limit_s=time_limit_s)
    except ImpossibleError as error:
        return Baseline(name=name, usd=None, gap=None, note=str(error))
    missed = _missed_share(solution)
    if missed > 1e-9:
        note = f"cannot serve everything: {missed:.2%} of the requests have no supply"
        return Baseline(name=name, usd=None, gap=None, note=note)
    return Baseline(name=name, usd=solution.cost_usd, gap=solution.gap, note="", paid=paid(solution, case.span))


def _missed_share(solution: Solution) -> float:
    requests = float((solution.blocks.weight_h @ solution.blocks.demand).sum())
    return float(solution.unserved.sum()) / requests if requests else 0.0
