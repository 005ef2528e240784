"""The review as Markdown for a pull request: what to decide on the first screen, then pictures, tables, sources.

Everything that is not our own wording is escaped, so that a name cannot become markup, a link or a second column.
Pictures are files beside it, which forges show in its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from planner.names import markdown_code, markdown_safe
from planner.parts import Point, Section, Table
from planner.picture import Picture
from planner.plan import Plan
from planner.sections import alarms, certainty, sections, strategies, total
from planner.turning import soonest

_PLAIN = re.compile(r"[A-Za-z0-9 ,.:;%/-]*")


def markdown(plan: Plan, pictures: Iterable[Picture]) -> str:
    """The whole report; `pictures` are shown in their order."""
    parts = [
        f"# Build-vs-buy review: {_safe(plan.name)}",
        *(f"> **{alarm}**" for alarm in alarms(plan)),
        _list(plan.headline),
        f"**{total(plan)}**",
        _table(strategies(plan)),
        "**What would change the decision**",
        _list(soonest(plan)),
        "**How sure it is**",
        _table(certainty(plan)),
        *_warnings(plan),
    ]
    for picture in pictures:
        parts += [f"## {picture.title}", f"![{picture.alt}]({picture.stem}.svg)", _safe(picture.says)]
        if picture.table != strategies(plan):
            parts.append(_table(picture.table))
    for section in sections(plan):
        parts += _section(section)
    return "\n\n".join(part for part in parts if part) + "\n"


def _safe(text: str) -> str:
    """Text that shows as itself; parentheses stay readable, for without a bracket before them they make no link."""
    return _plain(markdown_safe(text))


def _plain(escaped: str) -> str:
    return escaped.replace(r"\(", "(").replace(r"\)", ")")


def _cell(text: str) -> str:
    """Text in a table, where a number with a full stop cannot begin a list."""
    return text if _PLAIN.fullmatch(text) else _safe(text)


def _warnings(plan: Plan) -> list[str]:
    return ["**Warnings**", _list(plan.warnings)] if plan.warnings else ["No warnings."]


def _section(section: Section) -> list[str]:
    parts = [f"## {section.title}", section.says]
    if section.table is not None:
        parts.append(_table(section.table))
    if section.points:
        parts.append("\n".join(f"- {_point(point)}" for point in section.points))
    return parts


def _point(point: Point) -> str:
    about = f"**{_safe(point.about)}**: " if point.about else ""
    code = f" Start: <code>{_plain(markdown_code(point.code))}</code>." if point.code else ""
    return f"{about}{_safe(point.text)}{code}"


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {_safe(item)}" for item in items)


def _table(table: Table) -> str:
    rule = ["---" if i in table.words else "---:" for i in range(len(table.columns))]
    rows = ((_cell(cell) for cell in row) for row in (table.columns, *table.rows))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], f"| {' | '.join(rule)} |", *lines[1:]])
