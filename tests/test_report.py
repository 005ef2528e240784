"""A review's folder: what Markdown says, that nothing in a name runs, and that the folder is whole or not there."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from review_fixtures import HOSTILE, hostile_plan, hours, plan

from hardware_profiles.faults import InputError
from planner.markdown import markdown
from planner.pictures import pictures
from planner.plan import Plan, read_plan
from planner.report import write_review

GOLDEN = Path(__file__).parent / "golden" / "report.md"


def test_markdown_is_the_golden_one() -> None:
    """The whole text, word for word; SPILLWAY_GOLDEN=1 writes it anew, for a person to read the difference."""
    made = _markdown(plan())
    if os.environ.get("SPILLWAY_GOLDEN") == "1":
        GOLDEN.write_text(made, encoding="utf-8")
    assert made == GOLDEN.read_text(encoding="utf-8")


def test_first_screen_is_what_is_decided_from() -> None:
    """Recommendation, bill, strategies, proof, evidence and warnings stand before the first picture."""
    screen = _markdown(plan()).split("![")[0]
    made = plan()
    for text in (*made.headline, *made.warnings):
        assert text in html.unescape(screen)
    for text in (
        "**USD 260,000 over 2 months from 2027-01-04, USD 130,000 a month",
        "| all reserved | USD 330,000 | USD 165,000 | 26.9 % dearer | 0.3 % |",
        "| all owned | not possible |",
        "no plan can be more than 0.2 % cheaper",
        "| worst evidence | published by others, not measured on your GPUs |",
        "| prices used | 4, stale: Example Cloud 3 months |",
    ):
        assert text in screen
    assert len(screen.splitlines()) < 40


def test_a_failed_check_and_unserved_work_are_said_before_anything_else() -> None:
    """A plan that failed its check says so in its first line, then that it leaves work unserved."""
    made = _markdown(plan(missed=120_000).model_copy(update={"checks": ("month 2027-01: more GPUs than bought",)}))
    first = [line for line in made.splitlines()[1:] if line][:2]
    assert first == [
        "> **The independent check found 1 fault in this plan; do not sign it.**",
        "> **This plan leaves 120,000 requests unserved (0.1 % of all).**",
    ]
    assert "| check | month 2027-01: more GPUs than bought |" in made
    assert "| assistant | platform | llama-3-8b | 500 ms | 50 ms | no limit | 95 % | 120,000 (0.3 %) |" in made


def test_names_are_inert_in_markdown() -> None:
    """No name becomes markup, a link, code, a new line or a new column; what a reader sees is the name."""
    text = _markdown(hostile_plan())
    assert "<script" not in text
    assert "](javascript" not in text.replace(r"\]", "")
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) > 8
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    shown = re.sub(r"\\(.)", r"\1", html.unescape(text))
    assert HOSTILE.replace("\n", " ") in shown


def test_names_call_nobody_on_a_forge() -> None:
    """What a forge would read as a person, an issue or a merge request is none, in sentences and in cells."""
    text = _markdown(plan(name="@team #12 !3", workload="@team #12 !3"))
    assert text.count("@&#8203;team #&#8203;12 !&#8203;3") >= 3
    assert not re.search(r"[@#!]\w", text.replace("&#8203;", "\u200b").replace("![", ""))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """The files of a review."""
    return write_review(plan(), hours(200), tmp_path_factory.mktemp("written") / "reports" / "2026-Q4")


def test_writing_a_review(written: tuple[Path, ...]) -> None:
    """All files are there, plan.json reads back as the plan, every picture is shown in the Markdown and exists."""
    folder = written[0].parent
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in written)
    assert written[0] == folder / "plan.json"
    assert read_plan(written[0]) == plan()
    named = re.findall(r"!\[.+\]\((.+)\)", (folder / "report.md").read_text(encoding="utf-8"))
    assert named == [f"{picture.stem}.svg" for picture in pictures(plan(), hours(200))]
    for name in named:
        assert b"<svg" in (folder / name).read_bytes()
    assert [path.name for path in folder.parent.iterdir()] == ["2026-Q4"]


def test_same_inputs_same_bytes(written: tuple[Path, ...], tmp_path: Path) -> None:
    """Another process, with another seed of Python's hashes, another time zone and another folder, writes the same."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import review_fixtures as f; "
        "from planner.report import write_review; write_review(f.plan(), f.hours(200), Path(sys.argv[2]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    there = tmp_path / "there" / "review"
    subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent), str(there)], check=True, env=environment)
    for path in written:
        assert path.read_bytes() == (there / path.name).read_bytes(), path.name


def test_a_review_is_replaced_and_notes_beside_it_stay(written: tuple[Path, ...], tmp_path: Path) -> None:
    """The second run replaces what Spillway writes, keeps what it does not, and leaves nothing else behind."""
    folder = tmp_path / "2026-Q4"
    shutil.copytree(written[0].parent, folder)
    (folder / "decision.txt").write_text("signed", encoding="utf-8")
    (folder / "report.md").write_text("old", encoding="utf-8")
    write_review(plan(missed=5.0), hours(200), folder)
    assert read_plan(folder / "plan.json").unserved_requests == 5.0
    assert "old" not in (folder / "report.md").read_text(encoding="utf-8").splitlines()
    assert (folder / "decision.txt").read_text(encoding="utf-8") == "signed"
    assert [path.name for path in tmp_path.iterdir()] == ["2026-Q4"]


def test_a_folder_that_is_not_a_review_is_left_alone(tmp_path: Path) -> None:
    """Somebody's folder, or a plan.json of another tool, is refused with the remedy and stays as it is."""
    for content in (None, '{"format": "terraform"}', "not json"):
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        (folder / "thesis.txt").write_text("years", encoding="utf-8")
        if content is not None:
            (folder / "plan.json").write_text(content, encoding="utf-8")
        with pytest.raises(InputError) as caught:
            write_review(plan(), hours(200), folder)
        assert str(caught.value) == (
            f"{folder}: is there and is not a review (it has no plan.json of Spillway). "
            "Remedy: name another folder, or move this one away."
        )
        assert (folder / "thesis.txt").read_text(encoding="utf-8") == "years"
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("file", "link"):
        with pytest.raises(InputError, match="is there and is not a folder"):
            write_review(plan(), hours(200), tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "file", "link"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A file where a folder should be is an input error, not a traceback."""
    (tmp_path / "reports").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be written"):
        write_review(plan(), hours(200), tmp_path / "reports" / "2026-Q4")


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    """Hours that do not fit together stop the writing: the old review is untouched, no temporary folder stays."""
    folder = tmp_path / "2026-Q4"
    broken = replace(hours(200), tokens_per_request=hours(200).tokens_per_request[:1])
    with pytest.raises(ValueError, match="matmul"):
        write_review(plan(), broken, folder)
    assert list(tmp_path.iterdir()) == []
    write_review(plan(), hours(200), folder)
    before = (folder / "plan.json").read_bytes()
    with pytest.raises(ValueError, match="matmul"):
        write_review(plan(missed=9.0), broken, folder)
    assert (folder / "plan.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["2026-Q4"]


def _markdown(made: Plan) -> str:
    return markdown(made, pictures(made, hours())[:2])
