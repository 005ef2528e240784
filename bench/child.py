"""Starts child processes that never outlive us.

Why: a load generator or a server that lives on after its parent was killed burns a machine that nobody watches. A child
gets a session of its own (so that Ctrl-C reaches us first and we end it in order) and, on Linux, the kernel kills it
when the thread that started it ends (prctl PR_SET_PDEATHSIG, man 2 prctl). That holds for SIGKILL of the parent too.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def start(
    arguments: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cpus: Iterable[int] | None = None,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """`Popen` in a session of its own that dies with the calling THREAD; pinned to `cpus` when given."""
    pinned = None if cpus is None else tuple(cpus)
    parent = os.getpid()

    def settle() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # it died between fork and prctl
                os._exit(1)
        if pinned:
            os.sched_setaffinity(0, pinned)

    return subprocess.Popen([str(a) for a in arguments], env=env, start_new_session=True, preexec_fn=settle, **options)  # noqa: PLW1509  # the function only makes system calls


def open_all_files() -> int:
    """Let this process open as many files and sockets as the system allows it at all; that number.

    Many systems give 1024 unless asked, and a stream is a socket on either side.
    """
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):  # macOS says "no limit" and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        return most
    return soft


def end(children: Iterable[subprocess.Popen[bytes]], *, grace_s: float = 5.0) -> None:
    """SIGTERM to each child's session, SIGKILL after `grace_s`; returns when all are gone."""
    alive = [child for child in children if child.poll() is None]
    for child in alive:
        _signal(child, signal.SIGTERM)
    for child in alive:
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            _signal(child, signal.SIGKILL)
            child.wait()


def kill(children: Iterable[subprocess.Popen[bytes]]) -> None:
    """SIGKILL to each child's session, at once."""
    for child in children:
        if child.poll() is None:
            _signal(child, signal.SIGKILL)
            child.wait()


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)
