"""Whole runs that end badly: deaths and SIGKILL lose nothing, sweeps resume, failures mark their point."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from bench.build import curve_of
from bench.paced import Law, paced
from tests.test_build import Place, check


def test_a_server_killed_in_mid_run_marks_the_point_and_resumes(tmp_path: Path) -> None:
    """The run ends with a clear error, the first level is safe, the second one is marked; `bench resume` mends it."""
    place = Place(tmp_path)
    bench = place.start(*place.arguments, "--stage-seconds", "4")
    (first,) = place.wait_for("shape-0-100x20-load-1.json", bench)
    place.wait_for(".shape-0-100x20-load-2/progress-0.bin", bench)
    time.sleep(2)
    (server,) = (pid for pid in place.processes() if b"vllm" in _command(pid) and b"guard" not in _command(pid))
    os.kill(server, signal.SIGKILL)
    out, err = bench.communicate(timeout=60)
    assert bench.returncode == 1
    assert err.startswith(
        f"error: {place.raw}/server.log: vLLM ended (killed by SIGKILL) while it was being measured; its log ends:"
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
    bench = place.start(*place.arguments, "--stage-seconds", "4")
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


@pytest.mark.parametrize(
    ("kind", "status", "ending"),
    [
        ("500", "http_500", "levels of shape 0 end: 100% of the requests failed at load 1"),
        ("429:0.3", "http_429", "levels of shape 0 end: the limit of 1 is reached"),
    ],
)
def test_failures_are_counted_and_mark_the_point(tmp_path: Path, kind: str, status: str, ending: str) -> None:
    """An endpoint that fails, always or now and then: every failure is counted by its kind, the point is not usable."""
    place = Place(tmp_path)
    with paced(Law(ttft_s=0.01, tpot_s=0.002)) as url:
        code, out, err = place.run(
            *("run", "--model", f"fault:{kind}", "--gpu", "h100", "--endpoint", url, "--vocab-size", "1000"),
            *("--raw", str(place.raw), "--out", str(place.folder / "curves"), "--shape", "=100/20", "--max-load", "1"),
            *("--stage-seconds", "3", "--warm-up-seconds", "0.5", "--width", "0", "--no-rate-search"),
        )
    assert code == 0, err
    assert ending in out
    (point,) = place.curve().points
    assert set(point.errors) == {status}
    assert point.failed == point.errors[status] > 0
    assert check(point, "errors") == "fail"
    assert point.usable is False
