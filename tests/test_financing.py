"""Borrowed purchases: what a loan costs in present value, when it is paid, and what of it outlasts the horizon."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planner_cases import PER_GPU_H, PLAN, Told, forecast, on_demand, told, write

from hardware_profiles.faults import InputError
from planner.cash import paid, paid_lines
from planner.check import check
from planner.finance import Loan
from planner.planfile import read_planfile
from planner.problem import Blocks, Deployment, Epoch, Line, Offer, Pool, Problem
from planner.solve import solve

FLAT = forecast(24, {"chat": 4 * PER_GPU_H})
BUY = '[policy]\nforbid = ["api", "reserved", "on-demand"]\n'
CAPITAL = 4 * 4500.0


def _loan(rate: float, years: float) -> str:
    return f"[financing]\nrate_per_year = {rate}\nyears = {years}\n"


def _told(folder: Path, horizon: str, financing: str, policy: str = BUY) -> Told:
    plan = PLAN + f"[horizon]\n{horizon}\n" + financing + policy
    return told(write(folder, plan=plan, rows=FLAT, offers=[on_demand(usd=0.85)]))


def _lines(answer: Told) -> dict[str, float]:
    return {line.name: line.usd for line in answer.plan.lines}


@given(st.floats(0.0, 0.2, allow_subnormal=False), st.integers(1, 120))
def test_payments_repay_the_debt_and_its_interest(interest: float, epochs: int) -> None:
    """What is owed grows by its interest and falls by a payment, until nothing is owed."""
    loan, debt = Loan(interest, epochs), 1.0
    for k in range(epochs):
        rounding = 4e-15 * (1 + interest) ** k  # of the first payment, with its interest since
        assert loan.owed(k) == pytest.approx(debt, abs=1e-9 + rounding)
        debt = debt * (1 + interest) - loan.payment
    assert debt == pytest.approx(0.0, abs=1e-9 + 4e-15 * (1 + interest) ** epochs)


def _borrowed(tail: str) -> Problem:
    """A server for 100 USD, borrowed at 10 % an epoch for three, in a horizon of two."""
    return Problem(
        epochs=(Epoch("a", 10.0, 1.0), Epoch("b", 10.0, 0.9)),
        classes=("k",),
        blocks=Blocks([0, 1], [10.0, 10.0], [[1.0], [1.0]]),
        pools=(Pool("owned"),),
        deployments=(Deployment("o", "owned", (1.0,)),),
        offers=(Offer("server", {"owned": 1.0}, upfront=(Line("price", 50.0),), price_path=(2.0,),
                      loan=Loan(0.1, 3)),),
        unserved_usd_per_request=(1000.0,),
        tail=tail,  # type: ignore[arg-type]
        buyout_share=0.5,
        later=(Epoch("c", 10.0, 0.8),),
        end_discount=0.85,
    )  # fmt: skip


PAYMENT = 100 * 0.1 / (1 - 1.1**-3)
TAILS = {
    "full": PAYMENT * (0.9 + 0.8 + 0.8) - 100,
    "prorated": PAYMENT * 0.9 + (110 - PAYMENT) * 1.1 * 0.85 - 100,
    "buyout": PAYMENT * 0.9 + (110 - PAYMENT) * 1.1 * 0.85 - 100,
}


@pytest.mark.parametrize("tail", TAILS)
def test_a_loan_in_plain_numbers(tail: str) -> None:
    """By hand: payments at the start of each epoch that follows; what is left by the tail; the checker agrees."""
    problem = _borrowed(tail)
    assert dict(problem.unit_cost(problem.offers[0], 0)) == {"price": 100.0, "financing": pytest.approx(TAILS[tail])}
    solution = solve(problem, gap=1e-9)
    assert solution.cost_usd == pytest.approx(100 + TAILS[tail])
    assert check(solution) == ()
    months = paid_lines(solution)
    assert months[0] == {"price": 100.0, "financing": -100.0}
    assert sum(month.get("financing", 0.0) for month in months) == pytest.approx(TAILS[tail])


@pytest.mark.parametrize("tail", TAILS)
def test_the_checker_adds_up_a_loan_by_itself(tail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A purchase charged without what borrowing costs is told."""
    right = Problem.unit_cost
    monkeypatch.setattr(Problem, "unit_cost", lambda *args: right(*args)[:-1])
    (fault,) = check(solve(_borrowed(tail), gap=1e-9))
    assert fault.startswith("the plan says ")


@pytest.mark.parametrize("horizon", ["months = 4", 'months = 4\ntail = "prorated"'])
def test_borrowing_at_the_discount_rate_costs_nothing(tmp_path: Path, horizon: str) -> None:
    """At 8 % a year both ways the bill is the one of paying at once, however much of the loan outlasts the horizon."""
    rate = "discount_rate_per_year = 0.08"
    at_once = _told(tmp_path / "a", f"{horizon}\n{rate}", "")
    borrowed = _told(tmp_path / "b", f"{horizon}\n{rate}", _loan(0.08, 3))
    assert borrowed.plan.cost_usd == pytest.approx(at_once.plan.cost_usd, abs=0.01)
    assert abs(_lines(borrowed).get("financing", 0.0)) < 0.01
    assert borrowed.plan.checks == ()
    dearer = _told(tmp_path / "c", f"{horizon}\n{rate}", _loan(0.12, 3))
    assert _lines(dearer)["financing"] > 0


def test_payments_fall_in_their_months(tmp_path: Path) -> None:
    """Without a discount: twelve payments from the second month on, those past the end in the last one."""
    answer = _told(tmp_path, "months = 11", _loan(0.12, 1))
    payment = CAPITAL * Loan(1.12 ** (1 / 12) - 1, 12).payment
    financing = [sum(line.usd for line in month.paid or () if line.name == "financing") for month in answer.plan.months]
    assert financing == pytest.approx([-CAPITAL, *[payment] * 9, 3 * payment])
    assert _lines(answer)["financing"] == pytest.approx(12 * payment - CAPITAL)
    assert answer.plan.paid[0] == pytest.approx(0.0, abs=0.01)
    assert paid(answer.solution, answer.case.span)[-1] == pytest.approx(answer.plan.cost_usd)
    assert (
        "What is bought is borrowed at 12 % a year and repaid in 12 equal payments, the first a month after signing; "
        "what is still owed when the horizon ends is in the bill, each payment at its own discount."
    ) in answer.plan.notes


def test_interest_can_tip_the_choice(tmp_path: Path) -> None:
    """A server that pays for itself at once does not where its money costs 30 % a year."""
    policy = '[policy]\nforbid = ["api", "reserved"]\n'
    for rate, scheme in ((0.0, "owned"), (0.3, "on demand")):
        answer = _told(tmp_path / scheme, "months = 12", _loan(rate, 5), policy)
        assert [purchase.scheme for purchase in answer.plan.purchases] == [scheme]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("rate_per_year = 0.07", "a loan has a rate and a length. Remedy: write rate_per_year and years, or neither."),
        (
            "rate_per_year = 0.07\nyears = 2.55",
            "a loan is repaid in whole months. Remedy: write years = 2.5 for thirty months.",
        ),
    ],
)
def test_half_a_loan_is_a_fault(tmp_path: Path, text: str, fault: str) -> None:
    """Rate and years together, in whole months."""
    path = tmp_path / "plan.toml"
    path.write_text(f"[financing]\n{text}\n")
    with pytest.raises(InputError) as caught:
        read_planfile(path)
    assert str(caught.value) == f"{path}:1: column 'financing': {fault}"
