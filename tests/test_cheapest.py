"""Where minimum hours make a cheap offer dear, the plan is the one without it; its proof is the whole decision's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planner_cases import GPU, PLAN, Row, Told, api, forecast, on_demand, reserved, told, write

from planner.baselines import baselines
from planner.cheapest import cheapest, left_out
from planner.check import check
from planner.problem import Blocks, Deployment, Epoch, Offer, Pool, Problem
from planner.solve import solve
from planner.whatif import DRIVERS, sensitivities

RENTED = PLAN + '[policy]\nforbid = ["buy", "reserved", "api"]\nkeep_warm = false\n'
LONG = on_demand("a", 1.0, minimum_hours=24)
DEAR_H = 1.01 * 365
"""One GPU-hour a day at b's price."""
LEFT_OUT = (
    f"Left out: {GPU} on demand at a. With the hours for which they are paid beyond those that need them, every plan "
    "found that uses them is dearer; the proof does not count on these hours, so its gap is wider by what they cost."
)


def once_a_day(folder: Path, offers: list[Row], plan: str = RENTED, usd: float = 0.2) -> Told:
    """Seven thousand requests in one hour of every day."""
    few = np.zeros(168)
    few[10::24] = 7000
    return told(
        write(
            folder,
            plan=plan,
            rows=forecast(168, {"chat": few}),
            offers=offers,
            endpoints=[api(given=usd, made=2 * usd)],
        )
    )


def test_an_offer_with_minimum_hours_hides_none_without(tmp_path: Path) -> None:
    """A dollar an hour for 24 hours at least is not cheaper than 1.01 for the hour."""
    answer = once_a_day(tmp_path, [LONG, on_demand("b", 1.01)])
    assert answer.plan.cost_usd == pytest.approx(DEAR_H)
    assert [p.offer for p in answer.plan.purchases] == [f"{GPU} on demand at b"]
    assert answer.plan.checks == ()
    assert answer.plan.notes[-1] == LEFT_OUT
    assert answer.plan.bound_usd == pytest.approx(365.0)


def test_an_offer_with_shorter_minimum_hours_still_hides_longer_ones(tmp_path: Path) -> None:
    """Cheaper and tied no longer: the other is not listed."""
    answer = once_a_day(tmp_path, [on_demand("a", 1.0, minimum_hours=2), on_demand("b", 1.01, minimum_hours=2)])
    assert [info.label for info in answer.case.offers] == [f"{GPU} on demand at a"]


def test_a_reserved_gpu_takes_the_place_of_minimum_hours(tmp_path: Path) -> None:
    """1,752 USD a year instead of 8,737: the choice is made again, though the first did not see the hours."""
    plan = RENTED.replace('"reserved", ', "")
    answer = once_a_day(tmp_path, [LONG, reserved("r", 0.2, 12)], plan)
    assert answer.plan.cost_usd == pytest.approx(0.2 * 8760)
    assert answer.plan.gap == pytest.approx(1 - 365 / 1752, abs=1e-3)


def test_minimum_hours_are_paid_where_nothing_else_is_cheaper(tmp_path: Path) -> None:
    """Alone, or beside what is dearer still, the offer stays, and nothing is said to be left out."""
    answer = once_a_day(tmp_path, [LONG])
    assert answer.plan.cost_usd == pytest.approx(8737)
    assert LEFT_OUT not in answer.plan.notes
    assert left_out(answer.case.problem, answer.solution) == ()


def test_other_strategies_and_other_figures_are_decided_so_too(tmp_path: Path) -> None:
    """On demand alone costs what the plan does, and half the demand does not bring the long hours back."""
    answer = once_a_day(tmp_path, [LONG, on_demand("b", 1.01)])
    (rented,) = (b for b in baselines(answer.case, gap=0.01, time_limit_s=20) if b.name == "all rented on demand")
    assert rented.usd == pytest.approx(DEAR_H)
    (moved,) = sensitivities(answer.case, answer.solution, gap=0.01, time_limit_s=5, drivers=DRIVERS[:1])
    assert moved.usd_low == pytest.approx(DEAR_H)
    assert moved.usd_high == pytest.approx(2 * DEAR_H)


def test_keeping_the_purchases_does_not_bring_the_long_hours_in(tmp_path: Path) -> None:
    """At twice the API's price a GPU-hour would be cheaper and its 24 hours are not: the API stays, nothing turns."""
    answer = once_a_day(tmp_path, [LONG], RENTED.replace(', "api"', ""), usd=0.1)
    assert answer.plan.cost_usd == pytest.approx(365 * 0.98)
    (moved,) = sensitivities(answer.case, answer.solution, gap=0.01, time_limit_s=5, drivers=DRIVERS[1:2])
    assert (moved.driver, moved.turns_above) == ("API prices", None)
    assert moved.usd_high == moved.kept_usd_high == pytest.approx(2 * 365 * 0.98)


def test_what_is_decided_anew_sees_the_long_hours(tmp_path: Path) -> None:
    """With a reserved GPU for 438 USD a year that one is chosen at twice the API's price, not 24 hours a day."""
    plan = RENTED.replace('"reserved", "api"', '"spot"')
    answer = once_a_day(tmp_path, [LONG, reserved("r", 0.05, 12)], plan, usd=0.1)
    assert answer.plan.cost_usd == pytest.approx(365 * 0.98)
    (moved,) = sensitivities(answer.case, answer.solution, gap=0.01, time_limit_s=5, drivers=DRIVERS[1:2])
    assert moved.kept_usd_high == pytest.approx(2 * 365 * 0.98)
    assert moved.usd_high == pytest.approx(0.05 * 8760)
    assert moved.decision_high == {f"reserved {GPU}": 1.0}


def test_those_that_are_tied_longest_go_first() -> None:
    """Of offers tied for 12, 3 and 1 hours the middle one is the cheapest for three hours in twelve."""
    demand = np.zeros((24, 1))
    demand[4:7] = 1.0
    offers = tuple(
        Offer(name, {"gpu": 1.0}, "hour", bought=False, usage_usd_per_h=usd, minimum_h=hours)
        for name, usd, hours in (("long", 1.0, 12.0), ("middle", 1.2, 3.0), ("short", 3.0, 1.0))
    )
    problem = Problem(
        epochs=(Epoch("day", 24.0),),
        classes=("chat",),
        blocks=Blocks(np.zeros(24), np.ones(24), demand),
        pools=(Pool("gpu"),),
        deployments=(Deployment("on.gpu", "gpu", (1.0,)),),
        offers=offers,
        unserved_usd_per_request=(100.0,),
    )
    assert solve(problem, gap=1e-6).cost_usd == pytest.approx(12.0)
    found = cheapest(problem, gap=1e-6, time_limit_s=10)
    assert found.cost_usd == pytest.approx(3.6)
    assert found.bound_usd == pytest.approx(3.0)
    assert left_out(problem, found) == (0,)
    assert check(found) == ()
