"""A server on a real socket that obeys a stated latency law: the known truth that the client is held against.

Why: a client's error cannot be seen from the client. This server speaks vLLM's streaming HTTP, keeps to its law, notes
the moment of each of its own sends, and misbehaves on request, so that every measured number and every failure has a
known right answer. It runs as its own process: `python -m bench.paced --help`.

The law, for a request of `in` input tokens (of which `hit` were in its prefix cache):
    queue   until fewer than `max_running` requests run (first come, first served)
    TTFT    = ttft_s + ttft_per_token_s * (in - hit)            after the queue
    TPOT    = tpot_s + tpot_per_running_s * running             running = requests past the queue, at each token
Tokens are due at computed moments (lateness does not add up) and `merge` of them leave in one chunk.

A model named `fault:KIND` or `fault:KIND:SHARE` misbehaves, for every request or for that share of them; `FAULTS` and
`FORMS` tell the kinds.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import os
import select
import signal
import socket
import struct
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from bench import child

FAULTS = {
    "401": "refuses the key",
    "404": "knows no such model",
    "429": "has too many requests",
    "500": "fails",
    "302": "redirects",
    "silent": "never answers",
    "hang": "sends headers, then nothing",
    "stall": "sends half of the tokens, then nothing",
    "close": "closes before any byte",
    "truncate": "closes in mid-stream",
    "reset": "resets the connection in mid-stream",
    "garbage": "speaks no HTTP",
    "badjson": "sends events that are not JSON",
    "badchunk": "breaks the chunked framing",
    "midstream": "sends an error event inside the stream",
    "empty": "ends a whole stream without a token",
    "noterm": "sends everything but the end of the chunked body, and closes",
}
FORMS = {
    "split": "cuts each chunk into pieces, in the middle of everything",
    "tail": "sends usage, [DONE] and the terminator one by one",
    "length": "states a Content-Length instead of chunks",
    "eof": "ends the body by closing",
    "nousage": "tells no usage",
    "reasoning": "sends half of the tokens as reasoning (chat)",
    "tools": "sends tool-call deltas (chat)",
    "crlf": "ends events with CR LF CR LF",
    "ping": "mixes SSE comments between the events",
}
_REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}
_REASONS |= {429: "Too Many Requests", 500: "Internal Server Error"}
Floats = NDArray[np.float64]
_SO_TIMESTAMPNS = 35  # Linux, include/uapi/asm-generic/socket.h
_BLOCK = 16
_HEAD_TOKENS = 12
_TERMINATOR = b"0\r\n\r\n"


@dataclass(frozen=True)
class Law:
    """What the server keeps to."""

    ttft_s: float = 0.05
    ttft_per_token_s: float = 0.0
    tpot_s: float = 0.02
    tpot_per_running_s: float = 0.0
    max_running: int = 1_000_000
    merge: int = 1


@dataclass(frozen=True, eq=False)
class Truth:
    """What the server itself saw; times are CLOCK_REALTIME nanoseconds, rows of one request share its `serial`."""

    serial: NDArray[np.int64]
    heads: NDArray[np.int64]
    """First prompt tokens of each request (-1 beyond its end), to match it with a client's row."""
    arrived_ns: NDArray[np.int64]
    """The kernel's stamp on the request's first bytes."""
    sent_serial: NDArray[np.int64]
    """Ordered, so that the sends of one request stand together, in time order."""
    sent_ns: NDArray[np.int64]
    """Just before each chunk of tokens was given to the kernel."""
    done_ns: NDArray[np.int64]
    """Just after: in between the server may have been set aside by the machine, so the truth is this interval."""


def beyond_s(span_ns: Floats, shortest_ns: NDArray[np.int64], longest_ns: NDArray[np.int64]) -> Floats:
    """How far a client's span lies outside what the server knows of it, in seconds."""
    below, above = shortest_ns - span_ns, span_ns - longest_ns
    error: Floats = np.maximum(np.maximum(below, above), 0.0) / 1e9
    return error


def read_truth(path: Path) -> Truth:
    """The log that a server wrote when it ended."""
    with np.load(path) as data:
        columns = {field.name: data[field.name] for field in fields(Truth)}
    order = np.argsort(columns["sent_serial"], kind="stable")
    return Truth(**columns | {name: columns[name][order] for name in ("sent_serial", "sent_ns", "done_ns")})


class Stream:
    """One connection, and the request that it is serving."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""
        self.pending = b""
        self.first_ns = 0
        self.serial = -1
        self.active = False
        self.fault = ""
        self.body: dict[str, Any] = {}
        self.due = 0.0
        self.sent_tokens = 0
        self.tokens = 0
        self.input_tokens = 0
        self.cached_tokens = 0
        self.said: list[Any] = []
        self.chunk = b""
        self.arrived = 0.0
        self.admitted = 0.0
        self.first = 0.0
        self.version = 0


class Server:
    """One epoll loop; a heap of what is due next."""

    def __init__(self, law: Law, *, port: int, options: argparse.Namespace) -> None:
        self.law = law
        self.options = options
        self.listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.epoll = select.epoll()
        self.epoll.register(self.listener, select.EPOLLIN)
        self.streams: dict[int, Stream] = {}
        self.heap: list[tuple[float, int, Stream, int]] = []
        self.waiting: deque[Stream] = deque()
        self.running = 0
        self.order = 0
        self.requests = array("q")
        self.sends = array("q")
        self.count: Counter[str] = Counter()
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

    def ready(self, descriptor: int, happened: int) -> None:
        """Accept, read or go on writing."""
        if descriptor == self.listener.fileno():
            with contextlib.suppress(BlockingIOError):
                while True:
                    self.accept(*self.listener.accept())
        stream = self.streams.get(descriptor)
        if stream is None:
            return
        if happened & select.EPOLLOUT:
            self.flush(stream)
        if happened & ~select.EPOLLOUT:
            self.read(stream)

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
        self.leave(stream, "abort")
        self.epoll.unregister(stream.sock)
        stream.sock.close()

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

    def reply(self, stream: Stream, code: int, body: bytes, kind: str = "application/json", more: str = "") -> None:
        """A plain answer."""
        head = f"HTTP/1.1 {code} {_REASONS[code]}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
        self.send(stream, head.encode() + body)

    def admit(self, stream: Stream, body: dict[str, Any], *, chat: bool) -> None:
        """Note the request, put it into the queue, or misbehave at once."""
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        tokens = prompt.split() if isinstance(prompt, str) else prompt
        stream.serial = len(self.requests) // (2 + _HEAD_TOKENS)
        numbers = [token if isinstance(token, int) else -2 for token in tokens[:_HEAD_TOKENS]]
        self.requests.extend([stream.serial, stream.first_ns, *numbers, *[-1] * (_HEAD_TOKENS - len(numbers))])
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
        self.count["faults"] += kind in FAULTS
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
        for start in range(0, len(tokens) - _BLOCK + 1, _BLOCK):
            chain = hash((chain, tuple(tokens[start : start + _BLOCK])))
            fresh = fresh or chain not in self.cache
            found += 0 if fresh else _BLOCK
            self.cache.add(chain)
        return min(found, len(tokens) - 1)

    def advance(self) -> None:
        """From the queue into running, as many as may."""
        while self.waiting and self.running < self.law.max_running:
            stream = self.waiting.popleft()
            self.running += 1
            stream.admitted = time.monotonic()
            stream.chunk = self.token_chunk(stream, self.law.merge)
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
            role = self.event(stream, [{"index": 0, "delta": {"role": "assistant", "content": ""}}])
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
        chunk = stream.chunk if count == merge else self.token_chunk(stream, count)
        if fault:
            chunk = self.formed(stream, chunk, count)
        if not stream.sent_tokens:
            stream.first = time.monotonic()
        stream.sent_tokens += count
        before = time.time_ns()
        if fault == "split":
            self.send_split(stream, chunk)
        elif fault == "length":
            stream.chunk = chunk
        else:
            self.send(stream, chunk)
        self.sends.extend((stream.serial, before, time.time_ns()))
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
            self.send(stream, _chunk(b'data: {"error": {"message": "engine died", "code": 500}}\n\n') + _TERMINATOR)
            self.leave(stream, "error")
        else:
            return False
        return True

    def formed(self, stream: Stream, chunk: bytes, count: int) -> bytes:
        """Faulty or unusual forms of a chunk of tokens."""
        kind = stream.fault
        if kind == "badjson":
            return _chunk(b'data: {"id": "cmpl", "choices": [{"text": \n\n')
        if kind == "ping":
            return _chunk(b": ping\n\n") + chunk
        if kind in ("reasoning", "tools", "crlf", "length", "eof"):
            return self.token_chunk(stream, count)
        return chunk

    def send_split(self, stream: Stream, chunk: bytes) -> None:
        """In pieces of 1, 2, 3, ... bytes, so that over a stream every place is cut."""
        start, size = 0, 1 + stream.sent_tokens % 7
        while start < len(chunk):
            self.send(stream, chunk[start : start + size])
            start, size = start + size, size + 5

    def token_chunk(self, stream: Stream, count: int) -> bytes:
        """One chunk that carries `count` tokens; completions text is empty, as without a tokenizer."""
        if "messages" not in stream.body:
            ids = list(range(count))
            text = f" {stream.serial}" if self.options.text else ""
            return self.event(stream, [{"index": 0, "text": text, "token_ids": ids, "finish_reason": None}])
        delta: dict[str, Any] = {"content": "x " * count}
        if stream.fault == "reasoning" and stream.sent_tokens < stream.tokens // 2:
            delta = {"reasoning_content": "hm " * count}
        elif stream.fault == "tools":
            delta = {"tool_calls": [{"index": 0, "function": {"arguments": "x" * count}}]}
        return self.event(stream, [{"index": 0, "delta": delta, "finish_reason": None}])

    def event(self, stream: Stream, choices: list[dict[str, Any]], **more: Any) -> bytes:
        """One SSE event in one HTTP chunk."""
        content = orjson.dumps({"id": f"cmpl-{stream.serial}", "model": "paced", "choices": choices, **more})
        data = b"data: " + content + (b"\r\n\r\n" if stream.fault == "crlf" else b"\n\n")
        return data if stream.fault in ("length", "eof") else _chunk(data)

    def finish(self, stream: Stream) -> None:
        """Usage, [DONE] and the end of the body."""
        last = [] if stream.fault == "nousage" else [self.event(stream, [], **self.usage(stream))]
        if stream.fault in ("length", "eof"):
            last.append(b"data: [DONE]\n\n")
        else:
            last += [_chunk(b"data: [DONE]\n\n"), b"" if stream.fault == "noterm" else _TERMINATOR]
        if stream.fault == "length":
            self.finish_with_length(stream, b"".join(last))
        else:
            for part in last if stream.fault in ("tail", "split") else [b"".join(last)]:
                self.send(stream, part)
        fault = stream.fault
        if self.options.prefix_cache:  # what it said is cached too, but for the last token, which was never read back
            ids = [number % self.law.merge for number in range(stream.tokens - 1)]
            self.hit([*stream.said, *ids])
        self.leave(stream, "length")
        if fault in ("eof", "noterm"):
            self.close(stream)

    def finish_with_length(self, stream: Stream, last: bytes) -> None:
        """The whole body at once."""
        body = stream.chunk * -(-stream.tokens // self.law.merge) + last
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        self.send(stream, head.encode() + body)

    def usage(self, stream: Stream) -> dict[str, Any]:
        """vLLM's usage and, when asked for, its per-request timings."""
        usage: dict[str, Any] = {"prompt_tokens": stream.input_tokens, "completion_tokens": stream.sent_tokens}
        usage["total_tokens"] = stream.input_tokens + stream.sent_tokens
        if self.options.prefix_cache:
            usage["prompt_tokens_details"] = {"cached_tokens": stream.cached_tokens}
        if stream.fault == "reasoning":
            usage["completion_tokens_details"] = {"reasoning_tokens": stream.tokens // 2}
        if not self.options.per_request_metrics:
            return {"usage": usage}
        spans = {
            "queue_time_ms": stream.admitted - stream.arrived,
            "time_to_first_token_ms": stream.first - stream.admitted,
            "generation_time_ms": time.monotonic() - stream.first,
        }
        return {"usage": usage, "metrics": {name: 1000 * length for name, length in spans.items()}}

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
        self.note(stream, reason)
        self.advance()

    # what it tells about itself -------------------------------------------------------------------------------------

    def note(self, stream: Stream, reason: str) -> None:
        """Counters of /metrics."""
        now, count = time.monotonic(), self.count
        count[f"success {reason}"] += 1
        count["prompt"] += stream.input_tokens
        count["cached"] += stream.cached_tokens
        count["generated"] += stream.sent_tokens
        if reason == "length" and stream.tokens:
            spans = {"ttft": stream.first - stream.arrived, "e2e": now - stream.arrived}
            spans["queue"] = stream.admitted - stream.arrived
            if stream.tokens > 1:
                spans["tpot"] = (now - stream.first) / (stream.tokens - 1)
                count["gap sum"] += int(1e9 * (now - stream.first))
                count["gap count"] += stream.tokens - 1
            for name, length in spans.items():
                count[f"{name} sum"] += int(1e9 * length)
                count[f"{name} count"] += 1

    def metrics(self) -> str:
        """vLLM's names (docs.vllm.ai/en/stable/usage/metrics), only those that bench reads."""
        count, label = self.count, 'engine="0",model_name="paced"'
        live = sum(s.sent_tokens + s.input_tokens for s in self.streams.values() if s.active)
        lines = [
            f"vllm:num_requests_running{{{label}}} {self.running}.0",
            f"vllm:num_requests_waiting{{{label}}} {len(self.waiting)}.0",
            f"vllm:kv_cache_usage_perc{{{label}}} {min(1.0, live / self.options.kv_tokens)}",
            f'vllm:cache_config_info{{block_size="{_BLOCK}",num_gpu_blocks="{self.options.kv_tokens // _BLOCK}"}} 1.0',
            f"vllm:num_preemptions_total{{{label}}} 0.0",
            f"vllm:prompt_tokens_total{{{label}}} {count['prompt']}.0",
            f"vllm:generation_tokens_total{{{label}}} {count['generated']}.0",
            f"vllm:prefix_cache_queries_total{{{label}}} {count['prompt']}.0",
            f"vllm:prefix_cache_hits_total{{{label}}} {count['cached']}.0",
            f"vllm:prompt_tokens_cached_total{{{label}}} {count['cached']}.0",
        ]
        for reason in ("length", "stop", "abort", "error"):
            total = count[f"success {reason}"]
            lines.append(f'vllm:request_success_total{{{label},finished_reason="{reason}"}} {total}.0')
        names = {"time_to_first_token": "ttft", "inter_token_latency": "gap", "request_time_per_output_token": "tpot"}
        names |= {"e2e_request_latency": "e2e", "request_queue_time": "queue"}
        for name, kept in names.items():
            lines.append(f"vllm:{name}_seconds_sum{{{label}}} {count[f'{kept} sum'] / 1e9}")
            lines.append(f"vllm:{name}_seconds_count{{{label}}} {count[f'{kept} count']}.0")
        return "\n".join(lines) + "\n"

    def write_log(self, path: Path) -> None:
        """The truth, for `read_truth`."""
        requests = np.array(self.requests, dtype=np.int64).reshape(-1, 2 + _HEAD_TOKENS)
        serial, arrived, heads = requests[:, 0], requests[:, 1], requests[:, 2:]
        sent, before, after = np.array(self.sends, dtype=np.int64).reshape(-1, 3).T
        requested = {"serial": serial, "arrived_ns": arrived, "heads": heads}
        np.savez(path, allow_pickle=False, **requested, sent_serial=sent, sent_ns=before, done_ns=after)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _stamp_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
            seconds, nanoseconds = struct.unpack("qq", data)
            return int(seconds * 1_000_000_000 + nanoseconds)
    return time.time_ns()


@contextlib.contextmanager
def paced(law: Law, *arguments: str, log: Path | None = None, cpus: tuple[int, ...] | None = None) -> Iterator[str]:
    """A server in a process of its own; gives its URL, ends it at the end (and its log is then complete)."""
    stated = [f"--{field.name.replace('_', '-')}={getattr(law, field.name)}" for field in fields(Law)]
    logged = [] if log is None else [f"--log={log}"]
    command = [sys.executable, "-m", "bench.paced", *stated, *logged, *arguments]
    server = child.start(command, stdout=-1, cpus=cpus)
    try:
        assert server.stdout is not None
        told = server.stdout.readline()
        if not told:
            raise RuntimeError("the paced server did not start")
        yield f"http://127.0.0.1:{orjson.loads(told)['port']}"
    finally:
        child.end([server])
        if server.stdout is not None:
            server.stdout.close()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m bench.paced", description=(__doc__ or "").split("\n", 1)[0])
    for item in fields(Law):
        kind = int if isinstance(item.default, int) else float
        parser.add_argument(f"--{item.name.replace('_', '-')}", type=kind, default=item.default)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, help="write the truth here at the end (.npz)")
    parser.add_argument("--kv-tokens", type=int, default=1_000_000, help="size of the pretended KV cache")
    parser.add_argument("--prefix-cache", action="store_true", help="remember prompts by blocks of 16 tokens")
    parser.add_argument("--per-request-metrics", action="store_true", help="tell each request's timings, as vLLM does")
    parser.add_argument("--text", action="store_true", help="each token's text is its request's serial number")
    parser.add_argument("--key-env", help="environment variable with the key that clients must show")
    options = parser.parse_args()
    law = Law(**{item.name: getattr(options, item.name) for item in fields(Law)})
    server = Server(law, port=options.port, options=options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "stopped", True))
    print(orjson.dumps({"port": server.port}).decode(), flush=True)
    server.serve()
    if options.log:
        server.write_log(options.log)


if __name__ == "__main__":
    main()
