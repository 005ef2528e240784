"""Where requests go: a base URL, parsed and resolved once, before the clock starts, and the key that goes with it.

The key is part of no text that leaves here but the request's own header.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from hardware_profiles.faults import Fault, InputError


@dataclass(frozen=True)
class Endpoint:
    """Where requests go; made once, before the clock starts."""

    host: str
    port: int
    tls: bool
    path: str
    """What stands before `/v1/...`."""
    addresses: tuple[tuple[Any, ...], ...]
    """What getaddrinfo said: tried in this order."""
    authority: str
    key: str = field(default="", repr=False)

    @property
    def loopback(self) -> bool:
        """Whether the endpoint is this machine."""
        return all(str(address[4][0]).startswith("127.") or address[4][0] == "::1" for address in self.addresses)

    def request(self, path: str, body: bytes) -> bytes:
        """A whole POST request."""
        secret = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        head = (
            f"POST {self.path}{path} HTTP/1.1\r\nHost: {self.authority}\r\nUser-Agent: spillway-bench\r\n{secret}"
            f"Content-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def scrubbed(self, text: str) -> str:
        """Text that a server sent, without our key."""
        return text.replace(self.key, "***") if self.key else text


def endpoint(url: str, key: str = "") -> Endpoint:
    """Parse and resolve a base URL; `InputError` tells what is wrong with it (never the key itself)."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        remedy = "give http://HOST:PORT or https://HOST, without user name, password or /v1"
        raise InputError(Fault("not a base URL", remedy, value=url.rpartition("@")[2]))
    if not key.isprintable() or not key.isascii():
        raise InputError(Fault("the API key has characters that no header may have", "check the environment variable"))
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError as error:
        remedy = "check the URL and the network"
        raise InputError(Fault(f"host cannot be found ({error.strerror})", remedy, value=parts.hostname)) from None
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    authority = name if parts.port is None else f"{name}:{port}"
    path = parts.path.rstrip("/").removesuffix("/v1")
    return Endpoint(parts.hostname, port, tls, path, tuple(found), authority, key)
