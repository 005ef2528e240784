"""Runs one stage: starts Locust in processes of its own, follows it, stops it, gathers its spill files.

Why: Locust patches the standard library when imported and must never share a process with the rest; a client that
lives on after its parent loads a server nobody watches. So Locust runs as child processes in sessions of their own that
die with this one (PR_SET_PDEATHSIG, and a watch on the parent where there is none), bound to loopback.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from bench.records import Records
from bench.schedule import Stage
from hardware_profiles.curve import Positive, Value


class Target(Value):
    """The endpoint under load."""

    url: str
    """Base URL without `/v1`: `http://127.0.0.1:8000`."""
    model: str
    api: Literal["completions", "chat"] = "completions"
    vocab_size: int | None = None
    """Completions: prompts are token ids in [0, vocab_size); None sends text."""
    engine: Literal["vllm", "other"] = "vllm"
    """`vllm` also sends `ignore_eos`; other servers may reject fields they do not know."""
    return_token_ids: bool = False
    """Ask vLLM for token ids. Off: vLLM then echoes the whole prompt in the first chunk, which users do not ask for."""
    more_fields: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further fields of the request body: `temperature`, `cache_salt`, ..."""
    timeout_s: Positive = 300.0
    """Per request, from its send."""
    key_env: str | None = None
    """Name of the environment variable that holds the API key; the key itself is never stored."""


@dataclass(frozen=True)
class Progress:
    """What a running stage shows; approximate until the records are decoded."""

    elapsed_s: float
    """Since the load began; negative while connecting."""
    in_flight: int
    completed: int
    failed: int
    throughput_per_s: float | None
    output_tokens_per_s: float | None
    ttft_s: float | None
    """Median of the requests served since the warm-up."""
    tpot_s: float | None
    throughput_width: float | None
    """Half-width of the 95 % interval as a share of the value; None while too little was served."""
    tpot_width: float | None


@dataclass(frozen=True)
class StageRun:
    """One finished stage."""

    stage: Stage
    records: Records
    path: Path
    """The Parquet file: `<folder>/<stage.name>.parquet`."""
    sha256: str
    zero_unix_s: float
    """The stage's zero on CLOCK_REALTIME: add it to a record's time to meet other clocks' samples."""
    load_s: float
    """Seconds from zero to the moment the load stopped; the drain comes after it."""
    stopped: Literal["narrow", "cap", "exhausted", "asked", "failing"]
    """Why: widths reached; the cap; the trace ended; `should_stop` said so; nearly everything failed."""
    throughput_width: float | None
    tpot_width: float | None
    client: dict[str, str | float | int | None]
    """How it was measured: workers, wire, stamps, cpu share of the busiest worker, clock step, send lag p99."""

    @property
    def metadata(self) -> dict[str, Any]:
        """What stands in the Parquet file beside the rows."""
        raise NotImplementedError


def run_stage(
    stage: Stage,
    target: Target,
    folder: Path,
    *,
    workers: int = 1,
    nonce: int | None = None,
    kernel_stamps: bool = True,
    cpus: tuple[int, ...] | None = None,
    conditions: dict[str, Any] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> StageRun:
    """Run `stage` against `target`, write `<folder>/<stage.name>.parquet` and return it.

    `nonce` makes the prompts cold against earlier runs (None: drawn from the system); `cpus` pins the workers;
    `conditions` are stored with the rows. Raises `InputError` when Locust cannot start or no connection can be made.
    Ctrl-C and any exception end all child processes first; what had been measured is written when at all possible.
    """
    raise NotImplementedError


def load_run(path: Path) -> StageRun:
    """A finished stage read back from its Parquet file."""
    raise NotImplementedError
