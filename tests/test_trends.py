"""Prices that change supply by supply: rates and dated paths, what they name, and what is wrong with them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from planner_cases import GPU, MODEL, PER_GPU_H, PLAN, TODAY, api, forecast, on_demand, reserved, stated, told, write

from hardware_profiles.faults import InputError
from planner.assemble import Case
from planner.inputs import check_inputs
from planner.planfile import read_planfile
from planner.trends import PriceTrends, SupplyTrend

FLAT = forecast(24, {"chat": 4 * PER_GPU_H})
"""From 4 January 2027, so months begin on the fourth."""
MONTHS = "[horizon]\nmonths = 3\n"
OFFERS = (on_demand(), on_demand("other", 1.1), reserved(months=1))


def _trend(*lines: str) -> str:
    return "\n".join(("[[price_trends.supplies]]", *lines, ""))


def _case(folder: Path, *trends: str, general: str = "") -> Case:
    plan = PLAN + MONTHS + general + "".join(trends)
    return stated(write(folder, plan=plan, rows=FLAT, offers=OFFERS, endpoints=[api(), api("dear", 0.9, 0.9)]))


def _factors(case: Case) -> dict[str, list[float]]:
    """By provider and scheme, the price's multiple in each month."""
    found = {f"{info.provider} {info.scheme}": info.offer.price_factor for info in case.offers}
    found |= {f"{info.provider} api": info.endpoint.price_factor for info in case.endpoints}
    return {name: [round(factor(m), 6) for m in range(3)] for name, factor in found.items()}


def test_each_supply_follows_the_first_trend_that_names_it(tmp_path: Path) -> None:
    """A provider's on-demand price, all of a GPU's rentals, an API by its model's provider; the rest as in all."""
    general = "[price_trends]\napi_per_year = 0.44\nrental_per_year = 0.21\n"
    found = _factors(
        _case(
            tmp_path,
            _trend('provider = "rent"', 'kind = "on-demand"', "per_year = -0.36"),
            _trend('gpu = "l4"', 'kind = "on-demand"', "per_year = -0.51"),
            _trend('provider = "dear"', f'model = "{MODEL}"', "per_year = 0.0"),
            _trend('provider = "yours"', "per_year = -0.19"),
            general=general,
        )
    )
    rates = {"rent on demand": 0.64, "other on demand": 0.49, "rent reserved": 1.21, "yours owned": 0.81,
             "sells api": 1.44, "dear api": 1.0}  # fmt: skip
    assert found == {name: [round(rate ** (m / 12), 6) for m in range(3)] for name, rate in rates.items()}


def test_a_path_holds_from_each_day_on_by_whole_months(tmp_path: Path) -> None:
    """Half from 1 February, since its plan month begins on the 4th; what begins on 5 March is too late for March's."""
    path = "path = { 2027-03-05 = 0.9, 2027-02-01 = 0.5 }"
    assert _factors(_case(tmp_path, _trend('kind = "api"', path)))["sells api"] == [1.0, 0.5, 0.5]
    past = "path = { 2026-06-01 = 0.7 }"
    assert _factors(_case(tmp_path, _trend('kind = "api"', past)))["sells api"] == [0.7, 0.7, 0.7]


def test_a_path_may_be_a_table_of_days(tmp_path: Path) -> None:
    """One line per day, for a long path."""
    text = _trend('kind = "api"') + "[price_trends.supplies.path]\n2027-02-04 = 0.8\n2027-03-04 = 0.6\n"
    assert _factors(_case(tmp_path, text))["dear api"] == [1.0, 0.8, 0.6]


def test_the_bill_follows_the_path(tmp_path: Path) -> None:
    """Four GPUs at 1.00 USD an hour; a seller at 1.10 halves its price on 1 March: it takes over for the last month."""
    plan = PLAN + MONTHS + '[policy]\nforbid = ["api", "buy", "reserved"]\n'
    plan += _trend('provider = "other"', "path = { 2027-03-01 = 0.5 }")
    answer = told(write(tmp_path, plan=plan, rows=FLAT, offers=OFFERS))
    assert answer.plan.cost_usd == pytest.approx(4 * 24 * (31 + 28 + 0.55 * 31))
    assert answer.plan.checks == ()
    assert len(answer.case.problem.epochs) == 3


def test_what_is_signed_keeps_the_price_of_its_month(tmp_path: Path) -> None:
    """Two months at the price of January, though it doubles in February."""
    plan = PLAN + "[horizon]\nmonths = 2\n" + '[policy]\nforbid = ["api", "buy", "on-demand"]\n'
    plan += _trend(f'gpu = "{GPU}"', "path = { 2027-02-01 = 2.0 }")
    answer = told(write(tmp_path, plan=plan, rows=FLAT, offers=[reserved(usd=0.6, months=2)]))
    assert answer.plan.cost_usd == pytest.approx(4 * 0.6 * 24 * (31 + 28))


def test_without_a_trend_of_its_own_a_supply_follows_its_sort() -> None:
    """APIs, purchases and rentals each have a rate; nothing stated changes nothing."""
    trends = PriceTrends(api_per_year=0.1, purchase_per_year=0.2, rental_per_year=0.3)
    assert [trends.of(kind, "x").per_year for kind in ("api", "buy", "reserved", "spot")] == [0.1, 0.2, 0.3, 0.3]
    assert not PriceTrends().change
    assert PriceTrends(supplies=(SupplyTrend(kind="api", path={date(2027, 1, 1): 1.0}),)).change


def test_the_plan_says_what_is_assumed_to_change(tmp_path: Path) -> None:
    """Trends and growth are among the plan's notes, in words and in the order in which they count."""
    trend = _trend('provider = "rent"', "path = { 2027-02-01 = 0.8 }")
    general = "[growth]\nrequests_per_year = 0.6\nworkloads = { chat = 0.25 }\n[price_trends]\napi_per_year = -0.1\n"
    path = write(tmp_path, plan=PLAN + MONTHS + general + trend, rows=FLAT, offers=OFFERS)
    notes = check_inputs(path, profiles=tmp_path / "profiles", today=TODAY, cwd=tmp_path).notes
    assert notes[:2] == (
        "plan.toml lets demand change: chat +25 % a year, all others +60 % a year.",
        (
            "plan.toml lets prices change, the first that names a supply counting: rent 0.8 times from 2027-02-01; "
            "APIs -10 % a year."
        ),
    )


FAULTS = {
    "per_year = 0.1": "the price of nothing is said to change. Remedy: write provider, gpu, model or kind beside it.",
    'kind = "api"': "a price follows a rate or a dated path. Remedy: write per_year or path, one of the two.",
    'kind = "api"\nper_year = 0.1\npath = { 2027-01-01 = 0.9 }': (
        "a price follows a rate or a dated path. Remedy: write per_year or path, one of the two."
    ),
    'kind = "api"\ngpu = "h100"\nper_year = 0.1': (
        "an API has a model and no GPU. Remedy: write model or gpu, and kind = 'api' only beside model."
    ),
    'kind = "spot"\nmodel = "qwen3-32b"\nper_year = 0.1': (
        "only an API has the price of a model. Remedy: leave model out, or write kind = 'api'."
    ),
}


@pytest.mark.parametrize("lines", FAULTS)
def test_a_trend_that_says_nothing_or_too_much_is_a_fault(tmp_path: Path, lines: str) -> None:
    """Each with its section's line."""
    path = tmp_path / "plan.toml"
    path.write_text("\n" + _trend(lines))
    with pytest.raises(InputError) as caught:
        read_planfile(path)
    assert str(caught.value) == f"{path}:2: column 'price_trends.supplies.0': {FAULTS[lines]}"


@pytest.mark.parametrize(
    ("path", "column", "told_as"),
    [
        ("2027-13-01 = 0.9", "2027-13-01", "is not a date. Remedy: write it as 2027-12-31."),
        ("2027-01-01 = 0", "2027-01-01", "is not greater than 0. Remedy: write a number that is greater than 0."),
        ('2027-01-01 = "half"', "2027-01-01", "is not a number. Remedy: write digits without quotes, for example 0.5."),
    ],
)
def test_a_path_is_of_days_and_multiples(tmp_path: Path, path: str, column: str, told_as: str) -> None:
    """What is no day or no price is told where it stands."""
    file = tmp_path / "plan.toml"
    file.write_text(_trend('kind = "api"', f"path = {{ {path} }}"))
    with pytest.raises(InputError) as caught:
        read_planfile(file)
    assert str(caught.value).startswith(f"{file}:3: column 'price_trends.supplies.0.path.{column}")
    assert str(caught.value).endswith(told_as)


def test_what_a_trend_names_is_in_the_price_book(tmp_path: Path) -> None:
    """A misspelled seller, GPU or model, and names that no row has together, are told at once."""
    trends = (
        _trend('provider = "rant"', "per_year = 0.1"),
        _trend('gpu = "l5"', "per_year = 0.1"),
        _trend('provider = "sells"', 'kind = "on-demand"', "per_year = 0.1"),
    )
    with pytest.raises(InputError) as caught:
        _case(tmp_path, *trends)
    first, second, third = str(caught.value).replace(f"{tmp_path}/", "").splitlines()
    assert first == (
        "plan.toml:8: column 'price_trends.supplies.0.provider', value 'rant': the price book has no such provider. "
        "Remedy: write rent."
    )
    assert second.startswith("plan.toml:11: column 'price_trends.supplies.1.gpu', value 'l5'")
    assert third == (
        "plan.toml:13: column 'price_trends.supplies.2': the price book has nothing that is all of this. "
        "Remedy: leave one of its names out."
    )
