"""What makes a plan impossible, said before solving: GPUs that are there already against the caps of plan.toml.

Nothing else can. Work that nobody serves is always allowed, at a price, and nothing has to be bought; so the one way to
break a rule is to begin with more than it allows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from hardware_profiles.faults import Fault
from planner.caps import CAPS
from planner.planfile import PlanFile
from planner.problem import Epoch, Limit
from planner.supply import OfferInfo


def contradictions(
    plan: PlanFile, epochs: tuple[Epoch, ...], offers: tuple[OfferInfo, ...], limits: tuple[Limit, ...]
) -> Iterable[Fault]:
    """One fault per cap that the fleet exceeds: by how much, from when on, and what to do."""
    for limit in limits:
        used = [
            sum(limit.per_unit.get(info.offer.name, 0.0) * info.offer.existing_units(m) for info in offers)
            for m in range(len(epochs))
        ]
        over = [m for m, amount in enumerate(used) if amount > limit.cap * (1 + 1e-9)]
        if over:
            most, cap = max(used), CAPS[limit.name]
            later = f" from {epochs[over[0]].name} on" if over[0] else ""
            what = f"{cap.said.format(f'{most:,.6g}')}{later}, {most - limit.cap:,.6g} more than it allows"
            remedy = f"write {math.ceil(most)} or more, or take GPUs out of [[fleet]]"
            yield plan.fault(what, remedy, *cap.keys, value=f"{limit.cap:g}")
