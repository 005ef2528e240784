"""What the server and the driver said through one stage, and the file that says the stage is finished.

Why: records alone cannot be judged; the judge needs the other side's words from the same minutes. And a sweep that is
killed must know which stages are whole. How: counters are read while nothing runs, before and after the stage, pages
and GPU readings are sampled in threads in between, and all of it is written as `<stage>.json`, whole and last: a stage
without this file is run again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from bench.gpu import Driver, Reading
from bench.scrape import Sampler, Snapshot, settled_snapshot, take_snapshot
from hardware_profiles.curve import Value, write_text
from hardware_profiles.faults import Fault, InputError

WATCH_FORMAT = "spillway-stage/1"


class Watch(Value):
    """The other side of one finished stage."""

    format: Literal["spillway-stage/1"] = "spillway-stage/1"
    stage: str
    records_sha256: str
    before: Snapshot | None
    after: Snapshot | None
    pages: tuple[Snapshot, ...] = ()
    pages_reason: str | None = None
    """Why there are none, or why some are missing."""
    readings: tuple[Reading, ...] = ()
    gpu_reason: str | None = None
    own_processes: tuple[int, ...] | None = None
    """Process numbers on the GPU that came with our server, as the driver numbers them."""
    server_death: str | None = None


@dataclass(frozen=True)
class Glance:
    """What server and driver said last, for who looks on; None where they say nothing."""

    kv_cache_use: float | None = None
    waiting: float | None = None
    power_w: float | None = None


@dataclass
class Watching:
    """Fills while the stage runs; complete after the block."""

    before: Snapshot | None = None
    after: Snapshot | None = None
    pages: tuple[Snapshot, ...] = ()
    pages_reason: str | None = None
    readings: tuple[Reading, ...] = ()
    gpu_reason: str | None = None
    own_processes: tuple[int, ...] | None = None
    page_sampler: Sampler[Snapshot] | None = field(default=None, repr=False)
    gpu_sampler: Sampler[Reading] | None = field(default=None, repr=False)

    def now(self) -> Glance:
        """The latest page and reading."""
        page = self.page_sampler.taken[-1] if self.page_sampler and self.page_sampler.taken else None
        reading = self.gpu_sampler.taken[-1] if self.gpu_sampler and self.gpu_sampler.taken else None
        return Glance(
            kv_cache_use=page.kv_cache_use if page else None,
            waiting=page.waiting if page else None,
            power_w=reading.power_w if reading else None,
        )

    def finish(self, stage: str, records_sha256: str, server_death: str | None) -> Watch:
        """The value to be written."""
        return Watch(
            stage=stage,
            records_sha256=records_sha256,
            before=self.before,
            after=self.after,
            pages=self.pages,
            pages_reason=self.pages_reason,
            readings=self.readings,
            gpu_reason=self.gpu_reason,
            own_processes=self.own_processes,
            server_death=server_death,
        )


@contextmanager
def watching(
    url: str, *, key: str | None, driver: Driver | None, gpu_reason: str | None, own: tuple[int, ...] | None = None
) -> Iterator[Watching]:
    """Watch a server and its GPUs while the block runs; `own` are the server's processes on them."""
    seen = Watching(gpu_reason=gpu_reason, own_processes=own)
    seen.before = _settled(seen, url, key)
    pages = seen.page_sampler = Sampler(lambda: take_snapshot(url, key=key))
    readings = seen.gpu_sampler = Sampler(driver.read if driver else _no_reading)
    try:
        with pages, readings:
            yield seen
    finally:
        seen.pages, seen.readings = tuple(pages.taken), tuple(readings.taken)
        seen.pages_reason = seen.pages_reason or pages.reason
        seen.after = _settled(seen, url, key)


def write_watch(watch: Watch, folder: Path) -> None:
    """Write `<stage>.json` whole: from now on the stage is finished."""
    write_text(folder / f"{watch.stage}.json", watch.model_dump_json(exclude_defaults=True) + "\n")


def read_watch(path: Path) -> Watch:
    """Read one back; `InputError` where it is not one of ours."""
    try:
        return Watch.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(Fault("not a finished stage's file", "run the stage again", str(path))) from error


def _settled(seen: Watching, url: str, key: str | None) -> Snapshot | None:
    try:
        return settled_snapshot(url, key=key)
    except OSError as error:
        seen.pages_reason = seen.pages_reason or str(error)
        return None


def _no_reading() -> Reading:
    raise OSError
