"""Quarters do not flip for a difference that is not proven: what is there, then the last plan, wins a tie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from planner_cases import GPU, PER_GPU_H, PLAN, TODAY, Row, Told, forecast, on_demand, reserved, told, write

from planner.check import check
from planner.keep import LAST, THERE, keep, with_fleet
from planner.plan import Plan
from planner.review import Wanted, review

FLAT = forecast(24, {"chat": 4 * PER_GPU_H})
RENTED = PLAN + '[policy]\nforbid = ["buy", "api"]\n'


def solved(folder: Path, offers: Sequence[Row], plan: str = RENTED) -> Told:
    return told(write(folder, plan=plan, rows=FLAT, offers=offers))


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """Four GPUs reserved of seller a."""
    return solved(tmp_path_factory.mktemp("last"), [on_demand(), reserved("a", 0.6), reserved("b", 0.7)]).plan


def test_the_last_plan_is_kept_while_the_gap_does_not_tell_it_from_the_best(tmp_path: Path, last: Plan) -> None:
    """Seller b (another term, so that both stay) is now 0.3 % cheaper: kept at 0.5 %, changed at 0.1 %."""
    offers = [on_demand(), reserved("a", 0.6), reserved("b", 0.5982, months=6)]
    answer = solved(tmp_path, offers)
    assert {p.provider for p in answer.plan.purchases} == {"b"}
    solution, kept = keep(answer.case, answer.solution, last, gap=0.005, time_limit_s=20)
    assert kept is not None
    assert kept.what == LAST
    assert kept.extra_usd == pytest.approx(4 * 0.0018 * 8760)
    assert kept.says == (
        "Keep the last plan's purchases: the cheapest plan found costs USD 63.07 (0.3 %) less, within the "
        "gap asked for."
    )
    assert solution.cost_usd == pytest.approx(4 * 0.6 * 8760)
    assert 0.0029 < solution.gap <= 0.005
    assert check(solution) == ()
    assert [answer.case.offers[o].provider for o in solution.fleet.buy.any(axis=1).nonzero()[0]] == ["a"]
    again, nothing = keep(answer.case, answer.solution, last, gap=0.001, time_limit_s=20)
    assert (again, nothing) == (answer.solution, None)


def test_what_saves_more_than_the_gap_is_done(tmp_path: Path, last: Plan) -> None:
    """Five per cent cheaper: the plan changes."""
    answer = solved(tmp_path, [on_demand(), reserved("a", 0.6), reserved("b", 0.57, months=6)])
    assert keep(answer.case, answer.solution, last, gap=0.005, time_limit_s=20) == (answer.solution, None)


def test_the_same_fleet_needs_no_word(tmp_path: Path, last: Plan) -> None:
    """Where the cheapest plan signs what the last one did, nothing is kept against it."""
    answer = solved(tmp_path, [on_demand(), reserved("a", 0.61), reserved("b", 0.7)])
    assert keep(answer.case, answer.solution, last, gap=0.005, time_limit_s=20) == (answer.solution, None)


def test_a_last_plan_that_breaks_a_rule_of_today_is_not_kept(tmp_path: Path, last: Plan) -> None:
    """Its seller has three GPUs left, or is gone from the price book."""
    scarce = [on_demand(), reserved("a", 0.6, limit_units=3), reserved("b", 0.5985, months=6)]
    answer = solved(tmp_path / "a", scarce)
    assert keep(answer.case, answer.solution, last, gap=0.005, time_limit_s=20) == (answer.solution, None)
    gone = solved(tmp_path / "b", [on_demand(), reserved("b", 0.5985, months=6)])
    assert keep(gone.case, gone.solution, last, gap=0.005, time_limit_s=20) == (gone.solution, None)


FLEET = f'[[fleet]]\ngpu = "{GPU}"\ngpus = 4\nkind = "reserved"\nuntil = 2027-12-04\n'


def test_what_is_there_wins_before_the_last_plan(tmp_path: Path, last: Plan) -> None:
    """Eleven months are covered; for the last one on demand costs a little more than a reservation: sign nothing."""
    offers = [on_demand("x", 0.602), reserved("a", 0.6, months=1)]
    answer = solved(tmp_path, offers, RENTED + FLEET)
    assert {p.scheme for p in answer.plan.purchases} == {"reserved"}
    solution, kept = keep(answer.case, answer.solution, last, gap=0.005, time_limit_s=20)
    assert kept is not None
    assert kept.what == THERE
    assert kept.says.startswith("Sign nothing new: the cheapest plan found costs USD 5.95 (0.33 %) less")
    assert not solution.fleet.buy.any()
    assert check(solution) == ()


def test_a_fleet_that_is_kept_is_used_as_well_as_it_can_be(tmp_path: Path) -> None:
    """The solution's own fleet, dispatched again, costs what it cost."""
    answer = solved(tmp_path, [on_demand(), reserved("a", 0.6, limit_units=2)])
    again = with_fleet(answer.case, answer.solution, answer.solution.fleet.buy, gap=1e-6, time_limit_s=20)
    assert again is not None
    assert again.cost_usd == pytest.approx(answer.solution.cost_usd)
    assert again.bound_usd == answer.solution.bound_usd


def test_a_fleet_that_costs_less_than_the_bound_refutes_it(tmp_path: Path, last: Plan) -> None:
    """It is kept, being cheaper, and the checker finds that the proof was false."""
    answer = solved(tmp_path, [on_demand(), reserved("a", 0.6), reserved("b", 0.5982, months=6)])
    false = replace(answer.solution, bound_usd=answer.solution.cost_usd * 1.1)
    solution, kept = keep(answer.case, false, last, gap=0.005, time_limit_s=20)
    assert kept is not None
    assert solution.bound_usd == false.bound_usd
    assert [fault.split()[:2] for fault in check(solution)] == [["the", "bound"]]


def test_a_review_says_first_what_is_kept_and_explains_it(tmp_path: Path) -> None:
    """Two quarters on the command's own path: the second keeps, says so first, and explains the plan that it kept."""
    before = write(tmp_path / "a", plan=RENTED, rows=FLAT, offers=[on_demand(), reserved("a", 0.6)])
    offers = [on_demand(), reserved("a", 0.6), reserved("b", 0.5982, months=6)]
    after = write(tmp_path / "b", plan=RENTED, rows=FLAT, offers=offers)
    common = {"plan": None, "model": None, "gap": 0.005, "time_limit_s": 20.0, "today": TODAY}
    reports = tmp_path / "reports"
    first = review(Wanted(before, profiles=tmp_path / "a/profiles", name="one", reports=reports, **common))
    second = review(
        Wanted(after, profiles=tmp_path / "b/profiles", name="two", reports=reports, explain=True,
               last=reports / "one", **common)
    )  # fmt: skip
    assert first.plan.kept is None
    assert second.plan.kept is not None
    assert second.plan.headline[0] == second.plan.kept.says
    assert {p.provider for p in second.plan.purchases} == {"a"}
    assert second.plan.explained is not None
    assert [w.name for w in second.plan.explained.supplies] == [f"{GPU} reserved 12 months at a"]
    assert second.plan.explained.supplies[0].difference_usd < 0
    assert "; without it the plan is at most USD " in second.plan.purchases[0].why
