"""What a server's log says of one start: its last lines, the first error in it, and from both why it ended.

Why: vLLM's engine runs in processes of its own, and what stands last in its log when it cannot start is the front end
saying that it failed, "see root cause above". So the first error after a traceback is shown beside the last lines. A
resumed run adds to the log, and what an earlier start said is no reason for this one: only what was written since is
read.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from pathlib import Path

from hardware_profiles.faults import Fault

LAST_LINES = 15
SEARCHED_LINES = 200
"""How far from its end a reason is looked for: further up, what went wrong was survived."""

_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|can't allocate memory|not enough GPU memory|No available memory for the cache blocks"
    r"|larger than the available KV cache memory|Free memory on device .* is less than desired",
    re.IGNORECASE,
)
_PREFIX = re.compile(r"^(?:\([^)]*\) )?(?:(?:ERROR|CRITICAL|WARNING|INFO|DEBUG) \S+ \S+ \[[^\]]*\] ?)?")
"""What vLLM's processes and its logger put before each line."""
_ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception)(?:: .+)?$")


@dataclass(frozen=True)
class ServerLog:
    """The part of a log file that one start wrote."""

    path: Path
    begin: int = 0
    """Bytes that stood there before."""

    def text(self) -> str:
        """All of it; empty where there is none."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.begin)
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def first_error(self) -> str | None:
        """The exception that the first traceback ends with."""
        lines = (_PREFIX.sub("", line) for line in self.text().splitlines())
        raised = False
        for line in lines:
            raised = raised or line.startswith("Traceback (most recent call last)")
            if raised and _ERROR.match(line):
                return line
        return None


def log_here(path: Path) -> ServerLog:
    """The log of a start that is about to be."""
    return ServerLog(path, path.stat().st_size if path.exists() else 0)


def why_ended(log: ServerLog, status: int | None, when: str) -> Fault:
    """Why it ended, and what to do about it."""
    lines, first = log.text().splitlines(), log.first_error()
    seen = "\n".join((first or "", *lines[-SEARCHED_LINES:]))
    how, remedy = f"ended ({_status_text(status)})", "read the whole log"
    if "No module named 'vllm" in seen or "No module named vllm" in seen:
        remedy = "name a Python that has vLLM: --server-python PATH, or hand on what leads to it: "
        remedy += "--server-env PYTHONPATH"
    elif _OUT_OF_MEMORY.search(seen):
        how = "ran out of memory"
        remedy = "give it less to hold (after `--`: --max-model-len, --gpu-memory-utilization) or more memory"
    elif status == -signal.SIGKILL:
        remedy = "look whether the system ran out of memory, or who killed it"
    return Fault(f"vLLM {how} {when}", remedy, file=str(log.path), lines=_shown(lines, first))


def too_slow(log: ServerLog) -> Fault:
    """It was not ready in time."""
    lines = _shown(log.text().splitlines(), log.first_error())
    return Fault("vLLM was not ready in time", "allow more with --start-timeout", str(log.path), lines=lines)


def _shown(lines: list[str], first: str | None) -> tuple[str, ...]:
    last = lines[-LAST_LINES:]
    above = first is not None and not any(first in line for line in last)
    told = (f"the first error in its log: {first}",) if above else ()
    return (*told, *(("its log ends:", *(f"  {line}" for line in last)) if last else ()))


def _status_text(status: int | None) -> str:
    if status is None:
        return "status unknown"
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
