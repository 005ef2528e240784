"""What would change the decision: the nearest turning points, in words that say what would be decided instead."""

from __future__ import annotations

import csv
import doctest
import io

import pytest
from review_fixtures import hours, plan

from planner import turning
from planner.drawing import render
from planner.markdown import markdown
from planner.pictures import pictures
from planner.tables import plan_tables
from planner.tornado import tornado, tornado_picture
from planner.turning import UNTRIED, decided, sensitivity_table, soonest, turns


def test_words_are_as_their_examples_say() -> None:
    """Factors and decisions come out as the examples beside the functions show."""
    tried = doctest.testmod(turning)
    assert tried.attempted >= 4
    assert tried.failed == 0


def test_the_nearest_turning_points_come_first() -> None:
    """API prices turn at 0.97, demand at 0.75 (nearer than at 1.6, by the logarithm); power never does."""
    made = plan()
    assert [(turn.driver, turn.factor) for turn in turns(made)] == [
        ("API prices", 0.97), ("demand", 0.75), ("demand", 1.6)
    ]  # fmt: skip
    assert soonest(made) == (
        "API prices 3 % lower: buy and reserve nothing, 100 % of the tokens to APIs in place of 1.5 %.",
        "Demand 25 % lower: reserve no h100-80gb-sxm.",
    )


def test_the_first_screen_says_what_would_change_the_decision() -> None:
    """Also when no figure was moved, or when no figure turns it."""
    made = plan()
    held = tuple(s.model_copy(update={"turns_below": None, "turns_above": None}) for s in made.sensitivities)
    for sensitivities, said in (
        (
            made.sensitivities,
            "API prices 3 % lower: buy and reserve nothing, 100 % of the tokens to APIs in place of 1.5 %.",
        ),
        ((), UNTRIED),
        (
            held,
            "No figure turns the decision within the range in which it was moved: power price 50 % to 200 %, demand",
        ),
    ):
        changed = made.model_copy(update={"sensitivities": sensitivities})
        assert f"- {said}" in markdown(changed, pictures(changed, hours(200))[:1]).split("![")[0]


def test_decisions_are_the_purchases_that_are_signed() -> None:
    """What is switched on by the hour is no decision."""
    assert decided(plan()) == {"owned h100-80gb-sxm": 8, "reserved h100-80gb-sxm": 6}


def test_terms_that_renew_one_another_are_one_decision() -> None:
    """Six GPUs for a month, and six for the next one, are six GPUs; overlapping they are twelve."""
    made = plan()
    reserved = next(p for p in made.purchases if p.scheme == "reserved")
    first = reserved.model_copy(update={"term_months": 1})
    after = first.model_copy(update={"epoch": "2027-02"})
    gpu = f"reserved {reserved.gpu}"
    assert decided(made.model_copy(update={"purchases": (first, after)})) == {gpu: 6}
    assert decided(made.model_copy(update={"purchases": (reserved, after)})) == {gpu: 12}


def test_tornado_bars_reach_the_bills() -> None:
    """Each bar goes from the plan's bill to the bill at its end, the widest figure on top."""
    axis = tornado_picture(plan()).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "demand, \N{MINUS SIGN}50% to +100%",
        "API prices, \N{MINUS SIGN}50% to +100%",
        "power price, \N{MINUS SIGN}50% to +100%",
    ]
    ends = [bar.get_x() + bar.get_width() for bar in axis.patches]
    assert ends == pytest.approx([140, 500, 200, 269, 259, 262])


def test_a_plan_whose_figures_were_not_moved_has_no_tornado() -> None:
    """Nothing is drawn, and the tables keep their headers."""
    bare = plan().model_copy(update={"sensitivities": ()})
    assert tornado(bare) is None
    assert plan_tables(bare)["sensitivities.csv"].count("\n") == 1


def test_table_and_csv_say_where_the_decision_turns() -> None:
    """Words for people, factors for their sums."""
    rows = {row[0]: row for row in sensitivity_table(plan()).rows}
    assert rows["API prices"] == (
        "API prices", "USD 200,000 (23.1 % cheaper) at 50 % lower", "USD 269,000 (3.5 % dearer) at 100 % higher",
        "USD 201,000 / USD 271,000",
        "3 % lower: buy and reserve nothing, 100 % of the tokens to APIs in place of 1.5 %", "holds",
    )  # fmt: skip
    found = {row["figure"]: row for row in csv.DictReader(io.StringIO(plan_tables(plan())["sensitivities.csv"]))}
    assert (found["demand"]["turns_above"], found["demand"]["decision_above"]) == (
        "1.6", "16 owned h100-80gb-sxm; 6 reserved h100-80gb-sxm"
    )  # fmt: skip
    assert found["API prices"]["decision_below"] == "nothing"


def test_a_plan_of_one_bill_draws() -> None:
    """Figures that do not move the bill at all still have a picture."""
    made = plan()
    flat = tuple(s.model_copy(update={"usd_low": made.cost_usd, "usd_high": made.cost_usd}) for s in made.sensitivities)
    render(lambda: tornado_picture(made.model_copy(update={"sensitivities": flat})))
