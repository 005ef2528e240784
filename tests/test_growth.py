"""Demand that grows and prices that move over the horizon."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from hardware_profiles.faults import InputError
from planner.assemble import assemble
from planner.horizon import horizon
from planner.inputs import check_inputs
from planner.planfile import read_planfile
from planner.problem import Blocks, Epoch, Line, Offer, Pool, Problem

TODAY = date(2026, 11, 20)
EXAMPLE = Path(__file__).parents[1] / "examples" / "forecast.csv"


def _case(folder: Path, text: str):
    path = folder / "plan.toml"
    path.write_text("[horizon]\nmonths = 3\n" + text)
    checked = check_inputs(EXAMPLE, plan_path=path, today=TODAY)
    return assemble(checked.forecast, checked.plan, checked.workloads, checked.book, checked.curves, today=TODAY)


def test_demand_grows_by_the_month_and_by_workload(tmp_path: Path) -> None:
    """In the second month a workload's hour is the same hour of the forecast times (1 + rate) ** (1 / 12)."""
    plain = _case(tmp_path, "[growth]\nworkloads = { assistant = 0.0, support-chat = 1.0 }\n").forecast
    steady = _case(tmp_path, "").forecast
    first, second = slice(0, 31 * 24), slice(31 * 24, 59 * 24)
    assert (plain.requests[first] == steady.requests[first]).all()
    assert plain.requests[second, 0] == pytest.approx(steady.requests[second, 0])
    assert plain.requests[second, 1] == pytest.approx(steady.requests[second, 1] * 2 ** (1 / 12))
    assert plain.output_tokens[second, 1] == pytest.approx(steady.output_tokens[second, 1] * 2 ** (1 / 12))


def test_change_makes_every_month_a_decision(tmp_path: Path) -> None:
    """A repeated forecast at constant prices is one epoch; growth, a trend or a discount rate makes one per month."""
    assert [epoch.name for epoch in _case(tmp_path, "").span.epochs] == ["start"]
    for change in ("[growth]\nrequests_per_year = 0.5\n", "[price_trends]\napi_per_year = -0.3\n"):
        assert [epoch.name for epoch in _case(tmp_path, change).span.epochs] == ["2027.01", "2027.02", "2027.03"]
    path = tmp_path / "plan.toml"
    path.write_text("[horizon]\nmonths = 2\ndiscount_rate_per_year = 0.21\n")
    checked = check_inputs(EXAMPLE, plan_path=path, today=TODAY)
    span = horizon(checked.forecast, checked.plan)
    assert [epoch.discount for epoch in span.epochs] == [1.0, pytest.approx(1.21 ** (-1 / 12))]


def test_a_horizon_in_hours_sees_discount_and_trends(tmp_path: Path) -> None:
    """The hours of three months are those three months; a day more is a month of one day, worth what its month is."""
    change = "[price_trends]\napi_per_year = -0.3\n"
    months, path = _case(tmp_path, "discount_rate_per_year = 0.21\n" + change), tmp_path / "plan.toml"
    hours = (31 + 28 + 31) * 24
    for more in (0, 24):
        path.write_text(f"[horizon]\nhours = {hours + more}\ndiscount_rate_per_year = 0.21\n{change}")
        checked = check_inputs(EXAMPLE, plan_path=path, today=TODAY)
        case = assemble(checked.forecast, checked.plan, checked.workloads, checked.book, checked.curves, today=TODAY)
        assert case.problem.epochs[:3] == months.problem.epochs
        assert case.endpoints[0].endpoint.price_path[:3] == months.endpoints[0].endpoint.price_path
        if more:
            april = case.problem.epochs[3]
            assert (april.name, april.hours, april.past_h) == ("2027.04", 24, 29 * 24)
            assert april.discount == pytest.approx(1.21 ** (-3 / 12))
    assert len(case.problem.blocks) == hours + 24


def test_an_owned_server_keeps_its_age_where_the_last_month_is_cut(tmp_path: Path) -> None:
    """What a sale brings depends on the months that are in the plan, not on the calendar months that it touches."""
    path = tmp_path / "plan.toml"
    path.write_text("[horizon]\nhours = 2280\ndiscount_rate_per_year = 0.01\n")
    checked = check_inputs(EXAMPLE, plan_path=path, today=TODAY)
    case = assemble(checked.forecast, checked.plan, checked.workloads, checked.book, checked.curves, today=TODAY)
    (info, *_) = (each for each in case.offers if each.scheme == "owned")
    own = checked.book.ownership[info.gpu]
    worth = own.capital_usd * info.gpus_per_unit * own.residual_share(2280 * 12 / 8760)
    assert len(case.problem.epochs) == 4
    assert info.offer.residual_usd[4] == pytest.approx(worth)


def test_prices_follow_their_trend(tmp_path: Path) -> None:
    """API and rental prices of month m are today's times (1 + rate) ** (m / 12)."""
    case = _case(tmp_path, "[price_trends]\napi_per_year = -0.5\nrental_per_year = 0.44\n")
    assert case.endpoints[0].endpoint.price_factor(2) == pytest.approx(0.5 ** (2 / 12))
    rented = next(info.offer for info in case.offers if info.scheme == "reserved")
    assert rented.price_factor(1) == pytest.approx(1.44 ** (1 / 12))
    assert next(info.offer for info in case.offers if info.scheme == "owned").price_factor(2) == 1.0


def test_a_cheaper_server_draws_the_same_power() -> None:
    """An owned server bought later costs its month's price at once and today's price to run."""
    offer = Offer(
        "own", {"p": 1.0}, upfront=(Line("server", 100.0),), committed=(Line("power", 2.0),), price_path=(1.0, 0.5),
        running_costs_stay=True,
    )  # fmt: skip
    blocks = Blocks([0, 1], [10.0, 10.0], [[1.0], [1.0]])
    problem = Problem((Epoch("a", 10.0), Epoch("b", 10.0)), ("k",), blocks, (Pool("p"),), (), (offer,),
                      unserved_usd_per_request=(1.0,))  # fmt: skip
    assert dict(problem.unit_cost(offer, 1)) == {"server": 50.0, "power": 20.0}
    scaled = replace(offer, running_costs_stay=False)
    assert dict(problem.unit_cost(scaled, 1)) == {"server": 50.0, "power": 10.0}


def test_growth_of_an_unknown_workload_is_told(tmp_path: Path) -> None:
    """A name under [growth.workloads] that the forecast does not have is a fault with its line."""
    with pytest.raises(InputError) as caught:
        _case(tmp_path, "[growth]\nworkloads = { asistant = 0.5 }\n")
    assert str(caught.value) == (
        f"{tmp_path / 'plan.toml'}:4: column 'growth.workloads.asistant': the forecast has no such workload. "
        "Remedy: rename it to 'assistant'."
    )


def test_a_site_feeds_only_so_much_power(tmp_path: Path) -> None:
    """site.max_kw caps the provisioned power of owned servers."""
    path = tmp_path / "plan.toml"
    path.write_text("[site]\nmax_kw = 50.0\n")
    assert read_planfile(path).site.max_kw == 50.0
    case = _case(tmp_path, "[site]\nmax_kw = 50.0\n")
    limit = next(limit for limit in case.problem.limits if limit.name == "site_kw")
    owned = next(info for info in case.offers if info.scheme == "owned")
    assert limit.cap == 50.0
    assert limit.per_unit[owned.offer.name] == pytest.approx(owned.kw_per_unit)
    assert owned.kw_per_unit > 8 * 0.7
