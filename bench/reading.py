"""Reads all sockets whose packets the kernel stamps: together, behind one watcher of gevent's loop, and not too often.

Why: where the kernel stamps what comes in, nobody has to hurry to read it, and hurry is dear. A loop that turns for
every packet or two pays for the turn, and is woken by a server on another core that is still busy with the same memory;
however lean the reader, an event then costs half as much again as one of twenty that are read together.

How: the loop watches an epoll descriptor, which is readable when any socket in it is (man 7 epoll), and then reads all
that are. If it did so less than `SPACING_NS` before, then the next time is that long after: a timer's descriptor is
watched instead, until it finds nothing to read. So a few streams are read at once, as ever; of many, bytes wait for
half a millisecond at most. What that costs: two packets of one stream within that time may come as one read, with the
later one's stamp, and the end of an answer is noticed that much later.

Everything here runs in the hub: it may not block, and a greenlet that is woken runs before the next one is told.
"""

from __future__ import annotations

import functools
import os
import time
from typing import Any

from gevent import monkey
from gevent.hub import get_hub

from bench.alarm import Timer
from bench.reads import COMPILED, Reader, Row, compiled_read, interpreted_read

SPACING_NS = 500_000
_BATCH = 64
"""Sockets read in one turn of the loop: what else is due, such as a send, is not kept waiting by more of them."""
_READ = 1
"""libev's and, as EPOLLIN, epoll's: level-triggered, so that what one read left is told again."""


class Reading:
    """The sockets of one loop; `compiled` says how they are read."""

    def __init__(self, loop: Any, *, compiled: bool = COMPILED) -> None:
        # Locust's patching takes epoll out of `select`, because it may block; asked with a timeout of 0 it does not
        self._epoll = monkey.get_original("select", "epoll")()
        receive = monkey.get_original("socket", "socket").recvmsg
        self._read_ready = compiled_read(self._epoll) if compiled else interpreted_read(self._epoll, receive)
        self._timer = Timer(time.CLOCK_MONOTONIC)
        self._at_once = loop.io(self._epoll.fileno(), _READ)
        self._spaced = loop.io(self._timer.descriptor, _READ)
        self._last_ns = 0
        self._rows: list[Row | None] = []
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
        """Read all that are ready, up to a batch, then tell whoever has to know; how many were ready."""
        found, told = self._read_ready(self._rows, _BATCH)
        for (sock, _, reader, _), what in told:
            if sock.fileno() < 0:  # closed by a greenlet that was woken a moment ago
                continue
            if isinstance(what, int):
                reader.trouble(OSError(what, os.strerror(what)))
            elif what:
                reader.took(what)
            else:
                reader.closed()
        return found


def reading() -> Reading:
    """This thread's."""
    return _of(get_hub().loop)


@functools.cache
def _of(loop: Any) -> Reading:
    return Reading(loop)
