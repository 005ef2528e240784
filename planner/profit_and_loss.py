"""The profit-and-loss view in the review: expenses by month, and the way from them to the bill.

Left out where every month's expense is what is paid in it (nothing is bought, borrowed or paid for later) and no tax
rate is stated.
"""

from __future__ import annotations

from planner.amounts import count, month, share, usd
from planner.books import DEPRECIATION, INTEREST
from planner.parts import Section, Table, told
from planner.plan import Books, BooksMonth, Plan

_SPREAD = (DEPRECIATION, INTEREST)


def shown(plan: Plan) -> Books | None:
    """The view where it tells more than the months do."""
    books = plan.books
    if books is None or not books.months:
        return None
    differs = any(told(m.book_usd) or told(m.loans_usd) for m in books.months) or len(books.to_bill) > 2
    spread = any(expense.name in _SPREAD for m in books.months for expense in m.expenses)
    return books if differs or spread or books.tax_rate is not None else None


def how_bought(plan: Plan) -> str:
    """When a purchase is paid, in words."""
    return "purchases as their loans are repaid" if _borrows(plan) else "purchases at once"


def _borrows(plan: Plan) -> bool:
    return plan.books is not None and any(told(m.loans_usd) for m in plan.books.months)


def by_month(plan: Plan) -> Section | None:
    """Each month's expenses, what they save in tax, and what stands in the books at its end."""
    books = shown(plan)
    if books is None:
        return None
    rows = [(month(m.name), *_cells(m)) for m in books.months]
    rows.append(("all", *_totals(books)))
    columns = ("month", "running", DEPRECIATION, INTEREST, "expense", "tax it saves", "after tax",
               "book value at its end", "loans owed at its end")  # fmt: skip
    kept = [c for c in range(len(columns)) if c == 0 or columns[c] == "expense" or any(_some(row[c]) for row in rows)]
    table = Table(tuple(columns[c] for c in kept), tuple(tuple(row[c] for c in kept) for row in rows))
    return Section("Profit and loss", _says(plan, books), table)


def to_bill(plan: Plan) -> Section | None:
    """From the whole expense to the bill."""
    books = shown(plan)
    if books is None:
        return None
    rows = (*((row.name, usd(row.usd)) for row in books.to_bill), ("the bill", usd(plan.cost_usd)))
    says = "The rows add up: what is paid and not used yet, what is owed later, what a sale at the end would bring."
    return Section("From expense to the bill", says, Table(("what", "amount"), rows))


def _says(plan: Plan, books: Books) -> str:
    said = "The same money as an expense of the month that uses it, as it is (not discounted)."
    if books.life_months:
        lives = sorted(set(books.life_months.values()))
        over = " or ".join(count(life, "month") for life in lives)
        said += f" What is bought is written off in a straight line over {over}, from the month in which it serves."
    if books.tax_rate is not None:
        said += (
            f" An expense saves {share(books.tax_rate)} of it in tax where there is profit to tax; the plan is decided "
            "before tax."
        )
    if _borrows(plan):
        said += f" Of loans {usd(books.months[-1].loans_usd)} are owed when the horizon ends."
    return said


def _cells(m: BooksMonth) -> tuple[str, ...]:
    spread = [sum(expense.usd for expense in m.expenses if expense.name == name) for name in _SPREAD]
    after = None if m.tax_saved_usd is None else m.usd - m.tax_saved_usd
    return (
        usd(m.usd - sum(spread)),
        *(usd(amount) for amount in (*spread, m.usd)),
        *("" if amount is None else usd(amount) for amount in (m.tax_saved_usd, after)),
        *(usd(amount) for amount in (m.book_usd, m.loans_usd)),
    )


def _totals(books: Books) -> tuple[str, ...]:
    """The sums of a table's money columns; what stands in the books is no sum."""
    saved = None if books.tax_rate is None else sum(m.tax_saved_usd or 0.0 for m in books.months)
    whole = BooksMonth(
        name="all",
        expenses=tuple(expense for m in books.months for expense in m.expenses),
        usd=sum(m.usd for m in books.months),
        tax_saved_usd=saved,
        book_usd=0.0,
        loans_usd=0.0,
    )
    return (*_cells(whole)[:-2], "", "")


def _some(cell: str) -> bool:
    return cell not in ("", usd(0.0))
