"""What one stage is asked to do, and what comes of it: the values that pass between the driver and everyone else."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue

from bench.records import Records
from bench.schedule import Stage
from hardware_profiles.curve import Ended, Positive, Value
from hardware_profiles.faults import Fault, InputError

PRIMED = ("primed_requests", "primed_input_tokens", "primed_ttft_s", "primed_e2e_s")
"""Sums over the requests that put shared prefixes into the server's cache; the times of those that were served."""
Stopped = Literal["narrow", "cap", "exhausted", "asked", "failing"]


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
    stream_options: bool = True
    """Ask for `usage` in the last chunk by this field; some refuse it, and some of those tell `usage` unasked."""
    return_token_ids: bool = False
    """Ask vLLM for token ids. Off: vLLM then echoes the whole prompt in the first chunk, which users do not ask for."""
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the output limit is called: OpenAI's reasoning models refuse the first, other servers know no second."""
    more_fields: dict[str, JsonValue] = Field(default_factory=dict)
    """Further fields of the request body: `temperature`, `cache_salt`, ..."""
    timeout_s: Positive = 300.0
    """Per request, from its send."""
    key_env: str | None = None
    """Name of the environment variable that holds the API key; the key itself is never stored."""


class Address(Value):
    """Where the master listens; loopback unless told otherwise. Port 0: any free one, for workers of our own."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 0

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host in ("127.0.0.1", "localhost", "::1")


def parse_address(text: str, option: str) -> Address:
    """`HOST:PORT`, with a port that others can be told.

    >>> parse_address("0.0.0.0:5557", "--bind")
    Address(host='0.0.0.0', port=5557)
    """
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(Fault("not HOST:PORT", "write it like 192.0.2.1:5557", column=option, value=text))
    return Address(host=host.strip("[]"), port=int(port))


class Order(Value):
    """What the Locust processes are told, in a file."""

    stage: Stage
    target: Target
    nonce: int
    kernel_stamps: bool
    workers: int
    """Processes that send, those on other machines among them."""
    folder: Path
    """Where they leave their files."""
    remote_workers: int = 0
    """How many of them join from elsewhere: `bench worker`."""
    bind: Address = Address()

    @property
    def users(self) -> int:
        """Locust users over all workers: the load, or one per worker that sends its rows."""
        return self.stage.load or self.workers


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
    stopped: Stopped
    """Why: widths reached; the cap; the trace ended; `should_stop` said so; nearly everything failed."""
    throughput_width: float | None
    tpot_width: float | None
    client: dict[str, str | float | int | None]
    """How it was measured: workers, wire, stamps, cpu share of the busiest worker, clock step, send lag p99, sums
    over the requests sent before the zero to put shared prefixes into the cache (`PRIMED`; one output token each)."""
    conditions: dict[str, Any] = field(default_factory=dict)
    """What the caller gave to be stored."""

    @property
    def ended(self) -> Ended:
        """How it ended, as its point says it."""
        awaited = (self.tpot_width,) if self.stage.mode == "open" else (self.throughput_width, self.tpot_width)
        known = [width for width in awaited if width is not None]
        width = max(known) if len(known) == len(awaited) else None
        return Ended(why=self.stopped, asked_width=self.stage.width, width=width)

    @property
    def metadata(self) -> dict[str, Any]:
        """What stands in the Parquet file beside the rows."""
        return {
            "stage": self.stage.model_dump(mode="json"),
            "zero_unix_s": self.zero_unix_s,
            "load_s": self.load_s,
            "stopped": self.stopped,
            "throughput_width": self.throughput_width,
            "tpot_width": self.tpot_width,
            "client": self.client,
            "conditions": self.conditions,
        }
