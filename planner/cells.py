"""Cells and sheets of a spreadsheet: what a cell may hold, how it looks, and how much room its words take.

Names are text cells that stay text when somebody edits them (`quote_prefix`). Rows are as high as their longest text
needs, since offices do not all find that out by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["money", "price", "count", "share", "plain"]
"""How a column's numbers look: to the cent, to six digits behind the point, whole, in percent, as they are."""

_FORMATS: dict[Kind, str] = {
    "money": "#,##0.00",
    "price": "#,##0.00####",
    "count": "#,##0",
    "share": "0.00%",
    "plain": "#,##0.####",
}
_LONGEST = 32_000
_LINE_POINTS = 15.0


@dataclass(frozen=True)
class Formula:
    """A formula and what it comes to with the plan's own numbers."""

    text: str
    value: float
    kind: Kind | None = None
    """In place of the column's."""


@dataclass(frozen=True)
class Given:
    """A number that a person may change."""

    value: float
    kind: Kind | None = None


@dataclass(frozen=True)
class Number:
    """A number that looks otherwise than its column's."""

    value: float
    kind: Kind


Cell = str | float | None | Formula | Given | Number


class Writer:
    """Sheets of rows: a bold header, inputs marked, names as text."""

    def __init__(self, book: Any) -> None:
        self.book = book
        head = {"bold": True, "bottom": 1, "text_wrap": True, "valign": "top"}
        aside = {"align": "right", "indent": 1}  # or a number would touch the word in the next column
        self.head = {number: book.add_format(head | (aside if number else {})) for number in (False, True)}
        self.name = book.add_format({"quote_prefix": True, "text_wrap": True, "valign": "top"})
        given = {"font_color": "#0000C0", "bg_color": "#FFFBE0"}
        self.number, self.given = (
            {
                kind: book.add_format({"num_format": text, "valign": "top"} | aside | more)
                for kind, text in _FORMATS.items()
            }
            for more in ({}, given)
        )

    def sheet(
        self,
        title: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[Cell]],
        widths: Sequence[int] = (34, 16),
        kinds: Sequence[Kind] = ("money",),
    ) -> None:
        """One sheet; the last of `widths` (characters) and of `kinds` holds for the columns beyond."""
        sheet = self.book.add_worksheet(title)
        wide = [widths[min(i, len(widths) - 1)] for i in range(len(columns))]
        filled = [tuple(row) for row in rows]
        for i, column in enumerate(columns):
            numbers = any(not isinstance(row[i], str | None) for row in filled if i < len(row))
            sheet.set_column(i, i, wide[i])
            sheet.write_string(0, i, text_cell(column), self.head[numbers])
        sheet.set_row(0, _height(columns, wide, bold=True))
        for r, row in enumerate(filled, start=1):
            sheet.set_row(r, _height(row, wide))
            for c, cell in enumerate(row):
                self._cell(sheet, r, c, cell, kinds[min(c, len(kinds) - 1)])
        sheet.freeze_panes(1, 1)
        sheet.set_landscape()
        sheet.set_paper(9)  # A4
        sheet.fit_to_pages(1, 0)
        sheet.repeat_rows(0)

    def _cell(self, sheet: Any, row: int, column: int, cell: Cell, kind: Kind) -> None:
        match cell:
            case None | "":
                return
            case str():
                sheet.write_string(row, column, text_cell(cell), self.name)
            case Formula():
                sheet.write_formula(row, column, f"={cell.text}", self.number[cell.kind or kind], cell.value)
            case Number():
                sheet.write_number(row, column, cell.value, self.number[cell.kind])
            case Given():
                sheet.write_number(row, column, cell.value, self.given[cell.kind or kind])
            case _:
                sheet.write_number(row, column, cell, self.number[kind])


def letters(column: int) -> str:
    """The spreadsheet's name of a column counted from 0.

    >>> letters(0), letters(25), letters(26)
    ('A', 'Z', 'AA')
    """
    name = ""
    while column >= 0:
        name = chr(65 + column % 26) + name
        column = column // 26 - 1
    return name


def text_cell(text: str) -> str:
    """One line that a cell can hold."""
    return "".join(c if c.isprintable() else " " for c in text)[:_LONGEST]


def _height(row: Sequence[Cell], widths: Sequence[int], *, bold: bool = False) -> float:
    """Points for the row's longest text: a column is as wide as so many digits, and most letters are narrower."""
    room = 0.85 if bold else 1.05
    lines = [math.ceil(len(cell) / (room * width)) for cell, width in zip(row, widths, strict=False)
             if isinstance(cell, str)]  # fmt: skip
    return _LINE_POINTS * min(max([1, *lines]), 20)
