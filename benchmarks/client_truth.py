"""How wrong is each client? All are held, one after the other, against one server that knows when it sent what.

The server (`bench.paced`) sends one token per 20 ms on each stream and stamps each send; a client opens N streams at
once and reads them to the end, so that all streams march in step: the hardest case for the client. Client and server
each have one core. Per client, in one run and therefore comparable:

    kept up      share of the events that came, counted from the stream's first one, at most one interval (20 ms) later
                 than they were sent: a client that falls behind falls further and further
    TTFT error   how far the client's TTFT is from (server's first send - kernel's stamp of the request's arrival there)
    gap error    how far its gap between two tokens is from the time between the server's sends
                 (a send is known by the moments just before and just after it; in between is no error)
    CPU/event    user and system time of the client's processes between the first request's arrival and the last send
    x floor      that, over the floor's: a C program with epoll that only receives, stamps and counts (floor.c)

    python benchmarks/client_truth.py                        # the floor, ours and Locust's FastHttp, two ways each
    python benchmarks/client_truth.py --vllm-python PATH     # and `vllm bench serve` of that environment
    python benchmarks/client_truth.py --peers ENVIRONMENT    # and GuideLLM and AIPerf where they are installed there

The server's own lateness against its law is printed too: on a busy machine trust the ratios, not the milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from bench import child
from bench.driver import Target, run_stage
from bench.paced import Law, paced
from bench.prompts import Fixed, Prompts
from bench.schedule import Stage
from bench.truth import Truth, beyond_s, read_truth

HERE = Path(__file__).resolve().parent
TPOT_S, TTFT_S = 0.02, 0.5
KEPT, TTFT_MS, GAP_MS, FLOORS = 0.995, 0.5, 0.1, 1.5
"""Asked of ours with kernel stamps: share kept up, p99 errors in ms, CPU per event over the floor's."""
VOCAB, INPUT = 32000, 100
Streams = dict[int, tuple[float, np.ndarray]]
"""Serial -> (TTFT in seconds, arrivals of its tokens in nanoseconds, from any origin)."""


@dataclass(frozen=True)
class Setting:
    streams: int
    tokens: int
    folder: Path
    server_cpus: tuple[int, ...]
    client_cpus: tuple[int, ...]
    vllm_python: Path | None
    nice: int


@dataclass(frozen=True)
class Result:
    client: str
    kept: float
    ttft_ms: tuple[float, float]
    gap_ms: tuple[float, float]
    cpu_us: float
    missing: int
    server_late: float


# the clients: each reads all streams of the server at `url` and tells what it saw -------------------------------------


def floor(url: str, setting: Setting) -> Streams:
    from bench.endpoint import endpoint

    program, request, out = (setting.folder / name for name in ("floor", "request", "floor.bin"))
    if not program.exists():
        subprocess.run(["cc", "-O2", "-o", program, HERE / "floor.c"], check=True)
    body = {"model": "paced", "prompt": list(range(INPUT)), "max_tokens": setting.tokens, "stream": True}
    to = endpoint(url)
    request.write_bytes(to.request("/v1/completions", json.dumps(body).encode()))
    _run([program, to.port, setting.streams, setting.tokens, request, out], setting)
    rows = np.fromfile(out, dtype=np.int64).reshape(setting.streams, setting.tokens + 2)
    return {int(row[1]): ((row[2] - row[0]) / 1e9, row[2:]) for row in rows}


def spillway(kernel_stamps: bool) -> Callable[[str, Setting], Streams]:
    def client(url: str, setting: Setting) -> Streams:
        length_s = TTFT_S + setting.tokens * TPOT_S
        shape = Fixed(input_tokens=INPUT, output_tokens=setting.tokens)
        settings = {"seed": 1, "cap_s": length_s / 2, "warm_up_s": 0.0, "width": None, "stagger_s": 0.0}
        stage = Stage(name="truth", mode="closed", load=setting.streams, shape=shape, **settings)
        target = Target(url=url, model="paced", vocab_size=VOCAB)
        run = run_stage(stage, target, setting.folder, nonce=7, kernel_stamps=kernel_stamps, cpus=setting.client_cpus)
        prompts = Prompts(seed=1, nonce=7, vocab_size=VOCAB, longest_input=INPUT)
        seen: Streams = {}
        records = run.records
        for row in range(len(records)):
            # until the truth is read, a stream is known by the tokens that spell its number
            told = prompts.prompt(int(records.request[row]), INPUT)[1:-1].split(b",")
            arrivals = records.chunk_s[records.chunk_from[row] : records.chunk_from[row + 1]] * 1e9
            key = hash(tuple(int(token) for token in told[:12]))
            seen[key] = (float(records.first_token_s[row] - records.sent_s[row]), arrivals)
        return seen

    return client


def naive(way: str) -> Callable[[str, Setting], Streams]:
    def client(url: str, setting: Setting) -> Streams:
        out = setting.folder / "naive.jsonl"
        env = {"NAIVE_WAY": way, "NAIVE_TOKENS": str(setting.tokens), "NAIVE_OUT": str(out)}
        locust = [sys.executable, "-m", "locust", "-f", HERE / "naive_locustfile.py", "--headless", "--host", url]
        many = ["-u", setting.streams, "-r", setting.streams, "--only-summary", "--loglevel", "ERROR"]
        _run([*locust, *many], setting, env=env)
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        return {row[1]: ((row[2] - row[0]) / 1e9, np.array(row[2:])) for row in rows}

    return client


def vllm_serve(url: str, setting: Setting) -> Streams:
    out = setting.folder / "vllm.json"
    out.unlink(missing_ok=True)
    model = _tokenizer(setting.folder)
    # not `vllm bench serve`: the CPU build's console script looks for a distribution named vllm and finds none
    start = "import vllm.benchmarks.serve as s; from vllm.utils.argparse_utils import FlexibleArgumentParser as P"
    start += "; p = P(); s.add_cli_args(p); s.main(p.parse_args())"
    command: list[object] = [setting.vllm_python, "-c", start, "--backend", "openai"]
    command += ["--base-url", url, "--model", "paced", "--tokenizer", model, "--dataset-name", "random"]
    command += ["--random-input-len", INPUT, "--random-output-len", setting.tokens, "--num-prompts", setting.streams]
    command += ["--max-concurrency", setting.streams, "--ignore-eos", "--save-result", "--save-detailed"]
    command += ["--result-dir", setting.folder, "--result-filename", out.name, "--disable-tqdm"]
    _run(command, setting, env={"VLLM_TARGET_DEVICE": "cpu", "HF_HUB_OFFLINE": "1"})
    told = json.loads(out.read_text())
    seen: Streams = {}
    for text, ttft_s, gaps_s in zip(told["generated_texts"], told["ttfts"], told["itls"], strict=True):
        if text.split():
            seen[int(text.split()[0])] = (ttft_s, np.concatenate(([0.0], np.cumsum(gaps_s))) * 1e9)
    return seen


def peer(name: str, program: Path) -> Callable[[str, Setting], Streams]:
    from peers import PEERS  # beside this script

    def client(url: str, setting: Setting) -> Streams:
        many = {"streams": setting.streams, "tokens": setting.tokens}
        return PEERS[name](program, url, **many, folder=setting.folder, run=lambda command: _run(command, setting))

    return client


def _tokenizer(folder: Path) -> Path:
    """A tokenizer of whole words, made here, because vLLM's client insists on one."""
    path = folder / "tokenizer"
    if not path.exists():
        path.mkdir()
        vocabulary = {f"w{number}": number for number in range(1000)} | {"[UNK]": 1000}
        model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
        empty = dict.fromkeys(("truncation", "padding", "normalizer", "post_processor", "decoder"))
        whole = {"version": "1.0", **empty, "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": model}
        (path / "tokenizer.json").write_text(json.dumps(whole))
        told = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "model_max_length": 100000}
        (path / "tokenizer_config.json").write_text(json.dumps(told))
    return path


# one run ------------------------------------------------------------------------------------------------------------


def measure(name: str, client: Callable[[str, Setting], Streams], setting: Setting) -> Result:
    log = setting.folder / "truth.npz"
    with sampled() as samples:
        law = Law(ttft_s=TTFT_S, tpot_s=TPOT_S)
        with paced(law, "--text", log=log, cpus=setting.server_cpus) as url:
            seen = client(url, setting)
    truth = read_truth(log)
    return compare(name, seen, truth, samples, setting)


def compare(name: str, seen: Streams, truth: Truth, samples: list[tuple[float, float]], setting: Setting) -> Result:
    heads = {hash(tuple(head)): row for row, head in enumerate(truth.heads.tolist())}
    # a client may try the server out first: only whole streams count
    rows = {serial: np.flatnonzero(truth.sent_serial == serial) for serial in truth.serial.tolist()}
    whole = {serial: row for serial, row in rows.items() if len(row) == setting.tokens}
    ttft, gaps, lawful_s, in_time = [], [], [], 0
    for key, (ttft_s, arrivals_ns) in seen.items():
        serial = heads.get(key, key)
        if serial not in whole or len(arrivals_ns) < 2:
            continue
        sent, done, arrived = truth.sent_ns[whole[serial]], truth.done_ns[whole[serial]], truth.arrived_ns[serial]
        ttft.append(beyond_s(np.array(ttft_s * 1e9), sent[0] - arrived, done[0] - arrived))
        lawful_s.append((sent[-1] - sent[0]) / 1e9)
        if len(arrivals_ns) == len(sent):
            gaps.append(beyond_s(np.diff(arrivals_ns), sent[1:] - done[:-1], done[1:] - sent[:-1]))
            behind_ns = (arrivals_ns - arrivals_ns[0]) - (done - sent[0])
            in_time += np.count_nonzero(behind_ns < TPOT_S * 1e9)
    first = min(truth.arrived_ns[serial] for serial in whole) / 1e9
    last = max(truth.sent_ns[row[-1]] for row in whole.values()) / 1e9
    spent = np.interp([first, last], *zip(*samples, strict=True))
    every = np.concatenate(gaps) if gaps else np.full(1, np.nan)
    return Result(
        client=name,
        kept=in_time / (len(whole) * setting.tokens) if gaps else float("nan"),
        ttft_ms=tuple(np.percentile(ttft, [50, 99]) * 1e3),
        gap_ms=tuple(np.percentile(every, [50, 99]) * 1e3),
        cpu_us=float(spent[1] - spent[0]) * 1e6 / (len(whole) * setting.tokens),
        missing=len(whole) - len(gaps),
        server_late=float(np.mean(lawful_s)) / ((setting.tokens - 1) * TPOT_S) - 1,
    )


@contextmanager
def sampled() -> Iterator[list[tuple[float, float]]]:
    """(moment, CPU seconds so far) of all our descendants but the server, ten times a second."""
    samples: list[tuple[float, float]] = []
    done = threading.Event()
    gone: dict[int, float] = {}

    def look() -> None:
        while not done.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                try:
                    if "bench.paced" not in process.cmdline():
                        times = process.cpu_times()
                        gone[process.pid] = times.user + times.system
                except psutil.Error:
                    continue
            samples.append((time.time(), sum(gone.values())))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def _run(command: list[object], setting: Setting, env: dict[str, str] | None = None) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    paths = os.pathsep.join([str(HERE.parent), own.get("PYTHONPATH", "")])
    with (setting.folder / "client.log").open("wb") as log:
        process = child.start(
            [str(part) for part in command],
            env=own | {"PYTHONPATH": paths} | (env or {}),
            cpus=setting.client_cpus,
            cwd=setting.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            if process.wait(300):
                raise RuntimeError((setting.folder / "client.log").read_text()[-2000:])
        finally:
            child.end([process])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--repeat", type=int, default=3, help="rounds; the clients take turns in each")
    parser.add_argument("--vllm-python", type=Path, help="Python of an environment with vLLM")
    parser.add_argument("--peers", type=Path, help="folder of an environment with GuideLLM or AIPerf")
    parser.add_argument("--only", nargs="*", help="some of the clients, by their names")
    parser.add_argument("--nice", type=int, default=-10, help="priority of server and clients where we may raise it")
    arguments = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    clients: dict[str, Callable[[str, Setting], Streams]] = {"floor (C, epoll)": floor} if shutil.which("cc") else {}
    clients |= {"spillway": spillway(True), "spillway, clock at the read": spillway(False)}
    clients |= {"Locust FastHttp readline": naive("readline"), "Locust FastHttp iter_lines": naive("iter_lines")}
    if arguments.vllm_python:
        clients["vllm bench serve"] = vllm_serve
    for name in ("guidellm", "aiperf") if arguments.peers else ():
        program = arguments.peers.absolute() / "bin" / name
        if program.exists():
            clients[name] = peer(name, program)
        else:
            print(f"{name}: not installed in {arguments.peers}")
    if arguments.only:
        clients = {name: client for name, client in clients.items() if any(part in name for part in arguments.only)}
    try:
        os.nice(arguments.nice)
    except OSError:
        print("priority could not be raised")
    results: dict[str, list[Result]] = {name: [] for name in clients}
    with tempfile.TemporaryDirectory() as folder:
        tokens = int(arguments.seconds / TPOT_S)
        python = arguments.vllm_python.absolute() if arguments.vllm_python else None
        setting = Setting(arguments.streams, tokens, Path(folder), (cpus[0],), (cpus[-1],), python, arguments.nice)
        for _ in range(arguments.repeat):
            for name, client in clients.items():
                results[name].append(measure(name, client, setting))
                print(f"  {results[name][-1]}", file=sys.stderr)
    report(results, arguments.streams)


def report(results: dict[str, list[Result]], streams: int) -> None:
    """Medians over the rounds; what differs between rounds by more than the figure shown is the machine's."""
    print(f"{streams} streams, {streams / TPOT_S:.0f} events/s, medians of {min(map(len, results.values()))} rounds")
    told = f"{'TTFT err p50/p99 ms':>20s} {'gap err p50/p99 ms':>20s} {'us/event':>9s} {'x floor':>7s}"
    print(f"{'client':30s} {'kept up':>8s} {told}")
    costs = {name: float(np.median([result.cpu_us for result in rounds])) for name, rounds in results.items()}
    least = next((cost for name, cost in costs.items() if name.startswith("floor")), None)
    for name, rounds in results.items():
        ttft = np.median([result.ttft_ms for result in rounds], axis=0)
        gap = np.median([result.gap_ms for result in rounds], axis=0)
        kept = float(np.median([result.kept for result in rounds]))
        ratio = f"{costs[name] / least:7.2f}" if least else "      -"
        late = f", {rounds[0].missing} streams without all their tokens' moments" if rounds[0].missing else ""
        told = f"{ttft[0]:9.3f} /{ttft[1]:9.3f} {gap[0]:9.3f} /{gap[1]:9.3f}"
        print(
            f"{name:30s} {kept:8.2%} {told} {costs[name]:9.1f} {ratio}{late}".replace("nan%", " n/a").replace(
                "nan", "n/a"
            )
        )
    print(f"{'(asked of ours)':30s} {KEPT:8.2%} {TTFT_MS:>20.3f} {GAP_MS:>20.3f} {'':9s} {FLOORS:7.2f}")
    lateness = [result.server_late for rounds in results.values() for result in rounds]
    print(f"the server's streams took {np.median(lateness):+.2%} (worst {max(lateness):+.2%}) of what its law says")


if __name__ == "__main__":
    main()
