"""Rows of `offers.csv` and `endpoints.csv`: what each column means, and what is wrong with a row.

A blank cell of a price is no such charge; a blank limit, region or confidence is unknown. Names of GPUs and models may
be written as people type them and are kept under our names; where that meant choosing, a note says so.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal, TypeVar, get_args

from hardware_profiles.facts import GpuFacts, ModelFacts
from hardware_profiles.faults import Faults, InputError
from hardware_profiles.names import resolve_gpu, resolve_model
from hardware_profiles.provenance import UNDATED, Confidence, Kind, parse_day

Scheme = Literal["buy", "reserved", "on_demand", "spot"]


@dataclass(frozen=True)
class OfferRow:
    """GPUs for sale or rent. A unit is `gpus_per_unit` GPUs that can only be had together."""

    provider: str
    gpu: str
    gpus_per_unit: int
    scheme: Scheme
    term_months: int | None
    """Of a reserved one."""
    upfront_usd_per_unit: float
    committed_usd_per_gpu_h: float
    """Owed for every hour of the term, used or not."""
    usage_usd_per_gpu_h: float
    """Per hour of use."""
    minimum_hours: float | None
    region: str | None
    limit_units: float | None
    as_of: date | None
    """None: undated."""
    source: str
    kind: Kind
    confidence: Confidence | None
    note: str | None
    file: str
    line: int

    @property
    def key(self) -> tuple[object, ...]:
        """Two rows with the same one are the same offer."""
        return self.provider, self.gpu, self.gpus_per_unit, self.scheme, self.term_months, self.region


@dataclass(frozen=True)
class EndpointRow:
    """An API that serves a model, in USD per million tokens."""

    provider: str
    model: str
    input_usd_per_mtok: float
    cached_input_usd_per_mtok: float | None
    """None: cached input costs what other input costs, or nobody says."""
    output_usd_per_mtok: float
    batch_discount: float | None
    """0.5: batch work costs half. None: no batch price is known."""
    requests_per_minute: float | None
    tokens_per_minute: float | None
    region: str | None
    latency_evidence: str | None
    """A curve measured with `bench --endpoint`; None: not evidenced."""
    as_of: date | None
    source: str
    kind: Kind
    confidence: Confidence | None
    note: str | None
    file: str
    line: int

    @property
    def key(self) -> tuple[object, ...]:
        """Two rows with the same one are the same endpoint."""
        return self.provider, self.model, self.region


Row = TypeVar("Row", OfferRow, EndpointRow)

_EVIDENCE = ("as_of", "source", "kind", "confidence", "note")
OFFER_COLUMNS = (
    "provider", "gpu", "gpus_per_unit", "scheme", "term_months", "upfront_usd_per_unit", "committed_usd_per_gpu_h",
    "usage_usd_per_gpu_h", "minimum_hours", "region", "limit_units", *_EVIDENCE,
)  # fmt: skip
ENDPOINT_COLUMNS = (
    "provider", "model", "input_usd_per_mtok", "cached_input_usd_per_mtok", "output_usd_per_mtok", "batch_discount",
    "requests_per_minute", "tokens_per_minute", "region", "latency_evidence", *_EVIDENCE,
)  # fmt: skip
_PRICE_OF: Mapping[Scheme, tuple[str, ...]] = {
    "buy": ("upfront_usd_per_unit",),
    "reserved": ("upfront_usd_per_unit", "committed_usd_per_gpu_h"),
    "on_demand": ("usage_usd_per_gpu_h",),
    "spot": ("usage_usd_per_gpu_h",),
}
"""The prices that a scheme has; at least one is positive and no other is given."""


@dataclass(frozen=True)
class Reading:
    """Where a reader leaves what it finds: faults, and notes on what was chosen for the user."""

    faults: Faults
    notes: list[str]
    latest: date | None = None
    """Last day that a price can be of; None does not limit."""


def read_offers(data: bytes, reading: Reading, facts: Mapping[str, GpuFacts]) -> tuple[OfferRow, ...]:
    """Every sound row of an offers table; the faults of the others are in `reading`."""
    rows = _rows(data, reading, OFFER_COLUMNS, ("provider", "gpu", "scheme", "as_of", "source"))
    return _sound(rows, reading, lambda cells: _offer(cells, facts))


def read_endpoints(data: bytes, reading: Reading, facts: Mapping[str, ModelFacts]) -> tuple[EndpointRow, ...]:
    """Every sound row of an endpoints table, likewise."""
    needed = ("provider", "model", "input_usd_per_mtok", "output_usd_per_mtok", "as_of", "source")
    rows = _rows(data, reading, ENDPOINT_COLUMNS, needed)
    return _sound(rows, reading, lambda cells: _endpoint(cells, facts))


class _Cells:
    """One row's cells, read with faults that name line and column."""

    def __init__(self, cells: Mapping[str, str], line: int, reading: Reading) -> None:
        self.cells, self.line, self.reading, self.faults = cells, line, reading, reading.faults

    def fault(self, what: str, remedy: str, column: str) -> None:
        self.faults.add(what, remedy, line=self.line, column=column, value=self.cells.get(column) or None)

    def text(self, column: str) -> str | None:
        return self.cells.get(column, "").strip() or None

    def needed(self, column: str) -> str:
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
        return self.number(column) or 0.0

    def whole(self, column: str) -> int | None:
        value = self.number(column, 1)
        if value is not None and value != int(value):
            self.fault("is not a whole number", "write a whole number", column)
        return None if value is None else int(value)

    def choice(self, column: str, known: Iterable[Chosen], default: Chosen) -> Chosen:
        text = self.text(column)
        found = next((name for name in known if name == text), None)
        if text is not None and found is None:
            self.fault("is not one of the choices", f"write one of {', '.join(str(name) for name in known)}", column)
        return default if found is None else found

    def day(self, column: str) -> date | None:
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


Chosen = TypeVar("Chosen", bound=str | None)


def _offer(cells: _Cells, facts: Mapping[str, GpuFacts]) -> OfferRow:
    schemes: tuple[Scheme, ...] = get_args(Scheme)
    scheme = cells.choice("scheme", schemes, "on_demand") if cells.needed("scheme") else "on_demand"
    row = OfferRow(
        provider=cells.needed("provider"),
        gpu=cells.name("gpu", lambda text: resolve_gpu(text, facts)),
        gpus_per_unit=cells.whole("gpus_per_unit") or 1,
        scheme=scheme,
        term_months=cells.whole("term_months"),
        upfront_usd_per_unit=cells.price("upfront_usd_per_unit"),
        committed_usd_per_gpu_h=cells.price("committed_usd_per_gpu_h"),
        usage_usd_per_gpu_h=cells.price("usage_usd_per_gpu_h"),
        minimum_hours=cells.number("minimum_hours"),
        region=cells.text("region"),
        limit_units=cells.number("limit_units"),
        as_of=cells.day("as_of"),
        source=cells.needed("source"),
        kind=cells.choice("kind", get_args(Kind), "own"),
        confidence=cells.choice("confidence", get_args(Confidence), None),
        note=cells.text("note"),
        file=cells.faults.file or "",
        line=cells.line,
    )
    if (row.term_months is not None) != (scheme == "reserved"):
        cells.fault(
            "a reserved offer has a term, others have none", "write the months, or another scheme", "term_months"
        )
    _has_its_price(cells, row)
    return row


def _has_its_price(cells: _Cells, row: OfferRow) -> None:
    scheme, own = row.scheme, _PRICE_OF[row.scheme]
    for column in ("upfront_usd_per_unit", "committed_usd_per_gpu_h", "usage_usd_per_gpu_h"):
        if column not in own and getattr(row, column):
            cells.fault(f"{scheme} offers have no such price", f"write it under {' or '.join(own)}", column)
    for column in ("minimum_hours", "region", "limit_units"):
        if scheme == "buy" and cells.text(column) is not None:
            cells.fault("a quote has no such limit", "leave it empty; max_owned_gpus in plan.toml limits", column)
    if all(cells.text(column) is None for column in own):
        cells.fault(f"{scheme} offers need a price", f"write {' or '.join(own)}", own[-1])


def _endpoint(cells: _Cells, facts: Mapping[str, ModelFacts]) -> EndpointRow:
    for column in ("input_usd_per_mtok", "output_usd_per_mtok"):
        cells.needed(column)
    return EndpointRow(
        provider=cells.needed("provider"),
        model=cells.name("model", lambda text: resolve_model(text, facts)),
        input_usd_per_mtok=cells.price("input_usd_per_mtok"),
        cached_input_usd_per_mtok=cells.number("cached_input_usd_per_mtok"),
        output_usd_per_mtok=cells.price("output_usd_per_mtok"),
        batch_discount=cells.number("batch_discount", 0, 1),
        requests_per_minute=cells.number("requests_per_minute"),
        tokens_per_minute=cells.number("tokens_per_minute"),
        region=cells.text("region"),
        latency_evidence=cells.text("latency_evidence"),
        as_of=cells.day("as_of"),
        source=cells.needed("source"),
        kind=cells.choice("kind", get_args(Kind), "own"),
        confidence=cells.choice("confidence", get_args(Confidence), None),
        note=cells.text("note"),
        file=cells.faults.file or "",
        line=cells.line,
    )


def _sound(cells: Iterable[_Cells], reading: Reading, make: Callable[[_Cells], Row]) -> tuple[Row, ...]:
    """Rows without a fault; a repeated one is a fault of its own."""
    rows: list[Row] = []
    first_line: dict[tuple[object, ...], int] = {}
    for each in cells:
        before = len(reading.faults.found)
        row = make(each)
        if len(reading.faults.found) > before:
            continue
        if row.key in first_line:
            what = f"is the same as line {first_line[row.key]}"
            reading.faults.add(what, "keep one of the two, or name their regions", line=row.line, value=row.provider)
        first_line.setdefault(row.key, row.line)
        rows.append(row)
    return tuple(rows)


def _rows(data: bytes, reading: Reading, columns: tuple[str, ...], needed: tuple[str, ...]) -> Iterable[_Cells]:
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
                yield _Cells(cells, reader.line_num, reading)
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
