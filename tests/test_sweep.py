"""Which stage comes next, and when it ends."""

from __future__ import annotations

import math

import pytest

from bench.levels import MOST_BATCHES, Level, NextRate, Outcome, Tried, next_load, next_rate

MOST_STAGES = 16


def level(load: int, throughput: float, **changes: float) -> Level:
    facts = {"queueing": 0.0, "met_share": 1.0, "failed_share": 0.0} | changes
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
        # the limit, also one that is no power of two
        ([level(32, 1.0)], 64, ""),
        ([level(64, 1.0)], None, "the limit of 100 is reached"),
    ],
)
def test_levels(levels: list[Level], load: int | None, why: str) -> None:
    """Doubled until throughput gains less than 5 %, the server queues, the SLO breaks or the limit is reached."""
    assert next_load(levels, 100) == (load, why)


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
