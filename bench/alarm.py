"""Timers that are not rounded: a timer descriptor (man 2 timerfd_create), which gevent's loop watches like a socket.

Why: libev rounds its waits up to a millisecond (0.4-1.1 ms late here), which is more than a send may lag. Linux only;
elsewhere the rounded sleep.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any

import gevent
from gevent import socket

_ABSOLUTE = 1  # TFD_TIMER_ABSTIME


class Timer:
    """One timer; its descriptor is readable from the moment on, until it is set again or read."""

    def __init__(self, clock: int) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor: int = self._libc.timerfd_create(clock, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def at(self, moment_ns: int) -> None:
        """Of the timer's clock."""
        self._libc.timerfd_settime(self.descriptor, _ABSOLUTE, _once(moment_ns), None)

    def after(self, length_ns: int) -> None:
        """From now."""
        self._libc.timerfd_settime(self.descriptor, 0, _once(length_ns), None)


def _once(nanoseconds: int) -> bytes:
    return struct.pack("4q", 0, 0, *divmod(nanoseconds, 1_000_000_000))


@contextlib.contextmanager
def alarm() -> Iterator[Any]:
    """Gives a function that sleeps (this greenlet only) until a CLOCK_REALTIME moment in nanoseconds."""
    if sys.platform != "linux":
        yield lambda moment_ns: gevent.sleep(max(0.0, (moment_ns - time.time_ns()) / 1e9))
        return
    timer = Timer(time.CLOCK_REALTIME)

    def sleep_until(moment_ns: int) -> None:
        if moment_ns <= time.time_ns():
            return
        timer.at(moment_ns)
        socket.wait_read(timer.descriptor)
        os.read(timer.descriptor, 8)

    try:
        yield sleep_until
    finally:
        os.close(timer.descriptor)
