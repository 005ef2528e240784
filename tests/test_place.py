"""Where a run's curve is put: under its own name, and never over another run's."""

from __future__ import annotations

from pathlib import Path

from bench.run import place
from hardware_profiles.curve import Conditions, Curve, Gpu, read_curve
from hardware_profiles.library import curve_files, load_curves


def curve(measured_at: str, weights: str = "dummy", **conditions: object) -> Curve:
    told = {"engine": "vllm", "engine_version": "0.24.0", "measured_at": measured_at, "weights": weights, **conditions}
    gpu = Gpu(name="h200-141gb-sxm", count=1)
    found = Conditions.model_validate(told)
    return Curve(kind="measured", model="llama-3.1-8b", precision="bf16", gpu=gpu, conditions=found, points=())


def test_a_second_run_takes_the_name_and_the_first_is_kept(tmp_path: Path) -> None:
    """It is moved where no planner looks, so that `bench compare` has something to compare."""
    first, second = curve("2026-11-20"), curve("2026-11-21")
    assert place(first, tmp_path).kept is None
    result = place(second, tmp_path)
    assert result.kept is not None
    assert (read_curve(result.kept), read_curve(result.path)) == (first, second)
    assert curve_files(tmp_path) == (result.path,)


def test_the_same_run_is_written_over(tmp_path: Path) -> None:
    """`bench resume` and `bench recompute` write a longer curve of the run that began at the same moment."""
    first = place(curve("2026-11-20", machine_id="a"), tmp_path)
    again = place(curve("2026-11-20", machine_id="a", seed=1), tmp_path)
    assert (again.path, again.kept) == (first.path, None)
    assert read_curve(again.path).conditions.seed == 1
    assert place(curve("2026-11-20", machine_id="b"), tmp_path).kept is not None


def test_what_is_no_curve_is_kept_too(tmp_path: Path) -> None:
    """Whatever stands at the curve's place is not lost."""
    path = place(curve("2026-11-20"), tmp_path).path
    path.write_text("mine")
    kept = place(curve("2026-11-20"), tmp_path).kept
    assert kept is not None
    assert kept.read_text() == "mine"


def test_real_and_random_weights_stand_side_by_side(tmp_path: Path) -> None:
    """Two files, two keys: the library takes both."""
    paths = {place(curve("2026-11-20", weights), tmp_path).path for weights in ("real", "dummy")}
    assert len(paths) == 2
    mine = [each for each in load_curves(tmp_path) if each.kind == "measured"]
    assert {each.conditions.weights for each in mine} == {"real", "dummy"}
