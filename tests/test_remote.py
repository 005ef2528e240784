"""Workers that join from elsewhere: own processes, own folders, nothing shared but the master's port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench import follow
from bench.driver import Progress, Target, run_stage
from bench.order import Address, Order
from bench.paced import Law, paced
from bench.prompts import Fixed, Range
from bench.remote import Errand, take_piece
from bench.schedule import Stage, plan
from hardware_profiles.faults import InputError

LAW = Law(ttft_s=0.05, tpot_s=0.01)
SHAPE = Range(input_low=90, input_high=110, output_low=15, output_high=25)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def lend(port: int, home: Path, *arguments: str, **env: str) -> subprocess.Popen[bytes]:
    """`bench worker` in a process and a folder of its own."""
    home.mkdir()
    command = [sys.executable, "-m", "bench.cli", "worker", "--master", f"127.0.0.1:{port}", *arguments]
    return subprocess.Popen(command, cwd=home, env=os.environ | {"TMPDIR": str(home)} | env)


def test_workers_elsewhere_share_the_schedule_and_bring_their_records_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker of ours and two that join, over two stages, closed and open, at a server that wants a key: every row
    of the global schedule once, each by its worker, all served; nothing is left in the workers' folders."""
    port, folder = free_port(), tmp_path / "ours"
    settings = {"shape": SHAPE, "seed": 3, "warm_up_s": 0.2, "stagger_s": 0.2, "width": None}
    closed = Stage.model_validate({"name": "closed", "mode": "closed", "load": 6, "cap_s": 2.0, **settings})
    opened = Stage.model_validate({"name": "open", "mode": "open", "rate_per_s": 30.0, "cap_s": 2.0, **settings})
    monkeypatch.setenv("SPILLWAY_TEST_KEY", "sk-quite-secret")
    with paced(LAW, "--key-env=SPILLWAY_TEST_KEY") as url:
        target = Target(url=url, model="paced", vocab_size=32000, key_env="SPILLWAY_TEST_KEY")
        told = ("--stages", "2", "--key-env", "SPILLWAY_TEST_KEY")
        lent = [lend(port, tmp_path / name, *told) for name in ("one", "two")]
        try:
            bind = Address(port=port)
            runs = [run_stage(one, target, folder, remote_workers=2, bind=bind) for one in (closed, opened)]
            assert [process.wait(30) for process in lent] == [0, 0]
        finally:
            for process in lent:
                process.kill()
                process.wait()
    for run in runs:
        records = run.records
        assert set(records.status.tolist()) == {"ok"}
        assert np.array_equal(records.worker, records.request % 3)
        assert len(set(records.request.tolist())) == len(records)
        assert np.array_equal(records.output_tokens, plan(run.stage).output_tokens[records.request])
        assert run.client["workers"] == 3
        assert 0 < float(str(run.client["clock_error_s"])) < 0.1
    assert sorted(runs[1].records.request.tolist()) == list(range(len(plan(opened))))
    late = runs[1].records.sent_s - runs[1].records.scheduled_s
    assert np.median(late) < 0.005
    assert sorted(path.name for path in folder.iterdir()) == ["closed.parquet", "open.parquet"]
    assert not [path for name in ("one", "two") for path in (tmp_path / name).glob("spillway-worker-*")]


def test_a_worker_elsewhere_that_vanishes_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in mid-stage, while ours goes on: the stage fails when it has not been heard for the time allowed."""
    monkeypatch.setattr(follow, "_SILENT_S", 2.0)
    port = free_port()
    stage = Stage(name="s", mode="closed", load=4, shape=SHAPE, seed=3, cap_s=60.0, width=None)
    with paced(LAW) as url:
        lent = lend(port, tmp_path / "one")

        def kill(progress: Progress) -> None:
            if progress.completed > 10:
                lent.kill()

        target = Target(url=url, model="paced", vocab_size=32000)
        with pytest.raises(InputError, match=r"stage s: worker [01] fell silent"):
            run_stage(stage, target, tmp_path / "ours", remote_workers=1, bind=Address(port=port), on_progress=kill)
        assert lent.wait(10) == -signal.SIGKILL


def test_a_worker_ends_on_ctrl_c_and_leaves_nothing(tmp_path: Path) -> None:
    """While it waits for a master that is not there: SIGINT ends it with status 130 and its Locust process too."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = lend(free_port(), tmp_path / "one")
    finally:
        signal.signal(signal.SIGINT, inherited)
    deadline = time.monotonic() + 30
    while not (left := locusts(tmp_path)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert not [pid for pid in left if Path("/proc", str(pid)).exists() and pid in locusts(tmp_path)]


def locusts(folder: Path) -> list[int]:
    """Locust processes whose errand lies in `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"SPILLWAY_ERRAND={folder}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def order(folder: Path, key_env: str | None = None) -> Order:
    stage = Stage(name="s", mode="closed", shape=Fixed(input_tokens=9, output_tokens=9), seed=1, load=2)
    target = Target(url="http://192.0.2.1:80", model="m", vocab_size=9, key_env=key_env)
    return Order(stage=stage, target=target, nonce=1, kernel_stamps=True, workers=2, folder=folder, remote_workers=1)


def test_the_quickest_answer_sets_the_clock(tmp_path: Path) -> None:
    """A master three seconds ahead: the offset is right to half of the answer's time, and the slow answers are not
    believed."""
    asked: list[int] = []
    errand = Errand(lambda _, data: asked.append(int(str(data["asked_ns"]))), tmp_path, None)
    ahead_ns = 3_000_000_000
    errand._question()  # what `ask` does before it waits
    for number in range(5):
        time.sleep(0.05 if number != 2 else 0.002)
        errand.hear(
            {"asked_ns": asked[-1], "clock_ns": time.time_ns() + ahead_ns, "order": order(tmp_path).model_dump_json()}
        )
    assert len(asked) == 5
    assert abs(errand.offset_ns - ahead_ns) <= errand.error_ns < 10_000_000
    assert errand.order is not None
    assert errand.order.folder == tmp_path


def test_a_master_gets_no_key_but_the_one_that_was_lent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An order that names another variable of the worker's environment ends the worker, with the way on."""
    monkeypatch.setattr(os, "_exit", sys.exit)  # else it would end the test too
    errand = Errand(lambda _, __: None, tmp_path, "MY_KEY")
    errand._asked = 5
    told = {"asked_ns": time.time_ns(), "clock_ns": time.time_ns()}
    with pytest.raises(SystemExit, match="1"):
        errand.hear(told | {"order": order(tmp_path, "OTHER_SECRET").model_dump_json()})
    assert not errand.known.is_set()
    assert capsys.readouterr().out == (
        "the master asks for the key in OTHER_SECRET: start this worker with --key-env OTHER_SECRET\n"
    )
    errand.hear(told | {"order": order(tmp_path, "MY_KEY").model_dump_json()})
    assert errand.known.is_set()


@pytest.mark.parametrize("name", ["../evil", "order.json", "spill-2.parquet", "progress-0.bin/../x"])
def test_a_worker_writes_its_own_files_only(tmp_path: Path, name: str) -> None:
    """Names that are not a worker's are refused."""
    with pytest.raises(ValueError, match="no file of a worker"):
        take_piece(order(tmp_path), name, b"x", last=True)
    assert not list(tmp_path.iterdir())


def test_a_spill_file_appears_whole(tmp_path: Path) -> None:
    """Pieces are kept aside until the last one has come; progress grows as it comes."""
    take_piece(order(tmp_path), "spill-1.parquet", b"one", last=False)
    take_piece(order(tmp_path), "progress-1.bin", b"row", last=False)
    assert [path.name for path in tmp_path.glob("[a-z]*")] == ["progress-1.bin"]
    take_piece(order(tmp_path), "spill-1.parquet", b"two", last=True)
    assert (tmp_path / "spill-1.parquet").read_bytes() == b"onetwo"
