"""One read of each socket that is ready: its bytes and their stamp kept, its reader told only where it has to know.

Why: this is all that happens while streams come in, up to 25,000 times a second on one core. How: compiled (`_reads.c`)
where the installation found a C compiler and Python's headers (`hatch_build.py`), which leaves little beside the
kernel's own part; Python's where it did not. Both do the same, and a point says which it was (`how_read`).

Linux only: elsewhere the kernel stamps nothing.
"""

from __future__ import annotations

import errno
import functools
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

try:
    from bench import _reads
except ImportError:
    COMPILED = False
else:
    COMPILED = True
KERNEL_STAMPS = sys.platform == "linux"
SO_TIMESTAMPNS = 35  # Linux, include/uapi/asm-generic/socket.h
_SIZE = 65536
_ANCILLARY = 64
_CR = ord("\r")


class Reader(Protocol):
    """Whose socket it is."""

    def took(self, data: bytes) -> None:
        """These bytes came, and are kept."""

    def closed(self) -> None:
        """The other side sends no more."""

    def trouble(self, error: OSError) -> None:
        """It could not be read."""


Row = tuple[Any, list[bytes], Reader, bool]
"""Socket, what is kept of it (each read's bytes, after them its stamp, a `timespec`), whose it is, whether only what
may be the end of a chunked body is told: all that a read touches stands together, since of hundreds of streams none is
in the processor's cache when its turn comes."""
Told = tuple[Row, bytes | int]
"""Whose reader has to know, and what: these bytes came (none: the other side sends no more), or this errno."""
Read = Callable[[list[Row | None], int], tuple[int, list[Told]]]
"""(rows by descriptor, how many to read at most) -> how many were ready, and what is to be told of them."""


def compiled_read(epoll: Any) -> Read:
    """The reads of `_reads.c`, where `COMPILED`."""
    return functools.partial(_reads.read, epoll.fileno())


def interpreted_read(epoll: Any, receive: Any) -> Read:
    """The same in Python; `receive` is the socket's own `recvmsg`, which never gives way to another greenlet."""

    def read(rows: list[Row | None], most: int) -> tuple[int, list[Told]]:
        told: list[Told] = []
        ready = epoll.poll(0, most)
        for descriptor, _ in ready:
            row = rows[descriptor]
            assert row is not None
            try:
                data, ancillary, _, _ = receive(row[0], _SIZE, _ANCILLARY)
            except BlockingIOError:
                continue
            except OSError as error:
                told.append((row, error.errno or errno.EIO))
                continue
            if data:
                kept = row[1]
                kept.append(data)
                kept.append(ancillary[0][2] if ancillary else timespec(time.time_ns()))
            if not row[3] or len(data) < 5 or data[-4] == _CR:
                told.append((row, data))
        return len(ready), told

    return read


def timespec(nanoseconds: int) -> bytes:
    """As the kernel's stamps are: two int64, seconds and nanoseconds."""
    return struct.pack("qq", *divmod(nanoseconds, 1_000_000_000))


def how_read(*, tls: bool, kernel_stamps: bool = KERNEL_STAMPS) -> dict[str, str]:
    """What a point says of the connections it was measured over; ceilings hold for clients that say the same."""
    if tls or not (kernel_stamps and KERNEL_STAMPS):
        return {"wire": "tls" if tls else "raw socket", "stamps": "clock at the read"}
    return {"wire": "raw socket, compiled reads" if COMPILED else "raw socket", "stamps": "kernel"}
