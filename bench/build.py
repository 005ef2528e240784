"""Raw records -> curve: a pure pass over a run's folder, so that any curve can be computed again without a GPU.

How: every finished stage (a `<stage>.parquet` with its `<stage>.json`) becomes one point: its window's statistics, what
the server and the driver said in that window, the verdicts, and what held it back. A level is saturated when it gave
less than 5 % more throughput than the level before it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

from bench import gpu, stats, steady
from bench.bottleneck import bottleneck, kv_cache_use
from bench.driver import load_run
from bench.evidence import Evidence, moved
from bench.judge import judge
from bench.judge_cache import hit_rate
from bench.plan import RUN_FILE, RunFile, read_run
from bench.records import digest
from bench.selfcheck import Ceiling
from bench.watch import Watch, read_watch
from hardware_profiles.curve import Conditions, Curve, Point, Shape, merge_points
from hardware_profiles.faults import Fault, InputError

CEILING_FILE = "ceiling.json"
SATURATED_GAIN = 0.05


def curve_of(folder: Path) -> Curve:
    """The curve of a run's folder."""
    run = read_run(folder)
    watches = finished(folder)
    if not watches:
        raise InputError(Fault("no stage is finished", "go on with `bench resume`", str(folder)))
    gathered = sorted((gather(folder, watch) for watch in watches), key=_by_shape_and_load)
    points = points_of(gathered)
    return merge_points(_empty_curve(run, gathered, points), points)


def finished(folder: Path) -> list[Watch]:
    """Every finished stage, by name; `InputError` where a stage's records are not those it was finished with."""
    watches = [read_watch(path) for path in sorted(folder.glob("shape-*.json"))]
    for watch in watches:
        path = folder / f"{watch.stage}.parquet"
        if not path.is_file() or digest(path) != watch.records_sha256:
            raise InputError(Fault("the raw records were changed or removed", "run the stage again", str(path)))
    return watches


def points_of(gathered: list[Evidence]) -> list[Point]:
    """One point per finished stage; `gathered` has the closed-loop levels of a shape in order of load."""
    points: list[Point] = []
    before: tuple[Evidence, Point] | None = None
    for evidence in gathered:
        same = before is not None and _follows(before[0], evidence)
        point = point_of(evidence, before=before[1] if before and same else None)
        points.append(point)
        before = (evidence, point)
    shapes = _common_shapes(gathered, points)
    return [point.model_copy(update={"shape": shapes[i]}) for i, point in enumerate(points)]


def _common_shapes(gathered: list[Evidence], points: list[Point]) -> list[Shape]:
    """Points of one law get one shape, the mean over what all of them served: windows differ by luck only."""
    served: dict[str, list[Point]] = {}
    laws = [evidence.stage.shape.model_dump_json() for evidence in gathered]
    for law, point in zip(laws, points, strict=True):
        served.setdefault(law, []).append(point)
    return [_mean_shape(served[law]) for law in laws]


def _mean_shape(points: list[Point]) -> Shape:
    weights = [point.completed or 0 for point in points]
    weights = weights if any(weights) else [1] * len(points)

    def mean(values: list[float]) -> float:
        return round(sum(w * value for w, value in zip(weights, values, strict=True)) / sum(weights), 1)

    return Shape(
        input_tokens=mean([point.shape.input_tokens for point in points]),
        output_tokens=mean([point.shape.output_tokens for point in points]),
        cached_tokens=mean([point.shape.cached_tokens for point in points]),
    )


def gather(folder: Path, watch: Watch) -> Evidence:
    """The evidence of one finished stage."""
    done = load_run(folder / f"{watch.stage}.parquet")
    return Evidence(
        stage=done.stage,
        records=done.records,
        window=steady.stage_window(done.records, done.stage, done.load_s),
        zero_unix_s=done.zero_unix_s,
        client=done.client,
        watch=watch,
        ceiling=_ceiling(folder),
        ended=done.ended,
    )


def point_of(evidence: Evidence, *, before: Point | None) -> Point:
    """One stage's point; `before` is the level below it."""
    point = stats.window_point(evidence.records, evidence.window, evidence.stage)
    hits = hit_rate(evidence)
    cached_tokens = point.shape.cached_tokens
    if hits and not (evidence.records.cached_tokens >= 0).any():  # `usage` does not tell, the server's page does
        cached_tokens = min(hits, 1.0) * point.shape.input_tokens
    checks = judge(evidence)
    gained = before is None or point.throughput_per_s > before.throughput_per_s * (1 + SATURATED_GAIN)
    saturated = evidence.stage.mode == "closed" and not gained
    power_w, per_token_j = _power(evidence, point)
    return point.model_copy(
        update={
            "shape": point.shape.model_copy(update={"cached_tokens": cached_tokens}),
            "kv_cache_use": kv_cache_use(evidence),
            "preemptions": _preemptions(evidence.watch),
            "prefix_hit_rate": hits,
            "power_w": power_w,
            "energy_j_per_output_token": per_token_j,
            "bottleneck": bottleneck(evidence, checks, saturated=saturated),
            "checks": checks,
            "ended": evidence.ended,
        }
    )


def _power(evidence: Evidence, point: Point) -> tuple[float | None, float | None]:
    """Watts over the window and joules per output token, from the energy counter."""
    window = evidence.window
    moments = (evidence.zero_unix_s + window.start_s, evidence.zero_unix_s + window.end_s)
    energy_j = gpu.energy_between(evidence.watch.readings, *moments)
    if not energy_j:
        return None, None
    tokens = point.output_tokens_per_s * window.length_s
    return energy_j / window.length_s, energy_j / tokens if tokens else None


def _preemptions(watch: Watch) -> int | None:
    found = moved(watch.before, watch.after, "preemptions") if watch.before and watch.after else None
    return None if found is None else int(found)


def _empty_curve(run: RunFile, gathered: list[Evidence], points: list[Point]) -> Curve:
    plan, found = run.plan, run.found
    return Curve(
        kind="measured",
        model=plan.model,
        precision=plan.precision,
        gpu=found.gpu,
        tensor_parallel=plan.tensor_parallel,
        pipeline_parallel=plan.pipeline_parallel,
        data_parallel=plan.data_parallel,
        conditions=Conditions(
            engine=found.engine,
            engine_version=found.engine_version,
            server_args=plan.server.shown_args() if plan.server else (),
            weights=plan.weights,
            model_source=plan.model_source,
            seed=plan.seed,
            client=_client(run, gathered),
            start_up_s=run.start_up_s if plan.weights == "real" else None,
            host_memory_gib=run.host_memory_gib,
            weights_gib_per_gpu=run.weights_gib_per_gpu,
            kv_cache_gib_per_gpu=run.kv_cache_gib_per_gpu,
            machine_id=found.machine_id,
            measured_at=run.started_at,
            raw_sha256=raw_digest([evidence.watch for evidence in gathered]),
            notes=_notes(run, [evidence.watch for evidence in gathered], points),
        ),
        points=(),
    )


def _client(run: RunFile, gathered: list[Evidence]) -> dict[str, str | float | int | None]:
    """How the client measured: what every stage has in common."""
    pace, slo = run.plan.pace, run.plan.slo
    wire = {name: gathered[0].client.get(name) for name in ("wire", "stamps")}
    asked: dict[str, str | float | int | None] = {
        "api": run.plan.target.api,
        "stage_s": pace.stage_s,
        "warm_up_s": pace.warm_up_s,
        "width": pace.width,
    }
    target = run.plan.target
    if target.more_fields:
        asked["body"] = json.dumps(target.more_fields, sort_keys=True)
    if target.limit_field != "max_tokens":
        asked["limit_field"] = target.limit_field
    if not target.stream_options:
        asked["stream_options"] = "left out"
    if run.plan.turns[1] > 1:
        asked |= {"turns": "-".join(map(str, run.plan.turns)), "think_s": run.plan.think_s}
    searched = {f"slo_{name}": value for name, value in slo.model_dump().items()} if run.plan.rate_search else {}
    return {"workers": run.plan.workers + run.plan.remote_workers, **wire, **asked, **searched}


def raw_digest(watches: list[Watch]) -> str:
    """One digest of all raw records: sha256 over the lines `<sha256>  <stage>`, sorted."""
    lines = sorted(f"{watch.records_sha256}  {watch.stage}" for watch in watches)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def restarts(watches: list[Watch]) -> int:
    """How often a server's counters fell from the end of one stage to the beginning of the next."""
    pages = [(watch.before, watch.after) for watch in watches if watch.before and watch.after]
    pages.sort(key=lambda both: both[0].unix_s)
    moves = (moved(ended, began, "requests") for (_, ended), (began, _) in itertools.pairwise(pages))
    return sum(move is not None and move < 0 for move in moves)


def _notes(run: RunFile, watches: list[Watch], points: list[Point]) -> tuple[str, ...]:
    notes = list(run.plan.notes)
    if run.plan.weights == "dummy":
        notes.append("random weights: start-up time and expert routing are not those of the real model")
    if run.plan.server is None:
        notes.append("the endpoint was given: GPU, model and precision are as the user told them, not verified")
        if times := restarts(watches):
            notes.append(f"the endpoint began anew between stages ({times} times seen): it may have changed meanwhile")
    marked = sum(not point.usable for point in points)
    if marked:
        notes.append(f"{marked} of {len(points)} points failed a check and are not used for planning")
    return tuple(notes)


def _ceiling(folder: Path) -> Ceiling | None:
    path = folder / CEILING_FILE
    return Ceiling.model_validate(json.loads(path.read_text())) if path.is_file() else None


def _by_shape_and_load(evidence: Evidence) -> tuple[str, str, float]:
    stage = evidence.stage
    return stage.shape.model_dump_json(), stage.mode, stage.load or stage.rate_per_s or 0.0


def _follows(before: Evidence, after: Evidence) -> bool:
    return before.stage.shape == after.stage.shape and before.stage.mode == after.stage.mode == "closed"


__all__ = ["CEILING_FILE", "RUN_FILE", "curve_of", "finished", "gather", "point_of", "points_of", "raw_digest"]
