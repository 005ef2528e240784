"""Capacity: knees of open and closed loops, random arrivals, and what is said about the evidence."""

from __future__ import annotations

import doctest
import importlib.util
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_profiles.curve import Check, Conditions, Curve, Estimate, Gpu, Kind, Point, Sample, Shape
from hardware_profiles.slo import Slo, attainment
from planner import arrivals, knee
from planner import capacity as capacity_module
from planner.arrivals import highest_arrival_rate, steady_arrival_share
from planner.capacity import Capacity, Derating, capacity, measured_shapes, same_shape

SHAPE = Shape(input_tokens=1000, output_tokens=100)
SLO = Slo(ttft_s=2.0, tpot_s=0.03)


def simulator() -> ModuleType:
    """benchmarks/arrivals_error.py: a server that shares itself, simulated."""
    path = Path(__file__).parent.parent / "benchmarks" / "arrivals_error.py"
    spec = importlib.util.spec_from_file_location("arrivals_error", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def curve(points: Sequence[Point], kind: Kind = "published", gpus: int = 2) -> Curve:
    """A curve of these points."""
    return Curve(
        kind=kind,
        model="m",
        precision=None,
        gpu=Gpu(name="g", count=gpus),
        conditions=Conditions(
            engine="vllm", engine_version="1", source="test", source_date="2026-11-20", measured_at="2026-11-20"
        ),
        points=tuple(points),
    )


def closed(load: float, ttft_s: float, tpot_s: float, *, shape: Shape = SHAPE, **more: Any) -> Point:
    """A published closed-loop point: one number per latency, throughput by Little's law."""
    rate = load / (ttft_s + tpot_s * (shape.output_tokens - 1))
    return Point(
        shape=shape,
        mode="closed",
        load=load,
        throughput_per_s=more.pop("throughput_per_s", rate),
        output_tokens_per_s=rate * shape.output_tokens,
        ttft_s={"unstated": Estimate(value=ttft_s)},
        tpot_s={"unstated": Estimate(value=tpot_s)},
        **more,
    )


def opened(rate: float, share_met: float, *, requests: int = 200, shape: Shape = SHAPE, **more: Any) -> Point:
    """An open-loop point with a joint sample in which this share met `SLO`, misses spread evenly."""
    good, bad = Sample(ttft_s=0.5, tpot_s=0.02, e2e_s=2.5), Sample(ttft_s=0.5, tpot_s=0.04, e2e_s=4.5)
    misses = {round(i * requests / max(1, k)) for k in [round(requests * (1 - share_met))] for i in range(k)}
    return Point(
        shape=shape,
        mode="open",
        offered_rate_per_s=rate,
        throughput_per_s=rate,
        output_tokens_per_s=rate * shape.output_tokens,
        sample=tuple(bad if i in misses else good for i in range(requests)),
        duration_s=1000.0,
        **more,
    )


def linear_curve(
    alpha: float = 0.01, beta: float = 0.0002, loads: Sequence[float] = (1, 2, 4, 8, 16, 32, 64, 128)
) -> Curve:
    """TPOT = alpha + beta x load, TTFT 0.2 s."""
    return curve([closed(load, 0.2, alpha + beta * load) for load in loads])


# Open loop


@pytest.mark.parametrize(
    ("points", "rate", "saturated"),
    [
        # the chord between 4/s (97 %) and 8/s (91 %) crosses 95 % a third of the way up
        ([(2, 0.99), (4, 0.97), (8, 0.91)], 4 + 4 / 3, True),
        # a dip that a faster rate does not confirm is pooled with it: (94 + 97) / 2 is above the target
        ([(2, 0.99), (4, 0.94), (6, 0.97), (8, 0.80)], 6 + 2 * 0.005 / 0.155, True),
        # passing everywhere: the highest rate, a floor
        ([(2, 0.99), (4, 0.96)], 4, False),
        # exactly at the target passes
        ([(2, 0.95), (4, 0.80)], 2, True),
        # failing at the lowest: none
        ([(2, 0.90), (4, 0.80)], None, True),
    ],
)
def test_the_open_loop_rate_is_where_attainment_crosses_the_target(
    points: list[tuple[float, float]], rate: float | None, saturated: bool
) -> None:
    """Isotonic in the rate, linear between two rates, nothing beyond the measured ones."""
    found = capacity(curve([opened(*each) for each in points], "measured"), SHAPE, SLO)
    assert found.rate_per_s == (None if rate is None else pytest.approx(rate))
    assert found.saturated is saturated
    assert (found.mode, found.evidence, found.percentile_known) == ("open", "sample", True)


def test_more_requests_weigh_more_at_one_rate() -> None:
    """Two runs at 2/s: 300 requests at 96 % outweigh 100 at 90 %, (288 + 90) / 400 = 94.5 % misses the target."""
    points = [opened(2, 0.96, requests=300), opened(2, 0.90, requests=100), opened(1, 1.0)]
    found = capacity(curve(points, "measured"), SHAPE, SLO)
    assert found.rate_per_s == pytest.approx(1 + 0.05 / 0.055)


def test_failures_lower_the_open_loop_rate() -> None:
    """All served requests met the limits, but a tenth failed: none, and the reason names no latency."""
    point = opened(2, 1.0, completed=180, failed=20)
    found = capacity(curve([point], "measured"), SHAPE, SLO)
    assert found.rate_per_s is None
    assert found.reason == "at the lowest measured offered rate (2 requests/s) the SLO is missed"


def test_bands_follow_the_attainments_interval() -> None:
    """The low end of the interval crosses the target earlier, the high end later."""
    points = [opened(2, 1.0), opened(4, 0.97), opened(8, 0.91)]
    found = capacity(curve(points, "measured"), SHAPE, SLO)
    assert found.rates.low < found.rates.mid < found.rates.high  # type: ignore[operator]
    assert found.rate_per_s == found.rates.mid
    assert capacity(curve(points, "measured"), SHAPE, SLO, "low").rate_per_s == found.rates.low


# Closed loop


def test_the_closed_loop_load_is_where_the_latency_meets_its_limit() -> None:
    """TPOT = 10 ms + 0.2 ms x load meets 30 ms at load 100 exactly, though 64 and 128 were measured."""
    found = capacity(linear_curve(), SHAPE, SLO)
    assert found.load == pytest.approx(100)
    assert found.residence_s == pytest.approx(0.2 + 99 * 0.03)
    assert found.closed_rate_per_s == pytest.approx(100 / (0.2 + 99 * 0.03))
    assert found.limiting == "tpot"
    assert found.saturated


def test_a_law_is_recovered_within_the_interpolation_error() -> None:
    """With linear TPOT the rate from eight loads equals the rate from every load within 1 part in a million."""
    every = linear_curve(loads=range(1, 257))
    dense, sparse = capacity(every, SHAPE, SLO), capacity(linear_curve(), SHAPE, SLO)
    beyond = capacity(linear_curve(loads=(1, 2, 4, 8, 16, 32, 64, 256)), SHAPE, SLO)
    assert beyond.rate_per_s == pytest.approx(dense.rate_per_s, rel=1e-6)
    # the highest load, 128, is not far beyond n* = 100: the flat throughput above it costs 0.2 %
    assert sparse.rate_per_s == pytest.approx(dense.rate_per_s, rel=2e-3)
    assert sparse.rate_per_s < dense.rate_per_s  # type: ignore[operator]


def test_the_worst_latency_limits() -> None:
    """TTFT reaches its limit at load 8, TPOT only at 16: load 8 counts and TTFT is named."""
    points = [closed(4, 1.0, 0.01), closed(8, 2.0, 0.015), closed(16, 4.0, 0.03)]
    found = capacity(curve(points), SHAPE, SLO)
    assert found.load == pytest.approx(8)
    assert found.limiting == "ttft"


def test_e2e_that_nobody_stated_is_load_over_throughput() -> None:
    """Little's law: 8 in flight at 2/s last 4 s each."""
    points = [closed(4, 0.1, 0.01, throughput_per_s=2.0), closed(8, 0.1, 0.01, throughput_per_s=2.0)]
    assert capacity(curve(points), SHAPE, Slo(e2e_s=3.0)).load == pytest.approx(6)
    assert capacity(curve(points), SHAPE, Slo(e2e_s=1.9)).rate_per_s is None


def test_a_closed_loop_that_always_passes_gives_a_floor() -> None:
    """Up to load 64 the limit of 30 ms holds: no extrapolation, and it is said aloud."""
    found = capacity(linear_curve(loads=(1, 8, 64)), SHAPE, SLO)
    assert found.load == 64
    assert not found.saturated
    assert found.notes[0] == "The SLO still held at the highest measured load (64 in flight): a floor."


def test_failing_at_the_lowest_load_means_none() -> None:
    """Load 128 already takes 35.6 ms per token: nothing is known below it."""
    found = capacity(linear_curve(loads=(128, 256)), SHAPE, SLO)
    assert found.rate_per_s is None
    assert found.reason == "at the lowest measured load (128 in flight) the SLO is missed (TPOT)"
    assert found.rates == capacity_module.Rates(None, None, None)


def test_published_numbers_are_compared_but_not_called_attainment() -> None:
    """One unnamed number per latency: the result is flagged and says so."""
    found = capacity(linear_curve(), SHAPE, SLO)
    assert (found.kind, found.evidence, found.percentile_known) == ("published", "published", False)
    law = "law: docs/capacity.md"
    assert found.notes == (
        "Attainment is not known: published numbers (not the percentile asked for) were compared with the limits.",
        f"Random arrivals leave 0.87 of the 31.55/s that a closed loop served with 100 in flight ({law}).",
    )


def test_a_stated_percentile_that_reaches_the_attainment_is_used() -> None:
    """p99 when 95 % is asked for and p95 is not stated; the mean beside it is not looked at."""
    point = closed(4, 0.1, 0.01)
    stated = {"mean": Estimate(value=0.01), "p99": Estimate(value=0.04), "p90": Estimate(value=0.02)}
    lower = closed(2, 0.1, 0.01).model_copy(update={"tpot_s": {"p99": Estimate(value=0.02)}})
    ttft = {"p95": Estimate(value=0.1)}
    points = [
        lower.model_copy(update={"ttft_s": ttft}),
        point.model_copy(update={"tpot_s": stated, "ttft_s": ttft}),
    ]
    found = capacity(curve(points), SHAPE, SLO)
    assert found.load == pytest.approx(3)
    assert found.percentile_known


def test_closed_loop_samples_are_judged_jointly() -> None:
    """4 % miss TTFT and 4 % others miss TPOT: each limit alone is met by 96 %, both at once by 92 %."""
    good = Sample(ttft_s=0.5, tpot_s=0.02, e2e_s=2.5)
    late, slow = Sample(ttft_s=3.0, tpot_s=0.02, e2e_s=5.0), Sample(ttft_s=0.5, tpot_s=0.04, e2e_s=4.5)
    mixed = tuple({0: late, 12: slow}.get(i % 25, good) for i in range(500))
    points = [
        closed(4, 0.1, 0.01, sample=(good,) * 500, duration_s=900.0),
        closed(8, 0.1, 0.01, sample=mixed, duration_s=900.0),
    ]
    assert capacity(curve(points, "measured"), SHAPE, SLO).load < 8  # type: ignore[operator]
    assert capacity(curve(points, "measured"), SHAPE, Slo(ttft_s=2.0)).load == 8
    assert capacity(curve(points, "measured"), SHAPE, Slo(tpot_s=0.03)).load == 8


def test_points_with_failed_checks_are_left_out() -> None:
    """The point at load 128 is marked: what is left still passes at its highest load."""
    bad = closed(128, 5.0, 0.05, checks=(Check(name="client", verdict="fail", reason="too slow"),))
    points = [*linear_curve(loads=(1, 8, 64)).points, bad]
    assert capacity(curve(points), SHAPE, SLO) == capacity(linear_curve(loads=(1, 8, 64)), SHAPE, SLO)


def test_points_that_lack_a_limited_latency_are_left_out_and_counted() -> None:
    """No TPOT at load 32: it is judged only where another limit is broken already."""
    points = list(linear_curve(loads=(1, 8, 64)).points)
    without = closed(32, 0.2, 0.02).model_copy(update={"tpot_s": {}})
    found = capacity(curve([*points, without]), SHAPE, SLO)
    assert "1 points lack a latency that the SLO limits and were left out." in found.notes
    broken = closed(32, 9.0, 0.02).model_copy(update={"tpot_s": {}})
    assert capacity(curve([*points, broken]), SHAPE, SLO).limiting == "ttft"


def test_a_shape_that_was_not_measured_has_no_capacity_here() -> None:
    """Nothing is extrapolated from other shapes: that is the GPU-time law's task."""
    found = capacity(linear_curve(), Shape(input_tokens=2000, output_tokens=100), SLO)
    assert found.rate_per_s is None
    assert found.reason == "the curve has no usable point for 2000 in, 100 out"
    assert not found.saturated


def test_shapes_within_one_per_cent_are_one() -> None:
    """Measured means jitter: 1000 and 1009 input tokens are the same shape, 1000 and 1020 are not."""
    assert same_shape(SHAPE, Shape(input_tokens=1009, output_tokens=100))
    assert not same_shape(SHAPE, Shape(input_tokens=1020, output_tokens=100))
    assert not same_shape(SHAPE, Shape(input_tokens=1000, cached_tokens=500, output_tokens=100))
    near = closed(16, 0.2, 0.01, shape=Shape(input_tokens=1009, output_tokens=100))
    assert len(measured_shapes(curve([closed(8, 0.2, 0.01), near]))) == 1


# Both loops


def test_the_open_loop_decides_and_the_measured_factor_is_told() -> None:
    """Open loop 20/s beside a closed loop that served more: the factor is their ratio, by measurement."""
    points = [*linear_curve().points, opened(16, 1.0), opened(20, 0.95), opened(24, 0.5)]
    found = capacity(curve(points, "measured"), SHAPE, SLO)
    assert found.rate_per_s == pytest.approx(20)
    assert found.derated_by == Derating(20 / found.closed_rate_per_s, "measured")  # type: ignore[operator]


def test_a_shape_with_a_closed_loop_only_takes_over_the_measured_correction() -> None:
    """Another shape reached 0.9 of the law in its open loop: the law's rate is multiplied by that."""
    other = Shape(input_tokens=2000, output_tokens=100)
    alone = capacity(linear_curve(), SHAPE, SLO)
    open_rate = 0.9 * alone.rate_per_s  # type: ignore[operator]
    both = [*linear_curve().points, opened(open_rate / 2, 1.0), opened(open_rate, 0.95), opened(open_rate * 2, 0.5)]
    points = [
        *both,
        *(closed(p.load, 0.2, 0.01 + 0.0002 * p.load, shape=other) for p in linear_curve().points if p.load),
    ]
    found = capacity(curve(points, "measured"), other, SLO)
    assert found.rate_per_s == pytest.approx(open_rate)
    assert found.derated_by is not None
    assert found.derated_by.method == "measured"
    assert found.notes[-1].endswith("(0.90 of the law, as other shapes measured).")


# Random arrivals


def test_the_law_without_slowdown_is_poisson() -> None:
    """E2E of 10 s at every load: P(Poisson(10 r) >= 50) = 2.5 % at r = 3.711 (gamma quantile), measured to 400."""
    loads = np.array([1.0, 400.0])
    rate = highest_arrival_rate(50, loads, np.array([10.0, 10.0]), 0.95)
    assert rate == pytest.approx(3.7110, abs=1e-4)
    assert steady_arrival_share(50, 0.95) == pytest.approx(rate * 10 / 50, abs=1e-6)  # type: ignore[operator]


def test_small_and_huge_loads() -> None:
    """Below 1 even a lone request misses: none. At 100,000 in flight nearly all of the closed loop's rate remains."""
    one = np.array([1.0])
    assert highest_arrival_rate(0.9, one, one, 0.95) is None
    assert highest_arrival_rate(4, one, one, 1.0) is None
    assert steady_arrival_share(0.9, 0.95) is None
    huge = highest_arrival_rate(1e5, np.array([1.0, 2e5]), np.array([10.0, 10.0]), 0.95)
    assert huge == pytest.approx(1e4, rel=0.01)


def test_attainment_of_every_single_request_cannot_be_promised() -> None:
    """At 100 % no random stream is slow enough, and the reason says so."""
    found = capacity(linear_curve(), SHAPE, Slo(tpot_s=0.03, attainment=1.0))
    assert found.rate_per_s is None
    assert found.reason == "the SLO bears 100 in flight, which random arrivals exceed too often at any rate"


def test_a_small_load_is_warned_about() -> None:
    """At n* = 2 the law can be half too high (benchmarks/arrivals_error.py), and the result says so."""
    found = capacity(linear_curve(alpha=0.01, beta=0.01), SHAPE, SLO)
    assert found.load == pytest.approx(2)
    assert found.notes[-1] == "At so small a load the law can be half too high: measure with an open loop."


@pytest.mark.parametrize("sizes", ["fixed", "even", "exponential"])
@pytest.mark.parametrize(("limit_load", "beyond"), [(4, 1.25), (16, 1.13), (64, 1.08)])
def test_the_law_is_on_the_safe_side_of_a_simulated_server(limit_load: int, beyond: float, sizes: str) -> None:
    """95 % meet the limit at the law's rate, and no longer at a stated factor beyond it."""
    truth = simulator()
    beta = truth.LIMIT_S * 0.5 / limit_load
    alpha = truth.LIMIT_S - beta * limit_load
    rate = truth.law_rate(limit_load, alpha, beta, ends=2)
    assert truth.attained(rate, alpha, beta, sizes=sizes, requests=12_000, seed=7) >= 0.95
    assert truth.attained(rate * beyond, alpha, beta, sizes=sizes, requests=12_000, seed=7) < 0.95


def simulated_point(truth: ModuleType, rate: float, seed: int, requests: int = 3000) -> Point:
    """An open-loop point as `bench` would keep it: the window behind the warm-up, 500 requests in order of sending."""
    arrival, tokens, e2e_s = truth.simulate(rate, 0.015, 0.015 / 32, sizes="even", requests=requests, seed=seed)
    kept = np.linspace(requests // 5, requests - 1, 500).astype(int)
    return Point(
        shape=SHAPE,
        mode="open",
        offered_rate_per_s=rate,
        throughput_per_s=rate,
        output_tokens_per_s=rate * 200,
        sample=tuple(Sample(ttft_s=0.1, tpot_s=e2e_s[i] / tokens[i], e2e_s=e2e_s[i]) for i in kept),
        duration_s=float(arrival[-1] - arrival[requests // 5]),
    )


def test_the_open_loop_finds_a_simulated_servers_capacity() -> None:
    """Eight rates of 500 kept requests each: within 8 % of the truth, which lies between the low and the high band."""
    truth = simulator()
    true_rate = truth.true_rate(0.015, 0.015 / 32, sizes="even")
    points = [simulated_point(truth, true_rate * share, seed) for seed, share in enumerate(np.linspace(0.6, 1.3, 8))]
    found = capacity(curve(points, "measured"), SHAPE, Slo(tpot_s=truth.LIMIT_S))
    assert found.rate_per_s == pytest.approx(true_rate, rel=0.08)
    assert found.rates.low <= true_rate <= found.rates.high


def test_the_attainments_interval_covers_the_truth_at_the_knee() -> None:
    """Of 40 independent windows at the knee at least 34 cover the truth; a binomial interval covers far fewer."""
    truth = simulator()
    slo, rate = Slo(tpot_s=truth.LIMIT_S), 4.2
    true_share = truth.attained(rate, 0.015, 0.015 / 32, sizes="even", requests=60_000)
    covered = naive = 0
    for seed in range(40):
        share = attainment(simulated_point(truth, rate, seed + 100, requests=6000), slo)
        assert share is not None
        assert share.low is not None
        assert share.high is not None
        half = 1.96 * (share.value * (1 - share.value) / 500) ** 0.5
        covered += share.low <= true_share <= share.high
        naive += abs(share.value - true_share) <= half
    assert covered >= 34
    assert naive < 25


# Properties


@st.composite
def points_of_both_modes(draw: st.DrawFn) -> list[Point]:
    """One to six closed-loop points with arbitrary latencies, or open-loop points with arbitrary attainment."""
    if draw(st.booleans()):
        loads = draw(st.lists(st.sampled_from([1, 2, 4, 8, 16, 32, 64]), min_size=1, max_size=6, unique=True))
        latency = st.floats(0.001, 10)
        return [closed(load, draw(latency), draw(latency) / 100) for load in loads]
    rates = draw(st.lists(st.sampled_from([1, 2, 3, 4, 5]), min_size=1, max_size=5, unique=True))
    return [opened(rate, draw(st.floats(0.8, 1)), requests=100) for rate in rates]


slos = st.builds(
    Slo, ttft_s=st.floats(0.01, 10), tpot_s=st.floats(0.001, 0.1), attainment=st.sampled_from([0.5, 0.9, 0.95, 0.99])
)


@settings(max_examples=60, deadline=None)
@given(points_of_both_modes(), slos, st.floats(0.3, 1), st.floats(0.3, 1), st.sampled_from([0.0, 0.5, 0.9]))
def test_a_stricter_slo_never_has_more_capacity(
    points: list[Point], slo: Slo, ttft: float, tpot: float, nearer: float
) -> None:
    """Lower limits and a higher target: at every band the capacity stays or falls."""
    assert slo.ttft_s is not None
    assert slo.tpot_s is not None
    target = slo.attainment + nearer * (1 - slo.attainment)
    stricter = Slo(ttft_s=slo.ttft_s * ttft, tpot_s=slo.tpot_s * tpot, attainment=target)
    loose, strict = (capacity(curve(points), SHAPE, each).rates for each in (slo, stricter))
    for before, after in ((loose.low, strict.low), (loose.mid, strict.mid), (loose.high, strict.high)):
        assert (after or 0) <= (before or 0) * (1 + 1e-9)


@settings(max_examples=60, deadline=None)
@given(points_of_both_modes(), slos, st.randoms(use_true_random=False))
def test_the_order_of_points_does_not_matter(points: list[Point], slo: Slo, shuffler: random.Random) -> None:
    """A curve is a set of points."""
    shuffled = list(points)
    shuffler.shuffle(shuffled)
    assert capacity(curve(shuffled), SHAPE, slo) == capacity(curve(points), SHAPE, slo)


@settings(max_examples=60, deadline=None)
@given(points_of_both_modes(), st.floats(1.01, 3), st.floats(1.0, 3))
def test_a_faster_point_that_passes_never_lowers_the_capacity(
    points: list[Point], further: float, faster: float
) -> None:
    """A point beyond all others, served faster and inside the SLO, leaves the capacity or raises it."""
    before = capacity(curve(points), SHAPE, SLO)
    rate = max(point.throughput_per_s for point in points) * faster
    if points[0].mode == "open":
        extra = opened(max(point.offered_rate_per_s or 0 for point in points) * further, 0.99)
    else:
        extra = closed(max(point.load or 0 for point in points) * further, 0.1, 0.01, throughput_per_s=rate)
    after = capacity(curve([*points, extra]), SHAPE, SLO)
    assert (after.rate_per_s or 0) >= (before.rate_per_s or 0) * (1 - 1e-9)


@settings(max_examples=60, deadline=None)
@given(points_of_both_modes(), slos)
def test_bands_are_in_order_and_below_the_closed_loop(points: list[Point], slo: Slo) -> None:
    """Low <= mid <= high, and random arrivals never get more than the closed loop served."""
    found = capacity(curve(points), SHAPE, slo)
    assert (found.rates.low or 0) <= (found.rates.mid or 0) * (1 + 1e-9)
    assert (found.rates.mid or 0) <= (found.rates.high or 0) * (1 + 1e-9)
    if found.rate_per_s and found.mode == "closed":
        assert found.rate_per_s <= found.closed_rate_per_s  # type: ignore[operator]


def test_the_answer_is_a_frozen_value() -> None:
    """Nobody changes a capacity in passing."""
    found = capacity(linear_curve(), SHAPE, SLO)
    with pytest.raises(AttributeError):
        found.rate_per_s = 1.0  # type: ignore[misc]
    assert replace(found, band="low") != found
    assert isinstance(found, Capacity)


@pytest.mark.parametrize("module", [arrivals, capacity_module, knee])
def test_the_examples_in_the_docstrings_hold(module: ModuleType) -> None:
    """Formulas can be checked by hand."""
    tried = doctest.testmod(module)
    assert tried.attempted > 0
    assert tried.failed == 0
