"""How much can this machine's client take before it, and not the server, sets the numbers?

Why: nobody else says when their load generator distorts what it measures. So the client is first driven, on this
machine, against the paced server, whose own send stamps are the truth, with more and more streams until its error
passes the one allowed. Later points are judged against that ceiling.

Error of a request's TTFT: how far it lies from (server's first send - kernel's stamp on the request's arrival there);
of a chunk gap: how far from the time between the server's two sends. A send is known by the moments just before and
just after it; what lies between them is no error. Both at the 99th percentile. The stage is a
closed loop of 50-token answers at 20 ms a token, so that starts and ends of requests are among what is measured.
When the paced server itself falls behind its law, or the largest load is reached, the client's ceiling is not found:
`capped` then says that it is at least this.

A ceiling holds for the machine it was found on (a home folder may be many machines'), for as many workers, and for
workers that have cores of their own as runs with `--gpu cpu` give them, or have not, and whose reads are compiled, or
are not: each kind of client has its file.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from bench import child, stats
from bench.driver import StageRun, Target, run_stage
from bench.paced import Law, paced
from bench.prompts import Prompts, Range
from bench.reads import COMPILED
from bench.records import Floats, Records
from bench.schedule import Stage
from bench.truth import Truth, beyond_s, read_truth
from hardware_profiles.curve import Value, write_text

FORMAT = "spillway-ceiling/1"
LEVELS = (64, 128, 256, 512, 1024, 2048, 4096)
QUICK_LEVELS = (8, 64)
ERROR_S = 0.001
"""Error of TTFT and of gaps that is allowed at the 99th percentile where nobody says otherwise."""
KEPT = 0.99
"""Least share of the events that arrive per second, of those that the server sends while it has `streams` requests."""
SERVER_LATE = 1.05
"""The server keeps to its law while its requests take at most this much longer than the law says."""
_OTHER_FILES = 100
"""That a process holds open beside its streams: a level with more is not tried, since it would not be the client's."""
Cores = tuple[int, ...]
_VOCAB = 32000
_LAW = Law(ttft_s=0.1, tpot_s=0.02)
_TOKENS = 50


class Ceiling(Value):
    """The largest load that the client measured within `error_s`, on this machine, with this many workers."""

    format: str = FORMAT
    streams: int
    events_per_s: float
    error_s: float
    """The error that was allowed: p99 of TTFT and of chunk gaps against the paced server's own send stamps."""
    ttft_error_p99_s: float
    gap_error_p99_s: float
    kept_share: float
    """Events that arrived per second, of those that the server would have sent had it never waited for the client."""
    workers: int
    wire: str
    """How it was measured (`how_measured`): points that were measured otherwise are not judged by it."""
    capped: bool
    """True when no larger load could be tried fairly: the ceiling is at least this."""
    measured_at: str
    client: dict[str, str | float | int | None]


@dataclass(frozen=True)
class Errors:
    """A client's records against the server's own stamps."""

    ttft_s: Floats
    gap_s: Floats
    unmatched: int
    """Requests whose chunks differ in number from the server's sends (none, unless a read merged two)."""


@dataclass(frozen=True)
class Kind:
    """One kind of client on one machine: what a ceiling is of."""

    machine_id: str | None
    workers: int = 1
    pinned: bool = False
    """Whether its workers have cores of their own, and the server has others."""
    compiled: bool = COMPILED
    """Whether its reads are (`bench.reads`)."""

    def file(self, cache: Path) -> Path:
        """Where its ceiling is kept."""
        told = [name for name in ("pinned", "compiled") if getattr(self, name)]
        parts = (self.machine_id or "unknown-machine", str(self.workers), *told)
        return cache / f"ceiling-{'-'.join(parts)}.json"


def find_ceiling(
    cache: Path,
    kind: Kind,
    *,
    now: str,
    error_s: float = ERROR_S,
    quick: bool = False,
    cores: tuple[Cores, Cores] = ((), ()),
    on_level: Callable[[int, float, float], None] | None = None,
) -> Ceiling:
    """Measure, write the kind's file and return it; `on_level(streams, ttft_error_s, gap_error_s)`.

    `now` is stored as `measured_at`; `cores` are (the server's, the client's), empty for all. A level that fails ends
    the search; when the first one fails its errors are returned as they are, with 0 streams. Where nothing is known
    yet, each level that holds is written at once, so that a search that is interrupted was not for nothing.
    """
    best: Ceiling | None = None
    unknown = known_ceiling(cache, kind) is None
    for streams in QUICK_LEVELS if quick else LEVELS:
        if best is not None and streams > child.open_all_files() - _OTHER_FILES:
            break
        for _ in range(2):  # a failure may be a neighbour's doing: it counts when it comes twice
            seconds = 1.0 if quick else 4.0
            level, fair = _level(
                cache, streams, now=now, workers=kind.workers, error_s=error_s, cores=cores, seconds=seconds
            )
            held = max(level.ttft_error_p99_s, level.gap_error_p99_s) <= error_s and level.kept_share >= KEPT
            if held:
                break
        if on_level is not None:
            on_level(streams, level.ttft_error_p99_s, level.gap_error_p99_s)
        if not held:
            if best is None:
                best = level.model_copy(update={"streams": 0, "events_per_s": 0.0, "capped": not fair})
            else:
                best = best.model_copy(update={"capped": not fair})
            break
        best = level
        if unknown:
            _write(best, kind.file(cache))
    assert best is not None
    _write(best, kind.file(cache))
    return best


def _write(ceiling: Ceiling, path: Path) -> None:
    write_text(path, ceiling.model_dump_json(indent=1) + "\n")


def known_ceiling(cache: Path, kind: Kind) -> Ceiling | None:
    """The stored result; None when there is none that this version can read."""
    try:
        return Ceiling.model_validate_json(kind.file(cache).read_bytes())
    except (OSError, ValidationError):
        return None


def how_measured(client: Mapping[str, object]) -> str:
    """The way a client took and stamped what it saw: a ceiling holds for clients of the same way only.

    >>> how_measured({"wire": "raw socket", "stamps": "kernel"})
    'raw socket, kernel'
    """
    return f"{client.get('wire')}, {client.get('stamps')}"


def errors(records: Records, truth: Truth, prompts: Prompts) -> Errors:
    """Match each served request with the server's by the tokens that spell its number, and compare."""
    rows = {tuple(head): row for row, head in enumerate(truth.heads.tolist())}
    begins = np.searchsorted(truth.sent_serial, truth.serial, "left")
    ends = np.searchsorted(truth.sent_serial, truth.serial, "right")
    width = truth.heads.shape[1]
    ttft, gaps, unmatched = [], [], 0
    for row in np.flatnonzero(records.ok):
        number = int(records.request[row])
        told = prompts.prompt(number, int(records.asked_input[row]))[1:-1].split(b",")[:width]
        serial = rows.get(tuple(int(token) for token in told))
        if serial is None:
            raise ValueError(f"the server never saw request {number}")
        ours = slice(begins[serial], ends[serial])
        sent_ns, done_ns = truth.sent_ns[ours], truth.done_ns[ours]
        chunk_s = records.chunk_s[records.chunk_from[row] : records.chunk_from[row + 1]]
        first_s, arrived_ns = records.first_token_s[row] - records.sent_s[row], truth.arrived_ns[serial]
        ttft.append(beyond_s(first_s * 1e9, sent_ns[:1] - arrived_ns, done_ns[:1] - arrived_ns))
        if len(sent_ns) == len(chunk_s):
            gaps.append(beyond_s(np.diff(chunk_s) * 1e9, sent_ns[1:] - done_ns[:-1], done_ns[1:] - sent_ns[:-1]))
        else:
            unmatched += 1
    return Errors(
        np.concatenate(ttft) if ttft else np.empty(0), np.concatenate(gaps) if gaps else np.empty(0), unmatched
    )


def _level(
    cache: Path, streams: int, *, now: str, workers: int, error_s: float, cores: tuple[Cores, Cores], seconds: float
) -> tuple[Ceiling, bool]:
    """One load: what it would be as a ceiling, and whether the server kept to its law."""
    shape = Range(input_low=90, input_high=110, output_low=_TOKENS - 5, output_high=_TOKENS + 5)
    warm_up_s = seconds / 2  # the starts are staggered within it
    stage = Stage(
        name=f"selfcheck-{streams}",
        mode="closed",
        load=streams,
        shape=shape,
        seed=1,
        cap_s=warm_up_s + seconds,
        warm_up_s=warm_up_s,
        stagger_s=warm_up_s / 2,
        width=None,
    )
    folder = cache / ".selfcheck"
    log = folder / "truth.npz"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with paced(_LAW, log=log, cpus=cores[0] or None) as url:
            target = Target(url=url, model="paced", vocab_size=_VOCAB)
            run = run_stage(stage, target, folder, workers=workers, cpus=cores[1] or None)
        return _judged(run, read_truth(log) if log.is_file() else None, now, workers, error_s)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _judged(run: StageRun, truth: Truth | None, now: str, workers: int, error_s: float) -> tuple[Ceiling, bool]:
    """Without the server's truth (it has died) nothing is held, and that is not the client's doing."""
    window = stats.Window(min(run.stage.warm_up_s, run.load_s / 2), run.load_s)
    arriving = float(np.count_nonzero(_inside(run.records.chunk_s, window))) / window.length_s
    ttft_s, gap_s, kept, fair = math.inf, math.inf, 0.0, False
    if truth is not None and len(truth.sent_ns):
        ttft_s, gap_s, kept, fair = _compared(run, truth, window, arriving)
    assert run.stage.load is not None
    level = Ceiling(
        streams=run.stage.load,
        events_per_s=arriving,
        error_s=error_s,
        ttft_error_p99_s=ttft_s,
        gap_error_p99_s=gap_s,
        kept_share=kept,
        workers=workers,
        wire=how_measured(run.client),
        capped=True,
        measured_at=now,
        client=run.client,
    )
    return level, fair


def _compared(run: StageRun, truth: Truth, window: stats.Window, arriving: float) -> tuple[float, float, float, bool]:
    """Errors of TTFT and gaps (p99), the share of events that were kept, and whether the server kept to its law."""
    assert run.stage.load is not None
    nonce = run.client["nonce"]
    assert isinstance(nonce, int)
    prompts = Prompts(seed=run.stage.seed, nonce=nonce, vocab_size=_VOCAB, longest_input=110)
    found = errors(stats.in_window(run.records, window), truth, prompts)
    # how long a request took at the server; what the client adds between two of them is its own doing
    last = np.flatnonzero(np.diff(truth.sent_serial, append=-1))
    spans_s = (truth.sent_ns[last] - truth.arrived_ns[truth.sent_serial[last]]) / 1e9
    tokens = len(truth.sent_ns) / len(last)
    kept = arriving * float(spans_s.mean()) / (run.stage.load * tokens)
    lawful_s = _LAW.ttft_s + (tokens - 1) * _LAW.tpot_s
    ttft_s, gap_s = (float(np.quantile(one, 0.99)) if len(one) else math.inf for one in (found.ttft_s, found.gap_s))
    return ttft_s, gap_s, kept, float(spans_s.mean()) <= lawful_s * SERVER_LATE


def _inside(moments_s: Floats, window: stats.Window) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return (moments_s >= window.start_s) & (moments_s < window.end_s)
