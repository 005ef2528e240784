"""Names from files are data: here they become harmless in paths, LP rows, spreadsheets, Markdown and HTML.

A workload may be called `../../x`, `=cmd()` or `<script>`. It keeps its name in what people read; where it becomes a
path, a row of the LP file or a cell, it goes through one of these functions.
"""

from __future__ import annotations

import hashlib
import html
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

_LONGEST = 40
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
"""File names that Windows keeps for devices."""
_FORMULA = "=+-@\t\r\n＝＋－＠"  # noqa: RUF001  # spreadsheets read the full-width signs as formulas too
_FORGE = re.compile(r"([@#!])(?=\w)")
"""Mentions of people (and teams), issues and merge requests."""
_MARKDOWN = re.compile(r"([\\`*_\[\]()|~$]|^[#+-]|(?<=^\d)\.)")


def slugs(names: Iterable[str]) -> dict[str, str]:
    """One `[a-z0-9_]+` slug per name, no two alike, the same for the same set of names in any order.

    A name that would share its slug with another, or leaves nothing sound, carries a digest of itself. A slug may begin
    with a digit: an LP row's name begins with its family.

    >>> slugs(["chat", "Team A"])
    {'chat': 'chat', 'Team A': 'team_a'}
    >>> slugs(["team-a", "team_a"])
    {'team-a': 'team_a_96c288', 'team_a': 'team_a'}
    """
    unique = list(dict.fromkeys(names))
    plain = {name: _plain(name) for name in unique}
    shared = Counter(plain.values())
    made = {name: slug for name, slug in plain.items() if _sound(slug) and (shared[slug] == 1 or slug == name)}
    taken = set(made.values())
    for name in sorted(set(unique) - set(made)):
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        stem = f"{plain[name] or 'name'}"[: _LONGEST - 7]
        length = next(n for n in range(6, 65) if f"{stem}_{digest[:n]}" not in taken)
        made[name] = f"{stem}_{digest[:length]}"
        taken.add(made[name])
    return {name: made[name] for name in unique}


def apart(names: Iterable[str], sign: str) -> tuple[str, ...]:
    """The names in their order; those that are alike carry their place in it, or the next number that nobody has.

    >>> apart(["x", "y", "x", "x.0"], ".")
    ('x.1', 'y', 'x.2', 'x.0')
    """
    all_names = tuple(names)
    count, taken, found = Counter(all_names), set(all_names), []
    for place, name in enumerate(all_names):
        if count[name] > 1:
            numbered = (f"{name}{sign}{number}" for number in itertools.count(place))
            found.append(next(other for other in numbered if other not in taken))
            taken.add(found[-1])
        else:
            found.append(name)
    return tuple(found)


def csv_safe(text: str) -> str:
    """Text that a spreadsheet will not read as a formula: an apostrophe stands before one that looks so.

    >>> csv_safe("=cmd()"), csv_safe("chat")
    ("'=cmd()", 'chat')
    """
    start = text.lstrip(" ")[:1]
    return f"'{text}" if start and start in _FORMULA else text


def markdown_safe(text: str) -> str:
    r"""Text that shows as itself in Markdown, tables included, and tells nobody on a forge about it.

    A forge reads `@name` and `#12` in the text that people see, escaped or not; a space of no width stands between.

    >>> print(markdown_safe("a|b <script> [x](y)"))
    a\|b &lt;script&gt; \[x\]\(y\)
    >>> print(markdown_safe("@team see #12"))
    @&#8203;team see #&#8203;12
    """
    return _FORGE.sub(r"\1&#8203;", markdown_code(text))


def markdown_code(text: str) -> str:
    """Text that shows as itself inside a `<code>` element of Markdown, where no forge looks for names."""
    return _MARKDOWN.sub(r"\\\1", html.escape(_one_line(text).strip(), quote=False))


def html_safe(text: str) -> str:
    """Text that shows as itself in HTML content and quoted attributes.

    >>> html_safe('<b title="x">')
    '&lt;b title=&quot;x&quot;&gt;'
    """
    return html.escape(_one_line(text), quote=True)


def _plain(name: str) -> str:
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", ascii_only).strip("_")


def _sound(slug: str) -> bool:
    return bool(slug) and len(slug) <= _LONGEST and slug not in _RESERVED


def _one_line(text: str) -> str:
    """Without control characters, which renderers drop or obey."""
    return "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
