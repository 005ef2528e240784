"""Curves at hand: the shipped ones and the user's, which win; published tables become curves and say what they lack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hardware_profiles import library
from hardware_profiles.curve import Curve, Shape, file_name, read_curve, write_curve
from hardware_profiles.facts import gpus, models
from hardware_profiles.faults import InputError
from hardware_profiles.import_published import curves_from
from hardware_profiles.library import curve_files, curves_for, load_curves, shipped_dir, user_dir
from hardware_profiles.published_table import read_table

SHIPPED = load_curves()

HEADER = (
    "system,model,backend,backend_version,precision,isl,osl,concurrency,tp,attention_dp,moe_ep,gpus,ttft_ms,tpot_ms,"
    "measured_date,origin\n"
)


def table(tmp_path: Path, *rows: str) -> tuple[Curve, ...]:
    path = tmp_path / "table.csv"
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return curves_from(read_table(path), "a table", "2026-01-01")


def test_the_shipped_curves_are_these() -> None:
    """What ships is said exactly: GPU, model, GPUs, how many usable points; there is no A100 curve."""
    seen = {(c.gpu.name, c.model, c.precision, c.gpu.count): 0 for c in SHIPPED}
    for c in SHIPPED:
        seen[c.gpu.name, c.model, c.precision, c.gpu.count] += len(c.usable_points)
    h100, h200 = "h100-80gb-sxm", "h200-141gb-sxm"
    assert seen == {
        (h100, "gpt-oss-120b", "fp4", 2): 18,
        (h100, "gpt-oss-120b", "fp4", 4): 18,
        (h100, "gpt-oss-120b", "fp4", 8): 16,
        (h100, "minimax-m2.5", "fp8", 4): 15,
        (h100, "minimax-m2.5", "fp8", 16): 0,
        (h100, "qwen3-32b", "fp8", 1): 1,
        (h100, "qwen3-32b", "fp8", 2): 1,
        (h100, "qwen3-32b", "fp8", 8): 1,
        (h100, "qwen3-32b", None, 2): 30,
        (h100, "qwen3-32b", None, 4): 30,
        (h100, "qwen3-32b", None, 8): 30,
        (h200, "gpt-oss-120b", "fp4", 1): 15,
        (h200, "gpt-oss-120b", "fp4", 2): 15,
        (h200, "gpt-oss-120b", "fp4", 4): 15,
        (h200, "gpt-oss-120b", "fp4", 8): 15,
        (h200, "llama-3.1-70b", "fp8", 1): 15,
        (h200, "llama-3.1-70b", "fp8", 2): 15,
        (h200, "llama-3.1-70b", "fp8", 4): 15,
        (h200, "llama-3.1-70b", "fp8", 8): 15,
        (h200, "llama-3.1-8b", "fp8", 1): 10,
        (h200, "llama-3.1-8b", "fp8", 2): 5,
        (h200, "llama-3.1-8b", "fp8", 4): 4,
        (h200, "llama-3.1-8b", "fp8", 8): 2,
        (h200, "minimax-m2.5", "fp8", 4): 15,
        (h200, "minimax-m2.5", "fp8", 8): 18,
    }


@pytest.mark.parametrize("curve", SHIPPED, ids=file_name)
def test_a_shipped_curve_says_what_it_is(curve: Curve) -> None:
    """Every shipped curve is published, names known parts, states no percentile, and its rates obey Little's law."""
    assert curve.kind == "published"
    assert curve.gpu.name in gpus()
    assert curve.model in models()
    assert curve.gpu.count == curve.tensor_parallel * curve.pipeline_parallel * curve.data_parallel
    for point in curve.points:
        assert set(point.ttft_s) == set(point.tpot_s) == {"unstated"}
        assert not point.sample
        e2e_s = point.ttft_s["unstated"].value + point.tpot_s["unstated"].value * (point.shape.output_tokens - 1)
        assert point.load is not None
        assert point.throughput_per_s * e2e_s == pytest.approx(point.load, rel=1e-4)
        assert point.output_tokens_per_s == pytest.approx(point.throughput_per_s * point.shape.output_tokens, rel=1e-3)


def test_one_file_one_key() -> None:
    """Shipped files are named after their keys, and no two have one key."""
    files = curve_files(shipped_dir())
    assert [path.name for path in files] == [file_name(read_curve(path)) for path in files]
    assert len({read_curve(path).key for path in files}) == len(files) == len(SHIPPED)


def test_the_users_curve_wins(tmp_path: Path) -> None:
    """A curve of the same key replaces the shipped one, whatever its kind; a new key is added; order is by key."""
    (mine,) = [c for c in curves_for(SHIPPED, "llama-3.1-8b") if c.gpu.count == 1]
    conditions = mine.conditions.model_copy(update={"measured_at": "2026-11-20", "notes": ("ours",)})
    ours = mine.model_copy(update={"kind": "measured", "conditions": conditions})
    write_curve(ours, tmp_path / "curves" / "x.json")
    write_curve(ours.model_copy(update={"model": "tiny"}), tmp_path / "y.json")
    curves = load_curves(tmp_path)
    assert len(curves) == len(SHIPPED) + 1
    assert [c for c in curves if c.key == mine.key] == [ours]
    assert [c.model for c in curves_for(curves, "tiny")] == ["tiny"]
    assert list(curves) == sorted(curves, key=lambda c: repr(c.key))


def test_every_fault_of_every_file_is_told(tmp_path: Path) -> None:
    """Two broken files and a duplicate are one error."""
    write_curve(SHIPPED[0], tmp_path / "a.json")
    write_curve(SHIPPED[0], tmp_path / "b.json")
    (tmp_path / "c.json").write_text("{")
    (tmp_path / "curves").mkdir()
    (tmp_path / "curves" / "d.json").write_text("[]")
    with pytest.raises(InputError) as raised:
        load_curves(tmp_path)
    assert str(raised.value).replace(f"{tmp_path}/", "").splitlines() == [
        (
            "b.json: the same curve as a.json (GPU, model, precision, parallelism and engine agree). "
            "Remedy: keep one of the two."
        ),
        (
            "c.json: Invalid JSON: EOF while parsing an object at line 1 column 1. "
            "Remedy: write the file as spillway-curve/1 says."
        ),
        "curves/d.json: Input should be an object. Remedy: write the file as spillway-curve/1 says.",
    ]


def test_which_folder_is_the_users(tmp_path: Path) -> None:
    """The folder given, else ./hardware_profiles unless that is the shipped one; a missing folder is told."""
    assert user_dir(tmp_path, tmp_path) == tmp_path
    assert user_dir(None, tmp_path) is None
    assert user_dir(None, shipped_dir().parent) is None
    (tmp_path / "hardware_profiles").mkdir()
    assert user_dir(None, tmp_path) == tmp_path / "hardware_profiles"
    with pytest.raises(InputError) as raised:
        user_dir(tmp_path / "none", tmp_path)
    assert str(raised.value) == (
        f"{tmp_path / 'none'}: is no folder. Remedy: give --profiles a folder with gpus.toml, models.toml or curves."
    )


def test_shipped_data_is_found_from_anywhere(tmp_path: Path) -> None:
    """The package finds its data by import, not by the working directory."""
    code = "from hardware_profiles.library import load_curves; print(len(load_curves()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(SHIPPED)
    assert library.shipped_dir().is_dir()


def test_random_lengths_become_their_mean(tmp_path: Path) -> None:
    """InferenceX rows have 90 % of the nominal lengths and say so; NVIDIA's sweeps and unknown origins keep them."""
    drawn, sweep, other = table(
        tmp_path,
        "h100_sxm,Qwen/Qwen3-32B,vllm,1,fp8,1000,100,8,2,1,1,2,100,10,2026-03-01,inferencex_csv_export",
        "h100_sxm,Qwen/Qwen3-32B,vllm,2,fp8,1000,100,8,2,1,1,2,100,10,2026-03-01,nvidia_internal_sweep",
        "h100_sxm,Qwen/Qwen3-32B,vllm,3,fp8,1000,100,8,2,1,1,2,100,10,2026-03-01,ours",
    )
    assert drawn.points[0].shape == Shape(input_tokens=900, output_tokens=90)
    assert sweep.points[0].shape == other.points[0].shape == Shape(input_tokens=1000, output_tokens=100)
    said = "InferenceX draws input and output lengths between 80 and 100 %"
    assert [any(note.startswith(said) for note in c.conditions.notes) for c in (drawn, sweep, other)] == [
        True, False, False,
    ]  # fmt: skip
    # 8 in flight, each 0.1 s + 99 x 0.01 s
    assert sweep.points[0].throughput_per_s == pytest.approx(8 / 1.09, abs=1e-6)
    assert sweep.points[0].output_tokens_per_s == pytest.approx(800 / 1.09, abs=1e-3)


def test_one_measurement_from_two_origins_counts_once(tmp_path: Path) -> None:
    """Rows that agree in all but the origin are one point, whose curve names both origins."""
    row = "h200_sxm,MiniMaxAI/MiniMax-M2.5,vllm,1,fp8,1024,1024,8,4,1,1,4,100,10,2026-03-01,"
    (curve,) = table(tmp_path, row + "inferencex_csv_export", row + "inferencex_db_dump", row + "inferencex_db_dump")
    assert len(curve.points) == 1
    assert curve.conditions.source == "a table, origin inferencex_csv_export and inferencex_db_dump"


def test_a_curve_holds_one_day(tmp_path: Path) -> None:
    """Of two days under one key the newest is kept and the notes count what was left out; unknown is None."""
    row = "h200_sxm,openai/gpt-oss-120b,vllm,,,1024,1024,{c},1,,,1,100,10,{day},x"
    (curve,) = table(
        tmp_path,
        row.format(c=4, day="2025-11-02"),
        row.format(c=8, day="2025-12-05"),
        row.format(c=16, day=""),
    )
    assert [point.load for point in curve.points] == [8]
    assert curve.conditions.measured_at == "2025-12-05"
    assert curve.conditions.notes[-1] == (
        "2 points of 2025-11-02, no date are left out: a curve holds the points of one day"
    )
    assert (curve.precision, curve.conditions.engine_version, curve.conditions.weights) == (None, None, None)


def test_replicas_that_are_not_evident_are_not_used(tmp_path: Path) -> None:
    """Four replicas with the latencies of one at the same total load fail; those of a quarter of the load pass."""
    row = "h100_sxm,MiniMaxAI/MiniMax-M2.5,vllm,1,fp8,1024,1024,{c},4,{dp},4,{gpus},100,{tpot},2026-03-01,x"
    lone = [row.format(c=c, dp=1, gpus=4, tpot=tpot) for c, tpot in ((4, 10), (16, 15))]
    same = table(tmp_path, *lone, row.format(c=16, dp=4, gpus=16, tpot=15.1))
    shared = table(tmp_path, *lone, row.format(c=16, dp=4, gpus=16, tpot=10))
    assert [len(c.usable_points) for c in same] == [2, 0]
    assert same[1].points[0].checks[0].name == "gpu_count"
    assert same[1].data_parallel == 4
    assert [len(c.usable_points) for c in shared] == [2, 1]


def test_queueing_is_marked_and_kept(tmp_path: Path) -> None:
    """A point that mostly waited for its first token stays usable but says so."""
    (curve,) = table(
        tmp_path, "h100_sxm,openai/gpt-oss-120b,vllm,1,fp4,1024,1024,512,8,1,1,8,20000,5,2025-12-05,inferencex"
    )
    (check,) = curve.points[0].checks
    assert (check.name, check.verdict, curve.points[0].usable) == ("queueing", "unknown", True)


def test_every_fault_of_a_table_is_told(tmp_path: Path) -> None:
    """Unknown names, bad numbers, precisions and dates are told at once, with line and column."""
    with pytest.raises(InputError) as raised:
        table(
            tmp_path,
            "h100_nvl,Qwen/Qwen3-33B,vllm,1,fp7,1000.5,100,-8,2,1,1,2,nan,10,soon,x",
            "h100_sxm,Qwen/Qwen3-32B,vllm,1,fp8,1000,,8,2,1,1,2,100,10,2026-03-01,x",
        )
    assert str(raised.value).replace(str(tmp_path / "table.csv"), "t.csv").splitlines() == [
        (
            "t.csv:2: column 'system', value 'h100_nvl': unknown GPU. Remedy: near names are h100-80gb-sxm, "
            "h100-80gb-pcie; or add it to gpus.toml in a folder given with --profiles."
        ),
        (
            "t.csv:2: column 'model', value 'Qwen/Qwen3-33B': unknown model. Remedy: near names are qwen3-32b, "
            "qwen3-8b, qwen3-4b, qwen3-30b-a3b, qwen3-14b; "
            "or add it to models.toml in a folder given with --profiles."
        ),
        (
            "t.csv:2: column 'precision', value 'fp7': unknown precision. "
            "Remedy: write one of bf16, fp16, fp8, fp4, int8, int4, fp32, or nothing."
        ),
        "t.csv:2: column 'isl', value '1000.5': not a whole number. Remedy: write a whole number.",
        "t.csv:2: column 'concurrency', value '-8': not a positive number. Remedy: write a number.",
        "t.csv:2: column 'ttft_ms', value 'nan': not a positive number. Remedy: write a number.",
        "t.csv:2: column 'measured_date', value 'soon': not a date. Remedy: write YYYY-MM-DD, or nothing.",
        "t.csv:3: column 'osl', value '': not a positive number. Remedy: write a number.",
    ]


def test_a_table_without_its_columns_is_told(tmp_path: Path) -> None:
    """Missing columns are named; rows of unlike expert parallelism are not merged; bytes must be UTF-8."""
    path = tmp_path / "t.csv"
    path.write_text("system,model\nh100,qwen3-32b\n")
    with pytest.raises(InputError, match="column 'ttft_ms': column is missing"):
        read_table(path)
    row = "h100_sxm,MiniMaxAI/MiniMax-M2.5,vllm,1,fp8,1024,1024,8,4,1,{ep},4,100,10,2026-03-01,x"
    with pytest.raises(InputError) as raised:
        table(tmp_path, row.format(ep=1), row.format(ep=4))
    assert str(raised.value) == (
        "value '[1, 4]': rows of one curve (h100-80gb-sxm, minimax-m2.5) differ in moe_ep. "
        "Remedy: import them apart, under engine versions that tell them apart."
    )
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_table(path)
