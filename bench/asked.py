"""What was typed -> what will be run (`RunPlan`), every fault at once, before anything is started.

`--gpu cpu` runs vLLM on the processor: the client then gets the last core(s) and the server the rest, so that they do
not take time from each other; with one core alone nothing is pinned. Which model is meant is told in `meant.py`, what
may be handed on to vLLM in `passed.py`, what cannot be had together in `together.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from bench.meant import TINY, Model, model_meant, served_model
from bench.order import Address, parse_address
from bench.passed import ServerEnvironment, argument_faults, body_fields, server_environment
from bench.plan import RunPlan, parse_arrivals, parse_shape, parse_turns
from bench.server import ServerSpec
from bench.together import LOOPBACK, tensor_parallel, unlike_faults
from hardware_profiles.facts import gpus
from hardware_profiles.faults import Fault, InputError
from hardware_profiles.names import CPU, gpu_name
from hardware_profiles.slo import DEFAULT_SLO, Slo

Result = TypeVar("Result")
TINY_WINDOW = 4096


@dataclass(frozen=True)
class Asked:
    """The options of `bench run`, as typed."""

    model: str
    gpu: str
    gpu_count: int = 1
    tensor_parallel: int | None = None
    pipeline_parallel: int = 1
    data_parallel: int = 1
    precision: str | None = None
    weights: str = "real"
    model_path: str | None = None
    endpoint: str | None = None
    api: str = "completions"
    key_env: str | None = None
    limit_field: str = "max_tokens"
    stream_options: bool = True
    body: tuple[str, ...] = ()
    vocab_size: int | None = None
    server_python: str = "python3"
    server_args: tuple[str, ...] = ()
    server_env: tuple[str, ...] = ()
    start_timeout_s: float = 900.0
    shapes: tuple[str, ...] = ()
    cached_share: float = 0.0
    max_load: int = 1024
    loads: tuple[int, ...] = ()
    rate_search: bool = True
    rates_per_s: tuple[float, ...] = ()
    arrivals: str = "poisson"
    turns: str = "1"
    think_s: float = 0.0
    ttft_s: float | None = DEFAULT_SLO.ttft_s
    tpot_s: float | None = DEFAULT_SLO.tpot_s
    e2e_s: float | None = DEFAULT_SLO.e2e_s
    attainment: float = DEFAULT_SLO.attainment
    stage_s: float | None = None
    warm_up_s: float = 10.0
    width: float | None = 0.05
    silence_s: float | None = None
    rate_requests: int = 1000
    rate_stages: int = 16
    seed: int = 0
    workers: int = 1
    remote_workers: int = 0
    bind: str = "127.0.0.1:5557"
    profiles: Path | None = None


def make_plan(asked: Asked, folder: Path, cores: Sequence[int]) -> tuple[RunPlan, Callable[[], None] | None]:
    """The run that was asked for, and what makes its model folder under `folder` where it needs one of ours."""
    faults = [*unlike_faults(asked)]
    faults += () if asked.endpoint else argument_faults(asked.server_args, asked.weights)
    named = _or_faults(faults, lambda: gpu_name(asked.gpu, gpus(asked.profiles)))
    model = _or_faults(faults, lambda: served_model(asked) if asked.endpoint else model_meant(asked, folder))
    target = _or_faults(faults, lambda: _target(asked, model)) if model else None
    handed_on = _or_faults(faults, lambda: server_environment(asked.server_env))
    load = {name: _or_faults(faults, make) for name, make in _typed_loads(asked).items()}
    if faults or named is None or model is None or handed_on is None:
        raise InputError(*faults)
    gpu, gpu_note = named
    on_cpu = gpu == CPU and asked.endpoint is None
    server_cpus, client_cpus = split_cores(cores, asked.workers) if on_cpu else ((), ())
    weights = None if asked.endpoint else "dummy" if asked.model == TINY else asked.weights
    told = {
        "model": model.name,
        "gpu": gpu,
        "gpu_count": asked.gpu_count,
        "tensor_parallel": tensor_parallel(asked),
        "pipeline_parallel": asked.pipeline_parallel,
        "data_parallel": asked.data_parallel,
        "precision": model.precision,
        "weights": weights,
        "model_source": model.source,
        "server": _server(asked, model, weights, handed_on, server_cpus, on_cpu=on_cpu) if weights else None,
        "target": target,
        "client_cpus": client_cpus,
        "notes": tuple(note for note in (gpu_note, *model.notes) if note),
    }
    try:
        plan = RunPlan.model_validate({**told, **load, **_plain(asked)})
    except ValidationError as error:
        raise _faults(error, "bench run") from None
    return plan, model.make


def slo_asked(**limits: float | None) -> Slo:
    """An SLO whose limits were typed."""
    try:
        return Slo.model_validate(limits)
    except ValidationError as error:
        raise _faults(error, "bench show") from None


def _typed_loads(asked: Asked) -> dict[str, Callable[[], object]]:
    """What of the load is typed in a form of its own."""
    return {
        "shapes": lambda: tuple(parse_shape(text) for text in asked.shapes),
        "arrivals": lambda: parse_arrivals(asked.arrivals),
        "turns": lambda: parse_turns(asked.turns),
        "bind": lambda: parse_address(asked.bind, "--bind") if asked.remote_workers else Address(),
    }


def _plain(asked: Asked) -> dict[str, object]:
    """What is taken as it was typed."""
    same = ("cached_share", "max_load", "rate_search", "rates_per_s", "think_s", "seed", "workers", "remote_workers")
    slo = ("ttft_s", "tpot_s", "e2e_s", "attainment")
    pace = ("stage_s", "warm_up_s", "width", "silence_s", "rate_requests", "rate_stages")
    return {
        **{name: getattr(asked, name) for name in same},
        "loads": tuple(sorted(set(asked.loads))),
        "slo": {name: getattr(asked, name) for name in slo},
        "pace": {name: getattr(asked, name) for name in pace},
    }


def _or_faults(faults: list[Fault], make: Callable[[], Result]) -> Result | None:
    """What is made; None where it cannot be, its faults then added to the others."""
    try:
        return make()
    except InputError as error:
        faults += error.faults
        return None


def split_cores(cores: Sequence[int], workers: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(server's, client's): the last `workers` cores, at most half of them, are the client's; one core: nobody's.

    >>> split_cores((0, 1, 2, 3), 1), split_cores((0,), 1)
    (((0, 1, 2), (3,)), ((), ()))
    """
    ordered = tuple(sorted(cores))
    if len(ordered) < 2:
        return (), ()
    client = min(workers, len(ordered) // 2)
    return ordered[:-client], ordered[-client:]


def _server(
    asked: Asked,
    model: Model,
    weights: str,
    handed_on: ServerEnvironment,
    cpus: tuple[int, ...],
    *,
    on_cpu: bool,
) -> dict[str, object]:
    args, environment = _cpu_defaults(cpus, tiny=asked.model == TINY) if on_cpu else ((), {})
    if on_cpu and "--dtype" not in model.args:
        args = ("--dtype", "bfloat16", *args)
    split = {"tensor": tensor_parallel(asked), "pipeline": asked.pipeline_parallel, "data": asked.data_parallel}
    for way, count in split.items():
        args += (f"--{way}-parallel-size", str(count)) if count > 1 else ()
    args += model.args
    if not model.tokenizer:
        args += ("--skip-tokenizer-init",)
    return ServerSpec(
        python=str(Path(asked.server_python).absolute()) if "/" in asked.server_python else asked.server_python,
        model=model.load,
        served_name=model.name,
        weights=weights,
        args=(*args, *asked.server_args),
        environment=environment | handed_on.stated,
        passed=handed_on.passed,
        cpus=cpus,
        start_timeout_s=asked.start_timeout_s,
    ).model_dump()


def _cpu_defaults(cpus: tuple[int, ...], *, tiny: bool) -> tuple[tuple[str, ...], dict[str, str]]:
    """What the CPU build needs to start quickly and keep to its cores: no compilation, one OpenMP thread a core."""
    args: tuple[str, ...] = ("--enforce-eager",)
    if tiny:
        args += ("--max-model-len", str(TINY_WINDOW))
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1" if tiny else "4"}
    if cpus:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(str(cpu) for cpu in cpus)
    return args, environment


def _target(asked: Asked, model: Model) -> dict[str, object]:
    url = _checked_url(asked.endpoint) if asked.endpoint else ""
    if asked.key_env is not None and not os.environ.get(asked.key_env):
        what = "this environment variable is not set"
        raise InputError(Fault(what, "export the endpoint's key in it", column="--key-env", value=asked.key_env))
    text = asked.api == "chat"
    if text and not asked.endpoint and not model.tokenizer:
        remedy = "leave out --api chat: completions send token ids; or name a folder that has a tokenizer: --model-path"
        raise InputError(Fault("chat needs a tokenizer, and this model has none", remedy, column="--api", value="chat"))
    if asked.limit_field != "max_tokens" and not text:
        what, remedy = "completions know max_tokens only", "leave it out, or ask for --api chat"
        raise InputError(Fault(what, remedy, column="--limit-field", value=asked.limit_field))
    return {
        "url": url,
        "model": asked.model if asked.endpoint else model.name,
        "api": asked.api,
        "limit_field": asked.limit_field,
        "stream_options": asked.stream_options,
        "more_fields": body_fields(asked.body),
        "vocab_size": None if text else asked.vocab_size or model.vocabulary,
        "key_env": asked.key_env,
    }


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
        what = "not the address of an endpoint"
        raise InputError(Fault(what, "write http://host:port or https://host, no key in it", column="--endpoint"))
    return url.rstrip("/").removesuffix("/v1")


def bind_warning(plan: RunPlan) -> str | None:
    """What must be said before others may reach the master."""
    if plan.bind.loopback:
        return None
    told = f"whoever reaches {plan.bind.host}:{plan.bind.port} can join this run: there is no password"
    return f"{told}; start `bench worker --master HOST:{plan.bind.port}` on {plan.remote_workers} machines"


def endpoint_warning(url: str) -> str | None:
    """What must be said about an endpoint before a key goes there."""
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        return f"{parts.hostname} is asked over plain HTTP: prompts and any key travel unencrypted"
    return None


_OPTIONS = {
    "stage_s": "--stage-seconds",
    "warm_up_s": "--warm-up-seconds",
    "silence_s": "--silence-seconds",
    "pace": "--warm-up-seconds",
}


def _faults(error: ValidationError, command: str) -> InputError:
    """Every option that is wrong, by the name that it was typed with."""
    return InputError(*(_fault(detail, command) for detail in error.errors(include_url=False)))


def _fault(detail: Any, command: str) -> Fault:
    value = detail["input"] if isinstance(detail["input"], str | int | float) else None
    field = str(detail["loc"][-1]) if detail["loc"] else ""
    option = _OPTIONS.get(field, "--" + field.removesuffix("_s").replace("_", "-"))
    what = detail["msg"].removeprefix("Value error, ")
    return Fault(what, f"see `{command} --help`", column=option, value=None if value is None else str(value))
