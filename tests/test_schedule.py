"""The schedule: one for all workers, the same arrivals at every rate, nothing half-stated."""

import numpy as np
import pytest
from pydantic import ValidationError

from bench.prompts import Fixed, Range, Trace
from bench.schedule import Arrivals, Stage, arrivals_s, plan, share, turns

SHAPE = Fixed(input_tokens=100, output_tokens=10)


def stage(**more: object) -> Stage:
    settings = {"name": "s", "mode": "open", "shape": SHAPE, "seed": 1, "rate_per_s": 50.0, "cap_s": 100.0}
    return Stage.model_validate(settings | more)


def test_another_rate_sees_the_same_arrivals_only_faster() -> None:
    """Common random numbers: arrivals at twice the rate are the same ones at half the time, with the same lengths."""
    shape = Range(input_low=1, input_high=999, output_low=1, output_high=99)
    slow, fast = plan(stage(shape=shape)), plan(stage(shape=shape, rate_per_s=100.0))
    n = len(slow)
    assert np.allclose(slow.at_s, 2 * fast.at_s[:n])
    assert np.array_equal(slow.input_tokens, fast.input_tokens[:n])
    assert np.array_equal(slow.output_tokens, fast.output_tokens[:n])


@pytest.mark.parametrize(
    ("law", "cv"),
    [
        ("poisson", 1.0),
        ("constant", 0.0),
        ("gamma", 2.0),  # bursty
        ("gamma", 0.5),  # smoother than Poisson
    ],
)
def test_arrivals_keep_their_rate_and_burstiness(law: str, cv: float) -> None:
    """10,000 arrivals: the rate within 5 %, the coefficient of variation of the gaps within 5 %."""
    arrivals = Arrivals.model_validate({"law": law, "cv": cv if law == "gamma" else None})
    gaps = np.diff(arrivals_s(stage(arrivals=arrivals, cap_s=200.0)))
    assert 1 / gaps.mean() == pytest.approx(50, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05, abs=1e-9)


def test_every_arrival_lies_before_the_cap() -> None:
    """Nothing is scheduled at or after the cap, and the last arrival comes near it."""
    at_s = arrivals_s(stage())
    assert 99 < at_s[-1] < 100
    assert np.all(np.diff(at_s) > 0)


def test_a_trace_keeps_its_own_times() -> None:
    """Trace arrivals are the trace's, cut at the cap; lengths stay with their moments."""
    rows = ((0.0, 5, 1), (0.5, 6, 2), (7.0, 7, 3))
    told = plan(stage(shape=Trace(rows=rows), arrivals=Arrivals(law="trace"), rate_per_s=None, cap_s=6, warm_up_s=0))
    assert told.at_s.tolist() == [0.0, 0.5]
    assert told.input_tokens.tolist() == [5, 6]


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_workers_share_the_rows_without_loss(workers: int) -> None:
    """However many workers there are, each row is sent once."""
    rows = [row for worker in range(workers) for row in share(100, worker, workers)]
    assert sorted(rows) == list(range(100))


def test_conversations_have_as_many_turns_as_stated() -> None:
    """Drawn evenly between few and many, by the seed and the first request's number."""
    talk = stage(mode="closed", load=2, rate_per_s=None, turns=(2, 4))
    drawn = [turns(talk, first) for first in range(300)]
    assert {count: round(drawn.count(count) / 100) for count in set(drawn)} == {2: 1, 3: 1, 4: 1}
    assert drawn == [turns(talk, first) for first in range(300)]


def test_cached_tokens_are_whole_blocks() -> None:
    """A cached share is rounded down to blocks, because only whole blocks are cached."""
    shape = Range(input_low=90, input_high=110, output_low=1, output_high=1)
    told = plan(stage(shape=shape, cached_share=0.5, prefixes=3))
    assert set((told.cached_tokens % 16).tolist()) == {0}
    assert np.all(told.cached_tokens <= told.input_tokens / 2)
    assert np.all(told.cached_tokens > told.input_tokens / 2 - 16)
    assert set(told.prefix.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"mode": "closed"}, "a closed loop, and only it, has `load`"),
        ({"load": 4}, "a closed loop, and only it, has `load`"),
        ({"rate_per_s": None}, "an open loop, and only it, has `rate_per_s`"),
        ({"mode": "closed", "load": 4}, "an open loop, and only it, has `rate_per_s`"),
        ({"arrivals": {"law": "trace"}, "rate_per_s": None}, "trace arrivals need a trace shape law"),
        ({"arrivals": {"law": "gamma"}}, "`cv` belongs to gamma arrivals"),
        ({"arrivals": {"law": "poisson", "cv": 2}}, "`cv` belongs to gamma arrivals"),
        ({"turns": (2, 3)}, "conversations need a closed loop"),
        ({"name": "../../x"}, "a stage's name has letters"),
        ({"name": ".hidden"}, "a stage's name has letters"),
        ({"warm_up_s": 100}, "the warm-up is as long as the cap"),
    ],
)
def test_a_half_stated_stage_cannot_be_made(more: dict[str, object], says: str) -> None:
    """Contradictory or missing settings are refused when the value is made."""
    with pytest.raises(ValidationError, match=says.replace(".", r"\.")):
        stage(**more)


def test_a_stage_survives_its_file() -> None:
    """A stage written as JSON and read back is the same stage."""
    one = stage(
        arrivals=Arrivals(law="gamma", cv=2), shape=Range(input_low=1, input_high=2, output_low=3, output_high=4)
    )
    assert Stage.model_validate_json(one.model_dump_json()) == one
