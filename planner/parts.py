"""What every part of a review is made of, in whichever form it is written: tables of text, points, sections.

Cells hold names as they are; each form escapes them in its own way. `says` holds our own words only.
"""

from __future__ import annotations

from dataclasses import dataclass

from planner.amounts import UNKNOWN, usd
from planner.plan import Deployed

EVIDENCE = {
    "measured": "measured by bench",
    "published": "published by others, not measured on your GPUs",
    "estimated": "estimated by a law, not measured",
    None: "no GPU curve is used",
}

CAPACITY = {
    "low": "at the low end of its uncertainty (cautious)",
    "mid": "in the middle of its uncertainty",
    "high": "at the high end of its uncertainty (optimistic)",
    None: "not stated",
}
"""How much a plan trusts its curves."""

PROVEN = 5e-6
"""Gap below which a plan is called the cheapest: what is left of it is arithmetic."""
_CENT = 0.005


@dataclass(frozen=True)
class Table:
    """Rows of text; `words` are the columns that hold words (any but these hold numbers)."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: frozenset[int] = frozenset({0})


@dataclass(frozen=True)
class Point:
    """One item of a list: what it is about, then sentences; `code` is shown as it is typed."""

    about: str
    text: str
    code: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the review."""

    title: str
    says: str
    table: Table | None = None
    points: tuple[Point, ...] = ()


def first(count: int) -> frozenset[int]:
    """The first columns."""
    return frozenset(range(count))


def told(amount: float) -> bool:
    """Whether an amount is worth a row: less than a cent over the horizon is what arithmetic leaves."""
    return abs(amount) >= _CENT


def placed_name(deployed: Deployed) -> str:
    """Which model runs on which GPUs, and whose they are, where the deployment's name says it."""
    where = deployed.name.rpartition(".")[2]
    place = f" ({where})" if where in ("rented", "owned") else ""
    return f"{deployed.model} on {deployed.gpus_per_replica}x {deployed.gpu}{place}"


def per_mtok(cost: float, tokens: float) -> str:
    """Cost of a million tokens, in words."""
    return usd(1e6 * cost / tokens) if tokens else UNKNOWN
