"""Whole runs through the command line: records become a curve that is the server's law.

The server is a stand-in package named `vllm` around our paced server, whose latency law is known; a real vLLM does the
same in test_real_vllm.py, and test_resume.py tells of runs that end badly.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from bench.bottleneck import CLIENT_CHECKS
from bench.build import CEILING_FILE, curve_of, finished
from bench.driver import load_run
from bench.paced import Law, paced
from bench.plan import machine_id, read_run
from bench.run import keep_ceiling, state_folder
from bench.selfcheck import ERROR_S, Ceiling, Kind
from bench.watch import read_watch, write_watch
from hardware_profiles.curve import Curve, Estimate, Point, read_curve, write_text
from hardware_profiles.faults import InputError
from tests.locusts import locusts
from tests.test_judge import CEILING

LAW = Law(ttft_s=0.02, ttft_per_token_s=0.0001, tpot_s=0.004, tpot_per_running_s=0.001)
SERVER = f"""
import runpy, sys
port = sys.argv[sys.argv.index("--port") + 1]
law = {[f"--{name.replace('_', '-')}={value}" for name, value in asdict(LAW).items()]}
sys.argv = ["bench.paced", "--port", port, "--per-request-metrics", *law]
runpy.run_module("bench.paced", run_name="__main__", alter_sys=True)
"""


class Place:
    """A folder with a model, a stand-in vLLM, and a run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.raw = folder, folder / "raw"
        package = folder / "site" / "vllm" / "entrypoints" / "openai"
        package.mkdir(parents=True)
        (package / "api_server.py").write_text(SERVER)
        (folder / "paced").mkdir()
        (folder / "paced" / "config.json").write_text('{"vocab_size": 1000}')
        self.arguments = [
            *("run", "--model", str(folder / "paced"), "--gpu", "cpu", "--server-python", sys.executable),
            *("--server-env", f"PYTHONPATH={folder / 'site'}", "--raw", str(self.raw), "--out", str(folder / "curves")),
            *("--shape", "=100/20", "--max-load", "2", "--warm-up-seconds", "0.5", "--width", "0"),
            *("--no-rate-search", "--ttft", "9", "--tpot", "9"),
        ]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        environment = os.environ | {"XDG_STATE_HOME": str(self.folder / "state")}
        command = [sys.executable, "-m", "bench.cli", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, text=True, env=environment, start_new_session=True, **pipes)  # type: ignore[call-overload,no-any-return]

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def resume(self) -> tuple[int, str, str]:
        return self.run("resume", str(self.raw), "--out", str(self.folder / "curves"))

    def wait_for(self, what: str, process: subprocess.Popen[str], within_s: float = 60) -> list[Path]:
        deadline = time.monotonic() + within_s
        while not (found := list(self.raw.glob(what))):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, f"no {what}"
            time.sleep(0.05)
        return found

    def processes(self) -> list[int]:
        """Everything that was started here: server, guard, Locust, bench."""
        mine = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and str(self.folder).encode() in (entry / "cmdline").read_bytes():
                    mine.append(int(entry.name))
            except OSError:
                continue
        return mine

    def none_left(self, within_s: float = 10) -> bool:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if not self.processes():
                return True
            time.sleep(0.1)
        return False

    def digests(self, what: str = "shape-*") -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.raw.glob(what)}

    def curve(self) -> Curve:
        (path,) = (self.folder / "curves").glob("*.json")
        return read_curve(path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A finished run of two levels of two shapes, lengths all alike and lengths spread."""
    place = Place(tmp_path_factory.mktemp("done"))
    more = ("--shape", "600/10", "--load", "1", "--load", "4")
    status, out, err = place.run(*place.arguments, *more, "--stage-seconds", "2.5")
    assert status == 0, err
    assert "levels of shape 0 end: the loads asked for were measured" in out
    assert place.none_left()
    return place


def check(point: Point, name: str) -> str:
    (found,) = (check for check in point.checks if check.name == name)
    return found.verdict


def against_the_law(point: Point) -> dict[str, tuple[Estimate, float, float]]:
    """(what the curve says, what the law says, by how much the client may err) of each number that the law gives."""
    assert point.load is not None
    output = point.shape.output_tokens
    ttft_s = LAW.ttft_s + LAW.ttft_per_token_s * point.shape.input_tokens
    tpot_s = LAW.tpot_s + LAW.tpot_per_running_s * point.load
    e2e_s = ttft_s + tpot_s * (output - 1)
    per_s = point.load * output / e2e_s
    return {
        "TTFT": (point.ttft_s["p50"], ttft_s, ERROR_S),
        "TPOT": (point.tpot_s["p50"], tpot_s, 2 * ERROR_S / (output - 1)),
        "tokens/s": (point.output_rate, per_s, per_s * ERROR_S / e2e_s),
    }


def test_the_curve_is_the_law(done: Place) -> None:
    """At two loads and two shapes, TTFT, TPOT and tokens per second are those of the server's law within the curve's
    own intervals, widened by what a checked client may err by. They are 95 % intervals: of these twelve, three or more
    miss in one run of fifty; those that miss are within 5 %, by which a server that shares its cores may be late."""
    curve = done.curve()
    assert [(point.load, point.shape.input_tokens > 300) for point in curve.points] == [
        *((1, False), (4, False), (1, True), (4, True))
    ]
    missed = []
    for point in curve.points:
        for name, (told, law, error) in against_the_law(point).items():
            assert told.low is not None
            assert told.high is not None
            if not told.low - error <= law <= told.high + error:
                missed.append((point.load, point.shape.input_tokens, name, told, law))
                assert told.value == pytest.approx(law, rel=0.05, abs=error), missed
        assert (point.completed or 0) > 5
        assert point.failed == 0
        assert point.ended is not None
        assert (point.ended.why, point.ended.unsettled) == ("cap", False), "no width was asked for"
    assert len(missed) <= 2, missed


def test_both_sides_agree(done: Place) -> None:
    """Tokens equal the server's counters exactly, its latencies are the client's, the cache is cold."""
    for point in done.curve().points:
        for name in ("tokens", "server_latency", "prefix_hits", "in_flight", "errors", "drained", "server_alive"):
            assert check(point, name) == "pass", point.checks
        assert check(point, "gpu_throttled") == "unknown"
        assert check(point, "client_ceiling") == "unknown"


def test_conditions_tell_how_and_hide_where(done: Place) -> None:
    """Arguments, weights, seed, digests stand there; the machine's paths and name do not."""
    curve = done.curve()
    text = curve.model_dump_json()
    conditions = curve.conditions
    assert (curve.kind, curve.model, curve.gpu.name) == ("measured", "paced", "cpu")
    assert conditions.server_args[:2] == ("--model", "paced")
    assert (conditions.client["stamps"], conditions.client["workers"]) == ("kernel", 1)
    assert conditions.start_up_s is not None
    assert conditions.host_memory_gib is not None
    assert conditions.raw_sha256 is not None
    assert str(done.folder) not in text
    assert os.uname().nodename not in text


def test_the_curve_is_computed_again_from_its_records(done: Place, tmp_path: Path) -> None:
    """`bench recompute` gives the same bytes, without any server."""
    status, _, err = done.run("recompute", str(done.raw), "--out", str(tmp_path))
    assert status == 0, err
    (again,) = tmp_path.iterdir()
    (first,) = (done.folder / "curves").iterdir()
    assert again.read_bytes() == first.read_bytes()


def test_changed_records_are_refused(done: Place, tmp_path: Path) -> None:
    """A curve rests on the records that were measured: one byte more in them is a fault."""
    for path in done.raw.glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert len(finished(tmp_path)) == 4
    records = tmp_path / "shape-0-100x20-load-4.parquet"
    records.write_bytes(records.read_bytes() + b"\0")
    with pytest.raises(InputError) as caught:
        curve_of(tmp_path)
    assert str(caught.value) == (f"{records}: the raw records were changed or removed. Remedy: run the stage again.")


def changed_copy(done: Place, folder: Path, **plan: object) -> Path:
    """The run's folder again, planned otherwise."""
    for path in done.raw.glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"plan": run["plan"] | plan}))
    return folder


def test_random_weights_have_no_start_up_time(done: Place, tmp_path: Path) -> None:
    """They are not loaded, so how long it took is not what the real ones take: unknown, and said."""
    assert done.curve().conditions.start_up_s is not None
    conditions = curve_of(changed_copy(done, tmp_path, weights="dummy")).conditions
    assert conditions.start_up_s is None
    assert any(note.startswith("random weights: start-up time") for note in conditions.notes)


def test_an_endpoint_that_began_anew_between_stages_is_told(done: Place, tmp_path: Path) -> None:
    """Its counters fell from one stage to the next; a server of ours that was resumed may, and says nothing."""
    folder = changed_copy(done, tmp_path, server=None, weights=None)
    told = "the endpoint began anew between stages (1 times seen): it may have changed meanwhile"
    assert told not in curve_of(folder).conditions.notes
    for name in ("shape-1-600x10-load-1", "shape-1-600x10-load-4"):  # measured last
        watch = read_watch(folder / f"{name}.json")
        assert watch.before is not None
        assert watch.after is not None
        pages = {"before": watch.before, "after": watch.after}
        anew = {when: page.model_copy(update={"requests": (page.requests or 0) - 9.0}) for when, page in pages.items()}
        write_watch(watch.model_copy(update=anew), folder)
    assert told in curve_of(folder).conditions.notes


def test_a_finished_run_resumes_to_the_same_bytes(done: Place) -> None:
    """Nothing is measured again; the server is started and ended, the curve stays."""
    before, curve = done.digests(), done.curve()
    status, out, err = done.resume()
    assert status == 0, err
    assert out.count("was done") == 4
    assert done.digests() == before
    assert done.curve() == curve


def test_unlike_conditions_refuse_to_mix(done: Place) -> None:
    """A run begun under another engine version is not gone on with; its folder stays as it was."""
    path = done.raw / "run.json"
    text = path.read_text()
    path.write_text(text.replace('"engine": "vllm"', '"engine": "other"'))
    changed = done.digests("*")
    status, _, err = done.resume()
    now = done.digests("*")
    path.write_text(text)
    assert status == 1
    assert err == (
        f"error: {path}: the conditions are not those it began under: engine differ. "
        "Remedy: start a new run with `bench run`.\n"
    )
    assert {name: digest for name, digest in now.items() if name != "server.log"} == {
        name: digest for name, digest in changed.items() if name != "server.log"
    }


def test_other_loads_are_measured_and_marked(tmp_path: Path) -> None:
    """A stated rate with bursty arrivals and a replayed trace, one run: each is a point, none is planned with."""
    place = Place(tmp_path)
    rows = "".join(f"{k / 20},{50 + k},{5 + k % 3}\n" for k in range(40))
    (tmp_path / "t.csv").write_text("time_s,input_tokens,output_tokens\n" + rows)
    with paced(Law(ttft_s=0.01, tpot_s=0.002)) as url:
        code, out, err = place.run(
            *("run", "--model", "paced", "--gpu", "h100", "--endpoint", url, "--vocab-size", "1000", "--max-load", "1"),
            *("--raw", str(place.raw), "--out", str(place.folder / "curves"), "--stage-seconds", "2", "--width", "0"),
            *("--shape", "=100/20", "--rate", "25", "--arrivals", "gamma:2", "--shape", f"trace:{tmp_path / 't.csv'}"),
            *("--warm-up-seconds", "0.5", "--rate-requests", "30"),
        )
    assert code == 0, err
    assert "rates of shape 0 end: those asked for were measured" in out
    assert "trace of shape 1 end: it was replayed once" in out
    level, rate, trace = sorted(place.curve().points, key=lambda point: (point.mode, point.shape.output_tokens < 20))
    assert (level.load, check(level, "load_law")) == (1, "pass")
    # a client that was kept from its core may say so; nothing else is wrong with the level
    assert {found.name for found in level.checks if found.verdict == "fail"} <= CLIENT_CHECKS
    assert rate.usable is trace.usable is False
    assert (rate.offered_rate_per_s, check(rate, "load_law")) == (25.0, "fail")
    # nobody waits at this rate: every percentile is the law's, but for how late the client sent, which the point says
    (lag,) = (found.value for found in rate.checks if found.name == "client_lag")
    assert lag is not None
    for told in (rate.ttft_s["p50"], rate.ttft_s["p90"]):
        assert told.low is not None
        assert told.low - lag - ERROR_S <= 0.01 <= (told.high or told.value) + ERROR_S
    assert trace.offered_rate_per_s == pytest.approx(20, rel=0.15)
    assert check(trace, "load_law") == "fail"
    assert trace.completed is not None
    assert trace.completed >= 25


def test_two_client_processes_make_one_curve(tmp_path: Path) -> None:
    """`--workers 2`: the load is held by both, the curve says so, and the processes that keep them together listen on
    loopback only."""
    place = Place(tmp_path)
    with paced(Law(ttft_s=0.03, tpot_s=0.004)) as url:
        bench = place.start(
            *("run", "--model", "paced", "--gpu", "h100", "--endpoint", url, "--vocab-size", "1000", "--workers", "2"),
            *("--raw", str(place.raw), "--out", str(place.folder / "curves"), "--stage-seconds", "3", "--width", "0"),
            *("--shape", "=100/20", "--load", "3", "--warm-up-seconds", "0.5", "--no-rate-search"),
        )
        place.wait_for(".shape-0-100x20-load-3/progress-1.bin", bench)
        ours = locusts(place.raw)
        heard = [one.laddr.ip for process in ours for one in process.net_connections() if one.status == "LISTEN"]
        _, err = bench.communicate(timeout=60)
    assert bench.returncode == 0, err
    assert (len(ours), set(heard)) == (3, {"127.0.0.1"})
    (point,) = place.curve().points
    assert (point.load, point.failed, place.curve().conditions.client["workers"]) == (3, 0, 2)
    assert point.tpot_s["p50"].value == pytest.approx(0.004, abs=0.0005)
    assert {found.name for found in point.checks if found.verdict == "fail"} <= CLIENT_CHECKS
    records = load_run(place.raw / "shape-0-100x20-load-3.parquet").records
    assert set(records.worker.tolist()) == {0, 1}


def test_conversations_are_measured(tmp_path: Path) -> None:
    """Two to four turns: most of each prompt is what was said before, and the server found it in its cache."""
    place = Place(tmp_path)
    with paced(Law(ttft_s=0.01, tpot_s=0.002), "--prefix-cache") as url:
        code, out, err = place.run(
            *("run", "--model", "paced", "--gpu", "h100", "--endpoint", url, "--vocab-size", "1000", "--max-load", "1"),
            *("--raw", str(place.raw), "--out", str(place.folder / "curves"), "--stage-seconds", "3", "--width", "0"),
            *("--shape", "=100/20", "--turns", "2-4", "--warm-up-seconds", "0.5"),
        )
    assert code == 0, err
    assert "rates of" not in out
    (point,) = place.curve().points
    assert point.shape.input_tokens > 150
    assert point.shape.cached_tokens > 0.3 * point.shape.input_tokens
    assert check(point, "prefix_hits") == "pass"
    assert place.curve().conditions.client["turns"] == "2-4"


def test_a_resumed_run_takes_a_ceiling_that_was_found_meanwhile(
    done: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`bench run`, `bench selfcheck --cpu`, `bench resume`: its points are judged by it; one that it had stays."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    plan, held = read_run(done.raw).plan, CEILING.model_copy(update={"measured_at": "2026-11-28"})
    folder = tmp_path / "run"
    folder.mkdir()
    keep_ceiling(plan, folder)
    assert not list(folder.iterdir())
    here = Kind(machine_id(state_folder()), 1, pinned=len(os.sched_getaffinity(0)) > 1)
    for ceiling in (held, CEILING):
        write_text(here.file(state_folder()), ceiling.model_dump_json())
        keep_ceiling(plan, folder)
        assert Ceiling.model_validate_json((folder / CEILING_FILE).read_bytes()) == held
    keep_ceiling(plan.model_copy(update={"client_cpus": (), "workers": 2}), tmp_path)
    assert not (tmp_path / CEILING_FILE).exists(), "of another kind of client"
