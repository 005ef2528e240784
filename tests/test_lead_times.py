"""What is signed serves when it arrives: lead times of servers and terms, and GPUs that are on their way."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest
from planner_cases import GPU, OWNERSHIP, PER_GPU_H, PLAN, Told, forecast, on_demand, reserved, stated, told, write

from hardware_profiles.faults import InputError
from planner import horizon
from planner.acting import calendar_of
from planner.plan import Purchase

FLAT = forecast(24, {"chat": 4 * PER_GPU_H})
"""Four GPUs' work in every hour."""
HOURS = (31 * 24, 28 * 24, 31 * 24, 30 * 24)
"""Of the months from 4 January 2027."""
FOUR_MONTHS = "[horizon]\nmonths = 4\n"
NO_API = '[policy]\nforbid = ["api"]\n'
CHEAP = OWNERSHIP.replace("1460", "0").replace("value = 3000", "value = 300").replace("value = 1000", "value = 100")


def the(answer: Told, scheme: str) -> Purchase:
    """The one purchase of a scheme."""
    (found,) = [purchase for purchase in answer.plan.purchases if purchase.scheme == scheme]
    return found


def test_the_examples_in_docstrings_hold() -> None:
    """A lead time of two and a half months counts as three."""
    assert doctest.testmod(horizon).failed == 0


@pytest.mark.parametrize(("lead", "months"), [("0", 0), ("1", 1), ("1.5", 2), ("2.0", 2)])
def test_a_server_serves_from_the_month_in_which_it_arrives(tmp_path: Path, lead: str, months: int) -> None:
    """Until then GPUs by the hour do the work, and its running costs have not begun."""
    plan = PLAN + FOUR_MONTHS + f"[site]\nlead_time_months = {lead}\n" + NO_API
    answer = told(write(tmp_path, plan=plan, rows=FLAT, offers=[on_demand()], ownership=CHEAP))
    bought = the(answer, "owned")
    assert (bought.gpus, bought.lead_months) == (4, months)
    rented = sum(p.usd for p in answer.plan.purchases if p.scheme == "on demand")
    assert rented == pytest.approx(4 * 1.0 * sum(HOURS[:months]), abs=0.01)
    rack = next(line.usd for line in bought.lines if line.name == "rack")
    assert rack == pytest.approx(4 * 0.200 * 73 / 730 * sum(HOURS[months:]))
    assert answer.plan.checks == ()


def test_order_and_start_are_told(tmp_path: Path) -> None:
    """The purchase carries both months, the calendar the day of signing, the notes the rounding."""
    plan = PLAN + FOUR_MONTHS + "[site]\nlead_time_months = 1.5\n" + NO_API
    answer = told(write(tmp_path, plan=plan, rows=FLAT, offers=[on_demand()], ownership=CHEAP))
    bought = the(answer, "owned")
    assert (bought.epoch, bought.serves_from) == ("2027.01", "2027.03")
    days = [(due.day.isoformat(), due.what.split()[0]) for due in calendar_of(answer.plan)]
    assert days == [("2027-01-04", "sign"), ("2027-03-04", "in")]
    said = f"{GPU} owned serves 2 months after it is signed (lead time 1.5 months, rounded up to whole months)."
    assert said in answer.plan.notes


def test_a_term_begins_when_it_serves(tmp_path: Path) -> None:
    """Three months of a term that starts one month after signing: signed in January, February to April are served."""
    plan = PLAN + FOUR_MONTHS + '[policy]\nforbid = ["api", "buy"]\n'
    offers = [on_demand(), reserved(usd=0.5, months=3, lead_time_months=1)]
    answer = told(write(tmp_path, plan=plan, rows=FLAT, offers=offers))
    bought = the(answer, "reserved")
    assert (bought.epoch, bought.serves_from, bought.lead_months) == ("2027.01", "2027.02", 1)
    assert bought.usd == pytest.approx(4 * 0.5 * sum(HOURS[1:]))
    assert the(answer, "on demand").usd == pytest.approx(4 * HOURS[0])
    assert (
        f"{GPU} reserved 3 months at rent serves 1 month after it is signed (lead time 1 month)." in answer.plan.notes
    )


@pytest.mark.parametrize("horizon", ["months = 2", "hours = 1000"])
def test_what_arrives_after_the_end_is_left_out_and_said(tmp_path: Path, horizon: str) -> None:
    """Two months of lead in a horizon of two months, or of any number of hours, which are one step."""
    plan = PLAN + f"[horizon]\n{horizon}\n[site]\nlead_time_months = 2\n" + NO_API
    answer = told(write(tmp_path, plan=plan, rows=FLAT, offers=[on_demand()], ownership=CHEAP))
    assert {p.scheme for p in answer.plan.purchases} == {"on demand"}
    assert (
        f"{GPU} owned is left out: it would arrive after the horizon ends (lead time 2 months; whole steps count)."
        in answer.plan.notes
    )


def test_a_lead_time_makes_months_matter(tmp_path: Path) -> None:
    """Without one a repeated forecast is one decision; a lead time of what is forbidden changes nothing."""
    late = OWNERSHIP.replace("[site]", "lead_time_months = { value = 2, source = 'quote' }\n\n[site]")
    assert len(stated(write(tmp_path / "a", plan=PLAN, rows=FLAT)).problem.epochs) == 1
    assert len(stated(write(tmp_path / "b", plan=PLAN, rows=FLAT, ownership=late)).problem.epochs) == 12
    forbidden = PLAN + '[policy]\nforbid = ["buy"]\n'
    assert len(stated(write(tmp_path / "c", plan=forbidden, rows=FLAT, ownership=late)).problem.epochs) == 1


def test_a_later_start_is_never_cheaper(tmp_path: Path) -> None:
    """The longer the lead time, the dearer the plan."""
    costs = []
    for lead in range(3):
        plan = PLAN + FOUR_MONTHS + f"[site]\nlead_time_months = {lead}\n"
        path = write(tmp_path / str(lead), plan=plan, rows=FLAT, ownership=CHEAP)
        costs.append(told(path).plan.cost_usd)
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


def test_a_cheaper_row_that_comes_later_does_not_hide_the_sooner_one(tmp_path: Path) -> None:
    """Both stay in the problem."""
    offers = [reserved("soon", 0.6), reserved("late", 0.5, lead_time_months=3)]
    labels = {info.label for info in stated(write(tmp_path, plan=PLAN, offers=offers)).offers}
    assert {f"{GPU} reserved 12 months at soon", f"{GPU} reserved 12 months at late"} <= labels


def test_gpus_on_their_way_serve_from_the_first_whole_month_in_which_they_are_there(tmp_path: Path) -> None:
    """Ordered GPUs that arrive on 10 February serve from 4 March."""
    fleet = f'[[fleet]]\ngpu = "{GPU}"\ngpus = 4\narrives = 2027-02-10\n'
    plan = PLAN + FOUR_MONTHS + '[policy]\nforbid = ["api", "buy", "reserved"]\n' + fleet
    answer = told(write(tmp_path, plan=plan, rows=FLAT))
    assert the(answer, "on demand").usd == pytest.approx(4.0 * sum(HOURS[:2]))


def test_a_lead_time_of_what_is_there_at_once_is_a_fault(tmp_path: Path) -> None:
    """On-demand and spot GPUs have none; a number that is none, or too long, is told as others are."""
    offers = [on_demand(lead_time_months=1), reserved(lead_time_months="soon"), reserved("x", lead_time_months=99)]
    with pytest.raises(InputError) as raised:
        stated(write(tmp_path, offers=offers))
    assert str(raised.value).replace(f"{tmp_path}/", "").splitlines() == [
        (
            "offers.csv:2: column 'lead_time_months', value '1': is of what is signed for a term or bought. "
            "Remedy: leave it empty."
        ),
        (
            "offers.csv:3: column 'lead_time_months', value 'soon': is not a number from 0 to 60. "
            "Remedy: write digits with a decimal point."
        ),
        (
            "offers.csv:4: column 'lead_time_months', value '99': is not a number from 0 to 60. "
            "Remedy: write digits with a decimal point."
        ),
    ]
