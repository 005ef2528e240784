"""Cells of a price table: each read with faults that name line and column, and the table's header and shape."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from hardware_profiles.facts import GpuFacts, ModelFacts
from hardware_profiles.faults import Faults, InputError
from hardware_profiles.provenance import UNDATED, parse_day

Chosen = TypeVar("Chosen", bound=str | None)


@dataclass(frozen=True)
class Reading:
    """Where a reader leaves what it finds: faults, and notes on what was chosen for the user."""

    faults: Faults
    notes: list[str]
    latest: date | None = None
    """Last day that a price can be of; None does not limit."""


class Cells:
    """One row's cells, read with faults that name line and column."""

    def __init__(self, cells: Mapping[str, str], line: int, reading: Reading) -> None:
        self.cells, self.line, self.reading, self.faults = cells, line, reading, reading.faults

    def fault(self, what: str, remedy: str, column: str) -> None:
        """A fault in one of its cells."""
        self.faults.add(what, remedy, line=self.line, column=column, value=self.cells.get(column) or None)

    def text(self, column: str) -> str | None:
        """A cell without spaces around; None for a blank one."""
        return self.cells.get(column, "").strip() or None

    def needed(self, column: str) -> str:
        """A cell that may not be blank."""
        text = self.text(column)
        if text is None:
            self.fault("is empty", "fill it in", column)
        return text or ""

    def number(self, column: str, least: float = 0.0, most: float = float("inf")) -> float | None:
        """A finite number within bounds, or None for a blank cell."""
        text = self.text(column)
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not (least <= value <= most and value < float("inf")):
            wanted = f"from {least:g} to {most:g}" if most < float("inf") else f"of {least:g} or more"
            self.fault(f"is not a number {wanted}", "write digits with a decimal point", column)
            return None
        return value

    def price(self, column: str) -> float:
        """A blank cell is no such charge."""
        return self.number(column) or 0.0

    def whole(self, column: str) -> int | None:
        """A whole number of 1 or more."""
        value = self.number(column, 1)
        if value is not None and value != int(value):
            self.fault("is not a whole number", "write a whole number", column)
        return None if value is None else int(value)

    def choice(self, column: str, known: Iterable[Chosen], default: Chosen) -> Chosen:
        """One of the known words; `default` for a blank cell."""
        text = self.text(column)
        found = next((name for name in known if name == text), None)
        if text is not None and found is None:
            self.fault("is not one of the choices", f"write one of {', '.join(str(name) for name in known)}", column)
        return default if found is None else found

    def day(self, column: str) -> date | None:
        """A date, or None for the word `undated`."""
        text = self.needed(column)
        try:
            day = parse_day(text or UNDATED)
        except ValueError:
            self.fault("is not a date", f"write YYYY-MM-DD, YYYY-MM or {UNDATED}", column)
            return None
        latest = self.reading.latest
        if day is not None and latest is not None and day > latest:
            self.fault(f"lies after today ({latest})", "write the day on which the price was seen", column)
        return day

    def name(self, column: str, resolve: Callable[[str], tuple[GpuFacts | ModelFacts, str | None]]) -> str:
        """What people type, as our own name."""
        text = self.needed(column)
        if not text:
            return ""
        try:
            entry, note = resolve(text)
        except InputError as error:
            self.fault(error.faults[0].what, error.faults[0].remedy, column)
            return ""
        if note is not None:
            self.reading.notes.append(f"{self.faults.file}:{self.line}: {note}")
        return entry.name


def rows_of(data: bytes, reading: Reading, columns: tuple[str, ...], needed: tuple[str, ...]) -> Iterable[Cells]:
    """Every row of a table that has `columns` (those `needed` at least); what is wrong with the rest is a fault."""
    faults = reading.faults
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        faults.add(f"is not UTF-8 (byte {error.start})", "save the file as UTF-8", line=line)
        return
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if not _header_is_sound(list(reader.fieldnames or ()), faults, columns, needed):
        return
    before = reader.line_num
    try:
        for cells in reader:
            if None in cells or None in cells.values():
                faults.add(
                    "has more or fewer cells than columns", "quote cells that hold a comma", line=reader.line_num
                )
            else:
                yield Cells(cells, reader.line_num, reading)
    except csv.Error as error:
        faults.add(f"is not CSV ({error})", "mend the line", line=reader.line_num + 1)
    if reader.line_num == before:
        faults.add("has no rows", "add rows, or remove the file for the shipped one")


def _header_is_sound(names: list[str], faults: Faults, columns: tuple[str, ...], needed: tuple[str, ...]) -> bool:
    if not names:
        faults.add("is empty", "write a header and rows, or remove the file for the shipped one")
        return False
    for name in dict.fromkeys(names):
        if name not in columns:
            faults.add("unknown column", f"known are {', '.join(columns)}", line=1, column=name)
        elif names.count(name) > 1:
            faults.add("column appears twice", "keep one", line=1, column=name)
    missing = [name for name in needed if name not in names]
    for name in missing:
        faults.add("column is missing", "add it", line=1, column=name)
    return not missing
