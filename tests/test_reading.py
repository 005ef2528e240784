"""Reading all connections together: nothing is lost, a few are read at once, many not more often than they need be.

Each claim is held for the compiled reads and for Python's."""

import os
import select
import shutil
import socket
import struct
import sys
import sysconfig
import time
from pathlib import Path

import gevent
import pytest
from gevent.hub import get_hub

from bench import reading, reads

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is neither epoll nor a kernel's stamp")
PACKET = b"5\r\nhello\r\n"


class Counting(reading.Reading):
    """Knows when it read, and how many sockets."""

    def __init__(self, compiled: bool) -> None:
        super().__init__(get_hub().loop, compiled=compiled)
        self.turns: list[tuple[int, int]] = []

    def _read(self) -> int:
        self.turns.append((time.monotonic_ns(), found := super()._read()))
        return found


class Stream:
    """One connection within this process, and what its reader was told."""

    def __init__(self, together: reading.Reading, pair: tuple[socket.socket, socket.socket] | None = None) -> None:
        self.together = together
        self.server, self.client = pair or socket.socketpair()
        self.client.setblocking(False)
        self.kept: list[bytes] = []
        self.told: list[str] = []
        self.rivals: list[Stream] = []
        self.open = True
        together.add(self.client, self.kept, self)

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
            self.together.remove(self.client)
            self.client.close()
            self.server.close()


def have_compiled() -> None:
    """Where a compiler and Python's headers are, the installation must have compiled the reads."""
    named = os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc"
    compiler = any(name and shutil.which(name.split()[0]) for name in named)
    headers = Path(sysconfig.get_paths()["include"], "Python.h")
    if not reads.COMPILED and not (compiler and headers.exists()):
        pytest.skip("nothing was compiled: no C compiler, or no headers of this Python")
    assert reads.COMPILED, "install the package again: pip install -e ."


@pytest.fixture(params=["compiled", "interpreted"])
def compiled(request: pytest.FixtureRequest) -> bool:
    if request.param == "compiled":
        have_compiled()
    return str(request.param) == "compiled"


@pytest.fixture
def together(compiled: bool) -> Counting:
    return Counting(compiled)


def until(stream: Stream, reads_done: int) -> None:
    """Wait, a second at most, until so many reads are kept."""
    for _ in range(1000):
        if len(stream.kept) >= 2 * reads_done:
            return
        gevent.sleep(0.001)
    raise AssertionError(f"{len(stream.kept) // 2} reads came")


def test_a_lone_stream_is_read_at_once(together: Counting) -> None:
    """Packets further apart than the spacing wake us each by itself: none of them waits for a timer."""
    stream = Stream(together)
    for number in range(20):
        stream.server.send(PACKET)
        until(stream, number + 1)
        gevent.sleep(4 * reading.SPACING_NS / 1e9)
        assert not together._spaced.active
    assert [found for _, found in together.turns] == [1] * 20
    assert stream.kept[::2] == [PACKET] * 20
    assert all(len(stamp) == 16 for stamp in stream.kept[1::2])
    stream.leave()


def test_many_streams_are_read_together(together: Counting) -> None:
    """As fast as the loop turns, packets come on 32 streams: within each spacing there are two turns at most that find
    any (the first of a haste, and the one that is spaced after it), and every byte is kept, in order."""
    streams = [Stream(together) for _ in range(32)]
    for number in range(3200):
        streams[number % 32].server.send(b"%04d" % number)
        gevent.sleep(0)
    for number, stream in enumerate(streams):
        for _ in range(1000):
            if b"%04d" % (3168 + number) in b"".join(stream.kept[::2]):
                break
            gevent.sleep(0.001)
        assert b"".join(stream.kept[::2]) == b"".join(b"%04d" % k for k in range(number, 3200, 32))
    moments = [moment for moment, found in together.turns if found]
    assert len(moments) <= 2 * (moments[-1] - moments[0]) / reading.SPACING_NS + 2
    for stream in streams:
        stream.leave()


def test_only_reads_that_may_end_a_body_are_told(together: Counting) -> None:
    """While a chunked body comes: short ones, and those after which an empty line may have come; all are kept."""
    stream = Stream(together)
    together.tell(stream.client, only_ends=True)
    packets = [b"data: hello\n\n\r\n", b"a\n\n\r\n0\r\n\r", b"\n", b"data: a\r\n\r\n"]
    for number, packet in enumerate(packets):
        stream.server.send(packet)
        until(stream, number + 1)
    assert stream.told == ["took 1", "took 11"]
    together.tell(stream.client, only_ends=False)
    stream.server.send(PACKET)
    until(stream, 5)
    assert stream.told[-1] == "took 10"
    assert stream.kept[::2] == [*packets, PACKET]
    stream.leave()


def test_who_leaves_while_others_are_told_is_not_told(together: Counting) -> None:
    """Two are readable in one turn, and whichever is told first closes the other: that one is told nothing; a new one,
    whose descriptor is the closed one's, is read as its own."""
    one, other = Stream(together), Stream(together)
    one.rivals, other.rivals = [other], [one]
    one.server.send(PACKET)
    other.server.send(PACKET)
    gevent.sleep(0.01)
    assert sorted([one.told, other.told]) == [[], ["took 10"]]
    heir = Stream(together)
    heir.server.send(PACKET)
    until(heir, 1)
    assert heir.told == ["took 10"]
    for stream in (one, other, heir):
        stream.leave()


def test_the_last_bytes_come_before_the_end(together: Counting) -> None:
    """A server that sends and closes at once: its bytes are kept, then its end is told; nothing is watched any more."""
    stream = Stream(together)
    stream.server.send(PACKET)
    stream.server.close()
    until(stream, 1)
    gevent.sleep(0.01)
    assert stream.told == ["took 10", "closed"]
    assert not together._at_once.active
    assert not together._spaced.active


def test_more_than_one_read_takes_is_read_on(together: Counting) -> None:
    """What a read leaves is told again."""
    stream = Stream(together)
    whole = bytes(range(256)) * 600  # 150 kB
    gevent.spawn(lambda: [stream.server.send(whole[at : at + 50_000]) for at in range(0, len(whole), 50_000)])
    for _ in range(1000):
        if sum(map(len, stream.kept[::2])) == len(whole):
            break
        gevent.sleep(0.001)
    assert b"".join(stream.kept[::2]) == whole
    stream.leave()


def tcp() -> tuple[socket.socket, socket.socket]:
    """Server's and client's end of a connection whose packets the kernel stamps for the client."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        client.setsockopt(socket.SOL_SOCKET, reads.SO_TIMESTAMPNS, 1)
        return listening.accept()[0], client


def test_the_stamp_is_the_packets(together: Counting) -> None:
    """Bytes that waited for 50 ms while nobody read have the moment at which they came, not that of the read."""
    stream = Stream(together, tcp())
    gevent.sleep(0.05)  # the kernel begins to stamp a moment after it was asked
    before_ns = time.time_ns()
    stream.server.send(PACKET)
    after_ns = time.time_ns()
    time.sleep(0.05)
    until(stream, 1)
    seconds, nanoseconds = struct.unpack("qq", stream.kept[1])
    assert before_ns <= seconds * 10**9 + nanoseconds <= after_ns + 10_000_000
    stream.leave()


def test_a_broken_connection_is_told(together: Counting) -> None:
    """What came before the reset is lost to TCP; its reader is told why, by the system's own word."""
    stream = Stream(together, tcp())
    stream.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.server.close()
    gevent.sleep(0.01)
    assert stream.told[0] == "trouble Connection reset by peer"
    stream.leave()


def test_what_is_told_is_not_held(compiled: bool) -> None:
    """A row is told again and again, and nothing holds it afterwards; a socket with nothing to read tells nothing."""
    epoll, (server, client) = select.epoll(), socket.socketpair()
    client.setblocking(False)
    epoll.register(client, select.EPOLLIN | select.EPOLLOUT)  # always ready
    read = reads.compiled_read(epoll) if compiled else reads.interpreted_read(epoll, socket.socket.recvmsg)
    kept: list[bytes] = []
    row = (client, kept, object(), False)
    rows = [None] * client.fileno() + [row]
    held = sys.getrefcount(row), sys.getrefcount(kept)
    for _ in range(1000):
        assert read(rows, 1) == (1, [])
        server.send(PACKET)
        assert read(rows, 1) == (1, [(row, PACKET)])
    assert (sys.getrefcount(row), sys.getrefcount(kept)) == held
    assert [sys.getrefcount(kept[at]) for at in (0, 999)] == [2, 2]
    assert len(kept) == 2000
    server.close()
    assert read(rows, 1) == (1, [(row, b"")])
    assert len(kept) == 2000
    client.close()
    epoll.close()


def test_compiled_reads_refuse_what_they_cannot_use() -> None:
    """A call that is wrong ends in an exception, as Python's would, and never in a crash."""
    have_compiled()
    from bench import _reads

    server, client = socket.socketpair()
    server.send(PACKET)
    with select.epoll() as epoll:
        epoll.register(client, select.EPOLLIN)
        with pytest.raises(IndexError):
            _reads.read(epoll.fileno(), [], 1)
        for row in (None, (), (client, None, None, False)):
            with pytest.raises((SystemError, IndexError)):
                _reads.read(epoll.fileno(), [row] * (client.fileno() + 1), 1)
            server.send(PACKET)
        with pytest.raises(TypeError):
            _reads.read(epoll.fileno(), (), 1)  # type: ignore[arg-type]
        with pytest.raises(OSError, match="Invalid argument"):
            _reads.read(epoll.fileno(), [], 0)
    with pytest.raises(OSError, match="Bad file descriptor"):
        _reads.read(-1, [], 1)
    server.close()
    client.close()
