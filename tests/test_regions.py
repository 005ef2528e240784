"""Residency reaches owned GPUs: a site and a fleet may say where they stand."""

from __future__ import annotations

from pathlib import Path

import pytest
from planner_cases import GPU, OWNERSHIP, PER_GPU_H, PLAN, api, forecast, on_demand, told, write

from hardware_profiles.faults import InputError

CHEAP = OWNERSHIP.replace("1460", "0").replace("value = 3000", "value = 300").replace("value = 1000", "value = 100")
RESIDENT = PLAN.replace("[workloads.chat]", '[workloads.chat]\nresidency = ["eu"]')
FLAT = forecast(24, {"chat": 4 * PER_GPU_H})
OFFERS = [on_demand("near", 1.0, region="eu"), on_demand("far", 0.5, region="us")]


@pytest.mark.parametrize(
    ("site", "schemes"),
    [('region = "eu"', {"owned"}), ('region = "us"', {"on demand"}), ("pue = 1.5", {"on demand"})],
)
def test_a_site_serves_the_workloads_of_its_region(tmp_path: Path, site: str, schemes: set[str]) -> None:
    """Servers are bought for work that must stay where they stand, not for other work that must stay elsewhere."""
    plan = RESIDENT + f"[site]\n{site}\n" + '[policy]\nforbid = ["api"]\n'
    answer = told(write(tmp_path, plan=plan, rows=FLAT, offers=OFFERS, ownership=CHEAP))
    assert {purchase.scheme for purchase in answer.plan.purchases} == schemes
    unknown = "GPUs that you own have no region here, so they serve no workload with a residency."
    assert (unknown in answer.plan.notes) == ("region" not in site)


def test_gpus_that_are_there_stand_at_the_site_or_where_they_say(tmp_path: Path) -> None:
    """One owned GPU at the site and one reserved there serve; two elsewhere do not."""
    fleet = (
        f'[[fleet]]\ngpu = "{GPU}"\ngpus = 1\n[[fleet]]\ngpu = "{GPU}"\ngpus = 1\nregion = "us"\n'
        f'[[fleet]]\ngpu = "{GPU}"\ngpus = 1\nkind = "reserved"\nuntil = 2030-01-01\nregion = "eu"\n'
        f'[[fleet]]\ngpu = "{GPU}"\ngpus = 1\nkind = "reserved"\nuntil = 2030-01-01\n'
    )
    plan = RESIDENT + '[horizon]\nmonths = 1\n[site]\nregion = "eu"\n[policy]\nforbid = ["api", "buy"]\n' + fleet
    answer = told(write(tmp_path, plan=plan, rows=FLAT, offers=OFFERS))
    assert {purchase.provider: purchase.gpus for purchase in answer.plan.purchases} == {"near": 2}


def test_a_residency_may_be_the_sites_alone(tmp_path: Path) -> None:
    """A region that no row of the price book has is known when the site names it; otherwise it is a fault."""
    alone = RESIDENT.replace('"eu"', '"cellar"')
    plan = alone + '[site]\nregion = "cellar"\n'
    answer = told(write(tmp_path / "a", plan=plan, rows=FLAT, offers=OFFERS, endpoints=[api(region="eu")]))
    assert {purchase.scheme for purchase in answer.plan.purchases} == {"owned"}
    with pytest.raises(InputError) as raised:
        told(write(tmp_path / "b", plan=alone, rows=FLAT, offers=OFFERS, endpoints=[api(region="eu")]))
    (fault,) = raised.value.faults
    assert (fault.column, fault.value) == ("workloads.chat.residency", "cellar")
    assert fault.what == "the price book has no such region"
