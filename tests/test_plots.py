"""The pictures show what the plan says, look the same everywhere, and are harmless."""

from __future__ import annotations

import doctest
import itertools
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from review_fixtures import HOSTILE, hostile_plan, hours, plan

from planner import amounts, drawing
from planner.drawing import COLOURS, drawable, pale, render
from planner.pictures import pictures
from planner.plots import cost_picture, demand_picture, duration_picture, month_picture, month_rows
from planner.weeks import duration, tokens, week_spans


@pytest.mark.parametrize("module", [amounts, drawing])
def test_printed_numbers_are_as_their_examples_say(module: object) -> None:
    """Rounding, separators and units come out as the examples beside the functions show."""
    tried = doctest.testmod(module)  # type: ignore[arg-type]
    assert tried.attempted >= 2
    assert tried.failed == 0


def test_typical_week_is_the_median_and_worst_the_highest() -> None:
    """Of weeks with 3, 1, 9, 2 and 5 requests an hour the first is typical (the median is 3) and the third is worst."""
    made = _weeks([3, 1, 9, 2, 5])
    assert [(span.title, span.first // 168) for span in week_spans(made)] == [("Typical week", 0), ("Worst week", 2)]
    assert week_spans(made)[1].dates == "18 to 24 Jan 2027"


def test_a_week_with_unserved_work_is_worse_than_a_busier_one() -> None:
    """What is not served outranks the highest hour."""
    made = _weeks([3, 1, 9, 2, 5])
    unserved = made.unserved.copy()
    unserved[168 + 7] = 1.0
    assert week_spans(replace(made, unserved=unserved))[1].first == 168


@pytest.mark.parametrize(
    ("levels", "hours_cut", "titles"),
    [
        ([4, 4, 4], None, ["Every week alike"]),
        ([4], None, ["The week"]),
        ([4], 30, ["All hours"]),
        ([1, 5], None, ["Typical week", "Worst week"]),
        ([5, 1, 5], None, ["Typical and worst week"]),
    ],
)
def test_weeks_that_need_not_be_told_apart_are_shown_once(
    levels: list[int], hours_cut: int | None, titles: list[str]
) -> None:
    """Alike weeks, a single week and less than a week give one panel."""
    assert [span.title for span in week_spans(_weeks(levels, hours_cut))] == titles


def test_load_duration_keeps_the_peak_and_the_work() -> None:
    """The first point is the busiest hour itself, the curve falls, and who serves adds up to the demand everywhere."""
    table = hours(1000, missed=True)
    curve = duration(table, points=100)
    assert len(curve.demand) == 101
    assert curve.demand[0] == tokens(table, table.demand).max()
    assert (np.diff(curve.demand) <= 0).all()
    assert curve.hour_share[0] == 0
    assert curve.hour_share[-1] == 1
    np.testing.assert_allclose(sum(curve.served.values()) + curve.unserved, curve.demand)


def test_cost_bars_are_the_bills() -> None:
    """Bar lengths are plan.json's amounts; a strategy that cannot serve everything has words and no bill."""
    axis = cost_picture(plan()).axes[0]
    widths = [bar.get_width() for bar in axis.patches]
    assert widths[:4] == [260.0, 1150.0, 412.34567, 330.0]
    said = [text.get_text() for text in axis.texts]
    assert said[0] == "USD 260,000"
    assert said[4] == "cannot serve everything: 3.10% have no supply"
    assert axis.get_yticklabels()[0].get_text() == "this plan"
    assert axis.get_xlabel() == "thousand USD over 2 months"


def test_demand_panels_show_gpus_held_and_tokens_asked() -> None:
    """The top edge of the first row is the GPUs held, the line of the second row the tokens asked for, per hour."""
    table = hours()
    spans = week_spans(table)
    axes = demand_picture(table).axes
    held = sum(table.gpus_held.values())
    for axis, span in zip(axes[:2], spans, strict=True):
        np.testing.assert_allclose(axis.lines[-1].get_ydata()[:-1], held[span.first : span.last])
    asked = tokens(table, table.demand)
    for axis, span in zip(axes[2:], spans, strict=True):
        np.testing.assert_allclose(axis.lines[-1].get_ydata()[:-1], asked[span.first : span.last])
    assert [axis.get_ylabel() for axis in axes] == ["GPUs held"] * 2 + ["million tokens per hour"] * 2
    assert [axis.get_title(loc="left") for axis in axes[:2]] == [f"{span.title}: {span.dates}" for span in spans]


def test_month_bars_add_up_to_the_months() -> None:
    """Bars above zero less credits below it are the month's cost; small lines are summed, never dropped."""
    made = plan()
    axis = month_picture(made).axes[0]
    heights = np.array([bar.get_height() for bar in axis.patches]).reshape(-1, 2).sum(axis=0)
    np.testing.assert_allclose(1000 * heights, [month.usd for month in made.months])
    rows = month_rows(made, 3)
    assert [name for name, _ in rows] == ["hardware", "reserved GPUs", "other lines"]
    np.testing.assert_allclose(sum(amounts for _, amounts in rows), [month.usd for month in made.months])


@pytest.mark.parametrize("narrow", [False, True])
def test_every_picture_draws_hostile_names(narrow: bool) -> None:
    """Names with markup, mathematics, control characters or letters that the font lacks are text, without a warning."""
    names = (HOSTILE, "日本語", "$\\frac{", "x" * 300)
    made = hostile_plan()
    baselines = tuple(b.model_copy(update={"name": n}) for b, n in zip(made.baselines, names, strict=True))
    for picture in pictures(made.model_copy(update={"baselines": baselines}), hours(200)):
        svg = render(lambda: picture.draw(narrow))  # noqa: B023  # called at once
        found = {element.tag.split("}")[1] for element in ET.fromstring(svg).iter()}
        assert found <= {"svg", "metadata", "RDF", "Work", "defs", "style", "g", "path", "use", "clipPath", "rect",
                         "pattern"}  # fmt: skip


def test_characters_that_cannot_be_drawn_become_boxes() -> None:
    """A reader sees that something is there."""
    assert drawable("a\n日$b") == "a□□$b"
    assert drawable("x" * 100, 5) == "xxxx…"


def test_pictures_carry_no_date_and_no_version() -> None:
    """Nothing in a file says when, where or with what it was drawn."""
    svg = render(lambda: cost_picture(plan()))
    assert not re.search(rb"dc:date|matplotlib v|creator", svg, re.IGNORECASE)


def test_pictures_of_a_plan_without_gpus_months_or_baselines() -> None:
    """An API-only plan has no GPU panel; empty months and baselines still draw."""
    table = hours(100)
    bare = replace(table, gpus_held={}, gpus_busy={}, served={"api": table.demand})
    assert [axis.get_ylabel() for axis in demand_picture(bare).axes] == ["million tokens per hour"]
    nothing = ("months", "baselines", "sensitivities", "paid", "volumes", "deployments")
    empty = plan().model_copy(update={**dict.fromkeys(nothing, ()), "cost_usd": 0.0})
    for figure in (month_picture(empty), cost_picture(empty), duration_picture(bare)):
        render(lambda: figure)  # noqa: B023  # called at once
    assert [picture.stem for picture in pictures(empty, bare)] == ["cost", "demand", "duration"]
    assert pictures(empty, bare)[0].says == "This plan costs USD 0."
    assert pictures(empty, bare)[1].says == "Over all hours APIs serve 100 % of the tokens."


def test_schemes_stay_apart_for_the_colour_blind() -> None:
    """Any two schemes differ by 15 in CIELAB for usual, red-blind and green-blind eyes (Machado et al. 2009)."""
    red_blind = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    green_blind = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    for eyes in (np.eye(3), np.array(red_blind), np.array(green_blind)):
        for colours in (COLOURS, {scheme: pale(colour) for scheme, colour in COLOURS.items() if scheme != "api"}):
            seen = [_lab(eyes, colour) for colour in colours.values()]
            distances = [float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2)]
            assert min(distances) > (15 if colours is COLOURS else 4)


def _lab(eyes: np.ndarray, colour: str) -> np.ndarray:
    srgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(eyes @ linear, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def _weeks(levels: list[int], cut: int | None = None) -> object:
    table = hours(168 * len(levels))
    demand = np.repeat(np.array(levels, dtype=float), 168)[:, None] * np.ones(2)
    made = replace(table, demand=demand, unserved=0 * demand, start=datetime(2027, 1, 4, tzinfo=UTC))
    return made if cut is None else replace(made, demand=demand[:cut], unserved=0 * demand[:cut])
