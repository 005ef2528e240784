"""Stages that end otherwise than they should: nothing is lost, nobody is left, no key is written."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from bench.driver import Progress, load_run, run_stage
from bench.paced import paced
from hardware_profiles.faults import InputError
from tests.locusts import locusts
from tests.test_driver import LAW, gone, stage, target


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with paced(LAW) as told:
        yield told


def test_some_failures_are_counted_and_do_not_stop_it(url: str, tmp_path: Path) -> None:
    """A third of the answers are 429: they are in the records with their reason, the others are served."""
    run = run_stage(stage(cap_s=2.0, width=None), target(url, "fault:429:0.33"), tmp_path)
    share = np.mean(run.records.status == "http_429")
    assert set(run.records.status.tolist()) == {"ok", "http_429"}
    assert 0.15 < share < 0.5
    assert all(error.startswith("paced: has too many requests") for error in run.records.error if error)
    assert run.stopped == "cap"


def test_a_server_that_only_fails_is_left_alone(url: str, tmp_path: Path) -> None:
    """Nothing but 500: the stage ends by itself, users have backed off, and the records say why."""
    run = run_stage(stage(cap_s=30.0), target(url, "fault:500"), tmp_path)
    assert run.stopped == "failing"
    assert run.load_s < 10
    assert set(run.records.status.tolist()) == {"http_500"}
    assert len(run.records) < 150


def test_a_server_that_dies_ends_the_stage(tmp_path: Path) -> None:
    """Killed in mid-stage: connections are refused, the stage ends long before its cap, the records are whole."""
    with paced(LAW) as own:

        def kill(progress: Progress) -> None:
            if progress.completed > 20:
                port = int(own.rpartition(":")[2])
                for child in psutil.Process().children():
                    with contextlib.suppress(psutil.Error):
                        if any(one.laddr.port == port for one in child.net_connections("tcp")):
                            child.kill()

        run = run_stage(stage(cap_s=60.0, width=None), target(own), tmp_path, on_progress=kill)
    assert run.stopped == "failing"
    assert run.load_s < 30
    told = run.records.status.tolist()
    assert told.count("ok") > 20
    assert {"refused", "truncated"} <= set(told) <= {"ok", "refused", "truncated", "reset"}


def test_what_hangs_is_cut_at_the_drains_end(url: str, tmp_path: Path) -> None:
    """Requests that never end are `unfinished` when the drain is over, and count as failures."""
    asked = stage(load=2, cap_s=1.0, drain_s=0.3, stagger_s=0.0)
    run = run_stage(asked, target(url, "fault:stall", timeout_s=60), tmp_path)
    assert run.records.status.tolist() == ["unfinished", "unfinished"]
    assert run.records.events.min() > 0  # the tokens that had come are kept


@pytest.mark.parametrize("turns", [(1, 1), (2, 3)])
def test_json_of_other_types_is_counted(url: str, tmp_path: Path, turns: tuple[int, int]) -> None:
    """Every answer is of wrong types: all records are written, those of conversations too."""
    run = run_stage(stage(load=2, cap_s=0.8, turns=turns), target(url, "fault:badtype"), tmp_path)
    assert set(run.records.status.tolist()) == {"garbage"}


def test_a_worker_that_dies_in_the_drain_is_missed(url: str, tmp_path: Path) -> None:
    """One of two is killed while answers are waited for: the stage ends at once, and what the other one has is kept."""
    shown: list[float] = []

    def kill(progress: Progress) -> None:
        if progress.elapsed_s > 1.0 and not shown:
            next(one for one in locusts(tmp_path) if "--worker" in one.cmdline()).kill()
            shown.append(progress.elapsed_s)

    asked = stage(load=4, cap_s=0.6, drain_s=60.0)
    with pytest.raises(InputError, match="stage s: a worker ended without its records"):
        run_stage(asked, target(url, "fault:stall"), tmp_path, workers=2, on_progress=kill)
    assert shown, "progress is told in the drain too"
    assert load_run(tmp_path / "s.interrupted.parquet").records.status.tolist() == ["unfinished"] * 2


def test_a_worker_that_cannot_write_says_why(url: str, tmp_path: Path) -> None:
    """A folder stands where its records should: the stage ends at once with the system's words."""

    def block(progress: Progress) -> None:
        (tmp_path / ".s" / "spill-0.parquet" / "in the way").mkdir(parents=True, exist_ok=True)

    with pytest.raises(InputError, match=r"a worker ended without its records; its last lines: .*\[Errno 21\]"):
        run_stage(stage(load=1, cap_s=0.8), target(url), tmp_path, on_progress=block)


def test_no_server_is_a_fault_with_a_remedy(tmp_path: Path) -> None:
    """Nobody listens: one fault, no file, no process."""
    with pytest.raises(InputError) as caught:
        run_stage(stage(), target("http://127.0.0.1:9"), tmp_path)
    assert "no connection ([Errno 111] Connection refused)" in str(caught.value)
    assert "Remedy: check that the server is up and the URL is right." in str(caught.value)
    assert not list(tmp_path.glob("*.parquet"))
    assert gone(tmp_path, 1.0)


def test_a_missing_key_is_told_before_anything_starts(tmp_path: Path) -> None:
    """The variable's name is told; nothing is started."""
    with pytest.raises(InputError, match="the environment variable SPILLWAY_TEST_KEY is not set"):
        run_stage(stage(), target("http://127.0.0.1:9", key_env="SPILLWAY_TEST_KEY"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_key_is_used_and_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that wants a key is served; no byte of the folder holds it, at any moment of the stage."""
    monkeypatch.setenv("SPILLWAY_TEST_KEY", "sk-quite-secret")
    seen: list[bytes] = []

    def look(_: Progress) -> None:
        seen.extend(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

    with paced(LAW, "--key-env=SPILLWAY_TEST_KEY") as url:
        asked = target(url, key_env="SPILLWAY_TEST_KEY")
        run = run_stage(stage(load=2, cap_s=1.0), asked, tmp_path, on_progress=look)
    assert set(run.records.status.tolist()) == {"ok"}
    seen.append(run.path.read_bytes())
    assert len(seen) > 3
    assert not any(b"sk-quite-secret" in content for content in seen)


def interrupt(progress: Progress) -> None:
    if progress.completed > 5:
        raise KeyboardInterrupt


def test_ctrl_c_ends_all_and_keeps_what_there_is(url: str, tmp_path: Path) -> None:
    """After Ctrl-C no process is left, and what had been measured stands in a file that no one takes for whole."""
    with pytest.raises(KeyboardInterrupt):
        run_stage(stage(cap_s=60.0), target(url), tmp_path, workers=2, on_progress=interrupt)
    assert gone(tmp_path, 1.0)
    assert not (tmp_path / "s.parquet").exists()
    run = load_run(tmp_path / "s.interrupted.parquet")
    assert np.count_nonzero(run.records.ok) > 5


def test_nobody_outlives_a_killed_parent(url: str, tmp_path: Path) -> None:
    """SIGKILL leaves the parent no chance: master and both workers end within five seconds all the same."""
    code = (
        "import sys; from pathlib import Path; from bench.driver import *; from bench.schedule import Stage\n"
        "stage, target, folder, workers = sys.argv[1:]\n"
        "show = lambda p: print(p.completed, flush=True)\n"
        "run_stage(Stage.model_validate_json(stage), Target.model_validate_json(target), Path(folder),"
        " workers=int(workers), on_progress=show)"
    )
    asked = stage(cap_s=60.0).model_dump_json(), target(url).model_dump_json(), str(tmp_path), "2"
    with subprocess.Popen([sys.executable, "-c", code, *asked], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        while int(parent.stdout.readline()) < 3:
            pass
        assert len(locusts(tmp_path)) == 3
        os.kill(parent.pid, signal.SIGKILL)
    assert gone(tmp_path, 5.0)


def test_a_stage_that_dies_tells_its_last_words(url: str, tmp_path: Path) -> None:
    """A worker that is killed in mid-stage: one fault that names the stage and the log."""
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.completed > 3 and not killed:
            victim = locusts(tmp_path)[0]
            killed.append(victim.pid)
            victim.kill()

    with pytest.raises(InputError, match="stage s: a Locust process ended") as caught:
        run_stage(stage(cap_s=60.0), target(url), tmp_path, on_progress=kill)
    assert caught.value.faults[0].remedy == f"see the logs in {(tmp_path / '.s').resolve()}"
    assert gone(tmp_path, 1.0)


def test_a_finished_stage_is_replaced_whole(url: str, tmp_path: Path) -> None:
    """What a killed run left in its work folder does not disturb the next one."""
    (tmp_path / ".s").mkdir()
    (tmp_path / ".s" / "go.json").write_text("{}")
    (tmp_path / ".s" / "spill-0.parquet").write_text("old")
    run = run_stage(stage(load=1, cap_s=1.0), target(url), tmp_path)
    assert set(run.records.status.tolist()) == {"ok"}
