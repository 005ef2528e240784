"""Work that can be served is served unless plan.toml says what it is worth, and what cannot be served was shown so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from planner_cases import GPU, PER_GPU_H, PLAN, Told, forecast, on_demand, reserved, stated, told, write

from planner.check import check
from planner.decide import UNSERVED_USD, decide
from planner.headline import unserved
from planner.solve import solve

ON_DEMAND = PLAN + '[policy]\nforbid = ["buy", "api", "reserved"]\n'
RESERVED = PLAN + '[policy]\nforbid = ["buy", "api", "on-demand"]\n'


def office_hours(requests: float, peak: float = 0.0) -> str:
    """A week with so many requests in eight hours of every day, and one hour of the week with more."""
    week = np.zeros(168)
    for hour in range(9, 17):
        week[hour::24] = requests
    week[10] += peak
    return forecast(168, {"chat": week})


@pytest.mark.parametrize(
    ("plan", "offer", "requests", "usd"),
    [
        (ON_DEMAND, on_demand(), 2, 8760.0),  # a GPU by the hour, kept warm
        (RESERVED, reserved(), 200, 0.6 * 8760),
        (RESERVED, reserved(gpus_per_unit=8), 2, 8 * 0.6 * 8760),  # a server of eight for a term
    ],
)
def test_little_work_is_served_by_the_month_and_the_term(
    tmp_path: Path, plan: str, offer: dict[str, object], requests: float, usd: float
) -> None:
    """The default price of unserved work knows that a unit is paid when it is idle: one decision is enough."""
    case = stated(write(tmp_path, plan=plan, rows=office_hours(requests), offers=[offer]))
    solution = solve(case.problem, gap=1e-4)
    assert solution.unserved.sum() == 0
    assert solution.cost_usd == pytest.approx(usd)


def test_the_last_request_of_a_peak_is_served_and_its_price_said(tmp_path: Path) -> None:
    """Ten requests an hour beyond two full GPUs, once a week: at the default price they would be left out."""
    rows = office_hours(2 * PER_GPU_H, peak=10.0)
    case = stated(write(tmp_path, plan=RESERVED, rows=rows, offers=[reserved()]))
    left = solve(case.problem, gap=1e-4).unserved.sum()
    assert left == pytest.approx(530)  # a year has 53 first days of its weeks
    answer = told(write(tmp_path, plan=RESERVED, rows=rows, offers=[reserved()]))
    assert answer.plan.unserved_requests == 0
    assert answer.plan.cost_usd == pytest.approx(3 * 0.6 * 8760)
    assert answer.plan.checks == ()
    assert answer.plan.warnings == ()
    assert answer.plan.notes[-1] == (
        f"{left:,.0f} requests cost USD 5,256 more to serve than to leave; state unserved_usd_per_request in plan.toml "
        "where such work is worth less."
    )


def test_what_is_worth_little_is_left_without_asking_again(tmp_path: Path) -> None:
    """Where plan.toml states the price, the peak is left out at it, and no note is made."""
    plan = RESERVED.replace("[policy]", "unserved_usd_per_request = 0.01\n[policy]")
    answer = told(write(tmp_path, plan=plan, rows=office_hours(2 * PER_GPU_H, peak=10.0), offers=[reserved()]))
    assert answer.plan.unserved_requests > 0
    assert answer.plan.headline[0].endswith("serving them costs more than plan.toml says they are worth.")


def short(folder: Path) -> Told:
    """One GPU to be had for two GPUs' work."""
    rows = forecast(24, {"chat": 2 * PER_GPU_H})
    return told(write(folder, plan=ON_DEMAND, rows=rows, offers=[on_demand(limit_units=1)]))


def test_what_nothing_can_serve_is_shown_and_priced_as_before(tmp_path: Path) -> None:
    """The bill holds the default price, not the one of the second question."""
    answer = short(tmp_path)
    missed = PER_GPU_H * 8760
    assert answer.plan.headline[0] == f"{missed:,.0f} requests (50.00%) cannot be served by anything in the price book."
    assert max(answer.case.problem.unserved_usd_per_request) < 100 < UNSERVED_USD
    assert check(answer.solution) == ()


def test_what_was_not_shown_is_not_claimed(tmp_path: Path) -> None:
    """Not asked again, or in part only: the first sentence says what is known."""
    answer = short(tmp_path)
    count = f"{PER_GPU_H * 8760:,.0f} requests (50.00%)"
    assert unserved(answer.case, answer.solution, None) == (
        f"{count} are left unserved: no plan that serves them was found, but one may exist.",
    )
    dear = "costs more than the default price of unserved work; state unserved_usd_per_request in plan.toml."
    assert unserved(answer.case, answer.solution, 0.0) == (f"{count} are left unserved: serving them {dear}",)
    (both,) = unserved(answer.case, answer.solution, 1e6)
    assert both == (
        f"{count} are left unserved: 1,000,000 of them cannot be served by anything in the price book, and serving the "
        f"others {dear}"
    )


def test_a_decision_that_leaves_nothing_out_is_made_once(tmp_path: Path) -> None:
    """The case is the one that was given."""
    case = stated(write(tmp_path, plan=ON_DEMAND, rows=forecast(24), offers=[on_demand()]))
    decided = decide(case, gap=1e-4, time_limit_s=20)
    assert decided.case is case
    assert decided.impossible is None
    assert [p.label for p in decided.case.offers] == [f"{GPU} on demand at rent"]
