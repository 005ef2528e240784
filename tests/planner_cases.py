"""A small world for the tests of the planner's answer: one model on one GPU whose numbers a reader can follow.

`MODEL` has no shipped curve, so nothing here moves when curves or prices that ship are renewed. On one `GPU` a request
of `MAIN` tokens takes half a second at the SLO: 7,200 requests per GPU-hour. Three more shapes let the GPU-time law be
fitted. Offers and endpoints are the tests' own; owning a GPU costs the round figures of `OWNERSHIP`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np

from hardware_profiles.curve import Conditions, Curve, Gpu, Kind, Point, Precision, Sample, Shape, write_curve
from planner.assemble import Case, assemble
from planner.decide import decide
from planner.hourly import HourTable
from planner.inputs import check_inputs
from planner.outcome import make_plan
from planner.plan import Plan
from planner.problem import Array
from planner.solve import Solution, solve

TODAY = date(2026, 11, 20)
START = datetime(2027, 1, 4)
MODEL = "llama-3.2-1b"
GPU = "l4-24gb"
MAIN = (1000, 200)
"""Input and output tokens of the shape that forecasts are made of."""
PER_GPU_H = 7200.0
"""Requests of `MAIN` that one GPU serves in an hour inside the SLO."""
RATES = {MAIN: 2.0, (1000, 50): 6.0, (250, 200): 2.6, (250, 50): 9.0}
"""Capacity in requests per second of one GPU by shape."""

OFFER_COLUMNS = (
    "provider", "gpu", "gpus_per_unit", "scheme", "term_months", "upfront_usd_per_unit", "committed_usd_per_gpu_h",
    "usage_usd_per_gpu_h", "region", "limit_units", "lead_time_months", "commitment",
    "interruptions_per_h", "restart_minutes", "minimum_hours", "as_of", "source",
)  # fmt: skip
ENDPOINT_COLUMNS = (
    "provider", "model", "input_usd_per_mtok", "cached_input_usd_per_mtok", "output_usd_per_mtok",
    "requests_per_minute", "tokens_per_minute", "region", "latency_evidence", "as_of", "source",
)  # fmt: skip
FRESH = "2026-11-01"

OWNERSHIP = f"""
[sources.quote]
title = "quote"
date = "{FRESH}"
kind = "own"
confidence = "high"

[gpus.{GPU}]
gpus_per_server = {{ value = 4, source = "quote" }}
gpu_usd = {{ value = 3000, source = "quote" }}
chassis_usd = {{ value = 1000, source = "quote" }}
network_usd = {{ value = 500, source = "quote" }}
life_months = {{ value = 48, source = "quote" }}
residual = {{ value = [[0, 0.8], [24, 0.4], [48, 0.0]], source = "quote" }}
provisioned_w = {{ value = 200, source = "quote" }}
busy_w = {{ value = 150, source = "quote" }}
idle_w = {{ value = 50, source = "quote" }}
support_usd_per_month = {{ value = 7.3, source = "quote" }}
failures_per_year = {{ value = 0.04, source = "quote" }}

[site]
power_usd_per_kwh = {{ value = 0.1, source = "quote" }}
pue = {{ value = 1.5, source = "quote" }}
colocation_usd_per_kw_month = {{ value = 73, source = "quote" }}
staff_usd_per_month = {{ value = 1460, source = "quote" }}
"""

PLAN = f"""
[workloads.chat]
model = "{MODEL}"
slo = {{ ttft_s = 1.0, tpot_s = 0.05, attainment = 0.95 }}
"""


def points_of(tokens: tuple[int, int], rate: float) -> tuple[Point, ...]:
    """Open loops at half the rate (all requests inside the SLO), at it (95 %) and at twice it (none)."""
    return tuple(_point(tokens, rate * factor, share) for factor, share in ((0.5, 1.0), (1.0, 0.95), (2.0, 0.0)))


def _point(tokens: tuple[int, int], rate: float, share: float, requests: int = 100) -> Point:
    good, late = Sample(ttft_s=0.5, tpot_s=0.02, e2e_s=4.5), Sample(ttft_s=1.5, tpot_s=0.02, e2e_s=5.5)
    misses = round(requests * (1 - share))
    sample = tuple(late if misses and i % (requests // misses) == 0 else good for i in range(requests))
    return Point(
        shape=Shape(input_tokens=tokens[0], output_tokens=tokens[1]),
        mode="open",
        offered_rate_per_s=rate,
        throughput_per_s=rate,
        output_tokens_per_s=rate * tokens[1],
        sample=sample,
        completed=requests,
        failed=0,
        duration_s=2000.0,
    )


def curve(
    kind: Kind = "measured",
    *,
    gpu: str = GPU,
    count: int = 1,
    model: str = MODEL,
    engine: str = "vllm",
    version: str | None = "0.30.0",
    precision: Precision | None = "bf16",
    points: Sequence[Point] | None = None,
) -> Curve:
    """The curve of `RATES` (times the GPUs of a replica), saturated, from a sample of every request."""
    made = points if points is not None else [p for s, rate in RATES.items() for p in points_of(s, rate * count)]
    return Curve(
        kind=kind,
        model=model,
        precision=precision,
        gpu=Gpu(name=gpu, count=count),
        tensor_parallel=count,
        conditions=Conditions(
            engine=engine, engine_version=version, source="test", source_date=FRESH, measured_at=FRESH
        ),
        points=tuple(made),
    )


Row = Mapping[str, object]


def on_demand(provider: str = "rent", usd: float = 1.0, **more: object) -> Row:
    """A GPU by the hour."""
    return {"provider": provider, "scheme": "on_demand", "usage_usd_per_gpu_h": usd, **more}


def reserved(provider: str = "rent", usd: float = 0.6, months: int = 12, **more: object) -> Row:
    """A GPU for a term."""
    return {
        "provider": provider, "scheme": "reserved", "term_months": months, "committed_usd_per_gpu_h": usd, **more
    }  # fmt: skip


def api(provider: str = "sells", given: float = 0.2, made: float = 0.4, **more: object) -> Row:
    """An endpoint, USD per million tokens in and out: 0.28 USD per thousand requests of `MAIN` by default."""
    return {"provider": provider, "input_usd_per_mtok": given, "output_usd_per_mtok": made, **more}


def table(columns: Sequence[str], rows: Sequence[Row], **fill: object) -> str:
    """CSV text; `fill` where a row says nothing."""
    lines = [",".join(columns)]
    lines += [",".join(str({**fill, **row}.get(column, "")) for column in columns) for row in rows]
    return "\n".join(lines) + "\n"


def forecast(
    hours: int = 48,
    demand: Mapping[str, Array | Sequence[float] | float] | None = None,
    tokens: tuple[float, float] = MAIN,
    start: datetime = START,
) -> str:
    """A forecast of requests by workload: a number for every hour, or one per hour; `chat` waves by default."""
    wanted = demand or {"chat": wave(hours)}
    lines = ["timestamp,workload,requests,input_tokens,output_tokens"]
    for name, requests in wanted.items():
        quoted = '"' + name.replace('"', '""') + '"'
        for t, count in enumerate(np.broadcast_to(np.asarray(requests, dtype=float), hours).tolist()):
            when = f"{start + timedelta(hours=t):%Y-%m-%dT%H:%M:%SZ}"
            lines.append(f"{when},{quoted},{count:.6f},{count * tokens[0]:.6f},{count * tokens[1]:.6f}")
    return "\n".join(lines) + "\n"


def wave(hours: int = 48, mean: float = 4 * PER_GPU_H, swing: float = 0.5) -> Array:
    """A daily wave around `mean` requests per hour."""
    t = np.arange(hours)
    found: Array = np.round(mean * (1 + swing * np.sin(2 * np.pi * (t - 8) / 24)))
    return found


@dataclass(frozen=True, eq=False)
class Told:
    """A case, its solution and what is told of it."""

    case: Case
    solution: Solution
    plan: Plan
    hours: HourTable


DEFAULT_OFFERS = (on_demand(), reserved(), reserved(usd=0.8, months=1))
DEFAULT_ENDPOINTS = (api(),)


def write(
    folder: Path,
    *,
    plan: str | None = PLAN,
    rows: str | None = None,
    offers: Sequence[Row] = DEFAULT_OFFERS,
    endpoints: Sequence[Row] = DEFAULT_ENDPOINTS,
    ownership: str = OWNERSHIP,
    curves: Sequence[Curve] | None = None,
) -> Path:
    """Write the inputs into `folder`; the forecast's path. Curves go to `profiles/curves`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "forecast.csv"
    path.write_text(rows if rows is not None else forecast(), encoding="utf-8")
    if plan is not None:
        (folder / "plan.toml").write_text(plan, encoding="utf-8")
    filled = {"gpu": GPU, "gpus_per_unit": 1, "model": MODEL, "as_of": FRESH, "source": "quote"}
    (folder / "offers.csv").write_text(table(OFFER_COLUMNS, offers, **filled), encoding="utf-8")
    (folder / "endpoints.csv").write_text(table(ENDPOINT_COLUMNS, endpoints, **filled), encoding="utf-8")
    (folder / "ownership.toml").write_text(ownership, encoding="utf-8")
    for number, each in enumerate([_default_curve()] if curves is None else curves):
        write_curve(each, folder / "profiles" / "curves" / f"{number}.json")
    return path


@cache
def _default_curve() -> Curve:
    return curve()


def stated(path: Path, today: date = TODAY) -> Case:
    """The case that the files in `path`'s folder state."""
    profiles = path.parent / "profiles"
    checked = check_inputs(path, profiles=profiles if profiles.is_dir() else None, today=today, cwd=path.parent)
    return assemble(checked.forecast, checked.plan, checked.workloads, checked.book, checked.curves, today=today)


def told(path: Path, *, gap: float = 1e-4, today: date = TODAY) -> Told:
    """Solve and tell what the files say, without comparing it with other strategies."""
    decided = decide(stated(path, today), gap=gap, time_limit_s=60.0)
    case, solution = decided.case, decided.solution
    plan, hours = make_plan("review", case, solution, (), {}, made_on=today, impossible=decided.impossible)
    return Told(case, solution, plan, hours)


def cost(path: Path, *, gap: float = 1e-4) -> tuple[float, float]:
    """The plan's cost, and what no plan can cost less than."""
    solution = solve(stated(path).problem, gap=gap)
    return solution.cost_usd, solution.bound_usd
