"""The profit-and-loss view as sheets of the workbook: each expense moves with its line of the bill.

What stands in the books and the way to the bill are as planned: they do not move with a price.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from planner.amounts import month
from planner.cells import Cell, Formula, Writer, letters
from planner.plan import Books, BooksMonth, Plan
from planner.profit_and_loss import shown

_Part = tuple[str, str]
"""Name of an expense, and the line of the bill that it is a part of."""
_PENALTY = "unserved"


def books_sheets(writer: Writer, plan: Plan, factors: Mapping[str, str]) -> None:
    """Two sheets; `factors` are references to "now / planned" by line. None where the months tell it all."""
    books = shown(plan)
    if books is None:
        return
    parts = tuple(dict.fromkeys((e.name, e.line) for m in books.months for e in m.expenses))
    rows: list[Sequence[Cell]] = [_month(books, m, parts, factors, row) for row, m in enumerate(books.months, start=2)]
    rows.append(("all", *_sums(rows)))
    tax = ("tax it saves", "after tax") if books.tax_rate is not None else ()
    left = ("book value at its end, as planned", "loans owed at its end, as planned")
    names = (name if name == line else f"{name} ({line})" for name, line in parts)
    writer.sheet("Profit and loss", ("month", *names, "expense", *tax, *left), rows, (14, 16))
    steps: list[Sequence[Cell]] = [(row.name, row.usd) for row in books.to_bill]
    steps.append(("the bill as planned", Formula(f"SUM(B2:B{len(steps) + 1})", sum(row.usd for row in books.to_bill))))
    writer.sheet("Expense to bill", ("from the whole expense to the bill", "USD"), steps, (50, 18))


def _month(books: Books, m: BooksMonth, parts: Sequence[_Part], factors: Mapping[str, str], row: int) -> Sequence[Cell]:
    cells: list[Cell] = []
    for part in parts:
        usd = sum(e.usd for e in m.expenses if (e.name, e.line) == part)
        cells.append(Formula(f"{usd!r}*{factors[part[1]]}", usd) if usd and part[1] in factors else usd)
    count = len(parts)
    cells.append(Formula(f"SUM(B{row}:{letters(count)}{row})", m.usd) if parts else 0.0)
    if books.tax_rate is not None:
        saved = m.tax_saved_usd or 0.0
        taxed = "+".join(f"{letters(c)}{row}" for c, (_, line) in enumerate(parts, 1) if line != _PENALTY) or "0"
        cells.append(Formula(f"{books.tax_rate!r}*({taxed})", saved))
        cells.append(Formula(f"{letters(count + 1)}{row}-{letters(count + 2)}{row}", m.usd - saved))
    return month(m.name), *cells, m.book_usd, m.loans_usd


def _sums(rows: Sequence[Sequence[Cell]]) -> list[Cell]:
    """Of every column but the last two, which are no flows."""
    sums: list[Cell] = []
    for c in range(1, len(rows[0]) - 2):
        values = [cell.value if isinstance(cell, Formula) else cell for cell in (row[c] for row in rows)]
        total = sum(value for value in values if isinstance(value, float | int))
        sums.append(Formula(f"SUM({letters(c)}2:{letters(c)}{len(rows) + 1})", total))
    return sums
