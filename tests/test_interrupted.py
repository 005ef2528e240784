"""Ctrl-C keeps what was found: the plan is written with its honest gap, and nothing more is asked of it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from planner_cases import PLAN, TODAY, api, forecast, on_demand, reserved, wave, write

from planner.plan import read_plan
from planner.review import Wanted, review
from planner.solve import Progress


def wanted(folder: Path) -> Wanted:
    """A day of one workload, with every question that may be asked of its plan."""
    rows = forecast(24, {"chat": wave(24, 900.0)})
    offers = [on_demand("a"), reserved("a", 0.5, 1)]
    path = write(folder, plan=PLAN + "[horizon]\nhours = 24\n", rows=rows, offers=offers, endpoints=[api("b")])
    return Wanted(path, None, None, folder / "profiles", 0.005, 20.0, TODAY, "r", folder / "reports", True, True)


def interrupt_once(at: Callable[[str], bool]) -> Callable[[str], None]:
    """Raises Ctrl-C the first time that `at` says so."""
    done = list[str]()

    def hear(what: str) -> None:
        if not done and at(what):
            done.append(what)
            signal.raise_signal(signal.SIGINT)

    return hear


def test_a_search_that_is_interrupted_ends_in_a_plan(tmp_path: Path) -> None:
    """Its folder is written; the plan says what happened, is compared, and neither moved nor explained."""
    hear = interrupt_once(lambda _: True)

    def progress(_: Progress) -> None:
        hear("bound")

    made = review(wanted(tmp_path), progress=progress)
    plan = read_plan(tmp_path / "reports" / "r" / "plan.json")
    assert plan == made.plan
    assert plan.checks == ()
    assert any(note.startswith("Ctrl-C ended the search") for note in plan.notes)
    assert plan.baselines
    assert plan.explained is None
    assert not plan.sensitivities


def test_a_comparison_that_is_interrupted_is_left_out(tmp_path: Path) -> None:
    """The plan is there already: it is written without the other strategies."""
    review(wanted(tmp_path), step=interrupt_once(lambda what: what.startswith("pricing")))
    plan = read_plan(tmp_path / "reports" / "r" / "plan.json")
    assert plan.checks == ()
    assert plan.baselines == ()
    assert (tmp_path / "reports" / "r" / "report.html").exists()


def test_without_a_bound_nothing_is_written(tmp_path: Path) -> None:
    """Interrupted before anything is known, the command ends and leaves no folder behind."""
    with pytest.raises(KeyboardInterrupt):
        review(wanted(tmp_path), step=interrupt_once(lambda what: what == "solving"))
    assert not (tmp_path / "reports").exists()
