"""Where finished exchanges wait for the end of the stage: the oldest on disk, or a long one would fill the memory.

Why: what came over the wire is decoded after the stage, and 25,000 events a second are 4 MB a second (164 bytes each of
the paced server's, with sizes and stamps). How: half a minute of that stays in memory, because writing costs the core
that reads the streams, and most where many end at once.
Beyond `ROOM` a thread of gevent's pool writes the oldest, a few megabytes at a time, at offsets that are known
beforehand; the write gives the interpreter free, so that streams go on being read meanwhile, and the bytes are let go
once they are written. Where the disk takes no more they stay in memory, and the stage's facts say so.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gevent
from gevent.hub import get_hub
from gevent.threadpool import ThreadResult

from bench.wire import Exchange

ROOM = 128 << 20
"""Bytes that may wait in memory, of each worker."""
BLOCK = 4 << 20
_BUFFERS = 1023
"""Buffers of one system call, in whole exchanges of three: Linux takes 1024 (IOV_MAX, man 2 writev)."""


@dataclass(slots=True)
class _Kept:
    number: int
    exchange: Exchange
    at: int
    """Where its bytes stand in the file."""
    sizes: tuple[int, int, int]
    written: bool = False


class Attic:
    """`put` while the stage runs, `take` once after it."""

    def __init__(self, path: Path, *, room: int = ROOM, block: int = BLOCK) -> None:
        self._path, self._room, self._block = path, room, block
        self._file = path.open("w+b", buffering=0)
        self._all: list[_Kept] = []
        self._new: deque[_Kept] = deque()
        self._end = 0
        self._held = 0
        self._under_way: ThreadResult | None = None
        self.trouble = ""

    def __len__(self) -> int:
        """Exchanges."""
        return len(self._all)

    def put(self, number: int, exchange: Exchange) -> None:
        """Keep one; its bytes may be let go as soon as the caller's greenlet gives way."""
        sizes = len(exchange.raw), len(exchange.reads), len(exchange.marks)
        kept = _Kept(number, exchange, self._end, sizes)
        self._end += sum(sizes)
        self._held += sum(sizes)
        self._all.append(kept)
        self._new.append(kept)
        self._begin()

    def take(self) -> Iterator[tuple[int, Exchange]]:
        """Every exchange with its bytes, in order of its end; each is let go when the next is asked for."""
        while self._under_way is not None:
            gevent.sleep(0.001)
        for kept in self._all:
            exchange = kept.exchange
            if kept.written:
                data = os.pread(self._file.fileno(), sum(kept.sizes), kept.at)
                first, second = kept.sizes[0], kept.sizes[0] + kept.sizes[1]
                exchange.raw, exchange.reads, exchange.marks = data[:first], data[first:second], data[second:]
            yield kept.number, exchange
            exchange.raw = exchange.reads = exchange.marks = b""
        self._file.close()
        self._path.unlink()

    def _begin(self) -> None:
        """Hand the oldest block to the thread, one at a time: nobody waits for it."""
        if self._held < self._room + self._block or self._under_way is not None or self.trouble:
            return
        block, size = [], 0
        while size < self._block:
            block.append(self._new.popleft())
            size += sum(block[-1].sizes)
        self._held -= size
        self._under_way = get_hub().threadpool.spawn(self._write, block)
        self._under_way.rawlink(lambda _: self._written(block))

    def _write(self, block: list[_Kept]) -> None:
        """In a thread."""
        at = block[0].at
        try:
            for begin in range(0, len(block), _BUFFERS // 3):
                buffers = [part for kept in block[begin : begin + _BUFFERS // 3] for part in _parts(kept.exchange)]
                whole = sum(map(len, buffers))
                if os.pwritev(self._file.fileno(), buffers, at) != whole:
                    raise OSError("the disk took only a part")
                at += whole
        except OSError as error:
            self.trouble = error.strerror or str(error)
            return
        for kept in block:
            kept.written = True

    def _written(self, block: list[_Kept]) -> None:
        """Back in the loop: let go of what is on disk, and go on with what has come meanwhile."""
        self._under_way = None
        for kept in block:
            if kept.written:
                kept.exchange.raw = kept.exchange.reads = kept.exchange.marks = b""
        self._begin()


def _parts(exchange: Exchange) -> tuple[bytes, bytes, bytes]:
    return exchange.raw, exchange.reads, exchange.marks
