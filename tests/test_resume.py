"""Whole runs that end badly: deaths and SIGKILL lose nothing, sweeps resume, failures mark their point."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from bench.build import curve_of
from bench.driver import load_run
from bench.paced import Law, paced
from tests.test_build import Place, check


def test_a_server_killed_in_mid_run_marks_the_point_and_resumes(tmp_path: Path) -> None:
    """The run ends with a clear error, the first level is safe, the second one is marked; `bench resume` mends it."""
    place = Place(tmp_path)
    bench = place.start(*place.arguments, "--stage-seconds", "3")
    (first,) = place.wait_for("shape-0-100x20-load-1.json", bench)
    place.wait_for(".shape-0-100x20-load-2/progress-0.bin", bench)
    time.sleep(1)
    (server,) = (pid for pid in place.processes() if b"vllm" in _command(pid) and b"guard" not in _command(pid))
    os.kill(server, signal.SIGKILL)
    out, err = bench.communicate(timeout=60)
    assert bench.returncode == 1
    assert err.startswith(
        f"error: {place.raw}/server.log: vLLM ended (killed by SIGKILL) while it was being measured. Remedy: "
    )
    assert f"finished stages are safe: `bench resume {place.raw}` goes on" in err
    assert "Traceback" not in out + err
    assert place.none_left()

    kept = place.digests("*load-1*")
    marked = curve_of(place.raw)
    assert [check(point, "server_alive") for point in marked.points] == ["pass", "fail"]
    assert [point.usable for point in marked.points][1] is False

    status, _, err = place.resume()
    assert status == 0, err
    assert place.digests("*load-1*") == kept
    assert first.exists()
    assert [check(point, "server_alive") for point in place.curve().points] == ["pass", "pass"]


def test_bench_killed_in_mid_run_leaves_nothing_and_resumes(tmp_path: Path) -> None:
    """SIGKILL of bench: no process is left within 10 s; resuming runs only the interrupted level again."""
    place = Place(tmp_path)
    bench = place.start(*place.arguments, "--stage-seconds", "3")
    place.wait_for("shape-0-100x20-load-1.json", bench)
    place.wait_for(".shape-0-100x20-load-2/progress-0.bin", bench)
    bench.send_signal(signal.SIGKILL)
    bench.communicate(timeout=10)
    assert place.none_left()
    kept = place.digests("shape-*")
    assert set(kept) == {"shape-0-100x20-load-1.json", "shape-0-100x20-load-1.parquet"}
    status, out, err = place.resume()
    assert status == 0, err
    assert out.count("was done") == 1
    assert place.digests("*load-1*") == kept
    assert [point.load for point in place.curve().points] == [1, 2]


def test_ctrl_c_ends_everything_and_names_the_way_on(tmp_path: Path) -> None:
    """SIGINT in mid-stage: status 130, no traceback, no process left, what is finished is safe."""
    place = Place(tmp_path)
    # a shell starts background jobs with SIGINT ignored, which children inherit: here it must not be
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        bench = place.start(*place.arguments, "--stage-seconds", "9")
    finally:
        signal.signal(signal.SIGINT, inherited)
    place.wait_for(".shape-0-100x20-load-1/progress-0.bin", bench)
    time.sleep(1)
    bench.send_signal(signal.SIGINT)
    out, err = bench.communicate(timeout=30)
    assert bench.returncode == 130, err
    assert f"interrupted; finished stages are safe: bench resume {place.raw}" in out
    assert err == ""
    assert place.none_left()
    assert not (place.folder / "curves").exists()


def _command(pid: int) -> bytes:
    return Path("/proc", str(pid), "cmdline").read_bytes()


ALL, SOME = (
    "levels of shape 0 end: 100% of the requests failed at load 1",
    "levels of shape 0 end: the limit of 1 is reached",
)
FAILURES = {
    "401": ("http_401", ALL),
    "404": ("http_404", ALL),
    "500": ("http_500", ALL),
    "truncate": ("truncated", ALL),
    "garbage": ("garbage", ALL),
    "badjson": ("garbage", ALL),
    "badtype": ("garbage", ALL),
    "429:0.3": ("http_429", SOME),
    "truncate:0.3": ("truncated", SOME),
}
"""What the paced server does -> the status of its records, and why the levels end. Silence: test_silence.py."""


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Place, int, str, str]]:
    """A run against each of them, side by side: what it left, its exit status and what it said."""
    places = {kind: Place(tmp_path_factory.mktemp("failing")) for kind in FAILURES}
    law = Law(ttft_s=0.01, tpot_s=0.002)
    with paced(law) as url, paced(law) as one, paced(law) as other:
        alone = {"429:0.3": one, "truncate:0.3": other}  # a server counts on whichever run asks, and shares go by that
        runs = {
            kind: place.start(
                *("run", "--model", f"fault:{kind}", "--gpu", "h100", "--endpoint", alone.get(kind, url)),
                *("--vocab-size", "1000"),
                *("--raw", str(place.raw), "--out", str(place.folder / "curves"), "--shape", "=100/20"),
                *("--max-load", "1", "--stage-seconds", "3", "--warm-up-seconds", "0.5", "--width", "0"),
                "--no-rate-search",
            )
            for kind, place in places.items()
        }
        return {kind: (places[kind], run.wait(100), *run.communicate()) for kind, run in runs.items()}


@pytest.mark.parametrize("kind", FAILURES)
def test_failures_are_counted_and_mark_the_point(failing: dict[str, tuple[Place, int, str, str]], kind: str) -> None:
    """An endpoint that fails, always or now and then: every failure is counted by its kind, the point is not usable,
    and the stage takes no longer than it would."""
    place, code, out, err = failing[kind]
    status, ending = FAILURES[kind]
    assert code == 0, err
    assert ending in out
    (point,) = place.curve().points
    assert set(point.errors) == {status}
    assert point.failed == point.errors[status] > 0
    assert check(point, "errors") == "fail"
    assert point.usable is False
    (records,) = place.raw.glob("*.parquet")
    assert load_run(records).load_s < 5
    assert place.none_left()
