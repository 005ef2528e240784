"""Shape classes: what an hour needs is kept exactly, by classes that are the same in every hour."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from planner.forecast import Forecast, tile
from planner.shapes import KV_TOLERANCE, ShapeClasses, shape_classes


def forecast(requests: ArrayLike, given: ArrayLike, cached: ArrayLike, output: ArrayLike) -> Forecast:
    """A forecast of one workload, `chat`, from totals per hour."""
    columns = [np.array(totals, dtype=np.float64)[:, None] for totals in (requests, given, cached, output)]
    return Forecast(
        path=Path("forecast.csv"),
        sha256="",
        start=datetime(2027, 1, 4, tzinfo=UTC),
        workloads=("chat",),
        requests=columns[0],
        input_tokens=columns[1],
        cached_input_tokens=columns[2],
        output_tokens=columns[3],
        source_hour=np.arange(len(columns[0])),
    )


def means(requests: ArrayLike, given: ArrayLike, share: ArrayLike, output: ArrayLike) -> Forecast:
    """The same from means of a request and the cached share of its input."""
    r, i, s, o = (np.array(x, dtype=np.float64) for x in (requests, given, share, output))
    return forecast(r, r * i, r * i * s, r * o)


def told_back(found: ShapeClasses) -> np.ndarray:
    """[T, 4] requests, input, cached, output tokens that the classes stand for."""
    shapes = np.array([(1.0, s.input_tokens, s.cached_tokens, s.output_tokens) for s in found.classes])
    return found.demand @ shapes.reshape(-1, 4)


def totals(f: Forecast) -> np.ndarray:
    return np.column_stack([f.requests, f.input_tokens, f.cached_input_tokens, f.output_tokens])


def kv(given: np.ndarray, output: np.ndarray) -> np.ndarray:
    return output * (given + output / 2)


@st.composite
def hours(draw: st.DrawFn) -> Forecast:
    """Hours of any means, some of them without a request."""
    count = draw(st.integers(1, 30))

    def some(low: float, high: float) -> list[float]:
        return draw(st.lists(st.floats(low, high), min_size=count, max_size=count))

    requests = np.array(some(0.001, 1e6)) * np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    return means(requests, some(1, 1e5), np.round(np.maximum(some(-0.5, 1), 0), 9), some(1, 1e4))


@settings(deadline=None)  # the cores are shared
@given(hours())
def test_totals_are_kept(f: Forecast) -> None:
    """Requests exactly; tokens to 1e-9, or to the half token per hour that a file of whole tokens cannot say."""
    found = shape_classes(f, "chat")
    difference = np.abs(told_back(found) - totals(f))
    assert (difference[:, 0] <= 1e-12 * f.requests[:, 0]).all()
    exact = difference <= 1e-9 * totals(f)
    assert (exact | (difference <= 0.5 + 1e-9)).all()
    assert found.residual.hours == (~exact).any(axis=1).sum()
    lost = (found.residual.input_tokens, found.residual.cached_tokens, found.residual.output_tokens)
    assert lost == pytest.approx(np.where(exact, 0, difference).sum(axis=0)[1:], abs=1e-6)


@settings(deadline=None)  # the cores are shared
@given(hours())
def test_demand_is_never_negative_and_classes_lie_within_what_was_forecast(f: Forecast) -> None:
    """No class is larger or smaller than the hours' means; an hour without requests asks for nothing."""
    found = shape_classes(f, "chat")
    busy = f.requests[:, 0] > 0
    assert (found.demand >= 0).all()
    assert not found.demand[~busy].any()
    assert len(found.classes) <= 16
    if not busy.any():
        assert found.classes == ()
        return
    assert found.demand.any(axis=0).all()
    for tokens, of in ((f.input_tokens, "input_tokens"), (f.output_tokens, "output_tokens")):
        mean = tokens[busy] / f.requests[busy]
        corners = [getattr(shape, of) for shape in found.classes]
        assert mean.min() * (1 - 1e-4) <= min(corners)
        assert max(corners) <= mean.max() * (1 + 1e-4)


@settings(deadline=None)  # the cores are shared
@given(hours(), st.sampled_from([0.25, 0.5, 2.0, 1024.0]))
def test_more_of_the_same_needs_more_of_the_same(f: Forecast, factor: float) -> None:
    """Twice the traffic with the same means has the same classes and twice the demand in each."""
    once = shape_classes(f, "chat")
    more = shape_classes(forecast(*(factor * column for column in totals(f).T)), "chat")
    if once.residual.hours == more.residual.hours == 0:
        assert more.classes == once.classes
        assert np.allclose(more.demand, factor * once.demand, rtol=1e-12, atol=0)


@settings(deadline=None)  # the cores are shared
@given(hours())
def test_kv_traffic_is_never_understated(f: Forecast) -> None:
    """A plan's GPUs never fall short because of the classes: output * (input + output / 2) is kept or overstated."""
    found = shape_classes(f, "chat")
    busy = f.requests[:, 0] > 0
    requests, given_tokens, _, output = totals(f)[busy].T
    true = requests * kv(given_tokens / requests, output / requests)
    stated = found.demand[busy] @ np.array([kv(s.input_tokens, s.output_tokens) for s in found.classes])
    assert (stated >= true * (1 - 3e-4)).all()
    if busy.any() and found.residual.hours == 0:
        assert stated.sum() / true.sum() - 1 == pytest.approx(found.kv_overstated, abs=1e-6)


@pytest.mark.parametrize(
    ("given_tokens", "share", "output", "count"),
    [
        ([500, 500, 500, 500], [0, 0, 0, 0], [100, 100, 100, 100], 1),  # nothing varies
        ([500, 600, 550, 540], [0, 0, 0, 0], [100, 100, 100, 100], 2),  # the input does
        ([500, 600, 550, 540], [0.2, 0.2, 0.2, 0.2], [100, 100, 100, 100], 2),  # and its cached part with it
        ([500, 600, 550, 540], [0, 0, 0, 0], [100, 90, 110, 100], 4),  # input and output
        ([500, 600, 550, 540], [0.1, 0.3, 0.2, 0.2], [100, 90, 110, 100], 8),  # everything
    ],
)
def test_classes_are_as_many_as_what_varies_needs(
    given_tokens: list[float], share: list[float], output: list[float], count: int
) -> None:
    """Two levels of each dimension that varies, one of the others."""
    assert len(shape_classes(means([1e4, 2e4, 3e4, 4e4], given_tokens, share, output), "chat").classes) == count


def test_an_example_by_hand() -> None:
    """Three hours whose middle one lies half way in both dimensions takes a quarter of each corner."""
    f = forecast([10, 40, 10], [1000, 6000, 2000], [0, 0, 0], [100, 1000, 400])
    found = shape_classes(f, "chat")
    corners = [(s.input_tokens, s.output_tokens) for s in found.classes]
    assert corners == [(100, 10), (100, 40), (200, 10), (200, 40)]
    assert found.demand.tolist() == [[10, 0, 0, 0], [10, 10, 10, 10], [0, 0, 0, 10]]
    assert found.residual.hours == 0
    # only the middle hour is overstated, by 40 * (40 - 25) * (25 - 10) / 2 = 4500
    assert found.kv_overstated == pytest.approx(4500 / (10 * 10 * 105 + 40 * 25 * 162.5 + 10 * 40 * 220))


def test_corners_that_no_hour_uses_are_left_out() -> None:
    """Two hours at opposite corners need two classes, not four."""
    found = shape_classes(forecast([10, 10], [1000, 2000], [0, 0], [100, 400]), "chat")
    assert [(s.input_tokens, s.output_tokens) for s in found.classes] == [(100, 10), (200, 40)]


def test_rounding_to_whole_tokens_is_no_variation() -> None:
    """Totals rounded from constant means give one class, and what that moved is told."""
    requests = np.array([1000.0, 2001.0, 3003.0, 517.0])
    found = shape_classes(
        forecast(requests, np.round(requests * 512.37), np.round(requests * 100.1), np.round(requests * 99.9)), "chat"
    )
    (shape,) = found.classes
    assert shape.input_tokens == pytest.approx(512.37, rel=1e-5)
    assert shape.cached_tokens == pytest.approx(100.1, rel=1e-5)
    assert found.residual.hours > 0
    assert found.residual.input_tokens <= 0.5 * 4


def test_an_odd_hour_does_not_distort_the_others() -> None:
    """One nearly empty hour with very long outputs stretches the box; more output levels keep KV traffic in bounds."""
    rng = np.random.default_rng(1)
    output = rng.uniform(200, 300, 500)
    output[7] = 8000
    requests = np.full(500, 1000.0)
    requests[7] = 1
    found = shape_classes(means(requests, np.full(500, 500.0), np.zeros(500), output), "chat")
    levels = sorted({shape.output_tokens for shape in found.classes})
    assert len(levels) == 3
    assert (levels[0], levels[2]) == pytest.approx((output.min(), 8000))
    assert found.kv_overstated <= KV_TOLERANCE


def test_copies_of_an_hour_have_equal_demand() -> None:
    """Hours that repeat others have bit for bit their demand, so that they can be merged."""
    rng = np.random.default_rng(2)
    f = means(rng.uniform(1, 100, 200), rng.uniform(10, 999, 200), rng.uniform(0, 1, 200), rng.uniform(1, 99, 200))
    tiled, _ = tile(f, 1000)
    found = shape_classes(tiled, "chat")
    assert (found.demand == found.demand[:200][tiled.source_hour]).all()
