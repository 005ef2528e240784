"""The paced server's sockets: accepts, gathers requests with the kernel's stamp on them, gives bytes to the kernel."""

from __future__ import annotations

import errno
import select
import socket
import struct
import sys
import time
from typing import Any

from bench.paced_answers import Stream

_REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}
_REASONS |= {429: "Too Many Requests", 500: "Internal Server Error"}
_SO_TIMESTAMPNS = 35  # Linux, include/uapi/asm-generic/socket.h


class Sockets:
    """Connections behind one epoll descriptor."""

    def __init__(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.epoll = select.epoll()
        self.epoll.register(self.listener, select.EPOLLIN)
        self.streams: dict[int, Stream] = {}
        self.full = False
        """No more files may be opened: nobody is let in."""

    def answer(self, stream: Stream, path: str, head: bytes, body: bytes) -> None:
        """A request is whole."""
        raise NotImplementedError

    def left(self, stream: Stream) -> None:
        """The other side has gone."""
        raise NotImplementedError

    def ready(self, descriptor: int, happened: int) -> None:
        """Accept, read or go on writing."""
        if descriptor == self.listener.fileno():
            self.accept_all()
        stream = self.streams.get(descriptor)
        if stream is None:
            return
        if happened & select.EPOLLOUT:
            self.flush(stream)
        if happened & ~select.EPOLLOUT:
            self.read(stream)

    def accept_all(self) -> None:
        """Whoever waits; where no more files may be opened the rest waits until a connection is closed."""
        try:
            while True:
                self.accept(*self.listener.accept())
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
        self.epoll.unregister(self.listener)
        self.full = True

    def accept(self, sock: socket.socket, _: Any) -> None:
        """A new connection."""
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self.streams[sock.fileno()] = Stream(sock)
        self.epoll.register(sock, select.EPOLLIN)

    def close(self, stream: Stream) -> None:
        """Forget the connection; whatever it ran stops."""
        if self.streams.pop(stream.sock.fileno(), None) is None:
            return
        self.left(stream)
        self.epoll.unregister(stream.sock)
        stream.sock.close()
        if self.full:
            self.full = False
            self.epoll.register(self.listener, select.EPOLLIN)

    def read(self, stream: Stream) -> None:
        """Gather one request."""
        try:
            data, ancillary, _, _ = stream.sock.recvmsg(1 << 18, 64)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        if not data:
            self.close(stream)
            return
        if not stream.received:
            stream.first_ns = _stamp_ns(ancillary)
        stream.received += data
        head, blank, rest = stream.received.partition(b"\r\n\r\n")
        if not blank:
            return
        headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        length = int(headers.get(b"content-length", 0))
        if len(rest) < length:
            return
        stream.received = rest[length:]
        self.answer(stream, head.split(b" ", 2)[1].decode(), head, rest[:length])

    def send(self, stream: Stream, data: bytes) -> None:
        """Give bytes to the kernel; what it does not take waits."""
        if stream.pending:
            stream.pending += data
            return
        try:
            taken = stream.sock.send(data)
        except BlockingIOError:
            taken = 0
        except OSError:
            self.close(stream)
            return
        if taken < len(data):
            stream.pending = data[taken:]
            self.epoll.modify(stream.sock, select.EPOLLIN | select.EPOLLOUT)

    def flush(self, stream: Stream) -> None:
        """Go on with what waited."""
        data, stream.pending = stream.pending, b""
        self.epoll.modify(stream.sock, select.EPOLLIN)
        self.send(stream, data)

    def reply(self, stream: Stream, code: int, body: bytes, kind: str = "application/json", more: str = "") -> None:
        """A plain answer."""
        head = f"HTTP/1.1 {code} {_REASONS[code]}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
        self.send(stream, head.encode() + body)


def _stamp_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return time.time_ns()
