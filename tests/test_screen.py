"""What the terminal says while a plan is searched for, and of what is bought."""

from __future__ import annotations

from math import inf

import pytest
from review_fixtures import plan

from planner.screen import Screen, purchases, standing
from planner.solve import Progress


@pytest.mark.parametrize(
    ("bound_usd", "plan_usd", "said"),
    [
        (-inf, inf, "no bound yet, no plan yet"),
        (1234.4, inf, "bound USD 1,234, no plan yet"),
        (-inf, 2000.0, "no bound yet, plan USD 2,000"),
        (1900.0, 2000.0, "bound USD 1,900, plan USD 2,000, gap 5.00%"),
        (0.0, 0.0, "bound USD 0, plan USD 0, gap 0.00%"),
        (2000.0001, 2000.0, "bound USD 2,000, plan USD 2,000, gap 0.00%"),
    ],
    ids=["nothing", "a bound", "a plan", "both", "a plan that costs nothing", "a bound lifted by rounding"],
)
def test_where_a_search_stands(bound_usd: float, plan_usd: float, said: str) -> None:
    """What is not there yet is said, not printed as a number."""
    assert standing(Progress(bound_usd, plan_usd, 0)) == said


def test_the_status_line_takes_every_progress() -> None:
    """From nothing to a proof, without a terminal."""
    with Screen() as screen:
        for bound_usd, plan_usd in ((-inf, inf), (1.0, inf), (1.0, 2.0)):
            screen.progress(Progress(bound_usd, plan_usd, 3))


def test_a_narrow_screen_leaves_the_other_way_out() -> None:
    """Every purchase keeps its row; what the same work would cost otherwise needs a wide one."""
    narrow, wide = (purchases(plan(), wide=each) for each in (False, True))
    headers = [[str(column.header) for column in table.columns] for table in (narrow, wide)]
    assert set(headers[1]) - set(headers[0]) == {"the same work otherwise"}
    assert narrow.row_count == wide.row_count == len(plan().purchases)
