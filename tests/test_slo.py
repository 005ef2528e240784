"""The promise: what is met, how sure an attainment is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hardware_profiles.curve import Estimate, Point, Sample, Shape
from hardware_profiles.slo import Slo, attainment, effective_requests, strictest
from tests.test_stats import queue


def point(met: list[bool], *, duration_s: float | None = 500.0, failed: int | None = None) -> Point:
    """An open-loop point whose requests meet a TTFT limit of 1 s, or do not; each lasts 2 s."""
    return Point(
        shape=Shape(input_tokens=100, output_tokens=10),
        mode="open",
        offered_rate_per_s=1.0,
        throughput_per_s=1.0,
        output_tokens_per_s=10.0,
        sample=tuple(Sample(ttft_s=0.5 if ok else 1.5, tpot_s=0.1, e2e_s=2.0) for ok in met),
        completed=len(met) if failed is not None else None,
        failed=failed,
        duration_s=duration_s,
    )


def test_every_limit_counts_at_once() -> None:
    """A request is met when each limit that is set holds; a limit that is not set does not count."""
    request = Sample(ttft_s=1.0, tpot_s=0.02, e2e_s=5.0)
    assert Slo(ttft_s=1.0, tpot_s=0.02, e2e_s=5.0).met_by(request)
    assert not Slo(ttft_s=0.99, tpot_s=0.02).met_by(request)
    assert not Slo(ttft_s=1.0, tpot_s=0.019).met_by(request)
    assert not Slo(e2e_s=4.9).met_by(request)
    assert Slo().met_by(request)


def test_a_single_token_has_no_tpot_to_miss() -> None:
    """TPOT is undefined for one output token, so its limit holds."""
    assert Slo(tpot_s=0.001).met_by(Sample(ttft_s=1.0, tpot_s=None, e2e_s=1.0))


@pytest.mark.parametrize(
    "wrong", [{"ttft_s": 0}, {"tpot_s": -1}, {"e2e_s": float("nan")}, {"attainment": 0}, {"attainment": 1.01}, {"x": 1}]
)
def test_an_impossible_slo_is_refused(wrong: dict[str, float]) -> None:
    """Limits are positive and finite, the attainment is a share above 0, and there is nothing else."""
    with pytest.raises(ValidationError):
        Slo.model_validate(wrong)


limit = st.none() | st.floats(0.001, 100)
slos = st.builds(Slo, ttft_s=limit, tpot_s=limit, e2e_s=limit, attainment=st.floats(0.5, 1))


@given(st.lists(slos, min_size=1, max_size=4), st.floats(0, 100), st.floats(0, 100), st.floats(0, 100))
def test_the_strictest_slo_implies_each(several: list[Slo], ttft_s: float, tpot_s: float, e2e_s: float) -> None:
    """A request that meets the strictest meets every one of them, at the largest attainment."""
    request = Sample(ttft_s=ttft_s, tpot_s=tpot_s, e2e_s=e2e_s)
    hardest = strictest(several)
    assert hardest.met_by(request) == all(slo.met_by(request) for slo in several)
    assert hardest.attainment == max(slo.attainment for slo in several)


def test_strictest_of_none_is_an_error() -> None:
    """There is no SLO to be had from nobody."""
    with pytest.raises(ValueError, match="strictest of no SLO"):
        strictest([])


def test_failures_are_misses() -> None:
    """80 of 100 served requests met it and 25 more failed: 80 / 125."""
    share = attainment(point([True] * 80 + [False] * 20, failed=25), Slo(ttft_s=1))
    assert share is not None
    assert share.value == pytest.approx(0.64)
    assert attainment(point([True] * 100, failed=25), Slo()).value == pytest.approx(0.8)  # type: ignore[union-attr]


def test_attainment_is_unknown_without_a_sample_and_zero_when_all_failed() -> None:
    """No single requests: None. None of them served: 0, whatever the limits."""
    assert attainment(point([]), Slo(ttft_s=1)) is None
    assert attainment(point([], failed=7), Slo(ttft_s=1)).value == 0  # type: ignore[union-attr]


def test_misses_that_come_together_count_as_fewer_requests() -> None:
    """The same 10 % of misses, spread by chance or in one lump: the lump's interval is far wider."""
    slo = Slo(ttft_s=1)
    chance = np.random.default_rng(1).permutation(300) >= 30
    lump = [not 100 <= i < 130 for i in range(300)]
    assert effective_requests(point(chance.tolist()), slo) > 150
    assert effective_requests(point(lump), slo) < 20
    narrow, wide = attainment(point(chance.tolist()), slo), attainment(point(lump), slo)
    assert narrow is not None
    assert wide is not None
    assert narrow.value == wide.value == 0.9
    assert wide.low < narrow.low < 0.9 < narrow.high < wide.high  # type: ignore[operator]


def test_one_request_tells_nothing() -> None:
    """Its interval is everything; of fifty alike that all met it the lower end is Wilson's."""
    one, fifty = attainment(point([True]), Slo(ttft_s=1)), attainment(point([True] * 50), Slo(ttft_s=1))
    assert one == Estimate(value=1.0, low=0.0, high=1.0)
    assert fifty is not None
    assert fifty.low == pytest.approx(1 / (1 + 2.0096**2 / 50), abs=1e-4)


@pytest.mark.parametrize("requests", [400, 1000, 4000])
def test_the_interval_covers_the_truth_near_the_knee(requests: int) -> None:
    """A queue at 90 % use, seen through a joint sample of at most 500 requests: the interval of the attainment holds
    the true 95 % in at least nine runs of ten."""
    rate, slots, runs = 7.2, 8, 80
    arrivals, first, _ = queue(0, rate, slots, 150_000)
    slo = Slo(ttft_s=float(np.quantile((first - arrivals)[arrivals > 200], 0.95)))
    covered = 0
    for seed in range(1, runs + 1):
        arrivals, first, last = queue(seed, rate, slots, requests + 700)
        chosen = np.sort(np.random.default_rng(seed).choice(requests, min(requests, 500), replace=False)) + 700
        rows = zip((first - arrivals)[chosen], (last - arrivals)[chosen], strict=True)
        sample = tuple(Sample(ttft_s=ttft, tpot_s=None, e2e_s=e2e) for ttft, e2e in rows)
        told = attainment(point([]).model_copy(update={"sample": sample}), slo)
        assert told is not None
        assert told.low is not None
        assert told.high is not None
        covered += told.low <= 0.95 <= told.high
    assert covered / runs >= 0.9
