"""How long a server was seen to start, beside what plan.toml says of it.

`[policy] start_minutes` is not set from a curve: a start of a minute would then cost a whole paid hour each time (units
are switched on in whole hours), and loading from another disk takes another time. So the measured start is told, and
what the plan counts is stated by the user.
"""

from __future__ import annotations

from collections.abc import Iterable

from planner.deployments import CaseDeployment
from planner.supply import OfferInfo


def start_notes(
    start_minutes: float | None, deployments: tuple[CaseDeployment, ...], offers: tuple[OfferInfo, ...]
) -> Iterable[str]:
    """Curves whose measured start is longer than what the plan counts, where their GPUs are switched on by the hour."""
    hourly = {
        pool for info in offers if info.offer.placed == "hour" and not info.offer.bought for pool in info.offer.covers
    }
    curves = {id(d.curve): d.curve for d in deployments if d.place.pool in hourly}
    for curve in curves.values():
        minutes = (curve.conditions.start_up_s or 0.0) / 60
        if minutes > (start_minutes or 0.0):
            counted = f"counts {start_minutes:g}" if start_minutes else "counts none"
            yield (
                f"{curve.model} on {curve.gpu.count}x {curve.gpu.name} took {minutes:.2g} minutes to start where it "
                f"was measured; for GPUs by the hour the plan {counted} (start_minutes in plan.toml's [policy])."
            )
