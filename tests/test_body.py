"""The request's body: what is asked for in it, and what a user may add to it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.asked import Asked, make_plan
from bench.build import _client
from bench.evidence import Evidence
from bench.load import Load
from bench.order import Order, Target
from bench.passed import body_fields
from bench.plan import Found, RunFile
from bench.prompts import Fixed
from bench.records import from_rows
from bench.schedule import Stage
from bench.stats import Window
from bench.watch import Watch
from hardware_profiles.curve import Gpu
from hardware_profiles.faults import InputError


def body_of(folder: Path, target: Target) -> dict[str, object]:
    stage = Stage(name="s", mode="closed", shape=Fixed(input_tokens=9, output_tokens=7), seed=1, load=1)
    order = Order(stage=stage, target=target, nonce=1, kernel_stamps=True, workers=1, folder=folder)
    load = Load(order, 0)
    told: dict[str, object] = json.loads(load.payload(0).partition(b"\r\n\r\n")[2])
    assert not list(load.kept.take())  # closes its file
    return told


def target_of(**options: object) -> Target:
    asked = Asked(**({"model": "m", "gpu": "h100", "endpoint": "http://127.0.0.1:1"} | options))  # type: ignore[arg-type]
    return make_plan(asked, Path("/runs/x"), (0,))[0].target


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_output_limit_has_the_name_that_was_asked_for(tmp_path: Path, field: str) -> None:
    """One of the two, never both: OpenAI's reasoning models refuse `max_tokens`."""
    body = body_of(tmp_path, target_of(api="chat", limit_field=field).model_copy(update={"engine": "other"}))
    assert set(body) == {"model", "stream", "stream_options", "messages", field}
    assert body[field] == 7


def test_usage_need_not_be_asked_for(tmp_path: Path) -> None:
    """Some servers refuse `stream_options`."""
    asked = body_of(tmp_path, target_of(api="chat"))
    left_out = body_of(tmp_path, target_of(api="chat", stream_options=False))
    assert set(asked) - set(left_out) == {"stream_options"}
    assert asked["stream_options"] == {"include_usage": True}


def test_further_fields_reach_every_request(tmp_path: Path) -> None:
    """Numbers, texts and objects, in chats and completions."""
    fields = ("temperature=0", "reasoning_effort=low", 'provider={"order": ["a"]}')
    for api in ("chat", "completions"):
        body = body_of(tmp_path, target_of(api=api, body=fields, vocab_size=50))
        assert (body["temperature"], body["reasoning_effort"], body["provider"]) == (0, "low", {"order": ["a"]})


def test_what_was_added_stands_in_the_curve(tmp_path: Path) -> None:
    """Another body is another measurement."""
    asked = Asked(model="m", gpu="h100", endpoint="http://127.0.0.1:1", api="chat", body=("temperature=0",))
    asked = replace(asked, limit_field="max_completion_tokens", stream_options=False)
    found = Found(gpu=Gpu(name="h100-80gb-sxm", count=1), engine="other", engine_version=None)
    run = RunFile(plan=make_plan(asked, tmp_path, (0,))[0], found=found, started_at="2026-11-21")
    stage = Stage(name="s", mode="closed", shape=Fixed(input_tokens=9, output_tokens=7), seed=1, load=1)
    watch = Watch(stage="s", records_sha256="", before=None, after=None)
    none = Evidence(stage, from_rows([], []), Window(0, 1), 0.0, {}, watch, None)
    client = _client(run, [none])
    assert (client["body"], client["limit_field"]) == ('{"temperature": 0}', "max_completion_tokens")
    assert client["stream_options"] == "left out"


def test_what_bench_states_and_keys_are_refused() -> None:
    """A field of ours would change what is measured, a key would stand in run.json; no value is repeated."""
    with pytest.raises(InputError) as caught:
        body_fields(("stream=false", "max_tokens=9", "api_key=SECRET", 'x={"token": "SECRET"}', "temperature"))
    assert [(fault.value, fault.what) for fault in caught.value.faults] == [
        ("stream", "is for bench to state"),
        ("max_tokens", "is for bench to state"),
        ("api_key", "would stand in the run's files"),
        ("x", "would stand in the run's files"),
        ("temperature", "not NAME=VALUE"),
    ]
    assert "SECRET" not in str(caught.value)


def test_completions_have_one_name_for_the_limit() -> None:
    """And an unknown name is a fault."""
    for options in ({"limit_field": "max_completion_tokens"}, {"limit_field": "most", "api": "chat"}):
        with pytest.raises(InputError) as caught:
            target_of(**options)
        assert [fault.column for fault in caught.value.faults] == ["--limit-field"]
