"""One at a time, where two would take each other's things: a run's folder, self-checks, a GPU at a server's start.

Why: a second `bench run --raw X` would remove what the first is about to read, two self-checks load each other's
client, and of two servers that start at once on one GPU each would take the other's processes for its own. How: an
exclusive lock (flock(2)) on the folder itself, which the kernel lets go when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hardware_profiles.faults import Fault, InputError


@contextmanager
def alone(folder: Path, remedy: str) -> Iterator[None]:
    """Hold the folder while the block runs; it is made where it is not there. `InputError` where another holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(Fault("another `bench` is at work here", remedy, str(folder))) from None
    try:
        yield
    finally:
        os.close(descriptor)
