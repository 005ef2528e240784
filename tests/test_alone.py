"""Two at once in one place: the second is refused with nothing touched, and the place is free when the first ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.alone import alone
from bench.run import checked_driver, served
from bench.sweep import Events
from hardware_profiles.faults import InputError
from tests.test_gpu import Nvml, plan


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    """Made where it is not there; free again after the block, however it ended."""
    folder = tmp_path / "mine"
    told = f"{folder}: another `bench` is at work here. Remedy: wait."
    with (
        pytest.raises(InputError, check=lambda error: str(error) == told),
        alone(folder, "not told"),
        alone(folder, "wait"),
    ):
        pass
    with alone(folder, "not told"):
        assert not list(folder.iterdir())


def test_whoever_is_killed_holds_nothing(tmp_path: Path) -> None:
    """SIGKILL of the holder: the kernel lets go."""
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom bench.alone import alone\n"
        "with alone(Path(sys.argv[1]), ''):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError), alone(tmp_path, "wait"):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with alone(tmp_path, "wait"):
            pass


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (
            ("run", "--model", "m", "--gpu", "cpu", "--endpoint", "http://127.0.0.1:9", "--raw", "mine", "--fresh"),
            "wait until it has ended, or name another folder: --raw",
        ),
        (("resume", "mine"), "wait until it has ended"),
        (("selfcheck",), "two would load each other's client: wait until it has ended"),
    ],
)
def test_a_second_bench_is_refused(tmp_path: Path, arguments: tuple[str, ...], remedy: str) -> None:
    """A run that has not written its first file yet, one that is gone on with, and a self-check."""
    held = tmp_path / ("state/spillway" if "selfcheck" in arguments else "mine")
    held.mkdir(parents=True)
    (held / "server.log").write_text("the first one's")
    if "resume" in arguments:
        (held / "run.json").write_text(RUN)
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state")}
    command = [sys.executable, "-m", "bench.cli", *arguments]
    with alone(held, "not told"):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        f"error: {held}: another `bench` is at work here. Remedy: {remedy}.\n",
    )
    assert (held / "server.log").read_text() == "the first one's"


RUN = """{"started_at": "2026-11-28", "found": {"gpu": {"name": "cpu", "count": 1}, "engine": "vllm",
"engine_version": "1"}, "plan": {"model": "m", "gpu": "cpu", "target": {"url": "http://127.0.0.1:9", "model": "m"}}}"""


def test_no_two_servers_start_on_one_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would take the other's processes for its own; and whoever computes there already is told of."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(name="NVIDIA H200"))
    here, said = plan("h200"), []
    driver, _ = checked_driver(here)
    events = Events(told=said.append)
    gpu = tmp_path / "state" / "spillway" / "gpus" / "GPU-a"
    told = f"{gpu}: another `bench` is at work here. Remedy: wait until its server is ready, or take another."
    with (
        pytest.raises(InputError, check=lambda error: str(error) == told),
        alone(gpu, "not told"),
        served(here, tmp_path / "run", driver, events),
    ):
        pass
    assert not said
    without = here.model_copy(
        update={"server": here.server and here.server.model_copy(update={"python": "/no/python"})}
    )
    with pytest.raises(InputError, match="cannot be run"), served(without, tmp_path / "run", driver, events):
        pass
    assert said == [
        "2 processes of others are on the GPU before the server starts: while they compute, points fail gpu_shared"
    ]
    with alone(gpu, "it was let go"):
        pass
