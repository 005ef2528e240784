"""Writes a review's folder: plan.json, CSV tables, pictures, Markdown, page, spreadsheet; all of it or nothing.

The files are made in a temporary folder beside the wanted one, which is then renamed. A folder that is there already is
replaced only when it is a review (its plan.json says so); files in it that Spillway does not write are kept, so that
notes beside a report survive the next run. The same plan and hours give the same bytes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from functools import partial
from pathlib import Path

from hardware_profiles.curve import write_text
from hardware_profiles.faults import Faults, InputError
from planner.drawing import render
from planner.hourly import HourTable
from planner.hours_file import read_hours
from planner.markdown import markdown
from planner.page import page
from planner.page import shown as page_picture
from planner.pictures import pictures
from planner.plan import Plan, read_plan, write_plan
from planner.tables import hours_table, plan_tables
from planner.workbook import workbook


def write_review(plan: Plan, hours: HourTable, folder: Path) -> tuple[Path, ...]:
    """Write the review into `folder`, which appears whole or not at all; returns the files, plan.json first.

    Raises `InputError` when `folder` is there and is not a review, or cannot be written.
    """
    check_folder(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise _refused(folder, f"cannot be written ({error.strerror})", "check the path and its permissions") from None
    try:
        names = _write(plan, hours, made)
        made.chmod(0o755)
        _put_in_place(made, folder, names)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return tuple(folder / name for name in names)


def rewrite_review(folder: Path) -> tuple[Path, ...]:
    """Make all texts and pictures of a review anew from its plan.json and hours.csv; nothing is solved."""
    plan = read_plan(folder / "plan.json")
    return write_review(plan, read_hours(folder / "hours.csv", plan), folder)


def _write(plan: Plan, hours: HourTable, folder: Path) -> tuple[str, ...]:
    write_plan(plan, folder / "plan.json")
    drawn, shown = pictures(plan, hours), []
    images: dict[str, bytes] = {}
    for picture in drawn:
        wide, narrow = (render(partial(picture.draw, small)) for small in (False, True))
        shown.append(page_picture(picture, wide, narrow))
        images[f"{picture.stem}.svg"] = wide
    texts = {
        "report.html": page(plan, shown),
        "report.md": markdown(plan, drawn),
        **plan_tables(plan),
        "hours.csv": hours_table(hours),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    binary = images | {"review.xlsx": workbook(plan)}
    for name, content in binary.items():
        (folder / name).write_bytes(content)
    return ("plan.json", *texts, *binary)


def check_folder(folder: Path) -> None:
    """Raise `InputError` when `folder` is there and is not a review, which would be written over."""
    if not folder.exists() and not folder.is_symlink():
        return
    remedy = "name another folder, or move this one away"
    if not folder.is_dir() or folder.is_symlink():
        raise _refused(folder, "is there and is not a folder", remedy)
    if any(folder.iterdir()) and not _is_review(folder / "plan.json"):
        raise _refused(folder, "is there and is not a review (it has no plan.json of Spillway)", remedy)


def _is_review(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and str(content.get("format")).startswith("spillway-plan/")


def _put_in_place(made: Path, folder: Path, names: tuple[str, ...]) -> None:
    """Rename `made` to `folder`; what was there goes away, except files that are not ours to write."""
    if not folder.exists():
        made.rename(folder)
        return
    old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.")) / "old"
    folder.rename(old)
    try:
        made.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    for kept in old.iterdir():
        if kept.name not in names:
            kept.rename(folder / kept.name)
    shutil.rmtree(old.parent)


def _refused(folder: Path, what: str, remedy: str) -> InputError:
    faults = Faults(str(folder))
    faults.add(what, remedy)
    return InputError(*faults.found)
