"""What a run is asked to do, and what it found on the machine: the two values that stand in a run's folder first.

Why: a sweep that was interrupted may only go on under the same conditions, and a curve must be computable again from
the folder alone. So both are written whole, as `run.json`, before the first stage, and compared when a run is resumed.

Shapes on the command line: `1024/1024` is input/output tokens jittered by 10 % (fixed lengths march in waves),
`=1024/1024` exactly those, `900-1100/100-200` evenly drawn ranges, `lognormal:800,0.7,8192/200,0.5,1024` medians,
sigmas and largest lengths, `csv:FILE` pairs as they were seen (columns `input_tokens`, `output_tokens`), `trace:FILE`
the same replayed at their own times (column `time_s`). The default shapes are about 1k/1k, 8k/1k and 1k/8k, so that the
planner can tell the cost of reading a token from that of writing one; a smaller context window scales all of them down.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from bench.length import LONGEST_DRAIN_S, Pace
from bench.order import Address, Target
from bench.prompts import Fixed as FixedShape
from bench.prompts import LogNormal, Range, ShapeLaw, Trace, longest, read_pairs, read_trace
from bench.schedule import Arrivals, Stage
from bench.server import ServerSpec
from hardware_profiles.curve import Gpu, NonNegative, Positive, Value, without_reserved_memory, write_text
from hardware_profiles.faults import Fault, Faults, InputError
from hardware_profiles.slo import Slo

RUN_FORMAT = "spillway-run/1"
RUN_FILE = "run.json"
JITTER = 0.1
DEFAULT_SHAPES = ((1024, 1024), (8192, 1024), (1024, 8192))
LEAST_TOKENS = 16
PROBE_LOAD_S = 0.5
"""How long a probe's users may begin; each then waits for its one answer."""

Precision = Literal["bf16", "fp16", "fp8", "fp4", "int8", "int4", "fp32"]


class RunPlan(Value):
    """What is asked."""

    model: str
    """Our name of the model, or the served name where we know none."""
    gpu: str
    gpu_count: Annotated[int, Field(ge=1)] = 1
    tensor_parallel: Annotated[int, Field(ge=1)] = 1
    pipeline_parallel: Annotated[int, Field(ge=1)] = 1
    data_parallel: Annotated[int, Field(ge=1)] = 1
    precision: Precision | None = None
    """Promised; None: as vLLM says once it has started."""
    weights: Literal["real", "dummy"] | None = None
    model_source: str | None = None
    server: ServerSpec | None = None
    """None: the endpoint was given."""
    target: Target
    """Its url is empty while `server` has not been started."""
    shapes: tuple[ShapeLaw, ...] = ()
    """Empty: the default ones, scaled to the window."""
    cached_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    max_load: Annotated[int, Field(ge=1)] = 1024
    loads: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Closed-loop loads in rising order, instead of doubling from 1 to `max_load`."""
    rate_search: bool = True
    rates_per_s: tuple[Positive, ...] = ()
    """Open-loop rates to measure instead of searching one."""
    arrivals: Arrivals = Arrivals()
    """Law of the open loop's arrivals; only Poisson points are planned with (`judge.load_law`)."""
    turns: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 1)
    """Closed loop: conversations of so many turns; more than one leaves the open loop out."""
    think_s: NonNegative = 0.0
    slo: Slo = Slo()
    pace: Pace = Pace()
    seed: int = 0
    workers: Annotated[int, Field(ge=1)] = 1
    remote_workers: Annotated[int, Field(ge=0)] = 0
    """Client processes that join from other machines at `bind`."""
    bind: Address = Address()
    client_cpus: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def searches(self) -> bool:
        """Whether open-loop rates are measured."""
        return (self.rate_search or bool(self.rates_per_s)) and self.turns[1] == 1

    @model_validator(mode="after")
    def _turns_from_few_to_many(self) -> Self:
        if self.turns[1] < self.turns[0]:
            raise ValueError("turns go from few to many")
        return self


class Found(Value):
    """What the run found: conditions that must be alike before a run may go on."""

    gpu: Gpu
    gpu_reason: str | None = None
    """Why the driver says nothing."""
    engine: str
    engine_version: str | None
    max_model_len: int | None = None
    block_tokens: int | None = None
    machine_id: str | None = None

    def unlike(self, other: Found) -> tuple[str, ...]:
        """Names of the conditions that differ; idle power may."""
        ours, theirs = (
            value.model_dump(exclude={"gpu_reason": True, "gpu": {"idle_power_w"}}) for value in (self, other)
        )
        return tuple(name for name in ours if ours[name] != theirs[name])


class RunFile(Value):
    """The whole of `run.json`."""

    format: Literal["spillway-run/1"] = "spillway-run/1"
    plan: RunPlan
    found: Found
    started_at: str
    start_up_s: Positive | None = None
    host_memory_gib: Positive | None = None
    weights_gib_per_gpu: Positive | None = None
    kv_cache_gib_per_gpu: Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_the_reserved_memory(cls, told: Any) -> Any:
        return without_reserved_memory(told)


def write_run(run: RunFile, folder: Path) -> None:
    """Write `run.json` whole."""
    write_text(folder / RUN_FILE, run.model_dump_json(indent=1) + "\n")


def read_run(folder: Path) -> RunFile:
    """Read `run.json`; `InputError` where the folder is not a run's."""
    faults = Faults(str(folder / RUN_FILE))
    try:
        return RunFile.model_validate_json((folder / RUN_FILE).read_bytes())
    except OSError as error:
        faults.add(f"cannot be read ({error.strerror})", "name the folder of a `bench run` (.bench/<name>)")
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            faults.add(detail["msg"], f"write the file as {RUN_FORMAT} says", column=".".join(map(str, detail["loc"])))
    faults.check()
    raise AssertionError("unreachable")


def parse_shape(text: str) -> ShapeLaw:
    """One shape of the command line."""
    if text.startswith("csv:"):
        return read_pairs(Path(text.removeprefix("csv:")))
    if text.startswith("trace:"):
        return read_trace(Path(text.removeprefix("trace:")))
    exact = re.fullmatch(r"=(\d+)/(\d+)", text)
    about = re.fullmatch(r"(\d+)/(\d+)", text)
    ranges = re.fullmatch(r"(\d+)-(\d+)/(\d+)-(\d+)", text)
    law = re.fullmatch(r"lognormal:([\d.]+),([\d.]+),(\d+)/([\d.]+),([\d.]+),(\d+)", text)
    try:
        if exact:
            return FixedShape(input_tokens=int(exact[1]), output_tokens=int(exact[2]))
        if about:
            return jittered(int(about[1]), int(about[2]))
        if ranges:
            low_in, high_in, low_out, high_out = (int(number) for number in ranges.groups())
            return Range(input_low=low_in, input_high=high_in, output_low=low_out, output_high=high_out)
        if law:
            names = [f"{side}_{what}" for side in ("input", "output") for what in ("median", "sigma", "max")]
            return LogNormal.model_validate(dict(zip(names, law.groups(), strict=True)))
    except ValidationError as error:
        what = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise InputError(Fault(what, "write input/output tokens from 1 up, like 1024/256", value=text)) from None
    remedy = "write 1024/256, =1024/256, 900-1100/200-300, lognormal:800,0.7,8192/200,0.5,1024, csv:FILE or trace:FILE"
    raise InputError(Fault("not a shape", remedy, column="--shape", value=text))


def parse_arrivals(text: str) -> Arrivals:
    """`poisson`, `constant`, or `gamma:CV` with the gaps' coefficient of variation (above 1: bursts).

    >>> parse_arrivals("gamma:2")
    Arrivals(law='gamma', cv=2.0)
    """
    gamma = re.fullmatch(r"gamma:(\d+(?:\.\d+)?)", text)
    if text in ("poisson", "constant"):
        return Arrivals.model_validate({"law": text})
    if gamma and float(gamma[1]) > 0:
        return Arrivals(law="gamma", cv=float(gamma[1]))
    raise InputError(
        Fault("not a law of arrivals", "write poisson, constant or gamma:2", column="--arrivals", value=text)
    )


def parse_turns(text: str) -> tuple[int, int]:
    """`4`, or `2-6`: how many turns a conversation has.

    >>> parse_turns("4"), parse_turns("2-6")
    ((4, 4), (2, 6))
    """
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if not found or int(found[1]) < 1 or int(found[2] or found[1]) < int(found[1]):
        raise InputError(Fault("not a number of turns", "write 4 or 2-6", column="--turns", value=text))
    return int(found[1]), int(found[2] or found[1])


def jittered(input_tokens: int, output_tokens: int) -> Range:
    """Lengths drawn evenly within 10 % of these, so that requests do not march in waves."""
    low, high = 1 - JITTER, 1 + JITTER
    return Range(
        input_low=max(1, round(input_tokens * low)),
        input_high=max(1, round(input_tokens * high)),
        output_low=max(1, round(output_tokens * low)),
        output_high=max(1, round(output_tokens * high)),
    )


def default_shapes(window_tokens: int | None) -> tuple[ShapeLaw, ...]:
    """About 1k/1k, 8k/1k and 1k/8k, all scaled by one factor where the longest would not fit the context window."""
    longest_tokens = max(sum(longest(jittered(*pair))) for pair in DEFAULT_SHAPES)
    scale = min(1.0, (window_tokens or longest_tokens) / longest_tokens)
    return tuple(jittered(*(max(LEAST_TOKENS, int(tokens * scale)) for tokens in pair)) for pair in DEFAULT_SHAPES)


def check_window(shapes: tuple[ShapeLaw, ...], window_tokens: int | None) -> None:
    """Every request must fit the context window, or the server would refuse some and the shape would not be the one."""
    faults = Faults()
    for law in shapes:
        needed = sum(longest(law))
        if window_tokens is not None and needed > window_tokens:
            what = f"a request of up to {needed} tokens does not fit the server's window of {window_tokens}"
            faults.add(
                what, "ask for a smaller --shape or a larger --max-model-len", column="--shape", value=label(law)
            )
    faults.check()


def label(law: ShapeLaw) -> str:
    """A short name: mean input x mean output tokens.

    >>> label(jittered(1024, 256))
    '1024x256'
    """
    from bench.prompts import draw

    inputs, outputs = draw(law, 0, 4096)
    if law.law == "range":
        return f"{(law.input_low + law.input_high) // 2}x{(law.output_low + law.output_high) // 2}"
    return f"{round(float(inputs.mean()))}x{round(float(outputs.mean()))}"


def stage(
    plan: RunPlan,
    found: Found,
    shape: int,
    *,
    load: int | None = None,
    rate_per_s: float | None = None,
    batch: int = 0,
    e2e_s: float | None = None,
    most_e2e_s: float | None = None,
) -> Stage:
    """One stage. All rates of a shape share seeds (common random numbers); another `batch` is another seed.

    `e2e_s` is the E2E to expect, `most_e2e_s` the longest possible (`bench.length`); None: unknown.
    """
    law = plan.shapes[shape]
    if isinstance(law, Trace):
        return _replay(plan, found, shape, law)
    what = f"load-{load}" if load is not None else f"rate-{rate_per_s:.6g}-{batch}"
    closed: dict[str, Any] = {"turns": plan.turns, "think_s": plan.think_s, "most_context": found.max_model_len}
    return Stage(
        name=f"shape-{shape}-{label(law)}-{what}".replace("+", ""),
        mode="closed" if load is not None else "open",
        shape=law,
        seed=plan.seed * 1000 + shape * 100 + batch,
        load=load,
        rate_per_s=rate_per_s,
        cached_share=plan.cached_share,
        block_tokens=found.block_tokens or 16,
        **(
            plan.pace.closed(e2e_s, most_e2e_s, pause_s=plan.think_s, turns=sum(plan.turns) / 2)
            if rate_per_s is None
            else plan.pace.open(e2e_s, rate_per_s)
        ),
        min_requests=plan.pace.min_requests if rate_per_s is None else plan.pace.rate_requests,
        width=plan.pace.width,
        silence_s=_silence_s(plan, law, most_e2e_s or e2e_s),
        **(closed if load is not None and plan.turns[1] > 1 else {}),
        **({"think_s": plan.think_s} if load is not None and plan.turns[1] == 1 else {}),
        **({} if load is not None else {"arrivals": plan.arrivals}),
    )


def probe(plan: RunPlan, found: Found, shape: int, load: int) -> Stage:
    """One round alone, which no point is made of: `load` users send once, to see how long a request takes."""
    first = stage(plan, found, shape, load=load)
    once = {"cap_s": PROBE_LOAD_S, "drain_s": LONGEST_DRAIN_S, "think_s": LONGEST_DRAIN_S, "turns": (1, 1)}
    changes = once | {"name": f"{first.name}-probe", "warm_up_s": 0.0, "stagger_s": 0.0, "width": None}
    return Stage.model_validate(first.model_dump() | changes)


def _replay(plan: RunPlan, found: Found, shape: int, law: Trace) -> Stage:
    """A trace, once and whole, at its own times; the first of it warms up."""
    length_s = law.rows[-1][0] + 1.0
    return Stage(
        name=f"shape-{shape}-{label(law)}-trace",
        mode="open",
        shape=law,
        seed=plan.seed * 1000 + shape * 100,
        arrivals=Arrivals(law="trace"),
        cached_share=plan.cached_share,
        block_tokens=found.block_tokens or 16,
        cap_s=length_s,
        warm_up_s=min(plan.pace.warm_up_s, length_s / 2),
        width=None,
        drain_s=plan.pace.drain_s,
        silence_s=_silence_s(plan, law, None),
    )


def _silence_s(plan: RunPlan, law: ShapeLaw, e2e_s: float | None) -> float:
    return plan.pace.silent_s(longest(law)[0] * plan.turns[1], e2e_s)


def machine_id(state: Path, machine: Path = Path("/etc/machine-id")) -> str | None:
    """A digest that tells this machine from others but not which it is: salted with a secret kept in `state`."""
    try:
        identity = machine.read_text().strip() or os.uname().machine
        salt_file = state / "salt"
        if not salt_file.exists():
            write_text(salt_file, secrets.token_hex(16))
            salt_file.chmod(0o600)
        return hashlib.sha256(f"{salt_file.read_text().strip()} {identity}".encode()).hexdigest()[:16]
    except OSError:
        return None
