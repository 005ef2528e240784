"""Spend commitments: so many USD an hour for a term, used or not, at a committed price per GPU type."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from planner_cases import (
    DEFAULT_OFFERS,
    GPU,
    PER_GPU_H,
    PLAN,
    RATES,
    Row,
    Told,
    api,
    curve,
    forecast,
    on_demand,
    points_of,
    stated,
    told,
    wave,
    write,
)

from hardware_profiles.faults import InputError
from planner.acting import calendar_of
from planner.baselines import baselines
from planner.plan import Purchase
from planner.recost import fixed
from planner.solve import solve

YEAR = 8760
OTHER = "h100-80gb-sxm"
FLAT = forecast(24, {"chat": 4 * PER_GPU_H})
HALF = forecast(24, {"chat": [4 * PER_GPU_H] * 12 + [2 * PER_GPU_H] * 12})
"""Four GPUs' work by day, two by night."""
CLOUD = '[policy]\nforbid = ["buy", "api", "reserved"]\n'
COLD = "keep_warm = false\n"


def commitment(usd: float = 0.6, months: int = 12, provider: str = "rent", **more: object) -> Row:
    """A row of a commitment: the committed price of one GPU type."""
    return {"provider": provider, "scheme": "commitment", "term_months": months, "usage_usd_per_gpu_h": usd, **more}


def the(answer: Told, scheme: str) -> Purchase:
    """The one purchase of a scheme."""
    (found,) = [purchase for purchase in answer.plan.purchases if purchase.scheme == scheme]
    return found


def test_a_commitment_pays_the_base_and_on_demand_the_peak(tmp_path: Path) -> None:
    """Two GPUs all day at 0.60, two more for half of it at 1.00: 1.20 USD an hour are committed, used in full."""
    answer = told(write(tmp_path, plan=PLAN + CLOUD, rows=HALF, offers=[on_demand(), commitment()]))
    bought = the(answer, "commitment")
    assert bought.offer == "spend commitment 12 months at rent"
    assert bought.usd_per_h == pytest.approx(1.2)
    assert (bought.gpus, bought.utilisation) == (pytest.approx(2), pytest.approx(1.0))
    assert bought.usd == pytest.approx(1.2 * YEAR)
    assert bought.usd_per_gpu_h == pytest.approx(0.6)
    assert {line.name for line in bought.lines} == {"committed spend"}
    assert the(answer, "on demand").usd == pytest.approx(2 * 1.0 * YEAR / 2)
    assert answer.plan.checks == ()
    assert answer.plan.cost_usd == pytest.approx(sum(line.usd for line in answer.plan.lines))


def test_it_is_owed_whether_used_or_not(tmp_path: Path) -> None:
    """At 0.45 the peak is committed too, though half of that part lies idle at night: 1.80 USD an hour, 75 % used."""
    answer = told(write(tmp_path, plan=PLAN + CLOUD, rows=HALF, offers=[on_demand(), commitment(0.45)]))
    bought = the(answer, "commitment")
    assert (bought.usd_per_h, bought.utilisation) == (pytest.approx(1.8), pytest.approx(0.75))
    assert bought.usd == answer.plan.cost_usd == pytest.approx(1.8 * YEAR)


def test_at_half_the_price_or_more_nothing_is_committed_for_half_the_hours(tmp_path: Path) -> None:
    """A commitment that costs more than on demand is never signed."""
    answer = told(write(tmp_path, plan=PLAN + CLOUD, rows=HALF, offers=[on_demand(), commitment(1.01)]))
    assert [purchase.scheme for purchase in answer.plan.purchases] == ["on demand"]


def test_one_commitment_covers_several_gpu_types(tmp_path: Path) -> None:
    """By day one model's GPUs draw 2.00 USD, by night the other's: one commitment of 2.00 pays both."""
    fast = [p for shape, rate in RATES.items() for p in points_of(shape, rate * 2)]
    curves = [curve(), curve(model="llama-3.1-8b", gpu=OTHER, points=fast)]
    rows = forecast(24, {"chat": [4 * PER_GPU_H] * 12 + [0] * 12, "other": [0] * 12 + [2 * PER_GPU_H] * 12})
    plan = PLAN + PLAN.replace("chat", "other").replace("llama-3.2-1b", "llama-3.1-8b") + CLOUD + COLD
    offers = [on_demand(), on_demand(gpu=OTHER, usd=3.0), commitment(0.5), commitment(2.0, gpu=OTHER)]
    answer = told(write(tmp_path, plan=plan, rows=rows, offers=offers, curves=curves))
    bought = the(answer, "commitment")
    assert bought.gpu == f"{GPU}, {OTHER}"
    assert (bought.usd_per_h, bought.utilisation) == (pytest.approx(2.0), pytest.approx(1.0))
    assert answer.plan.cost_usd == pytest.approx(2.0 * YEAR)
    assert sum(served.usd for served in answer.plan.workloads) == pytest.approx(answer.plan.cost_usd)


def test_a_commitment_to_one_gpu_type_costs_the_same_placed_by_epoch_or_by_hour(tmp_path: Path) -> None:
    """With one model in the pool the quicker statement is exact."""
    case = stated(write(tmp_path, plan=PLAN + CLOUD, rows=HALF, offers=[on_demand(), commitment(0.55)]))
    assert {info.offer.placed for info in case.offers if info.scheme == "commitment"} == {"epoch"}
    by_hour = tuple(replace(o, placed="hour") if o.bought else o for o in case.problem.offers)
    found = [solve(problem, gap=1e-6) for problem in (case.problem, replace(case.problem, offers=by_hour))]
    assert found[0].cost_usd == pytest.approx(found[1].cost_usd)


def test_commitments_with_names_stay_apart_and_each_has_its_limit(tmp_path: Path) -> None:
    """The cheaper one sells half a USD an hour only: one GPU; the other pays for one more, the rest is on demand."""
    offers = [on_demand(), commitment(0.5, commitment="a", limit_units=0.5), commitment(0.6, commitment="b")]
    answer = told(write(tmp_path, plan=PLAN + CLOUD, rows=HALF, offers=offers))
    found = {p.offer: p.usd_per_h for p in answer.plan.purchases if p.scheme == "commitment"}
    assert found == {
        "spend commitment a 12 months at rent": pytest.approx(0.5),
        "spend commitment b 12 months at rent": pytest.approx(0.6),
    }


def test_what_is_owed_past_the_horizon_is_charged(tmp_path: Path) -> None:
    """Ten months of a year: two months more, of 30 and 31 days."""
    plan = PLAN + "[horizon]\nmonths = 10\n" + CLOUD
    bought = the(told(write(tmp_path, plan=plan, rows=FLAT, offers=[on_demand(), commitment(0.5)])), "commitment")
    lines = {line.name: line.usd for line in bought.lines}
    assert lines == {
        "committed spend": pytest.approx(2.0 * 304 * 24),
        "owed past the horizon": pytest.approx(2.0 * 61 * 24),
    }


def test_signed_later_it_costs_the_price_of_its_month(tmp_path: Path) -> None:
    """Rentals fall by half a year: a new term each year, the second at half the USD per hour for the same GPUs."""
    plan = PLAN + "[horizon]\nmonths = 24\n[price_trends]\nrental_per_year = -0.5\n" + CLOUD
    answer = told(write(tmp_path, plan=plan, rows=FLAT, offers=[on_demand(usd=9.0), commitment(0.5)]), gap=0.005)
    signed = sorted((p.epoch, p.usd_per_h) for p in answer.plan.purchases if p.scheme == "commitment")
    assert signed[0] == ("2027.01", pytest.approx(2.0))
    assert signed[-1] == ("2028.01", pytest.approx(1.0))
    assert answer.plan.checks == ()


def test_the_first_screen_and_the_calendar_say_it_in_usd_per_hour(tmp_path: Path) -> None:
    """What is signed is money, not GPUs."""
    plan = PLAN + "[horizon]\nmonths = 2\ndiscount_rate_per_year = 0.01\n" + CLOUD
    answer = told(write(tmp_path, plan=plan, rows=HALF, offers=[on_demand(), commitment(months=2)]))
    assert "ommit to spending 1.20 USD per hour at rent for 2 months" in answer.plan.headline[0]
    assert calendar_of(answer.plan)[0].what == "sign spend commitment 2 months at rent: USD 1.20 an hour"


def test_renewals_each_pay_the_gpus_of_their_own_months(tmp_path: Path) -> None:
    """A month's commitment, renewed: two GPUs each time, not two divided by the renewals."""
    plan = PLAN + "[horizon]\nmonths = 3\ndiscount_rate_per_year = 0.01\n" + CLOUD
    answer = told(write(tmp_path, plan=plan, rows=HALF, offers=[on_demand(), commitment(months=1)]))
    signed = [(p.epoch, p.gpus, p.usd_per_h) for p in answer.plan.purchases if p.scheme == "commitment"]
    assert signed == [(f"2027.0{m}", pytest.approx(2.0), pytest.approx(1.2)) for m in (1, 2, 3)]
    assert "spending 1.20 USD per hour at rent for 1 month" in answer.plan.headline[0]


def test_forbidden_it_is_not_signed_and_not_missed(tmp_path: Path) -> None:
    """`commitment` in policy.forbid leaves it out of the plan and of the strategies."""
    plan = PLAN + CLOUD.replace('"buy"', '"buy", "commitment"')
    answer = told(write(tmp_path, plan=plan, rows=HALF, offers=[on_demand(), commitment(0.1)]))
    assert {purchase.scheme for purchase in answer.plan.purchases} == {"on demand"}


def test_strategies_and_the_last_plan_know_it(tmp_path: Path) -> None:
    """`no API` commits; the last plan's commitment stays as it was signed and pays no more than it did."""
    path = write(tmp_path, plan=PLAN + CLOUD.replace(', "api"', ""), rows=HALF, offers=[on_demand(), commitment()],
                 endpoints=[api(given=900.0)])  # fmt: skip
    answer = told(path)
    found = {made.name: made.usd for made in baselines(answer.case, gap=1e-4, time_limit_s=60, last=answer.plan)}
    assert found["no API"] == pytest.approx(answer.plan.cost_usd)
    assert found["last plan at today's prices"] == pytest.approx(answer.plan.cost_usd)
    kept = fixed(answer.case, answer.plan)
    assert not isinstance(kept, str)
    again = solve(kept.problem, gap=1e-6)
    assert again.fleet.buy.sum() == 0
    assert again.cost_usd + kept.purchases_usd == pytest.approx(answer.plan.cost_usd)


SIGNED = '[[commitments]]\nprovider = "rent"\nusd_per_h = 1.2\nuntil = {until}\n'


@pytest.mark.parametrize(("until", "months"), [("2027-04-04", 3), ("2027-04-03", 2), ("2027-01-20", 0)])
def test_what_is_signed_already_is_used_first_and_owes_nothing_more(tmp_path: Path, until: str, months: int) -> None:
    """1.20 USD an hour at 0.60 are two of the four GPUs of the day and both of the night, until it ends."""
    plan = PLAN + "[horizon]\nmonths = 3\n" + CLOUD.replace('"buy"', '"buy", "commitment"') + SIGNED.format(until=until)
    answer = told(write(tmp_path, plan=plan, rows=HALF, offers=[on_demand(), commitment()]))
    days = (31, 28, 31)
    rest = 2 * 12 * sum(days[:months]) + (4 + 2) * 12 * sum(days[months:])
    assert answer.plan.cost_usd == pytest.approx(rest)
    assert {purchase.scheme for purchase in answer.plan.purchases} == {"on demand"}
    used = [supply.name for supply in answer.plan.supplies if supply.scheme == "existing"]
    assert used == (["spend commitment at rent already"] if months else [])
    assert answer.plan.checks == ()


def test_a_commitment_that_the_price_book_does_not_know_is_a_fault(tmp_path: Path) -> None:
    """Without its rows nobody knows its prices; terms at unlike prices have to be told apart."""
    plan = PLAN + SIGNED.format(until="2028-01-01")
    with pytest.raises(InputError) as raised:
        stated(write(tmp_path / "a", plan=plan, offers=[on_demand()]))
    assert str(raised.value).replace(f"{tmp_path}/a/", "") == (
        "plan.toml:5: column 'commitments.0', value 'rent': the price book has no such commitment. "
        "Remedy: add its rows to offers.csv, scheme commitment, with the committed prices."
    )
    unlike = [on_demand(), commitment(0.5, 12), commitment(0.6, 1)]
    with pytest.raises(InputError) as raised:
        stated(write(tmp_path / "b", plan=plan, offers=unlike))
    assert str(raised.value).replace(f"{tmp_path}/b/", "") == (
        "plan.toml:5: column 'commitments.0', value 'rent': the price book has several terms of it at unlike prices. "
        "Remedy: write term_months beside it."
    )
    case = stated(write(tmp_path / "c", plan=plan + "term_months = 1\n", offers=unlike))
    (there,) = [info for info in case.offers if info.scheme == "existing"]
    assert set(there.offer.covers.values()) == {0.6}


def test_units_of_several_gpus_under_a_commitment_are_told(tmp_path: Path) -> None:
    """Use is counted by GPU, which a bill for whole servers may exceed."""
    case = stated(write(tmp_path, plan=PLAN, offers=[on_demand(), commitment(gpus_per_unit=8)]))
    assert (
        f"Use of {GPU} under rent's spend commitment is counted by GPU, though it is rented in units of 8: an hour may "
        "cost more by less than one such unit." in case.notes
    )


def test_it_is_never_dearer_to_have_the_choice(tmp_path: Path) -> None:
    """A wave of demand, all ways allowed: with the commitment the plan costs no more, within the gaps proven."""
    rows = forecast(48, {"chat": wave(48)})
    without = told(write(tmp_path / "a", plan=PLAN, rows=rows))
    chosen = told(write(tmp_path / "b", plan=PLAN, rows=rows, offers=[*DEFAULT_OFFERS, commitment(0.4)]))
    assert chosen.plan.bound_usd < without.plan.cost_usd
    assert chosen.plan.cost_usd <= without.plan.cost_usd
    assert chosen.plan.checks == without.plan.checks == ()


def test_faults_of_commitments_are_told_at_once(tmp_path: Path) -> None:
    """A term that is missing, a price of nothing, a name elsewhere, rows of one commitment that disagree."""
    offers = [
        commitment(term_months=""),
        commitment(0.0),
        on_demand(commitment="x"),
        commitment(0.5, months=3, limit_units=5),
        commitment(0.6, months=3, gpu=OTHER, limit_units=6),
    ]
    with pytest.raises(InputError) as raised:
        stated(write(tmp_path, offers=offers))
    assert str(raised.value).replace(f"{tmp_path}/", "").splitlines() == [
        (
            "offers.csv:2: column 'term_months': a reserved offer and a commitment have a term, others have none. "
            "Remedy: write the months, or another scheme."
        ),
        (
            "offers.csv:3: column 'usage_usd_per_gpu_h', value '0.0': a committed price is more than 0. "
            "Remedy: write what an hour of use draws from it."
        ),
        (
            "offers.csv:4: column 'commitment', value 'x': only commitments have such a name. "
            "Remedy: leave it empty, or write scheme commitment."
        ),
        (
            "offers.csv:6: column 'limit_units', value '6.0': line 5 of the same commitment says otherwise. "
            "Remedy: write the same in both, or give them names in the column commitment."
        ),
    ]
