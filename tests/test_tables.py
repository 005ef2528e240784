"""The CSV tables hold the plan's own values, open in a spreadsheet, and never run there."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
from review_fixtures import HOSTILE, hostile_plan, hours, plan

from planner.tables import hours_table, plan_tables, table


def test_tables_hold_the_plans_values() -> None:
    """Full values, units in the column names, None empty."""
    made = plan_tables(plan())
    assert made["baselines.csv"] == (
        "name,usd,gap,forbidden,note\n"
        "all API,1150000.0,0.0,false,\n"
        "all rented on demand,412345.67,0.004,false,\n"
        "all reserved,330000.0,0.003,false,\n"
        "all owned,,,false,cannot serve everything: 3.10% have no supply\n"
    )
    assert made["months.csv"] == (
        "month,hours,requests,usd,gpus_existing,gpus_owned,gpus_reserved,gpus_commitment,gpus_spot,gpus_on_demand\n"
        "2027-01,672.0,55000000.0,231000.0,0.0,8.0,6.0,0.0,0.0,4.0\n"
        "2027-02,672.0,65000000.0,29000.0,0.0,8.0,6.0,0.0,0.0,6.0\n"
    )
    assert made["purchases.csv"].splitlines()[1] == (
        "h100 server of 8,owned,Example Systems,h100-80gb-sxm,1.0,8.0,2027-01,,129000.0,11.997768,0.81,"
        '"https://example.com/h100, a quote by mail",2026-11-01,false,high,'
        '130000.0,"Example API, llama-3-8b",195000.0,130000.0,'
        '"81 % of its capacity at the SLO is used; it costs USD 130,000, and the same work would cost USD 195,000 by '
        'Example API, llama-3-8b"'
    )


def test_lines_of_every_table_add_up_to_the_bill() -> None:
    """The bill by line, by month and by month and line is the same to the cent."""
    made = plan_tables(plan())
    for name in ("lines.csv", "months.csv", "month_lines.csv", "supplies.csv", "workloads.csv"):
        assert round(sum(float(row["usd"]) for row in _read(made[name])), 2) == 260_000.0
    bought = sum(float(row["usd"]) for row in _read(made["purchase_lines.csv"]))
    assert bought == sum(float(row["usd"]) for row in _read(made["purchases.csv"]))


def test_empty_tables_keep_their_header() -> None:
    """A plan without other strategies still has a table of them."""
    bare = plan().model_copy(update={"baselines": (), "lines": ()})
    assert plan_tables(bare)["baselines.csv"] == "name,usd,gap,forbidden,note\n"


def test_hostile_names_stay_in_their_cell() -> None:
    """One row stays one line, as many columns as the header has, and no cell begins as a formula."""
    made = plan_tables(hostile_plan())
    made["hours.csv"] = hours_table(hours(30, names=("=cmd()|' /C calc'!A0", HOSTILE)))
    for name, text in made.items():
        rows = list(csv.reader(io.StringIO(text)))
        assert len(rows) == text.count("\n"), name
        assert {len(row) for row in rows} == {len(rows[0])}, name
        assert not [c for row in rows for c in row if c[:1] in "=+@-" and c and not _number(c)], name
    assert table(("a",), [("=1+1",), (" =1",), ("\t@x",), (-1.5,)]) == "a\n'=1+1\n' =1\n' @x\n-1.5\n"


def test_hours_are_the_hour_tables_values() -> None:
    """Requests, GPUs and dollars of hours.csv sum to the arrays; hours are in order and in UTC."""
    made = hours(100, missed=True)
    rows = _read(hours_table(made))
    for scheme, values in (*made.served.items(), ("unserved", made.unserved)):
        for w, name in enumerate(made.workloads):
            found = [float(r["requests"]) for r in rows if r["scheme"] == scheme and r["workload"] == name]
            np.testing.assert_allclose(sum(found), values[:, w].sum(), rtol=1e-8)
    for scheme, values in made.gpus_held.items():
        mine = [r for r in rows if r["scheme"] == scheme and r["gpus_held"]]
        np.testing.assert_allclose(sum(float(r["gpus_held"]) for r in mine), values.sum())
        np.testing.assert_allclose(sum(float(r["gpus_busy"]) for r in mine), made.gpus_busy[scheme].sum(), rtol=1e-8)
    np.testing.assert_allclose(sum(float(r["usd"]) for r in rows if r["usd"]), made.usd.sum(), rtol=1e-8)
    times = [row["hour_utc"] for row in rows]
    assert times == sorted(times)
    assert (times[0], times[-1]) == ("2027-01-04T00:00Z", "2027-01-08T03:00Z")


def test_hours_of_many_workloads_are_summed() -> None:
    """Beyond the row limit requests are summed over workloads, and nothing is lost."""
    made = hours(50)
    rows = _read(hours_table(made, most_rows=200))
    served = [row for row in rows if row["requests"]]
    assert {row["workload"] for row in served} == {"all"}
    np.testing.assert_allclose(sum(float(row["requests"]) for row in served), made.demand.sum(), rtol=1e-8)


def test_zeros_are_left_out() -> None:
    """An hour in which nothing happens has no row."""
    made = hours(24)
    quiet = replace(
        made,
        served={scheme: 0 * values for scheme, values in made.served.items()},
        gpus_held={},
        gpus_busy={},
        usd=0 * made.usd,
    )
    assert hours_table(quiet) == "hour_utc,scheme,workload,requests,gpus_held,gpus_busy,usd\n"


def _read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
