"""The price book: what can be rented, called and owned, row by row, each with its date, source and confidence.

The shipped book is in `data/`: `offers.csv`, `endpoints.csv`, `ownership.toml`. Files of the same names beside the
forecast (or named in plan.toml) are the user's:

* `offers.csv` and `endpoints.csv` REPLACE the shipped table as a whole: a half-replaced market is nobody's market;
* `ownership.toml` is laid over the shipped one figure by figure; a `buy` row in `offers.csv` is a quote for whole
  servers and replaces the price of GPU and chassis.

Prices are in USD without tax. `as_of` is a date, a month (its first day counts), or the word `undated`. A price older
than a quarter (92 days), or undated, is called stale wherever it is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from hardware_profiles.facts import gpus, models
from hardware_profiles.faults import Fault, Faults, InputError
from planner.ownership import Ownership, Site, ownership_lines, ownership_usd_per_gpu_h, read_ownership, with_quote
from planner.price_cells import Reading
from planner.price_rows import EndpointRow, OfferRow, read_endpoints, read_offers

__all__ = [
    "EndpointRow", "OfferRow", "Ownership", "PriceBook", "Site", "ownership_lines", "ownership_usd_per_gpu_h",
    "read_price_book", "stale",
]  # fmt: skip

STALE_DAYS = 92

FILES = ("offers.csv", "endpoints.csv", "ownership.toml")


class Priced(Protocol):
    """Anything that knows when its price was stated."""

    @property
    def as_of(self) -> date | None:
        """None: undated."""


@dataclass(frozen=True)
class PriceBook:
    """Everything that can be paid for."""

    offers: tuple[OfferRow, ...]
    """Rented GPUs; a `buy` row has become a quote in `ownership`."""
    endpoints: tuple[EndpointRow, ...]
    ownership: Mapping[str, Ownership]
    """By GPU name."""
    site: Site
    digests: Mapping[str, str]
    """SHA-256 by file name."""
    notes: tuple[str, ...]
    """What was chosen while reading, a sentence each."""


def stale(row: Priced, today: date) -> bool:
    """Whether a price is undated or older than a quarter.

    >>> from types import SimpleNamespace as Row
    >>> [stale(Row(as_of=day), date(2026, 11, 20)) for day in (date(2026, 8, 20), date(2026, 8, 19), None)]
    [False, True, True]
    """
    return row.as_of is None or (today - row.as_of).days > STALE_DAYS


def read_price_book(
    folder: Path | None,
    today: date,
    *,
    offers: Path | None = None,
    endpoints: Path | None = None,
    ownership: Path | None = None,
    profiles: Path | None = None,
) -> PriceBook:
    """The shipped price book with the user's files in place of or over it; `InputError` names every fault of all files.

    A file that is named must be there; one that is only looked for in `folder` need not. `profiles` is the folder whose
    gpus.toml and models.toml add to the names that rows may use.
    """
    found: list[Fault] = []
    notes: list[str] = []
    named = dict(zip(FILES, (offers, endpoints, ownership), strict=True))
    files = {name: _find(name, path, folder, found) for name, path in named.items()}
    known_gpus, known_models = gpus(profiles), models(profiles)

    offer_file, endpoint_file = files["offers.csv"], files["endpoints.csv"]
    reading = Reading(Faults(offer_file.label), notes, today if offer_file.users else None)
    offer_rows = read_offers(offer_file.data, reading, known_gpus)
    found += reading.faults.found
    reading = Reading(Faults(endpoint_file.label), notes, today if endpoint_file.users else None)
    endpoint_rows = read_endpoints(endpoint_file.data, reading, known_models)
    found += reading.faults.found
    try:
        owned, site = read_ownership(_layers(files["ownership.toml"], found), known_gpus)
        owned = _quoted(owned, offer_rows, found, notes)
    except InputError as error:
        found += error.faults
    if found:
        raise InputError(*found)
    return PriceBook(
        offers=tuple(row for row in offer_rows if row.scheme != "buy"),
        endpoints=endpoint_rows,
        ownership=MappingProxyType(owned),
        site=site,
        digests=MappingProxyType({name: hashlib.sha256(file.data).hexdigest() for name, file in files.items()}),
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _File:
    """One file of the book: how faults call it, its bytes, and whether it is the user's."""

    label: str
    data: bytes
    users: bool


def _find(name: str, named: Path | None, folder: Path | None, found: list[Fault]) -> _File:
    path = named or (None if folder is None else folder / name)
    if path is not None and (named is not None or path.is_file()):
        try:
            return _File(str(path), path.read_bytes(), users=True)
        except OSError as error:
            what = f"cannot be read ({error.strerror})"
            found.append(Fault(what, "check the path and its permissions", file=str(path)))
    return _File(f"planner/data/{name}", _shipped(name), users=False)


def _shipped(name: str) -> bytes:
    return resources.files("planner").joinpath("data", name).read_bytes()


def _layers(file: _File, found: list[Fault]) -> list[tuple[str, str]]:
    layers = [("planner/data/ownership.toml", _shipped("ownership.toml").decode("utf-8"))]
    if file.users:
        try:
            layers.append((file.label, file.data.decode("utf-8-sig")))
        except UnicodeDecodeError as error:
            line = file.data.count(b"\n", 0, error.start) + 1
            what = f"is not UTF-8 (byte {error.start})"
            found.append(Fault(what, "save the file as UTF-8", file=file.label, line=line))
    return layers


def _quoted(
    owned: Mapping[str, Ownership], rows: tuple[OfferRow, ...], found: list[Fault], notes: list[str]
) -> dict[str, Ownership]:
    """Ownership at the cheapest quote of each GPU that has one."""
    quoted = dict(owned)
    quotes = sorted(
        (row for row in rows if row.scheme == "buy"), key=lambda row: row.upfront_usd_per_unit / row.gpus_per_unit
    )
    for row in quotes:
        if row.gpu not in owned:
            what, remedy = "no figures for owning this GPU", f"add [gpus.{row.gpu}] to ownership.toml"
            found.append(Fault(what, remedy, row.file, row.line, "gpu", row.gpu))
        elif quoted[row.gpu] is owned[row.gpu]:
            quoted[row.gpu] = with_quote(owned[row.gpu], row)
        else:
            notes.append(f"{row.file}:{row.line}: a cheaper quote for {row.gpu} is used")
    return quoted
