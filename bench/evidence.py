"""What is known about one finished stage, and how a verdict on it is written down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench import stats
from bench.gpu import Reading
from bench.records import SILENT, Records
from bench.schedule import Stage
from bench.scrape import Snapshot
from bench.selfcheck import Ceiling
from bench.watch import Watch
from hardware_profiles.curve import Check, Ended, Verdict


@dataclass(frozen=True)
class Evidence:
    """Everything that is known about one finished stage."""

    stage: Stage
    records: Records
    window: stats.Window
    zero_unix_s: float
    client: dict[str, str | float | int | None]
    watch: Watch
    ceiling: Ceiling | None
    ended: Ended | None = None

    @property
    def windowed(self) -> Records:
        """The rows that count."""
        return stats.in_window(self.records, self.window)

    @property
    def pages(self) -> list[Snapshot]:
        """The server's pages from inside the window."""
        return [page for page in self.watch.pages if self._inside(page.unix_s)]

    @property
    def readings(self) -> list[Reading]:
        """The GPU's readings from inside the window."""
        return [reading for reading in self.watch.readings if self._inside(reading.unix_s)]

    def _inside(self, unix_s: float) -> bool:
        return self.window.start_s <= unix_s - self.zero_unix_s < self.window.end_s


def moved(before: Snapshot, after: Snapshot, name: str) -> float | None:
    """By how much a counter rose; None where the page does not have it."""
    old, new = getattr(before, name), getattr(after, name)
    return None if old is None or new is None else float(new - old)


@dataclass(frozen=True)
class Primed:
    """The requests that put shared prefixes into the cache before the zero, one output token each, as sums."""

    requests: int
    input_tokens: int
    ttft_s: float | None
    """None where they were not timed: some failed, or the records are older than 2026-11-21."""
    e2e_s: float | None
    trouble: str | None
    """Why one of them failed."""


def primed_before(evidence: Evidence) -> Primed:
    """What the server's counters hold beside the stage's own requests."""
    client = evidence.client
    requests, trouble = int(client.get("primed_requests") or 0), client.get("prime_error")
    times = [client.get(f"primed_{name}_s", None if requests else 0.0) for name in ("ttft", "e2e")]
    ttft_s, e2e_s = (None if time_s is None or trouble else float(time_s) for time_s in times)
    tokens = int(client.get("primed_input_tokens") or 0)
    return Primed(requests, tokens, ttft_s, e2e_s, None if trouble is None else str(trouble))


def silence(records: Records) -> str | None:
    """What is to be said of a server that had stopped answering when the stage ended; None where it had not.

    It had when a request was given up that was sent after the last one was served: one of those that were stuck before
    may have been forgotten alone.
    """
    given_up = records.select(np.char.startswith(records.error.astype(str), SILENT))
    served_s = records.end_s[records.ok].max(initial=-np.inf)
    if not (given_up.sent_s >= served_s).any():
        return None
    return f"the server answers nothing: {given_up.error[-1]}"


def within(name: str, value: float, tolerance: float, reason: str) -> Check:
    """Passes when the value is at most the tolerance."""
    verdict: Verdict = "pass" if value <= tolerance else "fail"
    return Check(name=name, verdict=verdict, reason=reason, value=float(value), tolerance=float(tolerance))


def verdict_of(name: str, passed: bool, reason: str) -> Check:
    """A check that was decided."""
    return Check(name=name, verdict="pass" if passed else "fail", reason=reason)


def unknown(name: str, reason: str) -> Check:
    """A check that nothing can decide, and why."""
    return Check(name=name, verdict="unknown", reason=reason)
