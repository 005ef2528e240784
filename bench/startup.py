"""What vLLM's own log says of its start: how the model is split, at which precision, and what its memory goes to.

Why: a precision or a number of GPUs in a curve is worth what the server confirms, and the memory that the driver shows
is no measurement, because vLLM reserves a share of the card whatever the model needs. How: three lines of the log, the
last of each, in the words of vLLM 0.11 to 0.32 (`v1/engine/core.py`, `v1/worker/gpu_model_runner.py`,
`v1/worker/gpu_worker.py`); what a log does not say is None. The first process of a machine speaks for all: its numbers
are those of one GPU.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bench.passed import precision_of
from bench.server_log import ServerLog
from hardware_profiles.curve import Positive, Value
from hardware_profiles.faults import Fault

_ENGINE = re.compile(r"Initializing a V1 LLM engine \(.*? with config: (.*)")
_WEIGHTS = re.compile(r"Model loading took ([\d.]+) (?:GiB|GB)\b")
_KV_CACHE = re.compile(r"Available KV cache memory: ([\d.]+) GiB")


class StartUp(Value):
    """What the server said while it started; None where it said nothing."""

    quantization: str | None = None
    """vLLM's name of the method; `None` as text where weights are not quantised."""
    dtype: str | None = None
    gpus: int | None = None
    """Tensor x pipeline x data parallel."""
    weights_gib_per_gpu: Positive | None = None
    kv_cache_gib_per_gpu: Positive | None = None

    @property
    def precision(self) -> str | None:
        """The weights' precision; None where the method's name does not settle it."""
        return precision_of(self.quantization, self.dtype) if self.quantization else None


def read_start_up(log: ServerLog) -> StartUp:
    """What the log of the server's start says."""
    text = log.text()
    config = _last(_ENGINE, text) or ""
    split = [re.search(rf"\b{way}_parallel_size=(\d+)", config) for way in ("tensor", "pipeline", "data")]
    gpus = 1
    for found in split:
        gpus *= int(found[1]) if found else 0
    return StartUp(
        quantization=_last(re.compile(r"\bquantization=([\w-]+)"), config),
        dtype=_last(re.compile(r"\bdtype=([\w.]+)"), config),
        gpus=gpus or None,
        weights_gib_per_gpu=_number(_last(_WEIGHTS, text)),
        kv_cache_gib_per_gpu=_number(_last(_KV_CACHE, text)),
    )


def contradictions(start_up: StartUp, precision: str | None, gpus: int) -> Iterator[Fault]:
    """Where the server's own word is not what the curve would say."""
    said = start_up.precision
    if said is not None and precision is not None and said != precision:
        what = f"vLLM serves it in {said} (quantization={start_up.quantization}, dtype={start_up.dtype})"
        way = f"name weights in {precision} with --model-path, or let vLLM convert them: `-- --quantization METHOD`"
        remedy = f"ask for --precision {said}; {way}"
        yield Fault(what, remedy, column="--precision", value=precision)
    elif said is None and start_up.quantization and precision in ("bf16", "fp16", "fp32"):
        what = f"vLLM serves quantised weights (quantization={start_up.quantization})"
        remedy = "ask for the --precision of these weights, or leave out what quantises them"
        yield Fault(what, remedy, column="--precision", value=precision)
    if start_up.gpus is not None and start_up.gpus != gpus:
        what, remedy = f"vLLM uses {start_up.gpus} of them", "look for what says so in its environment"
        yield Fault(what, remedy, column="--gpus", value=str(gpus))


def _last(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.findall(text)
    return str(found[-1]) if found else None


def _number(text: str | None) -> float | None:
    return float(text) or None if text else None
