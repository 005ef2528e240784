"""Why a server ended, out of its log; the lines are those of a real vLLM 0.32.0, shortened."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from bench.server_log import LAST_LINES, ServerLog, log_here, too_slow, why_ended

FRONT = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
ENGINE = "Exception: WorkerProc initialization failed due to an exception in a background process."
WORKER = "(Worker pid=20370) ERROR 11-28 17:03:39 [multiproc_executor.py:953] "
CORE = "(EngineCore pid=20189) ERROR 11-28 17:03:44 [core.py:1510] "
FRAMES = ["Traceback (most recent call last):", *['  File "core.py", line 1', "    f()", "    ^^^"] * 12]
LESS = "give it less to hold (after `--`: --max-model-len, --gpu-memory-utilization) or more memory"


def log_of(folder: Path, error: str) -> ServerLog:
    """A start that failed in a worker: its traceback, the engine's, and the front end's last."""
    head = ["(APIServer pid=1) WARNING 11-28 17:02:13 [system_utils.py:255] fd limit errors like `OSError: [Errno 24]`"]
    worker = [WORKER + line for line in (*FRAMES, error)]
    engine = [CORE + line for line in (*FRAMES, ENGINE)]
    path = folder / "server.log"
    path.write_text("\n".join([*head, *worker, *engine, *FRAMES, FRONT]) + "\n")
    return ServerLog(path)


@pytest.mark.parametrize(
    ("error", "how", "remedy"),
    [
        ("KeyError: 'q_proj.weight'", "ended (exit status 1)", "read the whole log"),
        *(
            (error, "ran out of memory", LESS)
            for error in (
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
                "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 25600000000 bytes.",
                "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.",
                "ValueError: (16.00 GiB KV cache is needed, which is larger than the available KV cache memory (9 GiB)",
                "ValueError: Free memory on device cuda:0 (3.1/79.2 GiB) on startup is less than desired GPU memory",
            )
        ),
    ],
)
def test_the_root_cause_is_shown_beside_the_end(tmp_path: Path, error: str, how: str, remedy: str) -> None:
    """The engine's front end ends its log with where to look: the first error is told, and what it calls for."""
    log = log_of(tmp_path, error)
    found = why_ended(log, 1, "before it was ready")
    assert (found.what, found.remedy) == (f"vLLM {how} before it was ready", remedy)
    assert found.file == str(log.path)
    assert found.lines[:2] == (f"the first error in its log: {error}", "its log ends:")
    assert found.lines[-1] == f"  {FRONT}"
    assert len(found.lines) == 2 + LAST_LINES


def test_an_error_that_ends_the_log_is_not_told_twice(tmp_path: Path) -> None:
    """It stands among the last lines; and a line that only names an error was not raised."""
    path = tmp_path / "server.log"
    survived = "ImportError: no flash attention, going on without\n"
    path.write_text(f"{survived}Traceback (most recent call last):\nKeyError: 1\n")
    assert why_ended(ServerLog(path), 1, "").lines[0] == "its log ends:"
    path.write_text(f"{survived}ready\n")
    assert ServerLog(path).first_error() is None


def test_an_earlier_start_is_no_reason_for_this_one(tmp_path: Path) -> None:
    """A resumed run adds to the log: a lack of memory before is none now."""
    earlier = log_of(tmp_path, "torch.OutOfMemoryError: CUDA out of memory.")
    here = log_here(earlier.path)
    with earlier.path.open("a") as file:
        file.write("bad flag\n")
    found = why_ended(here, 2, "before it was ready")
    assert (found.what, found.lines) == (
        "vLLM ended (exit status 2) before it was ready",
        ("its log ends:", "  bad flag"),
    )


def test_a_log_that_says_nothing_leaves_the_status(tmp_path: Path) -> None:
    """Killed, or an end that nobody saw; without a log there is nothing to show."""
    none = log_here(tmp_path / "none")
    killed = why_ended(none, -signal.SIGKILL, "now")
    assert (killed.what, killed.lines) == ("vLLM ended (killed by SIGKILL) now", ())
    assert killed.remedy == "look whether the system ran out of memory, or who killed it"
    assert why_ended(none, None, "now").what == "vLLM ended (status unknown) now"


def test_a_start_that_takes_too_long_shows_where_it_stands(tmp_path: Path) -> None:
    """An error that it hangs on, and its last lines."""
    found = too_slow(log_of(tmp_path, "ConnectionError: the hub does not answer"))
    assert found.what == "vLLM was not ready in time"
    assert found.lines[0] == "the first error in its log: ConnectionError: the hub does not answer"
