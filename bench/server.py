"""Starts, watches and ends vLLM, so that a run measures the server it means to and leaves nothing behind.

Why: a server started by hand has unknown arguments, listens to the network, and stays when the run is gone. How: it
binds to loopback on a free port, runs from an environment of its own (`--server-python`: vLLM's pins never meet ours)
under a guard (`guard.py`) that ends everything below it even when this process gets SIGKILL, sees only an allow-list of
environment variables, and writes to a log that tells why when it dies (`server_log.py`). Its console script fails where
package metadata is incomplete, so it is started as a module. CUDA counts GPUs by speed unless told otherwise, the
driver by their place on the bus: the server is always told to count as the driver does, so that the GPU that is watched
is the one that serves.

Start-up is timed from the process's start to the first healthy answer, in seconds. Its main memory is the
proportional set size (PSS, proc(5)) of all its processes, in GiB; what a GPU holds is told by `startup.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import Field

from bench import guard
from bench.passed import not_set
from bench.redact import redacted, secret_variable
from bench.scrape import fetch
from bench.server_log import ServerLog, log_here, too_slow, why_ended
from hardware_profiles.curve import Value
from hardware_profiles.faults import Fault, InputError

MODULE = "vllm.entrypoints.openai.api_server"
HEALTH_EVERY_S = 0.25
PATIENCE_S = 15.0
"""How long the guard may take to end everything."""

_ALLOWED = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|TZ|TMPDIR|LD_LIBRARY_PATH|LD_PRELOAD|SSL_CERT_FILE|SSL_CERT_DIR"
    r"|(LC|CUDA|NVIDIA|NCCL|HIP|ROCM|ROCR|HSA|HF|TRANSFORMERS|VLLM|TORCH|TRITON|OMP|KMP|MKL|XDG)_.*"
)


class ServerSpec(Value):
    """How to start one vLLM server."""

    python: str
    """The Python that has vLLM."""
    model: str
    """A folder or a hub name: what vLLM loads."""
    served_name: str
    weights: str = "real"
    """`real` or `dummy` (random, nothing is loaded)."""
    args: tuple[str, ...] = ()
    """Further arguments for vLLM."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Beside the allow-list."""
    passed: tuple[str, ...] = ()
    """Names of further variables, whose values are taken from our environment at each start and never stored."""
    cpus: tuple[int, ...] = ()
    """Cores for the server; empty: all."""
    start_timeout_s: float = 900.0
    request_timings: bool = True
    """Whether this vLLM can tell the timings of single requests; versions before July 2026 cannot, and refuse to start
    when they are asked to."""
    grace_s: float = 5.0
    """From SIGTERM to SIGKILL; nothing is left well within 10 s of this process's end."""

    def command(self, port: int) -> list[str]:
        """The whole command line."""
        told = ["--model", self.model, "--served-model-name", self.served_name]
        ours = ["--host", "127.0.0.1", "--port", str(port)]
        return [self.python, "-m", MODULE, *ours, *told, *self._measured(), *self.args]

    def shown_args(self) -> tuple[str, ...]:
        """What a curve stores: without this machine's port and paths, secrets redacted."""
        model = Path(self.model).name if Path(self.model).is_absolute() else self.model
        return redacted(("--model", model, *self._measured(), *self.args))

    def _measured(self) -> tuple[str, ...]:
        """What every measured server gets: its own timings and cached tokens in `usage`, no line per request."""
        loading = ("--load-format", "dummy") if self.weights == "dummy" else ()
        timings = ("--enable-per-request-metrics",) if self.request_timings else ()
        return (*loading, *timings, "--enable-prompt-tokens-details", "--disable-uvicorn-access-log")


@dataclass(frozen=True)
class Server:
    """A healthy server."""

    spec: ServerSpec
    url: str
    log: ServerLog
    start_up_s: float
    process: subprocess.Popen[str]
    """The guard."""
    pid: int
    """vLLM's own first process, leader of its session."""

    def alive(self) -> bool:
        """False once vLLM has ended."""
        return self.process.poll() is None and _running(self.pid)

    def processes(self) -> list[int]:
        """vLLM's live processes."""
        return guard.descendants(self.process.pid)

    def host_memory_gib(self) -> float | None:
        """Proportional set size of all its processes; None where the system does not tell."""
        sizes = [_pss_kib(pid) for pid in self.processes()]
        return None if not sizes or None in sizes else sum(size for size in sizes if size) / 2**20

    @cached_property
    def death(self) -> Fault:
        """What to say when it has died; the guard tells the status once."""
        return why_ended(self.log, _status(self.process), "while it was being measured")


@contextmanager
def serving(spec: ServerSpec, path: Path, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Server]:
    """Start vLLM, hand it out when it is healthy, end it and everything below it; `InputError` when it cannot.

    Its log is added to what stands at `path`.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    log, port = log_here(path), free_port()
    started = clock()
    process = _start(spec, path, port)
    pid = None
    try:
        pid = _first_line(process, log)
        url = f"http://127.0.0.1:{port}"
        _wait_until_healthy(process, url, log, started + spec.start_timeout_s, clock)
        yield Server(spec=spec, url=url, log=log, start_up_s=clock() - started, process=process, pid=pid)
    finally:
        _end(process, pid)


def environment(spec: ServerSpec, outer: Mapping[str, str]) -> dict[str, str]:
    """What the server sees: the allow-list without secrets, the hub's token where it loads from there, and `spec`'s."""
    kept = {name: value for name, value in outer.items() if _ALLOWED.fullmatch(name) and not secret_variable(name)}
    local = spec.weights == "dummy" or Path(spec.model).is_dir()
    if local:
        kept |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    elif "HF_TOKEN" in outer:
        kept["HF_TOKEN"] = outer["HF_TOKEN"]
    missing = [name for name in spec.passed if name not in outer]
    if missing:
        raise InputError(*(Fault(*not_set(name), column="--server-env", value=name) for name in missing))
    kept |= {name: outer[name] for name in spec.passed}
    always = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    return kept | always | spec.environment


def knows_request_timings(spec: ServerSpec) -> bool:
    """Whether the vLLM of the server's Python has the option; True where that cannot be seen: starting it will tell.

    Its text is looked through and not imported, which would take ten seconds and more.
    """
    try:
        command = [spec.python, "-c", _LOOK_FOR, "enable_per_request_metrics"]
        found = subprocess.run(command, env=environment(spec, os.environ), capture_output=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return True
    return found.stdout.strip() != b"0"


_LOOK_FOR = """
import importlib.util, pathlib, sys
spec = importlib.util.find_spec("vllm")
roots = [pathlib.Path(root, "entrypoints") for root in spec.submodule_search_locations or ()]
files = [path for root in roots for path in root.rglob("*.py")]
print(int(any(sys.argv[1] in path.read_text("utf-8", "replace") for path in files)))
"""


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(spec: ServerSpec, log: Path, port: int) -> subprocess.Popen[str]:
    if shutil.which(spec.python) is None:
        raise InputError(
            Fault(
                "the server's Python cannot be run", "name one that has vLLM: --server-python PATH", value=spec.python
            )
        )
    cpus = ",".join(str(cpu) for cpu in spec.cpus)
    watch = [sys.executable, "-I", guard.__file__, str(spec.grace_s), cpus, str(log)]
    with log.open("ab") as output:
        return subprocess.Popen(
            [*watch, *spec.command(port)],
            env=environment(spec, os.environ),
            cwd=log.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            start_new_session=True,
        )


def _first_line(process: subprocess.Popen[str], log: ServerLog) -> int:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line.isdigit():
        raise InputError(why_ended(log, None, "before it was started"))
    return int(line)


def _wait_until_healthy(
    process: subprocess.Popen[str], url: str, log: ServerLog, deadline: float, clock: Callable[[], float]
) -> None:
    while not _healthy(url):
        if process.poll() is not None:
            raise InputError(why_ended(log, _status(process), "before it was ready"))
        if clock() > deadline:
            raise InputError(too_slow(log))
        time.sleep(HEALTH_EVERY_S)


def _healthy(url: str) -> bool:
    try:
        fetch(f"{url}/health", timeout_s=5)
    except OSError:
        return False
    return True


def _end(process: subprocess.Popen[str], pid: int | None) -> None:
    """Close the pipe and wait for the guard; end the group ourselves should the guard be gone."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.returncode != 0 and pid is not None:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    process.stdout.close()


def _status(process: subprocess.Popen[str]) -> int | None:
    """The command's exit status as the guard told it; None when the guard itself was killed."""
    assert process.stdout is not None
    with suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE_S)
    line = process.stdout.readline().strip()
    return int(line) if re.fullmatch(r"-?\d+", line) else None


def _running(pid: int) -> bool:
    """False for a process that has ended, collected or not."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _pss_kib(pid: int) -> int | None:
    try:
        rollup = Path("/proc", str(pid), "smaps_rollup").read_text()
    except OSError:
        return None
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) if found else None
