"""Hidden costs: they change the choice where they must, stand in lines, and the bill stays checked to the cent."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
from planner_cases import PLAN, TODAY, stated, write
from review_fixtures import plan as made_plan

from hardware_profiles.faults import InputError
from planner import hidden_costs
from planner.attribution import offer_lines
from planner.beside import hidden_amounts, migration
from planner.check import check
from planner.evidence import extra_costs
from planner.outcome import make_plan
from planner.plan import Hidden
from planner.planfile import read_planfile
from planner.solve import solve

MONTH = "[horizon]\nmonths = 1\n"
GPUS = '[policy]\nforbid = ["api"]\n'


def test_the_examples_by_hand() -> None:
    """Per GPU and year, per million tokens."""
    tried = doctest.testmod(hidden_costs)
    assert (tried.attempted, tried.failed) == (6, 0)


def test_orchestration_is_in_the_bill_and_checked(tmp_path: Path) -> None:
    """With GPUs only, every GPU-hour costs its orchestration more; the checker agrees, and the amount is told."""
    bare = stated(write(tmp_path / "a", plan=PLAN + MONTH + GPUS))
    dear = stated(
        write(tmp_path / "b", plan=PLAN + MONTH + GPUS + "[hidden_costs]\norchestration_usd_per_gpu_year = 8760.0\n")
    )
    before, after = (solve(case.problem, gap=0.0) for case in (bare, dear))
    assert check(after) == ()
    (found,) = hidden_amounts(dear, after)
    assert found.inside
    gpu_h = sum(
        float(after.fleet.buy[o].sum()) * info.gpus_per_unit * 744
        for o, info in enumerate(dear.offers)
        if info.offer.placed == "epoch"
    )
    lines = [usd for o in range(len(dear.offers)) for name, usd in offer_lines(after, o, 0) if name == "orchestration"]
    assert sum(lines) == pytest.approx(gpu_h)
    assert found.usd is not None
    assert sum(lines) <= found.usd + 1e-9
    assert after.cost_usd - before.cost_usd <= found.usd + 0.01
    assert after.cost_usd > before.cost_usd


def test_egress_can_drive_work_from_apis(tmp_path: Path) -> None:
    """At a price per token that no API's saving is worth, nothing goes to APIs; at none, something does."""
    bare = stated(write(tmp_path / "a", plan=PLAN + MONTH))
    dear = stated(
        write(tmp_path / "b", plan=PLAN + MONTH + "[hidden_costs]\negress_usd_per_million_api_tokens = 1000.0\n")
    )
    assert solve(bare.problem, gap=0.0).total("api", len(bare.problem.classes)).sum() > 0
    solution = solve(dear.problem, gap=0.0)
    assert solution.total("api", len(dear.problem.classes)).sum() == 0
    (found,) = hidden_amounts(dear, solution)
    assert (found.name, found.usd, found.inside) == ("egress", 0.0, True)


def test_egress_that_is_paid_is_told(tmp_path: Path) -> None:
    """With APIs alone: tokens times the rate, inside the API line."""
    text = PLAN + MONTH + '[policy]\nforbid = ["buy", "reserved", "on-demand"]\n'
    text += "[hidden_costs]\negress_usd_per_million_api_tokens = 0.5\n"
    case = stated(write(tmp_path, plan=text))
    solution = solve(case.problem, gap=0.0)
    assert check(solution) == ()
    plan = make_plan("x", case, solution, (), {}, made_on=TODAY)[0]
    tokens = sum(s.input_tokens + s.output_tokens for s in plan.supplies)
    (found,) = hidden_amounts(case, solution)
    assert found.usd == pytest.approx(tokens / 1e6 * 0.5)
    assert found.usd < plan.cost_usd


def test_fixed_costs_stand_beside_the_bill(tmp_path: Path) -> None:
    """Compliance changes neither plan nor bill; a year of 744 of 8,760 hours costs that part."""
    text = PLAN + MONTH + "[hidden_costs]\ncompliance_usd_per_year = 8760.0\n"
    bare, case = stated(write(tmp_path / "a", plan=PLAN + MONTH)), stated(write(tmp_path / "b", plan=text))
    solution = solve(case.problem, gap=0.0)
    assert solution.cost_usd == solve(bare.problem, gap=0.0).cost_usd
    (found,) = hidden_amounts(case, solution)
    assert (found.name, found.usd, found.inside) == ("compliance", pytest.approx(744.0), False)


def test_migration_counts_models_and_apis_that_changed() -> None:
    """Another model for one workload and one API that served nothing before: two swaps; unknown without a review."""
    plan = made_plan()
    first, *rest = plan.workloads
    last = plan.model_copy(
        update={
            "workloads": (first.model_copy(update={"model": "older"}), *rest),
            "supplies": tuple(s for s in plan.supplies if s.scheme != "api"),
        }
    )
    (found,) = migration(plan, last, 1000.0)
    assert (found.usd, found.inside) == (2000.0, False)
    assert migration(plan, plan, 1000.0)[0].usd == 0
    assert migration(plan, None, 1000.0)[0].usd is None
    assert migration(plan, last, None) == ()


def test_the_report_tells_stated_and_missing_figures() -> None:
    """A stated one with its amount and where it is; one without a figure as missing; the sum beside the bill."""
    hidden = (
        Hidden(name="orchestration", usd=2600.0, inside=True, note="inside the bill"),
        Hidden(name="compliance", usd=5000.0, inside=False, note="beside the bill"),
    )
    section = extra_costs(made_plan().model_copy(update={"hidden": hidden}))
    assert section.table is not None
    rows = {row[0]: row[1:] for row in section.table.rows}
    assert rows["orchestration"] == ("schedulers, gateways, monitoring; inside the bill", "USD 2,600", "1 %")
    assert rows["compliance"][1:] == ("USD 5,000", "")
    assert rows["egress"][1:] == ("not in this bill", "")
    assert section.says.endswith("With what stands beside the bill, USD 265,000 are to be paid.")


def test_a_negative_cost_is_refused(tmp_path: Path) -> None:
    """With line, key, value and remedy."""
    path = tmp_path / "plan.toml"
    path.write_text("[hidden_costs]\ncompliance_usd_per_year = -1\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_planfile(path)
    (fault,) = caught.value.faults
    assert (fault.line, fault.column, fault.value) == (2, "hidden_costs.compliance_usd_per_year", "-1")
