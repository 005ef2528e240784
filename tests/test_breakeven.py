"""Cost of a million tokens at any volume, strategies over the months, and the curves with the SLO's knee."""

from __future__ import annotations

import doctest
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from review_fixtures import plan

from planner import breakeven, cumulative
from planner.assemble import Case, assemble
from planner.breakeven import usd_per_mtok, volumes
from planner.cash import paid, paid_lines
from planner.cumulative import cheaper_from, cumulative_picture
from planner.horizon import Span
from planner.inputs import check_inputs
from planner.plan import Way
from planner.problem import Blocks, Deployment, Endpoint, Epoch, FixedCharge, Line, Offer, Pool, Problem
from planner.solve import solve
from planner.throughput import throughput, throughput_picture
from planner.volume import volume, volume_picture
from planner.ways import model_volumes

EXAMPLE = Path(__file__).parents[1] / "examples" / "forecast.csv"
TODAY = date(2026, 11, 20)


@pytest.mark.parametrize("module", [breakeven, cumulative])
def test_sums_are_as_their_examples_say(module: object) -> None:
    """The cases that can be done by hand come out as written beside the functions."""
    tried = doctest.testmod(module)  # type: ignore[arg-type]
    assert tried.attempted >= 2
    assert tried.failed == 0


@given(st.floats(0.01, 5), st.sampled_from([1, 2, 8]), st.floats(0, 50), st.floats(0.1, 1e4), st.floats(1, 3))
def test_a_held_gpu_is_never_cheaper_than_the_same_by_the_hour(
    gpu_h: float, step: int, fixed: float, mtok: float, peak: float
) -> None:
    """At equal prices held GPUs cost at least as much, and both at least the GPU time that the work needs."""
    levels = ((0.5, peak), (0.5, 2 - peak)) if peak <= 2 else ((0.5, 1.0), (0.5, 1.0))
    held = Way(name="a", scheme="reserved", usd_per_mtok=0, gpu_h_per_mtok=gpu_h, gpus_per_step=step, usd_per_gpu_h=3,
               fixed_usd_per_h=fixed)  # fmt: skip
    hourly = held.model_copy(update={"scheme": "on demand"})
    assert usd_per_mtok(held, levels, mtok) >= usd_per_mtok(hourly, levels, mtok) * (1 - 1e-9)
    assert usd_per_mtok(hourly, levels, mtok) >= gpu_h * 3 * (1 - 1e-6)


def test_a_volume_grid_spans_two_orders_around_the_plan() -> None:
    """The plan's own volume is a point of it."""
    at = volumes(7.0)
    assert (at[0], at[200], at[-1]) == pytest.approx((0.07, 7.0, 700.0))


def test_ways_are_the_cases_own_capacities_and_prices() -> None:
    """By API the mix costs what the endpoint asks; by the hour, GPU-hours per million tokens are the deployments'."""
    checked = check_inputs(EXAMPLE, today=TODAY)
    case: Case = assemble(checked.forecast, checked.plan, checked.workloads, checked.book, checked.curves, today=TODAY)
    (found,) = model_volumes(case)
    demand = case.problem.blocks.demand
    shapes = [shape for w in case.workloads for shape in w.shapes.classes]
    tokens = demand.sum(axis=0) @ np.array([s.input_tokens + s.output_tokens for s in shapes]) / 1e6
    assert found.mtok_per_h == pytest.approx(tokens / case.span.hours)
    assert sum(share for share, _ in found.levels) == pytest.approx(1)
    assert sum(share * level for share, level in found.levels) == pytest.approx(1)
    ways = {way.scheme: way for way in found.ways}
    api = [sum(demand.sum(axis=0) * np.array(info.endpoint.usd_per_request, dtype=float)) for info in case.endpoints]
    assert ways["api"].usd_per_mtok == pytest.approx(min(api) / tokens)
    hours = [
        float(demand.sum(axis=0) @ np.array(d.gpu_h_per_request, dtype=float)) / tokens
        for d in case.problem.deployments
        if None not in d.gpu_h_per_request
    ]
    for way in found.ways:
        assert way.scheme == "api" or way.gpu_h_per_mtok == pytest.approx(
            min(hours, key=lambda h: abs(h - way.gpu_h_per_mtok))
        )
    assert ways["owned"].gpus_per_step % 8 == 0
    assert ways["owned"].fixed_usd_per_h > 0
    reserved = [info for info in case.offers if info.label == ways["reserved"].name.split(",")[0]]
    assert (reserved[0].term_months or 0) <= 12


def test_the_months_add_up_to_the_bill() -> None:
    """Two epochs: 900 at the start, 0.5 an hour and a team as they run, the residual at the end; and one epoch."""
    problem = Problem(
        epochs=(Epoch("a", 100.0), Epoch("b", 100.0, 0.9)),
        classes=("chat",),
        blocks=Blocks(np.array([0, 1]), np.array([100.0, 100.0]), np.array([[10.0], [10.0]])),
        pools=(Pool("owned"),),
        deployments=(Deployment("d", "owned", (0.05,)),),
        offers=(Offer("own", {"owned": 1.0}, upfront=(Line("server", 900.0),), committed=(Line("rack", 0.5),),
                      running_costs_stay=True, residual_usd=(900.0, 500.0, 300.0)),),
        fixed_charges=(FixedCharge("staff", ("own",), 1.0, 10.0),),
        unserved_usd_per_request=(99.0,),
    )  # fmt: skip
    solution = solve(problem, gap=0.0)
    span = Span(datetime(2027, 1, 1, tzinfo=UTC), 2, 200, problem.epochs, 0.1)
    assert paid(solution, span) == pytest.approx((900, 1050, 1050 + 135 - 300))
    assert paid(solution, span)[-1] == pytest.approx(solution.cost_usd)
    assert paid_lines(solution) == (
        pytest.approx({"server": 900, "rack": 50, "staff": 100}),
        pytest.approx({"rack": 45, "staff": 90, "residual value": -300}),
    )
    one = Problem(
        epochs=(Epoch("start", 300.0),),
        classes=("chat",),
        blocks=Blocks(np.array([0]), np.array([300.0]), np.array([[10.0]])),
        pools=(),
        deployments=(),
        offers=(),
        endpoints=(Endpoint("api", (0.1,)),),
        unserved_usd_per_request=(99.0,),
    )
    span = Span(datetime(2027, 1, 1, tzinfo=UTC), 3, 300, one.epochs, 0.0)
    assert paid(solve(one, gap=0.0), span) == pytest.approx((0, 100, 200, 300))


def test_crossing_points_are_where_the_lines_cross() -> None:
    """The plan is 190,000 ahead of renting at the start and cheaper for good inside the second month."""
    made = plan()
    rented = next(other for other in made.baselines if other.name == "all rented on demand")
    months = cheaper_from(made.paid, rented.paid)
    assert months == pytest.approx(1 + 70_000 / (70_000 + 152_345.67))
    picture = cumulative.cumulative(made)
    assert picture is not None
    assert "than all API after 0.384 months, all rented on demand after 1.31 months." in picture.says
    axis = cumulative_picture(made).axes[0]
    assert [len(line.get_xdata()) for line in axis.lines] == [3, 3, 1, 3, 1]
    assert picture.table.rows[0] == ("this plan", "USD 190,000", "USD 270,000", "USD 260,000", "")


def test_break_even_is_told_and_drawn() -> None:
    """Owned GPUs beat 0.90 USD a million from some volume on; by the hour they never do at 2.50."""
    picture = volume(plan())
    assert picture is not None
    cells = {row[1]: row for row in picture.table.rows}
    assert cells["on demand"][4] == "never up to 100 times this plan's volume"
    assert "times this plan's)" in cells["owned"][4]
    axis = volume_picture(plan()).axes[0]
    assert [line.get_label() for line in axis.lines if not line.get_label().startswith("_")] == [
        "API", "owned", "on demand", "this plan's volume", "this plan"
    ]  # fmt: skip
    assert volume(plan().model_copy(update={"volumes": ()})) is None


def test_the_knee_is_on_the_curve() -> None:
    """A shape that breaks the SLO has a cross where it does; one that never does is called a floor."""
    picture = throughput(plan())
    assert picture is not None
    assert [row[1:] for row in picture.table.rows] == [
        ("1,024 / 128", "4", "16", "40 in flight", "12.5", "11", "13.5", "12.5"),
        ("1,024 / 512", "3", "14", "not up to 32 in flight", "9.5", "none", "9.9", "9.5"),
    ]
    assert "1 of 2 shapes never broke the SLO" in picture.says
    lines = throughput_picture(plan()).axes[0].lines
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines if line.get_marker() == "X"] == [(40, 14.5)]
    assert throughput(plan().model_copy(update={"deployments": ()})) is None
