"""Names from files are data: here they become harmless in paths, LP rows, spreadsheets, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterable


def slugs(names: Iterable[str]) -> dict[str, str]:
    """One `[a-z0-9_]+` slug per name, no two alike, the same for the same set of names in any order."""
    raise NotImplementedError


def csv_safe(text: str) -> str:
    """Text that a spreadsheet will not read as a formula."""
    raise NotImplementedError


def markdown_safe(text: str) -> str:
    """Text that shows as itself in Markdown, tables included."""
    raise NotImplementedError


def html_safe(text: str) -> str:
    """Text that shows as itself in HTML content and quoted attributes."""
    raise NotImplementedError
