"""The plan as a file: what to buy, rent and commit to, who serves what, what it costs, and the proof.

`plan.json` is what the report is made from and what the next review compares itself with, so it stands alone: it names
every input by digest, every price by source and date, and every curve by kind. Money is in USD, present value where the
horizon is discounted. The unknown is None.

Format history
    spillway-plan/1 (2026-11-20): first version.
    spillway-plan/1 (2026-11-21): `bound_usd` and `gap` are null where the checker found a fault.
    spillway-plan/1 (2026-11-28): purchases say what their work would cost otherwise (`without_usd`, `instead`);
        `capacity` is told, and each measured shape's at both ends.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from hardware_profiles.curve import Kind, Value, write_text
from hardware_profiles.faults import Faults
from planner.plan_compared import LAST_PLAN, Baseline, Hindsight, Kept, Miss, PriceMove, Sensitivity, Since
from planner.plan_explained import Explained
from planner.plan_parts import (
    SUPPLY_ORDER,
    Amount,
    Books,
    BooksMonth,
    Deployed,
    Expense,
    Hidden,
    Instead,
    Levels,
    Month,
    Price,
    Purchase,
    Scheme,
    SeenPoint,
    SeenShape,
    Served,
    Source,
    Supply,
    Volume,
    Way,
)
from planner.strain import Band

__all__ = [
    "FORMAT", "LAST_PLAN", "SUPPLY_ORDER", "Amount", "Baseline", "Books", "BooksMonth", "Deployed", "Expense",
    "Explained", "Hidden", "Hindsight", "Instead", "Kept", "Levels", "Miss", "Month", "Plan", "Price", "PriceMove",
    "Purchase", "Scheme", "SeenPoint", "SeenShape", "Sensitivity", "Served", "Since", "Source", "Supply", "Volume",
    "Way", "read_plan", "write_plan",
]  # fmt: skip

FORMAT = "spillway-plan/1"


class Plan(Value):
    """Everything that a review needs."""

    format: Literal["spillway-plan/1"] = "spillway-plan/1"
    name: str
    made_on: str
    spillway_version: str
    inputs: dict[str, str]
    """SHA-256 of every file the plan was made from, by role and name."""
    horizon_start: str
    horizon_months: float
    horizon_hours: int
    discount_rate_per_year: float
    cost_usd: float
    bound_usd: float | None
    """No plan costs less; None: the checker found a fault, so nothing is proven."""
    gap: float | None = Field(ge=0)
    """By what share a cheaper plan could undercut this one at most; None: nothing is proven."""
    proof: str
    checks: tuple[str, ...]
    """What the checker found wrong; empty when nothing."""
    unserved_requests: float
    evidence: Kind | None
    """The worst kind of curve the plan rests on; None when only APIs serve."""
    capacity: Band | None = None
    """The end of the curves' uncertainty that GPUs are counted on at; None: an older plan, which does not say."""
    headline: tuple[str, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    purchases: tuple[Purchase, ...]
    supplies: tuple[Supply, ...]
    workloads: tuple[Served, ...]
    deployments: tuple[Deployed, ...]
    months: tuple[Month, ...]
    lines: tuple[Amount, ...]
    baselines: tuple[Baseline, ...]
    sensitivities: tuple[Sensitivity, ...] = ()
    prices: tuple[Price, ...] = ()
    paid: tuple[float, ...] = ()
    """USD paid at the start, then by the end of each month of the horizon."""
    volumes: tuple[Volume, ...] = ()
    since: Since | None = None
    hidden: tuple[Hidden, ...] = ()
    """What the hidden costs of plan.toml come to; one that it does not state is not here."""
    kept: Kept | None = None
    """Why this is not the cheapest plan found; None: it is."""
    books: Books | None = None
    """The same money as expenses of the months that use it; None where that was not kept."""
    explained: Explained | None = None
    """None where `--explain` was not asked for."""


def read_plan(path: Path) -> Plan:
    """Read and validate plan.json; raises `InputError` with every fault in it."""
    faults = Faults(str(path))
    try:
        return Plan.model_validate_json(path.read_bytes())
    except OSError as error:
        faults.add(f"cannot be read ({error.strerror})", "check the path and its permissions")
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            faults.add(
                detail["msg"], f"write the file as {FORMAT} says", column=".".join(map(str, detail["loc"])) or None
            )
    faults.check()
    raise AssertionError("unreachable")


def write_plan(plan: Plan, path: Path) -> None:
    """Write plan.json whole or not at all."""
    write_text(path, json.dumps(plan.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")
