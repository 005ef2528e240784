"""The GPU-time law: it gives back what it is, says how wrong it is, and keeps room for random arrivals."""

from __future__ import annotations

import doctest
import runpy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_profiles.curve import Conditions, Curve, Estimate, Gpu, Point, Sample, Shape, read_curve
from hardware_profiles.faults import InputError
from hardware_profiles.library import curve_files, shipped_dir
from hardware_profiles.slo import Slo
from planner import gpu_time
from planner.arrivals import steady_arrival_share
from planner.capacity import capacity, measured_shapes
from planner.gpu_time import GpuTimeLaw, fit_coefficients, gpu_time_law, leave_one_out

SLO = Slo(ttft_s=2.0, tpot_s=0.03)
GPUS = 2
LAW = (2e-4, 3e-4, 2e-7)
LOADS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
SHAPES = tuple(Shape(input_tokens=i, output_tokens=o) for i in (1000, 4000) for o in (100, 500, 1000))


def truth(shape: Shape, law: Sequence[float] = LAW) -> float:
    """GPU seconds of a request at a steady load."""
    context = shape.input_tokens + shape.output_tokens / 2
    uncached = shape.input_tokens - shape.cached_tokens
    return law[0] * uncached + law[1] * shape.output_tokens + law[2] * shape.output_tokens * context


def points_of(shape: Shape, *, loads: Sequence[float] = LOADS, law: Sequence[float] = LAW) -> list[Point]:
    """Closed-loop points that just meet TPOT 30 ms at n* = GPUs x residence / GPU seconds, E2E steady below."""
    residence_s = 0.0301 * shape.output_tokens
    bearable = GPUS * residence_s / truth(shape, law)
    return [
        Point(
            shape=shape,
            mode="closed",
            load=load,
            throughput_per_s=load / residence_s,
            output_tokens_per_s=1.0,
            ttft_s={"unstated": Estimate(value=0.01)},
            tpot_s={"unstated": Estimate(value=0.03 * load / bearable)},
        )
        for load in loads
    ]


def curve(shapes: Sequence[Shape], *, law: Sequence[float] = LAW, points: Sequence[Point] = ()) -> Curve:
    """A published curve of these shapes, of a deployment of two GPUs."""
    return Curve(
        kind="published",
        model="m",
        precision=None,
        gpu=Gpu(name="g", count=GPUS),
        conditions=Conditions(engine="vllm", engine_version="1", source="test", source_date="2026-11-20"),
        points=(*points, *(point for shape in shapes for point in points_of(shape, law=law))),
    )


@cache
def law_of(*shapes: Shape) -> GpuTimeLaw:
    """The law of these shapes' noise-free curve."""
    return gpu_time_law(curve(shapes), SLO)


def test_a_noise_free_law_is_given_back() -> None:
    """Six shapes of a known law: its coefficients within 1e-6, and any other shape's GPU seconds."""
    law = law_of(*SHAPES)
    assert law.coefficients[0] == pytest.approx(LAW, rel=1e-6)
    asked = Shape(input_tokens=2500, output_tokens=700)
    assert law.busy_gpu_s(asked) == pytest.approx(truth(asked), rel=1e-6)
    assert law.fit_error_max < 1e-6
    assert law.reason is None
    assert law.saturated
    assert not law.percentile_known


@settings(deadline=None)
@given(
    st.tuples(st.floats(1e-5, 1e-2), st.floats(1e-5, 1e-2), st.floats(1e-8, 1e-5)),
    st.lists(st.tuples(st.integers(10, 100_000), st.integers(1, 10_000)), min_size=3, max_size=8, unique=True),
)
def test_the_fit_meets_any_law_it_is_made_from(law: tuple[float, float, float], lengths: list[tuple[int, int]]) -> None:
    """Whatever the law and the shapes, the fitted law predicts the shapes it was fitted to."""
    shapes = [Shape(input_tokens=i, output_tokens=o) for i, o in lengths]
    seconds = np.array([truth(shape, law) for shape in shapes])
    (fitted,) = fit_coefficients(shapes, seconds)
    assert [truth(shape, fitted) for shape in shapes] == pytest.approx(seconds, rel=1e-6)


def test_a_measured_shape_is_used_as_it_was_measured() -> None:
    """Within 1 % of a measured shape: GPUs / capacity, not the law."""
    made = curve(SHAPES)
    law = gpu_time_law(made, SLO)
    for shape in SHAPES:
        rate = capacity(made, shape, SLO).rate_per_s
        assert rate is not None
        near = Shape(input_tokens=shape.input_tokens * 1.005, output_tokens=shape.output_tokens)
        assert law.gpu_s(near) == law.gpu_s(shape) == GPUS / rate


def test_another_shape_gets_the_room_that_random_arrivals_need() -> None:
    """GPU seconds / (room x share at n*), n* = GPUs x residence / GPU seconds by Little's law."""
    law = law_of(*SHAPES)
    asked = Shape(input_tokens=2500, output_tokens=700)
    share = steady_arrival_share(GPUS * 0.0301 * 700 / truth(asked), 0.95)
    assert share is not None
    assert law.gpu_s(asked) == pytest.approx(truth(asked) / (law.room * share), rel=1e-4)
    assert law.room == pytest.approx(1.0, abs=0.04)


def test_a_shape_that_even_alone_exceeds_the_load_has_no_gpu_time() -> None:
    """So much input per output token that less than one request is in flight at the SLO: None, never infinity."""
    assert gpu_time_law(curve(SHAPES), SLO).gpu_s(Shape(input_tokens=1e6, output_tokens=10)) is None


def test_cached_input_is_free_in_prefill_but_read_in_decode() -> None:
    """The cached part drops out of a, and stays in the context of c."""
    law = law_of(*SHAPES)
    cold, warm = (Shape(input_tokens=2500, cached_tokens=c, output_tokens=700) for c in (0, 2000))
    assert law.busy_gpu_s(cold) - law.busy_gpu_s(warm) == pytest.approx(2000 * LAW[0], rel=1e-6)
    assert law.busy_gpu_s(warm) == pytest.approx(truth(warm), rel=1e-6)


tokens = st.floats(1, 100_000)


@settings(deadline=None)
@given(tokens, tokens, st.floats(1, 3), st.floats(1, 3), st.integers(1, 6))
def test_a_longer_request_never_needs_less(
    input_tokens: float, output_tokens: float, longer: float, more: float, shapes: int
) -> None:
    """`busy_gpu_s` never falls with input or output, however few shapes were measured."""
    law = law_of(*SHAPES[:shapes])
    asked = Shape(input_tokens=input_tokens, output_tokens=output_tokens)
    grown = Shape(input_tokens=input_tokens * longer, output_tokens=output_tokens * more)
    assert law.busy_gpu_s(grown) >= law.busy_gpu_s(asked)


def test_gpu_time_with_room_grows_with_input_but_not_always_with_output() -> None:
    """`gpu_s` rises along input; along output it may fall where prefill rules, since more requests share the swings."""
    law = law_of(*SHAPES)
    outputs = (120, 200, 350, 600, 900)
    shapes = [[Shape(input_tokens=i, output_tokens=o) for o in outputs] for i in (1100, 2000, 3800)]
    seconds = np.array([[law.gpu_s(shape) for shape in row] for row in shapes], dtype=float)
    busy = np.array([[law.busy_gpu_s(shape) for shape in row] for row in shapes])
    assert (np.diff(seconds, axis=0) > 0).all()
    assert (np.diff(seconds[0]) > 0).all()
    assert (np.diff(seconds[2])[:1] < 0).all()
    assert (seconds > busy).all()


def test_leave_one_out_errors_need_four_shapes() -> None:
    """With three shapes the law meets each exactly and nothing is left to test it with."""
    assert gpu_time_law(curve(SHAPES[:3]), SLO).error_max is None
    four = gpu_time_law(curve(SHAPES[:4]), SLO)
    assert four.error_max is not None
    assert four.error_mean is not None
    assert 0 <= four.error_mean <= four.error_max < 0.05


def test_an_outlier_shows_in_the_leave_one_out_error() -> None:
    """One shape that costs twice what the law says: its own error is near -50 %."""
    slow = curve(SHAPES[:1], law=tuple(2 * value for value in LAW)).points
    law = gpu_time_law(curve(SHAPES[1:], points=slow), SLO)
    errors = dict(zip((each.shape for each in law.measured), leave_one_out(law) or (), strict=True))
    assert errors[SHAPES[0]] == pytest.approx(-0.5, abs=0.1)
    assert law.error_max == max(abs(error) for error in errors.values())
    assert law.error_mean == pytest.approx(np.mean([abs(error) for error in errors.values()]))


@settings(deadline=None)
@given(st.integers(1, 2), tokens, tokens)
def test_one_or_two_shapes_never_promise_more_than_the_true_law(
    count: int, input_tokens: float, output_tokens: float
) -> None:
    """The dearest law that meets the few shapes bounds the true one from above, and the reason is stated."""
    law = law_of(*SHAPES[::5][:count])
    asked = Shape(input_tokens=input_tokens, output_tokens=output_tokens)
    assert law.busy_gpu_s(asked) >= truth(asked) * (1 - 1e-9)
    assert law.reason == (
        f"only {count} measured shapes cannot tell three coefficients apart: the dearest law that meets them counts"
    )
    assert law.error_max is None


def test_two_shapes_that_contradict_each_other_give_a_ceiling() -> None:
    """The longer one was faster: no law meets both, so none of the two is promised less than it took."""
    made = curve((Shape(input_tokens=4000, output_tokens=100),), points=points_of(SHAPES[0], law=(1e-3, 3e-3, 2e-6)))
    law = gpu_time_law(made, SLO)
    for each in law.measured:
        assert each.closed_rate_per_s is not None
        assert law.busy_gpu_s(each.shape) >= GPUS / each.closed_rate_per_s * (1 - 1e-9)


def test_coverage_says_how_far_a_shape_is_outside() -> None:
    """Measured 1000-4000 in, 100-1000 out: inside is 1.0, twice the largest or half the smallest is 2.0."""
    law = law_of(*SHAPES)
    inside = law.covers(Shape(input_tokens=2000, output_tokens=1005))
    assert (inside.extrapolated, inside.factor) == (False, pytest.approx(1.005))
    for beyond in ((8000, 500), (500, 500), (2000, 50), (2000, 2000)):
        found = law.covers(Shape(input_tokens=beyond[0], output_tokens=beyond[1]))
        assert (found.extrapolated, found.factor) == (True, 2.0)


def test_the_room_of_a_mix_belongs_to_all() -> None:
    """A prefill-heavy shape swings more; one in a thousand requests of it leave the others their share."""
    law = law_of(*SHAPES)
    heavy, light = Shape(input_tokens=3900, output_tokens=110), Shape(input_tokens=1100, output_tokens=900)
    alone, other, rare, even = law.shares((heavy, light), np.array([[5.0, 0], [0, 1.0], [0.001, 1.0], [1.0, 1.0]]))
    assert law.gpu_s(heavy) == pytest.approx(law.busy_gpu_s(heavy) / alone)
    assert alone < even < rare < other
    assert rare == pytest.approx(other, rel=0.01)
    busy, stay = np.array([law.busy_gpu_s(heavy), law.busy_gpu_s(light)]), 0.0301 * np.array([110, 900])
    load = GPUS * busy.sum() / (busy**2 / stay).sum()
    assert even == pytest.approx(law.room * steady_arrival_share(load, 0.95), rel=1e-3)  # type: ignore[operator]


def test_a_curve_of_open_loops_only_holds_the_room_already() -> None:
    """Four shapes measured in open loop: the law is fitted to their capacities and no room is added."""
    met = Sample(ttft_s=0.1, tpot_s=0.02, e2e_s=1.0)
    missed = Sample(ttft_s=0.1, tpot_s=0.04, e2e_s=1.0)
    points = [
        Point(
            shape=shape,
            mode="open",
            offered_rate_per_s=GPUS / truth(shape) * share,
            throughput_per_s=1.0,
            output_tokens_per_s=1.0,
            sample=((met,) * 95 + (missed,) * 5) if share == 1 else ((missed if share > 1 else met),) * 100,
            duration_s=1000.0,
        )
        for shape in SHAPES[:4]
        for share in (0.5, 1.0, 1.5)
    ]
    law = gpu_time_law(curve((), points=points), SLO)
    assert law.coefficients[0] == pytest.approx(LAW, rel=1e-6)
    assert law.residence_s_per_token is None
    asked = Shape(input_tokens=2500, output_tokens=700)
    assert law.gpu_s(asked) == law.busy_gpu_s(asked) == pytest.approx(truth(asked), rel=1e-6)
    assert law.shares(SHAPES[:1], np.ones((1, 1))) == pytest.approx([1.0])
    assert "Open loops only: the room for random arrivals is inside the law." in law.notes


def test_a_stricter_slo_never_needs_less_gpu_time_for_a_measured_shape() -> None:
    """Capacity falls as the limit falls, so GPU seconds rise."""
    made = curve(SHAPES)
    strict, loose = gpu_time_law(made, Slo(tpot_s=0.02)), gpu_time_law(made, Slo(tpot_s=0.03))
    for shape in SHAPES:
        assert strict.gpu_s(shape) >= loose.gpu_s(shape)  # type: ignore[operator]


def test_an_slo_that_no_shape_meets_is_told_with_every_reason() -> None:
    """The fault names the deployment, the SLO, each shape's reason and a remedy."""
    with pytest.raises(InputError) as raised:
        gpu_time_law(curve(SHAPES[:2]), Slo(ttft_s=2.0, tpot_s=0.0001))
    assert str(raised.value) == (
        "value 'm on 2 x g': no measured shape of the curve meets the SLO (TTFT 2 s, TPOT 0.0001 s, 95% of requests): "
        "1000 in, 100 out: at the lowest measured load (1 in flight) the SLO is missed (TPOT); "
        "1000 in, 500 out: at the lowest measured load (1 in flight) the SLO is missed (TPOT). "
        "Remedy: loosen the SLO, or use a curve of faster hardware or with more GPUs per deployment."
    )


def test_shapes_that_miss_the_slo_are_named_beside_the_law() -> None:
    """One shape that fails everywhere does not spoil the others, and is not passed over in silence."""
    failing = points_of(Shape(input_tokens=50_000, output_tokens=100), loads=(64.0, 128.0))
    law = gpu_time_law(curve(SHAPES, points=failing), SLO)
    assert [each.shape.input_tokens for each in law.unmet] == [50_000]
    assert law.notes[0] == ("50000 in, 100 out: at the lowest measured load (64 in flight) the SLO is missed (TPOT).")


# Published curves


def shipped(name: str) -> Curve:
    """The shipped curve whose file is called so."""
    return read_curve(Path(shipped_dir()) / "curves" / f"{name}.json")


@pytest.fixture(scope="module")
def qwen() -> GpuTimeLaw:
    """Qwen3-32B on two H100 at the default SLO."""
    return gpu_time_law(shipped("h100-80gb-sxm_qwen3-32b_unstated_tp2_x2_vllm-0.12.0"), SLO)


def test_the_default_deployment_is_measured_up_to_its_slo(qwen: GpuTimeLaw) -> None:
    """All six published shapes of Qwen3-32B on two H100 break TPOT or TTFT within the measured loads."""
    assert len(qwen.measured) == 6
    assert qwen.saturated
    assert qwen.unmet == ()


def test_the_kv_term_earns_its_place(qwen: GpuTimeLaw) -> None:
    """Leave-one-out on the published shapes: within 5.5 % with the KV term, beyond 25 % without (docs/capacity.md)."""
    busy = np.array([GPUS / (each.closed_rate_per_s or 1) for each in qwen.measured])
    shapes = [each.shape for each in qwen.measured]
    with_kv, without = [], []
    for i, shape in enumerate(shapes):
        rest = [j for j in range(6) if j != i]
        (law,) = fit_coefficients([shapes[j] for j in rest], busy[rest])
        with_kv.append(truth(shape, law) / busy[i] - 1)
        rows = np.array([[s.input_tokens, s.output_tokens] for s in shapes])
        fit = np.linalg.lstsq(rows[rest] / busy[rest, None], np.ones(5), rcond=None)[0]
        without.append(rows[i] @ fit / busy[i] - 1)
    assert max(np.abs(with_kv)) < 0.055
    assert max(np.abs(without)) > 0.25
    assert qwen.error_max is not None
    assert qwen.error_max < 0.11


@pytest.mark.parametrize("path", curve_files(shipped_dir()), ids=lambda path: path.stem)
def test_every_shipped_curve_gives_a_law_or_a_reason(path: Path) -> None:
    """No shipped curve raises anything but `InputError`, and every law meets common sense."""
    read = read_curve(path)
    if all(capacity(read, shape, SLO).rate_per_s is None for shape in measured_shapes(read)):
        with pytest.raises(InputError, match="no measured shape of the curve meets the SLO"):
            gpu_time_law(read, SLO)
        return
    law = gpu_time_law(read, SLO)
    assert len(law.measured) + len(law.unmet) == len(measured_shapes(read))
    for each in law.measured:
        seconds = law.gpu_s(each.shape)
        assert seconds is not None
        tokens_per_gpu_s = (each.shape.input_tokens + each.shape.output_tokens) / seconds
        assert 50 < tokens_per_gpu_s < 200_000


def test_the_page_shows_what_the_script_prints(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    """Every figure that docs/capacity.md quotes from benchmarks/gpu_time_error.py is printed by it today."""
    root = Path(__file__).parent.parent
    monkeypatch.setattr("sys.argv", ["gpu_time_error.py"])
    runpy.run_path(str(root / "benchmarks" / "gpu_time_error.py"), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    page = (root / "docs" / "capacity.md").read_text(encoding="utf-8")
    quoted = [
        line[4:] for line in page.splitlines() if line.startswith("    ") and (" in, " in line or " vLLM " in line)
    ]
    assert len(quoted) == 12
    assert [line for line in quoted if line not in printed] == []
    assert [f"median {bias}" in "\n".join(printed) for bias in ("-1.2%", "+7.4%")] == [True, True]


def test_the_examples_in_the_docstrings_hold() -> None:
    """Formulas can be checked by hand."""
    assert doctest.testmod(gpu_time).failed == 0
