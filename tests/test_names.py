"""Names from files are harmless wherever they are written."""

from __future__ import annotations

import csv
import html
import io
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from planner.names import apart, csv_safe, html_safe, markdown_safe, slugs

HOSTILE = [
    "../../x",
    "team-a",
    "team_a",
    "Team A",
    "=cmd()",
    "<script>alert(1)</script>",
    "",
    ".",
    "NUL",
    "日本語",
    "a" * 300,
]


def test_slugs_of_hostile_names() -> None:
    """Collisions, empty and reserved names and long ones carry a digest; a name that is its own slug keeps it."""
    assert slugs(HOSTILE) == {
        "../../x": "x",
        "team-a": "team_a_96c288",
        "team_a": "team_a",
        "Team A": "team_a_e18d32",
        "=cmd()": "cmd",
        "<script>alert(1)</script>": "script_alert_1_script",
        "": "name_e3b0c4",
        ".": "name_cdb4ee",
        "NUL": "nul_ae6de1",
        "日本語": "name_77710a",
        "a" * 300: "a" * 33 + "_9835fa",
    }


@settings(deadline=None)  # the cores are shared
@given(st.lists(st.one_of(st.text(max_size=12), st.sampled_from(HOSTILE)), max_size=12))
@example(["team-a", "team_a", "team_a_96c288", "team a"])
def test_slugs_never_collide_and_do_not_depend_on_order(names: list[str]) -> None:
    """Whatever the names: one slug each, of safe characters, short, and the same when the file is reordered."""
    made = slugs(names)
    assert set(made) == set(names)
    assert len(set(made.values())) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9_]{1,104}", slug) for slug in made.values())
    assert slugs(reversed(names)) == made


@settings(deadline=None)  # the cores are shared
@given(st.lists(st.sampled_from(["x", "y", "x.0", "x.1", "x.1.1", "x.2"]), max_size=9))
def test_names_told_apart_never_collide(names: list[str]) -> None:
    """Each has one of its own, which begins with the name it had; one that nobody shares keeps it."""
    made = apart(names, ".")
    assert len(set(made)) == len(names)
    assert all(new.startswith(old) for new, old in zip(made, names, strict=True))
    assert all(new == old for new, old in zip(made, names, strict=True) if names.count(old) == 1)


def test_a_slug_stays_inside_its_folder(tmp_path: Path) -> None:
    """Used as a file name, a slug never leaves the folder it is joined to."""
    for slug in slugs(HOSTILE).values():
        assert (tmp_path / slug).resolve().parent == tmp_path.resolve()


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\uff1d1"])
def test_cells_are_not_formulas(name: str) -> None:
    """What a spreadsheet would calculate begins with an apostrophe after a round trip through CSV."""
    out = io.StringIO()
    csv.writer(out).writerow([csv_safe(name)])
    assert next(csv.reader(io.StringIO(out.getvalue()))) == [f"'{name}"]


def test_plain_cells_stay_as_they_are() -> None:
    """Names that are no formula are not touched."""
    assert [csv_safe(text) for text in ("chat", "a=b", "", "a-b")] == ["chat", "a=b", "", "a-b"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("team-a", "team-a"),
        ("a|b", r"a\|b"),
        ("<script>", "&lt;script&gt;"),
        ("[x](javascript:1)", r"\[x\]\(javascript:1\)"),
        ("`rm`", r"\`rm\`"),
        ("# big", r"\# big"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("two\nlines", "two lines"),
        ("\x1b[31mred", r"\[31mred"),
    ],
)
def test_markdown_shows_the_name_itself(name: str, shown: str) -> None:
    """Nothing in a name makes a link, a list, a heading, a table cell, code, HTML or a terminal colour."""
    assert markdown_safe(name) == shown


@settings(deadline=None)  # the cores are shared
@given(st.text())
def test_html_holds_no_markup_and_loses_no_letter(name: str) -> None:
    """The escaped text has no tag or quote, and unescapes to the name (control characters become spaces)."""
    safe = html_safe(name)
    assert not set(safe) & set("<>\"'")
    assert all(a in (b, " ") for a, b in zip(html.unescape(safe), name, strict=True))
