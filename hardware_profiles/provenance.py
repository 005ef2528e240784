"""Where a number comes from: every number in a data file carries source, date and kind, or a test fails.

A TOML data file names its sources once and its entries point at them:

    [sources.spec-sheet]
    title = "…"            # what it is, with address, version or commit, and licence
    date = "2026-04"       # when it was published; when we read it, if it carries no date (the title says so)
    kind = "published"     # see `Kind`

    [gpus.some-gpu]
    source = "spec-sheet"  # of every number below that names none of its own
    memory_gib = 80
    board_power_w = { value = 700, low = 650, high = 700, source = "other-sheet", kind = "unverified", note = "…" }

A number may override any of source, date, kind, confidence and note. `source` may list several ids: the date is then
the oldest, since a number is no fresher than what it rests on. Somebody who adds a number of their own may write free
text as `source`, with `date` and `kind` beside it. CSV rows and curve files carry the same three things in columns and
in `conditions`; `orphans` knows all three forms.
"""

from __future__ import annotations

import csv
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from hardware_profiles.curve import Value
from hardware_profiles.faults import Faults

Kind = Literal["measured", "published", "listed", "surveyed", "derived", "unverified", "own"]
"""measured: a meter or a driver said so; published: somebody's table or data sheet; listed: a seller's price list;
surveyed: an index or article about many sellers; derived: computed from other numbers by the formula in the note;
unverified: written down from memory, not looked up again; own: the user's word (a quote, a contract)."""

Confidence = Literal["high", "medium", "low"]

Checked = TypeVar("Checked", bound=Value)

UNDATED = "undated"
KINDS = frozenset(Kind.__args__)  # type: ignore[attr-defined]  # a Literal lists its words there
_ABOUT = frozenset({"value", "low", "high", "source", "date", "kind", "confidence", "note"})
_DAY = re.compile(r"\d{4}-\d{2}(-\d{2})?")


class Evidence(Value):
    """What stands behind one number; `low` and `high` where the source gives a range (the number is its middle)."""

    source: str
    date: str
    kind: Kind
    confidence: Confidence | None = None
    low: float | None = None
    high: float | None = None
    note: str | None = None


def parse_day(text: str) -> date | None:
    """`YYYY-MM-DD` or `YYYY-MM` (its first day: the older reading) as a date; None for `undated`.

    >>> parse_day("2026-04"), parse_day("undated")
    (datetime.date(2026, 4, 1), None)
    """
    if text == UNDATED:
        return None
    if not _DAY.fullmatch(text):
        raise ValueError("not a date")
    return date.fromisoformat(text if len(text) == 10 else f"{text}-01")


def read_toml(text: str, faults: Faults) -> dict[str, Any]:
    """Parse TOML; a syntax error becomes a fault with its line, and the result is then empty."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r" \(at line (\d+), column \d+\)$", str(error))
        what = str(error)[: place.start()] if place else str(error)
        faults.add(f"not TOML: {what}", "mend the line", line=int(place[1]) if place else None)
        return {}


def line_of(text: str, table: str, key: str | None = None) -> int | None:
    """Line of `key` in `[table]`, or of the first header of the table or inside it; None where it cannot be told."""
    lines = text.splitlines()
    header = next((n for n, line in enumerate(lines) if f"{_header(line)}.".startswith(f"{table}.")), None)
    if header is None or key is None:
        return None if header is None else header + 1
    for number in range(header + 1, len(lines)):
        if _header(lines[number]) is not None:
            break
        if re.match(rf'\s*"?{re.escape(key)}"?\s*=', lines[number]):
            return number + 1
    return header + 1


def split_evidence(
    entry: Mapping[str, Any], sources: Mapping[str, Any], inherited: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], dict[str, Evidence], list[tuple[str, str]]]:
    """Part an entry's values from their evidence: (values, evidence by field, faults as (field, what is wrong))."""
    about = {**(inherited or {}), **{key: entry[key] for key in _ABOUT & set(entry)}}
    values: dict[str, Any] = {}
    evidence: dict[str, Evidence] = {}
    wrong: list[tuple[str, str]] = []
    for name, given in entry.items():
        if name in _ABOUT:
            continue
        own = given if isinstance(given, dict) and "value" in given else None
        values[name] = given if own is None else own["value"]
        if not _holds_number(values[name]):
            continue
        unknown = sorted(set(own or ()) - _ABOUT)
        if unknown:
            wrong.append((name, f"unknown key {unknown[0]!r}"))
        try:
            evidence[name] = _evidence({**about, **(own or {})}, sources)
        except ValueError as error:
            wrong.append((name, str(error)))
    return values, evidence, wrong


def validated(kind: type[Checked], values: Mapping[str, Any], faults: Faults, text: str, table: str) -> Checked | None:
    """Values as `kind`, strictly (text is no number, `true` is not 1); None after adding a fault per wrong field.

    `table` names the entry in `text` (`gpus.l4-24gb`), for lines and columns.
    """
    try:
        return kind.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            field = str(detail["loc"][0]) if detail["loc"] else None
            given = detail["input"]
            faults.add(
                detail["msg"].removeprefix("Value error, "),
                "compare with the shipped file's entries",
                line=line_of(text, table, field),
                column=".".join(part for part in (table, field) if part),
                value=given if isinstance(given, (str, int, float)) else None,
            )
        return None


def orphans(path: Path) -> tuple[str, ...]:
    """Every number in a .toml, .csv or .json data file that lacks source, date or kind, as `place: what is missing`."""
    reader = {".toml": _toml_orphans, ".csv": _csv_orphans, ".json": _json_orphans}.get(path.suffix)
    if reader is None:
        raise ValueError(f"no rule says how a {path.suffix} file names its sources")
    return tuple(reader(path))


def _header(line: str) -> str | None:
    match = re.match(r"\s*\[([^\[\]]+)\]\s*(#.*)?$", line)
    return match[1].replace('"', "").replace(" ", "") if match else None


def _holds_number(value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, (list, tuple)):
        return any(_holds_number(item) for item in value)
    if isinstance(value, dict):
        return any(_holds_number(item) for item in value.values())
    return isinstance(value, (int, float))


def _evidence(about: Mapping[str, Any], sources: Mapping[str, Any]) -> Evidence:
    named = about.get("source")
    ids = [named] if isinstance(named, str) else list(named or ())
    if not ids:
        raise ValueError("has no source")
    known = [sources[name] for name in ids if name in sources]
    if len(known) < len(ids) and not ("date" in about and "kind" in about):
        unknown = next(name for name in ids if name not in sources)
        raise ValueError(f"source {unknown!r} is not under [sources] (free text needs `date` and `kind` beside it)")
    dates = [about["date"]] if "date" in about else [source.get("date", UNDATED) for source in known]
    days = [parse_day(str(day)) for day in dates]
    oldest = UNDATED if None in days else str(min(dates, key=lambda day: parse_day(str(day)) or date.min))
    kind = about.get("kind") or known[0].get("kind")
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(sorted(KINDS))}")
    titles = [str(sources[name]["title"]) if name in sources else name for name in ids]
    told = {key: about[key] for key in ("confidence", "low", "high", "note") if key in about}
    if "confidence" in (known[0] if known else {}):
        told.setdefault("confidence", known[0]["confidence"])
    return Evidence(source="; ".join(titles), date=oldest, kind=kind, **told)


def _toml_orphans(path: Path) -> Iterator[str]:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    sources = content.pop("sources", {})
    for name, source in sources.items():
        for key in ("title", "date", "kind"):
            if key not in source:
                yield f"sources.{name}: no {key}"
    yield from _table_orphans(content, sources, "", {})


def _table_orphans(
    table: Mapping[str, Any], sources: Mapping[str, Any], place: str, about: Mapping[str, Any]
) -> Iterator[str]:
    about = {**about, **{key: table[key] for key in _ABOUT & set(table) if key != "value"}}
    for key, given in table.items():
        here = f"{place}.{key}" if place else key
        if isinstance(given, dict):
            yield from _table_orphans(given, sources, here, about)
        elif _holds_number(given):
            try:
                _evidence(about, sources)
            except ValueError as error:
                yield f"{here}: {error}"


def _csv_orphans(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            day = row.get("as_of") or ""
            missing = [name for name in ("source", "kind") if not (row.get(name) or "").strip()]
            if not (day == UNDATED or _DAY.fullmatch(day)):
                missing.append("as_of")
            if row.get("kind") and row["kind"] not in KINDS:
                missing.append("known kind")
            for name in missing:
                yield f"line {reader.line_num}: no {name}"


def _json_orphans(path: Path) -> Iterator[str]:
    content = json.loads(path.read_text(encoding="utf-8"))
    conditions = content.get("conditions", {})
    if content.get("kind") not in ("measured", "published", "estimated"):
        yield "kind: none"
    needed = ["measured_at"] if content.get("kind") == "measured" else ["source", "source_date"]
    for name in needed:
        if not conditions.get(name):
            yield f"conditions.{name}: none"
