"""Runs one stage: starts Locust in processes of its own, follows it, stops it, gathers its spill files.

Why: Locust patches the standard library when imported and must never share a process with the rest; a client that
lives on after its parent loads a server nobody watches. So Locust runs as child processes in sessions of their own that
die with this one (PR_SET_PDEATHSIG, and a watch on the parent where there is none), bound to loopback.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.endpoint import Endpoint, endpoint
from bench.follow import Run, locust
from bench.order import Address, Order, Progress, StageRun, Target
from bench.reads import how_read
from bench.records import digest, read_records, write_records
from bench.schedule import Stage
from hardware_profiles.faults import Fault, InputError

__all__ = ["Progress", "StageRun", "Target", "load_run", "run_stage"]

_LOOK_S = 0.1
_SALVAGE_S = 5.0


def run_stage(
    stage: Stage,
    target: Target,
    folder: Path,
    *,
    workers: int = 1,
    remote_workers: int = 0,
    bind: Address | None = None,
    nonce: int | None = None,
    kernel_stamps: bool = True,
    cpus: tuple[int, ...] | None = None,
    conditions: dict[str, Any] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> StageRun:
    """Run `stage` against `target`, write `<folder>/<stage.name>.parquet` and return it.

    `workers` are processes here; `remote_workers` more join from elsewhere (`bench worker`) at `bind`.
    `nonce` makes the prompts cold against earlier runs (None: drawn from the system); `cpus` pins the workers, one
    each in turn; `conditions` are stored with the rows. Raises `InputError` when Locust cannot start or no connection
    can be made. Ctrl-C and any exception end all child processes; what had been measured until then is written to
    `<stage.name>.interrupted.parquet` when the workers can still tell. Call it from a thread that outlives the stage:
    the children die with it.
    """
    to = _reached(target, stage)
    work = folder / f".{stage.name}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    order = Order(
        stage=stage,
        target=target,
        nonce=secrets.randbits(32) if nonce is None else nonce,
        kernel_stamps=kernel_stamps,
        workers=workers + remote_workers,
        folder=work.resolve(),
        remote_workers=remote_workers,
        bind=bind or Address(),
    )
    facts = {
        "workers": order.workers,
        "api": target.api,
        **how_read(tls=to.tls, kernel_stamps=kernel_stamps),
        "plain_http_beyond_loopback": int(not to.tls and not to.loopback),
        "nonce": order.nonce,
    }
    with locust(order, cpus) as children:
        run = Run(order, children, on_progress, should_stop)
        try:
            run.drive()
            done = run.gather(facts, conditions or {})
        except BaseException:
            _salvage(run, facts, conditions or {}, folder / f"{stage.name}.interrupted.parquet")
            raise
    path = folder / f"{stage.name}.parquet"
    sha256 = write_records(done.records, path, done.metadata)
    shutil.rmtree(work)
    return replace(done, path=path, sha256=sha256)


def load_run(path: Path) -> StageRun:
    """A finished stage read back from its Parquet file."""
    records, told = read_records(path)
    try:
        return StageRun(
            stage=Stage.model_validate(told["stage"]),
            records=records,
            path=path,
            sha256=digest(path),
            zero_unix_s=told["zero_unix_s"],
            load_s=told["load_s"],
            stopped=told["stopped"],
            throughput_width=told["throughput_width"],
            tpot_width=told["tpot_width"],
            client=told["client"],
            conditions=told["conditions"],
        )
    except (KeyError, ValueError) as error:
        what = f"its metadata is not that of a stage ({str(error).splitlines()[0]})"
        raise InputError(Fault(what, "measure it again", file=str(path))) from None


def _reached(target: Target, stage: Stage) -> Endpoint:
    """Where the stage's requests go; refused where its key or what its prompts are made of is missing."""
    key = os.environ.get(target.key_env or "", "")
    if target.key_env and not key:
        remedy = f"set it, or leave the key out: export {target.key_env}=..."
        raise InputError(Fault(f"the environment variable {target.key_env} is not set", remedy))
    to = endpoint(target.url, key)
    if stage.turns[1] > 1 and target.api == "completions" and target.vocab_size is None:
        remedy = "give the model's vocabulary size, or use the chat API"
        raise InputError(Fault("conversations over /v1/completions are made of token ids", remedy, value=target.model))
    return to


def _salvage(run: Run, facts: dict[str, Any], conditions: dict[str, Any], path: Path) -> None:
    """After an exception: a last chance for the workers to write what they have."""
    if not run.zero_ns:
        return
    with contextlib.suppress(InputError, OSError, KeyboardInterrupt):
        run.load_s = run.load_s or run.elapsed_s()
        run.stop(0.0)
        deadline = time.monotonic() + _SALVAGE_S
        while time.monotonic() < deadline:
            ended = sum(process.poll() is not None for process in run.children)
            if ended + sum(spill.exists() for spill in run.spills()) >= run.order.workers:
                break
            time.sleep(_LOOK_S)
        if any(spill.exists() for spill in run.spills()):
            run.stopped = "asked"
            done = run.gather(facts, conditions)
            write_records(done.records, path, done.metadata)
