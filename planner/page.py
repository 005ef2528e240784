"""The review as one page: opens from disk without a network, from 360 px up, and prints on A4.

No script at all. A strict content security policy allows the page's own style (by its digest) and pictures inside the
page, and nothing else, so that a name from a file could not do anything even if the escaping failed. Pictures are SVG
images (an image can neither run nor load anything), drawn twice: wide, and narrow for a phone.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from planner.picture import Picture
from planner.plan import Plan
from planner.sections import alarms, certainty, sections, total
from planner.turning import soonest

_WITH_UNIT = re.compile(r"(?<=\d) (?=%)|(?<=USD) (?=-?\d)")


@dataclass(frozen=True)
class Shown:
    """A picture with its two drawings as `data:` addresses."""

    picture: Picture
    wide: str
    narrow: str


def shown(picture: Picture, wide_svg: bytes, narrow_svg: bytes) -> Shown:
    """The picture ready for the page."""
    return Shown(picture, _data(wide_svg), _data(narrow_svg))


def page(plan: Plan, pictures: Iterable[Shown]) -> str:
    """The whole page; the first picture stands on the first screen."""
    import jinja2
    from markupsafe import Markup

    folder = files("planner") / "templates"
    style = (folder / "page.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, finalize=_one_line, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((folder / "page.html").read_text(encoding="utf-8"))
    made: str = template.render(
        plan=plan,
        policy=Markup(_policy(style)),  # noqa: S704  # our own text and a digest
        style=Markup(style),  # noqa: S704  # our own file
        shown=tuple(pictures),
        alarms=alarms(plan),
        total=total(plan),
        soonest=soonest(plan),
        certainty=certainty(plan),
        sections=sections(plan),
    )
    return made


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def _data(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _one_line(value: Any) -> Any:
    """Text without control characters (those that turn the reading direction included); our own markup as it is.

    A number stays on one line with its unit.
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    clean = value if value.isprintable() else "".join(c if c.isprintable() else " " for c in value)
    return _WITH_UNIT.sub("\N{NO-BREAK SPACE}", clean)
