"""Workers on other machines: how one gets its order, keeps the stage's time, and brings home what it measured.

Why: one machine's client has a ceiling (`bench selfcheck`), and a folder that all machines share is one more thing to
set up. So a worker needs nothing but the master's address: `bench worker --master HOST:PORT` starts a Locust worker,
and a new one when its stage is over. How, all over Locust's own connection, a few messages a second, none per request:

    spillway_hello   worker -> master   its clock; asked several times
    spillway_order   master -> worker   the order, and the master's clock
    spillway_piece   worker -> master   what was added to its progress file; its spill file, in pieces

The master writes the pieces to files of the same names, so that whoever follows the stage sees no difference. The
worker's clock is set against the master's by the quickest of a few questions (Cristian, Distributed Computing 3, 1989):
it errs by half of that answer's time at most, which stands in the records (`clock_error_s`). Latencies are differences
on one clock and do not err by it; only moments of different workers do.

Locust's connection has no password: whoever reaches the master's port can join it. Bind it to a private address. A
worker takes orders from its master only, and lends it no variable of its environment but the key it was told to.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
from gevent.event import Event

from bench import child
from bench.order import Address, Order

PIECE = 1 << 20
_EVERY_S = 0.3
_QUESTIONS = 5
_ANSWER_S = 10.0
"""A worker that gets no order for so long has joined a master that was ending: it begins anew."""
AGAIN = 75
"""Exit status of a worker that wants to begin anew (EX_TEMPFAIL, sysexits.h)."""
_PAUSE_S = 1.0
"""Between two workers: the last stage's master ends meanwhile."""
KEEP = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Errand:
    """The worker's side, inside its Locust process."""

    def __init__(self, send: Callable[[str, dict[str, object]], None], folder: Path, key_env: str | None) -> None:
        self.send, self.folder, self.key_env = send, folder, key_env
        self.order: Order | None = None
        self.known = Event()
        self.offset_ns, self.error_ns = 0, 0
        self._asked = 0
        self._best_ns = 1 << 62
        self._sent = 0

    def ask(self) -> None:
        """Ask for the order, and the time; gives up when nobody answers."""
        self._question()
        if not self.known.wait(_ANSWER_S):
            os._exit(AGAIN)

    def _question(self) -> None:
        self._asked += 1
        self.send("spillway_hello", {"asked_ns": time.time_ns()})

    def hear(self, told: dict[str, object]) -> None:
        """An answer: the order with our own folder in it, and how far the master's clock is from ours."""
        now_ns, asked_ns, master_ns = time.time_ns(), int(str(told["asked_ns"])), int(str(told["clock_ns"]))
        if now_ns - asked_ns < self._best_ns:
            self._best_ns = now_ns - asked_ns
            self.offset_ns = master_ns - (asked_ns + now_ns) // 2
            self.error_ns = self._best_ns // 2
        if self._asked < _QUESTIONS:
            self._question()
            return
        order = Order.model_validate_json(str(told["order"]))
        wanted = order.target.key_env
        if wanted and wanted != self.key_env:
            print(f"the master asks for the key in {wanted}: start this worker with --key-env {wanted}", flush=True)
            os._exit(1)
        self.order = order.model_copy(update={"folder": self.folder})
        self.known.set()

    def carry(self, worker: int) -> None:
        """While the stage runs: what was added to the progress file."""
        path = self.folder / f"progress-{worker}.bin"
        while True:
            gevent.sleep(_EVERY_S)
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(self._sent)
                data = file.read()
            if data:
                self._sent += len(data)
                self.send("spillway_piece", {"name": path.name, "data": data, "last": False})

    def deliver(self, worker: int) -> None:
        """The spill file, in pieces."""
        path = self.folder / f"spill-{worker}.parquet"
        with path.open("rb") as file:
            data = file.read(PIECE)
            while data:
                following = file.read(PIECE)
                self.send("spillway_piece", {"name": path.name, "data": data, "last": not following})
                data = following
                gevent.sleep(0)


def take_piece(order: Order, name: str, data: bytes, *, last: bool) -> None:
    """The master's side: pieces become the file they are of; a spill file appears whole or not at all."""
    known = {f"{kind}-{worker}.{end}" for worker in range(order.workers) for kind, end in _KINDS}
    if name not in known:
        raise ValueError("no file of a worker")
    whole = order.folder / name
    path = whole if name.startswith("progress") else order.folder / f".{name}.part"
    with path.open("ab") as file:
        file.write(data)
    if last:
        path.replace(whole)


_KINDS = (("progress", "bin"), ("spill", "parquet"))


def work(master: Address, *, key_env: str | None, stages: int | None = None) -> Iterator[int]:
    """Locust workers one after another, each for one stage; gives their exit statuses; ends after `stages` of them."""
    done = 0
    while stages is None or done < stages:
        folder = Path(tempfile.mkdtemp(prefix="spillway-worker-"))
        try:
            process = _start(master, folder, key_env)
            try:
                status = process.wait()
            finally:
                child.end([process])
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if status != AGAIN:
            done += 1
            yield status
        time.sleep(_PAUSE_S)


def _start(master: Address, folder: Path, key_env: str | None) -> subprocess.Popen[bytes]:
    own = Path(__file__).resolve().parent
    env = {name: os.environ[name] for name in (*KEEP, *filter(None, [key_env])) if name in os.environ}
    env |= {"HOME": str(folder), "PYTHONPATH": os.pathsep.join([str(own.parent), os.environ.get("PYTHONPATH", "")])}
    env |= {"SPILLWAY_ERRAND": str(folder), "SPILLWAY_KEY_ENV": key_env or ""}
    command = [sys.executable, "-m", "locust", "-f", str(own / "locustfile.py"), "--loglevel", "WARNING"]
    join = ["--worker", "--master-host", master.host, "--master-port", str(master.port)]
    return child.start([*command, *join], env=env, cwd=folder, stdin=subprocess.DEVNULL)
