"""The framing of HTTP/1.1 around an answer's body (RFC 9112, 6 and 7.1), walked after the stage.

Why apart: a token's stamp is that of the read which brought its event's last byte, so the place of every piece of the
body among the raw bytes is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

_LONGEST = 18
"""Digits of a length that may be true."""


@dataclass
class Body:
    """A body without its framing, and where each of its pieces stood in what came."""

    data: bytes
    body_at: list[int]
    raw_at: list[int]
    whole: bool
    broken: bool = False


def head(raw: bytes) -> tuple[int | None, dict[bytes, bytes], int]:
    """Status code, header fields and where the body begins, interim answers skipped."""
    start = 0
    while True:
        stop = raw.find(b"\r\n\r\n", start)
        first, _, rest = raw[start : stop if stop >= 0 else len(raw)].partition(b"\r\n")
        parts = first.split(b" ")
        if stop < 0 or not first.startswith(b"HTTP/") or len(parts) < 2 or not parts[1].isdigit():
            return None, {}, 0
        start = stop + 4
        if not parts[1].startswith(b"1"):
            fields = (line.partition(b":")[::2] for line in rest.lower().split(b"\r\n"))
            return int(parts[1]), {name.strip(): value.strip() for name, value in fields}, start


def body_of(raw: bytes, fields: dict[bytes, bytes], start: int) -> Body:
    """The body without its framing."""
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        return _unchunk(raw, start)
    length = fields.get(b"content-length", b"")
    whole = not length.isdigit() or len(length) > _LONGEST or len(raw) - start >= int(length)
    return Body(raw[start:], [0], [start], whole)


def _unchunk(raw: bytes, at: int) -> Body:
    """Walk the chunks: size in hexadecimal, CR LF, that many bytes, CR LF; size 0 ends."""
    pieces: list[bytes] = []
    body_at, raw_at, length = [0], [at], 0
    whole = broken = False
    while True:
        line = raw.find(b"\r\n", at)
        if line < 0:
            break
        try:
            size = int(raw[at:line].partition(b";")[0], 16)
        except ValueError:
            size = -1
        if size < 0:
            broken = True
            break
        at = line + 2
        if size == 0:
            whole = True
            break
        body_at.append(length)
        raw_at.append(at)
        pieces.append(raw[at : at + size])
        length += len(pieces[-1])
        at += size
        if raw[at : at + 2] not in (b"\r\n", b"\r", b""):
            broken = True
            break
        at += 2
    return Body(b"".join(pieces), body_at, raw_at, whole, broken)
