"""The live table of a running sweep: points that are done, how the running stage stands, and how much is left.

What is left is told as "at most": a stage ends sooner when it is known well enough, levels end when the server is full,
a search when its rate is known. The sweep's bound is the stages that may still come times what a stage took so far, and
where requests are long what they need (`bench.length`): a shape's in proportion to its answers' lengths. What requests
take is told when the first of a shape ended.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.alone import alone
from bench.asked import Asked, bind_warning, endpoint_warning, split_cores
from bench.driver import Progress
from bench.length import RAMP_E2E, SPARE, STAGE_S, Mode, least_load_s
from bench.order import parse_address
from bench.plan import RunPlan, default_shapes, machine_id, read_run
from bench.prompts import ShapeLaw, Trace, draw
from bench.reads import COMPILED, KERNEL_STAMPS
from bench.remote import work
from bench.run import Result, client_known, execute, resume, started, state_folder
from bench.schedule import Stage
from bench.selfcheck import Kind, find_ceiling
from bench.show import COLUMNS, curve_table, point_row, points_table
from bench.sweep import Events
from bench.watch import Glance
from hardware_profiles.curve import Point
from hardware_profiles.faults import Fault, InputError, printable

NOW = (
    "now",
    "left",
    "sweep left",
    "in flight",
    "waiting",
    "served",
    "failed",
    "tok/s",
    "TTFT ms",
    "TPOT ms",
    "KV",
    "W",
)
UNKNOWN = "-"


class LiveTable:
    """`with LiveTable(console, plan) as live:` and give `live.events` to the sweep."""

    def __init__(self, console: Console, plan: RunPlan, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._points: dict[str, list[Point]] = {}
        self._now: RenderableType = Text("starting the server; this takes from seconds to minutes")
        self._left = Left(plan)
        self._since = 0.0
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self.render, transient=True)
        self.events = Events(
            started=self._started,
            progress=self._progress,
            finished=self._finished,
            ended=self._ended,
            told=lambda text: _say(console, text),
        )

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._live.stop()

    def render(self) -> RenderableType:
        """What stands on the screen."""
        return Group(*(points_table(points) for points in self._points.values()), self._now)

    def _started(self, stage: Stage) -> None:
        self._since = self._clock()
        self._now = Text(f"{stage.name}: starting")

    def _progress(self, stage: Stage, at: Progress, glance: Glance) -> None:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in NOW:
            table.add_column(column, justify="left" if column == "now" else "right", no_wrap=True)
        row = now_row(stage, at, glance, self._left.seconds(stage, at))
        table.add_row(*row, style="red" if at.failed else None)
        self._now = table

    def _finished(self, stage: Stage, point: Point, known: bool) -> None:
        self._left.finished(None if known else self._clock() - self._since)
        self._points.setdefault(stage.shape.model_dump_json(), []).append(point)
        told = f"{stage.name}: {'was done' if known else 'done'}"
        self._now = Text(told)
        if not self._console.is_terminal:
            cells = ", ".join(f"{name} {cell}" for name, cell in zip(COLUMNS, point_row(point), strict=True) if cell)
            _say(self._console, f"{told}: {cells}")

    def _ended(self, what: str, why: str) -> None:
        self._left.ended()
        _say(self._console, f"{what} end: {why}")


class Left:
    """How many stages may still come: every shape has its levels, then its rates; each may end early."""

    def __init__(self, plan: RunPlan) -> None:
        levels = len(plan.loads) or int(math.log2(plan.max_load)) + 1
        rates = len(plan.rates_per_s) or plan.pace.rate_stages
        own: list[tuple[int, Mode]] = [(levels, "closed")]
        own += [(rates, "open")] if plan.searches else []
        once: list[tuple[int, Mode]] = [(1, "open")]
        laws = plan.shapes or default_shapes(None)
        self._stated = plan.pace.stage_s is not None
        self._most: list[tuple[int, Mode, ShapeLaw]] = [
            (most, mode, law) for law in laws for most, mode in (once if isinstance(law, Trace) else own)
        ]
        self._took_s: list[float] = []
        self._least_s = plan.pace.stage_s or STAGE_S

    def finished(self, took_s: float | None) -> None:
        """One more stage is done; None: it stood in the folder already."""
        if self._most:
            most, mode, law = self._most[0]
            self._most[0] = max(0, most - 1), mode, law
        if took_s is not None:
            self._took_s.append(took_s)

    def ended(self) -> None:
        """Levels or rates of a shape have ended."""
        self._most = self._most[1:]

    def stages(self) -> int:
        """At most."""
        return sum(most for most, _, _ in self._most)

    def seconds(self, stage: Stage, at: Progress) -> tuple[float, float]:
        """(this stage, the whole sweep), at most; a stage that was not yet seen is taken to last to its cap."""
        stops_s = stage.cap_s if at.elapsed_s < stage.cap_s else stage.longest_s or stage.cap_s
        this_s = stops_s - at.elapsed_s
        this_s = this_s if this_s > 0 else max(0.0, this_s + stage.drain_s)
        left = [(most - (number == 0), mode, law) for number, (most, mode, law) in enumerate(self._most)]
        return this_s, this_s + sum(max(0, most) * self._each_s(stage, mode, law) for most, mode, law in left)

    def _each_s(self, stage: Stage, mode: Mode, law: ShapeLaw) -> float:
        """What a stage of this law may take, as the running one's requests and their lengths say."""
        each_s = sum(self._took_s) / len(self._took_s) if self._took_s else max(stage.cap_s, self._least_s)
        if self._stated or isinstance(law, Trace):
            return each_s
        e2e_s = stage.stagger_s if stage.mode == "closed" else stage.warm_up_s / RAMP_E2E["open"]
        return max(each_s, least_load_s(mode, 0.0, e2e_s * answer_tokens(law) / answer_tokens(stage.shape)))


@lru_cache
def answer_tokens(law: ShapeLaw) -> float:
    """Mean output tokens of a shape law."""
    return float(draw(law, 0, 4096)[1].mean())


def up_front(plan: RunPlan) -> str:
    """How long a run may take, as far as it can be said before it began."""
    most, pace = Left(plan).stages(), plan.pace
    told = f"at most {most} stages of {pace.stage_s or STAGE_S:g} s, {duration(most * (pace.stage_s or STAGE_S))}"
    open_told = "; open-loop ones up to four times that" if plan.searches else ""
    long_s = STAGE_S / (SPARE * least_load_s("closed", 0.0, 1.0))
    longer = f"; longer where requests take more than {long_s:.0f} s, which is told when the first has ended"
    return told + open_told + ("" if pace.stage_s else longer)


def now_row(stage: Stage, at: Progress, glance: Glance, left_s: tuple[float, float]) -> tuple[str, ...]:
    """The running stage's line; what is unknown is a dash."""

    def cell(value: float | None, form: str, scale: float = 1.0) -> str:
        return UNKNOWN if value is None else format(value * scale, form)

    return (
        stage.name,
        f"<{duration(left_s[0])}",
        f"<{duration(left_s[1])}",
        str(at.in_flight),
        cell(glance.waiting, ".0f"),
        str(at.completed),
        str(at.failed),
        cell(at.output_tokens_per_s, ".0f") + (f" ±{at.throughput_width:.0%}" if at.throughput_width else ""),
        cell(at.ttft_s, ".0f", 1e3),
        cell(at.tpot_s, ".1f", 1e3),
        cell(glance.kv_cache_use, ".0%"),
        cell(glance.power_w, ".0f"),
    )


def duration(seconds: float) -> str:
    """Rounded up.

    >>> duration(7.2), duration(61), duration(7300)
    ('8 s', '2 min', '2 h 2 min')
    """
    if seconds <= 60:
        return f"{math.ceil(seconds)} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes <= 60 else f"{minutes // 60} h {minutes % 60} min"


def run_live(asked: Asked, raw: Path | None, out: Path, *, fresh: bool) -> None:
    """`bench run`."""
    with started(asked, raw, fresh=fresh) as (plan, folder):
        said = up_front(plan), endpoint_warning(plan.target.url), bind_warning(plan), _unknown_client(plan)
        _live(folder, plan, lambda events: execute(plan, folder, out, events), (*plan.notes, *said))


def _unknown_client(plan: RunPlan) -> str | None:
    if plan.remote_workers or client_known(plan):
        return None
    told = "--workers " + str(plan.workers) if plan.workers > 1 else ""
    command = " ".join(filter(None, ("bench selfcheck", told, "--cpu" if plan.client_cpus else "")))
    return f"what this client can take is not known: `{command}` finds out in a minute"


def resume_live(folder: Path, out: Path) -> None:
    """`bench resume`."""
    _live(folder, read_run(folder).plan, lambda events: resume(folder.resolve(), out, events), ())


def worker_live(master: str, *, key_env: str | None, stages: int | None) -> None:
    """`bench worker`."""
    address = parse_address(master, "--master")
    if key_env and not os.environ.get(key_env):
        raise InputError(
            Fault(
                f"the environment variable {key_env} is not set", "export the endpoint's key in it", column="--key-env"
            )
        )
    console = Console()
    _say(console, f"working for {address.host}:{address.port}, stage after stage; Ctrl-C ends it")
    try:
        for done, status in enumerate(work(address, key_env=key_env, stages=stages), start=1):
            _say(console, f"stage {done} is over" if status == 0 else f"stage {done} ended with status {status}")
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def print_result(console: Console, result: Result) -> None:
    """The curve, where it is, and where the one is that stood there."""
    console.print(curve_table(result.curve))
    if result.kept:
        _say(console, f"note: the curve of another run stood there; it is kept: {result.kept}")
    _say(console, f"curve: {result.path}")


def _say(console: Console, text: str) -> None:
    """One line that is not broken, so that a command in it can be copied."""
    console.print(Text(printable(text)), soft_wrap=True)


def _live(folder: Path, plan: RunPlan, go: Callable[[Events], Result], notes: tuple[str | None, ...]) -> None:
    console = Console()
    for note in notes:
        if note:
            _say(console, f"note: {note}")
    here = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    _say(console, f"raw records: {here} (when interrupted: bench resume {here})")
    try:
        with LiveTable(console, plan) as live:
            result = go(live.events)
    except KeyboardInterrupt:
        _say(console, f"interrupted; finished stages are safe: bench resume {here}")
        raise SystemExit(130) from None
    print_result(console, result)


def selfcheck_live(*, workers: int, error_s: float, quick: bool, cpu: bool) -> None:
    """`bench selfcheck`."""
    console = Console()
    state = state_folder()
    cores = split_cores(sorted(os.sched_getaffinity(0)), workers) if cpu else ((), ())
    kind = Kind(machine_id(state), workers, pinned=bool(cores[1]))

    def level(streams: int, ttft_error_s: float, gap_error_s: float) -> None:
        errors = f"TTFT error {ttft_error_s * 1e3:.2f} ms, gap error {gap_error_s * 1e3:.2f} ms (p99)"
        console.print(Text(f"{streams:5d} streams: {errors}"))

    now = datetime.now(UTC).isoformat(timespec="seconds")
    with alone(state, "two would load each other's client: wait until it has ended"):
        ceiling = find_ceiling(state, kind, now=now, error_s=error_s, quick=quick, cores=cores, on_level=level)
    least = "at least " if ceiling.capped else ""
    held = f"{least}{ceiling.streams} streams and {ceiling.events_per_s:.0f} events/s"
    console.print(Text(f"with {workers} workers this client holds {held} within {error_s * 1e3:g} ms"))
    if KERNEL_STAMPS and not COMPILED:
        dear = "its reads are not compiled, so that each costs more: install again where there are a C compiler and"
        console.print(Text(f"{dear} Python's headers"))
