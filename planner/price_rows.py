"""Rows of `offers.csv` and `endpoints.csv`: what each column means, and what is wrong with a row.

A blank cell of a price is no such charge; a blank limit, region, lead time, rate of interruptions or confidence is
unknown. Names of GPUs and models may
be written as people type them and are kept under our names; where that meant choosing, a note says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Literal, TypeVar, get_args

from hardware_profiles.facts import GpuFacts, ModelFacts
from hardware_profiles.names import resolve_gpu, resolve_model
from hardware_profiles.provenance import Confidence, Kind
from planner.price_cells import Cells, Reading, rows_of

Scheme = Literal["buy", "reserved", "on_demand", "spot", "commitment"]
_SIGNED = ("reserved", "commitment")


@dataclass(frozen=True)
class OfferRow:
    """GPUs for sale or rent. A unit is `gpus_per_unit` GPUs that can only be had together.

    A spend commitment (so many USD per hour for a term, used or not) is one row per GPU type that it covers, at the
    committed price per GPU-hour; its rows agree in provider, `commitment`, term, lead time and limit.
    """

    provider: str
    gpu: str
    gpus_per_unit: int
    scheme: Scheme
    term_months: int | None
    """Of a reserved one and of a commitment."""
    upfront_usd_per_unit: float
    committed_usd_per_gpu_h: float
    """Owed for every hour of the term, used or not."""
    usage_usd_per_gpu_h: float
    """Per hour of use; of a commitment: what an hour draws from it."""
    minimum_hours: float | None
    region: str | None
    limit_units: float | None
    """Of a commitment: USD per hour."""
    lead_time_months: float | None
    """From signing to the first hour of service, of what is signed; None: not stated, and then it serves at once."""
    commitment: str | None
    """Tells a provider's commitments of one term apart."""
    interruptions_per_h: float | None
    """Of spot: how often a unit is taken back per hour that it runs."""
    restart_minutes: float | None
    """Of spot: from an interruption until another unit serves in its place, start of the server included."""
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
        return self.provider, self.gpu, self.gpus_per_unit, self.scheme, self.term_months, self.region, self.commitment


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
    "usage_usd_per_gpu_h", "minimum_hours", "region", "limit_units", "lead_time_months", "commitment",
    "interruptions_per_h", "restart_minutes", *_EVIDENCE,
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
    "commitment": ("usage_usd_per_gpu_h",),
}
"""The prices that a scheme has; at least one is positive and no other is given."""


def read_offers(data: bytes, reading: Reading, facts: Mapping[str, GpuFacts]) -> tuple[OfferRow, ...]:
    """Every sound row of an offers table; the faults of the others are in `reading`."""
    rows = rows_of(data, reading, OFFER_COLUMNS, ("provider", "gpu", "scheme", "as_of", "source"))
    return _agreed(_sound(rows, reading, lambda cells: _offer(cells, facts)), reading)


def read_endpoints(data: bytes, reading: Reading, facts: Mapping[str, ModelFacts]) -> tuple[EndpointRow, ...]:
    """Every sound row of an endpoints table, likewise."""
    needed = ("provider", "model", "input_usd_per_mtok", "output_usd_per_mtok", "as_of", "source")
    rows = rows_of(data, reading, ENDPOINT_COLUMNS, needed)
    return _sound(rows, reading, lambda cells: _endpoint(cells, facts))


def _offer(cells: Cells, facts: Mapping[str, GpuFacts]) -> OfferRow:
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
        lead_time_months=cells.number("lead_time_months", 0, 60),
        commitment=cells.text("commitment"),
        interruptions_per_h=cells.number("interruptions_per_h"),
        restart_minutes=cells.number("restart_minutes"),
        as_of=cells.day("as_of"),
        source=cells.needed("source"),
        kind=cells.choice("kind", get_args(Kind), "own"),
        confidence=cells.choice("confidence", get_args(Confidence), None),
        note=cells.text("note"),
        file=cells.faults.file or "",
        line=cells.line,
    )
    _fits_its_scheme(cells, row)
    _has_its_price(cells, row)
    return row


def _fits_its_scheme(cells: Cells, row: OfferRow) -> None:
    """A column that the row's scheme does not know is a fault: it would be read and then ignored."""
    if (row.term_months is not None) != (row.scheme in _SIGNED):
        what = "a reserved offer and a commitment have a term, others have none"
        cells.fault(what, "write the months, or another scheme", "term_months")
    if row.scheme in ("on_demand", "spot") and row.lead_time_months is not None:
        cells.fault("is of what is signed for a term or bought", "leave it empty", "lead_time_months")
    if row.scheme != "commitment" and row.commitment is not None:
        cells.fault("only commitments have such a name", "leave it empty, or write scheme commitment", "commitment")
    for column in ("interruptions_per_h", "restart_minutes"):
        if row.scheme != "spot" and getattr(row, column) is not None:
            cells.fault("only spot GPUs are interrupted", "leave it empty, or write scheme spot", column)


def _has_its_price(cells: Cells, row: OfferRow) -> None:
    scheme, own = row.scheme, _PRICE_OF[row.scheme]
    for column in ("upfront_usd_per_unit", "committed_usd_per_gpu_h", "usage_usd_per_gpu_h"):
        if column not in own and getattr(row, column):
            cells.fault(f"{scheme} offers have no such price", f"write it under {' or '.join(own)}", column)
    for column in ("minimum_hours", "region", "limit_units"):
        if scheme == "buy" and cells.text(column) is not None:
            cells.fault("a quote has no such limit", "leave it empty; max_owned_gpus in plan.toml limits", column)
    if all(cells.text(column) is None for column in own):
        cells.fault(f"{scheme} offers need a price", f"write {' or '.join(own)}", own[-1])
    elif scheme == "commitment" and not row.usage_usd_per_gpu_h:
        cells.fault("a committed price is more than 0", "write what an hour of use draws from it", own[-1])


def _agreed(rows: tuple[OfferRow, ...], reading: Reading) -> tuple[OfferRow, ...]:
    """The rows of one commitment say the same of all that is not a GPU's."""
    first: dict[tuple[object, ...], OfferRow] = {}
    for row in rows:
        if row.scheme != "commitment":
            continue
        head = first.setdefault((row.provider, row.commitment, row.term_months), row)
        for column in ("limit_units", "lead_time_months"):
            if getattr(row, column) != getattr(head, column):
                what = f"line {head.line} of the same commitment says otherwise"
                remedy = "write the same in both, or give them names in the column commitment"
                reading.faults.add(what, remedy, line=row.line, column=column, value=getattr(row, column))
    return rows


def _endpoint(cells: Cells, facts: Mapping[str, ModelFacts]) -> EndpointRow:
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


def _sound(cells: Iterable[Cells], reading: Reading, make: Callable[[Cells], Row]) -> tuple[Row, ...]:
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
