"""Terms that outlast the horizon: owed in full, charged for the part inside, or bought out; to the day of the term."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from planner_cases import PER_GPU_H, PLAN, TODAY, Row, Told, forecast, on_demand, reserved, stated, told, write

from hardware_profiles.faults import InputError
from planner.cash import paid
from planner.check import check
from planner.planfile import read_planfile
from planner.problem import Blocks, Deployment, Epoch, Line, Offer, Pool, Problem
from planner.solve import solve

ONLY = '[policy]\nforbid = ["api", "buy"]\n'
FLAT = forecast(24, {"chat": 4 * PER_GPU_H}, start=datetime(2027, 3, 1))
"""Four GPUs at all hours, from 1 March 2027: the twelfth month is February 2028, of 29 days."""
MONTHLY = "[price_trends]\napi_per_year = 0.01\n"
"""Makes every month a decision and changes nothing else where APIs are forbidden."""
YEAR_H, THREE_YEARS_H = 366 * 24, (366 + 365 + 365) * 24
UPFRONT: Row = {"scheme": "reserved", "provider": "rent", "term_months": 36, "upfront_usd_per_unit": 2628}


def _told(folder: Path, horizon: str, *offers: Row, more: str = "") -> Told:
    plan = PLAN + f"[horizon]\n{horizon}\n" + ONLY + more
    return told(write(folder, plan=plan, rows=FLAT, offers=[on_demand(usd=5), *offers]))


def _lines(answer: Told) -> dict[str, float]:
    """The bill's lines that are not nothing."""
    return {line.name: line.usd for line in answer.plan.lines if abs(line.usd) > 1e-6}


@pytest.mark.parametrize("more", ["", MONTHLY], ids=["one epoch", "months"])
def test_a_term_is_owed_to_its_last_day(tmp_path: Path, more: str) -> None:
    """36 months cost what 36 calendar months cost, however long the plan's last month is and however it is stated."""
    answer = _told(tmp_path, "months = 12", reserved(usd=0.1, months=36), more=more)
    assert len(answer.case.problem.epochs) == (12 if more else 1)
    assert _lines(answer) == {
        "reserved GPUs": pytest.approx(4 * 0.1 * YEAR_H),
        "owed past the horizon": pytest.approx(4 * 0.1 * (THREE_YEARS_H - YEAR_H)),
    }
    assert answer.plan.checks == ()


@pytest.mark.parametrize("more", ["", MONTHLY], ids=["one epoch", "months"])
def test_prorated_leaves_out_what_is_paid_upfront_for_later(tmp_path: Path, more: str) -> None:
    """A third of 36 months: a third of what is paid at once is charged, and the rest is a line that says so."""
    share = 1 - YEAR_H / THREE_YEARS_H
    answer = _told(tmp_path, 'months = 12\ntail = "prorated"', UPFRONT, more=more)
    assert _lines(answer) == {
        "reserved GPUs": pytest.approx(4 * 2628),
        "upfront for later": pytest.approx(-4 * 2628 * share),
    }
    assert answer.plan.checks == ()
    assert paid(answer.solution, answer.case.span)[0] == pytest.approx(4 * 2628)
    assert _lines(_told(tmp_path, "months = 12", UPFRONT, more=more)) == {"reserved GPUs": pytest.approx(4 * 2628)}


def test_prorated_compares_terms_by_their_whole_price(tmp_path: Path) -> None:
    """0.25 USD an hour for 36 months is dearer than 2,628 USD at once for the same 26,304 hours, under either tail."""
    for tail in ("full", "prorated"):
        answer = _told(tmp_path, f'months = 12\ntail = "{tail}"', UPFRONT, reserved("other", usd=0.25, months=36))
        assert {purchase.provider for purchase in answer.plan.purchases} == {"rent"}


@pytest.mark.parametrize("more", ["", MONTHLY], ids=["one epoch", "months"])
def test_a_buyout_is_a_share_of_what_is_still_owed(tmp_path: Path, more: str) -> None:
    """A quarter of the two years that are left, paid when the plan ends, as a line of its own."""
    answer = _told(
        tmp_path, 'months = 12\ntail = "buyout"\nbuyout_share = 0.25', reserved(usd=0.1, months=36), more=more
    )
    assert _lines(answer) == {
        "reserved GPUs": pytest.approx(4 * 0.1 * YEAR_H),
        "buyout at the end": pytest.approx(0.25 * 4 * 0.1 * (THREE_YEARS_H - YEAR_H)),
    }
    assert answer.plan.checks == ()
    moved = paid(answer.solution, answer.case.span)
    assert moved[-1] - moved[-2] > 0.25 * 4 * 0.1 * (THREE_YEARS_H - YEAR_H)


def test_a_buyout_can_make_a_long_term_pay(tmp_path: Path) -> None:
    """Three years at 0.1 lose to a year at 0.25 where all of them are owed, and win where a tenth buys them out."""
    both = (reserved(usd=0.1, months=36), reserved(usd=0.25, months=12))
    for horizon, months in (("months = 12", 12), ('months = 12\ntail = "buyout"\nbuyout_share = 0.1', 36)):
        assert [p.term_months for p in _told(tmp_path, horizon, *both).plan.purchases] == [months]


def test_what_is_paid_later_is_worth_less(tmp_path: Path) -> None:
    """At 21 % a year what is owed in month m is worth 1.21 ** (-m / 12) of it, a buyout what the last day makes it."""
    rate = "discount_rate_per_year = 0.21\n"
    owed = _told(tmp_path, "months = 12\n" + rate, reserved(usd=0.1, months=13))
    assert _lines(owed)["owed past the horizon"] == pytest.approx(4 * 0.1 * 31 * 24 / 1.21)
    bought = _told(tmp_path, 'months = 12\ntail = "buyout"\nbuyout_share = 0.5\n' + rate, reserved(usd=0.1, months=13))
    assert _lines(bought)["buyout at the end"] == pytest.approx(0.5 * 4 * 0.1 * 31 * 24 / 1.21)


def test_a_horizon_in_hours_owes_the_rest_of_its_month(tmp_path: Path) -> None:
    """Ten days into April a month's term, renewed once, owes twenty more; so it does where months are decisions."""
    for more in ("", MONTHLY):
        answer = _told(tmp_path, f"hours = {(31 + 10) * 24}", reserved(usd=0.1, months=1), more=more)
        assert _lines(answer) == {
            "reserved GPUs": pytest.approx(4 * 0.1 * 41 * 24),
            "owed past the horizon": pytest.approx(4 * 0.1 * 20 * 24),
        }
        assert answer.plan.checks == ()


@pytest.mark.parametrize("horizon", ['tail = "buyout"', "buyout_share = 0.5", 'tail = "full"\nbuyout_share = 0.5'])
def test_a_buyout_without_its_price_is_a_fault(tmp_path: Path, horizon: str) -> None:
    """Nobody knows a share that is not stated; a share beside another tail would be read and ignored."""
    path = tmp_path / "plan.toml"
    path.write_text(f"[horizon]\n{horizon}\n")
    with pytest.raises(InputError) as caught:
        read_planfile(path)
    assert str(caught.value) == (
        f"{path}:1: column 'horizon': a buyout has a price, other tails have none. Remedy: write buyout_share = 0.5 "
        '(the share of what is still owed) beside tail = "buyout".'
    )


def _signed(tail: str) -> Problem:
    """A term of three epochs bought in a horizon of one, with upfront money, and a server that is sold at the end."""
    return Problem(
        epochs=(Epoch("a", 10.0, 1.0, past_h=2.0),),
        classes=("k",),
        blocks=Blocks([0], [10.0], [[2.0]]),
        pools=(Pool("rented"), Pool("owned")),
        deployments=(Deployment("r", "rented", (1.0,)), Deployment("o", "owned", (1.0,))),
        offers=(
            Offer("term", {"rented": 1.0}, term_epochs=3, upfront=(Line("fee", 6.0),), committed=(Line("rent", 1.0),),
                  max_units=1.0, price_path=(1.5,)),
            Offer("server", {"owned": 1.0}, upfront=(Line("price", 90.0),), residual_usd=(80.0, 40.0), max_units=1.0),
        ),
        unserved_usd_per_request=(1000.0,),
        tail=tail,  # type: ignore[arg-type]
        buyout_share=0.5,
        later=(Epoch("b", 20.0, 0.9), Epoch("c", 30.0, 0.8)),
        end_discount=0.9,
    )  # fmt: skip


TAILS = {
    "full": ("owed past the horizon", 1.5 * (2 + 20 * 0.9 + 30 * 0.8)),
    "buyout": ("buyout at the end", 0.5 * 1.5 * (2 + 20 + 30) * 0.9),
    "prorated": ("upfront for later", -1.5 * 6 * 52 / 62),
}


@pytest.mark.parametrize("tail", TAILS)
def test_each_tail_in_plain_numbers(tail: str) -> None:
    """Every line of a purchase, worked out by hand; the checker adds up the same."""
    problem = _signed(tail)
    name, usd = TAILS[tail]
    assert dict(problem.unit_cost(problem.offers[0], 0)) == {"fee": 9.0, "rent": 15.0, name: pytest.approx(usd)}
    solution = solve(problem, gap=1e-9)
    assert solution.cost_usd == pytest.approx(24 + usd + 90 - 36)
    assert check(solution) == ()


@pytest.mark.parametrize("tail", TAILS)
def test_the_checker_adds_up_purchases_by_itself(tail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A purchase that is charged without its tail or its sale is told, since the checker does not ask what it costs."""
    right = Problem.unit_cost
    monkeypatch.setattr(Problem, "unit_cost", lambda *args: right(*args)[:-1])
    (fault,) = check(solve(_signed(tail), gap=1e-9))
    assert fault.startswith("the plan says ")


def test_months_past_the_horizon_are_those_of_the_calendar(tmp_path: Path) -> None:
    """From March 2027, after twelve months: March, April, ... 2028, each discounted as its own month."""
    plan = PLAN + "[horizon]\nmonths = 12\ndiscount_rate_per_year = 0.21\n"
    problem = stated(write(tmp_path, plan=plan, rows=FLAT), TODAY).problem
    assert [(epoch.name, epoch.hours) for epoch in problem.later[:2]] == [("2028.03", 744), ("2028.04", 720)]
    assert np.array([epoch.discount for epoch in problem.later[:2]]) == pytest.approx([1 / 1.21, 1.21 ** (-13 / 12)])
