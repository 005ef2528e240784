"""docs/inputs.md: its example is solved as it stands there, and says what the page says that it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from planner_cases import OWNERSHIP, PER_GPU_H, forecast, told, write

TEXT = (Path(__file__).parents[1] / "docs" / "inputs.md").read_text(encoding="utf-8")


def block(kind: str) -> str:
    """The page's only example of a kind."""
    (found,) = re.findall(rf"```{kind}\n(.*?)```", TEXT, flags=re.DOTALL)
    return str(found)


def test_the_example_is_planned_as_the_page_says(tmp_path: Path) -> None:
    """plan.toml and offers.csv of the page; servers of four at 400 USD a GPU, no team."""
    cheap = OWNERSHIP.replace("1460", "0").replace("value = 3000", "value = 300").replace("value = 1000", "value = 100")
    cheap = cheap.replace("value = 500", "value = 0")
    rows = forecast(24, {"chat": [4 * PER_GPU_H] * 12 + [2 * PER_GPU_H] * 12})
    path = write(tmp_path, plan=block("toml"), rows=rows, ownership=cheap)
    (tmp_path / "offers.csv").write_text(block("csv"), encoding="utf-8")
    plan = told(path).plan
    assert plan.headline[0] == block("text").strip()
    assert plan.checks == ()
    by_hour = next(p for p in plan.purchases if p.scheme == "on demand")
    assert by_hour.usd == pytest.approx(2 * 1.0 * (28 + 31) * 12)
    committed = [(p.epoch, p.usd_per_h) for p in plan.purchases if p.scheme == "commitment"]
    assert committed == [("2027.02", pytest.approx(1.2)), ("2027.03", pytest.approx(1.2))]
