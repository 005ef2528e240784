"""The default price of unserved work: above the dearest hour, and above what serving a workload alone costs."""

from __future__ import annotations

from pathlib import Path

import pytest
from planner_cases import PER_GPU_H, PLAN, Row, api, forecast, on_demand, reserved, stated, write

RENTED = PLAN + "[horizon]\nmonths = 1\nstart = 2027-01-04\n"
HOURS = 744


def penalty(folder: Path, forbid: str, requests: float, offer: Row, endpoint: Row | None = None) -> float:
    """The price of the first class; so many requests an hour."""
    plan = RENTED + f"[policy]\nforbid = [{forbid}]\n"
    rows = forecast(24, {"chat": requests})
    endpoints = [api() if endpoint is None else endpoint]
    problem = stated(write(folder, plan=plan, rows=rows, offers=[offer], endpoints=endpoints)).problem
    return problem.unserved_usd_per_request[0]


@pytest.mark.parametrize(
    ("forbid", "requests", "offer", "endpoint", "usd"),
    [
        # Busy GPUs: a unit's hour is the dearest of the three.
        ('"buy", "reserved", "api"', PER_GPU_H, on_demand(), None, 1.0),
        # A GPU all month for a request in ten hours: twice its 744 USD over 74.4 requests.
        ('"buy", "reserved", "api"', 0.1, on_demand(), None, 20.0),
        # A term is paid whole: twelve months of 730 hours though the plan is one month.
        ('"buy", "on-demand", "api"', 0.1, reserved(), None, 2 * 0.6 * 8760 / (0.1 * HOURS)),
        # An API takes it at its price, so a GPU-hour is the dearest again.
        ('"buy", "reserved"', 0.1, on_demand(), None, 1.0),
        # The API takes too little.
        ('"buy", "reserved"', 0.1, on_demand(), api(requests_per_minute=0.001), 20.0),
        ('"buy", "reserved"', 0.1, on_demand(), api(tokens_per_minute=1), 20.0),
        # The stock does not reach, so there is no way to compare with.
        ('"buy", "reserved", "api"', 2 * PER_GPU_H, on_demand(limit_units=1), None, 1.0),
    ],
)
def test_a_request_that_nobody_serves_costs_more_than_serving_it(
    tmp_path: Path, *, forbid: str, requests: float, offer: Row, endpoint: Row | None, usd: float
) -> None:
    """By hand, way by way."""
    assert penalty(tmp_path, forbid, requests, offer, endpoint) == pytest.approx(usd, rel=0.01)


def test_a_team_and_whole_servers_are_part_of_owning(tmp_path: Path) -> None:
    """A server of four for a month: its price less what it sells for, its running costs, and the team's salary."""
    folder = tmp_path
    found = penalty(folder, '"on-demand", "reserved", "api"', 0.1, on_demand())
    problem = stated(folder / "forecast.csv").problem
    server = sum(usd for _, usd in problem.unit_cost(problem.offers[0], 0))
    power = problem.pools[0].busy_usd_per_gpu_h / PER_GPU_H
    team = sum(problem.fixed_usd(charge, 0) for charge in problem.fixed_charges)
    assert team == pytest.approx(1460 * HOURS / 730)
    assert found == pytest.approx(2 * ((server + team) / (0.1 * HOURS) + power), rel=1e-6)
