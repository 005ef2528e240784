"""Everything that solving would read: the function behind `planner check`, and the first step of `planner solve`.

A file with faults does not keep the others from being read, so that a user mends all files in one go. What several
files must agree on is compared then (`matched.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from hardware_profiles.curve import Curve
from hardware_profiles.facts import gpus, models
from hardware_profiles.library import load_curves, user_dir
from planner.forecast import Forecast, read_forecast
from planner.matched import Gather, Matched, told
from planner.planfile import DEFAULT_SLO, PlanFile, Workload, read_planfile, workloads_for
from planner.prices import PriceBook, read_price_book
from planner.strain import Band


@dataclass(frozen=True, eq=False)
class Checked:
    """What was read; every name is the one that facts, curves and price book use."""

    forecast: Forecast
    plan: PlanFile
    """`PlanFile()` where there is none."""
    workloads: tuple[Workload, ...]
    """In the forecast's order."""
    book: PriceBook
    curves: tuple[Curve, ...]
    """Of all models, the user's own included."""
    notes: tuple[str, ...]
    """What was chosen for the user, one sentence each; the forecast's own notes apart."""


def check_inputs(
    forecast_path: Path,
    *,
    plan_path: Path | None = None,
    model: str | None = None,
    profiles: Path | None = None,
    today: date | None = None,
    capacity: Band | None = None,
    cwd: Path = Path(),
) -> Checked:
    """Read the forecast, plan.toml, price book, facts and curves; `InputError` names every fault of every file at once.

    Without `plan_path` the plan.toml beside the forecast is read, if there is one. `model` takes the place of the
    default where plan.toml names none, `capacity` of what plan.toml says.
    """
    gather = Gather()
    own = gather.read(lambda: user_dir(profiles, cwd))
    forecast = gather.read(lambda: read_forecast(forecast_path))
    beside = forecast_path.parent / "plan.toml"
    stated = plan_path or (beside if beside.is_file() else None)
    plan = gather.read(lambda: read_planfile(stated)) if stated else PlanFile()
    prices = plan.prices if plan else PlanFile().prices
    book = gather.read(
        lambda: read_price_book(
            forecast_path.parent,
            today or datetime.now().astimezone().date(),
            offers=prices.offers,
            endpoints=prices.endpoints,
            ownership=prices.ownership,
            profiles=own,
        )
    )
    curves = gather.read(lambda: load_curves(own))
    facts = gather.read(lambda: (gpus(own), models(own)))
    if plan is None or book is None or curves is None or facts is None:
        gather.check()
        raise AssertionError("unreachable")
    plan = plan if capacity is None else plan.with_capacity(capacity)
    names = forecast.workloads if forecast else tuple(plan.workloads)
    specs = gather.read(lambda: workloads_for(plan, names, model=model)) or tuple(Workload() for _ in names)
    matched = Matched(plan, book, curves, facts=facts, asked=model, gather=gather)
    workloads = tuple(matched.workload(name, spec) for name, spec in zip(names, specs, strict=True))
    ruled = matched.rules()
    if forecast is not None:
        matched.begins(forecast)
    gather.check()
    assert forecast is not None
    notes = (*_defaults(ruled, names, workloads), *_assumed_to_change(ruled), *matched.notes, *book.notes)
    return Checked(forecast, ruled, workloads, book, curves, tuple(dict.fromkeys(notes)))


def _defaults(plan: PlanFile, names: tuple[str, ...], workloads: tuple[Workload, ...]) -> Iterable[str]:
    """What holds because nothing else was stated."""
    if plan.source is None:
        yield "There is no plan.toml: its defaults hold (`planner init` writes one with every key explained)."
    assumed: dict[str, list[str]] = {}
    for name, spec in zip(names, workloads, strict=True):
        stated = plan.workloads[name].model_fields_set if name in plan.workloads else set()
        parts = [] if "model" in stated else [spec.model]
        parts += [] if "slo" in stated else [f"{told(DEFAULT_SLO)} of requests"]
        if parts:
            assumed.setdefault(" at ".join(parts), []).append(name)
    for what, whose in assumed.items():
        yield f"Nothing else is stated for {', '.join(whose)}: {what} is assumed."


def _assumed_to_change(plan: PlanFile) -> Iterable[str]:
    """What plan.toml lets grow and fall: assumptions that whoever signs the plan shares."""
    growth = plan.growth
    rates = {**growth.workloads, "all others" if growth.workloads else "all": growth.requests_per_year}
    if moving := [f"{name} {100 * rate:+g} % a year" for name, rate in rates.items() if rate]:
        yield f"plan.toml lets demand change: {', '.join(moving)}."
    if moving := list(plan.price_trends.told):
        yield f"plan.toml lets prices change, the first that names a supply counting: {'; '.join(moving)}."
