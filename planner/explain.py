"""The plan explains itself: each question is the same decision solved again with one thing changed.

* **Supplies.** Without all purchases of one offer (or one API): how much dearer the plan gets, what takes its place.
* **Margins.** One per cent more of a workload, everything decided again: the long-run marginal cost, beside the
  short-run one that holds the fleet fixed.
* **Rules.** Without one rule: how much cheaper (`rule_costs.py`).
* **Entries.** Of what is not used, the nearest by price: the factor of its price at which it would be, by halving.

Two plans with gaps tell their difference to these gaps only: with optima in [bound, cost] and [bound', cost'], removing
a supply costs from bound' - cost to cost' - bound. Where +1 % is hidden so, +10 % is asked. The questions share one
time limit, in this order; what it does not reach, or reaches without a proof, is listed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from planner.assemble import Case
from planner.attribution import missed_requests
from planner.cheapest import cheapest
from planner.deployments import CaseWorkload
from planner.entries import entry, nearest
from planner.fewer import fewer
from planner.inputs import Checked
from planner.most_units import tight
from planner.plan import Scheme, Supply
from planner.plan_explained import Entry, Explained, LongRun, Shift, Without
from planner.problem import Blocks
from planner.purchases import supplies
from planner.rule_costs import rules
from planner.solve import ImpossibleError, Solution
from planner.told import solved

STEPS = (0.01, 0.1)
_SHOWN = 0.005
"""Of all tokens: the least that a supply must gain to be named in another's place."""
_MOST = 3

Answer = Without | LongRun | Entry


@dataclass(frozen=True, eq=False)
class Asked:
    """The plan that is asked about, and the gap to which each question is solved."""

    case: Case
    solution: Solution
    gap: float


@dataclass(frozen=True)
class Question:
    """What is asked, in words, and how to answer it in so many seconds."""

    name: str
    answer: Callable[[float], Answer | None]
    """None: not in that time."""


def explain(
    checked: Checked,
    asked: Asked,
    *,
    time_limit_s: float,
    clock: Callable[[], float] = time.monotonic,
    progress: Callable[[str], None] = lambda _: None,
) -> Explained:
    """Ask every question that the time limit allows."""
    end = clock() + time_limit_s
    questions = [*_supplies(asked), *_margins(asked), *_rules(checked, asked), *_entries(asked)]
    found: list[Answer] = []
    unasked = []
    for place, question in enumerate(questions):
        left = end - clock()
        if left <= 0:
            unasked.append(question.name)
            continue
        progress(question.name)
        answer = _answered(question, max(1.0, left / (len(questions) - place)))
        if answer is None:
            unasked.append(question.name)
        else:
            found.append(answer)
    withouts = [each for each in found if isinstance(each, Without)]
    return Explained(
        supplies=tuple(each for each in withouts if each.kind == "supply"),
        rules=tuple(each for each in withouts if each.kind == "rule"),
        margins=tuple(each for each in found if isinstance(each, LongRun)),
        entries=tuple(each for each in found if isinstance(each, Entry)),
        unasked=tuple(unasked),
    )


def _answered(question: Question, limit_s: float) -> Answer | None:
    try:
        return question.answer(limit_s)
    except ImpossibleError:
        return None


def _supplies(asked: Asked) -> Iterable[Question]:
    """One question per supply in use that is not there anyway, and per offer that is bought and serves nothing."""
    case, solution = asked.case, asked.solution
    used = [s.name for s in supplies(solved(case, solution)) if s.scheme != "existing"]
    idle = (info.label for o, info in enumerate(case.offers) if solution.fleet.buy[o].any())
    for label in dict.fromkeys((*used, *idle)):
        scheme: Scheme = next((info.scheme for info in case.offers if info.label == label), "api")
        without = partial(_without_supply, asked, label, scheme)
        yield Question(f"without {label}", without)


def _without_supply(asked: Asked, label: str, scheme: Scheme, limit_s: float) -> Without:
    less = fewer(asked.case, lambda info: info.label != label, lambda info: info.label != label)
    return _without(asked, less, limit_s, label, scheme)


def _rules(checked: Checked, asked: Asked) -> Iterable[Question]:
    for name, lifted in rules(checked, asked.case, asked.solution):
        yield Question(f"without {name}", partial(_without_rule, asked, lifted, name))


def _without_rule(asked: Asked, lifted: Callable[[], Case], name: str, limit_s: float) -> Without:
    return _without(asked, lifted(), limit_s, name, None)


def _without(asked: Asked, other: Case, limit_s: float, name: str, scheme: Scheme | None) -> Without:
    """The same decision in another case: dearer without a supply, cheaper without a rule."""
    solution, again = asked.solution, cheapest(other.problem, gap=asked.gap, time_limit_s=limit_s)
    sign = -1 if scheme is None else 1
    ends = sorted(sign * usd for usd in (again.bound_usd - solution.cost_usd, again.cost_usd - solution.bound_usd))
    return Without(
        name=name,
        kind="rule" if scheme is None else "supply",
        scheme=scheme,
        usd=again.cost_usd,
        difference_usd=sign * (again.cost_usd - solution.cost_usd),
        least_usd=max(0.0, ends[0]),
        most_usd=max(0.0, ends[1]),
        unserved_requests=float(missed_requests(again).sum()),
        instead=_instead(supplies(solved(asked.case, solution)), supplies(solved(other, again))),
    )


def _instead(before: list[Supply], after: list[Supply]) -> tuple[Shift, ...]:
    """What carries more than before, the largest gain first."""
    had = {supply.name: supply.token_share for supply in before}
    gains = [Shift(name=s.name, token_share=s.token_share - had.get(s.name, 0.0)) for s in after]
    gains = [gain for gain in gains if gain.token_share >= _SHOWN]
    return tuple(sorted(gains, key=lambda gain: (-gain.token_share, gain.name))[:_MOST])


def _margins(asked: Asked) -> Iterable[Question]:
    for workload in asked.case.workloads:
        if workload.classes:
            yield Question(f"more of {workload.name}", partial(_long_run, asked, workload))


def _long_run(asked: Asked, workload: CaseWorkload, limit_s: float) -> LongRun:
    found = _at_step(asked, workload, STEPS[0], limit_s / 2)
    return found if found.clear else _at_step(asked, workload, STEPS[1], limit_s / 2)


def _at_step(asked: Asked, workload: CaseWorkload, step: float, limit_s: float) -> LongRun:
    solution, problem = asked.solution, asked.case.problem
    classes = list(workload.classes)
    demand = problem.blocks.demand.copy()
    demand[:, classes] *= 1 + step
    more = problem.with_blocks(Blocks(problem.blocks.epoch, problem.blocks.weight_h, demand))
    again = cheapest(tight(more), gap=asked.gap, time_limit_s=limit_s)
    tokens = np.array([shape.input_tokens + shape.output_tokens for shape in workload.shapes.classes])
    mtok = step * float(problem.blocks.weight_h @ problem.blocks.demand[:, classes] @ tokens) / 1e6
    return LongRun(
        workload=workload.name,
        step=step,
        usd_per_mtok=(again.cost_usd - solution.cost_usd) / mtok,
        least_usd_per_mtok=max(0.0, (again.bound_usd - solution.cost_usd) / mtok),
        most_usd_per_mtok=(again.cost_usd - solution.bound_usd) / mtok,
    )


def _entries(asked: Asked) -> Iterable[Question]:
    for candidate in nearest(asked.case, asked.solution):
        yield Question(f"cheaper {candidate.label}", partial(entry, asked.case, candidate, asked.gap))
