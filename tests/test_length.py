"""Stages are as long as their requests need: on engines whose truth is known, from E2E of half a second to minutes."""

from __future__ import annotations

import numpy as np
import pytest
from simulated import Engine, soonest_s

from bench import stats, steady
from bench.evidence import Evidence
from bench.judge import balance
from bench.length import Pace, Times, at_load, at_rate, least_load_s, long_e2e_s, longest_e2e_s
from bench.prompts import Range
from bench.records import Records
from bench.schedule import Stage
from bench.watch import Watch

TOKENS = 60
SHAPE = Range(input_low=10, input_high=10, output_low=54, output_high=66)
LOADS = (1, 2, 4, 8, 16, 32, 64)
PACE = Pace(width=None)


def stage(times: Times, **more: object) -> Stage:
    return Stage.model_validate({"name": "s", "shape": SHAPE, "seed": 1, "width": None} | times | more)


def truth_per_s(engine: Engine, load: int, e2e_s: float) -> float:
    """Whole answers per second of a loop that was held for a hundred E2E times."""
    held = stage({"cap_s": 1e9, "stagger_s": e2e_s}, mode="closed", load=load, seed=99)
    ends = engine.serve(held, 100 * e2e_s).end_s
    return float(np.count_nonzero((ends >= 10 * e2e_s) & (ends < 100 * e2e_s))) / (90 * e2e_s)


def swept(engine: Engine, seed: int) -> list[tuple[int, Stage, Records, float]]:
    """The levels of a sweep, each as long as those before it say, stopped as soon as it may: stage, records, load."""
    alone = stage({"cap_s": 0.5, "warm_up_s": 0.0, "stagger_s": 0.0}, mode="closed", load=1)
    first_s = stats.expected_e2e_s(engine.serve(alone, 0.01), alone)
    assert first_s is not None
    seen, done = [(1, first_s)], []
    for load in LOADS:
        times = PACE.closed(at_load(seen, load), longest_e2e_s(seen, load))
        level = stage(times, mode="closed", load=load, seed=seed)
        assert level.longest_s is not None
        load_s = min(soonest_s(level, engine.serve(level, level.longest_s)), level.longest_s)
        records = engine.serve(level, load_s)
        e2e_s = long_e2e_s(stats.e2e_s(records))
        assert e2e_s is not None
        seen = [*seen, (load, e2e_s)] if done else [(load, e2e_s)]
        done.append((load, level, records, load_s))
    return done


@pytest.mark.parametrize("e2e_s", [2.0, 10.0, 45.0, 125.0])
@pytest.mark.parametrize(
    "engine",
    [
        # E2E does not depend on the load
        Engine(1 / TOKENS),
        # a token takes longer the more are written, as on a GPU that is near its limit at load 32
        Engine(0.2 / TOKENS, 0.8 / TOKENS / 32),
        # reading a prompt stops everyone: users in step are seen here
        Engine(0.3 / TOKENS, 0.3 / TOKENS / 32, 0.4 / 32),
    ],
)
def test_a_closed_loops_throughput_is_the_truth(engine: Engine, e2e_s: float) -> None:
    """Every level of three sweeps, stopped as early as it may be, is told to be steady; in the mean its throughput is
    within 2 % of the truth, or within twice the luck of so few lengths where that is more (below load 4)."""
    own = Engine(engine.step_s * e2e_s, engine.running_s * e2e_s, engine.prefill_s * e2e_s)
    for levels in zip(*(swept(own, seed) for seed in (1, 2, 3)), strict=True):
        shares, rounds, load = [], 0.0, levels[0][0]
        truth: float | None = None
        for _, level, records, load_s in levels:
            window = steady.stage_window(records, level, load_s)
            typical_s = float(np.median(stats.e2e_s(records)))
            truth = truth or truth_per_s(own, load, typical_s)
            rounds += load * window.length_s / typical_s
            shares.append(stats.throughput_per_s(records, window).value / truth)
            assert steady.stationarity(records, window, mode="closed").stationary is True, load
        luck = 0.1 / 3**0.5 / rounds**0.5  # lengths are drawn within 10 %
        assert np.mean(shares) == pytest.approx(1, abs=max(0.02, 2 * luck)), load


@pytest.mark.parametrize("e2e_s", [70.0, 90.0])
def test_whole_answers_in_a_short_window_mislead(e2e_s: float) -> None:
    """Why a request counts by its share: of 32 users in step the window holds one wave of ends or two, by luck."""
    engine = Engine(e2e_s / TOKENS)
    level = stage({"cap_s": 120.0, "warm_up_s": 10.0, "stagger_s": 1.0}, mode="closed", load=32)
    records = engine.serve(level, 120.0)
    window = steady.stage_window(records, level, 120.0)
    whole = np.count_nonzero((records.end_s >= window.start_s) & (records.end_s < window.end_s)) / window.length_s
    assert abs(whole * e2e_s / 32 - 1) > 0.15
    assert stats.throughput_per_s(records, window).value * e2e_s / 32 == pytest.approx(1, abs=0.02)


def judged(engine: Engine, rate_per_s: float, e2e_s: float, seed: int) -> tuple[str, bool | None]:
    """Balance and steadiness of an open-loop stage, stopped as early as it may be."""
    opened = stage(PACE.open(e2e_s, rate_per_s), mode="open", rate_per_s=rate_per_s, seed=seed)
    load_s = 1.02 * least_load_s("open", opened.warm_up_s, e2e_s)
    opened = opened.model_copy(update={"cap_s": load_s})
    records = engine.serve(opened, load_s)
    window = steady.stage_window(records, opened, load_s)
    watch = Watch(stage="s", records_sha256="", before=None, after=None)
    known = Evidence(stage=opened, records=records, window=window, zero_unix_s=0, client={}, watch=watch, ceiling=None)
    return balance(known).verdict, steady.stationarity(records, window).stationary


@pytest.mark.parametrize(("rate_per_s", "e2e_s"), [(6.0, 8.0), (2.0, 40.0), (1.0, 100.0)])
def test_a_server_without_limits_passes_every_rate(rate_per_s: float, e2e_s: float) -> None:
    """Ten seeds: arrivals and departures agree in all of them, all are told to be steady or not, and at most one is
    a false alarm: no rate fails, since that takes two of three."""
    told = [judged(Engine(e2e_s / TOKENS), rate_per_s, e2e_s, seed) for seed in range(10)]
    assert {verdict for verdict, _ in told} == {"pass"}
    assert None not in [steady for _, steady in told]
    assert [steady for _, steady in told].count(False) <= 1


def test_a_rate_above_the_servers_is_unsteady() -> None:
    """A token takes as long as there are requests: 4/s can be served, 4.6/s cannot."""
    told = [judged(Engine(5 / TOKENS, 1 / (4 * TOKENS)), 4.6, 30.0, seed) for seed in range(3)]
    assert [steady for _, steady in told] == [False] * 3


@pytest.mark.parametrize(
    ("levels", "load", "expected_s", "most_s"),
    [
        # nothing known
        ([], 4, None, None),
        # one level: between its own E2E and the worst, all after each other
        ([(1, 10.0)], 1, 10.0, 10.0),
        ([(8, 10.0)], 32, 20.0, 40.0),
        # on the line through the last two, which is where E2E = 8 s + 1 s x load lies
        ([(1, 9.0), (2, 10.0), (4, 12.0)], 8, 16.0, 24.0),
        # not below the last level, and not above the worst
        ([(1, 10.0), (2, 9.0)], 4, 9.0, 18.0),
        ([(4, 1.0), (8, 9.0)], 16, 18.0, 18.0),
    ],
)
def test_the_next_levels_e2e(
    levels: list[tuple[int, float]], load: int, expected_s: float | None, most_s: float | None
) -> None:
    """What to expect, and the longest it can be."""
    assert at_load(levels, load) == expected_s
    assert longest_e2e_s(levels, load) == most_s


def test_the_e2e_of_a_rate() -> None:
    """Between the levels that enclose it; beyond them that of the nearest; none without levels."""
    levels = [(1.0, 10.0), (1.9, 12.0), (2.1, 20.0)]
    assert [at_rate(levels, rate) for rate in (0.1, 1.45, 2.0, 9.0)] == [10.0, 11.0, 16.0, 20.0]
    assert at_rate([], 1.0) is None


def test_short_requests_leave_a_stage_at_its_length() -> None:
    """Half a second each: 120 s with 10 s of warm-up, as if nothing was known, but for the users' start."""
    known = PACE.closed(0.5, 1.0)
    assert known == {"cap_s": 120.0, "longest_s": 120.0, "warm_up_s": 10.0, "stagger_s": 0.5, "drain_s": 120.0}
    assert PACE.closed(None, None) == {"cap_s": 120.0, "warm_up_s": 10.0, "stagger_s": 1.0, "drain_s": 1800.0}
    pace = Pace(stage_s=60, rate_requests=400)
    assert [pace.open(0.5, rate)["cap_s"] for rate in (100, 4, 0.1)] == [60, 130, 240]


def test_long_requests_make_a_stage_long() -> None:
    """40 s each: 7 of them and a quarter more; pauses and turns make a user's round longer."""
    known = PACE.closed(40.0, 80.0)
    assert (known["cap_s"], known["longest_s"], known["stagger_s"], known["drain_s"]) == (350.0, 700.0, 40.0, 160.0)
    assert PACE.closed(40.0, 40.0, pause_s=5.0, turns=2.0)["stagger_s"] == 90.0
    opened = PACE.open(40.0, 10.0)
    assert (opened["cap_s"], opened["warm_up_s"], opened["drain_s"]) == (650.0, 80.0, 120.0)


def test_a_long_prompt_may_take_long() -> None:
    """Five minutes where prompts are short, 27 for 128k tokens, twice the longest E2E; what is stated is kept."""
    assert [round(PACE.silent_s(tokens, None) / 60) for tokens in (100, 8192, 131072)] == [5, 6, 27]
    assert PACE.silent_s(100, 600.0) == 1200.0
    assert Pace(silence_s=5.0).silent_s(131072, 600.0) == 5.0


def test_a_stated_length_is_kept() -> None:
    """Even where requests are longer; half of it then warms up, and an open loop says what would be needed."""
    pace = Pace(stage_s=15, warm_up_s=3)
    known = pace.closed(40.0, 80.0)
    assert (known["cap_s"], known["longest_s"], known["warm_up_s"], known["stagger_s"]) == (15, None, 7.5, 7.5)
    assert pace.open(40.0, 10.0)["cap_s"] == 60
    assert pace.too_short(40.0, 10.0) == 650.0
    assert pace.too_short(2.0, 10.0) is None
    assert PACE.too_short(40.0, 10.0) is None
