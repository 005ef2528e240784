"""The live table of a running sweep: points that are done, and how the running stage stands; then where things are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from bench.asked import Asked, endpoint_warning
from bench.driver import Progress
from bench.run import Result, execute, resume, start, state_folder
from bench.schedule import Stage
from bench.selfcheck import find_ceiling, known_ceiling
from bench.show import COLUMNS, curve_table, point_row, points_table
from bench.sweep import Events
from hardware_profiles.curve import Point
from hardware_profiles.faults import printable


class LiveTable:
    """`with LiveTable(console) as live:` and give `live.events` to the sweep."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._points: dict[str, list[Point]] = {}
        self._now = Text("starting the server; this takes from seconds to minutes")
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._render, transient=True)
        self.events = Events(started=self._started, progress=self._progress, finished=self._finished, ended=self._ended)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        return Group(*(points_table(points) for points in self._points.values()), self._now)

    def _started(self, stage: Stage) -> None:
        self._now = Text(f"{stage.name}: starting")

    def _progress(self, stage: Stage, at: Progress) -> None:
        parts = [f"{stage.name}: {at.elapsed_s:.0f} of at most {stage.cap_s:.0f} s", f"{at.in_flight} in flight"]
        parts.append(f"{at.completed} served" + (f", {at.failed} FAILED" if at.failed else ""))
        if at.output_tokens_per_s is not None:
            parts.append(f"{at.output_tokens_per_s:.0f} out tok/s")
        if at.ttft_s is not None:
            parts.append(f"TTFT {at.ttft_s * 1e3:.0f} ms")
        if at.tpot_s is not None:
            parts.append(f"TPOT {at.tpot_s * 1e3:.1f} ms")
        if at.throughput_width is not None:
            parts.append(f"throughput ±{at.throughput_width:.0%}")
        self._now = Text(", ".join(parts))

    def _finished(self, stage: Stage, point: Point, known: bool) -> None:
        self._points.setdefault(stage.shape.model_dump_json(), []).append(point)
        self._now = Text(f"{stage.name}: {'was done' if known else 'done'}")
        if not self._console.is_terminal:
            told = ", ".join(f"{name} {cell}" for name, cell in zip(COLUMNS, point_row(point), strict=True) if cell)
            _say(self._console, f"{self._now}: {told}")

    def _ended(self, what: str, why: str) -> None:
        _say(self._console, f"{what} end: {why}")


def run_live(asked: Asked, raw: Path | None, out: Path, *, fresh: bool) -> None:
    """`bench run`."""
    plan, folder = start(asked, raw, fresh=fresh)
    known = known_ceiling(state_folder(), workers=plan.workers)
    unknown = None if known else "what this client can take is not known: `bench selfcheck` finds out in a minute"
    notes = (*plan.notes, endpoint_warning(plan.target.url), unknown)
    _live(folder, lambda events: execute(plan, folder, out, events), notes)


def resume_live(folder: Path, out: Path) -> None:
    """`bench resume`."""
    _live(folder, lambda events: resume(folder.resolve(), out, events), ())


def print_result(console: Console, result: Result) -> None:
    """The curve, and where it is."""
    console.print(curve_table(result.curve))
    _say(console, f"curve: {result.path}")


def _say(console: Console, text: str) -> None:
    """One line that is not broken, so that a command in it can be copied."""
    console.print(Text(printable(text)), soft_wrap=True)


def _live(folder: Path, go: Callable[[Events], Result], notes: tuple[str | None, ...]) -> None:
    console = Console()
    for note in notes:
        if note:
            _say(console, f"note: {note}")
    here = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    _say(console, f"raw records: {here} (when interrupted: bench resume {here})")
    try:
        with LiveTable(console) as live:
            result = go(live.events)
    except KeyboardInterrupt:
        _say(console, f"interrupted; finished stages are safe: bench resume {here}")
        raise SystemExit(130) from None
    print_result(console, result)


def selfcheck_live(*, workers: int, error_s: float, quick: bool) -> None:
    """`bench selfcheck`."""
    console = Console()

    def level(streams: int, ttft_error_s: float, gap_error_s: float) -> None:
        errors = f"TTFT error {ttft_error_s * 1e3:.2f} ms, gap error {gap_error_s * 1e3:.2f} ms (p99)"
        console.print(Text(f"{streams:5d} streams: {errors}"))

    now = datetime.now(UTC).isoformat(timespec="seconds")
    ceiling = find_ceiling(state_folder(), now=now, workers=workers, error_s=error_s, quick=quick, on_level=level)
    least = "at least " if ceiling.capped else ""
    held = f"{least}{ceiling.streams} streams and {ceiling.events_per_s:.0f} events/s"
    console.print(Text(f"with {workers} workers this client holds {held} within {error_s * 1e3:g} ms"))
