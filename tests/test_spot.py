"""Spot GPUs: used where a workload allows them and their interruptions are known, never as if there were none."""

from __future__ import annotations

from pathlib import Path

import pytest
from planner_cases import GPU, PER_GPU_H, PLAN, Row, Told, forecast, on_demand, stated, told, write

from hardware_profiles.faults import InputError
from planner.plan import Purchase

MONTH = "[horizon]\nmonths = 1\n"
HOURS = 31 * 24
CLOUD = '[policy]\nforbid = ["buy", "api", "reserved"]\n'
ALLOWED = PLAN + "spot = true\n" + MONTH + CLOUD
FLAT = forecast(24, {"chat": 18 * PER_GPU_H})


def spot(usd: float = 0.4, rate: object = 0.5, minutes: object = 12, provider: str = "rent", **more: object) -> Row:
    """By default half an interruption an hour of 12 minutes each: 0.9 of its hours serve."""
    row = {"provider": provider, "scheme": "spot", "usage_usd_per_gpu_h": usd}
    return {**row, "interruptions_per_h": rate, "restart_minutes": minutes, **more}


def the(answer: Told, scheme: str) -> Purchase:
    """The one purchase of a scheme."""
    (found,) = [purchase for purchase in answer.plan.purchases if purchase.scheme == scheme]
    return found


def test_interruptions_are_paid_for_with_spare_units(tmp_path: Path) -> None:
    """Work for 18 GPUs on units that serve 0.9 of their hours: twenty are switched on and paid."""
    answer = told(write(tmp_path, plan=ALLOWED, rows=FLAT, offers=[on_demand(), spot()]))
    bought = the(answer, "spot")
    assert (bought.units, bought.gpus) == (pytest.approx(20), pytest.approx(20))
    assert bought.usd == answer.plan.cost_usd == pytest.approx(20 * 0.4 * HOURS)
    assert bought.usd_per_gpu_h == pytest.approx(0.4)
    assert bought.utilisation == pytest.approx(0.9)
    assert answer.plan.checks == ()


def test_spares_are_whole(tmp_path: Path) -> None:
    """One GPU's work takes two units; where that costs more than one on demand, the one on demand is taken."""
    rows = forecast(24, {"chat": PER_GPU_H})
    cheap = told(write(tmp_path / "a", plan=ALLOWED, rows=rows, offers=[on_demand(), spot(0.4)]))
    assert the(cheap, "spot").gpus == pytest.approx(2)
    dear = told(write(tmp_path / "b", plan=ALLOWED, rows=rows, offers=[on_demand(), spot(0.6)]))
    assert the(dear, "on demand").gpus == 1


def test_the_risk_that_the_mean_hides_is_said(tmp_path: Path) -> None:
    """Where the plan uses spot units, how often and how long they are gone, and that all may go at once."""
    answer = told(write(tmp_path, plan=ALLOWED, rows=FLAT, offers=[on_demand(), spot()]))
    assert answer.plan.warnings[-1] == (
        f"{GPU} spot at rent: counted at 90.0% of its hours (0.5 interruptions per unit and hour, 12 minutes each), "
        "which is a mean. All 20 GPUs may be taken at once and none may be had for a while: have another supply ready "
        "for the work on them."
    )
    other = told(write(tmp_path / "b", plan=ALLOWED, rows=FLAT, offers=[on_demand(), spot(usd=2.0)]))
    assert not [text for text in other.plan.warnings if "spot" in text]


def test_without_leave_no_spot_is_used(tmp_path: Path) -> None:
    """Off by default, and said; forbidden ways need no note."""
    path = write(tmp_path, plan=PLAN + MONTH + CLOUD, rows=FLAT, offers=[on_demand(), spot()])
    answer = told(path)
    assert {purchase.scheme for purchase in answer.plan.purchases} == {"on demand"}
    said = "Spot GPUs are left out: they may be taken back at any time, and no workload says spot = true."
    assert said in answer.plan.notes
    forbidden = PLAN + MONTH + CLOUD.replace('"buy"', '"buy", "spot"')
    case = stated(write(tmp_path / "b", plan=forbidden, rows=FLAT, offers=[on_demand(), spot()]))
    assert not [note for note in case.notes if "pot" in note]


def test_only_workloads_that_allow_it_are_served_on_spot(tmp_path: Path) -> None:
    """One of two does: its nine GPUs' work is on ten spot units, the other's on demand; or both by policy."""
    rows = forecast(24, {"chat": 9 * PER_GPU_H, "batch": 9 * PER_GPU_H})
    plan = PLAN + PLAN.replace("chat", "batch") + "spot = true\n" + MONTH + CLOUD
    answer = told(write(tmp_path / "a", plan=plan, rows=rows, offers=[on_demand(), spot()]))
    assert {p.scheme: p.gpus for p in answer.plan.purchases} == {
        "on demand": pytest.approx(9),
        "spot": pytest.approx(10),
    }
    both = PLAN + PLAN.replace("chat", "batch") + MONTH + CLOUD + "spot = true\n"
    assert the(told(write(tmp_path / "b", plan=both, rows=rows, offers=[on_demand(), spot()])), "spot").gpus == 20


@pytest.mark.parametrize(
    ("rate", "minutes"), [("", 12), (0.5, ""), (5, 12), (6, 60)], ids=["rate", "minutes", "never serves", "worse"]
)
def test_what_nobody_knows_is_not_used_and_said(tmp_path: Path, rate: object, minutes: object) -> None:
    """Without a rate or a time to restart, or where nothing is left of an hour, a row cannot be used."""
    answer = told(write(tmp_path, plan=ALLOWED, rows=FLAT, offers=[on_demand(), spot(0.01, rate, minutes)]))
    assert {purchase.scheme for purchase in answer.plan.purchases} == {"on demand"}
    assert (
        f"Spot {GPU} at rent cannot be used: nobody states how often it is interrupted and how long a restart takes, "
        "or a restart takes longer than it runs (spot_interruptions_per_h and spot_restart_minutes in plan.toml's "
        "[policy])." in answer.plan.notes
    )


def test_figures_of_the_plan_fill_in_what_the_price_book_does_not_state(tmp_path: Path) -> None:
    """They count where the row is blank, and nowhere else."""
    own = ALLOWED + "spot_interruptions_per_h = 0.5\nspot_restart_minutes = 12.0\n"
    blank = told(write(tmp_path / "a", plan=own, rows=FLAT, offers=[on_demand(), spot(rate="", minutes="")]))
    assert the(blank, "spot").gpus == 20
    steady = told(write(tmp_path / "b", plan=own, rows=FLAT, offers=[on_demand(), spot(rate=0.0)]))
    assert the(steady, "spot").gpus == 18


def test_more_interruptions_never_cost_less(tmp_path: Path) -> None:
    """From none to as many as nothing is left of."""
    costs = [
        told(write(tmp_path / str(i), plan=ALLOWED, rows=FLAT, offers=[on_demand(), spot(rate=rate)])).plan.cost_usd
        for i, rate in enumerate((0, 0.2, 1, 2, 4, 5))
    ]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1] == pytest.approx(18 * HOURS)


def test_a_steadier_row_is_not_hidden_by_a_cheaper_one(tmp_path: Path) -> None:
    """Both stay; one that is dearer and less steady goes."""
    rows = [spot(0.3, 1.0, provider="shaky"), spot(0.4, 0.1, provider="steady"), spot(0.5, 1.0, provider="worse")]
    labels = {info.label for info in stated(write(tmp_path, plan=ALLOWED, offers=[on_demand(), *rows])).offers}
    assert {f"{GPU} spot at shaky", f"{GPU} spot at steady"} <= labels
    assert f"{GPU} spot at worse" not in labels


def test_interruptions_of_what_is_not_spot_are_a_fault(tmp_path: Path) -> None:
    """Read and then ignored they would be worse than none."""
    offers = [on_demand(interruptions_per_h=0.1, restart_minutes=5), spot(rate=-1)]
    with pytest.raises(InputError) as raised:
        stated(write(tmp_path, offers=offers))
    assert str(raised.value).replace(f"{tmp_path}/", "").splitlines() == [
        (
            "offers.csv:2: column 'interruptions_per_h', value '0.1': only spot GPUs are interrupted. "
            "Remedy: leave it empty, or write scheme spot."
        ),
        (
            "offers.csv:2: column 'restart_minutes', value '5': only spot GPUs are interrupted. "
            "Remedy: leave it empty, or write scheme spot."
        ),
        (
            "offers.csv:3: column 'interruptions_per_h', value '-1': is not a number of 0 or more. "
            "Remedy: write digits with a decimal point."
        ),
    ]
