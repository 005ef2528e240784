"""Metrics are what DESIGN says, on records made by hand; intervals cover the truth they claim to cover."""

import heapq
import math
from typing import Any

import numpy as np
import pytest

from bench import stats, sure
from bench import steady as steadiness
from bench.prompts import Fixed
from bench.records import COLUMNS, Floats, Records, from_rows
from bench.schedule import Stage
from bench.stats import Window
from hardware_profiles.slo import Slo


def made(*requests: dict[str, Any]) -> Records:
    """Records of requests given by `sent`, `first`, `last`, `tokens` and what else differs."""
    rows, chunks = [], []
    for number, asked in enumerate(requests):
        sent, first, last = asked["sent"], asked.get("first", math.nan), asked.get("last", math.nan)
        tokens = asked.get("tokens", 2)
        row: dict[str, Any] = dict.fromkeys(COLUMNS, -1) | dict.fromkeys(
            (name for name in COLUMNS if name.endswith("_s")), math.nan
        )
        row |= {"request": number, "worker": 0, "status": "ok", "error": "", "scheduled_s": sent, "sent_s": sent}
        row |= {"first_token_s": first, "last_token_s": last, "end_s": asked.get("end", last), "output_tokens": tokens}
        row |= {"asked_input": 10, "asked_cached": 0, "asked_output": tokens, "input_tokens": 10, "events": tokens}
        row |= {name: value for name, value in asked.items() if name in COLUMNS}
        rows.append(row)
        chunks.append(np.array(asked.get("chunks", [] if math.isnan(first) else np.linspace(first, last, tokens))))
    return from_rows(rows, chunks)


ONE = {"sent": 1.0, "first": 1.5, "last": 3.5, "tokens": 5}


def test_the_metrics_of_one_request() -> None:
    """Sent at 1, first token at 1.5, last of five at 3.5: TTFT 0.5, E2E 2.5, TPOT 0.5, gaps 0.5."""
    records = made(ONE)
    assert stats.ttft_s(records).tolist() == [0.5]
    assert stats.e2e_s(records).tolist() == [2.5]
    assert stats.tpot_s(records).tolist() == [0.5]
    assert stats.chunk_gaps_s(records).tolist() == [0.5] * 4


def test_open_loop_counts_from_the_scheduled_moment() -> None:
    """A request that left 0.25 s late: TTFT and E2E are that much longer from its scheduled moment, TPOT is not."""
    records = made(ONE | {"scheduled_s": 0.75})
    assert stats.ttft_s(records, scheduled=True).tolist() == [0.75]
    assert stats.e2e_s(records, scheduled=True).tolist() == [2.75]
    assert stats.tpot_s(records).tolist() == [0.5]


@pytest.mark.parametrize(
    ("changes", "tpot_s"),
    [
        # five tokens in two seconds, two of them reasoning: streamed first
        ({"reasoning_tokens": 2, "first_visible_s": 2.5}, 0.5),
        # never streamed: two seconds for three tokens
        ({"reasoning_tokens": 2, "first_visible_s": 1.5}, 1.0),
        # all but one never streamed
        ({"reasoning_tokens": 4, "first_visible_s": 1.5}, math.nan),
        # nobody told
        ({"reasoning_tokens": -1, "first_visible_s": 1.5}, 0.5),
    ],
)
def test_hidden_reasoning_is_no_part_of_the_pace(changes: dict[str, float], tpot_s: float) -> None:
    """Tokens that `usage` counts and the stream never had would make the pace look many times faster."""
    assert stats.tpot_s(made(ONE | changes)) == pytest.approx([tpot_s], nan_ok=True)


def test_a_single_token_has_no_tpot() -> None:
    """Nor has a request whose tokens nobody counted."""
    records = made(ONE | {"tokens": 1}, ONE | {"output_tokens": -1})
    assert np.isnan(stats.tpot_s(records)).all()


def test_tokens_are_counted_by_usage_not_by_chunks() -> None:
    """Nine tokens in five chunks: TPOT divides by eight."""
    assert stats.tpot_s(made(ONE | {"output_tokens": 9})).tolist() == [0.25]


def test_gaps_do_not_reach_from_one_request_to_the_next() -> None:
    """Failed requests have no gaps, requests of one chunk neither."""
    failed = ONE | {"sent": 1.1, "status": "truncated"}
    single = {"sent": 1.2, "first": 9.0, "last": 9.0, "tokens": 1}
    records = made(ONE, failed, single, {"sent": 1.3, "first": 2.0, "last": 2.1})
    assert stats.chunk_gaps_s(records) == pytest.approx([0.5] * 4 + [0.1])


def test_in_flight_is_between_send_and_end() -> None:
    """Sent and not yet ended, failures too; what was never sent is not in flight."""
    records = made(
        ONE, {"sent": 2.0, "end": 5.0, "status": "timeout"}, {"sent": math.nan, "status": "refused", "end": 2}
    )
    assert stats.in_flight(records, np.array([0.5, 1.0, 2.5, 4.0, 5.5])).tolist() == [0, 1, 2, 1, 0]
    assert stats.flow_per_s(records, Window(0.0, 4.0)) == (0.5, 0.25)


def steady(load: int = 4, e2e_s: float = 1.0, length_s: float = 40.0, tokens: int = 11) -> Records:
    """A closed loop of `load` users, each request `e2e_s` long, its first token after a tenth of it."""
    users = [user * e2e_s / load + e2e_s * turn for turn in range(int(length_s / e2e_s)) for user in range(load)]
    return made(*({"sent": at, "first": at + e2e_s / 10, "last": at + e2e_s, "tokens": tokens} for at in sorted(users)))


def closed(load: int = 4, **more: Any) -> Stage:
    shape = Fixed(input_tokens=10, output_tokens=11)
    return Stage(name="s", mode="closed", load=load, shape=shape, seed=1, **{"warm_up_s": 5.0, **more})


def test_throughput_is_what_ended_in_the_window() -> None:
    """Four users, one request a second each: 4 per second, 44 tokens out, 40 tokens in."""
    records, window = steady(), Window(10.0, 30.0)
    assert stats.throughput_per_s(records, window).value == pytest.approx(4.0)
    assert stats.output_tokens_per_s(records, window).value == pytest.approx(44.0)
    assert stats.input_tokens_per_s(records, window).value == pytest.approx(40.0)


def test_tokens_of_a_chunk_count_where_it_arrived() -> None:
    """Half of a request's tokens before the window's end: half of them count."""
    records = made({"sent": 0.0, "first": 1.0, "last": 4.0, "chunks": [1.0, 2.0, 3.0, 4.0], "output_tokens": 8})
    assert stats.output_tokens_per_s(records, Window(0.0, 2.5)).value == pytest.approx(4 / 2.5)


def test_the_window_cuts_warm_up_and_tail() -> None:
    """From the warm-up, or an E2E, or when the last user began, to a median E2E before the load's stop; in an open loop
    from two E2E times of the first requests."""
    assert steadiness.stage_window(steady(), closed(), 40.0) == Window(5.0, 39.0)
    slow = steady(e2e_s=8.0, length_s=80.0)
    assert steadiness.stage_window(slow, closed(), 80.0) == Window(8.0, 72.0)
    assert steadiness.stage_window(slow, closed(stagger_s=12.0), 80.0) == Window(12.0, 72.0)
    opened = closed().model_copy(update={"mode": "open", "load": None, "rate_per_s": 0.5})
    assert steadiness.stage_window(slow, opened, 80.0) == Window(16.0, 72.0)
    assert steadiness.stage_window(made({"sent": 1.0, "status": "timeout"}), closed(), 40.0) == Window(5.0, 40.0)


def test_a_window_never_eats_the_stage() -> None:
    """Where warm-up and tail would leave less than half, they give way."""
    window = steadiness.stage_window(steady(e2e_s=30.0, length_s=60.0), closed(), 40.0)
    assert window == Window(20.0, 40.0)
    assert steadiness.stage_window(steady(length_s=6.0), closed(warm_up_s=5.0), 6.0).start_s == 3.0


def test_a_point_says_everything_that_records_can_say() -> None:
    """Rates, percentiles with intervals, the joint sample, failures by kind; what they cannot say stays None."""
    failed = [{"sent": 20.0 + k, "end": 21.0 + k, "status": "http_500" if k else "timeout"} for k in range(3)]
    one = steady()
    rows = [
        {"sent": s, "first": f, "last": e, "tokens": 11}
        for s, f, e in zip(one.sent_s, one.first_token_s, one.last_token_s, strict=True)
    ]
    point = stats.window_point(made(*rows, *failed), Window(10.0, 30.0), closed())
    assert (point.mode, point.load, point.offered_rate_per_s) == ("closed", 4.0, None)
    assert (point.completed, point.failed, point.errors) == (80, 3, {"http_500": 2, "timeout": 1})
    assert point.throughput_per_s == pytest.approx(4.0)
    assert (point.shape.input_tokens, point.shape.output_tokens, point.shape.cached_tokens) == (10, 11, 0)
    assert set(point.ttft_s) == {"mean", "p50", "p90", "p95", "p99"}
    assert point.tpot_s["p50"].value == pytest.approx(0.09)
    assert len(point.sample) == 80
    assert point.sample[0].ttft_s == pytest.approx(0.1)
    assert (point.duration_s, point.power_w, point.kv_cache_use, point.checks) == (20.0, None, None, ())
    rate = stats.output_tokens_per_s(made(*rows, *failed), Window(10.0, 30.0))
    assert point.output_tokens_per_s_interval == (rate.low, rate.high)
    assert stats.window_point(made(*rows), Window(10.0, 12.0), closed()).output_tokens_per_s_interval is None


def test_the_interval_of_throughput_covers_it() -> None:
    """Eight users whose answers take 1 s in the mean: 8 answers of 20 tokens per second, by renewal theory exactly.
    The interval of 60 s holds them in at least 90 of 100 runs, and is not wide for nothing (half-width below 10 %)."""
    covered, widths = 0, []
    for seed in range(100):
        took_s = np.random.default_rng(seed).uniform(0.5, 1.5, (8, 100))
        ends = np.cumsum(took_s, axis=1)
        rows = [
            {"sent": end - took, "first": end - took + 0.01, "last": end, "tokens": 20}
            for end, took in zip(ends.ravel(), took_s.ravel(), strict=True)
            if end < 75
        ]
        told = stats.output_tokens_per_s(made(*rows), Window(5.0, 65.0))
        assert told.low is not None
        assert told.high is not None
        covered += told.low <= 160 <= told.high
        widths.append(sure.relative_width(told))
    assert covered >= 90
    assert max(width for width in widths if width is not None) < 0.1


def test_the_sample_is_thinned_in_order_and_by_seed() -> None:
    """At most 500, the same for the same seed, in order of sending."""
    records = made(*({"sent": k, "first": k + 1 + k / 1e6, "last": k + 2.0} for k in range(1200)))
    sample = stats.joint_sample(records, seed=1)
    assert len(sample) == 500
    assert [one.ttft_s for one in sample] == sorted(one.ttft_s for one in sample)
    assert sample == stats.joint_sample(records, seed=1)
    assert sample != stats.joint_sample(records, seed=2)


# attainment -----------------------------------------------------------------------------------------------------------


def test_attainment_is_joint_and_failures_are_misses() -> None:
    """Of five: one meets all limits, one breaks each limit, one failed."""
    good = {"sent": 0.0, "first": 0.5, "last": 1.0, "tokens": 6}
    rows = [good, good | {"first": 0.95}, good | {"last": 2.0}, good | {"tokens": 3}, {"sent": 0.0, "status": "reset"}]
    slo = Slo(ttft_s=0.9, tpot_s=0.15, e2e_s=1.5)
    told = stats.attainment(made(*rows), Window(0.0, 1.0), slo, scheduled=False)
    assert (told.share, told.requests) == (0.2, 5)
    assert stats.met(made(*rows), slo, scheduled=False).tolist() == [True, False, False, False, False]


def test_a_single_token_breaks_no_tpot_limit() -> None:
    """There is nothing to limit."""
    one = made({"sent": 0.0, "first": 0.5, "last": 0.5, "tokens": 1})
    assert stats.met(one, Slo(tpot_s=0.001), scheduled=False).tolist() == [True]


def test_a_count_that_nobody_told_meets_no_tpot_limit() -> None:
    """Without `usage` TPOT may be anything: a miss where TPOT is limited, and served in time where it is not."""
    rows = [{"sent": k / 10, "first": k / 10 + 0.5, "last": k / 10 + 2.5, "tokens": 5} for k in range(20)]
    records = made(*rows[:10], *(row | {"output_tokens": -1} for row in rows[10:]))
    window = Window(0.0, 2.0)
    assert stats.attainment(records, window, Slo(ttft_s=1, tpot_s=60), scheduled=False).share == 0.5
    assert stats.attainment(records, window, Slo(ttft_s=1), scheduled=False).share == 1.0
    silent = made(*(row | {"output_tokens": -1} for row in rows))
    told = stats.attainment(silent, window, Slo(ttft_s=1, tpot_s=60, attainment=0.5), scheduled=False)
    assert (told.share, told.outcome) == (0.0, "fail")


def test_the_sample_holds_no_request_of_unknown_tokens() -> None:
    """A missing TPOT says a single token to whoever reads the sample, and a single token meets every TPOT limit."""
    records = made(ONE, ONE | {"tokens": 1}, ONE | {"output_tokens": -1})
    assert [one.tpot_s for one in stats.joint_sample(records)] == [0.5, None]


def test_cached_tokens_are_those_that_were_told() -> None:
    """Asked for is not found: where the server tells of no cached tokens the shape has none."""
    asked = ONE | {"asked_cached": 8}
    told = made(asked | {"cached_tokens": 6}, asked | {"cached_tokens": 2})
    assert stats.window_point(told, Window(0.0, 4.0), closed()).shape.cached_tokens == 4
    silent = made(asked, asked)
    assert stats.window_point(silent, Window(0.0, 4.0), closed()).shape.cached_tokens == 0


def test_open_loop_attainment_counts_the_wait_before_sending() -> None:
    """A request scheduled a second before it was sent has missed a limit of one second."""
    late = made(ONE | {"scheduled_s": 0.0})
    slo = Slo(ttft_s=1.0)
    assert stats.met(late, slo, scheduled=False).tolist() == [True]
    assert stats.met(late, slo, scheduled=True).tolist() == [False]


@pytest.mark.parametrize(
    ("misses", "requests", "outcome"),
    [(0, 400, "pass"), (0, 20, "undecided"), (20, 400, "undecided"), (80, 400, "fail"), (400, 400, "fail")],
)
def test_three_outcomes(misses: int, requests: int, outcome: str) -> None:
    """Independent requests against 95 %: sure of it, sure of the contrary, or neither."""
    generator = np.random.default_rng(1)
    bad = set(generator.choice(requests, misses, replace=False).tolist())
    rows = [
        {"sent": k / requests, "first": k / requests + generator.uniform(0.1, 0.5) + (k in bad), "last": 3.0}
        for k in range(requests)
    ]
    told = stats.attainment(made(*rows), Window(0.0, 1.0), Slo(ttft_s=0.9), scheduled=False)
    assert told.share == 1 - misses / requests
    assert told.outcome == outcome


def test_independent_runs_are_worth_their_sum() -> None:
    """Two undecided runs of another seed each may decide together."""
    runs = [stats.Attainment(0.99, 0.9, 1.0, 200, 150.0, "undecided") for _ in range(3)]
    pooled = stats.pooled_attainment(runs, 0.95)
    assert (pooled.share, pooled.requests, pooled.effective_requests) == (pytest.approx(0.99), 600, 450.0)
    assert pooled.outcome == "pass"
    assert stats.pooled_attainment([], 0.95).outcome == "undecided"


# intervals ----------------------------------------------------------------------------------------------------------


def queue(seed: int, rate: float, servers: int, count: int) -> tuple[Floats, Floats, Floats]:
    """M/G/k, first come first served, gamma service of mean 1: arrivals, begin of service, end."""
    generator = np.random.default_rng([seed, 11])
    arrivals = np.cumsum(generator.exponential(1 / rate, count))
    service = generator.gamma(2.0, 0.5, count)
    free = [0.0] * servers
    begins = np.empty(count)
    for k, at in enumerate(arrivals.tolist()):
        begins[k] = max(at, heapq.heappop(free))
        heapq.heappush(free, begins[k] + float(service[k]))
    return arrivals, begins, begins + service


def sharing(seed: int, rate: float, slots: float, count: int) -> tuple[Floats, Floats, Floats]:
    """A batching server: with N running each goes at 1 / (1 + N / slots). Gives arrivals, first and last token."""
    generator = np.random.default_rng([seed, 12])
    arrivals, sizes = np.cumsum(generator.exponential(1 / rate, count)), generator.gamma(4.0, 0.25, count)
    ends, running = np.empty(count), list[tuple[float, int]]()
    done = now = 0.0
    k = 0
    while k < count or running:
        speed = 1 / (1 + len(running) / slots)
        leaves = now + (running[0][0] - done) / speed if running else math.inf
        if k < count and arrivals[k] < leaves:
            done += (arrivals[k] - now) * speed
            now = float(arrivals[k])
            heapq.heappush(running, (done + float(sizes[k]), k))
            k += 1
        else:
            done, who = heapq.heappop(running)
            now = ends[who] = leaves
    stretch = (ends - arrivals) / sizes  # what a token takes, in units of an idle server's
    return arrivals, arrivals + 0.001, arrivals + 0.001 + stretch


def columns(arrivals: Floats, first: Floats, last: Floats) -> Records:
    """Records of two-token requests, without going through dictionaries."""
    count = len(arrivals)
    told: dict[str, Any] = {name: np.full(count, -1) for name in COLUMNS}
    told |= {name: np.full(count, math.nan) for name in COLUMNS if name.endswith("_s")}
    told |= {"request": np.arange(count), "scheduled_s": arrivals, "sent_s": arrivals, "end_s": last}
    told |= {"first_token_s": first, "last_token_s": last, "output_tokens": np.full(count, 2)}
    told |= {"status": np.array(["ok"] * count, dtype=object), "error": np.array([""] * count, dtype=object)}
    return Records(**told, chunk_from=np.zeros(count + 1, dtype=np.int64), chunk_s=np.empty(0))


def binomial(share: float, n: int) -> tuple[float, float]:
    """Wilson's interval as if requests were independent."""
    z2 = 1.96**2
    centre, half = share + z2 / (2 * n), 1.96 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)


@pytest.mark.parametrize(
    ("name", "rate", "runs", "requests"),
    [("queue", 7.2, 120, 1500), ("queue", 7.2, 120, 4000), ("sharing", 13.0, 60, 4000)],
)
def test_the_interval_covers_the_truth_near_the_knee(name: str, rate: float, runs: int, requests: int) -> None:
    """Where 95 % of requests meet the limit, our interval holds the 95 % in at least nine runs of ten; a binomial one,
    which takes requests for independent, holds it in fewer than three of ten and would pass bad rates."""
    simulate = {"queue": lambda s, n: queue(s, rate, 8, n), "sharing": lambda s, n: sharing(s, rate, 16.0, n)}[name]
    arrivals, first, last = simulate(0, 150_000)
    settled = arrivals > 200
    metric = "ttft_s" if name == "queue" else "tpot_s"
    values = (first - arrivals if name == "queue" else last - first)[settled]
    slo = Slo.model_validate({metric: float(np.quantile(values, 0.95))})
    covered = naive = 0
    for seed in range(1, runs + 1):
        arrivals, first, last = simulate(seed, requests + int(150 * rate))
        start = float(arrivals[int(100 * rate)])
        window = Window(start, start + requests / rate)
        told = stats.attainment(columns(arrivals, first, last), window, slo, scheduled=True)
        covered += told.low <= 0.95 <= told.high
        low, high = binomial(told.share, told.requests)
        naive += low <= 0.95 <= high
    assert covered / runs >= 0.9
    assert naive / runs < 0.3


def test_independent_requests_are_worth_themselves() -> None:
    """No autocorrelation, no penalty: n_eff is within a third of n, and the interval is hardly wider than Wilson's."""
    values = np.random.default_rng(3).exponential(1.0, 2000)
    assert sure.effective(values) > 2000 / sure.SAFETY / 1.35
    assert sure.effective(np.ones(50)) == 50
    assert sure.effective(np.empty(0)) == 1


def test_the_autocorrelation_time_of_a_known_process() -> None:
    """AR(1) with coefficient 0.9 has tau = 1/2 + 0.9 / 0.1 = 9.5; 100,000 steps find it within 10 %."""
    noise = np.random.default_rng(4).normal(size=100_000)
    series = np.empty_like(noise)
    series[0] = noise[0]
    for k in range(1, len(noise)):
        series[k] = 0.9 * series[k - 1] + noise[k]
    assert sure.autocorrelation_time(series) == pytest.approx(9.5, rel=0.1)


def test_percentile_intervals_cover_an_autocorrelated_truth() -> None:
    """Median and mean of an AR(1) series of 1000 steps: the true 10 lies inside in at least 90 % of 150 runs."""
    covered = {"p50": 0, "mean": 0}
    for seed in range(150):
        noise = np.random.default_rng(seed).normal(size=1100)
        series = noise.copy()
        for k in range(1, len(noise)):
            series[k] = 0.9 * series[k - 1] + noise[k]
        told = sure.percentiles(10 + series[100:] / 10)
        for name, estimate in told.items():
            if name in covered and estimate.low is not None and estimate.high is not None:
                covered[name] += estimate.low <= 10 <= estimate.high
    assert min(covered.values()) >= 135


def test_a_bound_that_nobody_can_know_is_none() -> None:
    """Fifty requests bound a median on both sides, a p99 only from below."""
    told = sure.percentiles(np.random.default_rng(1).exponential(1.0, 50))
    assert told["p50"].low is not None
    assert told["p50"].high is not None
    assert told["p99"].low is not None
    assert told["p99"].high is None


def test_percentiles_of_nothing_are_nothing() -> None:
    """No values, no estimates; one value has no interval."""
    assert sure.percentiles(np.array([math.nan])) == {}
    assert sure.percentiles(np.array([2.0]))["p50"].model_dump() == {"value": 2.0, "low": None, "high": None}


def test_a_rate_needs_five_batches() -> None:
    """With fewer there is a value and no interval; with more the interval holds it."""
    moments = np.arange(0, 100, 0.25)
    few = sure.rate(moments, None, (0.0, 100.0), 25.0)
    assert (few.value, few.low, few.high) == (4.0, None, None)
    many = sure.rate(np.sort(np.random.default_rng(1).uniform(0, 100, 400)), None, (0.0, 100.0), 2.0)
    assert many.low is not None
    assert many.high is not None
    assert many.low < 4.0 < many.high
    assert sure.relative_width(few) is None
    assert sure.relative_width(many) == pytest.approx((many.high - many.low) / 2 / 4)


# steadiness ---------------------------------------------------------------------------------------------------------


def test_a_server_that_falls_behind_is_not_steady() -> None:
    """Arrivals 20 % above what it serves: the number in flight grows and the test says so; at 70 % it does not."""
    for load, steady_ in ((1.2, False), (0.7, True)):
        arrivals, first, last = queue(1, 8 * load, 8, 2000)
        window = Window(20.0, float(arrivals[-1]))
        told = steadiness.stationarity(columns(arrivals, first, last), window, mode="open")
        assert told.stationary is steady_, told


def test_false_alarms_are_rare() -> None:
    """Of 60 steady queues at 80 % load at most three are called unsteady (the test is at 1 %)."""
    alarms = 0
    for seed in range(60):
        arrivals, first, last = queue(seed, 6.4, 8, 2000)
        told = steadiness.stationarity(columns(arrivals, first, last), Window(50.0, float(arrivals[-1])), mode="open")
        alarms += told.stationary is False
    assert alarms <= 3


def test_a_closed_loop_that_slows_down_is_not_steady() -> None:
    """Tokens arrive ever more slowly while the number in flight is held."""
    at, rows = 0.0, []
    for turn in range(60):
        e2e_s = 1.0 + turn / 60
        rows.append({"sent": at, "first": at + 0.1, "last": at + e2e_s, "tokens": 41})
        at += e2e_s
    told = steadiness.stationarity(made(*rows), Window(0.0, at), mode="closed")
    assert told.stationary is False
    even = steady(load=1, length_s=60.0, tokens=41)
    assert steadiness.stationarity(even, Window(0.0, 60.0), mode="closed").stationary is True


def test_a_short_window_cannot_tell() -> None:
    """Fewer than five E2E times (open loop: ten), or not one request: unknown, why, and what to do."""
    told = steadiness.stationarity(steady(), Window(5.0, 9.0), mode="closed")
    why = "the window of 4 s is shorter than 5 E2E times of 1 s: leave --stage-seconds out, or give 9"
    assert (told.stationary, told.reason) == (None, why)
    assert steadiness.stationarity(steady(), Window(5.0, 14.0), mode="open").stationary is None
    assert steadiness.stationarity(steady(), Window(5.0, 14.0), mode="closed").stationary is True
    nothing = made({"sent": 0.0, "status": "unfinished"})
    why = "no request had time to end: leave --stage-seconds out, then stages last as long as they need"
    assert steadiness.stationarity(nothing, Window(0.0, 8.0)).reason == why


def test_an_open_loop_that_still_fills_is_not_unsteady() -> None:
    """Requests of 20 s, one a second, from an empty server on: the number in flight climbs for 20 s. A window that
    holds the climb cannot tell; from two E2E times on, and ten long, it is steadiness."""
    records = made(*({"sent": k, "first": k + 1.0, "last": k + 20.0, "tokens": 20} for k in range(300)))
    assert steadiness.stationarity(records, Window(2.0, 60.0)).stationary is None
    assert steadiness.stationarity(records, Window(40.0, 280.0)).stationary is True


def test_what_nearly_all_of_a_shape_take() -> None:
    """TTFT and as many TPOTs as the 90th percentile of the lengths has; nothing where nothing was served."""
    asked = closed(load=1)
    assert stats.expected_e2e_s(made(ONE), asked) == pytest.approx(0.5 + 10 * 0.5)
    assert stats.expected_e2e_s(made(ONE | {"tokens": 1}), asked) == pytest.approx(0.5)
    assert stats.expected_e2e_s(made(ONE | {"status": "reset"}), asked) is None


def test_a_request_counts_by_its_share_in_the_window() -> None:
    """Eleven tokens from 1 to 6 s; six of them before 3.6 s: 6/11 of a request in 3.6 s."""
    one = made({"sent": 0.0, "first": 1.0, "last": 6.0, "tokens": 11})
    assert stats.throughput_per_s(one, Window(0.0, 3.6)).value == pytest.approx(6 / 11 / 3.6)
