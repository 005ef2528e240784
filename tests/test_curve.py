"""The curve file: what is written is read back, what is wrong is told exactly, nothing is ever half-written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_profiles.curve import (
    Check,
    Conditions,
    Curve,
    Estimate,
    Gpu,
    Point,
    Sample,
    Shape,
    file_name,
    merge_points,
    read_curve,
    schema_text,
    write_curve,
    write_text,
)
from hardware_profiles.faults import InputError


def point(load: float = 4, *, input_tokens: float = 1000, checks: tuple[Check, ...] = ()) -> Point:
    return Point(
        shape=Shape(input_tokens=input_tokens, output_tokens=200, cached_tokens=10),
        mode="closed",
        load=load,
        throughput_per_s=1.25,
        output_tokens_per_s=250,
        ttft_s={"p50": Estimate(value=0.2, low=0.1, high=0.3)},
        sample=(Sample(ttft_s=0.2, tpot_s=0.01, e2e_s=2.2), Sample(ttft_s=0.2, tpot_s=None, e2e_s=0.2)),
        errors={"timeout": 2},
        checks=checks,
    )


def curve(**changes: Any) -> Curve:
    content = {
        "kind": "measured",
        "model": "llama-3.1-8b",
        "precision": "bf16",
        "gpu": Gpu(name="h200-141gb-sxm", count=1, driver_name="NVIDIA H200"),
        "conditions": Conditions(engine="vllm", engine_version="0.26.0", measured_at="2026-11-20T10:00:00Z", seed=7),
        "points": (point(),),
        **changes,
    }
    return Curve.model_validate(content)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """A round trip through the file loses nothing, and the file says its format first."""
    path = tmp_path / "curves" / "a.json"
    write_curve(curve(), path)
    assert read_curve(path) == curve()
    assert path.read_text().startswith('{\n "format": "spillway-curve/1",\n "kind": "measured",\n')


number = st.floats(min_value=0, max_value=1e12, allow_nan=False)
samples = st.builds(Sample, ttft_s=number, tpot_s=st.none() | number, e2e_s=number)


@given(
    load=st.floats(min_value=1e-3, max_value=1e6),
    sample=st.lists(samples, max_size=5).map(tuple),
    text=st.text(st.characters(codec="utf-8")),
)
def test_round_trip_of_any_point(tmp_path_factory: pytest.TempPathFactory, load: float, sample: Any, text: str) -> None:
    """Any finite numbers and any Unicode text survive the file unchanged."""
    path = tmp_path_factory.mktemp("any") / "a.json"
    changed = point(load).model_copy(update={"sample": sample})
    written = curve(points=(changed,), model=text)
    write_curve(written, path)
    assert read_curve(path) == written


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    """A write that breaks off leaves the old content and no temporary file behind."""
    path = tmp_path / "a.json"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new " * 100_000 + "\ud800")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_written_file_is_readable_by_others(tmp_path: Path) -> None:
    """The temporary file's private mode does not stay."""
    write_text(tmp_path / "a.txt", "x")
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o644


def told(path: Path, content: str | bytes) -> list[str]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError) as raised:
        read_curve(path)
    return [line.replace(str(path), "c.json") for line in str(raised.value).splitlines()]


REMEDY = "Remedy: write the file as spillway-curve/1 says."


def test_every_fault_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    """Wrong kind, NaN, unknown field, negative value, impossible shape: each with place and value."""
    content = json.loads(curve().model_dump_json(exclude_defaults=True)) | {"kind": "guessed", "speed": 3}
    content["points"][0]["throughput_per_s"] = -1
    content["points"][0]["shape"]["cached_tokens"] = 5000
    content["gpu"]["count"] = 0
    assert told(tmp_path / "c.json", json.dumps(content)) == [
        f"c.json: column 'kind', value 'guessed': Input should be 'measured', 'published' or 'estimated'. {REMEDY}",
        f"c.json: column 'gpu.count', value '0': Input should be greater than or equal to 1. {REMEDY}",
        f"c.json: column 'points.0.shape': cached_tokens exceeds input_tokens. {REMEDY}",
        (
            "c.json: column 'points.0.throughput_per_s', value '-1': Input should be greater than or equal to 0. "
            f"{REMEDY}"
        ),
        f"c.json: column 'speed', value '3': Extra inputs are not permitted. {REMEDY}",
    ]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "Invalid JSON: EOF while parsing a value at line 1 column 0"),
        ('{"kind":\n  oops}', "Invalid JSON: expected value at line 2 column 3"),
        (b'{"model": "caf\xe9"}', "Invalid JSON: invalid unicode code point at line 1 column 15"),
        ("[1, 2]", "Input should be an object"),
    ],
)
def test_a_file_that_is_no_curve_is_told(tmp_path: Path, content: str | bytes, what: str) -> None:
    """Empty, broken, wrongly encoded or foreign JSON is one fault that names the place."""
    assert told(tmp_path / "c.json", content) == [f"c.json: {what}. {REMEDY}"]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """No traceback for a path that is not there."""
    with pytest.raises(InputError) as raised:
        read_curve(tmp_path / "none.json")
    assert str(raised.value) == (
        f"{tmp_path / 'none.json'}: cannot be read (No such file or directory). "
        "Remedy: check the path and its permissions."
    )


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"kind": "published"}, "a published curve names conditions.source and conditions.source_date"),
        (
            {"conditions": Conditions(engine="vllm", engine_version=None)},
            "a measured curve says when: conditions.measured_at",
        ),
    ],
)
def test_a_kind_comes_with_its_evidence(changes: dict[str, Any], what: str) -> None:
    """A published curve without source or a measured one without time is refused."""
    with pytest.raises(ValueError, match=what):
        curve(**changes)


def test_a_mode_comes_with_its_load() -> None:
    """A closed-loop point has a load and an open-loop point has an offered rate, never the other's."""
    shape = Shape(input_tokens=10, output_tokens=1)
    for wrong in (
        {"mode": "closed"},
        {"mode": "open", "load": 3},
        {"mode": "closed", "load": 3, "offered_rate_per_s": 1},
    ):
        with pytest.raises(ValueError, match="a closed-loop point has `load`"):
            Point.model_validate({"shape": shape, "throughput_per_s": 1, "output_tokens_per_s": 1, **wrong})


def test_an_interval_holds_its_value() -> None:
    """Throughput outside its own interval is refused; without one its bounds are unknown."""
    told = {"shape": Shape(input_tokens=10, output_tokens=1), "mode": "closed", "load": 1, "throughput_per_s": 1}
    with pytest.raises(ValueError, match="`output_tokens_per_s` lies outside `output_tokens_per_s_interval`"):
        Point.model_validate({**told, "output_tokens_per_s": 1, "output_tokens_per_s_interval": (2, 3)})
    known = Point.model_validate({**told, "output_tokens_per_s": 2.5, "output_tokens_per_s_interval": (2, 3)})
    assert known.output_rate == Estimate(value=2.5, low=2, high=3)
    assert Point.model_validate({**told, "output_tokens_per_s": 1}).output_rate == Estimate(value=1)


def test_a_failed_point_is_kept_but_not_used() -> None:
    """A failed check marks its point; an unknown verdict does not."""
    failed = point(8, checks=(Check(name="client", verdict="fail", reason="the client was busy"),))
    unknown = point(16, checks=(Check(name="client", verdict="unknown", reason="no /metrics page"),))
    kept = curve(points=(failed, unknown))
    assert kept.points == (failed, unknown)
    assert kept.usable_points == (unknown,)


def test_points_are_kept_in_order() -> None:
    """Merged points stand by shape, then by load, whatever order they came in."""
    merged = merge_points(curve(points=()), [point(8), point(2), point(4, input_tokens=500)])
    assert [(p.shape.input_tokens, p.load) for p in merged.points] == [(500, 4), (1000, 2), (1000, 8)]


def test_unlike_curves_have_unlike_keys() -> None:
    """Whatever must not be merged differs in the key; notes and points do not."""
    base = curve()
    conditions = base.conditions
    unlike = [
        curve(model="qwen3-32b"),
        curve(precision="fp8"),
        curve(precision=None),
        curve(gpu=Gpu(name="h200-141gb-sxm", count=2)),
        curve(gpu=Gpu(name="h100-80gb-sxm", count=1)),
        curve(tensor_parallel=2),
        curve(pipeline_parallel=2),
        curve(data_parallel=2),
        curve(conditions=conditions.model_copy(update={"engine": "sglang"})),
        curve(conditions=conditions.model_copy(update={"engine_version": None})),
        curve(conditions=conditions.model_copy(update={"weights": "dummy"})),
    ]
    assert len({each.key for each in (base, *unlike)}) == len(unlike) + 1
    assert curve(points=(), conditions=conditions.model_copy(update={"notes": ("x",)})).key == base.key


def test_the_file_name_tells_random_weights_apart() -> None:
    """A curve of real weights and one of random ones stand in two files."""
    conditions = curve().conditions
    names = [file_name(curve(conditions=conditions.model_copy(update={"weights": w}))) for w in ("real", None, "dummy")]
    assert names[0] == names[1]
    assert names[2] == names[0].replace("_vllm-", "_dummy_vllm-")


def test_reserved_memory_of_older_files_is_dropped(tmp_path: Path) -> None:
    """`memory_gib` was what vLLM had reserved of a GPU: such files stay readable, the number is gone."""
    path = tmp_path / "old.json"
    write_curve(curve(), path)
    path.write_text(path.read_text().replace('"conditions": {', '"conditions": {"memory_gib": 126.9,'))
    assert read_curve(path) == curve()


def test_values_are_frozen() -> None:
    """A curve that was read cannot be changed in place."""
    with pytest.raises(ValueError, match="frozen"):
        curve().model = "other"  # type: ignore[misc]  # that is the point


def test_the_schema_describes_the_file() -> None:
    """The exported JSON schema is JSON, names the format, requires what the reader requires and forbids the rest."""
    schema = json.loads(schema_text())
    assert schema["properties"]["format"]["const"] == "spillway-curve/1"
    assert set(schema["required"]) == {"kind", "model", "precision", "gpu", "conditions", "points"}
    assert schema["additionalProperties"] is False
    assert set(schema["$defs"]["Point"]["properties"]) == set(Point.model_fields)
