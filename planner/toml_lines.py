"""Where each key of a TOML text stands: the parser in the standard library tells lines for syntax errors only.

A fault in plan.toml should name its line. This finds the line of every header and every key that begins a line; what
stands inside an inline table or an array is found at the key that opens it. Keys are read by `tomllib` itself, so that
quoted and dotted ones come out right.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

Keys = tuple[str | int, ...]
"""A place in the file: keys, and positions in arrays of tables."""

_HEADER = re.compile(r"\s*(\[\[?)(.+?)\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*((?:"(?:[^"\\]|\\.)*"|'[^']*'|[\w-]+)(?:\s*\.\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|[\w-]+))*)\s*=""")


def key_lines(text: str) -> dict[Keys, int]:
    """Line (from 1) of every table and key in a text that is known to be TOML.

    >>> key_lines('[a]\\nx = 1\\n[[b]]\\n"y z".w = 2')
    {('a',): 1, ('a', 'x'): 2, ('b', 0): 3, ('b',): 3, ('b', 0, 'y z'): 4, ('b', 0, 'y z', 'w'): 4}
    """
    lines: dict[Keys, int] = {}
    counts: dict[Keys, int] = {}
    table: Keys = ()
    quoted = False
    for number, line in enumerate(text.splitlines(), start=1):
        starts_quoted = quoted
        quoted ^= (line.count('"""') + line.count("'''")) % 2 == 1
        if starts_quoted:
            continue
        header = _HEADER.match(line)
        if header:
            table = _inside(_split(header[2]), counts)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                lines.setdefault((*table, counts[table]), number)
                lines.setdefault(table, number)
                table = (*table, counts[table])
            else:
                lines.setdefault(table, number)
        elif key := _KEY.match(line):
            parts = _split(key[1])
            for end in range(1, len(parts) + 1):
                lines.setdefault((*table, *parts[:end]), number)
    return lines


def line_at(lines: Mapping[Keys, int], keys: Keys) -> int | None:
    """The line of `keys`, or of the innermost table or key around them; None when even the outermost is not there."""
    return next((lines[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in lines), None)


def _split(dotted: str) -> tuple[str, ...]:
    try:
        parsed = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return (dotted,)  # a line of an array that only looks like a header
    parts = []
    inner: object = parsed
    while isinstance(inner, dict):
        part = next(iter(inner))
        parts.append(part)
        inner = inner[part]
    return tuple(parts)


def _inside(parts: tuple[str, ...], counts: Mapping[Keys, int]) -> Keys:
    """A header's keys, with the position of the latest entry where one of them (not the last) is an array of tables."""
    keys: Keys = ()
    for position, part in enumerate(parts):
        keys = (*keys, part)
        if keys in counts and position < len(parts) - 1:
            keys = (*keys, counts[keys])
    return keys
