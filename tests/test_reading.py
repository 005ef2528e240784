"""Reading all connections together: nothing is lost, a few are read at once, many not more often than they need be."""

import socket
import sys
import time

import gevent
import pytest
from gevent.hub import get_hub

from bench import reading

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is neither epoll nor a kernel's stamp")
PACKET = b"5\r\nhello\r\n"


class Counting(reading.Reading):
    """Knows when it read, and how many sockets."""

    def __init__(self) -> None:
        super().__init__(get_hub().loop)
        self.turns: list[tuple[int, int]] = []

    def _read(self) -> int:
        self.turns.append((time.monotonic_ns(), found := super()._read()))
        return found


class Stream:
    """One connection within this process, and what its reader was told."""

    def __init__(self, reads: reading.Reading) -> None:
        self.reads = reads
        self.server, self.client = socket.socketpair()
        self.client.setblocking(False)
        self.kept: list[bytes] = []
        self.told: list[str] = []
        self.rivals: list[Stream] = []
        self.open = True
        reads.add(self.client, self.kept, self)

    def took(self, data: bytes) -> None:
        self.told.append(f"took {len(data)}")
        for rival in self.rivals:
            rival.leave()

    def closed(self) -> None:
        self.told.append("closed")
        self.leave()

    def trouble(self, error: OSError) -> None:
        self.told.append(f"trouble {error.strerror}")

    def leave(self) -> None:
        if self.open:
            self.open = False
            self.reads.remove(self.client)
            self.client.close()
            self.server.close()


@pytest.fixture
def reads() -> Counting:
    return Counting()


def until(stream: Stream, reads_done: int) -> None:
    """Wait, a second at most, until so many reads are kept."""
    for _ in range(1000):
        if len(stream.kept) >= 2 * reads_done:
            return
        gevent.sleep(0.001)
    raise AssertionError(f"{len(stream.kept) // 2} reads came")


def test_a_lone_stream_is_read_at_once(reads: Counting) -> None:
    """Packets further apart than the spacing wake us each by itself: none of them waits for a timer."""
    stream = Stream(reads)
    for number in range(20):
        stream.server.send(PACKET)
        until(stream, number + 1)
        gevent.sleep(4 * reading.SPACING_NS / 1e9)
        assert not reads._spaced.active
    assert [found for _, found in reads.turns] == [1] * 20
    assert stream.kept[::2] == [PACKET] * 20
    assert all(len(stamp) == 16 for stamp in stream.kept[1::2])
    stream.leave()


def test_many_streams_are_read_together(reads: Counting) -> None:
    """As fast as the loop turns, packets come on 32 streams: within each spacing there are two turns at most that find
    any (the first of a haste, and the one that is spaced after it), and every byte is kept, in order."""
    streams = [Stream(reads) for _ in range(32)]
    for number in range(3200):
        streams[number % 32].server.send(b"%04d" % number)
        gevent.sleep(0)
    for number, stream in enumerate(streams):
        for _ in range(1000):
            if b"%04d" % (3168 + number) in b"".join(stream.kept[::2]):
                break
            gevent.sleep(0.001)
        assert b"".join(stream.kept[::2]) == b"".join(b"%04d" % k for k in range(number, 3200, 32))
    moments = [moment for moment, found in reads.turns if found]
    assert len(moments) <= 2 * (moments[-1] - moments[0]) / reading.SPACING_NS + 2
    for stream in streams:
        stream.leave()


def test_only_reads_that_may_end_a_body_are_told(reads: Counting) -> None:
    """While a chunked body comes: short ones, and those after which an empty line may have come; all are kept."""
    stream = Stream(reads)
    reads.tell(stream.client, only_ends=True)
    packets = [b"data: hello\n\n\r\n", b"a\n\n\r\n0\r\n\r", b"\n", b"data: a\r\n\r\n"]
    for number, packet in enumerate(packets):
        stream.server.send(packet)
        until(stream, number + 1)
    assert stream.told == ["took 1", "took 11"]
    reads.tell(stream.client, only_ends=False)
    stream.server.send(PACKET)
    until(stream, 5)
    assert stream.told[-1] == "took 10"
    assert stream.kept[::2] == [*packets, PACKET]
    stream.leave()


def test_who_leaves_while_others_are_read_is_not_read(reads: Counting) -> None:
    """Two are readable in one turn, and whichever is read first closes the other: no read of a closed socket; a new
    one, whose descriptor is the closed one's, is read as its own."""
    one, other = Stream(reads), Stream(reads)
    one.rivals, other.rivals = [other], [one]
    one.server.send(PACKET)
    other.server.send(PACKET)
    gevent.sleep(0.01)
    assert sorted([one.told, other.told]) == [[], ["took 10"]]
    heir = Stream(reads)
    heir.server.send(PACKET)
    until(heir, 1)
    assert heir.told == ["took 10"]
    for stream in (one, other, heir):
        stream.leave()


def test_the_last_bytes_come_before_the_end(reads: Counting) -> None:
    """A server that sends and closes at once: its bytes are kept, then its end is told; nothing is watched any more."""
    stream = Stream(reads)
    stream.server.send(PACKET)
    stream.server.close()
    until(stream, 1)
    gevent.sleep(0.01)
    assert stream.told == ["took 10", "closed"]
    assert not reads._at_once.active
    assert not reads._spaced.active


def test_more_than_one_read_takes_is_read_on(reads: Counting) -> None:
    """What a read leaves is told again."""
    stream = Stream(reads)
    whole = bytes(range(256)) * 600  # 150 kB
    gevent.spawn(lambda: [stream.server.send(whole[at : at + 50_000]) for at in range(0, len(whole), 50_000)])
    for _ in range(1000):
        if sum(map(len, stream.kept[::2])) == len(whole):
            break
        gevent.sleep(0.001)
    assert b"".join(stream.kept[::2]) == whole
    stream.leave()
