"""The paced server's loop: requests, the queue, and the heap of what is due next."""

from __future__ import annotations

import argparse
import heapq
import os
import select
import socket
import struct
import time
from collections import deque
from typing import Any

import orjson

from bench.paced_answers import FAULTS, Law, Stream, event, formed, http_chunk, token_chunk, usage
from bench.paced_page import BLOCK, Page
from bench.paced_sockets import Sockets
from bench.truth import Log

_TERMINATOR = b"0\r\n\r\n"


class Server(Sockets):
    """One epoll loop; a heap of what is due next."""

    def __init__(self, law: Law, *, port: int, options: argparse.Namespace) -> None:
        super().__init__(port)
        self.law = law
        self.options = options
        self.heap: list[tuple[float, int, Stream, int]] = []
        self.waiting: deque[Stream] = deque()
        self.running = 0
        self.order = 0
        self.log = Log()
        self.page = Page()
        self.cache: set[int] = set()
        self.stopped = False
        self.key = os.environ.get(options.key_env, "") if options.key_env else None

    # the loop -----------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Until `stopped`; waits by select() on the epoll descriptor because epoll rounds its timeout up to 1 ms."""
        poll = self.epoll.poll
        while not self.stopped:
            now = time.monotonic()
            heap = self.heap
            while heap and heap[0][0] <= now:
                due, _, stream, version = heapq.heappop(heap)
                if stream.version == version:
                    self.step(stream, due)
            wait = max(0.0, heap[0][0] - time.monotonic()) if heap else 0.5
            if wait:
                select.select([self.epoll], [], [], min(wait, 0.5))
            for descriptor, happened in poll(0):
                self.ready(descriptor, happened)

    # requests -----------------------------------------------------------------------------------------------------

    def answer(self, stream: Stream, path: str, head: bytes, body: bytes) -> None:
        """Route one request."""
        if path == "/health":
            self.reply(stream, 200, b"")
        elif path == "/metrics":
            self.reply(stream, 200, self.metrics().encode(), "text/plain; version=0.0.4")
        elif path == "/v1/models":
            self.reply(stream, 200, orjson.dumps({"object": "list", "data": [{"id": "paced", "object": "model"}]}))
        elif path in ("/v1/completions", "/v1/chat/completions"):
            if self.key is not None and f"bearer {self.key}".lower().encode() not in head.lower():
                self.reply(stream, 401, b'{"error": {"message": "wrong key", "code": 401}}')
            else:
                self.admit(stream, orjson.loads(body), chat=path.endswith("chat/completions"))
        else:
            self.reply(stream, 404, b'{"error": {"message": "no such page", "code": 404}}')

    def admit(self, stream: Stream, body: dict[str, Any], *, chat: bool) -> None:
        """Note the request, put it into the queue, or misbehave at once."""
        prompt = " ".join(message["content"] for message in body["messages"]) if chat else body["prompt"]
        tokens = prompt.split() if isinstance(prompt, str) else prompt
        tokens = ["template"] * (self.options.template_tokens if chat else 0) + tokens
        stream.serial = self.log.request(stream.first_ns, tokens)
        stream.body, stream.fault = body, self.fault_of(body["model"], stream.serial)
        stream.tokens = body.get("max_completion_tokens") or body.get("max_tokens", 16)
        stream.input_tokens = len(tokens)
        stream.said = tokens
        stream.cached_tokens = self.hit(tokens) if self.options.prefix_cache else 0
        stream.sent_tokens = 0
        stream.arrived, stream.admitted = time.monotonic(), 0.0
        stream.active = not self.misbehave_at_once(stream)
        if stream.active:
            self.waiting.append(stream)
            self.advance()

    def fault_of(self, model: str, serial: int) -> str:
        """The kind of fault or form that this request gets."""
        if not model.startswith("fault:"):
            return ""
        kind, _, share = model.removeprefix("fault:").partition(":")
        # the golden ratio's multiples fill [0, 1) evenly, so that a share is met without a generator
        return kind if not share or serial * 0.6180339887498949 % 1 < float(share) else ""

    def misbehave_at_once(self, stream: Stream) -> bool:
        """Faults that need no token."""
        kind = stream.fault
        if kind.isdigit():
            more = f"location: http://127.0.0.1:{self.port}/elsewhere\r\n" if kind == "302" else ""
            error = {"error": {"message": f"paced: {FAULTS[kind]} " + "x" * 5000, "code": int(kind)}}
            self.reply(stream, int(kind), orjson.dumps(error), more=more)
        elif kind == "garbage":
            self.send(stream, b"\x00\xff SSH-2.0-paced\r\n" * 8)
        elif kind == "close":
            self.close(stream)
        return kind.isdigit() or kind in ("garbage", "close", "silent")

    def hit(self, tokens: list[Any]) -> int:
        """Tokens found in the prefix cache, whole blocks chained from the start; its blocks then stay there."""
        chain, found, fresh = 0, 0, False
        for start in range(0, len(tokens) - BLOCK + 1, BLOCK):
            chain = hash((chain, tuple(tokens[start : start + BLOCK])))
            fresh = fresh or chain not in self.cache
            found += 0 if fresh else BLOCK
            self.cache.add(chain)
        return min(found, len(tokens) - 1)

    def advance(self) -> None:
        """From the queue into running, as many as may."""
        while self.waiting and self.running < self.law.max_running:
            stream = self.waiting.popleft()
            self.running += 1
            stream.admitted = time.monotonic()
            stream.chunk = token_chunk(stream, self.law.merge, text=self.options.text)
            length = self.law.ttft_s + self.law.ttft_per_token_s * (stream.input_tokens - stream.cached_tokens)
            self.plan(stream, stream.admitted + length)
            if stream.fault != "length":
                self.begin(stream)

    def begin(self, stream: Stream) -> None:
        """Headers, and for chat the role."""
        chunked = "" if stream.fault == "eof" else "transfer-encoding: chunked\r\n"
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n{chunked}\r\n"
        role = b""
        if "messages" in stream.body:
            role = event(stream, [{"index": 0, "delta": {"role": "assistant", "content": ""}}])
        self.send(stream, head.encode() + role)

    def plan(self, stream: Stream, due: float) -> None:
        """Something of this stream is due then."""
        self.order += 1
        stream.due = due
        heapq.heappush(self.heap, (due, self.order, stream, stream.version))

    # tokens -------------------------------------------------------------------------------------------------------

    def step(self, stream: Stream, due: float) -> None:
        """Send the next chunk of tokens, and plan the one after it."""
        fault, merge = stream.fault, self.law.merge
        if fault and self.misbehave(stream):
            return
        count = min(merge, stream.tokens - stream.sent_tokens)
        chunk = stream.chunk if count == merge else token_chunk(stream, count, text=self.options.text)
        if fault:
            chunk = formed(stream, chunk, count, text=self.options.text)
        if not stream.sent_tokens:
            stream.first = time.monotonic()
        reasons = fault == "hidden" and stream.sent_tokens < stream.tokens // 2
        stream.sent_tokens += count
        before = time.time_ns()
        if reasons:
            pass
        elif fault == "split":
            self.send_split(stream, chunk)
        elif fault == "length":
            stream.chunk = chunk
        else:
            self.send(stream, chunk)
        self.log.sends.extend((stream.serial, before, time.time_ns()))
        if stream.sent_tokens < stream.tokens:
            ahead = min(merge, stream.tokens - stream.sent_tokens)
            self.plan(stream, due + ahead * (self.law.tpot_s + self.law.tpot_per_running_s * self.running))
        elif stream.active:
            self.finish(stream)

    def misbehave(self, stream: Stream) -> bool:
        """Faults in mid-stream; True when nothing more is to be sent."""
        kind, half = stream.fault, stream.sent_tokens >= max(1, stream.tokens // 2)
        if kind == "hang" or (half and kind == "stall"):
            pass
        elif kind == "empty":
            stream.tokens = 0
            self.finish(stream)
        elif half and kind in ("truncate", "reset"):
            if kind == "reset":  # linger 0: close() sends RST
                stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close(stream)
        elif half and kind == "badchunk":
            self.send(stream, b"zz\r\nnot a chunk\r\n")
        elif half and kind == "midstream":
            self.send(stream, http_chunk(b'data: {"error": {"message": "engine died", "code": 500}}\n\n') + _TERMINATOR)
            self.leave(stream, "error")
        else:
            return False
        return True

    def send_split(self, stream: Stream, chunk: bytes) -> None:
        """In pieces of 1, 2, 3, ... bytes, so that over a stream every place is cut."""
        start, size = 0, 1 + stream.sent_tokens % 7
        while start < len(chunk):
            self.send(stream, chunk[start : start + size])
            start, size = start + size, size + 5

    def finish(self, stream: Stream) -> None:
        """Usage, [DONE] and the end of the body."""
        shown = {"cached": self.options.prefix_cache, "timings": self.options.per_request_metrics}
        last = [] if stream.fault == "nousage" else [event(stream, [], **usage(stream, **shown))]
        if stream.fault in ("length", "eof"):
            last.append(b"data: [DONE]\n\n")
        else:
            last += [http_chunk(b"data: [DONE]\n\n"), b"" if stream.fault == "noterm" else _TERMINATOR]
        if stream.fault == "length":
            self.finish_with_length(stream, b"".join(last))
        else:
            for part in last if stream.fault in ("tail", "split") else [b"".join(last)]:
                self.send(stream, part)
        fault = stream.fault
        if self.options.prefix_cache:  # what it said is cached too, but for the last token, which was never read back
            chat = "messages" in stream.body  # whose template writes an answer back as it was
            self.hit([*stream.said, *("x" if chat else k % self.law.merge for k in range(stream.tokens - 1))])
        self.leave(stream, "length")
        if fault in ("eof", "noterm"):
            self.close(stream)

    def finish_with_length(self, stream: Stream, last: bytes) -> None:
        """The whole body at once."""
        body = stream.chunk * -(-stream.tokens // self.law.merge) + last
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        self.send(stream, head.encode() + body)

    def left(self, stream: Stream) -> None:
        """Whatever the connection ran stops."""
        self.leave(stream, "abort")

    def leave(self, stream: Stream, reason: str) -> None:
        """The request is over: count it, let the next one in."""
        if not stream.active:
            return
        stream.active = False
        stream.version += 1
        if stream.admitted:
            self.running -= 1
        else:
            self.waiting.remove(stream)
        self.page.note(stream, reason)
        self.advance()

    def metrics(self) -> str:
        """The page as it stands now."""
        counts = {"running": self.running, "waiting": len(self.waiting), "kv_tokens": self.options.kv_tokens}
        return self.page.page(self.streams.values(), **counts)
