"""Classes that share deployments: what each pays is enough for every hour's mix, and what was measured stays so."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planner_cases import stated, write

from hardware_profiles.curve import Shape
from hardware_profiles.library import curves_for, load_curves
from planner.arrivals import steady_arrival_shares
from planner.gpu_time import GpuTimeLaw, gpu_time_law
from planner.mix import gpu_s_by_class
from planner.plankeys import DEFAULT_MODEL, DEFAULT_SLO
from tests.test_gpu_time import SHAPES, law_of

DAY = Shape(input_tokens=1024, output_tokens=128)
NIGHT = Shape(input_tokens=4096, output_tokens=128)
LONG = Shape(input_tokens=16000, output_tokens=130)
CHAT = Shape(input_tokens=1500, output_tokens=700)


@cache
def law() -> GpuTimeLaw:
    """Of the default model on two H100s, from its published curve of six shapes."""
    curves = curves_for(load_curves(), DEFAULT_MODEL)
    (curve,) = (each for each in curves if (each.gpu.count, each.precision, len(each.points)) == (2, None, 30))
    return gpu_time_law(curve, DEFAULT_SLO)


def _needed(shapes: tuple[Shape, ...], demand: np.ndarray) -> np.ndarray:
    """GPU seconds that each hour's mix needs, of shapes that alone need what was measured."""
    alone = np.array([law().gpu_s(shape) for shape in shapes], dtype=float)
    return demand @ (alone * law().shares(shapes, np.eye(len(shapes)))) / law().shares(shapes, demand)


def test_classes_that_never_meet_cost_what_was_measured() -> None:
    """Short prompts by day, long ones by night: each as its shape was measured alone, whatever the other asks."""
    demand = np.array([[200000.0, 0.0], [0.0, 20000.0]])
    found = np.array(gpu_s_by_class(law(), (DAY, NIGHT), demand), dtype=float)
    assert found == pytest.approx([law().gpu_s(DAY), law().gpu_s(NIGHT)], rel=1e-9)
    assert law().gpu_s(NIGHT) == pytest.approx(1.860, abs=5e-4)


def test_the_problem_promises_no_more_than_was_measured(tmp_path: Path) -> None:
    """From files: by night, when the long prompts are alone, a GPU serves as many of them as were measured."""
    lines = ["timestamp,workload,requests,input_tokens,output_tokens"]
    for hour in range(48):
        name, shape, requests = ("day", DAY, 200000) if 8 <= hour % 24 < 20 else ("night", NIGHT, 20000)
        for each in ("day", "night"):
            n = requests if each == name else 0
            when = f"2027-01-{4 + hour // 24:02}T{hour % 24:02}:00:00Z"
            lines.append(f"{when},{each},{n},{n * shape.input_tokens:.0f},{n * shape.output_tokens:.0f}")
    text = "".join(f'[workloads.{name}]\nmodel = "{DEFAULT_MODEL}"\n' for name in ("day", "night"))
    path = write(tmp_path, plan=text, rows="\n".join(lines) + "\n")
    for file in ("offers.csv", "endpoints.csv", "ownership.toml"):
        (tmp_path / file).unlink()
    case = stated(path)
    found = next(d for d in case.problem.deployments if d.name.startswith("qwen3_32b.2xh100_80gb_sxm"))
    assert [3600 * (each or 0.0) for each in found.gpu_h_per_request] == pytest.approx(
        [law().gpu_s(DAY), law().gpu_s(NIGHT)]
    )


def test_a_rare_class_pays_for_what_all_then_need_and_not_for_a_server_of_its_own() -> None:
    """One prompt in a thousand is huge: it pays less than alone, the others no more, and both hours in full."""
    huge = Shape(input_tokens=100000, output_tokens=130)
    demand = np.array([[1000.0, 1.0], [800.0, 0.8]])
    found = np.array(gpu_s_by_class(law(), (CHAT, huge), demand), dtype=float)
    assert found[0] == law().gpu_s(CHAT)
    assert found[1] < 0.8 * (law().gpu_s(huge) or 0.0)
    assert demand @ found == pytest.approx(_needed((CHAT, huge), demand))


def test_what_no_rate_can_serve_is_not_served() -> None:
    """By night less than one request in flight meets the SLO: no GPU time for those; others keep theirs."""
    hopeless = Shape(input_tokens=1e6, output_tokens=10)
    demand, strict = np.array([[5.0, 0.0], [0.0, 1.0]]), law_of(*SHAPES)
    assert strict.gpu_s(hopeless) is None
    assert gpu_s_by_class(strict, (CHAT, hopeless), demand) == (pytest.approx(strict.gpu_s(CHAT)), None)
    assert gpu_s_by_class(law(), (CHAT,), np.zeros((2, 1))) == (law().gpu_s(CHAT),)


def test_classes_that_pay_their_own_way_nearly_pay_for_any_mix_of_them() -> None:
    """What docs/capacity.md says of mixes that the forecast does not show: 94 % of it at least is paid."""
    loads = np.geomspace(1.1, 500, 60)
    few, many, work = (each.ravel() for each in np.meshgrid(loads, loads, np.linspace(0.01, 0.99, 50)))
    share = {name: steady_arrival_shares(n, 0.95) for name, n in (("few", few), ("many", many))}
    mixed = steady_arrival_shares(1 / (work / few + (1 - work) / many), 0.95)
    paid = (work / share["few"] + (1 - work) / share["many"]) * mixed
    assert 0.94 < paid.min() < 0.95


MIX = st.lists(st.sampled_from([0.0, 0.001, 0.1, 1.0, 3.0, 50.0]), min_size=4, max_size=4)


@given(st.lists(MIX, min_size=1, max_size=12))
def test_every_hours_mix_is_paid_for(hours: list[list[float]]) -> None:
    """Whatever comes together when: what the classes pay covers every hour, and no class pays for the worst of all."""
    shapes, demand = (DAY, NIGHT, CHAT, LONG), np.array(hours)
    seconds = gpu_s_by_class(law(), shapes, demand)
    assert None not in seconds
    paid = np.array(seconds, dtype=float)
    here = demand.sum(axis=1) > 0
    assert (demand[here] @ paid >= _needed(shapes, demand[here]) * (1 - 1e-4)).all()
    alone = np.array([law().gpu_s(shape) for shape in shapes], dtype=float)
    assert (paid <= 1.06 * alone).all()
