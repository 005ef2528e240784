"""The profit-and-loss view tells the cash view's money: month by month, with a way to the bill that adds up."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from planner_cases import OWNERSHIP, PER_GPU_H, PLAN, Told, forecast, on_demand, reserved, told, write

from planner.plan import Books
from planner.profit_and_loss import by_month, shown, to_bill
from planner.sections import sections
from planner.tables import plan_tables

FLAT = forecast(24, {"chat": 4 * PER_GPU_H})
CAPITAL = 4 * 4500.0
BUY = '[policy]\nforbid = ["api", "reserved", "on-demand"]\n'
TERMS = '[policy]\nforbid = ["api", "buy", "on-demand"]\n'
MONTHLY = "[price_trends]\napi_per_year = -0.1\n"
"""Makes every month a decision."""


def _told(folder: Path, text: str, **more: object) -> Told:
    return told(write(folder, plan=PLAN + text, rows=FLAT, **more))  # type: ignore[arg-type]


def _books(answer: Told) -> Books:
    assert answer.plan.books is not None
    return answer.plan.books


def _sums(books: Books) -> dict[str, float]:
    sums: dict[str, float] = {}
    for expense in (expense for month in books.months for expense in month.expenses):
        sums[expense.name] = sums.get(expense.name, 0.0) + expense.usd
    return sums


def _steps(answer: Told) -> dict[str, float]:
    """From expense to bill; they add up to it."""
    steps = {row.name: row.usd for row in _books(answer).to_bill}
    assert sum(steps.values()) == pytest.approx(answer.plan.cost_usd, abs=0.01)
    return steps


def test_a_purchase_is_written_off_month_by_month(tmp_path: Path) -> None:
    """Over three years from the month in which it serves: after a year with a lead of two months, 10 of 36 months."""
    text = "[horizon]\nmonths = 12\n[site]\nlead_time_months = 2\n[accounting]\ndepreciation_years = 3.0\n" + BUY
    answer = _told(tmp_path, text)
    books = _books(answer)
    by_epoch = [sum(e.usd for e in m.expenses if e.name == "depreciation") for m in books.months]
    assert by_epoch == pytest.approx([0.0, 0.0, *[CAPITAL / 36] * 10])
    assert [month.book_usd for month in books.months][::11] == pytest.approx([CAPITAL, CAPITAL * 26 / 36])
    residual = next(line.usd for line in answer.plan.lines if line.name == "residual value")
    steps = _steps(answer)
    assert steps["book value at the end of what is bought"] == pytest.approx(CAPITAL * 26 / 36)
    assert steps["residual value"] == pytest.approx(residual)
    assert len(steps) == 3
    assert books.life_months == {"l4-24gb": 36.0}


def test_the_price_books_life_counts_where_nothing_is_stated(tmp_path: Path) -> None:
    """48 months; one decision for the whole horizon is written off for its twelve months."""
    answer = _told(tmp_path, BUY)
    assert len(_books(answer).months) == 1
    assert _sums(_books(answer))["depreciation"] == pytest.approx(CAPITAL * 12 / 48)


@pytest.mark.parametrize("monthly", ["", MONTHLY])
def test_where_the_horizon_covers_everything_the_expense_is_the_bill(tmp_path: Path, monthly: str) -> None:
    """Written off within the year, worth nothing then, borrowed for less than it: no step is left."""
    worthless = OWNERSHIP.replace("[[0, 0.8], [24, 0.4], [48, 0.0]]", "[[0, 0.5], [6, 0.0]]")
    loan = "[financing]\nrate_per_year = 0.12\nyears = 0.5\n[accounting]\ndepreciation_years = 1.0\n"
    answer = _told(tmp_path, monthly + loan + BUY, ownership=worthless)
    assert list(_steps(answer)) == ["expense of the horizon"]
    assert sum(month.usd for month in _books(answer).months) == pytest.approx(answer.plan.cost_usd)
    assert [month.loans_usd > 0 for month in _books(answer).months] == [True] * 6 + [False] * 6
    assert _books(answer).months[-1].book_usd == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("tail", ['tail = "full"', 'tail = "prorated"', 'tail = "buyout"\nbuyout_share = 0.5'])
@pytest.mark.parametrize("rate", [0.0, 0.08])
def test_the_way_to_the_bill_adds_up(tmp_path: Path, tail: str, rate: float) -> None:
    """Loans and purchases that outlast four months, with and without a discount, under each tail."""
    text = (
        f"[horizon]\nmonths = 4\ndiscount_rate_per_year = {rate}\n{tail}\n"
        "[financing]\nrate_per_year = 0.1\nyears = 2.0\n[site]\nspares_share = 0.1\n"
        "[accounting]\ndepreciation_years = 4.0\n" + BUY
    )
    steps = _steps(_told(tmp_path, text))
    assert ("discounted to present value" in steps) == (rate > 0)
    assert ("interest owed past the horizon" in steps) == ("full" in tail)
    assert steps["book value at the end of what is bought"] == pytest.approx(4 * (4500 + 400) * 44 / 48)


@pytest.mark.parametrize(
    ("tail", "left"),
    [('tail = "full"', {"owed past the horizon", "paid upfront for terms' hours past the horizon"}),
     ('tail = "prorated"', {"upfront for later", "paid upfront for terms' hours past the horizon"}),
     ('tail = "buyout"\nbuyout_share = 0.5', {"paid upfront for terms' hours past the horizon"})],
)  # fmt: skip
def test_terms_are_expenses_of_their_hours(tmp_path: Path, tail: str, left: set[str]) -> None:
    """A year's term with 1,200 USD upfront in a plan of three months: a quarter, by hours, is an expense."""
    text = f"[horizon]\nmonths = 3\n{tail}\n" + TERMS
    offers = [reserved(usd=0.1, months=12, upfront_usd_per_unit=1200)]
    answer = _told(tmp_path, text, offers=offers)
    steps, hours = _steps(answer), (31 + 28 + 31) * 24
    assert set(steps) == {"expense of the horizon", *left}
    assert steps["paid upfront for terms' hours past the horizon"] == pytest.approx(4 * 1200 * (1 - hours / 8760))
    if "prorated" in tail:
        assert sum(steps[name] for name in left) == pytest.approx(0.0, abs=0.01)
    if "buyout" in tail:
        assert _sums(_books(answer))["buyout at the end"] == pytest.approx(0.5 * 4 * 0.1 * (8760 - hours))


def test_tax_is_saved_on_expenses_and_not_on_what_nobody_pays(tmp_path: Path) -> None:
    """A quarter of each month's expense, the penalty of work that is left aside; the bill is the one before tax."""
    text = "unserved_usd_per_request = 0.0001\n[accounting]\ntax_rate = 0.25\n" + '[policy]\nforbid = ["buy", "api"]\n'
    answer = _told(tmp_path, text, offers=[on_demand(limit_units=2, usd=0.5)])
    (month,) = _books(answer).months
    paid = next(e.usd for e in month.expenses if e.line == "on demand")
    assert month.tax_saved_usd == pytest.approx(0.25 * paid)
    assert month.usd == pytest.approx(answer.plan.cost_usd)
    assert month.usd > paid > 0


def test_the_review_shows_what_adds_up(tmp_path: Path) -> None:
    """Sections and tables of a borrowed server, taxed; nothing where each month's expense is what is paid in it."""
    text = (
        "[horizon]\nmonths = 3\n[financing]\nrate_per_year = 0.1\nyears = 1.0\n"
        "[accounting]\ntax_rate = 0.3\ndepreciation_years = 5.0\n" + BUY
    )
    answer = _told(tmp_path / "a", text)
    section, steps = by_month(answer.plan), to_bill(answer.plan)
    assert section is not None
    assert steps is not None
    assert section.table is not None
    assert section.table.columns == (
        "month", "running", "depreciation", "interest", "expense", "tax it saves", "after tax",
        "book value at its end", "loans owed at its end",
    )  # fmt: skip
    assert "written off in a straight line over 60 months" in section.says
    assert "An expense saves 30 % of it in tax" in section.says
    assert [part.title for part in sections(answer.plan) if part in (section, steps)] == [
        "Profit and loss", "From expense to the bill",
    ]  # fmt: skip
    made = {name: list(csv.DictReader(io.StringIO(text))) for name, text in plan_tables(answer.plan).items()}
    whole = sum(float(row["usd"]) for row in made["profit_and_loss.csv"])
    assert whole == pytest.approx(sum(float(row["expense_usd"]) for row in made["books.csv"]))
    assert sum(float(row["usd"]) for row in made["expense_to_bill.csv"]) == pytest.approx(
        answer.plan.cost_usd, abs=0.01
    )
    rented = _told(tmp_path / "b", MONTHLY + '[policy]\nforbid = ["buy", "api", "reserved"]\n')
    assert shown(rented.plan) is None
    assert by_month(rented.plan) is to_bill(rented.plan) is None
