"""What vLLM's log says of its start; the lines are those of real logs, shortened."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.server_log import ServerLog, log_here
from bench.startup import StartUp, contradictions, read_start_up

H100 = """\
(EngineCore pid=7) INFO 05-21 21:03:20 [core.py:109] Initializing a V1 LLM engine (v0.24.0) with config: \
model='org/x', speculative_config=None, tokenizer='org/x', dtype=torch.bfloat16, max_seq_len=8192, load_format=auto, \
tensor_parallel_size=2, pipeline_parallel_size=1, data_parallel_size=2, decode_context_parallel_size=1, \
disable_custom_all_reduce=False, quantization={quantization}, quantization_config=None, enforce_eager=False, \
kv_cache_dtype=auto, device_config=cuda, compilation_config={{'mode': 3}}
(Worker_TP0 pid=9) INFO 05-21 21:03:59 [gpu_model_runner.py:4879] Model loading took {weights} and 31.657031 seconds
(EngineCore pid=7) INFO 05-21 21:04:20 [gpu_worker.py:436] Available KV cache memory: 56.02 GiB
"""


def log_of(tmp_path: Path, text: str) -> StartUp:
    log = tmp_path / "server.log"
    log.write_text(text)
    return read_start_up(ServerLog(log))


@pytest.mark.parametrize("weights", ["12.66 GiB memory", "12.66 GiB"])
def test_a_gpu_servers_memory_is_its_weights_and_its_cache(tmp_path: Path, weights: str) -> None:
    """Per GPU, by its own account, in the words of newer and older versions."""
    found = log_of(tmp_path, H100.format(quantization="fp8", weights=weights))
    assert (found.weights_gib_per_gpu, found.kv_cache_gib_per_gpu, found.gpus) == (12.66, 56.02, 4)
    assert found.precision == "fp8"


@pytest.mark.parametrize(
    ("quantization", "precision"),
    [("None", "bf16"), ("fp8", "fp8"), ("gpt_oss_mxfp4", "fp4"), ("awq_marlin", "int4"), ("compressed-tensors", None)],
)
def test_the_precision_is_what_was_loaded(tmp_path: Path, quantization: str, precision: str | None) -> None:
    """A method that stores several precisions settles none."""
    assert log_of(tmp_path, H100.format(quantization=quantization, weights="1 GiB")).precision == precision


def test_the_last_start_counts(tmp_path: Path) -> None:
    """A resumed run adds to the log: what the start before said, and this one does not, is not known."""
    log = tmp_path / "server.log"
    log.write_text(H100.format(quantization="None", weights="16 GiB"))
    here = log_here(log)
    with log.open("a") as file:
        file.write(H100.format(quantization="fp8", weights="8.5 GiB").replace("Available KV", "no KV"))
    found = read_start_up(here)
    assert (found.precision, found.weights_gib_per_gpu, found.kv_cache_gib_per_gpu) == ("fp8", 8.5, None)


def test_a_log_that_says_nothing_is_unknown(tmp_path: Path) -> None:
    """Another engine's words, or no log."""
    assert log_of(tmp_path, "ready\n") == StartUp() == read_start_up(log_here(tmp_path / "none"))
    assert StartUp().precision is None
    assert not list(contradictions(StartUp(), "fp8", 4))


def test_the_servers_word_against_the_curves(tmp_path: Path) -> None:
    """Another precision or another number of GPUs is a fault; the same, or none promised, is not."""
    found = log_of(tmp_path, H100.format(quantization="None", weights="1 GiB"))
    assert not list(contradictions(found, "bf16", 4))
    assert not list(contradictions(found, None, 4))
    precision, gpus = contradictions(found, "fp8", 1)
    assert (precision.column, precision.what) == (
        "--precision",
        "vLLM serves it in bf16 (quantization=None, dtype=torch.bfloat16)",
    )
    assert (gpus.column, gpus.what) == ("--gpus", "vLLM uses 4 of them")


def test_quantised_weights_are_not_called_bf16(tmp_path: Path) -> None:
    """A method that stores several precisions contradicts none of them, but it does contradict bf16."""
    found = log_of(tmp_path, H100.format(quantization="compressed-tensors", weights="1 GiB"))
    assert not list(contradictions(found, "fp8", 4))
    (fault,) = contradictions(found, "bf16", 4)
    assert fault.what == "vLLM serves quantised weights (quantization=compressed-tensors)"
