"""Other strategies: never cheaper than the plan, forbidden where a rule says so, the last plan as it was decided."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from review_fixtures import plan as made_plan

from planner.assemble import Case, assemble
from planner.baselines import LAST, SILOS, TODAY, _no_dearer_than_a_part, _silos, _today, baselines
from planner.inputs import check_inputs
from planner.outcome import make_plan
from planner.plan import Baseline, Plan
from planner.planfile import PlanFile
from planner.recost import Fixed, fixed
from planner.sections import strategies
from planner.silos import alone
from planner.solve import Solution, solve

EXAMPLE = Path(__file__).parents[1] / "examples" / "forecast.csv"
TODAY_IS = date(2026, 11, 20)


def _case(**tables: object) -> Case:
    checked = check_inputs(EXAMPLE, today=TODAY_IS)
    content = {**checked.plan.model_dump(mode="json", exclude_unset=True), **tables}
    plan = PlanFile.model_validate(content)
    return assemble(checked.forecast, plan, checked.workloads, checked.book, checked.curves, today=TODAY_IS)


@pytest.fixture(scope="module")
def solved() -> tuple[Case, Solution, Plan]:
    case = _case()
    solution = solve(case.problem, gap=0.002)
    plan, _ = make_plan("last", case, solution, (), {}, made_on=TODAY_IS)
    return case, solution, plan


@pytest.fixture(scope="module")
def others(solved: tuple[Case, Solution, Plan]) -> dict[str, Baseline]:
    case, _, plan = solved
    return {other.name: other for other in baselines(case, gap=0.002, time_limit_s=24, last=plan)}


def test_no_strategy_is_cheaper_than_what_is_proven(
    solved: tuple[Case, Solution, Plan], others: dict[str, Baseline]
) -> None:
    """Every other strategy costs at least the plan's bound, and its months add up to its bill."""
    for other in others.values():
        if other.usd is not None:
            assert other.usd >= solved[1].bound_usd * (1 - 1e-9), other.name
        if other.paid:
            assert other.paid[-1] == pytest.approx(other.usd)


def test_silos_are_the_workloads_planned_alone(
    solved: tuple[Case, Solution, Plan], others: dict[str, Baseline]
) -> None:
    """Each silo holds its own classes and its own demand; the bills add up."""
    case = solved[0]
    problems = [alone(case, workload) for workload in case.workloads]
    assert sum(len(problem.classes) for problem in problems) == len(case.problem.classes)
    total = sum(problem.blocks.demand.sum() for problem in problems)
    assert total == pytest.approx(case.problem.blocks.demand.sum())
    bills = sum(solve(problem, gap=0.002).cost_usd for problem in problems)
    assert others[SILOS].usd == pytest.approx(bills, rel=0.004)


def test_the_last_plan_on_the_same_inputs_costs_what_it_cost(
    solved: tuple[Case, Solution, Plan], others: dict[str, Baseline]
) -> None:
    """Nothing has changed, so re-costing gives the same bill."""
    case, solution, plan = solved
    assert others[LAST].usd == pytest.approx(solution.cost_usd, rel=1e-3)
    assert others[LAST].note == "what it signed is taken as there: today's stocks and site limits are not asked again"
    held = fixed(case, plan)
    assert isinstance(held, Fixed)
    assert held.purchases_usd == pytest.approx(sum(p.usd for p in plan.purchases if p.scheme == "reserved"))


def test_the_last_plan_keeps_its_purchases_when_prices_move(solved: tuple[Case, Solution, Plan]) -> None:
    """An offer that is gone is named; a plan that bought nothing costs what hours and APIs cost."""
    case, _, plan = solved
    assert fixed(case, made_plan()) == "no longer in the price book: Example Cloud 3 months, h100 server of 8"
    bare = fixed(case, plan.model_copy(update={"purchases": ()}))
    assert isinstance(bare, Fixed)
    assert bare.purchases_usd == 0
    assert not any(units for offer in bare.problem.offers for units in offer.existing)


def test_a_fleet_that_is_there_is_priced_with_apis(others: dict[str, Baseline]) -> None:
    """Without a fleet that is said; with one its GPUs save what APIs would have taken."""
    assert others[TODAY].note == "no [[fleet]] in plan.toml: the same as all API"
    assert others[TODAY].usd == others["all API"].usd
    case = _case(fleet=[{"gpu": "h100-80gb-sxm", "gpus": 8}])
    fleet, api = _today(case, 0.01, 20.0).usd, others["all API"].usd
    assert fleet is not None
    assert api is not None
    assert fleet < api
    assert others[SILOS].note == ""
    assert (
        _silos(case, 0.01, 20.0).note
        == "without the GPUs that are there already, which can be given to one workload only"
    )


def test_a_strategy_that_was_not_found_in_time_is_not_called_impossible() -> None:
    """The table says so, since one may exist."""
    late = Baseline(name="all reserved", usd=None, gap=None, note="no plan was found in 4 s", unfinished=True)
    row = strategies(made_plan().model_copy(update={"baselines": (late,)})).rows[1]
    assert row[1] == "not found in time"


def test_what_a_rule_forbids_is_called_forbidden() -> None:
    """Not impossible, and not priced; in the table of strategies too."""
    found = {o.name: o for o in baselines(_case(policy={"forbid": ["buy"]}), gap=0.01, time_limit_s=60)}
    owned = found["all owned"]
    assert (owned.usd, owned.forbidden, owned.note) == (None, True, "policy.forbid rules it out: buy")
    assert not any(other.forbidden for other in found.values() if other.name != "all owned")
    row = next(
        r for r in strategies(made_plan().model_copy(update={"baselines": (owned,)})).rows if r[0] == "all owned"
    )
    assert row[1] == "forbidden"


def test_what_may_use_several_ways_is_no_dearer_than_one_of_them() -> None:
    """A search that found less for more ways takes over the bill of the way, and says so."""
    hourly = Baseline(name="all rented on demand", usd=100.0, gap=0.01, note="")
    late = Baseline(name="no API", usd=180.0, gap=0.6, note="")
    others = [Baseline(name=name, usd=None, gap=None, note="") for name in ("all API", "all reserved", "all owned")]
    found = {b.name: b for b in _no_dearer_than_a_part([*others, hourly, late])}
    assert (found["no API"].usd, found["no API"].note) == (
        100.0, "the search found nothing cheaper than all rented on demand"
    )  # fmt: skip
    assert found["all rented on demand"] == hourly
    cheap = late.model_copy(update={"usd": 90.0})
    assert _no_dearer_than_a_part([*others, hourly, cheap])[-1] == cheap
