"""`planner init` and `planner check`: a starter that validates, and validation without solving."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from planner.forecast import Forecast
from planner.planfile import PlanFile, Workload


@dataclass(frozen=True)
class Checked:
    """Everything that was read, and sentences for the screen."""

    forecast: Forecast
    plan: PlanFile
    plan_path: Path | None
    workloads: tuple[Workload, ...]
    notes: tuple[str, ...]


def write_starter(folder: Path) -> tuple[Path, ...]:
    """Write forecast.csv and plan.toml into `folder` (made if need be); refuses to overwrite; the paths written."""
    raise NotImplementedError


def check_inputs(forecast_path: Path, *, plan_path: Path | None = None, model: str | None = None) -> Checked:
    """Read everything that solving would read; `InputError` names every fault of every file at once."""
    raise NotImplementedError
