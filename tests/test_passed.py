"""What may be handed on to vLLM, at which precision it then serves, and what is written down of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from bench.asked import Asked, make_plan
from bench.passed import ServerEnvironment, server_environment
from bench.plan import Found, RunFile, RunPlan, write_run
from bench.redact import redacted
from bench.server import environment
from hardware_profiles.curve import Gpu
from hardware_profiles.faults import InputError


def plan_of(**options: object) -> RunPlan:
    asked = Asked(**({"model": "llama-3.1-8b", "gpu": "h200"} | options))  # type: ignore[arg-type]
    return make_plan(asked, Path("/runs/x"), (0,))[0]


def told(**options: object) -> list[tuple[str | None, str | None, str]]:
    with pytest.raises(InputError) as caught:
        plan_of(**options)
    return [
        (fault.column, None if fault.value is None else str(fault.value), fault.what) for fault in caught.value.faults
    ]


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (("--port", "9000"), "--port"),
        (("--host=0.0.0.0",), "--host"),
        (("--served_model_name", "x"), "--served-model-name"),
        (("--tensor_parallel_size=2",), "--tensor-parallel-size"),
        (("--tensor-par", "2"), "--tensor-par"),
        (("-dp", "2"), "-dp"),
        (("-pp=2",), "-pp"),
        (("-t", "2"), "-t"),
        (("--prefill-context-parallel-size", "2"), "--prefill-context-parallel-size"),
        (("--config", "mine.yaml"), "--config"),
    ],
)
def test_what_bench_states_cannot_be_stated_again(args: tuple[str, ...], option: str) -> None:
    """vLLM takes the last of two: address, model and number of GPUs would not be those of the curve."""
    assert told(server_args=args) == [("after `--`", option, "is for bench to state")]


def test_options_that_only_begin_alike_are_handed_on() -> None:
    """What is longer than an option of ours, or a value that looks like one, is the user's."""
    args = ("--model-impl", "auto", "--data-parallel-backend", "mp", "--max-num-batched-tokens", "8192", "--seed", "-1")
    server = plan_of(server_args=args).server
    assert server is not None
    assert server.args == args


def test_a_load_format_must_agree_with_the_weights() -> None:
    """Other loaders of real weights are the user's choice; random weights are asked for by --weights."""
    assert told(server_args=("--load-format", "dummy"))[0][2] == "makes random weights"
    assert told(weights="dummy", server_args=("--load-format=auto",))[0][2] == "contradicts --weights dummy"
    assert plan_of(server_args=("--load-format", "runai_streamer")).server is not None


@pytest.mark.parametrize(
    "args",
    [
        ("--api-key", "sk-SECRET"),
        ("--hf_token", "hf_SECRET"),
        ("--hf-token=hf_SECRET",),
        ("--model-loader-extra-config.token", "SECRET"),
        ("--kv-transfer-config", '{"access_key": "SECRET"}'),
        ("--tokenizer", "https://me:SECRET@h/x"),
    ],
)
def test_no_key_is_taken_as_an_argument(args: tuple[str, ...]) -> None:
    """It would stand in run.json; the fault does not repeat it."""
    with pytest.raises(InputError, match=r"would stand in the run's files.*--server-env HF_TOKEN") as caught:
        plan_of(server_args=args)
    assert "SECRET" not in str(caught.value)


def test_a_key_is_handed_on_by_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its value reaches the server at each start and no file; without it the next start says so."""
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET")
    plan = plan_of(server_env=("HF_TOKEN", "TOKENIZERS_PARALLELISM=false"), weights="dummy")
    gpu = Gpu(name="h200-141gb-sxm", count=1)
    write_run(RunFile(plan=plan, found=Found(gpu=gpu, engine="vllm", engine_version=None), started_at="x"), tmp_path)
    assert "SECRET" not in (tmp_path / "run.json").read_text()
    assert plan.server is not None
    seen = environment(plan.server, {"HF_TOKEN": "hf_SECRET"})
    assert (seen["HF_TOKEN"], seen["TOKENIZERS_PARALLELISM"]) == ("hf_SECRET", "false")
    with pytest.raises(InputError) as caught:
        environment(plan.server, {})
    assert str(caught.value) == (
        "column '--server-env', value 'HF_TOKEN': this environment variable is not set. "
        "Remedy: export HF_TOKEN, or leave it out."
    )


def test_a_key_with_its_value_is_refused() -> None:
    """Every fault at once, none with the value."""
    texts = ("HF_TOKEN=SECRET", "PROXY=http://me:SECRET@h", "NOT_SET", "1=2", "CUDA_DEVICE_ORDER=FASTEST_FIRST")
    with pytest.raises(InputError) as caught:
        server_environment((*texts, "A=b=c"), {})
    assert [(fault.value, fault.what) for fault in caught.value.faults] == [
        ("HF_TOKEN", "its value would stand in the run's files"),
        ("PROXY", "its value would stand in the run's files"),
        ("NOT_SET", "this environment variable is not set"),
        ("1", "not NAME or NAME=VALUE"),
        ("CUDA_DEVICE_ORDER", "is for bench to state"),
    ]
    assert "SECRET" not in str(caught.value)
    assert server_environment(("A=b=c",), {}) == ServerEnvironment({"A": "b=c"}, ())


def test_stored_arguments_hold_no_path_of_this_machine() -> None:
    """Absolute paths lose their folders, in JSON values too; addresses, names and shares of one stay."""
    args = ("--download-dir", "/home/me/weights", "--chat-template=/srv/a b/c.jinja", "--x", '{"p": "/home/me/a.json"}')
    assert redacted(args) == ("--download-dir", "weights", "--chat-template=a b/c.jinja", "--x", '{"p": "a.json"}')
    kept = ("--tokenizer", "meta-llama/Llama-3.1-8B", "--y", "https://h/a/b", "--gpu-memory-utilization", "0.9")
    assert redacted(kept) == kept


def test_stored_arguments_hold_no_key() -> None:
    """Underscores for hyphens, keys inside JSON values."""
    args = ("--hf_token", "SECRET", "--kv-transfer-config", '{"api_key": "SECRET", "role": "both"}')
    assert redacted(args) == ("--hf_token", "***", "--kv-transfer-config", '{"api_key": "***", "role": "both"}')


# precision ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "precision", "args"),
    [
        ({}, "bf16", ()),
        ({"precision": "fp8"}, "fp8", ("--quantization", "fp8")),
        ({"model": "llama-3.1-8b-fp8"}, "fp8", ("--quantization", "fp8")),
        ({"precision": "fp16"}, "fp16", ("--dtype", "float16")),
        ({"server_args": ("-q", "fp8")}, "fp8", ("-q", "fp8")),
        ({"server_args": ("--dtype=half",)}, "fp16", ("--dtype=half",)),
    ],
)
def test_random_weights_are_served_at_the_precision_of_the_curve(
    options: dict[str, object], precision: str, args: tuple[str, ...]
) -> None:
    """They are made in bf16, so vLLM is told what the curve will say."""
    plan = plan_of(weights="dummy", **options)
    assert plan.server is not None
    assert plan.precision == precision
    assert [arg for arg in plan.server.args if arg != "--skip-tokenizer-init"] == list(args)


def test_a_cpu_server_is_told_one_dtype() -> None:
    """The default for processors gives way to the precision that was asked for."""
    for precision, dtype in ((None, "bfloat16"), ("fp16", "float16")):
        server = plan_of(model="tiny", gpu="cpu", precision=precision).server
        assert server is not None
        assert [b for a, b in pairwise(server.args) if a == "--dtype"] == [dtype]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"weights": "dummy", "precision": "int4"}, ("int4", "these random weights are bf16")),
        (
            {"weights": "dummy", "precision": "bf16", "server_args": ("--quantization", "fp8")},
            ("bf16", "these random weights are fp8"),
        ),
        ({"precision": "fp8"}, ("fp8", "meta-llama/Llama-3.1-8B-Instruct is served in bf16")),
        ({"model": "llama-3.1-8b-fp8"}, ("fp8", "meta-llama/Llama-3.1-8B-Instruct is served in bf16")),
        ({"model": "gpt-oss-20b", "precision": "bf16"}, ("bf16", "openai/gpt-oss-20b is served in fp4")),
        (
            {"model_path": "org/repo", "precision": "bf16", "server_args": ("-q", "fp8")},
            ("bf16", "`--quantization` makes it fp8"),
        ),
    ],
)
def test_a_precision_that_is_not_served_is_refused(options: dict[str, object], fault: tuple[str, str]) -> None:
    """Before anything is started, where it can be known."""
    assert told(**options) == [("--precision", *fault)]


def test_a_precision_that_only_vllm_can_tell_is_left_open() -> None:
    """A repository of the user's: unless it was asked for or named, what is loaded will tell."""
    assert plan_of(model_path="org/repo").precision is None
    assert plan_of(model_path="org/repo-FP8-dynamic").precision == "fp8"
    assert plan_of(model_path="org/repo", precision="int8").precision == "int8"
    assert plan_of(model_path="org/repo", server_args=("--quantization", "fp8")).precision == "fp8"
    assert (plan_of(model="deepseek-v3").precision, plan_of(model="gpt-oss-20b").precision) == ("fp8", "fp4")
    by_layer = ("--quantization-config.linear", "fp8_per_block_static")
    assert plan_of(weights="dummy", server_args=by_layer).precision is None
    converted = plan_of(precision="fp8", server_args=("--quantization", "fp8"))
    assert converted.precision == "fp8"


# how many GPUs ------------------------------------------------------------------------------------------------------


def test_every_gpu_that_is_named_serves() -> None:
    """The product of the three ways to split a model is the number of GPUs; what is not stated is tensor parallel."""
    assert told(tensor_parallel=2) == [("--gpus", "1", "tensor x pipeline x data parallel is 2")]
    assert told(gpu_count=4, tensor_parallel=1) == [("--gpus", "4", "tensor x pipeline x data parallel is 1")]
    assert told(gpu_count=3, data_parallel=2) == [("--gpus", "3", "tensor x pipeline x data parallel is 2")]
    plan = plan_of(gpu_count=8, pipeline_parallel=2, data_parallel=2)
    assert plan.server is not None
    assert (plan.tensor_parallel, plan.pipeline_parallel, plan.data_parallel) == (2, 2, 2)
    assert plan.server.args == (
        *("--tensor-parallel-size", "2", "--pipeline-parallel-size", "2", "--data-parallel-size", "2"),
    )


# models that cannot be asked so -------------------------------------------------------------------------------------


def test_chat_needs_a_tokenizer() -> None:
    """Our random-weight folders have none, so a chat would fail request by request."""
    what = "chat needs a tokenizer, and this model has none"
    assert told(weights="dummy", api="chat") == [("--api", "chat", what)]
    assert plan_of(api="chat").target.api == "chat"


def test_nothing_is_handed_to_a_server_that_is_not_started() -> None:
    """With --endpoint, arguments and environment would be ignored."""
    what = "nothing is started where --endpoint is given"
    found = told(endpoint="http://127.0.0.1:1", server_args=("--quantization", "fp8"), server_env=("A=b",))
    assert found == [("after `--`", "--quantization", what), ("--server-env", "A", what)]


def test_random_weights_are_made_from_no_repository() -> None:
    """A repository beside --weights dummy was ignored: the curve would have named another model."""
    what = "is no folder here, and random weights need a config.json"
    assert told(weights="dummy", model_path="org/other") == [("--model-path", "org/other", what)]


def test_every_fault_of_a_run_is_told_at_once() -> None:
    """GPU, model, split, arguments and environment."""
    faults = told(
        gpu="a1000", model="lama-3.1", gpu_count=2, tensor_parallel=1, server_args=("--port", "1"), server_env=("=",)
    )
    assert [column for column, _, _ in faults] == ["--gpus", "after `--`", None, None, "--server-env"]
