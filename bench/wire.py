"""The measuring client: one request over one raw socket, each read stamped, nothing decoded until the stage is over.

Why: what a client does between two bytes shows up as latency. Line readers deliver late and in clumps, JSON decoded in
the loop stalls every other stream, and a connection opened inside the stopwatch adds milliseconds to the tail.

How: the connection is opened before the clock starts and kept alive. On Linux the stamp is the kernel's own, taken when
the packet came in (SO_TIMESTAMPNS, Documentation/networking/timestamping.rst, read with recvmsg), so that a busy client
still knows when a token arrived; `bench.reading` then reads all connections together and keeps bytes and stamps.
Elsewhere it is the clock at the read, and a gevent watcher of each connection (`hub.loop.io(fd, READ)`) calls us when
bytes are there. Either way we look whether the body has ended, and only then wake the greenlet. `bench.decode` turns
what was kept into a reply, after the stage.

HTTPS takes a plainer path, a greenlet that reads a TLS socket in a loop: stamps are the clock's at the read, after
decryption. No redirect is followed and no proxy is used. All stamps are CLOCK_REALTIME nanoseconds.
"""

from __future__ import annotations

import contextlib
import errno
import socket as plain_socket
import struct
import time
from array import array
from dataclasses import dataclass
from typing import Any

from gevent import Timeout, monkey, socket, ssl
from gevent.hub import Waiter, get_hub

from bench.endpoint import Endpoint
from bench.reading import Reading, reading
from bench.reads import KERNEL_STAMPS, SO_TIMESTAMPNS, timespec

_READ = 1
_SIZE = 65536
_IDLE_S = 2.0
"""A kept connection that was idle for longer is opened anew (uvicorn closes after 5 s): no race with its end."""
_CONNECT_S = 10.0
_LOOK_S = 0.2
"""While the kernel takes no more bytes: how often to see whether the exchange has ended all the same."""


@dataclass(slots=True)
class Exchange:
    """What one request left behind, to be decoded after the stage."""

    scheduled_ns: int
    sent_ns: int = 0
    """0 when it could not be sent."""
    end_ns: int = 0
    status: str = ""
    """What went wrong on the wire, empty when a whole answer came (which may still be an error)."""
    error: str = ""
    raw: bytes = b""
    reads: bytes = b""
    """array('I'): bytes of each read."""
    marks: bytes = b""
    """One `timespec` (two int64: seconds, nanoseconds) per read."""


class Connection:
    """A kept-alive connection that serves one request at a time."""

    def __init__(self, to: Endpoint, *, kernel_stamps: bool = KERNEL_STAMPS) -> None:
        self._to = to
        self._kernel = kernel_stamps and KERNEL_STAMPS
        self._sock: Any = None
        self._watcher: Any = None
        self._reading: Reading | None = None
        self._kept: list[bytes] = []
        """Each read's bytes, and after them its stamp."""
        self._idle_since = 0.0
        self._waiter: Any = None
        self.sent_ns = 0
        """When what is in flight was sent; 0 before that."""
        self._clear()

    def open(self) -> None:
        """Connect; OSError when no address answers."""
        self.close()
        trouble: OSError = ConnectionRefusedError(errno.ECONNREFUSED, "no address")
        for family, kind, protocol, _, address in self._to.addresses:
            sock = socket.socket(family, kind, protocol)
            sock.settimeout(_CONNECT_S)
            try:
                sock.connect(address)
            except OSError as error:
                sock.close()
                trouble = error
                continue
            self._adopt(sock)
            return
        raise trouble

    def _adopt(self, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # the plain socket below gevent's: its calls never block, so that the hub may make them
        unpatched = monkey.get_original("socket", "socket")
        plain = unpatched(sock.family, sock.type, sock.proto, fileno=sock.detach())
        plain.setblocking(False)
        if self._kernel:
            plain.setsockopt(plain_socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            together = reading()
            together.add(plain, self._kept, self)
            self._reading = together
        else:
            self._watcher = get_hub().loop.io(plain.fileno(), _READ)
            self._watcher.start(self._on_readable)
        self._sock = plain
        self._idle_since = time.monotonic()

    @property
    def fresh(self) -> bool:
        """Open, and not idle for so long that the server may be closing it."""
        return self._sock is not None and time.monotonic() - self._idle_since < _IDLE_S

    def close(self) -> None:
        """Let go of the socket."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
        if self._reading is not None:
            self._reading.remove(self._sock)
            self._reading = None
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def exchange(self, payload: bytes, timeout_s: float, scheduled_ns: int = 0) -> Exchange:
        """Send a request, wait for the end of its answer (this greenlet only), give what came."""
        kept = Exchange(scheduled_ns)
        self.sent_ns = 0
        try:
            if not self.fresh:
                self.open()
        except OSError as error:
            kept.status, kept.error = _connect_trouble(error)
            kept.end_ns = time.time_ns()
            return kept
        self._clear()
        timer = get_hub().loop.timer(timeout_s)
        timer.start(self._end, "timeout", f"no end within {timeout_s:g} s")
        try:
            kept.sent_ns = self.sent_ns = time.time_ns()
            self._send(payload, timeout_s)
            if not self._ended:
                self._waiter = Waiter()
                self._waiter.get()
        finally:
            self._waiter = None
            timer.stop()
            timer.close()
        self._keep(kept)
        return kept

    def abort(self, status: str = "unfinished", error: str = "in flight when the drain ended") -> None:
        """End what is in flight. Any greenlet may call it; the loop wakes the one that waits."""
        if self._waiter is None:
            self._end(status, error)
        else:
            get_hub().loop.run_callback(self._end, status, error)

    @property
    def heard_ns(self) -> int:
        """When the last bytes of what is in flight came; 0 before any."""
        if not self._kept:
            return 0
        seconds, nanoseconds = struct.unpack("qq", self._kept[-1])
        return int(seconds * 1_000_000_000 + nanoseconds)

    def _send(self, payload: bytes, timeout_s: float) -> None:
        """All bytes to the kernel; waits (this greenlet only) while it takes no more."""
        del timeout_s  # the timer ends the exchange, and with it this loop
        rest = memoryview(payload)
        while rest and not self._ended:
            try:
                rest = rest[self._sock.send(rest) :]
            except BlockingIOError:
                with contextlib.suppress(TimeoutError):
                    socket.wait_write(self._sock.fileno(), timeout=_LOOK_S)
            except OSError as error:
                if not self._kept:  # an answer that came before we finished (such as 413) is still worth reading
                    self._end("reset", error.strerror or "reset")
                return

    def _clear(self) -> None:
        self._kept.clear()
        self._status = self._error = ""
        self._ended = False
        self._missing: int | None = None
        self._expect_head()

    def _expect_head(self) -> None:
        self._head_seen = self._chunked = False
        if self._reading is not None:
            self._reading.tell(self._sock, only_ends=False)

    # what the loop calls --------------------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        """Bytes are there: keep them with the clock at the read."""
        try:
            data = self._sock.recv(_SIZE)
        except OSError as error:
            return self.trouble(error)
        stamp_ns = time.time_ns()
        if not data:
            return self.closed()
        self._kept += (data, timespec(stamp_ns))
        return self.took(data)

    def took(self, data: bytes) -> None:
        """These bytes are kept: has the answer ended? Of a chunked body `bench.reading` does not tell every read."""
        if not self._chunked:
            self._measured(data)
        elif len(data) < 5 or data[-4:] == b"\r\n\r\n":
            self._look_for_end()

    def _look_for_end(self) -> None:
        """Has the chunked body ended? Its last chunk is `0`; trailers may follow, then an empty line (RFC 9112, 7.1).

        A bare CR cannot stand in JSON nor a line `0` in an event stream, so that a tail tells it; `decode` walks the
        whole framing later. Eight reads hold the seven bytes of the end however it was cut.
        """
        tail = b"".join(self._kept[-16::2])
        if tail.endswith(b"\r\n\r\n") and b"\r\n0\r\n" in tail:
            self._end()

    def _measured(self, data: bytes) -> None:
        """Until the head is complete; then bodies of stated length, and those that end with the connection."""
        if self._ended:  # bytes that nobody asked for: this connection cannot be trusted any more
            return self.close()
        if self._head_seen:
            if self._missing is not None:
                self._missing -= len(data)
                if self._missing <= 0:
                    self._end()
            return None
        raw = b"".join(self._kept[::2])
        if raw[:5] != b"HTTP/"[: len(raw)]:
            return self._end("garbage", "the answer is not HTTP")
        head, blank, body = raw.partition(b"\r\n\r\n")
        while blank and head[9:10] == b"1":  # interim answers: the real one follows
            head, blank, body = body.partition(b"\r\n\r\n")
        if blank:
            return self._begin_body(head.lower(), body)
        return self._end("garbage", "endless headers") if len(raw) > 1 << 17 else None

    def _begin_body(self, head: bytes, body: bytes) -> None:
        """How will the body end? By its last chunk, its length, or the connection's end (RFC 9112, 6.3)."""
        self._head_seen = True
        fields = dict(line.partition(b":")[::2] for line in head.split(b"\r\n")[1:])
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            self._chunked = True
            if self._reading is not None:
                self._reading.tell(self._sock, only_ends=True)
            if body:
                self._look_for_end()
        elif (length := fields.get(b"content-length", b"").strip()).isdigit() and len(length) < 19:
            self._missing = int(length)
            self._measured(body)

    def closed(self) -> None:
        """The server ended the connection: in order when the body is one that ends so."""
        if not self._kept:
            self._end("reset", "closed before an answer")
        elif self._head_seen and not self._chunked and self._missing is None:
            self._end()
        else:
            self._end("truncated", "closed before the end of the answer")
        self.close()

    def trouble(self, error: OSError) -> None:
        """The connection is broken, unless there was just nothing to read."""
        if isinstance(error, BlockingIOError):
            return
        self._end("reset", error.strerror or "reset")
        self.close()

    def _end(self, status: str = "", error: str = "") -> None:
        """The exchange is over; wake whoever waits for it."""
        if self._ended:
            return
        self._ended = True
        self._status, self._error = status, error
        if self._waiter is not None:
            self._waiter.switch(None)

    def _keep(self, kept: Exchange) -> None:
        """Pack what came: 16 bytes a read beside the bytes themselves."""
        kept.status, kept.error = self._status, self._error
        self._ended = True
        reads = self._kept[::2]
        kept.raw = b"".join(reads)
        kept.reads = array("I", map(len, reads)).tobytes()
        kept.marks = b"".join(self._kept[1::2])
        kept.end_ns = time.time_ns()
        self._idle_since = time.monotonic()
        head = kept.raw[:4096].partition(b"\r\n\r\n")[0].lower()
        whole = self._chunked or self._missing == 0
        if kept.status or not whole or b"connection: close" in head:
            self.close()
        self._kept.clear()
        self._expect_head()


class TlsConnection(Connection):
    """HTTPS: the greenlet itself reads; stamps are the clock's at the read."""

    def __init__(self, to: Endpoint, *, kernel_stamps: bool = False) -> None:
        super().__init__(to, kernel_stamps=False)
        del kernel_stamps
        self._context = ssl.create_default_context()

    def _adopt(self, sock: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = self._context.wrap_socket(sock, server_hostname=self._to.host)
        self._idle_since = time.monotonic()

    def _send(self, payload: bytes, timeout_s: float) -> None:
        """Send, then read to the end."""
        try:
            with Timeout(timeout_s, TimeoutError("timed out")):
                self._sock.settimeout(None)
                self._sock.sendall(payload)
                while not self._ended:
                    self._on_readable()
        except TimeoutError:
            self._end("timeout", f"no end within {timeout_s:g} s")
        except OSError as error:
            self.trouble(error)

    def abort(self, status: str = "unfinished", error: str = "in flight when the drain ended") -> None:
        """End what is in flight: closing wakes the reader."""
        super().abort(status, error)
        self.close()


def connection(to: Endpoint, *, kernel_stamps: bool = KERNEL_STAMPS) -> Connection:
    """The right kind of connection for an endpoint, not yet open."""
    return TlsConnection(to) if to.tls else Connection(to, kernel_stamps=kernel_stamps)


def _connect_trouble(error: OSError) -> tuple[str, str]:
    text = error.strerror or str(error) or type(error).__name__
    if isinstance(error, ConnectionRefusedError):
        return "refused", text
    return "unreachable", text
