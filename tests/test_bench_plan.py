"""What was typed, what will be run, and the folders it needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.asked import Asked, endpoint_warning, make_plan
from bench.driver import Target
from bench.model_folder import HUB, dummy_config, vocabulary
from bench.plan import (
    Found,
    RunFile,
    RunPlan,
    check_window,
    default_shapes,
    label,
    machine_id,
    parse_shape,
    read_run,
    stage,
    write_run,
)
from bench.prompts import Fixed, LogNormal, Range, Trace, longest
from bench.tiny_model import CONFIG, write_tiny_model
from hardware_profiles.curve import Gpu
from hardware_profiles.facts import models
from hardware_profiles.faults import InputError


def fault(text: str) -> pytest.RaisesExc[InputError]:
    """The whole text of one fault."""
    return pytest.raises(InputError, check=lambda error: str(error) == text)


@pytest.mark.parametrize(
    ("text", "law", "name"),
    [
        ("1024/256", Range(input_low=922, input_high=1126, output_low=230, output_high=282), "1024x256"),
        ("=100/20", Fixed(input_tokens=100, output_tokens=20), "100x20"),
        ("900-1100/100-200", Range(input_low=900, input_high=1100, output_low=100, output_high=200), "1000x150"),
    ],
)
def test_shapes_are_read(text: str, law: Fixed | Range, name: str) -> None:
    """About, exactly, and from a range; the label is the mean."""
    assert parse_shape(text) == law
    assert label(law) == name


def test_a_shape_from_a_file(tmp_path: Path) -> None:
    """Pairs as they were seen."""
    path = tmp_path / "pairs.csv"
    path.write_text("input_tokens,output_tokens\n10,2\n30,4\n")
    law = parse_shape(f"csv:{path}")
    assert law.law == "empirical"
    assert law.pairs == ((10, 2), (30, 4))


def test_bad_shapes_name_the_remedy() -> None:
    """Zero tokens, ranges the wrong way round, and what is no shape."""
    form = "write 1024/256, =1024/256, 900-1100/200-300, lognormal:800,0.7,8192/200,0.5,1024, csv:FILE or trace:FILE"
    with fault(f"column '--shape', value '1k/1k': not a shape. Remedy: {form}."):
        parse_shape("1k/1k")
    remedy = "Remedy: write input/output tokens from 1 up, like 1024/256."
    with fault(f"value '=0/5': Input should be greater than or equal to 1. {remedy}"):
        parse_shape("=0/5")
    with fault(f"value '9-5/1-2': a range's high is below its low. {remedy}"):
        parse_shape("9-5/1-2")


def test_default_shapes_fit_any_window() -> None:
    """1k/1k, 8k/1k and 1k/8k where they fit; scaled by one factor where the window is smaller."""
    assert [label(law) for law in default_shapes(None)] == ["1024x1024", "8192x1024", "1024x8192"]
    assert default_shapes(131072) == default_shapes(None)
    for window in (256, 2048, 8192):
        scaled = default_shapes(window)
        check_window(scaled, window)
        assert max(sum(longest(law)) for law in scaled) > 0.9 * window


def test_a_shape_too_long_for_the_window_is_a_fault() -> None:
    """Before anything is sent, with the label that was meant."""
    text = (
        "column '--shape', value '100x60': a request of up to 176 tokens does not fit the server's window of 175. "
        "Remedy: ask for a smaller --shape or a larger --max-model-len."
    )
    with fault(text):
        check_window((parse_shape("100/60"),), 175)
    check_window((parse_shape("100/60"),), 176)


def plan_of(**options: object) -> RunPlan:
    return make_plan(Asked(**({"model": "tiny", "gpu": "cpu"} | options)), Path("/runs/x"), (0, 1, 2, 3))[0]  # type: ignore[arg-type]


def test_a_cpu_run_keeps_client_and_server_apart() -> None:
    """The tiny model is random, served from the run's folder, on cores that the client does not use."""
    plan = plan_of(server_args=("--seed", "1"), server_env=("A=b=c",))
    assert plan.server is not None
    assert (plan.server.cpus, plan.client_cpus) == ((0, 1, 2), (3,))
    assert plan.server.model == "/runs/x/model/tiny"
    assert plan.server.environment == {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "0,1,2", "A": "b=c"}
    assert plan.server.args == ("--dtype", "bfloat16", "--enforce-eager", "--max-model-len", "4096", "--seed", "1")
    assert (plan.weights, plan.precision, plan.target.vocab_size, plan.target.url) == ("dummy", "bf16", 256, "")
    assert "/runs" not in json.dumps(plan.server.shown_args())


def test_stated_loads_are_held_in_rising_order_once_each() -> None:
    """However they were typed; without any, loads double."""
    assert (plan_of(loads=(64, 8, 64)).loads, plan_of().loads) == ((8, 64), ())


def test_a_gpu_run_loads_the_weights_of_our_name() -> None:
    """`llama-3-8b` is taken as the entry it stands in for, and said so; a GPU server is not pinned."""
    plan = plan_of(model="llama-3-8b", gpu="a100", gpu_count=2)
    assert plan.server is not None
    assert (plan.model, plan.model_source, plan.gpu) == ("llama-3.1-8b", HUB["llama-3.1-8b"], "a100-80gb-sxm")
    assert plan.server.args == ("--tensor-parallel-size", "2")
    assert (plan.server.cpus, plan.client_cpus, plan.target.vocab_size) == ((), (), 128256)
    assert [note.split(" is taken as ")[0] for note in plan.notes] == ["'a100'", "'llama-3-8b'"]


def test_dummy_weights_make_a_folder_later(tmp_path: Path) -> None:
    """Planning writes nothing; making writes the configuration that the facts determine, without a tokenizer."""
    plan, make = make_plan(Asked(model="qwen3-8b", gpu="h100", weights="dummy"), tmp_path, (0,))
    assert plan.server is not None
    assert not list(tmp_path.iterdir())
    assert make is not None
    make()
    folder = tmp_path / "model" / "qwen3-8b"
    assert plan.server.model == str(folder)
    assert plan.server.args == ("--skip-tokenizer-init",)
    assert vocabulary(folder) == 151936
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["Qwen3ForCausalLM"]


def test_parameters_of_the_dummy_configuration_are_the_models() -> None:
    """Counted from the configuration, the parameters of every dense model agree with its facts within 0.1 %."""
    counted = 0
    for facts in models().values():
        try:
            config = dummy_config(facts)
        except InputError:
            continue
        layers, hidden, heads, kv, dim, inner, vocab = (
            config[key]
            for key in (
                "num_hidden_layers",
                "hidden_size",
                "num_attention_heads",
                "num_key_value_heads",
                "head_dim",
                "intermediate_size",
                "vocab_size",
            )
        )
        attention = hidden * dim * (2 * heads + 2 * kv)  # type: ignore[operator]
        embeddings = vocab * hidden * (1 if config["tie_word_embeddings"] else 2)  # type: ignore[operator]
        total = layers * (attention + 3 * hidden * inner) + embeddings  # type: ignore[operator]
        assert total == pytest.approx(facts.parameters_billion * 1e9, rel=1e-3), facts.name
        counted += 1
    assert counted >= 10


def test_a_mixture_of_experts_has_no_dummy() -> None:
    """Random routing is uniform: refused, with the way on."""
    text = (
        "value 'mixtral-8x7b': random weights cannot stand for this model: they are made for dense Llama, Mistral and "
        "Qwen models only. Remedy: give a folder with its config.json: --model-path DIR."
    )
    with fault(text):
        plan_of(model="mixtral-8x7b", gpu="h100", weights="dummy")


def test_a_folder_is_loaded_as_it_is(tmp_path: Path) -> None:
    """Its path reaches the server and nothing that a curve stores."""
    write_tiny_model(tmp_path / "my-model")
    plan = plan_of(model=str(tmp_path / "my-model"), gpu="h100")
    assert plan.server is not None
    assert (plan.model, plan.model_source, plan.target.vocab_size) == (
        "my-model",
        "folder my-model",
        CONFIG["vocab_size"],
    )
    assert plan.server.model == str(tmp_path / "my-model")
    assert plan.server.shown_args()[:2] == ("--model", "my-model")


def test_an_endpoint_starts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The served name is asked for, our name stands in the curve, the key is only named."""
    monkeypatch.setenv("MY_KEY", "very-secret")
    plan = plan_of(
        model="meta-llama/Llama-3.1-8B-Instruct", gpu="h100", endpoint="https://h:1/v1/", api="chat", key_env="MY_KEY"
    )
    assert plan.server is None
    assert plan.weights is None
    assert plan.precision is None
    assert plan.target == Target(
        url="https://h:1", model="meta-llama/Llama-3.1-8B-Instruct", api="chat", key_env="MY_KEY"
    )
    assert "very-secret" not in plan.model_dump_json()


def test_bad_endpoints_and_keys_are_faults() -> None:
    """No address with a key in it is taken, nor echoed; a key that is not there is said."""
    remedy = "Remedy: write http://host:port or https://host, no key in it."
    for url in ("ftp://h", "h:80", "https://u:secret@h", "https://h?key=secret"):
        with fault(f"column '--endpoint': not the address of an endpoint. {remedy}"):
            plan_of(endpoint=url)
    text = "column '--key-env', value 'NO_SUCH': this environment variable is not set. "
    text += "Remedy: export the endpoint's key in it."
    with fault(text):
        plan_of(endpoint="http://h", key_env="NO_SUCH")


def test_every_bad_option_is_told_at_once() -> None:
    """An unknown precision, an unknown API and a stage that is all warm-up are three faults."""
    with pytest.raises(InputError) as caught:
        plan_of(precision="int3", api="grpc", stage_s=5, warm_up_s=5)
    assert [(found.column, found.value) for found in caught.value.faults] == [
        ("--precision", "int3"),
        ("--api", "grpc"),
        ("--warm-up-seconds", None),
    ]


def test_an_unknown_gpu_and_an_unknown_model_are_told_at_once() -> None:
    """Both names, each with its near ones."""
    with pytest.raises(InputError) as caught:
        plan_of(model="lama-3.1-8b", gpu="a1000")
    assert [found.value for found in caught.value.faults] == ["a1000", "lama-3.1-8b"]


def test_plain_http_beyond_this_machine_warns() -> None:
    """Prompts and keys travel in the open there, and only there."""
    assert endpoint_warning("http://127.0.0.1:1") is None
    assert endpoint_warning("https://h") is None
    assert endpoint_warning("http://h") == "h is asked over plain HTTP: prompts and any key travel unencrypted"


def found(**changes: object) -> Found:
    base = {"gpu": Gpu(name="cpu", count=1), "engine": "vllm", "engine_version": "1", "block_tokens": 128}
    return Found.model_validate(base | changes)


def test_unlike_conditions_are_named() -> None:
    """Another engine version or GPU is unlike; another idle power is not."""
    assert found().unlike(found(gpu=Gpu(name="cpu", count=1, idle_power_w=70))) == ()
    assert found().unlike(found(engine_version="2", gpu=Gpu(name="cpu", count=2))) == ("gpu", "engine_version")


def test_a_run_file_reads_back(tmp_path: Path) -> None:
    """What is written is what is read; another file is a fault."""
    run = RunFile(plan=plan_of(shapes=("=10/5",)), found=found(), started_at="2026-11-20T00:00:00+00:00")
    write_run(run, tmp_path)
    assert read_run(tmp_path) == run
    remedy = "Remedy: name the folder of a `bench run` (.bench/<name>)."
    with fault(f"{tmp_path}/no/run.json: cannot be read (No such file or directory). {remedy}"):
        read_run(tmp_path / "no")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="Invalid JSON"):
        read_run(tmp_path)


def test_stages_of_one_shape_share_their_seed() -> None:
    """Two rates differ by rate and not by luck; another batch is another seed; names tell all of it apart."""
    plan = plan_of(shapes=("=100/20", "=50/20"), stage_s=30, warm_up_s=2, cached_share=0.5, seed=3)
    rates = [stage(plan, found(), 1, rate_per_s=rate) for rate in (1.5, 2.0)]
    other = stage(plan, found(), 1, rate_per_s=1.5, batch=1)
    assert rates[0].seed == rates[1].seed != other.seed
    assert [one.name for one in (*rates, other)] == [
        "shape-1-50x20-rate-1.5-0",
        "shape-1-50x20-rate-2-0",
        "shape-1-50x20-rate-1.5-1",
    ]
    assert [(one.cap_s, one.min_requests) for one in rates] == [(120.0, 1000), (120.0, 1000)]
    level = stage(plan, found(), 0, load=4)
    assert (level.name, level.load, level.cap_s, level.warm_up_s) == ("shape-0-100x20-load-4", 4, 30, 2)
    assert (level.block_tokens, level.cached_share) == (128, 0.5)


def test_the_machines_id_tells_nothing(tmp_path: Path) -> None:
    """It is stable, differs by machine and by salt, and holds no name; without a machine id it is unknown."""
    (tmp_path / "machine-id").write_text("abc\n")
    (tmp_path / "other-id").write_text("abd\n")
    state = tmp_path / "state"
    first = machine_id(state, tmp_path / "machine-id")
    assert first == machine_id(state, tmp_path / "machine-id")
    assert first != machine_id(state, tmp_path / "other-id")
    assert first != machine_id(tmp_path / "state2", tmp_path / "machine-id")
    assert first is not None
    assert len(first) == 16
    assert (state / "salt").stat().st_mode & 0o77 == 0
    assert machine_id(state, tmp_path / "none") is None


def test_every_law_of_lengths_can_be_asked_for(tmp_path: Path) -> None:
    """Log-normal by medians, sigmas and largest; a trace by its file."""
    assert parse_shape("lognormal:800,0.7,8192/200,0.5,1024") == LogNormal(
        input_median=800, input_sigma=0.7, input_max=8192, output_median=200, output_sigma=0.5, output_max=1024
    )
    (tmp_path / "t.csv").write_text("time_s,input_tokens,output_tokens\n5,10,20\n6.5,30,40\n")
    assert parse_shape(f"trace:{tmp_path / 't.csv'}") == Trace(rows=((0.0, 10, 20), (1.5, 30, 40)))
    remedy = "Remedy: write input/output tokens from 1 up, like 1024/256."
    with fault(f"value 'lognormal:0,1,5/1,1,1': Input should be greater than 0. {remedy}"):
        parse_shape("lognormal:0,1,5/1,1,1")


def test_a_trace_is_one_stage_as_long_as_it_is() -> None:
    """At its own times, to a second after its last row, half of a short one warming up."""
    law = Trace(rows=((0.0, 10, 20), (7.0, 30, 40)))
    plan = plan_of(stage_s=60, warm_up_s=10).model_copy(update={"shapes": (law,)})
    replay = stage(plan, found(), 0)
    assert (replay.mode, replay.arrivals.law, replay.rate_per_s, replay.cap_s, replay.warm_up_s) == (
        *("open", "trace", None, 8.0, 4.0),
    )
    assert replay.name.startswith("shape-0-")
    assert replay.name.endswith("-trace")


def test_the_law_of_arrivals_and_the_turns_reach_their_stages() -> None:
    """Arrivals the open loop, turns and thinking the closed one; conversations leave the open loop out."""
    talks = plan_of(shapes=("=100/20",), turns="2-4", think_s=1.5)
    bursts = plan_of(shapes=("=100/20",), arrivals="gamma:2", think_s=1.5)
    level, rate = stage(talks, found(), 0, load=2), stage(bursts, found(), 0, rate_per_s=2.0)
    assert (level.turns, level.think_s, level.arrivals.law) == ((2, 4), 1.5, "poisson")
    assert (rate.turns, rate.think_s, rate.arrivals.law, rate.arrivals.cv) == ((1, 1), 0.0, "gamma", 2.0)
    assert (talks.searches, plan_of().searches, plan_of(rate_search=False).searches) == (False, True, False)
    assert plan_of(rate_search=False, rates_per_s=(2.0,)).searches


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"arrivals": "gamma"},
            "column '--arrivals', value 'gamma': not a law of arrivals. Remedy: write poisson, constant or gamma:2.",
        ),
        ({"turns": "4-2"}, "column '--turns', value '4-2': not a number of turns. Remedy: write 4 or 2-6."),
    ],
)
def test_bad_laws_name_the_remedy(changes: dict[str, str], told: str) -> None:
    """What is not a law, and turns the wrong way round."""
    with fault(told):
        plan_of(**changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        # conversations have no open loop
        (
            {"turns": "2-4", "rates_per_s": (5.0,)},
            "column '--rate', value '5': conversations are a closed loop. Remedy: leave out one of the two.",
        ),
        (
            {"turns": "2-4", "arrivals": "gamma:2"},
            "column '--arrivals', value 'gamma:2': conversations are a closed loop. Remedy: leave out one of the two.",
        ),
        # nor is there one when nothing but levels is asked for
        (
            {"arrivals": "constant", "rate_search": False},
            (
                "column '--arrivals', value 'constant': without --rate, --no-rate-search leaves nothing that arrives. "
                "Remedy: leave out one of the two."
            ),
        ),
        # the master can be joined from elsewhere, the server cannot be reached from there: ours, and one that is given
        *(
            (
                {"remote_workers": 2, "bind": "0.0.0.0:5557"} | where,
                (
                    "column '--remote-workers', value '2': workers on other machines cannot reach a server on this "
                    "one's loopback. Remedy: start the server where they reach it and name it with --endpoint "
                    "http://ADDRESS:PORT."
                ),
            )
            for where in ({}, {"endpoint": "http://localhost:8000"})
        ),
    ],
)
def test_what_would_be_dropped_in_silence_is_a_fault(changes: dict[str, object], told: str) -> None:
    """Before anything is started."""
    with fault(told):
        plan_of(**changes)


def test_a_trace_takes_no_rate(tmp_path: Path) -> None:
    """Alone it has its own times; beside another shape the rate is that one's."""
    (tmp_path / "t.csv").write_text("time_s,input_tokens,output_tokens\n5,10,20\n6.5,30,40\n")
    replay = f"trace:{tmp_path / 't.csv'}"
    with fault("column '--rate', value '5': a trace has its own times. Remedy: leave out one of the two."):
        plan_of(shapes=(replay,), rates_per_s=(5.0,))
    assert plan_of(shapes=(replay, "=10/20"), rates_per_s=(5.0,)).rates_per_s == (5.0,)


def test_workers_that_reach_the_server_may_join() -> None:
    """From this machine, when the master listens on loopback; from others, when the endpoint is theirs to reach."""
    assert plan_of(remote_workers=2).remote_workers == 2
    plan = plan_of(remote_workers=2, bind="0.0.0.0:5557", endpoint="http://10.0.0.5:8000", vocab_size=9)
    assert (plan.remote_workers, plan.target.url) == (2, "http://10.0.0.5:8000")
