"""What was typed -> what will be run (`RunPlan`), every fault at once, before anything is started.

The model may be `tiny` (a made-up one for demonstrations), one of our names (`llama-3-8b`), a hub repository
(`meta-llama/Llama-3.1-8B-Instruct`) or a folder; with an endpoint it is the name it is served under. `--gpu cpu` runs
vLLM on the processor: the client then gets the last core(s) and the server the rest, so that they do not take time
from each other; with one core alone nothing is pinned.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError

from bench import tiny_model
from bench.model_folder import dummy_config, hub_name, vocabulary, write_dummy_model
from bench.order import Address, parse_address
from bench.plan import RunPlan, parse_arrivals, parse_shape, parse_turns
from bench.server import ServerSpec
from hardware_profiles.facts import ModelFacts, gpus, models
from hardware_profiles.faults import Fault, InputError
from hardware_profiles.names import CPU, gpu_name, resolve_model
from hardware_profiles.slo import DEFAULT_SLO

First = TypeVar("First")
Second = TypeVar("Second")
TINY = "tiny"
TINY_WINDOW = 4096
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True)
class Asked:
    """The options of `bench run`, as typed."""

    model: str
    gpu: str
    gpu_count: int = 1
    tensor_parallel: int | None = None
    precision: str | None = None
    weights: str = "real"
    model_path: str | None = None
    endpoint: str | None = None
    api: str = "completions"
    key_env: str | None = None
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
    stage_s: float = 120.0
    warm_up_s: float = 10.0
    width: float | None = 0.05
    rate_requests: int = 1000
    rate_stages: int = 16
    seed: int = 0
    workers: int = 1
    remote_workers: int = 0
    bind: str = "127.0.0.1:5557"
    profiles: Path | None = None


@dataclass(frozen=True)
class Model:
    """The model that was meant."""

    name: str
    source: str
    """Where it comes from, as a curve may say it: never a path of this machine."""
    load: str
    """What vLLM is given."""
    vocabulary: int | None
    notes: tuple[str, ...] = ()
    make: Callable[[], None] | None = None
    """Writes the folder, where it is one of ours."""
    tokenizer: bool = True


def make_plan(asked: Asked, folder: Path, cores: Sequence[int]) -> tuple[RunPlan, Callable[[], None] | None]:
    """The run that was asked for, and what makes its model folder under `folder` where it needs one of ours."""
    (gpu, gpu_note), model = _both(
        lambda: gpu_name(asked.gpu, gpus(asked.profiles)),
        lambda: _served_model(asked) if asked.endpoint else _model(asked, folder),
    )
    on_cpu = gpu == CPU and asked.endpoint is None
    server_cpus, client_cpus = split_cores(cores, asked.workers) if on_cpu else ((), ())
    weights = "dummy" if asked.model == TINY and not asked.endpoint else asked.weights
    try:
        plan = RunPlan.model_validate(
            {
                "model": model.name,
                "gpu": gpu,
                "gpu_count": asked.gpu_count,
                "tensor_parallel": asked.tensor_parallel or asked.gpu_count,
                "precision": asked.precision or _precision(asked),
                "weights": None if asked.endpoint else weights,
                "model_source": model.source,
                "server": None if asked.endpoint else _server(asked, model, weights, server_cpus, on_cpu=on_cpu),
                "target": _target(asked, model),
                "shapes": tuple(parse_shape(text) for text in asked.shapes),
                "cached_share": asked.cached_share,
                "max_load": asked.max_load,
                "loads": tuple(sorted(set(asked.loads))),
                "rate_search": asked.rate_search,
                "rates_per_s": asked.rates_per_s,
                "arrivals": parse_arrivals(asked.arrivals),
                "turns": parse_turns(asked.turns),
                "think_s": asked.think_s,
                "slo": {
                    "ttft_s": asked.ttft_s,
                    "tpot_s": asked.tpot_s,
                    "e2e_s": asked.e2e_s,
                    "attainment": asked.attainment,
                },
                "pace": {
                    "stage_s": asked.stage_s,
                    "warm_up_s": asked.warm_up_s,
                    "width": asked.width,
                    "rate_requests": asked.rate_requests,
                    "rate_stages": asked.rate_stages,
                },
                "seed": asked.seed,
                "workers": asked.workers,
                "remote_workers": asked.remote_workers,
                "bind": parse_address(asked.bind, "--bind") if asked.remote_workers else Address(),
                "client_cpus": client_cpus,
                "notes": tuple(note for note in (gpu_note, *model.notes) if note),
            }
        )
    except ValidationError as error:
        raise InputError(*(_fault(detail) for detail in error.errors(include_url=False))) from None
    return plan, model.make


def _both(first: Callable[[], First], second: Callable[[], Second]) -> tuple[First, Second]:
    """Both results, or the faults of both."""
    try:
        found = first()
    except InputError as error:
        try:
            second()
        except InputError as other:
            raise InputError(*error.faults, *other.faults) from None
        raise
    return found, second()


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


def _model(asked: Asked, folder: Path) -> Model:
    if asked.model == TINY and asked.model_path is None:
        made = (folder / "model" / TINY).resolve()
        source = "made by bench.tiny_model"
        return Model(TINY, source, str(made), tiny_model.BYTES, make=partial(tiny_model.write_tiny_model, made))
    facts, note = _facts(asked)
    notes = (note,) if note else ()
    given = asked.model_path or (asked.model if "/" in asked.model or Path(asked.model).is_dir() else None)
    if given is not None and Path(given).is_dir():
        path = Path(given).resolve()
        name = facts.name if facts else path.name
        tokenizer = any(path.glob("tokenizer*"))
        return Model(name, f"folder {path.name}", str(path), vocabulary(path), notes, tokenizer=tokenizer)
    if facts is None:
        resolve_model(asked.model, models(asked.profiles))  # raises, with the near names
    assert facts is not None
    if asked.weights == "dummy":
        dummy_config(facts)  # raises where it cannot be written
        made = (folder / "model" / facts.name).resolve()
        source = "random weights in this architecture"
        make = partial(write_dummy_model, facts, made)
        return Model(facts.name, source, str(made), facts.vocab, notes, make=make, tokenizer=False)
    source = given or hub_name(facts)
    return Model(facts.name, source, source, facts.vocab, notes)


def _served_model(asked: Asked) -> Model:
    facts, note = _facts(asked)
    name = facts.name if facts else asked.model
    return Model(name, asked.model, asked.model, facts.vocab if facts else None, (note,) if note else ())


def _facts(asked: Asked) -> tuple[ModelFacts | None, str | None]:
    """Our facts about the model, None where we have none (a folder, a hub repository or an endpoint may serve it)."""
    try:
        return resolve_model(asked.model, models(asked.profiles))
    except InputError:
        return None, None


def _server(asked: Asked, model: Model, weights: str, cpus: tuple[int, ...], *, on_cpu: bool) -> dict[str, object]:
    args, environment = _cpu_defaults(cpus, tiny=asked.model == TINY) if on_cpu else ((), {})
    parallel = asked.tensor_parallel or asked.gpu_count
    if parallel > 1:
        args += ("--tensor-parallel-size", str(parallel))
    if not model.tokenizer:
        args += ("--skip-tokenizer-init",)
    return ServerSpec(
        python=str(Path(asked.server_python).absolute()) if "/" in asked.server_python else asked.server_python,
        model=model.load,
        served_name=model.name,
        weights=weights,
        args=(*args, *asked.server_args),
        environment=environment | _named_values(asked.server_env),
        cpus=cpus,
        start_timeout_s=asked.start_timeout_s,
    ).model_dump()


def _cpu_defaults(cpus: tuple[int, ...], *, tiny: bool) -> tuple[tuple[str, ...], dict[str, str]]:
    """What the CPU build needs to start quickly and keep to its cores: no compilation, one OpenMP thread a core."""
    args: tuple[str, ...] = ("--dtype", "bfloat16", "--enforce-eager")
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
    return {
        "url": url,
        "model": asked.model if asked.endpoint else model.name,
        "api": asked.api,
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


def _precision(asked: Asked) -> str | None:
    """What the name says, else bf16 for what we start ourselves; an endpoint's is unknown unless told."""
    said = {"fp8": "fp8", "nvfp4": "fp4", "mxfp4": "fp4", "gpt-oss": "fp4", "awq": "int4"}
    name = f"{asked.model} {asked.model_path or ''}".lower()
    found = next((precision for word, precision in said.items() if word in name), None)
    return found or (None if asked.endpoint else "bf16")


def _named_values(texts: tuple[str, ...]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise InputError(Fault("not NAME=VALUE", "write NAME=VALUE", column="--server-env", value=text))
    return dict(text.split("=", 1) for text in texts)


_OPTIONS = {"stage_s": "--stage-seconds", "warm_up_s": "--warm-up-seconds", "pace": "--warm-up-seconds"}


def _fault(detail: Any) -> Fault:
    value = detail["input"] if isinstance(detail["input"], str | int | float) else None
    field = str(detail["loc"][-1]) if detail["loc"] else ""
    option = _OPTIONS.get(field, "--" + field.removesuffix("_s").replace("_", "-"))
    what = detail["msg"].removeprefix("Value error, ")
    return Fault(what, "see `bench run --help`", column=option, value=None if value is None else str(value))
