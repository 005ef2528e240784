"""When to sign, how to start, how many replicas when; and the published schemas are those of the code."""

from __future__ import annotations

import csv
import doctest
import io
import json
from datetime import date
from pathlib import Path

import pytest
from review_fixtures import plan

from planner import acting
from planner.acting import calendar_of, command
from planner.plan import Plan
from planner.schemas import main, schemas
from planner.tables import plan_tables

DOCS = Path(__file__).parents[1] / "docs" / "schemas"


def test_days_are_as_their_examples_say() -> None:
    """Months of different lengths."""
    tried = doctest.testmod(acting)
    assert (tried.attempted, tried.failed) == (1, 0)


def test_the_calendar_is_in_order_and_says_when_terms_end() -> None:
    """What is signed on the first day, and the reserved GPUs three months later; nothing by the hour."""
    found = calendar_of(plan())
    assert [(due.day, due.what) for due in found] == [
        (date(2027, 1, 4), "sign 1 x h100 server of 8 (8 GPUs)"),
        (date(2027, 1, 4), "sign 6 x Example Cloud 3 months (6 GPUs)"),
        (date(2027, 4, 4), "term ends: 6 x Example Cloud 3 months (6 GPUs)"),
    ]
    assert "lead time, which is not stated" in found[0].note


def test_a_known_lead_time_is_counted_backwards() -> None:
    """One month to deliver what is to serve from 4 February: signed by 4 January, and the term begins with service."""
    made = plan()
    update = {"lead_months": 1, "epoch": "2027-01", "serves_from": "2027-02"}
    later = tuple(p.model_copy(update=update) for p in made.purchases if p.scheme == "reserved")
    found = calendar_of(made.model_copy(update={"purchases": later}))
    assert [(due.day, due.what.split()[0]) for due in found] == [
        (date(2027, 1, 4), "sign"), (date(2027, 2, 4), "in"), (date(2027, 5, 4), "term")
    ]  # fmt: skip
    assert found[0].note == "delivery takes 1 month: it is to serve from 2027-02-04"


def test_a_sign_by_day_that_is_past_is_said() -> None:
    """Three months to deliver by the second month: that had to be signed before the plan was made."""
    made = plan()
    update = {"lead_months": 3, "epoch": "2026-11", "serves_from": "2027-02"}
    later = tuple(p.model_copy(update=update) for p in made.purchases if p.scheme == "reserved")
    due = calendar_of(made.model_copy(update={"purchases": later, "made_on": "2026-11-20"}))[0]
    assert due.day == date(2026, 11, 4)
    assert "this day was past when the plan was made" in due.note


def test_a_server_is_started_with_what_was_measured() -> None:
    """The measured arguments as they are; parallelism is added where they do not state it."""
    (deployed,) = plan().deployments
    assert command(deployed) == "vllm serve example/llama-3-8b --max-num-seqs 256"
    wide = deployed.model_copy(update={"tensor_parallel": 4, "data_parallel": 2, "model_source": None})
    assert command(wide) == ("vllm serve llama-3-8b --max-num-seqs 256 --tensor-parallel-size 4 --data-parallel-size 2")
    for stated in (("--tensor-parallel-size=4",), ("-tp", "4")):
        told = command(wide.model_copy(update={"server_args": stated, "data_parallel": 1}))
        assert told == f"vllm serve llama-3-8b {' '.join(stated)}"
    assert command(deployed.model_copy(update={"engine": "other"})) == "--max-num-seqs 256"


def test_replicas_by_hour_are_told_for_every_hour() -> None:
    """24 rows per deployment in the table; in the report neighbouring hours that are alike are joined."""
    rows = list(csv.DictReader(io.StringIO(plan_tables(plan())["replicas_by_hour.csv"])))
    assert [float(row["replicas_most"]) for row in rows] == [14.0] * 8 + [20.0] * 12 + [14.0] * 4
    sections = {section.title: section for section in acting.acting(plan())}
    table = sections["Replicas by hour of day"].table
    assert table is not None
    assert table.rows == (("00:00 to 08:00", "14"), ("08:00 to 20:00", "20"), ("20:00 to 24:00", "14"))
    assert acting.acting(plan().model_copy(update={"purchases": (), "deployments": ()})) == ()


@pytest.mark.parametrize("name", sorted(schemas()))
def test_published_schemas_are_fresh(name: str) -> None:
    """`python -m planner.schemas` was run after the last change of a file's format."""
    assert (DOCS / name).read_text(encoding="utf-8") == schemas()[name]


def test_schemas_are_written_whole(tmp_path: Path) -> None:
    """One command writes them all; the plan's schema knows every field of a plan and no other."""
    main(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(schemas())
    schema = json.loads((tmp_path / "plan.schema.json").read_text(encoding="utf-8"))
    assert set(schema["properties"]) == set(Plan.model_fields)
    assert schema["additionalProperties"] is False
