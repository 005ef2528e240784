"""Inputs become the problem that was meant: capacity, promises, horizon, regions and names act as plan.toml says."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from planner_cases import (
    GPU,
    MODEL,
    PER_GPU_H,
    PLAN,
    START,
    Row,
    Told,
    api,
    cost,
    curve,
    forecast,
    on_demand,
    points_of,
    stated,
    told,
    wave,
    write,
)

from hardware_profiles.curve import Curve
from hardware_profiles.faults import InputError
from planner.inputs import check_inputs
from planner.planfile import DEFAULT_MODEL, DEFAULT_SLO

MONTH = "[horizon]\nmonths = 1\n"
RENTED = '[policy]\nforbid = ["buy", "reserved", "api"]\n'
FLAT = forecast(24, {"chat": 4 * PER_GPU_H})


def slo(ttft_s: float = 1.0, tpot_s: float = 0.05, attainment: float = 0.95) -> str:
    """The plan with this promise."""
    return PLAN.split("slo =")[0] + f"slo = {{ ttft_s = {ttft_s}, tpot_s = {tpot_s}, attainment = {attainment} }}\n"


def test_a_measured_shape_takes_the_gpu_time_that_was_measured(tmp_path: Path) -> None:
    """7,200 requests per GPU-hour at the SLO; one class, since every hour has the same mean shape."""
    case = stated(write(tmp_path, plan=PLAN + MONTH))
    assert case.problem.classes == ("chat.0",)
    assert {d.gpu_h_per_request for d in case.problem.deployments} == {(1 / PER_GPU_H,)}
    assert case.problem.blocks.demand[:48, 0] == pytest.approx(wave(48))


@pytest.mark.parametrize(
    "promises",
    [
        [slo(ttft_s=limit) for limit in (2.0, 1.0, 0.6, 0.5)],
        [slo(tpot_s=limit) for limit in (0.1, 0.03, 0.02)],
        [slo(attainment=share) for share in (0.5, 0.9, 0.95, 0.97, 0.99)],
    ],
    ids=["TTFT", "TPOT", "attainment"],
)
def test_a_stricter_promise_is_never_cheaper(tmp_path: Path, promises: list[str]) -> None:
    """GPUs by the hour for an ever stricter SLO: the bill never falls, within the gaps proven."""
    found = [cost(write(tmp_path / str(i), plan=plan + MONTH + RENTED)) for i, plan in enumerate(promises)]
    for (_, bound), (dearer, _) in pairwise(found):
        assert dearer >= bound - 0.005
    assert found[-1][0] >= found[0][0]


def test_the_cautious_end_of_the_curves_is_never_cheaper(tmp_path: Path) -> None:
    """Capacity `low` costs more than `mid`, and `mid` more than `high`, where the API takes what is left."""
    bands = [
        cost(write(tmp_path / band, plan=PLAN + MONTH + f'[policy]\ncapacity = "{band}"\n'))
        for band in ("low", "mid", "high")
    ]
    assert bands[0][0] > bands[1][0] > bands[2][0]


def test_an_impossible_promise_is_one_fault(tmp_path: Path) -> None:
    """One line that names file, line, key, value, the nearest point and what to do."""
    path = write(tmp_path, plan=slo(ttft_s=0.01))
    with pytest.raises(InputError) as raised:
        stated(path)
    (fault,) = raised.value.faults
    assert (fault.file, fault.line, fault.column) == (str(tmp_path / "plan.toml"), 4, "workloads.chat.slo")
    assert fault.value == "TTFT <= 0.01 s, TPOT <= 0.05 s for 95%"
    assert fault.what.startswith(f"no curve of {MODEL} meets this SLO")


def test_a_forecast_alone_uses_the_named_default_and_says_so(tmp_path: Path) -> None:
    """No plan.toml: the default model and SLO, and a note that says which."""
    path = tmp_path / "forecast.csv"
    path.write_text(forecast(48, {"chat": 2000.0}), encoding="utf-8")
    checked = check_inputs(path, cwd=tmp_path)
    (spec,) = checked.workloads
    assert (spec.model, spec.slo) == (DEFAULT_MODEL, DEFAULT_SLO)
    said = " ".join(checked.notes)
    assert "There is no plan.toml" in said
    assert DEFAULT_MODEL in said
    assert "TTFT <= 2 s" in said


def test_workloads_of_one_model_share_gpus_at_the_strictest_promise_or_apart(tmp_path: Path) -> None:
    """Two SLOs: deployments for the strictest serve both, those for the looser one serve the looser only."""
    strict = '[workloads.fast]\nmodel = "llama-3.2-1b"\nslo = { ttft_s = 0.6, tpot_s = 0.05, attainment = 0.99 }\n'
    rows = forecast(24, {"chat": PER_GPU_H, "fast": PER_GPU_H})
    case = stated(write(tmp_path, plan=PLAN + strict + MONTH, rows=rows))
    served = {d.name: tuple(time is not None for time in d.gpu_h_per_request) for d in case.problem.deployments}
    assert served == {
        "llama_3.2_1b.1xl4_24gb.bf16.owned": (True, True),
        "llama_3.2_1b.1xl4_24gb.bf16.rented": (True, True),
        "llama_3.2_1b.1xl4_24gb.bf16.owned.slo1": (True, False),
        "llama_3.2_1b.1xl4_24gb.bf16.rented.slo1": (True, False),
    }
    slow = {d.name: d.gpu_h_per_request[0] for d in case.problem.deployments}
    assert slow["llama_3.2_1b.1xl4_24gb.bf16.owned"] > slow["llama_3.2_1b.1xl4_24gb.bf16.owned.slo1"]


def test_the_better_evidence_is_used_where_curves_differ_in_version(tmp_path: Path) -> None:
    """Measured before published, then real weights before random ones, then the newest engine."""
    random = curve(version="0.11.0")
    random = random.model_copy(update={"conditions": random.conditions.model_copy(update={"weights": "dummy"})})
    curves = [random, curve("published", version="0.40.0"), curve(version="0.9.0"), curve(version="0.10.2")]
    case = stated(write(tmp_path, curves=curves))
    assert {(d.curve.kind, d.curve.conditions.engine_version) for d in case.deployments} == {("measured", "0.10.2")}


def test_curves_that_share_a_name_stay_apart(tmp_path: Path) -> None:
    """Two engines, and a model whose name is no slug: every deployment has a name of its own."""
    curves = [curve(engine=engine, model="org/My Model:1") for engine in ("vllm", "sglang", "sg-lang", "sg.lang")]
    case = stated(write(tmp_path, plan=PLAN.replace(MODEL, "org/My Model:1"), curves=curves, endpoints=[api()]))
    names = [deployment.name for deployment in case.problem.deployments]
    assert len(set(names)) == len(names) == 8
    assert names[0].startswith("org_My_Model_1.1xl4_24gb.bf16.")


@pytest.mark.parametrize(
    ("horizon", "hours", "epochs"),
    [
        ("", 8760, ["start"]),
        ("months = 3", (31 + 28 + 31) * 24, ["start"]),
        ("hours = 100", 100, ["start"]),
        ("months = 2\ndiscount_rate_per_year = 0.08", (31 + 28) * 24, ["2027.01", "2027.02"]),
    ],
)
def test_the_horizon_is_as_long_as_stated(tmp_path: Path, horizon: str, hours: int, epochs: list[str]) -> None:
    """Calendar months from the forecast's first hour, twelve by default, or hours; monthly epochs with a rate."""
    case = stated(write(tmp_path, plan=PLAN + f"[horizon]\n{horizon}\n"))
    assert case.span.hours == case.forecast.hours == hours
    assert sum(epoch.hours for epoch in case.problem.epochs) == hours
    assert [epoch.name for epoch in case.problem.epochs] == epochs
    assert [epoch.discount for epoch in case.problem.epochs] == pytest.approx(
        [1.08 ** (-m / 12) for m in range(len(epochs))]
    )


def test_months_begin_on_the_forecasts_day(tmp_path: Path) -> None:
    """From 31 January a month ends on 28 February, the next on 31 March."""
    rows = forecast(48, start=START.replace(day=31))
    case = stated(write(tmp_path, rows=rows, plan=PLAN + "[horizon]\nmonths = 3\ndiscount_rate_per_year = 0.01\n"))
    assert [epoch.hours for epoch in case.problem.epochs] == [28 * 24, 31 * 24, 30 * 24]


def test_a_forecast_longer_than_the_horizon_is_cut_and_said(tmp_path: Path) -> None:
    """The first 24 of 48 hours."""
    answer = told(write(tmp_path, plan=PLAN + "[horizon]\nhours = 24\n"))
    assert answer.plan.notes[0] == "The forecast covers 48 h; the plan uses the first 24 h."
    assert answer.hours.demand[:, 0] == pytest.approx(wave(48)[:24])


def test_a_workload_without_demand_is_there_and_costs_nothing(tmp_path: Path) -> None:
    """It has no class, no request and no bill."""
    rows = forecast(24, {"idle": 0.0, "chat": PER_GPU_H})
    plan = PLAN + f'[workloads.idle]\nmodel = "{MODEL}"\n' + MONTH
    idle, chat = told(write(tmp_path, plan=plan, rows=rows)).plan.workloads
    assert (idle.requests, idle.usd, idle.usd_per_mtok, idle.unserved_requests) == (0, 0, None, 0)
    assert chat.usd > 0


HOSTILE = ("../../x", "=cmd()", "<script>alert(1)</script>", "team-a", "team_a", "é|*`", "CON", "-")


def test_any_name_of_a_workload_is_harmless_in_the_programme(tmp_path: Path) -> None:
    """Every name gets classes of its own, in letters, digits, points and underscores."""
    rows = forecast(24, dict.fromkeys(HOSTILE, 500.0))
    plan = "".join(PLAN.replace("workloads.chat", f"workloads.'{name}'") for name in HOSTILE)
    case = stated(write(tmp_path, plan=plan + MONTH, rows=rows))
    assert [workload.name for workload in case.workloads] == list(HOSTILE)
    assert len(set(case.problem.classes)) == len(HOSTILE)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.") for name in case.problem.classes)


SIZES = {"tiny": 1e-3, "one an hour": 1.0, "huge": 3e9}


@pytest.mark.parametrize("requests", SIZES.values(), ids=SIZES)
def test_any_size_of_demand_is_planned_within_the_gap(tmp_path: Path, requests: float) -> None:
    """From a request a month and a half to three billion an hour: proven, checked, all served."""
    answer = told(write(tmp_path, plan=PLAN + MONTH, rows=forecast(24, {"chat": requests})), gap=0.005)
    assert answer.plan.gap <= 0.005
    assert answer.plan.checks == ()
    assert answer.plan.unserved_requests == 0


def test_twelve_workloads_are_planned(tmp_path: Path) -> None:
    """Twelve streams of different size and shape in one plan, each with its bill."""
    rng = np.random.default_rng(1)
    demand = {f"w{i}": wave(48, PER_GPU_H * float(rng.uniform(0.1, 1)), float(rng.uniform(0, 0.9))) for i in range(12)}
    plan = "".join(PLAN.replace("chat", name) for name in demand)
    answer = told(write(tmp_path, plan=plan + MONTH, rows=forecast(48, demand)), gap=0.005)
    assert answer.plan.gap <= 0.005
    assert sum(served.usd for served in answer.plan.workloads) == pytest.approx(answer.plan.cost_usd, abs=0.01)


def two_services() -> str:
    """A stand-in for a real fortnight: two services of 336 hours whose rates and token means drift; seed 14."""
    rng = np.random.default_rng(14)
    t, rows = np.arange(336), ["timestamp,workload,requests,input_tokens,output_tokens"]
    for name, mean, given, made in (("assistant", 90_000, 950, 150), ("agent", 30_000, 1600, 260)):
        weekend = np.where(t // 24 % 7 >= 5, 0.7, 1.0)
        requests = np.round(mean * weekend * (1 + 0.6 * np.sin(2 * np.pi * (t - 9) / 24)) * rng.lognormal(0, 0.1, 336))
        tokens_in = np.round(requests * given * (1 + 0.1 * np.sin(t / 30)) * rng.lognormal(0, 0.03, 336))
        tokens_out = np.round(requests * made * (1 + 0.1 * np.cos(t / 50)) * rng.lognormal(0, 0.03, 336))
        for hour, *counts in zip(t.tolist(), requests, tokens_in, tokens_out, strict=True):
            when = f"2027-01-{4 + hour // 24:02}T{hour % 24:02}:00:00Z"
            rows.append(",".join([when, name, *(f"{count:.0f}" for count in counts)]))
    return "\n".join(rows) + "\n"


def test_a_fortnight_of_two_drifting_services_solves(tmp_path: Path) -> None:
    """A year from 336 hours whose shapes drift, at the default gap, checked; every purchase says why."""
    plan = PLAN.replace("chat", "assistant") + PLAN.replace("chat", "agent")
    path = write(tmp_path, plan=plan, rows=two_services())
    answer: Told = told(path, gap=0.005)
    assert answer.plan.gap <= 0.01
    assert answer.plan.checks == ()
    assert answer.plan.purchases
    assert all("the same work would cost" in purchase.why for purchase in answer.plan.purchases)
    requests = sum(supply.requests for supply in answer.plan.supplies)
    assert requests == pytest.approx(answer.case.forecast.requests.sum(), rel=1e-9)


def test_a_replica_of_several_gpus_is_placed_whole(tmp_path: Path) -> None:
    """Two GPUs a replica: an even number is rented, and the note says what is assumed of units of one."""
    path = write(tmp_path, plan=PLAN + MONTH + RENTED, rows=FLAT, curves=[curve(count=2)], offers=[on_demand()])
    answer = told(path)
    (bought,) = answer.plan.purchases
    assert bought.gpus == 4
    assert (
        "GPUs rented one by one (rent) are assumed to stand in one server where a replica needs several."
        in answer.plan.notes
    )


def test_a_curve_of_too_few_shapes_is_left_out_and_said(tmp_path: Path) -> None:
    """Beside a curve of four shapes, one of a single shape is not used."""
    single = curve(precision="fp8", points=points_of((1000, 200), 50.0))
    answer = told(write(tmp_path, plan=PLAN + MONTH, curves=[curve(), single]))
    assert {deployed.precision for deployed in answer.plan.deployments} == {"bf16"}
    assert any(f"{MODEL} fp8 on 1x {GPU} (measured) is not used" in note for note in answer.plan.notes)


@pytest.mark.parametrize(
    ("curves", "offers"),
    [((curve(), curve(count=2)), [on_demand()]), ((curve(),), [on_demand(gpus_per_unit=8)])],
    ids=["replicas of one and two GPUs", "units of eight"],
)
def test_whole_units_by_the_hour_are_chosen_as_well_as_the_solver_can(
    tmp_path: Path, curves: tuple[Curve, ...], offers: list[Row]
) -> None:
    """Where replicas or units of several GPUs compete with an API hour by hour, the plan is within the gap too."""
    answer = told(write(tmp_path, plan=PLAN + MONTH, curves=curves, offers=offers))
    assert answer.plan.gap <= 1e-4
    assert answer.plan.checks == ()


def test_what_no_api_can_take_over_is_kept_warm(tmp_path: Path) -> None:
    """A model with an API beside it may be cold; without one it keeps a replica, unless plan.toml says otherwise."""
    day = forecast(24, {"chat": [PER_GPU_H if hour in {3, 9} else 0.0 for hour in range(24)]})
    shared, alone, cold = (
        told(write(tmp_path / name, plan=PLAN + MONTH + rules, rows=day, offers=[on_demand()]))
        for name, rules in (("shared", ""), ("alone", RENTED), ("cold", RENTED + "keep_warm = false\n"))
    )
    assert shared.case.problem.warm == ()
    assert alone.case.problem.warm == (tuple(d.name for d in alone.case.problem.deployments),)
    assert alone.plan.checks == cold.plan.checks == ()
    assert alone.plan.cost_usd > 5 * cold.plan.cost_usd


@pytest.mark.parametrize(
    ("policy", "counted"), [("", "counts none"), ("start_minutes = 2.0\n", "counts 2"), ("start_minutes = 4.0\n", None)]
)
def test_a_measured_start_that_is_not_counted_is_told(tmp_path: Path, policy: str, counted: str | None) -> None:
    """Where GPUs are switched on by the hour, and only where more was seen than the plan counts."""
    seen = curve()
    seen = seen.model_copy(update={"conditions": seen.conditions.model_copy(update={"start_up_s": 200.0})})
    case = stated(write(tmp_path, plan=PLAN + MONTH + RENTED + policy, curves=[seen], offers=[on_demand()]))
    note = (
        f"{MODEL} on 1x {GPU} took 3.3 minutes to start where it was measured; for GPUs by the hour the plan {counted} "
        "(start_minutes in plan.toml's [policy])."
    )
    assert [told for told in case.notes if "minutes to start" in told] == ([note] if counted else [])


def test_what_is_rented_by_the_hour_starts_in_time(tmp_path: Path) -> None:
    """With minutes of start-up the GPU for two busy hours is paid for one hour more each time; without, it is not."""
    day = forecast(24, {"chat": [PER_GPU_H if hour in {3, 9} else 0.0 for hour in range(24)]})
    rules = RENTED + "keep_warm = false\n"
    slow, quick = (
        told(write(tmp_path / name, plan=PLAN + MONTH + rules + more, rows=day, offers=[on_demand()]))
        for name, more in (("slow", "start_minutes = 10.0\n"), ("quick", ""))
    )
    assert slow.plan.checks == quick.plan.checks == ()
    assert slow.plan.cost_usd == pytest.approx(2 * quick.plan.cost_usd)
