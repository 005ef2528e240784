"""Runs the stages of a sweep one after another, keeps each one, and goes on where it was interrupted.

How: `levels.py` decides from the points so far, and the points are computed from the files of finished stages. So a
resumed sweep takes the same decisions over the same files, byte for byte, and runs only what is missing. Records are
written by the driver before the stage's own file, whole; a stage without that file, or during which the server died,
is run again.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import stats
from bench.bottleneck import UNFAIR_CHECKS, queueing
from bench.build import gather, point_of
from bench.driver import Progress, load_run, run_stage
from bench.evidence import Evidence, silence
from bench.gpu import Driver
from bench.length import at_load, at_rate, least_load_s, long_e2e_s, longest_e2e_s
from bench.levels import Level, NextRate, Outcome, Tried, next_load, next_rate, rate_outcome
from bench.order import StageRun
from bench.plan import RunFile, RunPlan, label, probe, stage
from bench.prompts import Trace
from bench.schedule import Stage
from bench.server import Server
from bench.watch import Glance, read_watch, watching, write_watch
from hardware_profiles.curve import Point
from hardware_profiles.faults import Fault, InputError

STEADY, DRAINED = {"balance", "stationary"}, "drained"
"""Open loop: checks that tell that a rate is too high, whatever its attainment."""
UNFINISHED = "unfinished"
"""A request that was still being answered when the drain ended has not failed."""


@dataclass(frozen=True)
class Events:
    """What a sweep tells while it goes on."""

    started: Callable[[Stage], None] = lambda _: None
    progress: Callable[[Stage, Progress, Glance], None] = lambda _, __, ___: None
    finished: Callable[[Stage, Point, bool], None] = lambda _, __, ___: None
    """With True when it stood in the folder already."""
    ended: Callable[[str, str], None] = lambda _, __: None
    """(shape's levels or rates, why they ended)."""
    told: Callable[[str], None] = lambda _: None
    """How long this will take, as soon as that is known."""


@dataclass(frozen=True)
class Measured:
    """One finished stage."""

    evidence: Evidence
    point: Point

    @property
    def e2e_s(self) -> float | None:
        """What nearly all of its requests took, those of the window if there are any; None where none was served."""
        for rows in (self.evidence.windowed, self.evidence.records):
            if (e2e_s := long_e2e_s(stats.e2e_s(rows.select(rows.ok)))) is not None:
                return e2e_s
        return None

    @property
    def failed_checks(self) -> set[str]:
        """Names of the checks that failed."""
        return {check.name for check in self.point.checks if check.verdict == "fail"}


class Sweep:
    """All stages of one run."""

    def __init__(
        self,
        run: RunFile,
        folder: Path,
        *,
        url: str,
        server: Server | None,
        driver: Driver | None,
        own: tuple[int, ...] | None,
        events: Events,
    ) -> None:
        self.run = run
        self.folder = folder
        self.target = run.plan.target.model_copy(update={"url": url})
        self.server = server
        self.driver = driver
        self.own = own
        self.events = events

    def go(self) -> None:
        """Every shape: its levels, then its rates; a trace is replayed once."""
        plan = self.run.plan
        for shape, law in enumerate(plan.shapes):
            if isinstance(law, Trace):
                self.measure(stage(plan, self.run.found, shape), None)
                self.events.ended(f"trace of shape {shape}", "it was replayed once")
                continue
            levels = self.levels(shape)
            seen = [(level.point.throughput_per_s, level.e2e_s) for level in levels if level.e2e_s is not None]
            if plan.searches and plan.rates_per_s:
                self.stated_rates(shape, seen)
            elif plan.searches:
                self.rates(shape, max(level.point.throughput_per_s for level in levels), seen)

    def levels(self, shape: int) -> list[Measured]:
        """The closed-loop stages of one shape; how long each is follows from those before it."""
        done: list[Measured] = []
        plan, found = self.run.plan, self.run.found
        alone: list[tuple[int, float]] = []
        while True:
            load, why = next_load([self._level(measured) for measured in done], plan.max_load, plan.loads)
            if load is None:
                self.events.ended(f"levels of shape {shape}", why)
                return done
            if not done:
                alone = [(load, e2e_s) for e2e_s in [self.probed(shape, load)] if e2e_s is not None]
            seen = [(int(one.point.load or 0), one.e2e_s) for one in done if one.e2e_s is not None] or alone
            expected_s, most_s = at_load(seen, load), longest_e2e_s(seen, load)
            wanted = stage(plan, found, shape, load=load, e2e_s=expected_s, most_e2e_s=most_s)
            done.append(self.measure(wanted, done[-1].point if done else None))

    def probed(self, shape: int, load: int) -> float | None:
        """E2E of a long request while `load` are in flight, from one round; None where none was served, and where
        it is of no use: a single user under a stated length."""
        plan = self.run.plan
        if plan.pace.stage_s is not None and load == 1:
            return None
        wanted = probe(plan, self.run.found, shape, load)
        path = self.folder / f"{wanted.name}.parquet"
        if not path.is_file():
            self.events.started(wanted)
            if silent := silence(self._send(wanted, lambda at: self.events.progress(wanted, at, Glance())).records):
                path.unlink()
                raise InputError(self._silent(wanted, silent))
        e2e_s = stats.expected_e2e_s(load_run(path).records, wanted)
        if e2e_s is not None and plan.pace.stage_s is None:
            self.events.told(told_length(wanted, e2e_s, plan))
        return e2e_s

    def stated_rates(self, shape: int, seen: Sequence[tuple[float, float]] = ()) -> None:
        """The open-loop rates that were asked for, once each; `seen` are the levels' (throughput, E2E)."""
        for rate in self.run.plan.rates_per_s:
            self.measure(self._open(shape, rate, 0, seen), None)
        self.events.ended(f"rates of shape {shape}", "those asked for were measured")

    def rates(self, shape: int, best_per_s: float, seen: Sequence[tuple[float, float]] = ()) -> NextRate:
        """The open-loop stages of one shape; `seen` are the levels' (throughput, E2E)."""
        batches: dict[float, list[Measured]] = {}
        while best_per_s > 0:
            tried = [Tried(rate, len(done), self._outcome(done)) for rate, done in batches.items()]
            following = next_rate(tried, best_per_s, self.run.plan.pace.rate_stages)
            rate = following.rate_per_s
            least_s = None if rate is None else self.run.plan.pace.too_short(at_rate(seen, rate), rate)
            if least_s is not None:
                following = replace(following, rate_per_s=None, why=too_short(least_s))
            if following.rate_per_s is None or rate is None:
                self.events.ended(f"rates of shape {shape}", found_rate(following))
                return following
            batches.setdefault(rate, []).append(self.measure(self._open(shape, rate, following.batch, seen), None))
        return NextRate(None, 0, None, None, "nothing was served")

    def _open(self, shape: int, rate: float, batch: int, seen: Sequence[tuple[float, float]]) -> Stage:
        e2e_s = at_rate(seen, rate)
        return stage(self.run.plan, self.run.found, shape, rate_per_s=rate, batch=batch, e2e_s=e2e_s)

    def measure(self, wanted: Stage, before: Point | None) -> Measured:
        """The stage from its files, or run now."""
        path = self.folder / f"{wanted.name}.json"
        known = path.is_file() and read_watch(path).server_death is None
        if not known:
            self.events.started(wanted)
            self._run(wanted)
        evidence = gather(self.folder, read_watch(path))
        point = point_of(evidence, before=before)
        self.events.finished(wanted, point, known)
        if evidence.watch.server_death is not None:
            raise InputError(self._death() if self._dead() else self._silent(wanted, evidence.watch.server_death))
        return Measured(evidence, point)

    def _run(self, wanted: Stage) -> None:
        target = self.target
        key = os.environ.get(target.key_env) if target.key_env else None
        reason = self.run.found.gpu_reason
        with watching(target.url, key=key, driver=self.driver, gpu_reason=reason, own=self.own) as seen:
            done = self._send(wanted, lambda progress: self.events.progress(wanted, progress, seen.now()))
        death = self.server.death.what if self.server and self._dead() else silence(done.records)
        write_watch(seen.finish(wanted.name, done.sha256, death), self.folder)

    def _send(self, wanted: Stage, on_progress: Callable[[Progress], None]) -> StageRun:
        """The stage's records; a request may take as long as a stage waits for the last of them."""
        plan = self.run.plan
        timeout_s = max(self.target.timeout_s, wanted.longest_s or 0.0, 2 * wanted.drain_s)
        try:
            return run_stage(
                wanted,
                self.target.model_copy(update={"timeout_s": timeout_s}),
                self.folder,
                workers=plan.workers,
                remote_workers=plan.remote_workers,
                bind=plan.bind,
                cpus=plan.client_cpus or None,
                on_progress=on_progress,
                should_stop=self._dead,
            )
        except InputError:
            if self._dead():  # that is why it could not run
                raise InputError(self._death()) from None
            raise

    def _dead(self) -> bool:
        return self.server is not None and not self.server.alive()

    def _level(self, measured: Measured) -> Level:
        point, evidence = measured.point, measured.evidence
        assert point.load is not None
        rows = evidence.windowed if len(evidence.windowed) else evidence.records
        attained = stats.attainment(evidence.records, evidence.window, self.run.plan.slo, scheduled=False)
        return Level(
            load=int(point.load),
            throughput_per_s=point.throughput_per_s,
            queueing=queueing(evidence),
            met_share=attained.share if attained.requests else None,
            failed_share=float((~rows.ok & (rows.status != UNFINISHED)).mean()) if len(rows) else 0.0,
        )

    def _outcome(self, batches: list[Measured]) -> Outcome:
        """Over all batches of one rate, but for those that show the client and not the server."""
        slo = self.run.plan.slo
        fair = [(one, names) for one in batches if not (names := one.failed_checks) & UNFAIR_CHECKS]
        seen = [stats.attainment(one.evidence.records, one.evidence.window, slo, scheduled=True) for one, _ in fair]
        return rate_outcome(
            stats.pooled_attainment(seen, slo.attainment).outcome,
            [bool(names & STEADY) for _, names in fair],
            queue_left=any(DRAINED in names for _, names in fair),
        )

    def _death(self) -> Fault:
        assert self.server is not None
        death = self.server.death
        remedy = f"{death.remedy}; finished stages are safe: `bench resume {self.folder}` goes on"
        return replace(death, remedy=remedy)

    def _silent(self, wanted: Stage, silent: str) -> Fault:
        remedy = (
            f"see what the server does; `bench resume {self.folder}` then goes on, finished stages are safe; where its "
            "first token takes longer, begin anew with --silence-seconds"
        )
        return Fault(f"stage {wanted.name}: {silent}", remedy, value=self.target.url)


def found_rate(end: NextRate) -> str:
    """The end of a search in words.

    >>> found_rate(NextRate(None, 0, 7.2, 7.9, "known within 10%", 8.6))
    '7.2 requests/s pass at the target, 8.6 fail; known within 10%'
    """
    passed = "no rate passes" if end.passed_per_s is None else f"{end.passed_per_s:g} requests/s pass"
    failed = "none was shown to fail" if end.failed_per_s is None else f"{end.failed_per_s:g} fail"
    return f"{passed} at the target, {failed}; {end.why}"


def too_short(least_s: float) -> str:
    """Why no rate was tried.

    >>> too_short(517.2)
    'undecided: stages are shorter than requests need to fill the server; leave --stage-seconds out, or give 518'
    """
    remedy = f"leave --stage-seconds out, or give {math.ceil(least_s)}"
    return f"undecided: stages are shorter than requests need to fill the server; {remedy}"


def told_length(alone: Stage, e2e_s: float, plan: RunPlan) -> str:
    """What a shape will take, as soon as one round of it was seen."""
    level_s, rate_s = (least_load_s(mode, plan.pace.warm_up_s, e2e_s) for mode in ("closed", "open"))
    told = f"{label(alone.shape)} tokens: requests take {e2e_s:.3g} s at load {alone.load}, levels {level_s:.0f} s"
    return f"{told}, open-loop stages {rate_s:.0f} s; all of them more at higher load" if plan.searches else told
