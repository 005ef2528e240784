"""What a user hands on, to vLLM (`--server-env`, what stands after `--`) and with each request (`--body`).

Why: vLLM takes the last of two equal arguments, so one after `--` could move the server off loopback, load another
model or use more GPUs than the curve names; and what is written into a run's folder must hold no key. So those are
refused, also with underscores for hyphens or cut short, since vLLM (argparse) understands any unique beginning.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bench.redact import has_password, holds_secret, option_of, secret_variable
from hardware_profiles.faults import Fault, InputError

_LOOPBACK = "leave it out: bench starts the server on loopback, at a free port"
_ONE = "one server on one machine is measured"
_PARALLEL = "state it before `--`: --tensor-parallel, --pipeline-parallel or --data-parallel"
_TAKEN = {
    **dict.fromkeys(("--host", "--port", "--uds", "--ssl-keyfile", "--ssl-certfile"), _LOOPBACK),
    **dict.fromkeys(("--model", "--served-model-name"), "state it before `--`: --model, --model-path"),
    **dict.fromkeys(("--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp"), _PARALLEL),
    **dict.fromkeys(("--data-parallel-size", "-dp"), _PARALLEL),
    **dict.fromkeys(("--prefill-context-parallel-size", "-pcp", "--nnodes", "-n"), _ONE),
    "--config": "write its arguments after `--`: what stands in a file would not stand in the curve",
}
"""Options that are ours to state -> the remedy."""
_ORDER = "CUDA_DEVICE_ORDER"

_STATED_FIELDS = {
    *("model", "stream", "stream_options", "prompt", "messages"),
    *("max_tokens", "max_completion_tokens", "n", "return_token_ids"),
}
"""Of a request's body."""

_QUANTISED = {
    "fp8": ("fp8", "fbgemm_fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel", "deepseek_v4_fp8", "mxfp8"),
    "fp4": ("mxfp4", "gpt_oss_mxfp4", "modelopt_fp4", "nvfp4_per_token"),
    "int4": ("awq", "auto_awq", "awq_marlin"),
    "int8": ("int8_per_channel_weight_only", "experts_int8"),
}
_PRECISIONS = {method: precision for precision, methods in _QUANTISED.items() for method in methods}
_BY_LAYER = ("--quantization-config", "--hf-overrides")
"""Options that may quantise in ways of their own: what comes of it is vLLM's to tell."""
_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32"}


@dataclass(frozen=True)
class ServerEnvironment:
    """`--server-env`: values that are stated, and names whose values are taken from our environment at each start."""

    stated: dict[str, str] = field(default_factory=dict)
    passed: tuple[str, ...] = ()


def argument_faults(args: tuple[str, ...], weights: str) -> Iterator[Fault]:
    """What the arguments after `--` may not say."""
    for arg in args:
        option = option_of(arg)
        if holds_secret(arg):
            remedy = "leave it out; a token that vLLM needs comes from the environment: --server-env HF_TOKEN"
            yield Fault("would stand in the run's files", remedy, column="after `--`", value=option or None)
        elif option and (taken := _stands_for(option)):
            yield Fault("is for bench to state", _TAKEN[taken], column="after `--`", value=option)
    if weights == "dummy" and option_value(args, "--load-format") is not None:
        remedy = "leave out one of the two"
        yield Fault("contradicts --weights dummy", remedy, column="after `--`", value="--load-format")
    if weights == "real" and option_value(args, "--load-format") == "dummy":
        yield Fault("makes random weights", "say so: --weights dummy", column="after `--`", value="--load-format dummy")


def _stands_for(option: str) -> str | None:
    """Which of our options vLLM would read in it."""
    if option in _TAKEN:
        return option
    return next((name for name in _TAKEN if name.startswith(option)), None)


def option_value(args: tuple[str, ...], *names: str) -> str | None:
    """The value that vLLM takes for an option: the last one stated; None where it is not stated.

    >>> option_value(("--dtype", "half", "--dtype=auto"), "--dtype"), option_value(("--dtype", "half"), "-q")
    ('auto', None)
    """
    found = None
    for arg, following in zip(args, (*args, "")[1:], strict=True):
        if option_of(arg) in names:
            _, equals, value = arg.partition("=")
            found = value if equals else following
    return found


def precision_of(quantization: str | None, dtype: str | None) -> str | None:
    """The weights' precision by vLLM's `quantization` and `dtype`; None where they do not settle it (gptq, auto, ...).

    >>> precision_of("fp8", "bfloat16"), precision_of(None, "torch.bfloat16"), precision_of("compressed-tensors", None)
    ('fp8', 'bf16', None)
    """
    if quantization not in (None, "None"):
        return _PRECISIONS.get(quantization)
    return _DTYPES.get((dtype or "").removeprefix("torch."))


def precision_served(args: tuple[str, ...], holds: str | None) -> str | None:
    """The precision at which weights stored in `holds` are served with these arguments; None: not known.

    >>> precision_served(("-q", "fp8"), "bf16"), precision_served(("--dtype", "half"), "bf16")
    ('fp8', 'fp16')
    """
    quantization = option_value(args, "--quantization", "-q")
    if quantization is not None:
        return precision_of(quantization, None)
    if any(option_of(arg).startswith(_BY_LAYER) for arg in args):
        return None
    if holds in _DTYPES.values():
        return precision_of(None, option_value(args, "--dtype")) or holds
    return holds


def server_environment(texts: tuple[str, ...], outer: Mapping[str, str] = os.environ) -> ServerEnvironment:
    """`NAME=VALUE` and `NAME`; `InputError` with every fault: a key may be named, never stated."""
    stated: dict[str, str] = {}
    passed: list[str] = []
    faults: list[Fault] = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            what, remedy = "not NAME or NAME=VALUE", "write NAME=VALUE, or NAME to hand on its value"
            faults.append(Fault(what, remedy, column="--server-env", value=name))
        elif name == _ORDER:
            remedy = "leave it out: it is PCI_BUS_ID, the order in which the driver counts"
            faults.append(Fault("is for bench to state", remedy, column="--server-env", value=name))
        elif equals and (secret_variable(name) or has_password(value)):
            what, remedy = "its value would stand in the run's files", f"export it and write --server-env {name}"
            faults.append(Fault(what, remedy, column="--server-env", value=name))
        elif equals:
            stated[name] = value
        elif name in outer:
            passed.append(name)
        else:
            faults.append(Fault(*not_set(name), column="--server-env", value=name))
    if faults:
        raise InputError(*faults)
    return ServerEnvironment(stated, tuple(passed))


def not_set(name: str) -> tuple[str, str]:
    """What to say of a variable that is to be handed on and is not there, and the remedy."""
    return "this environment variable is not set", f"export {name}, or leave it out"


def body_fields(texts: tuple[str, ...]) -> dict[str, object]:
    """`NAME=VALUE` of request bodies, values as JSON where they are; `InputError` for what is ours to state, or secret.

    >>> body_fields(("temperature=0", "reasoning_effort=low", 'extra={"a": [1]}'))
    {'temperature': 0, 'reasoning_effort': 'low', 'extra': {'a': [1]}}
    """
    found: dict[str, object] = {}
    faults: list[Fault] = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            faults.append(Fault("not NAME=VALUE", "write it like temperature=0", column="--body", value=name))
        elif name in _STATED_FIELDS:
            faults.append(Fault("is for bench to state", "leave it out", column="--body", value=name))
        elif holds_secret(f"--{name}") or holds_secret(value):
            remedy = "leave it out; the endpoint's key is sent by --key-env"
            faults.append(Fault("would stand in the run's files", remedy, column="--body", value=name))
        else:
            found[name] = _json_or_text(value)
    if faults:
        raise InputError(*faults)
    return found


def _json_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
