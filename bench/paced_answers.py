"""What the paced server says: one request's state, and the bytes of each piece of its answer, well formed or not."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import Any

import orjson

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
    "badtype": "sends JSON of other types than are asked for",
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
    "parts": "sends half of the tokens as thinking, all in typed parts (chat)",
    "hidden": "counts half of the tokens as reasoning, and sends none of it",
    "tools": "sends tool-call deltas (chat)",
    "crlf": "ends events with CR LF CR LF",
    "ping": "mixes SSE comments between the events",
}


@dataclass(frozen=True)
class Law:
    """What the server keeps to."""

    ttft_s: float = 0.05
    ttft_per_token_s: float = 0.0
    tpot_s: float = 0.02
    tpot_per_running_s: float = 0.0
    max_running: int = 1_000_000
    merge: int = 1


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


def http_chunk(data: bytes) -> bytes:
    """One chunk of HTTP's chunked framing."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def token_chunk(stream: Stream, count: int, *, text: bool) -> bytes:
    """One chunk that carries `count` tokens; completions text is empty, as without a tokenizer."""
    if "messages" not in stream.body:
        ids = list(range(count))
        told = f" {stream.serial}" if text else ""
        return event(stream, [{"index": 0, "text": told, "token_ids": ids, "finish_reason": None}])
    delta: dict[str, Any] = {"content": "x " * count}
    if stream.fault == "reasoning" and stream.sent_tokens < stream.tokens // 2:
        delta = {"reasoning_content": "hm " * count}
    elif stream.fault == "parts":
        parts: list[dict[str, Any]] = [{"type": "text", "text": "x " * count}]
        thinks = stream.sent_tokens < stream.tokens // 2
        delta = {"content": [{"type": "thinking", "thinking": parts}] if thinks else parts}
    elif stream.fault == "tools":
        delta = {"tool_calls": [{"index": 0, "function": {"arguments": "x" * count}}]}
    return event(stream, [{"index": 0, "delta": delta, "finish_reason": None}])


def event(stream: Stream, choices: list[dict[str, Any]], **more: Any) -> bytes:
    """One SSE event in one HTTP chunk."""
    kind = "chat.completion.chunk" if "messages" in stream.body else "text_completion"
    told = {"id": f"cmpl-{stream.serial}", "object": kind, "model": "paced", "choices": choices, **more}
    content = orjson.dumps(told)
    data = b"data: " + content + (b"\r\n\r\n" if stream.fault == "crlf" else b"\n\n")
    return data if stream.fault in ("length", "eof") else http_chunk(data)


def formed(stream: Stream, chunk: bytes, count: int, *, text: bool) -> bytes:
    """Faulty or unusual forms of a chunk of tokens."""
    kind = stream.fault
    if kind == "badjson":
        return http_chunk(b'data: {"id": "cmpl", "choices": [{"text": \n\n')
    if kind == "badtype":
        return http_chunk(b'data: {"id": "cmpl", "choices": [null], "usage": "none"}\n\n')
    if kind == "ping":
        return http_chunk(b": ping\n\n") + chunk
    if kind in ("reasoning", "parts", "tools", "crlf", "length", "eof"):
        return token_chunk(stream, count, text=text)
    return chunk


def usage(stream: Stream, *, cached: bool, timings: bool) -> dict[str, Any]:
    """vLLM's usage and, when asked for, its per-request timings."""
    told: dict[str, Any] = {"prompt_tokens": stream.input_tokens, "completion_tokens": stream.sent_tokens}
    told["total_tokens"] = stream.input_tokens + stream.sent_tokens
    if cached:
        told["prompt_tokens_details"] = {"cached_tokens": stream.cached_tokens}
    if stream.fault in ("reasoning", "hidden"):
        told["completion_tokens_details"] = {"reasoning_tokens": stream.tokens // 2}
    if not timings:
        return {"usage": told}
    spans = {
        "queue_time_ms": stream.admitted - stream.arrived,
        "time_to_first_token_ms": stream.first - stream.admitted,
        "generation_time_ms": time.monotonic() - stream.first,
    }
    return {"usage": told, "metrics": {name: 1000 * length for name, length in spans.items()}}
