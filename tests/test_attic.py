"""Exchanges that wait on disk come back as they were."""

from __future__ import annotations

from pathlib import Path

import gevent
import numpy as np
import pytest

from bench import attic
from bench.attic import Attic
from bench.wire import Exchange

EMPTY = (b"", b"", b"")


def exchanges(count: int) -> list[Exchange]:
    generator = np.random.default_rng(1)
    sizes = generator.integers(0, 3000, (count, 3))
    sizes[::7] = 0  # nothing came
    return [Exchange(k, 1, 2, "", "", *(generator.bytes(size) for size in row)) for k, row in enumerate(sizes)]


def parts(exchange: Exchange) -> tuple[bytes, bytes, bytes]:
    return exchange.raw, exchange.reads, exchange.marks


def test_what_was_put_is_taken(tmp_path: Path) -> None:
    """Two thousand exchanges through blocks of 64 KiB, more buffers than one system call takes: each comes back whole
    and in order, while most had left the memory; the file is gone at the end."""
    path = tmp_path / "raw"
    kept = Attic(path, room=0, block=1 << 16)
    whole = [parts(one) for one in exchanges(2000)]
    for number, one in enumerate(exchanges(2000)):
        kept.put(number, one)
        gevent.sleep(0)
    for _ in range(200):  # a busy machine writes later
        gevent.sleep(0.05)
        waiting = sum(parts(each.exchange) != EMPTY for each in kept._all)
        if waiting < 500:
            break
    assert waiting < 500
    assert path.stat().st_size > 6_000_000
    assert len(kept) == 2000
    taken = [(number, parts(one)) for number, one in kept.take()]
    assert taken == list(enumerate(whole))
    assert not path.exists()


def test_a_full_disk_costs_memory_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes that fail or end early: everything is there all the same, and it is told."""

    def full(_: int, buffers: list[bytes], at: int) -> int:
        if at == 0:
            return sum(map(len, buffers)) - 1
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(attic.os, "pwritev", full)
    kept = Attic(tmp_path / "raw", room=0, block=1 << 16)
    for number, one in enumerate(exchanges(300)):
        kept.put(number, one)
        gevent.sleep(0)
    assert [parts(one) for _, one in kept.take()] == [parts(one) for one in exchanges(300)]
    assert kept.trouble == "the disk took only a part"


def test_what_has_room_in_memory_is_not_written(tmp_path: Path) -> None:
    """A megabyte has room: of two thousand exchanges the oldest go to disk and that much stays, and all come back."""
    path = tmp_path / "raw"
    kept = Attic(path, room=1 << 20, block=1 << 16)
    whole = [parts(one) for one in exchanges(2000)]
    sizes = [sum(map(len, one)) for one in whole]
    before = next(n for n in range(2000) if sum(sizes[: n + 1]) >= 1 << 20)
    for number, one in enumerate(exchanges(2000)):
        kept.put(number, one)
        gevent.sleep(0)
        assert number >= before or path.stat().st_size == 0
    for _ in range(200):
        gevent.sleep(0.05)
        held = sum(sum(map(len, parts(each.exchange))) for each in kept._all)
        if held < (1 << 20) + (1 << 16):
            break
    assert 1 << 20 <= held < (1 << 20) + (1 << 16)
    assert [parts(one) for _, one in kept.take()] == whole


def test_nothing_is_taken_from_nothing(tmp_path: Path) -> None:
    """A stage in which nothing was sent."""
    assert list(Attic(tmp_path / "raw").take()) == []
