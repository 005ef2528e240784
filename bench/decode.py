"""What `bench.wire` kept of an exchange -> when which token came, and how the request ended. Runs after the stage.

Why apart: JSON decoded while streams are open stalls the others. How: the framing is taken off (`bench.framing`), then
the events are read (WHATWG HTML, 9.2: a blank line ends an event); an event arrived with the read that brought its last
byte. Nothing keys on text, because without a tokenizer every text is empty though tokens arrive:
* completions: an event with a choice carries a token, unless its `token_ids` are empty, or it has neither `token_ids`
  nor text and only tells why the stream ended;
* chat: an event with content, reasoning or tool-call delta carries a token; the first one, which only names the role,
  does not; an empty content without role does (bytes of a token that are not yet text).
Tokens are counted by the server's `usage`: a chunk may carry several tokens, and a token may come in no chunk at all.
An event that is no JSON, or JSON of other types than OpenAI's, makes its own answer `garbage` and spoils no other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from bench.framing import Body, body_of, head
from bench.records import Floats, Ints
from bench.wire import Exchange

_ERROR_LENGTH = 200
_LARGEST = 1 << 62
"""No count is larger; a record's column holds it."""
_UNLIKE = (ValueError, AttributeError, KeyError, TypeError)
"""What reading an event raises that is no JSON (orjson's error is a ValueError), or JSON of other types."""


@dataclass
class Reply:
    """One decoded exchange; NaN and -1 where something never came. Nanoseconds of CLOCK_REALTIME."""

    status: str
    error: str = ""
    chunk_ns: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    visible_ns: int | None = None
    input_tokens: int = -1
    cached_tokens: int = -1
    output_tokens: int = -1
    reasoning_tokens: int = -1
    server_s: dict[str, float] = field(default_factory=dict)
    token_ids: list[int] = field(default_factory=list)
    text: str = ""


def decode(kept: Exchange, *, counts_choices: bool = False) -> Reply:
    """Read one exchange; `counts_choices`: every completions choice carries a token (vLLM sends none without)."""
    if not kept.raw:
        return Reply(kept.status or "reset", kept.error or "no answer")
    code, fields, start = head(kept.raw)
    if code is None:
        return Reply(kept.status or "garbage", kept.error or "the answer is not HTTP")
    body = body_of(kept.raw, fields, start)
    if code != 200:
        if kept.status == "unfinished":
            return Reply(kept.status, kept.error)
        return Reply(f"http_{code}", _short(body.data))
    reply = Reply("")
    stream = _Events(reply, counts_choices)
    ends = _walk(body.data, stream)
    reply.chunk_ns = _stamps(kept, body, np.array(ends, dtype=np.int64))
    if stream.first_visible is not None:
        reply.visible_ns = int(reply.chunk_ns[stream.first_visible])
    reply.status, reply.error = _verdict(kept, body, stream)
    if reply.output_tokens < 0 and stream.counted:
        reply.output_tokens = stream.counted
    return reply


def _verdict(kept: Exchange, body: Body, stream: _Events) -> tuple[str, str]:
    """How it ended; the server's own word about an error comes first."""
    told = (
        (bool(stream.error), "server_error", stream.error),
        (body.broken, "garbage", "broken chunked framing"),
        (bool(kept.status), kept.status, kept.error),
        (bool(stream.broken), "garbage", f"not an event stream of JSON: {_short(stream.broken)}"),
        (not body.whole, "truncated", "the body ended early"),
        (not stream.finished, "truncated", "the stream ended without a finish reason, usage or [DONE]"),
        (not stream.carriers, "empty", "a whole stream without a token"),
    )
    return next(((status, error) for happened, status, error in told if happened), ("ok", ""))


class _Events:
    """Takes the events of one stream, in order."""

    def __init__(self, reply: Reply, counts_choices: bool) -> None:
        self.reply = reply
        self.counts_choices = counts_choices
        self.carriers = 0
        self.counted = 0
        self.first_visible: int | None = None
        self.finished = False
        self.error = ""
        self.broken = b""

    def take(self, data: bytes) -> bool:
        """One event's data; True when it carried a token."""
        if data == b"[DONE]":
            self.finished = True
            return False
        try:
            return self.event(orjson.loads(data), data)
        except _UNLIKE:
            self.broken = self.broken or data
            return False

    def event(self, event: dict[str, Any], data: bytes) -> bool:
        """The same of its JSON; raises one of `_UNLIKE` where that is of other types."""
        if event.get("error"):
            self.error = _short(data)
            return False
        choices = event.get("choices")
        if event.get("usage"):
            self.usage(event["usage"])
            self.finished = self.finished or not choices
        if isinstance(event.get("metrics"), dict):
            self.timings(event["metrics"])
        return self.choice(choices[0]) if choices else False

    def choice(self, choice: dict[str, Any]) -> bool:
        """Whether a choice carries a token, and whether that is to be seen."""
        ended = choice.get("finish_reason") is not None
        self.finished = self.finished or ended
        ids = choice.get("token_ids")
        if ids:
            self.counted += len(ids)
            self.reply.token_ids.extend(map(int, ids))
        delta = choice.get("delta")
        text, thinks = _text(choice.get("text") if delta is None else delta.get("content"))
        self.reply.text += text
        if delta is None:
            carries = bool(ids) if ids is not None else bool(text) or self.counts_choices or not ended
            visible = carries
        else:
            tool = bool(delta.get("tool_calls") or delta.get("function_call"))
            reasons = bool(delta.get("reasoning_content") or delta.get("reasoning")) or thinks
            silent = delta.get("content") == "" and "role" not in delta and not ended
            visible = bool(text) or tool or (silent and not reasons)
            carries = visible or reasons or bool(ids)
        if carries:
            if visible and self.first_visible is None:
                self.first_visible = self.carriers
            self.carriers += 1
        return carries

    def usage(self, usage: dict[str, Any]) -> None:
        """Tokens as the server counts them; the last word holds (continuous usage repeats it)."""
        reply = self.reply
        reply.input_tokens = _number(usage.get("prompt_tokens"))
        reply.output_tokens = _number(usage.get("completion_tokens"))
        reply.cached_tokens = _number((usage.get("prompt_tokens_details") or {}).get("cached_tokens"))
        reply.reasoning_tokens = _number((usage.get("completion_tokens_details") or {}).get("reasoning_tokens"))

    def timings(self, metrics: dict[str, Any]) -> None:
        """vLLM's own timings of this request (docs.vllm.ai/en/stable/features/per_request_metrics), in seconds."""
        for name in ("queue_time", "time_to_first_token", "generation_time"):
            value = metrics.get(f"{name}_ms")
            if isinstance(value, (int, float)):
                self.reply.server_s[name] = value / 1000


def _walk(body: bytes, stream: _Events) -> list[int]:
    """Give each event of the body to `stream`; where the token-carrying ones end in the body."""
    ends: list[int] = []
    if b"\r" in body:  # rare: then blank lines may be CR LF CR LF, and positions must be kept
        body = body.replace(b"\r\n\r\n", b"\n\n\n\n").replace(b"\r\n", b" \n")
    if body.strip() and b"data:" not in body:
        stream.broken = body
        return ends
    start = 0
    while True:
        stop = body.find(b"\n\n", start)
        block = body[start:] if stop < 0 else body[start:stop]
        data = _data(block)
        if data and stream.take(data):
            ends.append(len(body) if stop < 0 else stop + 2)
        if stop < 0:
            return ends
        start = stop + 2


def _data(block: bytes) -> bytes:
    """An event's data: its `data` lines; comments and other fields are skipped."""
    if block.startswith(b"data:") and b"\n" not in block:
        return block[5:].strip()
    lines = [line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)


def _stamps(kept: Exchange, body: Body, ends: Ints) -> Ints:
    """The stamp of the read that brought each event's last byte."""
    marks = np.frombuffer(kept.marks, dtype=np.int64).reshape(-1, 2)
    stamps = marks[:, 0] * 1_000_000_000 + marks[:, 1]
    reads = np.cumsum(np.frombuffer(kept.reads, dtype=np.uint32).astype(np.int64))
    last = ends - 1
    piece = np.searchsorted(np.array(body.body_at), last, side="right") - 1
    raw = last - np.array(body.body_at)[piece] + np.array(body.raw_at)[piece]
    arrived: Ints = stamps[np.searchsorted(reads, raw, side="right")]
    return arrived


def to_row(kept: Exchange, zero_ns: int, *, counts_choices: bool = False) -> tuple[dict[str, Any], Floats]:
    """What came of one exchange, as a row of records (without what was asked) and its chunk arrivals."""
    reply = decode(kept, counts_choices=counts_choices)
    chunk_s = (reply.chunk_ns - zero_ns) / 1e9
    row = {
        "scheduled_s": (kept.scheduled_ns - zero_ns) / 1e9,
        "sent_s": (kept.sent_ns - zero_ns) / 1e9 if kept.sent_ns else math.nan,
        "first_token_s": chunk_s[0] if len(chunk_s) else math.nan,
        "first_visible_s": math.nan if reply.visible_ns is None else (reply.visible_ns - zero_ns) / 1e9,
        "last_token_s": chunk_s[-1] if len(chunk_s) else math.nan,
        "end_s": (kept.end_ns - zero_ns) / 1e9,
        "input_tokens": reply.input_tokens,
        "cached_tokens": reply.cached_tokens,
        "output_tokens": reply.output_tokens,
        "reasoning_tokens": reply.reasoning_tokens,
        "events": len(chunk_s),
        "status": reply.status,
        "error": reply.error,
        "server_queue_s": reply.server_s.get("queue_time", math.nan),
        "server_ttft_s": reply.server_s.get("time_to_first_token", math.nan),
        "server_generation_s": reply.server_s.get("generation_time", math.nan),
    }
    return row, chunk_s


def peek(kept: Exchange, zero_ns: int, *, chat: bool) -> tuple[float, ...]:
    """A few microseconds' look at an exchange while the load runs: (ok, end, TTFT, E2E, TPOT, output tokens).

    For progress, backing off and stopping only: the first `data:` (chat: the second, after the role) is taken for the
    first token, the last read for the last one, and an error event for a failure; `decode` tells the truth later.
    """
    end_s = (kept.end_ns - zero_ns) / 1e9
    at = kept.raw.find(b"data:", kept.raw.find(b"data:") + 5 if chat else 0)
    if kept.status or b" 200 " not in kept.raw[:16] or at < 0 or b'data: {"error"' in kept.raw:
        return 0.0, end_s, math.nan, math.nan, math.nan, 0.0
    told = kept.raw.rfind(b'"completion_tokens":')
    digits = kept.raw[told + 20 : told + 30].lstrip()
    tokens = int(digits[: len(digits) - len(digits.lstrip(b"0123456789"))] or 0) if told >= 0 else 0
    marks = np.frombuffer(kept.marks, dtype=np.int64).reshape(-1, 2)
    reads = np.cumsum(np.frombuffer(kept.reads, dtype=np.uint32))
    first, last = marks[np.searchsorted(reads, at, side="right")], marks[-1]
    sent_s, first_s, last_s = kept.sent_ns / 1e9, first[0] + first[1] / 1e9, last[0] + last[1] / 1e9
    tpot_s = (last_s - first_s) / (tokens - 1) if tokens > 1 else math.nan
    return 1.0, end_s, first_s - sent_s, last_s - sent_s, tpot_s, float(tokens)


def _number(value: Any) -> int:
    return int(value) if isinstance(value, (int, float)) and 0 <= value < _LARGEST else -1


def _text(content: Any) -> tuple[str, bool]:
    """The text of a content, and whether it holds thinking: it is a string, or typed parts (Mistral's chats)."""
    if not isinstance(content, list):
        return content or "", False
    kinds = [part["type"] for part in content]
    return "".join(part["text"] for part in content if part["type"] == "text"), "thinking" in kinds


def _short(data: bytes) -> str:
    """A server's message, short: the `message` of its error object if it has one."""
    try:
        event = orjson.loads(data)
        error = event.get("error", event) if isinstance(event, dict) else event
        told = error.get("message", error) if isinstance(error, dict) else error
        text = told if isinstance(told, str) else orjson.dumps(told).decode()
    except orjson.JSONDecodeError:
        text = data.decode("utf-8", "replace")
    return " ".join(text.split())[:_ERROR_LENGTH]
