"""Follows one stage from outside Locust: starts its processes, waits, decides when it is enough, gathers the spills.

Why apart from the driver: this is the part that lives while the stage runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench import child
from bench.length import least_load_s
from bench.order import PRIMED, Order, Progress, StageRun, Stopped
from bench.progress import Rows
from bench.records import concat, read_records
from hardware_profiles.curve import write_text
from hardware_profiles.faults import Fault, InputError

_LOOK_S = 0.1
_PROGRESS_S = 0.5
_START_S = 90.0
"""Locust's start, prompts, connections and shared prefixes; of those each may last as long as a server's silence."""
_JOIN_S = 300.0
"""More, while workers on other machines have not joined."""
_SILENT_S = 60.0
"""Workers tell that they are alive five times a second; after this long without it the stage has failed."""
_ROOM = 1 << 20
"""Bytes. On a disk with less a log cannot tell why its process ended."""
_FAILING_AFTER = 20
_FAILING_SHARE = 0.95
_MARGIN = 1.02
"""The median E2E of the whole stage may be a little above the one so far."""
_DEAD_S, _DEAD_AFTER = 5.0, 5
"""No request served for this long (and for three E2E times) while so many failed: the server is dead."""


class Run:
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
        self.rows = Rows(order)
        self.zero_ns = 0
        self.load_s = 0.0
        """0 while it goes on."""
        self.shown = 0.0
        self.stopped: Stopped = "cap"
        self.widths: tuple[float | None, float | None] = (None, None)

    def drive(self) -> None:
        """From the start to the last spill file."""
        told = self.wait_for("go.json", time.monotonic() + self.patience_s())
        if not told["connected"]:
            remedy = "check that the server is up and the URL is right"
            raise InputError(Fault(f"no connection ({told['trouble']})", remedy, value=self.order.target.url))
        self.zero_ns = told["zero_ns"]
        self.rows.begin()
        while True:
            time.sleep(_LOOK_S)
            self.check_alive()
            elapsed = self.elapsed_s()
            if (progress := self.look(elapsed)) is not None:
                self.widths = progress.throughput_width, progress.tpot_width
            reason = self.reason_to_stop(elapsed)
            if reason:
                break
        self.stopped, self.load_s = reason, elapsed
        self.stop(self.stage.drain_s)
        self.wait_for_end()

    def look(self, elapsed: float) -> Progress | None:
        """What is to be shown, every half second, until the last answer has come."""
        if time.monotonic() - self.shown < _PROGRESS_S:
            return None
        self.shown = time.monotonic()
        progress = self.rows.progress(elapsed, self.load_s)
        if self.on_progress is not None:
            self.on_progress(progress)
        return progress

    def patience_s(self) -> float:
        """How long the start may take."""
        primed = self.stage.prefixes if self.stage.cached_share else 0
        return _START_S + primed * self.stage.silence_s + (_JOIN_S if self.order.remote_workers else 0.0)

    def elapsed_s(self) -> float:
        """Since the stage's zero."""
        return (time.time_ns() - self.zero_ns) / 1e9

    def reason_to_stop(self, elapsed: float) -> Stopped | None:
        """Why the load should stop now; None to go on."""
        if self.should_stop is not None and self.should_stop():
            return "asked"
        if elapsed >= self.stage.cap_s and (self.enough(elapsed) or elapsed >= (self.stage.longest_s or 0.0)):
            return "cap"
        if self.failing(elapsed):
            return "failing"
        if self.rows.exhausted():
            return "exhausted"
        return "narrow" if self.narrow(elapsed) else None

    def failing(self, elapsed: float) -> bool:
        """Nearly everything failed from the start, or everything lately: a server that died in mid-stage."""
        ended = self.rows.ended()
        if len(ended) >= _FAILING_AFTER and 1 - ended[:, 0].mean() >= _FAILING_SHARE:
            return True
        served = ended[ended[:, 0] == 1.0]
        typical = float(np.median(served[:, 3])) if len(served) else 0.0
        lately = ended[ended[:, 1] >= elapsed - max(_DEAD_S, 3 * typical)]
        return elapsed > _DEAD_S and len(lately) >= _DEAD_AFTER and not lately[:, 0].any()

    def narrow(self, elapsed: float) -> bool:
        """Whether both widths are below the one asked for."""
        settled = self.rows.after_warm_up()
        if self.stage.width is None or len(settled) < self.stage.min_requests:
            return False
        if not self.enough(elapsed):
            return False
        throughput, tpot = self.widths
        wanted = (tpot,) if self.stage.mode == "open" else (throughput, tpot)
        return all(width is not None and width <= self.stage.width for width in wanted)

    def enough(self, elapsed: float) -> bool:
        """Whether the window is long enough to tell whether it is steady."""
        settled, stage = self.rows.after_warm_up(), self.stage
        if not len(settled):
            return False
        begins_s = max(stage.warm_up_s, stage.stagger_s if stage.mode == "closed" else 0.0)
        return elapsed >= _MARGIN * least_load_s(stage.mode, begins_s, float(np.median(settled[:, 3])))

    def stop(self, drain_s: float) -> None:
        """Tell the workers to stop sending."""
        write_text(self.order.folder / "stop.json", json.dumps({"drain_s": drain_s}))

    def wait_for_end(self) -> None:
        """Until all spill files are there and Locust has gone; decoding takes as long as the workers are heard."""
        while any(process.poll() is None for process in self.children):
            time.sleep(_LOOK_S / 2)
            self.rows.read()
            self.look(self.elapsed_s())
            if any(process.poll() for process in self.children):
                self.check_spills()
            self.check_heard()
        self.check_spills()

    def check_spills(self) -> None:
        """Where a process has ended its records must be there: those who remain would wait for them for ever."""
        if not all(path.is_file() for path in self.spills()):
            raise self.failure("a worker ended without its records")

    def check_heard(self) -> None:
        """A worker elsewhere has no process here: it has failed when it is no longer heard."""
        worker, silent_s = self.rows.silent()
        if silent_s > _SILENT_S:
            raise self.failure(f"worker {worker} fell silent")

    def spills(self) -> list[Path]:
        """The files the workers leave."""
        return [self.order.folder / f"spill-{worker}.parquet" for worker in range(self.order.workers)]

    def check_alive(self) -> None:
        """A Locust process that ended by itself has failed."""
        self.rows.read()
        if any(process.poll() is not None for process in self.children):
            raise self.failure("a Locust process ended")
        self.check_heard()

    def wait_for(self, name: str, deadline: float) -> dict[str, Any]:
        """The JSON file that the master writes."""
        path = self.order.folder / name
        while not path.exists():
            if any(process.poll() is not None for process in self.children):
                raise self.failure("Locust did not start")
            if time.monotonic() > deadline:
                raise self.failure(f"Locust did not get ready{self.missing()}")
            time.sleep(_LOOK_S / 2)
        told: dict[str, Any] = json.loads(path.read_bytes())
        return told

    def missing(self) -> str:
        """What is to be said about workers on other machines when the stage does not begin."""
        remote = self.order.remote_workers
        return (
            f"; {remote} workers should have joined: `bench worker --master HOST:{self.order.bind.port}`"
            if remote
            else ""
        )

    def failure(self, what: str) -> InputError:
        """What is wrong, with the last lines of the logs."""
        lines = [line for path in sorted(self.order.folder.glob("*.log")) for line in _tail(path)]
        if shutil.disk_usage(self.order.folder).free < _ROOM:
            lines.append("no space is left on the disk")
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
            **{name: sum(metadata[name] for metadata in told) for name in PRIMED},
            "send_lag_p99_s": float(np.quantile(late, 0.99)) if len(late) else None,
        }
        if self.order.remote_workers:
            client["clock_error_s"] = max(metadata.get("clock_error_s", 0.0) for metadata in told)
        troubles = [metadata["prime_error"] for metadata in told if "prime_error" in metadata]
        client |= {"prime_error": troubles[0]} if troubles else {}
        full = [metadata["kept_in_memory"] for metadata in told if "kept_in_memory" in metadata]
        client |= {"kept_in_memory": full[0]} if full else {}
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


@contextlib.contextmanager
def locust(order: Order, cpus: tuple[int, ...] | None) -> Iterator[list[subprocess.Popen[bytes]]]:
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
        bind = order.bind
        port = str(bind.port or _free_port())
        bound = ["--master", "--master-bind-host", bind.host, "--master-bind-port", port]
        parts = [("master", [*users, *bound, "--expect-workers", str(order.workers)])]
        near = bind.host if bind.host not in ("0.0.0.0", "::", "*") else "127.0.0.1"  # noqa: S104  # compared, not bound
        join = ["--worker", "--master-host", near, "--master-port", port]
        parts += [(f"worker-{number}", join) for number in range(order.workers - order.remote_workers)]
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


def _tail(path: Path, lines: int = 3) -> list[str]:
    return path.read_text("utf-8", "replace").strip().splitlines()[-lines:]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
