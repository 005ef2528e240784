"""One review from files to folder: the same bytes for the same inputs, harmless names, nothing written on bad input."""

from __future__ import annotations

import base64
import csv
import os
import re
import socket
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
from planner_cases import MODEL, PLAN, TODAY, api, forecast, on_demand, reserved, stated, wave, write

from hardware_profiles.faults import InputError
from planner.plan import read_plan
from planner.programme import build
from planner.review import Wanted, default_name, review

ROOT = Path(__file__).parents[1]
HOSTILE = ("../../x", "=cmd()", "<script>alert(1)</script>", "team-a", "team_a", "[link](javascript:1)|`$x$`")
PROVIDER = "=HYPERLINK(1)<b>[red]x[/red]"
SECRET = "sk-seen-nowhere"
BASE = "[horizon]\nhours = 24\n"


def hostile_inputs(folder: Path) -> Path:
    """Eight workloads, a seller and an owner whose names would be markup, formulas or paths elsewhere."""
    plan = "".join(
        PLAN.replace("workloads.chat", f"workloads.'{name}'") + f"owner = '{name}'\n" for name in HOSTILE
    )  # fmt: skip
    rows = forecast(24, {name: wave(24, 900.0 * (i + 1)) for i, name in enumerate(HOSTILE)})
    offers = [on_demand(PROVIDER), reserved(PROVIDER, 0.5, 1)]
    return write(folder, plan=plan + BASE, rows=rows, offers=offers, endpoints=[api(PROVIDER, source="<i>=1+1</i>")])


@dataclass(frozen=True)
class Run:
    """What a command did."""

    folder: Path
    out: str
    err: str


def solve(path: Path, *more: str, seed: str) -> Run:
    """`planner solve` in a process of its own, with another order of sets and dictionaries' hashes."""
    reports = path.parent / f"reports-{seed}"
    command = [sys.executable, "-m", "planner.cli", "solve", str(path), "--today", "2026-11-20"]
    command += ["--profiles", str(path.parent / "profiles"), "--reports", str(reports), *more]
    environment = {**os.environ, "PYTHONHASHSEED": seed, "COLUMNS": "300", "PYTHONPATH": str(ROOT), "API_KEY": SECRET}
    done = subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, text=True, check=True)
    return Run(next(reports.iterdir()), done.stdout, done.stderr)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The hostile inputs solved twice."""
    path = hostile_inputs(tmp_path_factory.mktemp("hostile"))
    return solve(path, "--name", "../../x", seed="1"), solve(path, "--name", "../../x", seed="2")


def test_the_same_inputs_and_day_give_the_same_bytes(hostile: tuple[Run, Run]) -> None:
    """plan.json, report.md, the page, every table and picture; whatever the hash seed."""
    one, two = ({file.name: file.read_bytes() for file in run.folder.iterdir()} for run in hostile)
    assert {"plan.json", "report.md", "report.html", "hours.csv", "demand.svg"} <= set(one)
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == []


def test_a_review_tells_nothing_of_the_machine(hostile: tuple[Run, Run]) -> None:
    """No path of the inputs or of the home folder, no host name, no key from the environment; packed files included."""
    folder = hostile[0].folder
    told = b"".join(path.read_bytes() for path in folder.iterdir())
    with zipfile.ZipFile(folder / "review.xlsx") as file:
        told += b"".join(file.read(name) for name in file.namelist())
    told += b"".join(base64.b64decode(data) for data in re.findall(rb"base64,([A-Za-z0-9+/=]+)", told))
    assert b"<svg" in told
    for secret in (str(folder.parents[1]), str(ROOT), str(Path.home()), SECRET):
        assert secret.encode() not in told, secret
    read = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.[cjm]*") if path.suffix != ".html")
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", read)


def test_names_do_not_leave_the_reports_folder(hostile: tuple[Run, Run]) -> None:
    """`--name ../../x` becomes a folder inside; beside the inputs there is only what was asked for."""
    run = hostile[0]
    assert re.fullmatch(r"[a-z0-9_]+", run.folder.name)
    inputs = {"forecast.csv", "plan.toml", "offers.csv", "endpoints.csv", "ownership.toml", "profiles"}
    assert {path.name for path in run.folder.parents[1].iterdir()} == {*inputs, "reports-1", "reports-2"}
    assert list(run.folder.parent.iterdir()) == [run.folder]


def test_names_are_kept_for_people(hostile: tuple[Run, Run]) -> None:
    """The plan calls workloads and owners what the files call them."""
    plan = read_plan(hostile[0].folder / "plan.json")
    assert tuple(served.name for served in plan.workloads) == HOSTILE
    assert tuple(served.owner for served in plan.workloads) == HOSTILE
    assert plan.name == "../../x"
    assert {purchase.provider for purchase in plan.purchases} <= {PROVIDER}


def test_no_cell_is_a_formula(hostile: tuple[Run, Run]) -> None:
    """No cell of any table begins as a formula does, unless it is a number."""
    for path in sorted(hostile[0].folder.glob("*.csv")):
        for row in csv.reader(path.read_text(encoding="utf-8").splitlines()):
            for cell in row:
                assert not cell.lstrip().startswith(("=", "+", "@")), (path.name, cell)
                assert not cell.startswith("-") or float(cell) <= 0, (path.name, cell)


class _Page(HTMLParser):
    """Collects tags and links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "onclick", "onload")]


def test_no_name_becomes_markup(hostile: tuple[Run, Run]) -> None:
    """Neither a tag or script in the page, nor a tag, link, table column or formula in the Markdown."""
    page = _Page()
    page.feed((hostile[0].folder / "report.html").read_text(encoding="utf-8"))
    assert not {"script", "i", "b"} & set(page.tags)
    assert not [link for link in page.links if "javascript" in link]
    text = (hostile[0].folder / "report.md").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<i>" not in text
    assert not re.search(r"(?<!\\)\]\(javascript", text)
    tables = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.M)
    assert tables
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_names_do_not_steer_the_terminal(hostile: tuple[Run, Run]) -> None:
    """Brackets that Rich would take for a style are shown as they are, and there is no escape sequence."""
    assert PROVIDER in hostile[0].out
    assert "\x1b" not in hostile[0].out
    assert f"Report: {hostile[0].folder}" in hostile[0].out


def test_names_are_harmless_in_the_lp_file(tmp_path: Path) -> None:
    """Every row and column of the programme that is solved keeps its name in the LP format."""
    programme = build(stated(hostile_inputs(tmp_path)).problem)
    names = [
        *(row.name for row in programme.lp.constraints()),
        *(variable.name for variable in programme.lp.variables()),
    ]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_.@]+", name) for name in names)


def wanted(path: Path, **more: object) -> Wanted:
    """A review of these inputs."""
    stated_ = {"plan": None, "model": None, "name": None, "gap": 0.01, "time_limit_s": 20.0, "today": TODAY, **more}
    return Wanted(forecast=path, profiles=path.parent / "profiles", reports=path.parent / "reports", **stated_)  # type: ignore[arg-type]  # a test's table of options


BAD = {
    "an impossible promise": PLAN.replace("ttft_s = 1.0", "ttft_s = 0.001"),
    "an unknown key": PLAN + "[policy]\ncolour = 1\n",
    "a model that nothing serves": PLAN.replace(MODEL, "llama-3.1-405b"),
    "every way forbidden": PLAN + '[policy]\nforbid = ["buy", "reserved", "on-demand", "api"]\n',
    "a GPU and the API forbidden": PLAN + '[policy]\nforbid_gpus = ["l4"]\nforbid = ["api"]\n',
}


@pytest.mark.parametrize("plan", BAD.values(), ids=BAD)
def test_bad_input_writes_nothing(tmp_path: Path, plan: str) -> None:
    """One clear fault, and no folder for reports."""
    path = write(tmp_path, plan=plan)
    with pytest.raises(InputError) as raised:
        review(wanted(path))
    assert len(raised.value.faults) == 1
    assert not (tmp_path / "reports").exists()


def test_a_folder_that_is_no_review_is_refused_before_solving(tmp_path: Path) -> None:
    """Somebody's notes stay, and nobody waits for a plan that cannot be written."""
    path = write(tmp_path)
    notes = tmp_path / "reports" / default_name(TODAY, path) / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    steps: list[str] = []
    with pytest.raises(InputError, match="is there and is not a review"):
        review(wanted(path), step=steps.append)
    assert steps == ["reading"]
    assert notes.read_text() == "mine"


@pytest.mark.parametrize(
    ("day", "stem", "name"),
    [
        (date(2026, 11, 20), "forecast", "2026-Q4-forecast"),
        (date(2027, 1, 1), "Q1 plan", "2027-Q1-q1_plan"),
        (date(2027, 6, 30), "=cmd", "2027-Q2-cmd"),
    ],
)
def test_a_review_is_named_after_its_quarter_and_forecast(day: date, stem: str, name: str) -> None:
    """The quarter of the day of the review, and the forecast's name made harmless."""
    assert default_name(day, Path(f"some/{stem}.csv")) == name
