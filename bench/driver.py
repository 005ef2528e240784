"""Runs one stage: starts Locust in processes of its own, follows it, stops it, gathers its spill files.

Why: Locust patches the standard library when imported and must never share a process with the rest; a client that
lives on after its parent loads a server nobody watches. So Locust runs as child processes in sessions of their own that
die with this one (PR_SET_PDEATHSIG, and a watch on the parent where there is none), bound to loopback.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from bench import child, stats
from bench.records import Floats, Records, concat, digest, read_records, write_records
from bench.schedule import Stage
from hardware_profiles.curve import Estimate, Positive, Value, write_text
from hardware_profiles.faults import Fault, InputError

_LOOK_S = 0.1
_PROGRESS_S = 0.5
_START_S = 90.0
"""Locust's start, prompts, connections and shared prefixes; each shared prefix may take the request's timeout more."""
_SILENT_S = 60.0
"""Workers tell that they are alive five times a second; after this long without it the stage has failed."""
_SALVAGE_S = 5.0
_FAILING_AFTER = 20
_FAILING_SHARE = 0.95

Stopped = Literal["narrow", "cap", "exhausted", "asked", "failing"]


class Target(Value):
    """The endpoint under load."""

    url: str
    """Base URL without `/v1`: `http://127.0.0.1:8000`."""
    model: str
    api: Literal["completions", "chat"] = "completions"
    vocab_size: int | None = None
    """Completions: prompts are token ids in [0, vocab_size); None sends text."""
    engine: Literal["vllm", "other"] = "vllm"
    """`vllm` also sends `ignore_eos`; other servers may reject fields they do not know."""
    return_token_ids: bool = False
    """Ask vLLM for token ids. Off: vLLM then echoes the whole prompt in the first chunk, which users do not ask for."""
    more_fields: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further fields of the request body: `temperature`, `cache_salt`, ..."""
    timeout_s: Positive = 300.0
    """Per request, from its send."""
    key_env: str | None = None
    """Name of the environment variable that holds the API key; the key itself is never stored."""


class Order(Value):
    """What the Locust processes are told, in a file."""

    stage: Stage
    target: Target
    nonce: int
    kernel_stamps: bool
    workers: int
    folder: Path
    """Where they leave their files."""

    @property
    def users(self) -> int:
        """Locust users over all workers: the load, or one per worker that sends its rows."""
        return self.stage.load or self.workers


@dataclass(frozen=True)
class Progress:
    """What a running stage shows; approximate until the records are decoded."""

    elapsed_s: float
    """Since the load began; negative while connecting."""
    in_flight: int
    completed: int
    failed: int
    throughput_per_s: float | None
    output_tokens_per_s: float | None
    ttft_s: float | None
    """Median of the requests served since the warm-up."""
    tpot_s: float | None
    throughput_width: float | None
    """Half-width of the 95 % interval as a share of the value; None while too little was served."""
    tpot_width: float | None


@dataclass(frozen=True)
class StageRun:
    """One finished stage."""

    stage: Stage
    records: Records
    path: Path
    """The Parquet file: `<folder>/<stage.name>.parquet`."""
    sha256: str
    zero_unix_s: float
    """The stage's zero on CLOCK_REALTIME: add it to a record's time to meet other clocks' samples."""
    load_s: float
    """Seconds from zero to the moment the load stopped; the drain comes after it."""
    stopped: Stopped
    """Why: widths reached; the cap; the trace ended; `should_stop` said so; nearly everything failed."""
    throughput_width: float | None
    tpot_width: float | None
    client: dict[str, str | float | int | None]
    """How it was measured: workers, wire, stamps, cpu share of the busiest worker, clock step, send lag p99, requests
    and input tokens sent before the zero to put shared prefixes into the cache (each asked for one output token)."""
    conditions: dict[str, Any] = field(default_factory=dict)
    """What the caller gave to be stored."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What stands in the Parquet file beside the rows."""
        return {
            "stage": self.stage.model_dump(mode="json"),
            "zero_unix_s": self.zero_unix_s,
            "load_s": self.load_s,
            "stopped": self.stopped,
            "throughput_width": self.throughput_width,
            "tpot_width": self.tpot_width,
            "client": self.client,
            "conditions": self.conditions,
        }


def run_stage(
    stage: Stage,
    target: Target,
    folder: Path,
    *,
    workers: int = 1,
    nonce: int | None = None,
    kernel_stamps: bool = True,
    cpus: tuple[int, ...] | None = None,
    conditions: dict[str, Any] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> StageRun:
    """Run `stage` against `target`, write `<folder>/<stage.name>.parquet` and return it.

    `nonce` makes the prompts cold against earlier runs (None: drawn from the system); `cpus` pins the workers, one
    each in turn; `conditions` are stored with the rows. Raises `InputError` when Locust cannot start or no connection
    can be made. Ctrl-C and any exception end all child processes; what had been measured until then is written to
    `<stage.name>.interrupted.parquet` when the workers can still tell. Call it from a thread that outlives the stage:
    the children die with it.
    """
    from bench.wire import endpoint

    key = os.environ.get(target.key_env or "", "")
    if target.key_env and not key:
        remedy = f"set it, or leave the key out: export {target.key_env}=..."
        raise InputError(Fault(f"the environment variable {target.key_env} is not set", remedy))
    to = endpoint(target.url, key)
    if stage.turns[1] > 1 and target.api == "completions" and target.vocab_size is None:
        remedy = "give the model's vocabulary size, or use the chat API"
        raise InputError(Fault("conversations over /v1/completions are made of token ids", remedy, value=target.model))
    work = folder / f".{stage.name}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    order = Order(
        stage=stage,
        target=target,
        nonce=secrets.randbits(32) if nonce is None else nonce,
        kernel_stamps=kernel_stamps,
        workers=workers,
        folder=work.resolve(),
    )
    facts = {
        "workers": workers,
        "wire": "tls" if to.tls else "raw socket",
        "stamps": "kernel" if kernel_stamps and not to.tls and sys.platform == "linux" else "clock at the read",
        "plain_http_beyond_loopback": int(not to.tls and not to.loopback),
        "nonce": order.nonce,
    }
    with _locust(order, cpus) as children:
        run = _Run(order, children, on_progress, should_stop)
        try:
            run.drive()
            done = run.gather(facts, conditions or {})
        except BaseException:
            _salvage(run, facts, conditions or {}, folder / f"{stage.name}.interrupted.parquet")
            raise
    path = folder / f"{stage.name}.parquet"
    sha256 = write_records(done.records, path, done.metadata)
    shutil.rmtree(work)
    return replace(done, path=path, sha256=sha256)


def load_run(path: Path) -> StageRun:
    """A finished stage read back from its Parquet file."""
    records, told = read_records(path)
    try:
        return StageRun(
            stage=Stage.model_validate(told["stage"]),
            records=records,
            path=path,
            sha256=digest(path),
            zero_unix_s=told["zero_unix_s"],
            load_s=told["load_s"],
            stopped=told["stopped"],
            throughput_width=told["throughput_width"],
            tpot_width=told["tpot_width"],
            client=told["client"],
            conditions=told["conditions"],
        )
    except (KeyError, ValueError) as error:
        what = f"its metadata is not that of a stage ({str(error).splitlines()[0]})"
        raise InputError(Fault(what, "measure it again", file=str(path))) from None


class _Run:
    """One stage in progress."""

    def __init__(
        self,
        order: Order,
        children: list[subprocess.Popen[bytes]],
        on_progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self.order, self.stage, self.children = order, order.stage, children
        self.on_progress, self.should_stop = on_progress, should_stop
        self.rows = _Rows(order)
        self.zero_ns = 0
        self.load_s = 0.0
        self.stopped: Stopped = "cap"
        self.widths: tuple[float | None, float | None] = (None, None)

    def drive(self) -> None:
        """From the start to the last spill file."""
        told = self.wait_for("go.json", time.monotonic() + self.patience_s())
        if not told["connected"]:
            remedy = "check that the server is up and the URL is right"
            raise InputError(Fault(f"no connection ({told['trouble']})", remedy, value=self.order.target.url))
        self.zero_ns = told["zero_ns"]
        shown = 0.0
        while True:
            time.sleep(_LOOK_S)
            self.check_alive()
            elapsed = self.elapsed_s()
            if time.monotonic() - shown >= _PROGRESS_S:
                shown = time.monotonic()
                progress = self.rows.progress(elapsed)
                self.widths = progress.throughput_width, progress.tpot_width
                if self.on_progress is not None:
                    self.on_progress(progress)
            reason = self.reason_to_stop(elapsed)
            if reason:
                break
        self.stopped, self.load_s = reason, elapsed
        self.stop(self.stage.drain_s)
        self.wait_for_end(self.stage.drain_s)

    def patience_s(self) -> float:
        """How long the start may take."""
        primed = self.stage.prefixes if self.stage.cached_share else 0
        return _START_S + primed * self.order.target.timeout_s

    def elapsed_s(self) -> float:
        """Since the stage's zero."""
        return (time.time_ns() - self.zero_ns) / 1e9

    def reason_to_stop(self, elapsed: float) -> Stopped | None:
        """Why the load should stop now; None to go on."""
        if self.should_stop is not None and self.should_stop():
            return "asked"
        if elapsed >= self.stage.cap_s:
            return "cap"
        ended = self.rows.ended()
        if len(ended) >= _FAILING_AFTER and 1 - ended[:, 0].mean() >= _FAILING_SHARE:
            return "failing"
        if self.rows.exhausted():
            return "exhausted"
        return "narrow" if self.narrow(elapsed) else None

    def narrow(self, elapsed: float) -> bool:
        """Whether both widths are below the one asked for."""
        settled = self.rows.after_warm_up()
        if self.stage.width is None or len(settled) < self.stage.min_requests:
            return False
        if elapsed - self.stage.warm_up_s < stats.FEWEST_E2E * float(np.median(settled[:, 3])):
            return False  # too short to tell whether it is steady
        throughput, tpot = self.widths
        wanted = (tpot,) if self.stage.mode == "open" else (throughput, tpot)
        return all(width is not None and width <= self.stage.width for width in wanted)

    def stop(self, drain_s: float) -> None:
        """Tell the workers to stop sending."""
        write_text(self.order.folder / "stop.json", json.dumps({"drain_s": drain_s}))

    def wait_for_end(self, drain_s: float) -> None:
        """Until all spill files are there and Locust has gone; decoding takes as long as the workers are heard."""
        drained = time.monotonic() + drain_s
        while any(process.poll() is None for process in self.children):
            time.sleep(_LOOK_S / 2)
            self.rows.read()
            silent = time.monotonic() - self.rows.heard
            if time.monotonic() > drained and silent > _SILENT_S:
                raise self.failure("a worker fell silent")
        if not all(path.exists() for path in self.spills()):
            raise self.failure("a worker ended without its records")

    def spills(self) -> list[Path]:
        """The files the workers leave."""
        return [self.order.folder / f"spill-{worker}.parquet" for worker in range(self.order.workers)]

    def check_alive(self) -> None:
        """A Locust process that ended by itself has failed."""
        self.rows.read()
        if any(process.poll() is not None for process in self.children):
            raise self.failure("a Locust process ended")
        if self.rows.heard and time.monotonic() - self.rows.heard > _SILENT_S:
            raise self.failure("the workers fell silent")

    def wait_for(self, name: str, deadline: float) -> dict[str, Any]:
        """The JSON file that the master writes."""
        path = self.order.folder / name
        while not path.exists():
            if any(process.poll() is not None for process in self.children):
                raise self.failure("Locust did not start")
            if time.monotonic() > deadline:
                raise self.failure("Locust did not get ready")
            time.sleep(_LOOK_S / 2)
        told: dict[str, Any] = json.loads(path.read_bytes())
        return told

    def failure(self, what: str) -> InputError:
        """What is wrong, with the last lines of the logs."""
        lines = [line for path in sorted(self.order.folder.glob("*.log")) for line in _tail(path)]
        told = "; its last lines: " + " | ".join(lines) if lines else ""
        remedy = f"see the logs in {self.order.folder}"
        return InputError(Fault(f"stage {self.stage.name}: {what}{told}", remedy))

    def gather(self, facts: dict[str, Any], conditions: dict[str, Any]) -> StageRun:
        """The merged records and how they came about."""
        parts = [read_records(path) for path in self.spills() if path.exists()]
        records = concat([rows for rows, _ in parts])
        told = [metadata for _, metadata in parts]
        late = (records.sent_s - records.scheduled_s)[~np.isnan(records.sent_s)]
        client: dict[str, Any] = facts | {
            "cpu_share": max(metadata["cpu_share"] for metadata in told),
            "clock_step_s": max((metadata["clock_step_s"] for metadata in told), key=abs),
            "late_connections": sum(metadata["late_connections"] for metadata in told),
            "primed_requests": sum(metadata["primed_requests"] for metadata in told),
            "primed_input_tokens": sum(metadata["primed_input_tokens"] for metadata in told),
            "send_lag_p99_s": float(np.quantile(late, 0.99)) if len(late) else None,
        }
        troubles = [metadata["prime_error"] for metadata in told if "prime_error" in metadata]
        client |= {"prime_error": troubles[0]} if troubles else {}
        return StageRun(
            stage=self.stage,
            records=records,
            path=Path(),
            sha256="",
            zero_unix_s=self.zero_ns / 1e9,
            load_s=self.load_s,
            stopped=self.stopped,
            throughput_width=self.widths[0],
            tpot_width=self.widths[1],
            client=client,
            conditions=conditions,
        )


class _Rows:
    """The workers' progress files, read as they grow."""

    def __init__(self, order: Order) -> None:
        self.order, self.stage = order, order.stage
        self.files = [order.folder / f"progress-{worker}.bin" for worker in range(order.workers)]
        self.parts: list[list[Floats]] = [[] for _ in self.files]
        self.read_to = [0] * len(self.files)
        self.alive: list[Floats | None] = [None] * len(self.files)
        self.heard = 0.0
        self.joined: Floats | None = None

    def read(self) -> None:
        """Take in what is new."""
        for number, path in enumerate(self.files):
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(self.read_to[number])
                data = file.read()
            rows = np.frombuffer(data[: len(data) // 48 * 48]).reshape(-1, 6)
            if not len(rows):
                continue
            self.read_to[number] += rows.nbytes
            lives = rows[rows[:, 0] == 2.0]
            if len(lives):
                self.alive[number], self.heard = lives[-1], time.monotonic()
            self.parts[number].append(rows[rows[:, 0] != 2.0])
            self.joined = None

    def ended(self) -> Floats:
        """All ended requests: ok, end, TTFT, E2E, TPOT, output tokens."""
        if self.joined is None:
            known = [rows for part in self.parts for rows in part]
            self.joined = np.concatenate(known) if known else np.empty((0, 6))
            self.parts = [[self.joined]] + [[] for _ in self.files[1:]]
        return self.joined

    def exhausted(self) -> bool:
        """Open loop: every row was sent before the cap, and nothing is in flight."""
        return all(alive is not None and alive[3] and not alive[2] for alive in self.alive)

    def after_warm_up(self) -> Floats:
        """The rows of requests sent after the warm-up and served, in order of sending."""
        rows = self.ended()
        rows = rows[(rows[:, 0] == 1.0) & (rows[:, 1] - rows[:, 3] >= self.stage.warm_up_s)]
        ordered: Floats = rows[np.argsort(rows[:, 1] - rows[:, 3], kind="stable")]
        return ordered

    def progress(self, elapsed: float) -> Progress:
        """What to show, and the widths to stop by; the rate counts what ended after the warm-up."""
        self.read()
        rows, settled = self.ended(), self.after_warm_up()
        good = rows[(rows[:, 0] == 1.0) & (rows[:, 1] >= self.stage.warm_up_s)]
        throughput = tokens = tpot = None
        ttft_s: float | None = None
        if len(settled) and elapsed > self.stage.warm_up_s:
            window = stats.Window(self.stage.warm_up_s, elapsed)
            batch_s = float(np.median(settled[:, 3])) * (5 if self.stage.mode == "open" else 1)
            throughput = stats.rate(good[:, 1], None, window, batch_s)
            tokens = stats.rate(good[:, 1], good[:, 5], window, batch_s)
            tpot = stats.percentiles(settled[:, 4]).get("p50")
            ttft_s = float(np.median(settled[:, 2]))
        return Progress(
            elapsed_s=elapsed,
            in_flight=int(sum(alive[2] for alive in self.alive if alive is not None)),
            completed=int(np.count_nonzero(rows[:, 0] == 1.0)),
            failed=int(np.count_nonzero(rows[:, 0] == 0.0)),
            throughput_per_s=_value(throughput),
            output_tokens_per_s=_value(tokens),
            ttft_s=ttft_s,
            tpot_s=_value(tpot),
            throughput_width=stats.relative_width(throughput),
            tpot_width=stats.relative_width(tpot),
        )


@contextlib.contextmanager
def _locust(order: Order, cpus: tuple[int, ...] | None) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Locust's processes: one, or a master and its workers on loopback; none is left when the block ends."""
    path = order.folder / "order.json"
    write_text(path, order.model_dump_json())
    own = Path(__file__).resolve().parent
    # Locust reads settings from LOCUST_*, ~/.locust.conf and the working directory: none of them may reach us
    env = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    paths = [str(own.parent), *filter(None, [env.get("PYTHONPATH")])]
    env |= {"SPILLWAY_ORDER": str(path), "HOME": str(order.folder), "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "locust", "-f", str(own / "locustfile.py"), "--loglevel", "WARNING"]
    users = ["--headless", "--only-summary", "-u", str(order.users), "-r", str(order.users)]
    parts: list[tuple[str, list[str]]] = [("locust", users)]
    if order.workers > 1:
        port = str(_free_port())
        bound = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port]
        parts = [("master", [*users, *bound, "--expect-workers", str(order.workers)])]
        join = ["--worker", "--master-host", "127.0.0.1", "--master-port", port]
        parts += [(f"worker-{number}", join) for number in range(order.workers)]
    children: list[subprocess.Popen[bytes]] = []
    try:
        for number, (name, arguments) in enumerate(parts):
            pinned = (cpus[(number - (len(parts) > 1)) % len(cpus)],) if cpus else None
            keyless = {k: v for k, v in env.items() if name != "master" or k != order.target.key_env}
            with (order.folder / f"{name}.log").open("wb") as log:
                options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
                children.append(
                    child.start([*command, *arguments], env=keyless, cpus=pinned, cwd=order.folder, **options)
                )
        yield children
    finally:
        child.kill(children)


def _salvage(run: _Run, facts: dict[str, Any], conditions: dict[str, Any], path: Path) -> None:
    """After an exception: a last chance for the workers to write what they have."""
    if not run.zero_ns:
        return
    with contextlib.suppress(InputError, OSError, KeyboardInterrupt):
        if not run.load_s:
            run.load_s = run.elapsed_s()
            run.stop(0.0)
        deadline = time.monotonic() + _SALVAGE_S
        while time.monotonic() < deadline and not all(spill.exists() for spill in run.spills()):
            if all(process.poll() is not None for process in run.children):
                break
            time.sleep(_LOOK_S)
        if any(spill.exists() for spill in run.spills()):
            run.stopped = "asked"
            done = run.gather(facts, conditions)
            write_records(done.records, path, done.metadata)


def _tail(path: Path, lines: int = 3) -> list[str]:
    return path.read_text("utf-8", "replace").strip().splitlines()[-lines:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value
