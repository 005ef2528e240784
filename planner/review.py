"""One review from files to folder: read, assemble, solve, compare, tell, write. `planner solve` prints it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from hardware_profiles.faults import Fault, InputError
from planner.assemble import Case, assemble
from planner.baselines import baselines
from planner.beside import hidden_amounts, migration
from planner.decide import Decided, decide
from planner.explain import Asked, explain
from planner.hourly import HourTable
from planner.inputs import Checked, check_inputs
from planner.keep import keep
from planner.names import slugs
from planner.outcome import make_plan
from planner.plan import Baseline, Kept, Plan
from planner.reasons import reasoned
from planner.report import check_folder, write_review
from planner.since import read_last, since
from planner.solve import ImpossibleError, Progress
from planner.strain import Band
from planner.whatif import sensitivities

BASELINE_SHARE = 0.5
"""Of the plan's time limit, for all baselines together; one that left work out has its share once more."""
STOPPED_S = 8.0
"""For all baselines together after Ctrl-C."""
KEEP_SHARE = 0.25
"""Of the plan's time limit, for each fleet that might be kept."""
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Wanted:
    """What the command line asks for."""

    forecast: Path
    plan: Path | None
    model: str | None
    profiles: Path | None
    gap: float
    time_limit_s: float
    today: date
    name: str | None
    reports: Path
    what_if: bool = False
    """Whether to move the plan's main figures and solve again."""
    explain: bool = False
    """Whether to say by solving again why each supply is there and what each rule costs."""
    last: Path | None = None
    """Folder of the last review."""
    actuals: tuple[Path, ...] = ()
    """What was asked for and paid since."""
    capacity: Band | None = None
    """End of the curves' uncertainty; None: what plan.toml says."""


@dataclass(frozen=True, eq=False)
class Review:
    """A finished review and the files that were written."""

    plan: Plan
    hours: HourTable
    case: Case
    files: tuple[Path, ...]


def review(
    wanted: Wanted,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    step: Callable[[str], None] = lambda _: None,
) -> Review:
    """Make the plan for `wanted` and write its folder; bad input raises `InputError` before anything is written.

    Ctrl-C ends the search for the plan; the best one so far is compared in a few seconds, asked nothing more, and
    written. Another Ctrl-C while it is compared leaves the comparison out.
    """
    step("reading")
    last = None if wanted.last is None else read_last(wanted.last, wanted.actuals)
    checked = check_inputs(
        wanted.forecast,
        plan_path=wanted.plan,
        model=wanted.model,
        profiles=wanted.profiles,
        today=wanted.today,
        capacity=wanted.capacity,
    )
    name = wanted.name or default_name(wanted.today, wanted.forecast)
    folder = wanted.reports / (name if _is_plain(name) else slugs([name])[name])
    check_folder(folder)
    case = assemble(
        checked.forecast,
        checked.plan,
        checked.workloads,
        checked.book,
        checked.curves,
        today=wanted.today,
        noted=checked.notes,
    )
    before = None if last is None else last.plan
    decided, kept = _decided(case, before, wanted, progress, step)
    case, solution = decided.case, decided.solution
    others_s = min(wanted.time_limit_s * BASELINE_SHARE, STOPPED_S if solution.stopped else math.inf)
    gap = max(wanted.gap, 0.01)
    strategies = _strategies(case, gap, others_s, before, step)
    inputs = digests(checked, case)
    plan, hours = make_plan(
        name, case, solution, strategies, inputs, made_on=wanted.today, kept=kept, impossible=decided.impossible
    )
    told: dict[str, object] = {"since": None if last is None else since(last, plan.prices)}
    if wanted.what_if and not solution.stopped:
        told["sensitivities"] = sensitivities(
            case, solution, gap=gap, time_limit_s=others_s / 5, progress=lambda driver: step(f"moving {driver}")
        )
    swaps = migration(plan, before, case.plan.hidden_costs.migration_usd_per_swap)
    told["hidden"] = (*hidden_amounts(case, solution), *swaps)
    plan = plan.model_copy(update=told)
    if wanted.explain and not solution.stopped:
        asked = Asked(case, solution, wanted.gap)
        found = explain(checked, asked, time_limit_s=wanted.time_limit_s, progress=lambda what: step(f"asking: {what}"))
        plan = reasoned(plan, found)
    step("writing")
    return Review(plan, hours, case, write_review(plan, hours, folder))


def _decided(
    case: Case, last: Plan | None, wanted: Wanted, progress: Callable[[Progress], None], step: Callable[[str], None]
) -> tuple[Decided, Kept | None]:
    """The plan to recommend: the cheapest found, or what is there or was decided last where that is as good."""
    step("solving")
    try:
        found = decide(case, gap=wanted.gap, time_limit_s=wanted.time_limit_s, progress=progress)
    except ImpossibleError as error:
        remedy = "loosen max_owned_gpus, max_kw or max_rack_units in plan.toml, or give a longer --time-limit"
        raise InputError(Fault(str(error), remedy)) from None
    if found.solution.stopped:
        note = (
            "Ctrl-C ended the search: a longer one may find a cheaper plan. What --what-if and --explain ask of it is "
            "left out."
        )
        return replace(found, case=replace(found.case, notes=(*found.case.notes, note))), None
    step("comparing with what is there and the last plan")
    limit_s = wanted.time_limit_s * KEEP_SHARE
    solution, kept = keep(found.case, found.solution, last, gap=wanted.gap, time_limit_s=limit_s)
    return replace(found, solution=solution), kept


def _strategies(
    case: Case, gap: float, time_limit_s: float, last: Plan | None, step: Callable[[str], None]
) -> tuple[Baseline, ...]:
    """Other strategies, priced; none where Ctrl-C interrupts that."""
    try:
        return baselines(
            case, gap=gap, time_limit_s=time_limit_s, last=last, progress=lambda name: step(f"pricing {name}")
        )
    except KeyboardInterrupt:
        return ()


def default_name(today: date, forecast: Path) -> str:
    """The quarter and the forecast's file: `2026-Q4-forecast`."""
    stem = slugs([forecast.stem])[forecast.stem]
    return f"{today.year}-Q{(today.month + 2) // 3}-{stem}"


def digests(checked: Checked, case: Case) -> dict[str, str]:
    """SHA-256 of every input: the same digests give the same plan."""
    found = {f"forecast {checked.forecast.path.name}": checked.forecast.sha256}
    if checked.plan.source is not None:
        found[f"plan {checked.plan.source.path.name}"] = checked.plan.source.sha256
    found |= dict(checked.book.digests)
    curves = {info.curve.key: info.curve for info in case.deployments}
    text = "\n".join(curves[key].model_dump_json() for key in sorted(curves, key=repr))
    found["curves used"] = hashlib.sha256(text.encode()).hexdigest()
    return found


def _is_plain(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_NAME and all(c.isascii() and (c.isalnum() or c in "-_") for c in name)
