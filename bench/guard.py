"""Runs one command and makes sure that nothing of it outlives whoever asked for it. Standard library only, Linux.

Why: vLLM starts engine and worker processes that can outlive their parent and keep a GPU's memory. `bench` may end by
SIGKILL, which no handler sees, so somebody else has to be watching.

How: `bench` starts `python -I guard.py GRACE_S CPUS LOG COMMAND...` and holds the other end of its stdin. The guard
starts the command in a session of its own (which dies with the guard: PR_SET_PDEATHSIG) and is the subreaper of
everything below it (PR_SET_CHILD_SUBREAPER, prctl(2)), so that an orphan in whatever session stays findable. When its
stdin ends, or the command does, it ends every descendant: SIGTERM to the command's group, SIGKILL to all that is left
after GRACE_S. On stdout it writes the command's process id, and when all is over its exit status, a line each.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.05


def descendants(root: int) -> list[int]:
    """Every live process below `root`, from /proc; zombies left out."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue  # it ended while we looked
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(entry.name))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


class Guard:
    """The command, watched."""

    def __init__(self, command: list[str], log: str, cpus: set[int]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        guard = os.getpid()

        def bind_life() -> None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != guard:  # the guard died between fork and prctl
                os._exit(1)
            if cpus:
                os.sched_setaffinity(0, cpus)

        with Path(log).open("ab") as output:
            self.command = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=bind_life,  # noqa: PLW1509 (one thread here, so it is safe)
            )
        self.status: int | None = None

    def wait(self) -> None:
        """Return when the command has ended, or the asker's pipe has."""
        poll = select.poll()
        poll.register(os.pidfd_open(self.command.pid), select.POLLIN)
        poll.register(0, select.POLLIN)
        poll.poll()
        self.reap()

    def reap(self) -> bool:
        """Collect what has ended, adopted orphans too, and remember how the command did; False when none is left."""
        try:
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self.command.pid:
                    self.status = self.command.returncode = os.waitstatus_to_exitcode(ended[1])
        except ChildProcessError:
            return False
        return True

    def end_all(self, grace_s: float) -> None:
        """SIGTERM, a while of grace, then SIGKILL until nothing is left (a zombie's threads may still be ending)."""
        deadline = time.monotonic() + grace_s
        with suppress(ProcessLookupError):
            os.killpg(self.command.pid, signal.SIGTERM)
        while self.reap():
            if time.monotonic() >= deadline:
                for pid in descendants(os.getpid()):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_S)


def main(arguments: list[str]) -> None:
    """`guard.py GRACE_S CPUS LOG COMMAND...`; CPUS is `0,1` or empty for all."""
    grace_s, cpus, log, *command = arguments
    guard = Guard(command, log, {int(cpu) for cpu in cpus.split(",") if cpu})
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # after the start: the command would inherit them
        signal.signal(number, signal.SIG_IGN)  # the asker decides, and its pipe says so
    print(guard.command.pid, flush=True)
    guard.wait()
    guard.end_all(float(grace_s))
    with suppress(BrokenPipeError):
        print(guard.status, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
