"""The command line as people use it: exit codes, first screen, a line per fault, nothing written on bad input."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from planner_cases import MODEL, PER_GPU_H, PLAN, api, forecast, on_demand, write

from planner import cli
from planner.plan import read_plan
from planner.problem import Problem
from planner.solve import Solution, solve

COMMANDS = ("solve", "check", "init", "report")


@dataclass(frozen=True)
class Done:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


class Planner:
    """Runs `planner` in this process, in a folder of its own."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.capsys, self.monkeypatch = folder, capsys, monkeypatch
        monkeypatch.chdir(folder)
        monkeypatch.setenv("COLUMNS", "250")

    def __call__(self, *words: str) -> Done:
        self.monkeypatch.setattr(sys, "argv", ["planner", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = self.capsys.readouterr()
        assert "Traceback" not in printed.err
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    def files(self) -> set[str]:
        """Everything in the folder."""
        return {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*")}


@pytest.fixture
def planner(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Planner:
    return Planner(tmp_path, capsys, monkeypatch)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(planner: Planner, command: str) -> None:
    """`--help` of each ends with 0 and says how it is used."""
    done = planner(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert re.search(rf"Usage: .*planner {command} \[OPTIONS\]", done.out)


def test_the_list_of_commands_is_complete(planner: Planner) -> None:
    """`planner --help` names each command; alone `planner` shows the same and ends with 2."""
    done = planner("--help")
    assert done.code == 0
    assert all(command in done.out for command in COMMANDS)
    alone = planner()
    assert alone.code == 2
    assert "Usage: " in alone.out + alone.err


WRONG = {
    "no forecast": (("solve",), "Missing argument"),
    "unknown command": (("sovle",), "No such command"),
    "unknown option": (("solve", "f.csv", "--colour"), "No such option: --colour"),
    "a gap above 1": (("solve", "f.csv", "--gap", "2"), "--gap"),
    "a gap that is no number": (("solve", "f.csv", "--gap", "nan"), "--gap"),
    "a gap in words": (("solve", "f.csv", "--gap", "small"), "--gap"),
    "no time": (("solve", "f.csv", "--time-limit", "0"), "--time-limit"),
    "too much": (("check", "a.csv", "b.csv"), "unexpected extra argument"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_command_line_ends_with_2(planner: Planner, words: tuple[str, ...], said: str) -> None:
    """The usage and what is wrong on stderr, nothing on stdout, nothing written."""
    done = planner(*words)
    assert (done.code, done.out) == (2, "")
    assert "Usage: " in done.err
    assert said in " ".join(done.err.split())
    assert planner.files() == set()


MISSING = "cannot be read (No such file or directory). Remedy: check the path and its permissions."
FAULTS = {
    "no such forecast": (("solve", "no.csv"), [f"error: no.csv: {MISSING}"]),
    "no such forecast to check": (("check", "no.csv"), [f"error: no.csv: {MISSING}"]),
    "a folder": (
        ("solve", "."),
        ["error: .: cannot be read (Is a directory). Remedy: check the path and its permissions."],
    ),
    "forecast and plan": (
        ("solve", "no.csv", "--plan", "no.toml"),
        [f"error: no.csv: {MISSING}", f"error: no.toml: {MISSING}"],
    ),
    "no such profiles": (
        ("check", "no.csv", "--profiles", "there"),
        [
            "error: there: is no folder. Remedy: give --profiles a folder with gpus.toml, models.toml or curves.",
            f"error: no.csv: {MISSING}",
        ],
    ),
    "no date": (
        ("solve", "no.csv", "--today", "20.11.2026"),
        ["error: column '--today', value '20.11.2026': is no date. Remedy: write YYYY-MM-DD."],
    ),
}


@pytest.mark.parametrize(("words", "lines"), FAULTS.values(), ids=FAULTS)
def test_bad_input_ends_with_1_and_a_line_per_fault(planner: Planner, words: tuple[str, ...], lines: list[str]) -> None:
    """Exact words, all faults at once, nothing on stdout, nothing written."""
    done = planner(*words)
    assert (done.code, done.out, done.err.strip().splitlines()) == (1, "", lines)
    assert planner.files() == set()


def test_an_impossible_promise_is_told_in_one_line(planner: Planner) -> None:
    """The key, its line and the remedy; no folder for reports."""
    write(planner.folder, plan=PLAN.replace("ttft_s = 1.0", "ttft_s = 0.001"))
    before = planner.files()
    done = planner("solve", "forecast.csv", "--profiles", "profiles")
    assert (done.code, done.out) == (1, "")
    (line,) = done.err.strip().splitlines()
    assert line.startswith(
        "error: plan.toml:4: column 'workloads.chat.slo', value 'TTFT <= 0.001 s, TPOT <= 0.05 s for 95%'"
    )
    assert "Remedy: loosen it" in line
    assert planner.files() == before


def test_init_check_and_a_second_init(planner: Planner) -> None:
    """The starter is written, passes its own check, and is never overwritten."""
    done = planner("init", "new/one")
    assert (done.code, done.out.splitlines()) == (0, ["wrote new/one/forecast.csv", "wrote new/one/plan.toml"])
    checked = planner("check", "new/one/forecast.csv")
    assert checked.code == 0
    assert checked.out.splitlines()[0] == "new/one/forecast.csv: 168 hours, 1 workload, no faults."
    again = planner("init", "new/one")
    assert again.code == 1
    assert len(again.err.splitlines()) == 2
    assert planner.files() == {"new", "new/one", "new/one/forecast.csv", "new/one/plan.toml"}


def test_the_first_screen_of_a_forecast_alone_names_what_was_chosen(planner: Planner) -> None:
    """No plan.toml: the default model and SLO, the tiling and the missing evidence, then where the report is."""
    (planner.folder / "mine.csv").write_text(forecast(24, {"chat": 600.0}), encoding="utf-8")
    done = planner("solve", "mine.csv", "--today", "2026-11-20")
    assert done.code == 0
    assert "There is no plan.toml: its defaults hold" in done.out
    assert "qwen3-32b" in done.out
    assert "TTFT <= 2 s" in done.out
    assert "The forecast covers 24 h; the plan's 8760 h repeat its last day" in done.out
    assert "Proof: no plan costs less than" in done.out
    assert done.out.splitlines()[-1] == "Report: reports/2026-Q4-mine"
    assert "reports/2026-Q4-mine/plan.json" in planner.files()


def test_a_plan_that_fails_its_check_ends_with_3(planner: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound above the plan proves nothing: that leads the first screen and the report, and no proof is claimed."""

    def too_sure(problem: Problem, **how: object) -> Solution:
        found = solve(problem, **how)  # type: ignore[arg-type]
        return replace(found, bound_usd=found.cost_usd * 1.5)

    monkeypatch.setattr("planner.cheapest.solve", too_sure)
    rows = forecast(24, {"chat": 2 * PER_GPU_H})
    plan = PLAN + "[horizon]\nhours = 24\n" + '[policy]\nforbid = ["buy", "reserved", "api"]\n'
    write(planner.folder, plan=plan, rows=rows, offers=[on_demand()])
    done = planner("solve", "forecast.csv", "--profiles", "profiles", "--today", "2026-11-20", "--name", "wrong")
    assert done.code == 3
    faults = (
        "the bound 72.00 USD exceeds the plan's 48.00 USD; all rented on demand costs 48.00 USD, less than the bound "
        "of 72.00 USD; no API costs 48.00 USD, less than the bound of 72.00 USD."
    )
    first = (
        f"Do not sign this plan: its own check found 3 faults: {faults}",
        "Sign nothing: there is no GPU to buy or reserve under the plan's rules.",
        "Leave all tokens to on-demand GPUs.",
    )
    assert tuple(done.out.splitlines()[:3]) == first
    assert "no plan is cheaper" not in done.out
    assert "gap" not in done.out
    (bill,) = (line for line in done.out.splitlines() if line.startswith("The bill is "))
    assert bill.endswith("; its proof is withdrawn, so another plan may be far cheaper.")
    assert f"Proof: withdrawn: one programme. THE CHECKER FOUND: {faults}" in done.out.replace("\n", " ")
    made = read_plan(planner.folder / "reports" / "wrong" / "plan.json")
    assert (made.gap, made.bound_usd, made.proof) == (None, None, "withdrawn: one programme")
    report = (planner.folder / "reports" / "wrong" / "report.md").read_text(encoding="utf-8")
    assert report.splitlines()[2] == "> **The independent check found 3 faults in this plan; do not sign it.**"
    assert "no plan" not in report


def test_the_first_screen_says_unserved_work_first(planner: Planner) -> None:
    """Before what to sign, in the first line."""
    plan = PLAN + "[horizon]\nhours = 24\n" + '[policy]\nforbid = ["buy", "reserved", "api"]\n'
    rows = forecast(24, {"chat": 2 * PER_GPU_H})
    write(planner.folder, plan=plan, rows=rows, offers=[on_demand(limit_units=1)], endpoints=[api()])
    done = planner("solve", "forecast.csv", "--profiles", "profiles", "--today", "2026-11-20", "--name", "short")
    assert done.code == 0
    first = done.out.splitlines()[0]
    assert first == "172,800 requests (50.00%) cannot be served by anything in the price book."
    assert "not possible" in done.out
    assert f"{MODEL} on 1x l4-24gb" not in done.out.split("Evidence: measured; ")[1]


@pytest.mark.parametrize(("stated", "asked", "used"), [("", None, "mid"), ("low", "high", "high")])
def test_the_end_of_the_curves_uncertainty_is_told(planner: Planner, stated: str, asked: str | None, used: str) -> None:
    """--capacity overrules plan.toml; the plan carries what was used, and high is warned of."""
    policy = '[policy]\nforbid = ["buy", "api"]\n' + (f'capacity = "{stated}"\n' if stated else "")
    rows = forecast(24, {"chat": PER_GPU_H})
    write(planner.folder, plan=PLAN + "[horizon]\nhours = 24\n" + policy, rows=rows, offers=[on_demand()])
    more = ("--capacity", asked) if asked else ()
    done = planner("solve", "forecast.csv", "--profiles", "profiles", "--name", "it", "--today", "2026-11-20", *more)
    assert done.code == 0
    words = {"low": "at the low end", "mid": "in the middle", "high": "at the high end"}[used]
    assert f"Evidence: measured; capacity {words} of its uncertainty" in done.out
    plan = read_plan(planner.folder / "reports/it/plan.json")
    assert plan.capacity == used
    assert any("--capacity mid before signing" in warning for warning in plan.warnings) == (used == "high")
    assert words in (planner.folder / "reports/it/report.md").read_text(encoding="utf-8")
    (shape, *_) = plan.deployments[0].shapes
    assert shape.capacity_low_per_s < shape.capacity_high_per_s
    ends = {"low": shape.capacity_low_per_s, "high": shape.capacity_high_per_s}
    assert shape.capacity_per_s == pytest.approx(ends.get(used, 2.6 if shape.output_tokens == 200 else 9.0))
