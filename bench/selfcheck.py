"""How much can this machine's client take before it, and not the server, sets the numbers?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hardware_profiles.curve import Value


class Ceiling(Value):
    """The largest load that the client measured within `error_s`, on this machine, with this many workers."""

    format: str = "spillway-ceiling/1"
    streams: int
    events_per_s: float
    error_s: float
    """The error that was asked: p99 of TTFT and of chunk gaps against the paced server's own send stamps."""
    ttft_error_p99_s: float
    gap_error_p99_s: float
    kept_share: float
    """Events that arrived, of those the law says."""
    workers: int
    wire: str
    capped: bool
    """True when the largest load tried still held: the ceiling is at least this."""
    measured_at: str
    client: dict[str, str | float | int | None]


def find_ceiling(
    cache: Path,
    *,
    now: str,
    workers: int = 1,
    error_s: float = 0.001,
    quick: bool = False,
    cpus: tuple[int, ...] | None = None,
    on_level: Callable[[int, float, float], None] | None = None,
) -> Ceiling:
    """Measure, write `<cache>/ceiling-<workers>.json` and return it; `on_level(streams, ttft_error_s, gap_error_s)`."""
    raise NotImplementedError


def known_ceiling(cache: Path, *, workers: int = 1) -> Ceiling | None:
    """The stored result, None when there is none."""
    raise NotImplementedError
