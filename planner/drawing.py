"""How every picture looks and is written: one style, one colour per scheme, the same bytes for the same inputs.

Matplotlib draws without a display and without its global state. Colours are Okabe and Ito's, which people with any
colour vision tell apart. No file says when or with what it was made, and ids in SVG have a fixed salt. Names are drawn
as they are written: never read as mathematics, never markup, and a character that the font lacks becomes a box.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from planner.plan import Scheme

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS: dict[Scheme, str] = {
    "existing": "#444444",
    "owned": "#0072B2",
    "reserved": "#009E73",
    "commitment": "#004D73",
    "spot": "#F0E442",
    "on demand": "#E69F00",
    "api": "#CC79A7",
}
UNSERVED, INK, EDGE = "#D55E00", "#222222", "#888888"
_LABELS: dict[Scheme, str] = {"existing": "already there", "commitment": "spend commitment", "api": "API"}
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": EDGE,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.dpi": 130,
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "grid.color": "#DDDDDD",
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "spillway",
    "text.color": INK,
    "text.parse_math": False,
}
_PATH = re.compile(r'(?<= d=")[^"]*(?=")')
_DECIMALS = re.compile(r"(\.\d\d)\d+")


def label(scheme: Scheme) -> str:
    """The scheme's name in legends and tables."""
    return _LABELS.get(scheme, scheme)


def render(draw: Callable[[], Figure]) -> bytes:
    """The picture as SVG."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()  # somebody's own matplotlibrc must not change a report
        mpl.rcParams.update(_STYLE)
        buffer = io.BytesIO()
        # What matplotlib would note by itself: the date and its own version.
        draw().savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        return _lean(buffer.getvalue().decode()).encode()


def panels(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """A figure of `width` x `height` inches and its axes, [rows, columns]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def drawable(text: str, most: int = 60) -> str:
    """The text, shortened, with control characters and characters that the font lacks as boxes."""
    short = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(c if c.isprintable() and ord(c) in _glyphs() else "\N{WHITE SQUARE}" for c in short)


def pale(colour: str) -> str:
    """The colour mixed with white.

    >>> pale("#000000"), pale("#FFFFFF")
    ('#ADADAD', '#FFFFFF')
    """
    parts = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - 0.32 * (255 - part)):02X}" for part in parts)


def money_scale(values: Iterable[float]) -> tuple[float, str]:
    """The unit in which an axis is easily read, and its name.

    >>> money_scale([3_000_000, 10]), money_scale([1_500_000])
    ((1000000.0, 'million USD'), (1000.0, 'thousand USD'))
    """
    largest = max(values, default=0.0)
    for unit, word in ((1e9, "billion USD"), (1e6, "million USD"), (1e3, "thousand USD")):
        if largest >= 2 * unit:
            return unit, word
    return 1.0, "USD"


@cache
def _glyphs() -> frozenset[int]:
    from matplotlib import font_manager

    return frozenset(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())


def _lean(svg: str) -> str:
    """Paths to a hundredth of a point, which nobody can see and which halves the file."""
    return _PATH.sub(lambda path: _DECIMALS.sub(r"\1", path.group()), svg)
