"""Which stage comes next, and when it ends; the rate search finds the truth of simulated and of paced servers."""

from __future__ import annotations

import heapq
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import stats, steady
from bench.driver import Target
from bench.levels import FIRST_SHARE, MOST_BATCHES, Level, NextRate, Outcome, Tried, next_load, next_rate, rate_outcome
from bench.paced import Law, paced
from bench.plan import Found, Pace, RunFile, RunPlan
from bench.prompts import Fixed
from bench.records import COLUMNS, Floats, Records
from bench.schedule import Stage
from bench.stats import Attainment, Window
from bench.sweep import Events, Sweep, found_rate
from hardware_profiles.curve import Gpu, Point
from hardware_profiles.slo import Slo

MOST_STAGES = 16


def level(load: int, throughput: float, **changes: float | None) -> Level:
    facts: dict[str, Any] = {"queueing": 0.0, "met_share": 1.0, "failed_share": 0.0} | changes
    return Level(load=load, throughput_per_s=throughput, **facts)


@pytest.mark.parametrize(
    ("levels", "load", "why"),
    [
        # nothing yet: the lowest load
        ([], 1, ""),
        # throughput still rises: doubled
        ([level(1, 1.0)], 2, ""),
        ([level(1, 1.0), level(2, 1.051)], 4, ""),
        # less than 5 % more, but fewer than four levels
        ([level(1, 1.0), level(2, 1.0), level(4, 1.0)], 8, ""),
        # less than 5 % more
        (
            [level(1, 1.0), level(2, 2.0), level(4, 4.0), level(8, 4.19)],
            None,
            "load 8 gives less than 5% more than load 4",
        ),
        ([level(1, 1.0), level(2, 2.0), level(4, 4.0), level(8, 4.21)], 16, ""),
        # the server queues
        ([level(1, 1.0, queueing=0.06)], None, "6% of the requests wait at the server at load 1"),
        ([level(1, 1.0, queueing=0.05)], 2, ""),
        # the SLO is broken beyond repair
        ([level(1, 1.0, met_share=0.49)], None, "49% of the requests meet the SLO at load 1"),
        # most requests fail
        ([level(1, 1.0, failed_share=0.51)], None, "51% of the requests failed at load 1"),
        # nothing had time to end: said so, and not called a failure; a level without a whole request goes on
        (
            [level(1, 0.0, met_share=None)],
            None,
            "no request had time to end at load 1: leave --stage-seconds out, then stages last as long as they need",
        ),
        ([level(1, 0.2, met_share=None)], 2, ""),
        # the limit, also one that is no power of two
        ([level(32, 1.0)], 64, ""),
        ([level(64, 1.0)], None, "the limit of 100 is reached"),
    ],
)
def test_levels(levels: list[Level], load: int | None, why: str) -> None:
    """Doubled until throughput gains less than 5 %, the server queues, the SLO breaks or the limit is reached."""
    assert next_load(levels, 100) == (load, why)


@pytest.mark.parametrize(
    ("levels", "load", "why"),
    [
        # in the order of their size, gaps and all; the limit of the doubling is not theirs
        ([], 8, ""),
        ([level(8, 1.0)], 64, ""),
        ([level(8, 1.0), level(64, 2.0)], 200, ""),
        ([level(8, 1.0), level(64, 2.0), level(200, 3.0)], None, "the loads asked for were measured"),
        # a full server ends them early too
        (
            [level(8, 1.0), level(64, 2.0, queueing=0.06)],
            None,
            "6% of the requests wait at the server at load 64",
        ),
    ],
)
def test_stated_levels(levels: list[Level], load: int | None, why: str) -> None:
    """The loads asked for, and no others; they end for the doubling's reasons."""
    assert next_load(levels, 100, (8, 64, 200)) == (load, why)


def test_unknown_queueing_does_not_stop() -> None:
    """An endpoint without a page goes on until throughput stops rising."""
    assert next_load([Level(1, 1.0, None, 1.0, 0.0)], 100) == (2, "")


def search(capacity: float, best: float, undecided: float = 0.0) -> tuple[NextRate, list[Tried]]:
    """A whole search where rates below `capacity` pass, and those within `undecided` of it are undecided."""
    tried: dict[float, Tried] = {}
    while (following := next_rate(list(tried.values()), best, MOST_STAGES)).rate_per_s is not None:
        rate = following.rate_per_s
        outcome: Outcome = "pass" if rate <= capacity else "fail"
        if abs(rate / capacity - 1) < undecided:
            outcome = "undecided"
        done = tried[rate].batches if rate in tried else 0
        assert following.batch == done
        tried[rate] = Tried(rate, done + 1, outcome)
    return following, list(tried.values())


@pytest.mark.parametrize("share", [0.3, 0.5, 0.79, 0.8, 0.81, 1.0, 1.3])
def test_the_search_finds_the_capacity(share: float) -> None:
    """It ends with a rate that passes and one that does not, within 10 % of each other and around the truth."""
    found, tried = search(10 * share, 10)
    assert found.passed_per_s is not None
    assert found.not_passed_per_s is not None
    assert found.passed_per_s <= 10 * share < found.not_passed_per_s
    assert found.not_passed_per_s / found.passed_per_s <= 1.1
    assert sum(one.batches for one in tried) <= MOST_STAGES


def test_an_undecided_rate_is_tried_with_other_seeds_and_then_counts_as_too_high() -> None:
    """Three batches at most; the result is a rate that passed."""
    found, tried = search(8.0, 10, undecided=0.05)
    first = tried[0]
    assert (first.rate_per_s, first.batches, first.outcome) == (8.0, MOST_BATCHES, "undecided")
    assert found.passed_per_s is not None
    assert found.passed_per_s < 8.0 == found.not_passed_per_s


def test_a_search_without_end_is_ended() -> None:
    """Where nothing passes, the number of stages is bounded and no rate is found."""
    found, tried = search(0.0001, 10)
    assert (found.passed_per_s, sum(one.batches for one in tried)) == (None, MOST_STAGES)
    assert found.why == f"{MOST_STAGES} stages were spent"
    assert math.isclose(min(one.rate_per_s for one in tried), 8 / 1.25**15, rel_tol=1e-3)


@pytest.mark.parametrize(
    ("attained", "unsteady", "queue_left", "outcome"),
    [
        # steady: what the attainment says
        ("pass", [False], False, "pass"),
        ("undecided", [False, False], False, "undecided"),
        # a queue that was left, or limits that were not met: too high
        ("pass", [False], True, "fail"),
        ("fail", [True], False, "fail"),
        # one unsteady batch may be a false alarm: another seed tells
        ("pass", [True], False, "undecided"),
        ("pass", [True, False], False, "pass"),
        # most of several: it climbs
        ("pass", [True, True], False, "fail"),
        ("pass", [True, True, False], False, "fail"),
        # nothing that counts
        ("undecided", [], False, "undecided"),
    ],
)
def test_outcome_of_a_rate(attained: Outcome, unsteady: list[bool], queue_left: bool, outcome: Outcome) -> None:
    """From pooled attainment, steadiness and what was left in the queue."""
    assert rate_outcome(attained, unsteady, queue_left=queue_left) == outcome


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (
            NextRate(None, 0, 7.2, 7.9, "known within 10%", 8.6),
            "7.2 requests/s pass at the target, 8.6 fail; known within 10%",
        ),
        (
            NextRate(None, 0, None, 1.0, "16 stages were spent"),
            "no rate passes at the target, none was shown to fail; 16 stages were spent",
        ),
    ],
)
def test_the_end_in_words(end: NextRate, told: str) -> None:
    """What passed, what failed, why it ended."""
    assert found_rate(end) == told


# the truth ----------------------------------------------------------------------------------------------------------

SLOTS = 16


def queue(seed: int, rate: float, count: int, jitter: float, slots: int = SLOTS) -> tuple[Floats, Floats]:
    """Poisson arrivals at a server of so many slots, service of about 1 s, in order: arrivals and waits."""
    arrivals = np.cumsum(np.random.default_rng([seed, 11]).exponential(1.0, count)) / rate
    service = np.random.default_rng([seed, 12]).uniform(1 - jitter, 1 + jitter, count)
    free, waits = [0.0] * slots, np.empty(count)
    for k, (at, length) in enumerate(zip(arrivals.tolist(), service.tolist(), strict=True)):
        begins = max(at, heapq.heappop(free))
        waits[k] = begins - at
        heapq.heappush(free, begins + length)
    return arrivals, waits


def true_rate(limit: float, jitter: float) -> float:
    """Up to which rate 95 % wait no longer than the limit: bisection on 100,000 arrivals."""
    low, high = 0.3 * SLOTS, 1.0 * SLOTS
    while high / low > 1.003:
        middle = (low * high) ** 0.5
        waits = queue(999, middle, 100_000, jitter)[1][2000:]
        low, high = (middle, high) if (waits <= limit).mean() >= 0.95 else (low, middle)
    return low


def batch(rate: float, seed: int, requests: int, limit: float) -> tuple[Attainment, bool]:
    """One simulated open-loop stage, warm-up cut: its attainment, and whether it was unsteady."""
    warm_up_s = 5.0
    arrivals, waits = queue(seed, rate, requests + int(warm_up_s * rate) + 1, 0.1)
    count = len(arrivals)
    told = {name: np.full(count, math.nan if name.endswith("_s") else -1) for name in COLUMNS}
    told |= {"request": np.arange(count), "output_tokens": np.full(count, 2), "status": np.array(["ok"] * count)}
    told |= {"scheduled_s": arrivals, "sent_s": arrivals, "first_token_s": arrivals + waits}
    told |= {"last_token_s": arrivals + waits + 1, "end_s": arrivals + waits + 1}
    records = Records(**told, chunk_from=np.zeros(count + 1, dtype=np.int64), chunk_s=np.empty(0))
    window = Window(warm_up_s, float(arrivals[-1]))
    unsteady = steady.stationarity(records, window).stationary is False
    return stats.attainment(records, window, Slo(ttft_s=limit), scheduled=True), unsteady


def whole_search(seed: int, limit: float) -> NextRate:
    """A search on the simulated server, 1000 requests a batch."""
    runs: dict[float, list[tuple[Attainment, bool]]] = {}
    while True:
        tried = []
        for rate, done in runs.items():
            pooled = stats.pooled_attainment([attained for attained, _ in done], 0.95).outcome
            outcome = rate_outcome(pooled, [unsteady for _, unsteady in done], queue_left=False)
            tried.append(Tried(rate, len(done), outcome))
        following = next_rate(tried, SLOTS, MOST_STAGES)
        if following.rate_per_s is None:
            return following
        run = batch(following.rate_per_s, 100 * seed + following.batch, 1000, limit)
        runs.setdefault(following.rate_per_s, []).append(run)


@pytest.mark.parametrize("limit", [0.15, 1.0])
def test_the_search_finds_the_truth_of_a_random_queue(limit: float) -> None:
    """Thirty searches: each ends by itself at 0.75 to 1.03 of the true rate (a false alarm of one seed ends none at a
    tenth of it), half of them at 0.88 or more; and between what passed and what failed lies the truth, nine times in
    ten at least."""
    truth = true_rate(limit, 0.1)
    found = [whole_search(seed, limit) for seed in range(30)]
    assert {one.why for one in found} == {"known within 10%"}
    passed = np.array([one.passed_per_s or 0.0 for one in found]) / truth
    assert passed.min() >= 0.75
    assert passed.max() <= 1.03
    assert np.median(passed) >= 0.88
    holds = [(one.passed_per_s or 0.0) <= truth <= (one.failed_per_s or math.inf) for one in found]
    assert np.mean(holds) >= 0.9


def test_a_stage_shorter_than_its_requests_fails_nothing(tmp_path: Path) -> None:
    """Requests of 1.4 s, stages of 1.2 s by wish. One round alone tells E2E, users start within half a stage, and what
    came of their answers is the law's throughput; no request failed, steadiness is unknown, and no rate is tried."""
    law = Law(ttft_s=0.02, tpot_s=0.02)
    points: list[Point] = []
    stages: list[Stage] = []
    ends: list[str] = []
    events = Events(
        started=stages.append,
        finished=lambda _, point, __: points.append(point),
        ended=lambda what, why: ends.append(f"{what}: {why}"),
    )
    with paced(law) as url:
        plan = RunPlan(
            model="paced",
            gpu="cpu",
            target=Target(url=url, model="paced", vocab_size=1000),
            shapes=(Fixed(input_tokens=100, output_tokens=70),),
            loads=(2,),
            pace=Pace(stage_s=1.2, warm_up_s=0.1),
        )
        found = Found(gpu=Gpu(name="cpu", count=1), engine="vllm", engine_version=None)
        run = RunFile(plan=plan, found=found, started_at="2026-11-20")
        for _ in range(2):  # as a resumed run does, from the files: nothing is sent again
            Sweep(run, tmp_path, url=url, server=None, driver=None, own=None, events=events).go()
    assert [one.name for one in stages] == ["shape-0-100x70-load-2-probe", "shape-0-100x70-load-2"]
    assert stages[1].stagger_s == 0.6
    assert points[0] == points[1]
    assert points[0].throughput_per_s == pytest.approx(2 / 1.4, rel=0.05)
    assert points[0].failed == 0
    told = {check.name: check.verdict for check in points[0].checks}
    assert (told["stationary"], told["drained"]) == ("unknown", "pass")
    assert ends[0] == "levels of shape 0: the loads asked for were measured"
    assert ends[1].startswith("rates of shape 0: no rate passes at the target, none was shown to fail; undecided: ")


def test_the_search_finds_the_law_of_a_paced_server(tmp_path: Path) -> None:
    """Sixteen slots of 120 ms over real sockets, SLO: 30 ms in the queue at most. Two thirds of the rate that the queue
    of this law bears pass, one and a half times it fail, each in one stage (what a whole search finds is told above);
    and TTFT, TPOT and the rate served are the law's."""
    law = Law(ttft_s=0.06, tpot_s=0.012, max_running=SLOTS)  # slow enough for a client that shares its cores
    service_s = law.ttft_s + 5 * law.tpot_s
    truth = true_rate(0.03 / service_s, 0.0) / service_s
    points: list[Point] = []
    events = Events(finished=lambda _, point, __: points.append(point))
    with paced(law) as url:
        plan = RunPlan(
            model="paced",
            gpu="cpu",
            target=Target(url=url, model="paced", vocab_size=1000),
            shapes=(Fixed(input_tokens=100, output_tokens=6),),
            slo=Slo(ttft_s=law.ttft_s + 0.03),
            pace=Pace(stage_s=6, warm_up_s=0.4, rate_requests=350, rate_stages=1),
        )
        found = Found(gpu=Gpu(name="cpu", count=1), engine="vllm", engine_version=None)
        run = RunFile(plan=plan, found=found, started_at="2026-11-20")
        sweep = Sweep(run, tmp_path, url=url, server=None, driver=None, own=None, events=events)
        low, high = (sweep.rates(0, share * truth / FIRST_SHARE) for share in (0.67, 1.5))
    assert low.passed_per_s == pytest.approx(0.67 * truth, rel=0.001)
    assert high.failed_per_s == pytest.approx(1.5 * truth, rel=0.001)
    good = points[0]
    assert good.tpot_s["p50"].value == pytest.approx(law.tpot_s, abs=0.0005)
    assert min(sample.ttft_s for sample in good.sample) == pytest.approx(law.ttft_s, abs=0.003)
    assert good.throughput_per_s == pytest.approx(low.passed_per_s, rel=0.15)
