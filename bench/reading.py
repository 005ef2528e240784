"""Reads all sockets whose packets the kernel stamps: together, behind one watcher of gevent's loop, and not too often.

Why: where the kernel stamps what comes in, nobody has to hurry to read it, and hurry is dear. A loop that turns for
every packet or two pays for the turn, and is woken by a server on another core that is still busy with the same memory;
however lean the reader, an event then costs half as much again as one of twenty that are read together.

How: the loop watches an epoll descriptor, which is readable when any socket in it is (man 7 epoll), and then reads all
that are. If it did so less than `SPACING_NS` before, then the next time is that long after: a timer's descriptor is
watched instead, until it finds nothing to read. So a few streams are read at once, as ever; of many, bytes wait for
half a millisecond at most. What that costs: two packets of one stream within that time may come as one read, with the
later one's stamp, and the end of an answer is noticed that much later.

Everything here runs in the hub: it may not block, and a greenlet that is woken runs before the next socket is read.
"""

from __future__ import annotations

import functools
import struct
import time
from typing import Any, Protocol

from gevent import monkey
from gevent.hub import get_hub

from bench.alarm import Timer

SPACING_NS = 500_000
_BATCH = 256
"""Sockets read in one turn of the loop: what else is due, such as a send, is not kept waiting by more of them."""
_READ = 1
"""libev's and, as EPOLLIN, epoll's: level-triggered, so that what one read left is told again."""
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


_Row = tuple[Any, list[bytes], Reader, bool]
"""Socket, what is kept of it, whose it is, whether only what may be an end is told: all that a read touches stands
together, since of hundreds of streams none is in the processor's cache when its turn comes."""


class Reading:
    """The sockets of one loop."""

    def __init__(self, loop: Any) -> None:
        # Locust's patching takes epoll out of `select`, because it may block; asked with a timeout of 0 it does not
        self._epoll = monkey.get_original("select", "epoll")()
        self._receive = monkey.get_original("socket", "socket").recvmsg
        self._timer = Timer(time.CLOCK_MONOTONIC)
        self._at_once = loop.io(self._epoll.fileno(), _READ)
        self._spaced = loop.io(self._timer.descriptor, _READ)
        self._last_ns = 0
        self._rows: list[_Row | None] = []
        """By descriptor."""
        self._count = 0

    def add(self, sock: Any, kept: list[bytes], reader: Reader) -> None:
        """From now on; `kept` gets each read's bytes and after them its stamp, a `timespec`."""
        descriptor = sock.fileno()
        self._epoll.register(descriptor, _READ)
        self._rows += [None] * (descriptor + 1 - len(self._rows))
        self._rows[descriptor] = (sock, kept, reader, False)
        self._count += 1
        if self._count == 1:
            self._at_once.start(self._on_bytes)

    def tell(self, sock: Any, *, only_ends: bool) -> None:
        """Of each read, or only of one that may hold the end of a chunked body: a short one, or one after which an
        empty line may have come."""
        row = self._rows[sock.fileno()]
        assert row is not None
        self._rows[sock.fileno()] = (*row[:3], only_ends)

    def remove(self, sock: Any) -> None:
        """Before it is closed; without sockets the loop has nothing to wait for."""
        self._epoll.unregister(sock.fileno())
        self._rows[sock.fileno()] = None
        self._count -= 1
        if not self._count:
            self._at_once.stop()
            self._spaced.stop()

    # what the loop calls --------------------------------------------------------------------------------------------

    def _on_bytes(self) -> None:
        now_ns = time.monotonic_ns()
        since_ns, self._last_ns = now_ns - self._last_ns, now_ns
        found = self._read()
        if since_ns < SPACING_NS and self._count:
            self._at_once.stop()
            self._space(found)
            self._spaced.start(self._on_timer)

    def _on_timer(self) -> None:
        found = self._read()
        if found:
            self._space(found)
        elif self._count:
            self._last_ns = time.monotonic_ns()
            self._spaced.stop()
            self._at_once.start(self._on_bytes)

    def _space(self, found: int) -> None:
        self._timer.after(SPACING_NS if found < _BATCH else 1)

    def _read(self) -> int:
        """Each socket that has something to read, once; how many there were. This is the hot path."""
        receive, rows = self._receive, self._rows
        ready = self._epoll.poll(0, _BATCH)
        for descriptor, _ in ready:
            row = rows[descriptor]
            if row is None:  # closed by a greenlet that was woken a moment ago
                continue
            try:
                data, ancillary, _, _ = receive(row[0], _SIZE, _ANCILLARY)
            except OSError as error:
                row[2].trouble(error)
                continue
            if not data:
                row[2].closed()
                continue
            kept = row[1]
            kept.append(data)
            kept.append(ancillary[0][2] if ancillary else timespec(time.time_ns()))
            if not row[3] or len(data) < 5 or data[-4] == _CR:
                row[2].took(data)
        return len(ready)


def timespec(nanoseconds: int) -> bytes:
    """As the kernel's stamps are: two int64, seconds and nanoseconds."""
    return struct.pack("qq", *divmod(nanoseconds, 1_000_000_000))


def reading() -> Reading:
    """This thread's."""
    return _of(get_hub().loop)


@functools.cache
def _of(loop: Any) -> Reading:
    return Reading(loop)
