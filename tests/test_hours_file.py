"""hours.csv reads back as the hours it was written from, so that `planner report` makes the same folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from review_fixtures import HOSTILE, hours, plan

from hardware_profiles.faults import InputError
from planner.hourly import HourTable
from planner.hours_file import read_hours
from planner.plan import Plan
from planner.report import rewrite_review, write_review
from planner.tables import hours_table


def _plan(table: HourTable) -> Plan:
    """A plan whose workloads and length are the table's."""
    made = plan()
    requests, names = table.demand.sum(axis=0), table.workloads
    workloads = tuple(
        w.model_copy(update={"name": n, "requests": r, "input_tokens": r * t, "output_tokens": 0.0})
        for w, n, r, t in zip(made.workloads, names, requests.tolist(), table.tokens_per_request.tolist(), strict=True)
    )
    update = {"workloads": workloads, "horizon_hours": len(table.demand), "horizon_start": table.start.isoformat()}
    return made.model_copy(update=update)


@pytest.mark.parametrize("names", [("assistant", "classify"), ("=cmd()", HOSTILE)])
def test_hours_read_back_as_they_were(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Every array, to the nine digits of the file, names that look like formulas included."""
    table = hours(200, names=names, missed=True)
    (tmp_path / "hours.csv").write_text(hours_table(table), encoding="utf-8")
    read = read_hours(tmp_path / "hours.csv", _plan(table))
    assert (read.start, read.workloads) == (table.start, table.workloads)
    for name in ("demand", "unserved", "tokens_per_request", "usd"):
        np.testing.assert_allclose(getattr(read, name), getattr(table, name), rtol=1e-8, atol=1e-6)
    for name in ("served", "gpus_held", "gpus_busy"):
        one, other = getattr(read, name), getattr(table, name)
        assert list(one) == list(other)
        for scheme, values in one.items():
            np.testing.assert_allclose(values, other[scheme], rtol=1e-8, atol=1e-6)


def test_requests_that_were_summed_keep_their_tokens(tmp_path: Path) -> None:
    """A table of "all" has the tokens of the whole, and the same GPUs and cost."""
    table = hours(50)
    (tmp_path / "hours.csv").write_text(hours_table(table, most_rows=10), encoding="utf-8")
    read = read_hours(tmp_path / "hours.csv", _plan(table))
    assert read.workloads == ("all",)
    tokens = float((read.demand @ read.tokens_per_request).sum())
    assert tokens == pytest.approx(float((table.demand @ table.tokens_per_request).sum()))
    np.testing.assert_allclose(read.usd, table.usd, rtol=1e-8)


def test_a_report_made_anew_is_the_same(tmp_path: Path) -> None:
    """Texts, tables and spreadsheet byte for byte; pictures differ by rounding at most."""
    table = hours(200)
    folder = tmp_path / "2026-Q4"
    before = {path: path.read_bytes() for path in write_review(_plan(table), table, folder)}
    for path in rewrite_review(folder):
        if path.suffix in (".json", ".md", ".csv", ".xlsx"):
            assert path.read_bytes() == before[path], path.name
        assert len(path.read_bytes()) == pytest.approx(len(before[path]), rel=0.01), path.name


def test_a_report_of_36_months_comes_out_the_same(tmp_path: Path) -> None:
    """The Markdown of a plan of 36 months and 26,280 hours, made anew, is the one that was written."""
    table = hours(36 * 730)
    made = _plan(table)
    months = tuple(made.months[0].model_copy(update={"name": f"month {m}"}) for m in range(36))
    write_review(made.model_copy(update={"months": months}), table, tmp_path / "long")
    before = (tmp_path / "long" / "report.md").read_text()
    rewrite_review(tmp_path / "long")
    assert (tmp_path / "long" / "report.md").read_text() == before


def test_faults_in_hours_are_told_with_their_line(tmp_path: Path) -> None:
    """A missing file, other columns, and rows that are not of this plan."""
    made, path = _plan(hours(20)), tmp_path / "hours.csv"
    with pytest.raises(InputError, match="cannot be read"):
        read_hours(path, made)
    path.write_text("a,b\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"hours\.csv:1: has other columns than hours\.csv"):
        read_hours(path, made)
    head = hours_table(hours(20)).splitlines()[0]
    hour = "2027-01-04T01:00Z"
    rows = (f"{hour},owned,,,8,1,", "2026-01-04T01:00Z,owned,,,8,1,", "x,owned,,,8,1,", f"{hour},sun,,,8,1,", hour)
    path.write_text("\n".join((head, *rows)) + "\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_hours(path, made)
    assert [fault.line for fault in caught.value.faults] == [3, 4, 5, 6]
