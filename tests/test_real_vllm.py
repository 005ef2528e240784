"""The same measuring path against a real vLLM (CPU build); `make bench-demo` installs it and runs these tests.

`SPILLWAY_VLLM_PYTHON` names its Python and `SPILLWAY_BENCH_DEMO` the folder of the run that `make bench-demo` has just
made. Without them everything here is skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bench.build import curve_of, finished
from bench.driver import Target, load_run, run_stage
from bench.guard import descendants
from bench.plan import read_run
from bench.prompts import Fixed
from bench.records import Records
from bench.schedule import Stage
from bench.scrape import KEPT, Snapshot, cache_block_tokens, fetch, samples, settled_snapshot
from bench.server import Server, ServerSpec, serving
from bench.startup import read_start_up
from bench.stats import tpot_s
from bench.tiny_model import BYTES, write_tiny_model
from hardware_profiles.curve import Curve, read_curve

PYTHON = os.environ.get("SPILLWAY_VLLM_PYTHON", "")
DEMO = Path(os.environ.get("SPILLWAY_BENCH_DEMO", "/nonexistent"))
CORES = sorted(os.sched_getaffinity(0))
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not PYTHON, reason="needs the environment that `make bench-demo` installs (a real vLLM on CPU)"),
]
demo = pytest.mark.skipif(not (DEMO / "run.json").is_file(), reason="needs the run that `make bench-demo` makes")


def vllm_processes() -> list[int]:
    """Every process of the vLLM environment, its renamed engine processes too."""
    home = str(Path(PYTHON).parent.parent)
    found = []
    for entry in Path("/proc").iterdir():
        try:
            maps = entry.name.isdigit() and (entry / "maps").read_text()
        except OSError:
            continue
        if maps and home in maps:
            found.append(int(entry.name))
    return found


def none_left(within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not vllm_processes():
            return True
        time.sleep(0.2)
    return False


def tokens_agree(records: Records, before: Snapshot | None, after: Snapshot | None, primed: tuple[int, int]) -> bool:
    """Token for token: what `usage` said, and what the server's counters moved by."""
    assert before is not None
    assert after is not None
    ours = int(records.input_tokens.sum()) + primed[1], int(records.output_tokens.sum()) + primed[0]
    pairs = ((after.input_tokens, before.input_tokens), (after.output_tokens, before.output_tokens))
    return ours == tuple(new - old for new, old in pairs if new is not None and old is not None)


def all_tokens_agree(folder: Path) -> bool:
    """Over every finished stage of a run."""
    agree = []
    for watch in finished(folder):
        done = load_run(folder / f"{watch.stage}.parquet")
        primed = int(done.client["primed_requests"] or 0), int(done.client["primed_input_tokens"] or 0)
        assert done.records.ok.all()
        agree.append(tokens_agree(done.records, watch.before, watch.after, primed))
    return bool(agree) and all(agree)


def bench(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bench.cli", *arguments]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def run(*arguments: str) -> str:
    process = bench(*arguments)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out


def verdicts(curve: Curve, name: str) -> set[str]:
    return {check.verdict for point in curve.points for check in point.checks if check.name == name}


# the run of `make bench-demo` ---------------------------------------------------------------------------------------


@demo
def test_the_demo_has_a_curve_of_at_least_four_loads() -> None:
    """Measured on this machine's processor, with random weights, and it says so."""
    (path,) = (DEMO / "curves").glob("*.json")
    curve = read_curve(path)
    assert (curve.kind, curve.model, curve.gpu.name, curve.conditions.weights) == ("measured", "tiny", "cpu", "dummy")
    assert curve.conditions.engine_version is not None
    loads = [point.load for point in curve.points if point.shape == curve.points[0].shape]
    assert loads[:4] == [1, 2, 4, 8]
    assert all(point.throughput_per_s > 0 and point.sample for point in curve.points)


@demo
def test_the_demos_tokens_are_the_servers_exactly() -> None:
    """Input and output tokens of every stage equal the difference of vLLM's counters."""
    assert all_tokens_agree(DEMO)
    assert verdicts(curve_of(DEMO), "tokens") == {"pass"}


@demo
def test_the_demo_was_cold_and_lost_nothing() -> None:
    """No prompt was found in the cache, no request failed, nothing was left on the server."""
    curve = curve_of(DEMO)
    assert {point.prefix_hit_rate for point in curve.points} == {0.0}
    for name in ("prefix_hits", "errors", "drained", "server_alive", "in_flight"):
        assert verdicts(curve, name) == {"pass"}, name


@demo
def test_the_demos_client_was_measured_first() -> None:
    """The quick self-check has told what this machine's client can do, so every point was held against it."""
    assert "unknown" not in verdicts(curve_of(DEMO), "client_ceiling")


@demo
def test_the_demo_left_no_process() -> None:
    """Neither vLLM nor its engine is there after the run."""
    assert none_left(1)


# deaths (before the server of the other runs, which would be taken for a process left behind) ------------------------


def test_a_killed_server_and_a_killed_bench_lose_nothing(tmp_path: Path) -> None:
    """The server is killed in the second level: a clear error and a marked point. Resumed, bench itself is killed in
    mid-run: nothing is left within 10 s. Resumed again it finishes, and the first level is byte for byte the same."""
    raw = tmp_path / "raw"
    ours = ("--raw", str(raw), "--out", str(tmp_path / "curves"))
    what = ("--shape", "=64/32", "--max-load", "4", "--no-rate-search", "--width", "0")
    first = bench("run", "--model", "tiny", "--gpu", "cpu", "--server-python", PYTHON, *ours, *what, *SHORT)
    wait_for(raw, "shape-0-64x32-load-1.json", first, 180)
    wait_for(raw, ".shape-0-64x32-load-2/progress-0.bin", first, 60)
    kept = digests(raw, "*load-1*")
    time.sleep(2)
    for pid in set(descendants(first.pid)) & set(vllm_processes()):
        os.kill(pid, signal.SIGKILL)
    _, err = first.communicate(timeout=120)
    assert first.returncode == 1
    assert "vLLM ended (killed by SIGKILL) while it was being measured" in err
    assert "\n  its log ends:\n" in err
    assert f"`bench resume {raw}` goes on" in err
    assert verdicts(curve_of(raw), "server_alive") == {"pass", "fail"}
    assert none_left()

    second = bench("resume", str(raw), *ours[2:])
    wait_for(raw, ".shape-0-64x32-load-4/progress-0.bin", second, 240)
    second.send_signal(signal.SIGKILL)
    second.communicate(timeout=30)
    assert none_left()

    run("resume", str(raw), *ours[2:])
    assert digests(raw, "*load-1*") == kept
    curve = curve_of(raw)
    assert [point.load for point in curve.points] == [1, 2, 4]
    assert verdicts(curve, "server_alive") == {"pass"}
    assert all_tokens_agree(raw)
    assert none_left()


def wait_for(raw: Path, what: str, process: subprocess.Popen[str], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not (raw / what).exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.05)


def digests(raw: Path, what: str) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in raw.glob(what)}


# one server for the runs below --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("vllm")
    write_tiny_model(folder / "tiny")
    cpus = tuple(CORES[:-1]) or tuple(CORES)
    spec = ServerSpec(
        python=PYTHON,
        model=str(folder / "tiny"),
        served_name="tiny",
        weights="dummy",
        args=("--dtype", "bfloat16", "--enforce-eager", "--max-model-len", "4096"),
        environment={"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cpus))},
        cpus=cpus,
    )
    with serving(spec, folder / "server.log") as started:
        yield started
    assert none_left()


def against(server: Server, raw: Path, *arguments: str) -> Curve:
    """A run against the server that is up."""
    endpoint = ("--endpoint", server.url, "--vocab-size", str(BYTES))
    run(
        "run", "--model", "tiny", "--gpu", "cpu", *endpoint, "--raw", str(raw), "--out", str(raw / "curves"), *arguments
    )
    return curve_of(raw)


SHORT = ("--stage-seconds", "8", "--warm-up-seconds", "2", "--ttft", "10", "--tpot", "1")


def test_the_page_has_every_number_we_read(server: Server) -> None:
    """Names of metrics change between versions of vLLM: all those we keep are on this one's page."""
    page = fetch(f"{server.url}/metrics")
    assert {name for name, _, _ in samples(page)} == KEPT
    assert cache_block_tokens(page) is not None


def test_a_server_is_weighed_and_timed(server: Server) -> None:
    """Memory of all its processes, and the time until it was healthy."""
    memory = server.host_memory_gib()
    assert memory is not None
    assert 0.5 < memory < 20
    assert server.start_up_s > 1
    assert len(server.processes()) >= 2


def test_the_log_tells_how_it_started(server: Server) -> None:
    """The words that `bench.startup` reads change between versions of vLLM: this one still says them."""
    found = read_start_up(server.log)
    assert (found.precision, found.quantization, found.gpus) == ("bf16", "None", 1)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_cache_is_as_warm_as_asked(server: Server, tmp_path: Path, share: float) -> None:
    """Prefix share 0 and 0.5, in whole blocks: the server's own hit counters agree, tokens are exact either way."""
    curve = against(
        server,
        tmp_path,
        "--shape",
        "=1024/128",
        "--cached-share",
        str(share),
        "--max-load",
        "2",
        "--no-rate-search",
        *SHORT,
    )
    assert verdicts(curve, "prefix_hits") == {"pass"}
    assert verdicts(curve, "server_latency") == {"pass"}  # the few requests that warmed the cache bend no mean
    block = read_run(tmp_path).found.block_tokens
    assert block is not None
    expected = 1024 * share // block * block / 1024
    for point in curve.points:
        assert point.prefix_hit_rate == pytest.approx(expected, abs=0.02)
        assert point.shape.cached_tokens == pytest.approx(1024 * expected, abs=1)
    assert all_tokens_agree(tmp_path)


def test_a_rate_search_on_a_real_server(server: Server, tmp_path: Path) -> None:
    """Open loop: Poisson arrivals at several rates, each judged; the sent rate is the one asked for."""
    curve = against(
        server, tmp_path, "--shape", "64/16", "--max-load", "4", "--rate-requests", "50", "--rate-stages", "3", *SHORT
    )
    rates = [point for point in curve.points if point.mode == "open"]
    assert len(rates) == 3
    assert all_tokens_agree(tmp_path)
    for watch in finished(tmp_path):
        done = load_run(tmp_path / f"{watch.stage}.parquet")
        if done.stage.rate_per_s is not None:
            expected = done.stage.rate_per_s * done.load_s
            assert len(done.records) == pytest.approx(expected, abs=4 * np.sqrt(expected) + 1)


# agreement with vLLM's own client ----------------------------------------------------------------------------------

VLLM_CLIENT = """
import json, sys
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
print("READY", flush=True)
for line in sys.stdin:
    main(parser.parse_args(json.loads(line)))
    print("READY", flush=True)
"""
"""`vllm bench serve`, once per line of arguments: importing vLLM takes longer than a run."""
INPUT, OUTPUT, LOAD, REQUESTS = 128, 64, 2, 40
PAIRS, MOST_PAIRS = 4, 10
NEAR = 0.10


@dataclass(frozen=True)
class Tpot:
    """One run's TPOT (s): as the client saw it, and the server's own mean over the same run."""

    median_s: float
    mean_s: float
    server_mean_s: float


def served(server: Server, client: Callable[[], tuple[float, float]]) -> Tpot:
    """A client's (median, mean), and what the server's own sums moved by meanwhile."""
    before = settled_snapshot(server.url)
    median_s, mean_s = client()
    after = settled_snapshot(server.url)
    assert after.tpot_sum_s is not None
    assert before.tpot_sum_s is not None
    count = (after.tpot_count or 0) - (before.tpot_count or 0)
    assert count >= REQUESTS
    return Tpot(median_s, mean_s, (after.tpot_sum_s - before.tpot_sum_s) / count)


def ours(server: Server, folder: Path, number: int) -> tuple[float, float]:
    """Closed loop at `LOAD` from the last core: the first requests of a stage, temperature 0."""
    stage = Stage(
        name=f"ours-{number}",
        mode="closed",
        shape=Fixed(input_tokens=INPUT, output_tokens=OUTPUT),
        seed=number,
        load=LOAD,
        cap_s=60,
        warm_up_s=0,
        stagger_s=0,
        min_requests=REQUESTS,
        width=10.0,
    )
    target = Target(url=server.url, model="tiny", vocab_size=BYTES, more_fields={"temperature": 0})
    before = settled_snapshot(server.url)
    done = run_stage(stage, target, folder, cpus=(CORES[-1],))
    assert done.records.ok.all()
    assert len(done.records) >= REQUESTS
    assert tokens_agree(done.records, before, settled_snapshot(server.url), (0, 0))
    values = tpot_s(done.records)
    return float(np.median(values)), float(np.mean(values))


class Theirs:
    """`vllm bench serve`: the same lengths, concurrency, temperature and number of requests, from the same core."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "theirs.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(CORES[-1]), PYTHON, "-c", VLLM_CLIENT],
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=os.environ | {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
            )
        self.wait()

    def __call__(self, server: Server, folder: Path, number: int) -> tuple[float, float]:
        """Median and mean TPOT (s) of one run."""
        told = {
            "backend": "openai",
            "base-url": server.url,
            "endpoint": "/v1/completions",
            "model": "tiny",
            "tokenizer": server.spec.model,
            "dataset-name": "random",
            "random-input-len": INPUT,
            "random-output-len": OUTPUT,
            "num-prompts": REQUESTS,
            "max-concurrency": LOAD,
            "temperature": 0,
            "seed": number,
            "result-dir": folder,
            "result-filename": f"theirs-{number}.json",
        }
        options = [part for name, value in told.items() for part in (f"--{name}", str(value))]
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([*options, "--ignore-eos", "--save-result", "--disable-tqdm"]) + "\n")
        self.process.stdin.flush()
        self.wait()
        result = json.loads((folder / f"theirs-{number}.json").read_bytes())
        assert result["completed"] == REQUESTS
        assert result["total_output_tokens"] == REQUESTS * OUTPUT
        return float(result["median_tpot_ms"]) / 1e3, float(result["mean_tpot_ms"]) / 1e3

    def wait(self) -> None:
        """Until it has nothing to do."""
        assert self.process.stdout is not None
        late = threading.Timer(300, self.process.kill)
        late.start()
        try:
            assert "READY\n" in self.process.stdout, self.log.read_text()[-2000:]
        finally:
            late.cancel()


def interval(logs: list[float]) -> tuple[float, float]:
    """95 % interval of the mean ratio from the logarithms of paired ratios: both one-sided t-tests at 2.5 % at once."""
    from scipy.special import stdtrit

    half = float(stdtrit(len(logs) - 1, 0.975)) * float(np.std(logs, ddof=1)) / len(logs) ** 0.5
    low, high = np.exp([np.mean(logs) - half, np.mean(logs) + half])
    return float(low), float(high)


@pytest.fixture(scope="module")
def pairs(
    server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[int], list[tuple[Tpot, Tpot]]]]:
    """(ours, theirs) of so many pairs of runs, in the order ours, theirs, theirs, ours, each pair run once."""
    folder, done = tmp_path_factory.mktemp("pairs"), list[tuple[Tpot, Tpot]]()
    theirs = Theirs(folder)

    def run(client: Callable[[Server, Path, int], tuple[float, float]]) -> Tpot:
        return served(server, lambda: client(server, folder, len(done)))

    def first(count: int) -> list[tuple[Tpot, Tpot]]:
        while len(done) < count:
            if len(done) % 2:
                other, mine = run(theirs), run(ours)
            else:
                mine, other = run(ours), run(theirs)
            print(f"pair {len(done)}: ours {mine}, vLLM's client {other}")
            done.append((mine, other))
        return done[:count]

    yield first
    theirs.process.kill()
    theirs.process.communicate()


def test_vllms_own_client_measures_the_same(pairs: Callable[[int], list[tuple[Tpot, Tpot]]]) -> None:
    """Mean TPOT over the server's own mean of the very same run: ours and theirs are equivalent within 10 % by two
    one-sided t-tests at 2.5 % (Schuirmann 1987) on the logarithms of paired ratios. What else runs on the machine makes
    the server slower in one run than in the next; both clients and the server itself see that, so it does not blur."""
    found = pairs(PAIRS)
    low, high = interval(
        [float(np.log(a.mean_s / a.server_mean_s) - np.log(b.mean_s / b.server_mean_s)) for a, b in found]
    )
    print(f"means over the server's own, ours / theirs: {low:.4f} to {high:.4f}")
    assert 1 / (1 + NEAR) < low <= high < 1 + NEAR


def test_medians_agree_with_vllms_own_client(pairs: Callable[[int], list[tuple[Tpot, Tpot]]]) -> None:
    """Median TPOT, over the server's own mean of the same run, is equivalent within 10 % by the same test, four pairs
    and up to ten while undecided. Fails when it is shown to differ by more; skips when ten pairs cannot tell."""
    for count in range(PAIRS, MOST_PAIRS + 1):
        logs = [np.log(a.median_s / a.server_mean_s) - np.log(b.median_s / b.server_mean_s) for a, b in pairs(count)]
        low, high = interval([float(one) for one in logs])
        print(f"medians over the server's own means, ours / theirs: {low:.3f} to {high:.3f} over {count} pairs")
        if 1 / (1 + NEAR) < low <= high < 1 + NEAR:
            return
        assert low < 1 + NEAR
        assert high > 1 / (1 + NEAR)
    pytest.skip(f"this machine is too noisy to compare medians of runs: ratio {low:.3f} to {high:.3f}")
