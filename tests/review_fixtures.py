"""A review's inputs made by hand, for the tests of everything that is written from a plan.

Not a solver's answer: a plan whose numbers a reader can follow (two workloads, a server bought, two reserved, rented
GPUs at the peaks, the rest to an API) and hours drawn from stated waves. Money adds up: purchases, API and busy power
are the bill, by line and by month. `HOSTILE` names appear wherever a file could put them.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from planner.hourly import HourTable
from planner.plan import (
    Amount,
    Baseline,
    Deployed,
    Instead,
    Month,
    Plan,
    Price,
    Purchase,
    Scheme,
    SeenPoint,
    SeenShape,
    Sensitivity,
    Served,
    Source,
    Supply,
    Volume,
    Way,
)
from planner.problem import Array

HOSTILE = "<script>alert(1)</script>|`=cmd()`\n../../x $y$ [z](javascript:1)"


def hours(count: int = 4 * 168, names: tuple[str, ...] = ("assistant", "classify"), missed: bool = False) -> HourTable:
    """`count` hours: a daily wave that grows by 0.02 % an hour; GPUs serve by scheme, in order, as far as they reach.

    With `missed` the API takes no more than 4,000 requests of each workload in an hour; the rest is left unserved.
    """
    t = np.arange(count)
    wave = (1 + 0.6 * np.sin(2 * np.pi * (t - 8) / 24) - 0.25 * (t // 24 % 7 >= 5)) * (1 + 0.0002 * t)
    demand = np.column_stack([30_000 * wave, 60_000 * (0.4 + 0.6 * wave)])
    gpu_h = np.array([4.0e-4, 1.0e-4])
    held: dict[Scheme, Array] = {"owned": np.full(count, 8.0), "reserved": np.full(count, 6.0)}
    work = demand @ gpu_h
    held["on demand"] = np.ceil(np.clip(work - 14, 0, 6))
    left, busy, served = work.copy(), {}, {}
    for scheme, gpus in held.items():
        busy[scheme] = np.minimum(left, gpus)
        left = left - busy[scheme]
        served[scheme] = demand * (busy[scheme] / work)[:, None]
    rest = demand * (left / work)[:, None]
    served["api"] = np.minimum(rest, 4_000) if missed else rest
    return HourTable(
        start=datetime(2027, 1, 4, tzinfo=UTC),
        workloads=names,
        demand=demand,
        served=served,
        unserved=rest - served["api"],
        tokens_per_request=np.array([900.0, 160.0]),
        gpus_held=held,
        gpus_busy=busy,
        usd=held["on demand"] * 3.0 + served["api"] @ np.array([6e-4, 1e-4]),
    )


def plan(name: str = "2026-Q4", workload: str = "assistant", missed: float = 0.0) -> Plan:
    """Two months; the bill is 260,000 USD."""
    purchases = _purchases()
    lines = (
        Amount(name="hardware", usd=150_000.0),
        Amount(name="reserved GPUs", usd=90_000.0),
        Amount(name="on demand", usd=30_000.0),
        Amount(name="API", usd=9_250.5),
        Amount(name="colocation", usd=4_000.0),
        Amount(name="busy power", usd=1_749.5),
        Amount(name="residual value", usd=-25_000.0),
    )
    return Plan(
        name=name,
        made_on="2026-11-20",
        spillway_version="0.1.0",
        inputs={"forecast forecast.csv": "ab" * 32, "price book offers.csv": "cd" * 32},
        horizon_start="2027-01-04T00:00:00+00:00",
        horizon_months=2.0,
        horizon_hours=1344,
        discount_rate_per_year=0.08,
        cost_usd=260_000.0,
        bound_usd=259_480.0,
        gap=0.002,
        proof="one programme over all 1,344 hours; HiGHS proved the bound",
        checks=(),
        unserved_requests=missed,
        capacity="mid",
        evidence="published",
        headline=(
            *((f"{missed:,.0f} requests cannot be served by anything in the price book.",) if missed else ()),
            "Buy 8 h100-80gb-sxm in Jan 2027; commit to 6 h100-80gb-sxm of Example Cloud for 3 months.",
            "Leave 5 % of the tokens to on-demand GPUs and 1.5 % of the tokens to APIs.",
            "The bill is USD 260,000 over 2 months (USD 130,000 a month); the best single strategy costs 27 % more.",
        ),
        notes=("The forecast covers 14 days and was tiled by whole weeks.", "No SLO was given: the default is used."),
        warnings=(
            *((f"{missed:,.0f} requests cannot be served by anything in the price book.",) if missed else ()),
            "llama-3-8b on 1x h100-80gb-sxm: the curve is published, not measured on your GPUs.",
            "Example Cloud 3 months: the price is undated or older than a quarter; ask for a new quote.",
        ),
        purchases=purchases,
        supplies=_supplies(),
        workloads=_workloads(workload, missed),
        deployments=(_deployment(),),
        months=_months(),
        lines=lines,
        baselines=(
            Baseline(name="all API", usd=1_150_000.0, gap=0.0, note="", paid=(0.0, 575e3, 1150e3)),
            Baseline(name="all rented on demand", usd=412_345.67, gap=0.004, note="", paid=(0.0, 2e5, 412_345.67)),
            Baseline(name="all reserved", usd=330_000.0, gap=0.003, note=""),
            Baseline(name="all owned", usd=None, gap=None, note="cannot serve everything: 3.10% have no supply"),
        ),
        sensitivities=_sensitivities(),
        prices=_prices(),
        paid=(190_000.0, 270_000.0, 260_000.0),
        volumes=(_volume(),),
    )


def hostile_plan() -> Plan:
    """The same plan with `HOSTILE` in every text that comes from a file."""
    made = plan(name="hostile", workload=HOSTILE)
    source = Source(text=HOSTILE, as_of=HOSTILE, stale=True, confidence=HOSTILE)
    amount = Amount(name=HOSTILE, usd=1.0)
    return made.model_copy(
        update={
            "name": HOSTILE,
            "inputs": {HOSTILE: "ab" * 32},
            "checks": (HOSTILE,),
            "headline": (HOSTILE,),
            "notes": (HOSTILE,),
            "warnings": (HOSTILE,),
            "proof": HOSTILE,
            "purchases": tuple(
                purchase.model_copy(
                    update={
                        "offer": HOSTILE,
                        "provider": HOSTILE,
                        "gpu": HOSTILE,
                        "why": HOSTILE,
                        "source": source,
                        "instead": (Instead(name=HOSTILE, scheme="api", usd=2.0, in_place_of_usd=1.0),),
                    }
                )
                for purchase in made.purchases
            ),
            "supplies": tuple(
                supply.model_copy(update={"name": HOSTILE, "source": source}) for supply in made.supplies
            ),
            "workloads": tuple(
                served.model_copy(update={"name": HOSTILE, "model": HOSTILE, "owner": HOSTILE})
                for served in made.workloads
            ),
            "deployments": tuple(
                deployed.model_copy(
                    update={
                        "name": HOSTILE,
                        "model": HOSTILE,
                        "gpu": HOSTILE,
                        "engine": HOSTILE,
                        "dated": HOSTILE,
                        "weights": HOSTILE,
                        "model_source": HOSTILE,
                        "source": HOSTILE,
                        "server_args": (HOSTILE, "`" * 3),
                        "notes": (HOSTILE,),
                        "replicas": {HOSTILE: 1.0},
                    }
                )
                for deployed in made.deployments
            ),
            "months": tuple(
                month.model_copy(update={"name": HOSTILE, "lines": (amount, *month.lines)}) for month in made.months
            ),
            "lines": (amount, *made.lines),
            "volumes": tuple(
                volume.model_copy(
                    update={
                        "model": HOSTILE,
                        "ways": tuple(way.model_copy(update={"name": HOSTILE}) for way in volume.ways),
                    }
                )
                for volume in made.volumes
            ),
            "prices": tuple(
                price.model_copy(update={"name": HOSTILE, "provider": HOSTILE, "what": HOSTILE, "source": source})
                for price in made.prices
            ),
            "sensitivities": tuple(
                moved.model_copy(update={"driver": HOSTILE, "decision_below": {f"owned {HOSTILE}": 8.0}})
                for moved in made.sensitivities
            ),
            "baselines": tuple(
                baseline.model_copy(update={"name": HOSTILE, "note": HOSTILE}) for baseline in made.baselines
            ),
        }
    )


def _purchases() -> tuple[Purchase, ...]:
    quote = Source(text="https://example.com/h100, a quote by mail", as_of="2026-11-01", stale=False, confidence="high")
    old = Source(text="https://example.com/cloud price page", as_of="2026-03-01", stale=True)
    return (
        Purchase(
            offer="h100 server of 8",
            scheme="owned",
            provider="Example Systems",
            gpu="h100-80gb-sxm",
            units=1,
            gpus=8,
            epoch="2027-01",
            term_months=None,
            usd=129_000.0,
            lines=(
                Amount(name="hardware", usd=150_000.0),
                Amount(name="colocation", usd=4_000.0),
                Amount(name="residual value", usd=-25_000.0),
            ),
            usd_per_gpu_h=11.997768,
            utilisation=0.81,
            source=quote,
            without_usd=130_000.0,
            instead=(Instead(name="Example API, llama-3-8b", scheme="api", usd=195_000.0, in_place_of_usd=130_000.0),),
            why="81 % of its capacity at the SLO is used; it costs USD 130,000, and the same work would cost "
            "USD 195,000 by Example API, llama-3-8b",
        ),
        Purchase(
            offer="Example Cloud 3 months",
            scheme="reserved",
            provider="Example Cloud",
            gpu="h100-80gb-sxm",
            units=6,
            gpus=6,
            epoch="2027-01",
            term_months=3,
            usd=90_000.0,
            lines=(Amount(name="reserved GPUs", usd=90_000.0),),
            usd_per_gpu_h=11.160714,
            utilisation=0.64,
            source=old,
            why="64 % of its capacity at the SLO is used",
        ),
        Purchase(
            offer="Example Cloud on demand",
            scheme="on demand",
            provider="Example Cloud",
            gpu="h100-80gb-sxm",
            units=6,
            gpus=6,
            epoch="by the hour",
            term_months=None,
            usd=30_000.0,
            lines=(Amount(name="on demand", usd=30_000.0),),
            usd_per_gpu_h=12.5,
            utilisation=0.9,
            source=quote,
            why="90 % of its capacity at the SLO is used",
        ),
    )


def _supplies() -> tuple[Supply, ...]:
    rows: tuple[tuple[str, Scheme, float, float], ...] = (
        ("h100 server of 8", "owned", 0.6, 130_000.0),
        ("Example Cloud 3 months", "reserved", 0.335, 90_500.0),
        ("Example Cloud on demand", "on demand", 0.05, 30_249.5),
        ("Example API, llama-3-8b", "api", 0.015, 9_250.5),
    )
    return tuple(
        Supply(
            name=name,
            scheme=scheme,
            requests=part * 1.2e8,
            request_share=part,
            input_tokens=part * 3.0e10,
            output_tokens=part * 1.6e10,
            token_share=part,
            usd=usd,
            full_usd_per_mtok=None if scheme == "api" else 0.8 * usd / (part * 4.6e4),
            source=Source(text="https://example.com/prices", as_of="2026-11-01", stale=False),
        )
        for name, scheme, part, usd in rows
    )


def _workloads(name: str, missed: float) -> tuple[Served, ...]:
    common = {"model": "llama-3-8b", "e2e_s": None, "attainment": 0.95}
    first = Served(
        name=name,
        owner="platform",
        ttft_s=0.5,
        tpot_s=0.05,
        requests=4.0e7,
        input_tokens=2.0e10,
        output_tokens=1.5e10,
        unserved_requests=missed,
        usd=210_000.0,
        usd_per_mtok=6.0,
        marginal_usd_per_mtok=0.9,
        input_usd_per_mtok=3.0,
        output_usd_per_mtok=10.0,
        **common,
    )
    second = Served(
        name="classify",
        owner=None,
        ttft_s=2.0,
        tpot_s=None,
        requests=8.0e7,
        input_tokens=1.0e10,
        output_tokens=1.0e9,
        unserved_requests=0.0,
        usd=50_000.0,
        usd_per_mtok=50_000 / 11_000,
        marginal_usd_per_mtok=None,
        **common,
    )
    return (first, second)


def _shapes() -> tuple[SeenShape, ...]:
    levels, served = (8.0, 16.0, 32.0, 64.0), (5.0, 9.0, 14.0, 16.0)
    rows = zip(levels, served, strict=True)
    points = tuple(SeenPoint(level=level, throughput_per_s=rate, attained=level < 50) for level, rate in rows)
    knee = SeenShape(
        input_tokens=1024,
        cached_tokens=0,
        output_tokens=128,
        mode="closed",
        points=points,
        capacity_per_s=12.5,
        capacity_low_per_s=11.0,
        capacity_high_per_s=13.5,
        knee=40.0,
        saturated=True,
    )
    floor = {"output_tokens": 512.0, "points": points[:3], "capacity_per_s": 9.5, "knee": 32.0, "saturated": False,
             "capacity_low_per_s": None, "capacity_high_per_s": 9.9}  # fmt: skip
    return (knee, knee.model_copy(update=floor))


def _prices() -> tuple[Price, ...]:
    rows: tuple[tuple[str, Scheme, bool, float | None, float | None], ...] = (
        ("h100 server of 8", "owned", True, 2.1, None),
        ("Example Cloud 3 months", "reserved", True, 11.16, None),
        ("Example Cloud on demand", "on demand", True, 12.5, None),
        ("Example API, llama-3-8b", "api", True, None, 0.2),
        ("Other API, llama-3-8b", "api", False, None, 0.3),
    )
    return tuple(
        Price(
            name=name,
            scheme=scheme,
            provider="Example",
            what="llama-3-8b" if scheme == "api" else "h100-80gb-sxm",
            used=used,
            term_months=3 if scheme == "reserved" else None,
            usd_per_gpu_h=gpu_h,
            input_usd_per_mtok=usd_in,
            cached_input_usd_per_mtok=None,
            output_usd_per_mtok=None if usd_in is None else 3 * usd_in,
            units=None,
            source=Source(text="https://example.com/prices", as_of=None if used else "2026-11-01", stale=used),
        )
        for name, scheme, used, gpu_h, usd_in in rows
    )


def _volume() -> Volume:
    """46 billion tokens in 1,344 hours; a GPU does 5 million an hour."""
    held = Way(name="server", scheme="owned", usd_per_mtok=0.01, gpu_h_per_mtok=0.2, gpus_per_step=8, usd_per_gpu_h=2.1)
    return Volume(
        model="llama-3-8b",
        mtok_per_h=46_000 / 1344,
        levels=((0.25, 1.5), (0.5, 1.0), (0.25, 0.5)),
        ways=(
            Way(name="Example API, llama-3-8b", scheme="api", usd_per_mtok=0.9),
            held.model_copy(update={"fixed_usd_per_h": 5.0}),
            held.model_copy(
                update={"name": "hourly", "scheme": "on demand", "gpus_per_step": 1, "usd_per_gpu_h": 12.5}
            ),
        ),
    )


def _deployment() -> Deployed:
    return Deployed(
        name="llama-3-8b on 1x h100-80gb-sxm",
        model="llama-3-8b",
        gpu="h100-80gb-sxm",
        gpus_per_replica=1,
        precision="bf16",
        engine="vllm",
        engine_version="0.9.0",
        kind="published",
        saturated=False,
        percentile_known=False,
        gpu_time_error=0.041,
        extrapolated=False,
        replicas={"2027-01": 14.0, "2027-02": 14.0},
        rented_replicas_most=6.0,
        source="https://example.com/curves",
        server_args=("--max-num-seqs", "256"),
        dated="2026-09-30",
        weights="real",
        model_source="example/llama-3-8b",
        shapes=_shapes(),
        by_hour=(14.0,) * 8 + (20.0,) * 12 + (14.0,) * 4,
        notes=("closed loop, means only",),
    )


def _sensitivities() -> tuple[Sensitivity, ...]:
    base = {"owned h100-80gb-sxm": 8.0, "reserved h100-80gb-sxm": 6.0}
    return (
        Sensitivity(
            driver="power price",
            low=0.5,
            high=2.0,
            usd_low=259_000.0,
            usd_high=262_000.0,
            decision_low=base,
            decision_high=base,
            turns_below=None,
            turns_above=None,
        ),
        Sensitivity(
            driver="demand",
            low=0.5,
            high=2.0,
            usd_low=140_000.0,
            usd_high=500_000.0,
            decision_low={},
            decision_high={"owned h100-80gb-sxm": 24.0},
            turns_below=0.75,
            turns_above=1.6,
            decision_below={"owned h100-80gb-sxm": 8.0},
            decision_above={"owned h100-80gb-sxm": 16.0, "reserved h100-80gb-sxm": 6.0},
        ),
        Sensitivity(
            driver="API prices",
            low=0.5,
            high=2.0,
            usd_low=200_000.0,
            usd_high=269_000.0,
            decision_low={},
            decision_high=base,
            turns_below=0.97,
            turns_above=None,
            decision_below={},
            shares_below={"on demand": 0.05, "api": 1.0},
            kept_usd_low=201_000.0,
            kept_usd_high=271_000.0,
        ),
    )


def _months() -> tuple[Month, ...]:
    gpus = {"owned": 8.0, "reserved": 6.0, "on demand": 4.0}
    return (
        Month(
            name="2027-01",
            hours=672,
            requests=5.5e7,
            usd=231_000.0,
            gpus=gpus,
            lines=(
                Amount(name="hardware", usd=150_000.0),
                Amount(name="reserved GPUs", usd=90_000.0),
                Amount(name="on demand", usd=10_000.0),
                Amount(name="API", usd=1_250.5),
                Amount(name="colocation", usd=4_000.0),
                Amount(name="busy power", usd=749.5),
                Amount(name="residual value", usd=-25_000.0),
            ),
        ),
        Month(
            name="2027-02",
            hours=672,
            requests=6.5e7,
            usd=29_000.0,
            gpus={**gpus, "on demand": 6.0},
            lines=(
                Amount(name="on demand", usd=20_000.0),
                Amount(name="API", usd=8_000.0),
                Amount(name="busy power", usd=1_000.0),
            ),
        ),
    )
