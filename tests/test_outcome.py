"""The plan file stands alone: proven, checked, read back as it was written, the same for the same inputs."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest
from planner_cases import GPU, MODEL, PLAN, TODAY, Told, forecast, stated, told, write

from hardware_profiles.faults import InputError
from planner.outcome import make_plan
from planner.plan import Plan, read_plan, write_plan
from planner.solve import solve

MONTH = "[horizon]\nmonths = 1\n"


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A plan with reserved GPUs, GPUs by the hour and an API."""
    return told(write(tmp_path_factory.mktemp("plan"), plan=PLAN + MONTH))


def test_a_plan_is_read_back_as_it_was_written(answer: Told, tmp_path: Path) -> None:
    """Every field, to the last digit."""
    write_plan(answer.plan, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == answer.plan


@pytest.mark.parametrize(
    ("change", "column", "what"),
    [
        ({"gap": -0.1}, "gap", "Input should be greater than or equal to 0"),
        ({"colour": "red"}, "colour", "Extra inputs are not permitted"),
        ({"format": "spillway-plan/9"}, "format", "Input should be 'spillway-plan/1'"),
        ({"cost_usd": "much"}, "cost_usd", "Input should be a valid number, unable to parse string as a number"),
    ],
)
def test_a_plan_file_with_a_fault_is_refused(
    answer: Told, tmp_path: Path, change: dict[str, object], column: str, what: str
) -> None:
    """The fault names the file and the key."""
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(answer.plan.model_dump(mode="json") | change), encoding="utf-8")
    with pytest.raises(InputError) as raised:
        read_plan(path)
    (fault,) = raised.value.faults
    assert (fault.file, fault.column, fault.what) == (str(path), column, what)


def test_no_plan_file_is_one_fault(tmp_path: Path) -> None:
    """A path that is not there."""
    with pytest.raises(InputError, match=r"plan\.json: cannot be read \(No such file or directory\)"):
        read_plan(tmp_path / "plan.json")


def test_the_plan_tells_its_proof(answer: Told) -> None:
    """Bound, cost and gap agree; the checker found nothing; the horizon and the day are told."""
    plan = answer.plan
    assert plan.bound_usd <= plan.cost_usd
    assert plan.gap == pytest.approx((plan.cost_usd - plan.bound_usd) / plan.cost_usd)
    assert plan.checks == ()
    assert plan.proof == "one programme"
    assert (plan.horizon_hours, plan.horizon_months) == (744, 1)
    assert plan.horizon_start == "2027-01-04T00:00:00+00:00"
    assert plan.made_on == "2026-11-20"


def test_the_same_problem_gives_the_same_plan(answer: Told) -> None:
    """Solved and told again, byte for byte."""
    again = make_plan("review", answer.case, solve(answer.case.problem, gap=1e-4), (), {}, made_on=TODAY)[0]
    assert again.model_dump_json() == answer.plan.model_dump_json()


def test_purchases_hold_what_the_months_hold(answer: Told) -> None:
    """GPUs of each scheme in a month are those of the purchases; busy shares lie between nothing and all."""
    gpus = {purchase.scheme: purchase.gpus for purchase in answer.plan.purchases}
    (month,) = answer.plan.months
    assert month.gpus == gpus
    assert all(0 < (purchase.utilisation or 0) <= 1 + 1e-9 for purchase in answer.plan.purchases)


def test_a_deployment_tells_its_evidence_and_its_replicas(answer: Told) -> None:
    """The curve that each model rests on, and as many replicas as there are GPUs reserved."""
    (deployed,) = answer.plan.deployments
    reserved = next(purchase.gpus for purchase in answer.plan.purchases if purchase.scheme == "reserved")
    assert (deployed.model, deployed.gpu, deployed.kind, deployed.saturated) == (MODEL, GPU, "measured", True)
    assert deployed.replicas == {"start": reserved}
    assert deployed.rented_replicas_most == answer.hours.gpus_held["on demand"].max()


def test_marginal_prices_are_those_of_the_next_request(tmp_path: Path) -> None:
    """All by API: one more million tokens costs what the others cost."""
    plan = PLAN + MONTH + '[policy]\nforbid = ["buy", "reserved", "on-demand"]\n'
    (served,) = told(write(tmp_path, plan=plan)).plan.workloads
    assert served.marginal_usd_per_mtok == pytest.approx(served.usd_per_mtok)
    assert served.usd_per_mtok == pytest.approx((1000 * 0.2 + 200 * 0.4) / 1200)


def test_one_day_later_the_same_plan_has_another_date_only(answer: Told) -> None:
    """The day of the review decides which prices are stale, nothing else."""
    solution, later = answer.solution, date(2026, 11, 21)
    plan: Plan = make_plan("review", answer.case, solution, (), {}, made_on=later)[0]
    assert plan.model_copy(update={"made_on": answer.plan.made_on}) == answer.plan


def test_more_demand_never_costs_less(tmp_path: Path) -> None:
    """A tenth more requests in every hour: at least what no plan for fewer can undercut."""
    fewer = solve(stated(write(tmp_path / "a", plan=PLAN + MONTH, rows=forecast(24, {"chat": 20000.0}))).problem)
    more = solve(stated(write(tmp_path / "b", plan=PLAN + MONTH, rows=forecast(24, {"chat": 22000.0}))).problem)
    assert more.cost_usd >= fewer.bound_usd


def test_a_plan_file_cut_short_is_one_fault(tmp_path: Path) -> None:
    """What is no JSON has no key to name."""
    path = tmp_path / "plan.json"
    path.write_text('{"format": "spillway-plan/1"', encoding="utf-8")
    with pytest.raises(InputError) as raised:
        read_plan(path)
    (fault,) = raised.value.faults
    assert (fault.column, fault.what) == (None, "Invalid JSON: EOF while parsing an object at line 1 column 28")
