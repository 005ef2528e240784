"""The rows of forecast.csv, each checked by itself; `forecast.py` then looks at them together.

Why a file of its own: what can be wrong with a file's bytes, its header and a single row is most of what can be wrong
with a forecast. Nothing is guessed: a value that cannot be meant is a fault, and all faults are told at once (the first
`SHOWN_FAULTS` in full and the count of the rest, since one wrong column makes thousands).

Lines that begin with # are comments.

Columns: `timestamp, requests, input_tokens, output_tokens`, and if wanted `workload` (without it there is one workload,
`all`), `cached_input_tokens` (part of the input; 0 without it), `scenario` and `probability`. Any order, any case.
Counts are totals of the row's interval; fractions are fine, since a forecast is a mean.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from hardware_profiles.faults import Fault, Faults, InputError

SHOWN_FAULTS = 20
ONLY_WORKLOAD = "all"
_COUNTS = ("requests", "input_tokens", "cached_input_tokens", "output_tokens")
_REQUIRED = ("timestamp", "requests", "input_tokens", "output_tokens")
_OPTIONAL = ("workload", "cached_input_tokens", "scenario", "probability")
_LARGEST = 1e15
"""Beyond it a total is a slip of units, and sums would lose requests to rounding."""
_FIRST_LINE = "timestamp,workload,requests,input_tokens,output_tokens"
_ISO = "write ISO 8601, for example 2027-01-04T00:00:00Z"


class CappedFaults(Faults):
    """Faults of a long file: the first ones in full, the others counted."""

    def __init__(self, file: str | None = None) -> None:
        super().__init__(file)
        self.hidden = 0

    def add(
        self, what: str, remedy: str, *, line: int | None = None, column: str | None = None, value: object = None
    ) -> None:
        """Note one fault, or only count it when enough are shown."""
        if len(self.found) < SHOWN_FAULTS:
            super().add(what, remedy, line=line, column=column, value=value)
        else:
            self.hidden += 1

    def check(self) -> None:
        """Raise `InputError` when anything was found, in the order of lines."""
        self.found.sort(key=lambda fault: math.inf if fault.line is None else fault.line)
        if self.hidden:
            more = Fault(f"{self.hidden} more faults are not shown", "mend those above and run again", self.file)
            raise InputError(*self.found, more)
        super().check()


@dataclass
class Rows:
    """The table under construction, by column; entry i is one row of the file. Lists, since it grows row by row."""

    line: list[int] = field(default_factory=list)
    second: list[int] = field(default_factory=list)
    """Seconds since 1970 UTC."""
    workload: list[str] = field(default_factory=list)
    scenario: list[str | None] = field(default_factory=list)
    probability: list[float | None] = field(default_factory=list)
    counts: list[tuple[float, ...]] = field(default_factory=list)
    """(requests, input, cached input, output); zeros where a fault was noted, so that the row is not missed too."""
    unplaced: list[int] = field(default_factory=list)
    """Lines whose time or name could not be read: what they leave open is no gap of its own."""
    columns: frozenset[str] = frozenset()
    zoned: bool = True
    """False when the times name no zone."""


def read_rows(data: bytes, faults: Faults) -> Rows:
    """Every row of the file whose time and names can be read; faults of rows are noted."""
    rows = Rows()
    text = _decoded(data, faults)
    lines = _records(text, faults)
    header = next(lines, None)
    if header is None:
        if not faults.found:
            faults.add("is empty", f"begin it with the line {_FIRST_LINE}")
        return rows
    columns = _header(*header, faults)
    if columns is None:
        return rows
    reader = _RowReader(rows, columns, len(header[1]), faults)
    for line, record in lines:
        reader.add(line, record)
    rows.columns = frozenset(columns)
    rows.zoned = reader.zoned is not False
    if not rows.line and not faults.found:
        faults.add("has no rows below its header", "add one row per hour and workload", line=header[0])
    return rows


def _decoded(data: bytes, faults: Faults) -> str:
    remedy = "save the file as CSV in UTF-8"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        faults.add("is encoded in UTF-16", remedy, line=1)
        return ""
    if b"\x00" in data:
        at = data.index(b"\x00")
        faults.add(f"is not text: byte {at} is 0x00", remedy, line=data.count(b"\n", 0, at) + 1)
        return ""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        faults.add(f"is not encoded in UTF-8: byte {error.start} is 0x{data[error.start]:02x}", remedy, line=line)
        return ""


def _records(text: str, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    """(line, stripped fields) of every record that is neither blank nor a comment (#); stops where it is no CSV."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for record in reader:
            fields = [item.strip() for item in record]
            if any(fields) and not fields[0].startswith("#"):
                yield reader.line_num, fields
    except csv.Error as error:
        remedy = "close every quote and double the quotes inside one"
        faults.add(f"is not CSV ({error})", remedy, line=reader.line_num)


def _header(line: int, names: list[str], faults: Faults) -> dict[str, int] | None:
    """Column name -> position; None when the rows cannot be read."""
    known = (*_REQUIRED, *_OPTIONAL)
    columns: dict[str, int] = {}
    lowered = [name.lower() for name in names]
    if not set(lowered) & set(known):
        if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
            faults.add("the columns are not separated by commas", "save the file with commas", line=line)
        else:
            faults.add("the first line names no known column", f"begin the file with {_FIRST_LINE}", line=line)
        return None
    for position, name in enumerate(lowered):
        if name not in known:
            near = difflib.get_close_matches(name, [k for k in known if k not in lowered], n=1)
            remedy = f"rename it to {near[0]}" if near else f"remove it; known are {', '.join(known)}"
            faults.add("unknown column", remedy, line=line, column=names[position])
        elif name in columns:
            faults.add("the column stands twice", "keep one", line=line, column=names[position])
        columns.setdefault(name, position)
    missing = [name for name in _REQUIRED if name not in columns]
    for name in missing:
        faults.add("the column is missing", "add it to the header and to every row", line=line, column=name)
    if "probability" in columns and "scenario" not in columns:
        faults.add("there is a probability but no scenario", "add the column scenario", line=line, column="probability")
    return None if missing else columns


class _RowReader:
    """Reads one row after the other into `rows`; the first time read says whether all of them name a zone."""

    def __init__(self, rows: Rows, columns: dict[str, int], width: int, faults: Faults) -> None:
        self.rows = rows
        self.columns = columns
        self.width = width
        self.faults = faults
        self.zoned: bool | None = None
        self._zoned_line = 0
        self._seconds: dict[str, int] = {}

    def add(self, line: int, record: list[str]) -> None:
        rows = self.rows
        if len(record) != self.width:
            what = f"the row has {len(record)} fields, the header {self.width}"
            self.faults.add(what, "give every row one value for each column", line=line)
            rows.unplaced.append(line)
            return
        second = self._second(line, record[self.columns["timestamp"]])
        workload = self._name(line, record, "workload") if "workload" in self.columns else ONLY_WORKLOAD
        scenario = self._name(line, record, "scenario") if "scenario" in self.columns else None
        probability = self._number(line, record, "probability") if "probability" in self.columns else None
        counts = self._counts(line, record)
        if second is None or "" in (workload, scenario):
            rows.unplaced.append(line)
            return
        rows.line.append(line)
        rows.second.append(second)
        rows.workload.append(workload)
        rows.scenario.append(scenario)
        rows.probability.append(probability)
        rows.counts.append(counts)

    def _second(self, line: int, text: str) -> int | None:
        """Seconds since 1970 UTC; the same text is read once."""
        if text not in self._seconds:
            second = self._read_time(line, text)
            if second is None:
                return None
            self._seconds[text] = second
        return self._seconds[text]

    def _read_time(self, line: int, text: str) -> int | None:
        what, remedy = "is not a date and time", _ISO
        try:
            moment = datetime.fromisoformat(text)
            zoned = moment.tzinfo is not None
            moment = moment.astimezone(UTC) if zoned else moment.replace(tzinfo=UTC)
            if self.zoned is None:
                self.zoned, self._zoned_line = zoned, line
            if zoned is self.zoned and 2000 <= moment.year < 2100 and not moment.microsecond:
                return int(moment.timestamp())
            if zoned is not self.zoned:
                has, had = ("a", "none") if zoned else ("no", "one")
                what = f"names {has} time zone, line {self._zoned_line} names {had}"
                remedy = "end every time with Z (UTC)"
            else:
                what = "is not a whole second between the years 2000 and 2099"
        except (ValueError, OverflowError):
            pass
        self.faults.add(what, remedy, line=line, column="timestamp", value=text)
        return None

    def _name(self, line: int, record: list[str], column: str) -> str:
        """The name; empty with a fault noted where there is none."""
        name = record[self.columns[column]]
        if name and name.isprintable():
            return name
        self.faults.add("is not a name", "write printable text", line=line, column=column, value=name)
        return ""

    def _counts(self, line: int, record: list[str]) -> tuple[float, ...]:
        """(requests, input, cached input, output); zeros with a fault noted where they cannot be meant."""
        read = [self._number(line, record, name) if name in self.columns else 0.0 for name in _COUNTS]
        requests, given, cached, output = read
        if requests is None or given is None or cached is None or output is None:
            return (0.0, 0.0, 0.0, 0.0)
        found = []
        if cached > given:
            found.append(("cached_input_tokens", "exceeds input_tokens", "count it as a part of input_tokens"))
        for name, tokens in (("input_tokens", given), ("output_tokens", output)):
            if requests == 0 < tokens:
                found.append((name, "there are tokens but no requests", "give the requests, or 0 tokens"))
            elif tokens < requests:
                remedy = "give the total of the row, not the mean of a request"
                found.append((name, "is less than one token per request", remedy))
        for name, what, remedy in found:
            self.faults.add(what, remedy, line=line, column=name, value=record[self.columns[name]])
        return (0.0, 0.0, 0.0, 0.0) if found else (requests, given, cached, output)

    def _number(self, line: int, record: list[str], name: str) -> float | None:
        text = record[self.columns[name]]
        try:
            number = float(text)
            if 0 <= number <= _LARGEST and "_" not in text:
                return number
        except ValueError:
            number = math.nan
        if not text:
            what, remedy = "is empty", "write 0 where there is no demand"
        elif not math.isfinite(number):
            what, remedy = "is not a number", "write plain digits, for example 1200 or 1200.5"
        elif number < 0:
            what, remedy = "is negative", "write 0 or more"
        elif number > _LARGEST:
            what, remedy = f"is larger than {_LARGEST:.0e}", "check the unit: requests and single tokens"
        else:
            what, remedy = "is not a plain number", "write plain digits, for example 1200 or 1200.5"
        self.faults.add(what, remedy, line=line, column=name, value=text)
        return None
