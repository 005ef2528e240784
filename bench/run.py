"""One run from the first look at the machine to the curve: GPU, server, conditions, sweep, curve.

A run's folder holds `run.json` (what was asked and found), `ceiling.json` (what the client can do on this machine, when
it is known), `server.log`, and a `.parquet` and a `.json` per finished stage. The curve is computed from the folder.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.alone import alone
from bench.asked import Asked, make_plan
from bench.build import CEILING_FILE, curve_of
from bench.gpu import Driver, open_driver
from bench.look import look
from bench.plan import RUN_FILE, Found, RunFile, RunPlan, check_window, default_shapes, machine_id, read_run, write_run
from bench.records import digest
from bench.selfcheck import Ceiling, Kind, known_ceiling
from bench.server import Server, environment, knows_request_timings, serving
from bench.startup import StartUp, contradictions, read_start_up
from bench.sweep import Events, Sweep
from hardware_profiles.curve import Curve, Gpu, file_name, read_curve, write_curve, write_text
from hardware_profiles.facts import gpus
from hardware_profiles.faults import Fault, InputError
from hardware_profiles.names import CPU, driver_matches

IDLE_S = 5.0
LOG = "server.log"
ELSEWHERE = "wait until it has ended, or name another folder: --raw"
REPLACED = "replaced"


@dataclass(frozen=True)
class Result:
    """What a run leaves."""

    curve: Curve
    path: Path
    kept: Path | None = None
    """Where another run's curve, that stood at `path`, is now."""


def state_folder() -> Path:
    """Where what belongs to this machine is kept: the client's ceiling, the salt of the machine's id."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "spillway"


def prepare_folder(folder: Path, *, fresh: bool) -> None:
    """An empty place for a new run; a finished or interrupted one is never written over unless asked."""
    if (folder / RUN_FILE).exists() and not fresh:
        remedy = f"`bench resume {folder}` goes on with it; --fresh removes it; --raw names another folder"
        raise InputError(Fault("holds a run already", remedy, str(folder)))
    for path in (*folder.glob("shape-*"), *(folder / name for name in (RUN_FILE, CEILING_FILE, LOG))):
        path.unlink(missing_ok=True)
    for path in (folder / "model", *folder.glob(".shape-*")):
        shutil.rmtree(path, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)


@contextmanager
def started(asked: Asked, folder: Path | None, *, fresh: bool) -> Iterator[tuple[RunPlan, Path]]:
    """Check everything that was asked, then make the run's folder and hold it; nothing is written before."""
    name = re.sub(r"[^a-z0-9.]+", "-", f"{asked.model}-{asked.gpu}-{datetime.now(UTC):%Y%m%d-%H%M%S}".lower()).strip(
        "-."
    )
    folder = (folder or Path(".bench") / name).resolve()
    plan, make_model = make_plan(asked, folder, sorted(os.sched_getaffinity(0)))
    checked_driver(plan)
    if plan.server is not None and not knows_request_timings(plan.server):
        plan = plan.model_copy(update={"server": plan.server.model_copy(update={"request_timings": False})})
    with alone(folder, ELSEWHERE):
        prepare_folder(folder, fresh=fresh)
        if make_model:
            make_model()
        yield plan, folder


def execute(plan: RunPlan, folder: Path, out: Path, events: Events, *, resumed: RunFile | None = None) -> Result:
    """Run what is planned (or what is missing of it) and write the curve."""
    driver, reason = checked_driver(plan)
    gpu = _gpu(plan, driver)
    key = os.environ.get(plan.target.key_env) if plan.target.key_env else None
    with served(plan, folder, driver, events) as (server, own):
        url = server.url if server else plan.target.url
        seen = look(url, key, plan.target.model)
        found = Found(
            gpu=gpu,
            gpu_reason=reason,
            engine=seen.engine,
            engine_version=seen.version,
            max_model_len=seen.window_tokens,
            block_tokens=seen.block_tokens,
            machine_id=machine_id(state_folder()),
        )
        start_up = read_start_up(server.log) if server else StartUp()
        if faults := tuple(contradictions(start_up, plan.precision, plan.gpu_count)):
            raise InputError(*faults)
        run = resumed or _run_file(plan, found, server, start_up, seen.note)
        _check_same(run, found, folder)
        check_window(run.plan.shapes, found.max_model_len)
        if resumed is None:
            write_run(run, folder)
        keep_ceiling(run.plan, folder)
        Sweep(run, folder, url=url, server=server, driver=driver, own=own, events=events).go()
    return recompute(folder, out)


def client_known(plan: RunPlan) -> Ceiling | None:
    """What this machine's client can do, as a run of this plan drives it; None where `bench selfcheck` has not told."""
    if plan.remote_workers:
        return None
    state = state_folder()
    return known_ceiling(state, Kind(machine_id(state), plan.workers, pinned=bool(plan.client_cpus)))


def keep_ceiling(plan: RunPlan, folder: Path) -> None:
    """What the client can do, for a run that does not have it yet; it may have been found since the run began."""
    path, ceiling = folder / CEILING_FILE, client_known(plan)
    if ceiling and not path.exists():
        write_text(path, ceiling.model_dump_json(indent=1) + "\n")


def recompute(folder: Path, out: Path) -> Result:
    """The curve of a run's folder, written under `out`."""
    return place(curve_of(folder), out)


def place(curve: Curve, out: Path) -> Result:
    """Write a curve under `out`; another run's curve of the same name is not lost."""
    path = out / file_name(curve)
    kept = _keep_other(path, curve)
    write_curve(curve, path)
    return Result(curve, path, kept)


def _keep_other(path: Path, curve: Curve) -> Path | None:
    """Move what stands at `path` to `replaced/`, where no planner looks, unless it is of the very same run."""
    if not path.exists():
        return None
    try:
        there = read_curve(path).conditions
        if (there.measured_at, there.machine_id) == (curve.conditions.measured_at, curve.conditions.machine_id):
            return None
    except InputError:
        pass  # whatever it is, it is not lost
    kept = path.parent / REPLACED / f"{path.stem}_{digest(path)[:8]}.json"
    kept.parent.mkdir(exist_ok=True)
    path.rename(kept)
    return kept


def resume(folder: Path, out: Path, events: Events) -> Result:
    """Go on with an interrupted run."""
    run = read_run(folder)
    with alone(folder, "wait until it has ended"):
        return execute(run.plan, folder, out, events, resumed=run)


def checked_driver(plan: RunPlan) -> tuple[Driver | None, str | None]:
    """The driver of the GPU asked for, or None and why; `InputError` where it must be there and is not."""
    if plan.server is None:
        return None, "the endpoint was given: its GPU is out of sight"
    if plan.gpu == CPU:
        return None, "the server runs on the processor"
    driver, reason = open_driver(plan.gpu_count, environment=environment(plan.server, os.environ))
    if driver is None:
        remedy = "measure a server that runs elsewhere with --endpoint URL, or vLLM on this processor with --gpu cpu"
        raise InputError(Fault(f"no NVIDIA GPU on this machine ({reason})", remedy, column="--gpu", value=plan.gpu))
    if driver.found < plan.gpu_count:
        told = f"the driver shows {driver.found} GPUs"
        raise InputError(Fault(told, "ask for fewer", column="--gpus", value=str(plan.gpu_count)))
    for device in driver.devices():
        if not driver_matches(device.name, plan.gpu, gpus()):
            remedy = f"ask for the GPU that is here: --gpu {device.name!r}"
            raise InputError(Fault(f"the driver reports {device.name!r}", remedy, column="--gpu", value=plan.gpu))
    return driver, reason


def _gpu(plan: RunPlan, driver: Driver | None) -> Gpu:
    """The GPU as the driver tells it, and its power while nothing runs."""
    if driver is None:
        return Gpu(name=plan.gpu, count=plan.gpu_count)
    devices = driver.devices()
    first = driver.read()
    time.sleep(IDLE_S)
    second = driver.read()
    idle_j = None if first.energy_j is None or second.energy_j is None else second.energy_j - first.energy_j
    return Gpu(
        name=plan.gpu,
        count=plan.gpu_count,
        driver_name=devices[0].name,
        driver_version=devices[0].driver_version,
        power_limit_w=devices[0].power_limit_w,
        clock_sm_mhz=devices[0].clock_sm_max_mhz,
        idle_power_w=None if idle_j is None else idle_j / (second.unix_s - first.unix_s),
    )


@contextmanager
def served(
    plan: RunPlan, folder: Path, driver: Driver | None, events: Events
) -> Iterator[tuple[Server | None, tuple[int, ...] | None]]:
    """The server, where it is ours, and its processes on the GPUs: those that came with it while no other started."""
    if plan.server is None:
        yield None, None
        return
    with ExitStack() as server_life, ExitStack() as start:
        for gpu in driver.ids() if driver else ():
            start.enter_context(alone(state_folder() / "gpus" / gpu, "wait until its server is ready, or take another"))
        before = driver.read().processes if driver else None
        if before:
            told = f"{len(before)} processes of others are on the GPU before the server starts"
            events.told(f"{told}: while they compute, points fail gpu_shared")
        server = server_life.enter_context(serving(plan.server, folder / LOG))
        own = _own(before, driver.read().processes if driver else None)
        start.close()
        yield server, own


def _run_file(plan: RunPlan, found: Found, server: Server | None, start_up: StartUp, note: str | None) -> RunFile:
    engine: dict[str, Any] = {"engine": "vllm" if found.engine == "vllm" else "other"}
    settled: dict[str, Any] = {
        "shapes": plan.shapes or default_shapes(found.max_model_len),
        "target": plan.target.model_copy(update=engine),
        "precision": plan.precision or start_up.precision,
        "notes": (*plan.notes, *filter(None, (note, _unsettled(server, start_up)))),
    }
    return RunFile(
        plan=plan.model_copy(update=settled),
        found=found,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        start_up_s=server.start_up_s if server else None,
        host_memory_gib=server.host_memory_gib() if server else None,
        weights_gib_per_gpu=start_up.weights_gib_per_gpu,
        kv_cache_gib_per_gpu=start_up.kv_cache_gib_per_gpu,
    )


def _unsettled(server: Server | None, start_up: StartUp) -> str | None:
    if server is None or start_up.precision is not None:
        return None
    return "vLLM did not settle the precision of the weights: it is as asked or as the name says"


def _check_same(run: RunFile, found: Found, folder: Path) -> None:
    """Unlike conditions refuse to mix."""
    unlike = run.found.unlike(found)
    if unlike:
        what = f"the conditions are not those it began under: {', '.join(unlike)} differ"
        raise InputError(Fault(what, "start a new run with `bench run`", str(folder / RUN_FILE)))


def _own(before: tuple[int, ...] | None, after: tuple[int, ...] | None) -> tuple[int, ...] | None:
    return None if before is None or after is None else tuple(sorted(set(after) - set(before)))
