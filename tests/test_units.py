"""Work counted in larger units: the same decision, and a proof that holds where HiGHS erred on single requests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from planner.problem import Blocks, Deployment, Endpoint, Epoch, FixedCharge, Line, Offer, Pool, Problem
from planner.solve import solve
from planner.units import in_units, work_unit


class Case(NamedTuple):
    """A day's wave around `mean` requests per hour for `hours`; prices per GPU-hour, of the API per request.

    `known_usd` is what a plan that exists costs.
    """

    hours: float
    mean: float
    swing: float
    rent_usd: float
    term_usd: float
    api_usd: float
    known_usd: float


REFUTED = (
    Case(17520, 34196, 0.86, 0.97, 0.71, 0.000289, 78857.2061),
    Case(17520, 29916, 0.40, 1.23, 0.64, 0.000351, 61008.13524),
    Case(17520, 47733, 0.69, 0.82, 0.54, 0.000355, 83780.54145),
    Case(8760, 56005, 0.60, 1.45, 0.77, 0.000175, 67932.34),
)
"""Stated in single requests, HiGHS 1.15.1 proves that no plan costs less than 4 to 20 % more than these do."""


def problem(case: Case) -> Problem:
    """One class; GPUs bought in fours (with a team), reserved or by the hour, and an API."""
    demand = np.round(case.mean * (1 + case.swing * np.sin(2 * np.pi * np.arange(24) / 24)))[:, None]
    owned = Offer("owned", {"own": 0.25}, upfront=(Line("servers", 18e3),), committed=(Line("power", 0.2),))
    reserved = Offer("reserved", {"rent": 1.0}, term_epochs=1, committed=(Line("term", case.term_usd),))
    on_demand = Offer("on_demand", {"rent": 1.0}, "hour", bought=False, usage_usd_per_h=case.rent_usd)
    return Problem(
        epochs=(Epoch("start", case.hours),),
        classes=("chat",),
        blocks=Blocks(np.zeros(24, dtype=np.intp), np.full(24, case.hours / 24), demand),
        pools=(Pool("own", 0.015), Pool("rent")),
        deployments=(Deployment("own", "own", (1 / 7200,)), Deployment("rent", "rent", (1 / 7200,))),
        offers=(owned, reserved, on_demand),
        endpoints=(
            Endpoint("api", (case.api_usd,), requests_per_h=1e6, tokens_per_h=1e9, tokens_per_request=(1200.0,)),
        ),
        fixed_charges=(FixedCharge("staff", ("owned",), 2.0, 4.0),),
        unserved_usd_per_request=(0.01,),
    )


@pytest.mark.parametrize("case", REFUTED)
def test_no_bound_exceeds_a_plan_that_is_known(case: Case) -> None:
    """The bound is at most the cost of a known plan, and the plan found is as cheap within the gap asked for."""
    solution = solve(problem(case), gap=1e-3)
    assert solution.bound_usd <= case.known_usd + 0.01
    assert solution.cost_usd <= case.known_usd * (1 + 1e-3)


def test_work_is_counted_in_gpu_hours() -> None:
    """Demand, GPU time, prices and limits change together; what is bought keeps its units."""
    stated = problem(REFUTED[0])
    assert work_unit(stated) == 8192.0
    counted = in_units(stated)
    assert (counted.blocks.demand * 8192.0 == stated.blocks.demand).all()
    assert counted.deployments[0].gpu_h_per_request == (8192 / 7200,)
    assert counted.offers == stated.offers
    (api,) = counted.endpoints
    assert api.usd_per_request == (0.000289 * 8192,)
    assert api.requests_per_h == 1e6 / 8192
    assert api.tokens_per_h == 1e9
    assert api.tokens_per_request == (1200.0 * 8192,)
    assert counted.unserved_usd_per_request == (0.01 * 8192,)


@pytest.mark.parametrize("most", [0.0, 1e-6, 3.0, 1e12])
def test_the_unit_never_exceeds_the_highest_demand_by_much(most: float) -> None:
    """Little demand is not rounded away: it is one unit of work or more, to the nearest power of two."""
    stated = problem(REFUTED[0])
    blocks = Blocks(stated.blocks.epoch, stated.blocks.weight_h, np.full((24, 1), most))
    unit = work_unit(stated.with_blocks(blocks))
    assert unit == (1.0 if most == 0 else min(8192.0, 2.0 ** round(np.log2(most))))
