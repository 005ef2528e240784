"""When a horizon of many months is one decision, and that it is not where months differ."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from planner_cases import PER_GPU_H, PLAN, Row, api, cost, forecast, on_demand, reserved, stated, write

from planner.problem import Array

RENT = '[policy]\nforbid = ["api", "buy"]\n'
MARCH = datetime(2027, 3, 1)
"""March, April and May have 31, 30 and 31 days."""
QUARTER = "months = 3\nstart = 2027-03-01"


def _gpus(*parts: tuple[int, float]) -> Array:
    """Requests per hour: so many days at so many GPUs."""
    return np.concatenate([np.full(24 * days, gpus * PER_GPU_H) for days, gpus in parts])


def _written(folder: Path, horizon: str, demand: Array, offers: Sequence[Row]) -> Path:
    rows = forecast(len(demand), {"chat": demand}, start=MARCH)
    return write(folder, plan=PLAN + f"[horizon]\n{horizon}\n" + RENT, rows=rows, offers=offers, endpoints=[api()])


def test_unlike_months_are_decided_month_by_month(tmp_path: Path) -> None:
    """Eight GPUs in March, one afterwards, each month reserved as it comes; the day that lacks is the first."""
    path = _written(tmp_path, QUARTER, _gpus((31, 8), (60, 1)), [on_demand(), reserved(usd=0.6, months=1)])
    assert cost(path) == pytest.approx([24 * (0.6 * (8 * 31 + 30 + 31) + 7)] * 2)


TWO_AND_ONE = 0.6 * (31 + 30) + 31
"""Two months reserved, one on demand; two terms of two months would be 0.6 x 122 days."""


@pytest.mark.parametrize(
    ("horizon", "months", "days"),
    [
        (QUARTER, 2, TWO_AND_ONE),
        (f"hours = {24 * 35}", 1, 0.6 * 31 + 4),
        (QUARTER, 3, 0.6 * 92),
        (QUARTER, 1, 0.6 * 92),
    ],
)
def test_a_term_is_not_renewed_past_the_end_where_that_is_dearer(
    tmp_path: Path, horizon: str, months: int, days: float
) -> None:
    """One GPU at all hours, reserved at 0.6 or on demand at 1: what terms do not reach is rented by the hour."""
    path = _written(tmp_path, horizon, _gpus((1, 1)), [on_demand(), reserved(usd=0.6, months=months)])
    assert cost(path) == pytest.approx([24 * days] * 2)


NOISE = 1 + np.random.default_rng(7).random(168 * 13)


@pytest.mark.parametrize(
    ("demand", "epochs"),
    [
        (_gpus((1, 1)), 1),
        (NOISE[: 168 * 2], 1),
        (NOISE[: 168 * 4], 1),
        (NOISE[: 168 * 5], 12),
        (NOISE, 12),
        (np.tile(NOISE[: 168 * 2], 6), 1),
        (np.concatenate([0.5 * NOISE[:72], NOISE[: 168 * 4]]), 1),
        (np.concatenate([NOISE[:72] + 2, NOISE[: 168 * 4]]), 12),
    ],
    ids=["a day", "two weeks", "four weeks", "five weeks", "a quarter", "two weeks stated six times",
         "three quiet days, then four weeks", "three busy days, then four weeks"],
)  # fmt: skip
def test_a_few_weeks_that_repeat_are_one_decision(tmp_path: Path, demand: Array, epochs: int) -> None:
    """Every month must bring all hours that repeat, and no others may be busier."""
    path = _written(tmp_path, "months = 12", demand, [on_demand(), reserved(usd=0.6, months=12)])
    case = stated(path)
    assert len(case.problem.epochs) == epochs
    assert any("one decision" in note for note in case.notes) == (epochs == 1)


def test_a_plan_that_begins_in_the_forecast_sees_what_is_left_of_it(tmp_path: Path) -> None:
    """In five unlike weeks, all of which come again; and after three busy days that do not."""
    five, once = NOISE[: 168 * 5], np.concatenate([NOISE[:72] + 2, NOISE[: 168 * 4]])
    for demand, epochs in ((five, 12), (once, 1)):
        path = _written(tmp_path / str(epochs), "months = 12\nstart = 2027-03-04", demand, [on_demand()])
        assert len(stated(path).problem.epochs) == epochs
