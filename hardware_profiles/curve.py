"""The curve: what one (GPU, model, precision, parallelism, engine version) was seen to serve. One JSON file each.

This file format is the seam between `bench`, which writes curves, and `planner`, which reads them.

Format history
    spillway-curve/1 (2026-11-20): first version. Later that day, optional, so that older files stay valid:
        `output_tokens_per_s_interval` of a point; None in what was written before it.
        (2026-11-21): `host_memory_gib`, `weights_gib_per_gpu` and `kv_cache_gib_per_gpu` of the conditions. They take
        the place of `memory_gib`, which is read and dropped: on a GPU it was what vLLM had reserved. `throughput_per_s`
        of measured points counts a request by the share of its tokens in the window; before, at its end.
        (2026-11-28): `ended` of a point; None in what was written before it.

Rules that every reader and writer may rely on
* One unit per quantity, in its name: seconds, tokens, requests per second, watts, joules. The unknown is None.
* `kind` is `measured` (by `bench`, raw records exist), `published` (somebody's table) or `estimated` (a law); one file,
  one kind. Published points are mostly closed loop and state one number per latency: it is kept under the statistic
  the source names, or under `unstated`.
* A point that failed a check is kept and marked; `usable` is False and the planner does not use it.
* A joint sample holds (ttft_s, tpot_s, e2e_s) of single requests in order of sending, so that the attainment of any
  SLO, and how sure it is, can be computed later. A failed request is not in it; it counts in `failed`.
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hardware_profiles.faults import Faults

FORMAT = "spillway-curve/1"

Kind = Literal["measured", "published", "estimated"]
Statistic = Literal["mean", "p50", "p90", "p95", "p99", "unstated"]
Verdict = Literal["pass", "fail", "unknown"]
Precision = Literal["bf16", "fp16", "fp8", "fp4", "int8", "int4", "fp32"]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Value(BaseModel):
    """A frozen value that rejects unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Shape(Value):
    """Tokens of one request (means, when requests vary); `cached_tokens` is the part of the input found in a cache."""

    input_tokens: Positive
    output_tokens: Positive
    cached_tokens: NonNegative = 0.0

    @model_validator(mode="after")
    def _cached_within_input(self) -> Self:
        if self.cached_tokens > self.input_tokens:
            raise ValueError("cached_tokens exceeds input_tokens")
        return self


class Estimate(Value):
    """A number with its confidence interval (95 % unless `Conditions.notes` says otherwise); None where unknown."""

    value: NonNegative
    low: NonNegative | None = None
    high: NonNegative | None = None


class Check(Value):
    """One judgement of a point: what was compared, how it came out and, if it failed, the next action."""

    name: str
    verdict: Verdict
    reason: str
    value: float | None = None
    tolerance: float | None = None


class Sample(Value):
    """One served request of the joint sample; `tpot_s` is None for a single output token."""

    ttft_s: NonNegative
    tpot_s: NonNegative | None
    e2e_s: NonNegative


class Ended(Value):
    """Why a stage's load ended, and how well its numbers were known when it did.

    A width is a half-width of a 95 % interval as a share of its value: the wider of throughput's and median TPOT's, in
    an open loop TPOT's.
    """

    why: Literal["narrow", "cap", "exhausted", "asked", "failing"]
    """Known as well as asked; the cap came first; the trace was over; somebody said so; nearly everything failed."""
    asked_width: Positive | None = None
    """At which it would have ended; None: nothing but its cap should end it."""
    width: NonNegative | None = None
    """None while too little was served to tell."""

    @property
    def unsettled(self) -> bool:
        """Whether the cap came before the width asked for."""
        if self.why != "cap" or self.asked_width is None:
            return False
        return self.width is None or self.width > self.asked_width


class Point(Value):
    """What was seen at one load or offered rate, for the whole deployment (all its GPUs together)."""

    shape: Shape
    mode: Literal["closed", "open"]
    load: Positive | None = None
    """Requests in flight that a closed loop holds."""
    offered_rate_per_s: Positive | None = None
    """Requests per second that an open loop sends."""
    throughput_per_s: NonNegative
    """Requests served per second."""
    output_tokens_per_s: NonNegative
    output_tokens_per_s_interval: tuple[NonNegative, NonNegative] | None = None
    """Low and high of its 95 % interval, by batch means over the window; None in published curves."""
    input_tokens_per_s: NonNegative | None = None
    ttft_s: dict[Statistic, Estimate] = {}
    tpot_s: dict[Statistic, Estimate] = {}
    e2e_s: dict[Statistic, Estimate] = {}
    chunk_gap_s: dict[Statistic, Estimate] = {}
    sample: tuple[Sample, ...] = ()
    completed: int | None = None
    failed: int | None = None
    errors: dict[str, int] = {}
    duration_s: Positive | None = None
    kv_cache_use: NonNegative | None = None
    """Largest share of the KV cache in use, 0 to 1."""
    preemptions: int | None = None
    prefix_hit_rate: NonNegative | None = None
    power_w: Positive | None = None
    energy_j_per_output_token: Positive | None = None
    bottleneck: Literal["kv_cache", "compute", "queue", "client", "power", "unknown"] | None = None
    checks: tuple[Check, ...] = ()
    ended: Ended | None = None

    @model_validator(mode="after")
    def _mode_has_its_load(self) -> Self:
        if (self.mode == "closed") != (self.load is not None) or (self.mode == "open") != (
            self.offered_rate_per_s is not None
        ):
            raise ValueError("a closed-loop point has `load`, an open-loop point has `offered_rate_per_s`")
        return self

    @model_validator(mode="after")
    def _interval_holds_its_value(self) -> Self:
        low, high = self.output_tokens_per_s_interval or (0.0, math.inf)
        if not low <= self.output_tokens_per_s <= high:
            raise ValueError("`output_tokens_per_s` lies outside `output_tokens_per_s_interval`")
        return self

    @property
    def output_rate(self) -> Estimate:
        """Output tokens per second with the interval, as latencies have theirs."""
        low, high = self.output_tokens_per_s_interval or (None, None)
        return Estimate(value=self.output_tokens_per_s, low=low, high=high)

    @property
    def usable(self) -> bool:
        """False when a check failed: the planner then leaves the point out."""
        return all(check.verdict != "fail" for check in self.checks)


class Gpu(Value):
    """The accelerator as the driver tells it, and `name` as our facts name it (`h100-80gb-sxm`, `cpu`)."""

    name: str
    count: Annotated[int, Field(ge=1)]
    driver_name: str | None = None
    driver_version: str | None = None
    power_limit_w: Positive | None = None
    clock_sm_mhz: Positive | None = None
    idle_power_w: NonNegative | None = None


def without_reserved_memory(told: Any) -> Any:
    """A file's object without `memory_gib`, which was written until 2026-11-21 and measured nothing on a GPU."""
    return {name: value for name, value in told.items() if name != "memory_gib"} if isinstance(told, dict) else told


class Conditions(Value):
    """Everything else that must be alike before two measurements may be merged, and where the numbers come from."""

    engine: str
    engine_version: str | None
    server_args: tuple[str, ...] = ()
    weights: Literal["real", "dummy"] | None = None
    """None where the source does not say."""
    model_source: str | None = None
    seed: int | None = None
    client: dict[str, str | float | int | None] = {}
    start_up_s: Positive | None = None
    """From the server's start to its first healthy answer; None with random weights, which are not loaded."""
    host_memory_gib: Positive | None = None
    """Main memory of all the server's processes once it was ready (proportional set size)."""
    weights_gib_per_gpu: Positive | None = None
    """GPU memory that the model took, by the server's own account."""
    kv_cache_gib_per_gpu: Positive | None = None
    """GPU memory left for the KV cache, by the server's own account."""
    machine_id: str | None = None
    """A salted digest, never a host name."""
    measured_at: str | None = None
    """ISO 8601 date or time; None where the source does not say."""
    raw_sha256: str | None = None
    """Digest of the raw records that the points were computed from."""
    source: str | None = None
    source_date: str | None = None
    notes: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _without_the_reserved_memory(cls, told: Any) -> Any:
        return without_reserved_memory(told)


class Curve(Value):
    """All points of one (GPU, model, precision, parallelism, engine version)."""

    format: Literal["spillway-curve/1"] = "spillway-curve/1"
    kind: Kind
    model: str
    precision: Precision | None
    """Of the weights; None where the source does not say."""
    gpu: Gpu
    tensor_parallel: Annotated[int, Field(ge=1)] = 1
    pipeline_parallel: Annotated[int, Field(ge=1)] = 1
    data_parallel: Annotated[int, Field(ge=1)] = 1
    conditions: Conditions
    points: tuple[Point, ...]

    @model_validator(mode="after")
    def _kind_has_its_evidence(self) -> Self:
        if self.kind == "published" and not (self.conditions.source and self.conditions.source_date):
            raise ValueError("a published curve names conditions.source and conditions.source_date")
        if self.kind == "measured" and not self.conditions.measured_at:
            raise ValueError("a measured curve says when: conditions.measured_at")
        return self

    @property
    def key(self) -> tuple[str, str, int, str | None, int, int, int, str, str | None, bool]:
        """What identifies a curve: unlike keys never merge."""
        return (
            self.gpu.name,
            self.model,
            self.gpu.count,
            self.precision,
            self.tensor_parallel,
            self.pipeline_parallel,
            self.data_parallel,
            self.conditions.engine,
            self.conditions.engine_version,
            self.conditions.weights == "dummy",
        )

    @property
    def usable_points(self) -> tuple[Point, ...]:
        """Points whose checks did not fail."""
        return tuple(point for point in self.points if point.usable)


def read_curve(path: Path) -> Curve:
    """Read and validate one curve file; raises `InputError` with every fault in it."""
    faults = Faults(str(path))
    try:
        return Curve.model_validate_json(path.read_bytes())
    except OSError as error:
        faults.add(f"cannot be read ({error.strerror})", "check the path and its permissions")
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            where = ".".join(str(part) for part in detail["loc"]) or None
            value = detail["input"] if isinstance(detail["input"], (str, int, float)) else None
            faults.add(
                detail["msg"].removeprefix("Value error, "),
                f"write the file as {FORMAT} says",
                column=where,
                value=value,
            )
    faults.check()
    raise AssertionError("unreachable")


def schema_text() -> str:
    """The JSON schema of a curve file, for editors and for other programs that write one."""
    return json.dumps(Curve.model_json_schema(), indent=1, sort_keys=True) + "\n"


def file_name(curve: Curve) -> str:
    """The curve's key as a file name: `h100-80gb-sxm_qwen3-32b_fp8_tp2_x2_vllm-0.12.0.json`, `..._x2_dummy_...`."""
    parallel = [f"tp{curve.tensor_parallel}"]
    parallel += [f"pp{curve.pipeline_parallel}"] if curve.pipeline_parallel > 1 else []
    parallel += [f"dp{curve.data_parallel}"] if curve.data_parallel > 1 else []
    version = curve.conditions.engine_version or "unstated"
    random = ["dummy"] if curve.conditions.weights == "dummy" else []
    parts = [curve.gpu.name, curve.model, curve.precision or "unstated", *parallel, f"x{curve.gpu.count}", *random]
    return re.sub(r"[^a-z0-9._-]", "-", "_".join([*parts, f"{curve.conditions.engine}-{version}"]).lower()) + ".json"


def write_curve(curve: Curve, path: Path) -> None:
    """Write one curve file whole or not at all; defaults are left out so that the file stays readable."""
    content = {"format": FORMAT, **curve.model_dump(mode="json", exclude_defaults=True)}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all: to a temporary file beside it, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def merge_points(curve: Curve, points: Iterable[Point]) -> Curve:
    """The curve with `points` added, ordered by shape, mode and load; conditions must have been compared before."""
    merged = (*curve.points, *points)
    return curve.model_copy(update={"points": tuple(sorted(merged, key=_point_order))})


def _point_order(point: Point) -> tuple[float, float, float, str, float]:
    shape = point.shape
    return (
        shape.input_tokens,
        shape.output_tokens,
        shape.cached_tokens,
        point.mode,
        point.load or point.offered_rate_per_s or 0.0,
    )
