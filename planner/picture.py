"""What a picture of a review is: its drawing and all that belongs to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from planner.parts import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """`draw(narrow)` makes the figure; `stem` is its file name without the ending. `says` may hold names."""

    stem: str
    title: str
    alt: str
    says: str
    table: Table
    draw: Callable[[bool], Figure]
