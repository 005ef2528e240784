"""The caps of plan.toml on GPUs that are owned: how many, the power that feeds them, the rack space that holds them.

Each cap is a `Limit` of the problem over all that is owned, bought or there already. What a unit takes of a cap may be
unknown. A server that nobody has measured for it cannot be chosen under it, so that is a fault; GPUs that are there
already take what they take, so they count as none and a note says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hardware_profiles.faults import Fault
from planner.planfile import PlanFile
from planner.problem import Limit
from planner.supply import OfferInfo


@dataclass(frozen=True)
class Cap:
    """The key of plan.toml behind a limit, what a unit takes of it (None: unknown), and what is said of it."""

    table: str
    key: str
    taken: Callable[[OfferInfo], float | None]
    figure: str
    """The figure of ownership.toml that says what a GPU takes."""
    said: str
    """What the GPUs that are there already take."""

    @property
    def keys(self) -> tuple[str, str]:
        """Where it stands in plan.toml."""
        return self.table, self.key

    def of(self, plan: PlanFile) -> float | None:
        """What plan.toml allows; None: no limit."""
        value: float | None = getattr(getattr(plan, self.table), self.key)
        return None if value is None else float(value)


CAPS: Mapping[str, Cap] = {
    "owned_gpus": Cap("policy", "max_owned_gpus", lambda info: info.gpus_per_unit, "", "{} GPUs are owned already"),
    "site_kw": Cap(
        "site", "max_kw", lambda info: info.kw_per_unit, "provisioned_w", "GPUs that are owned already draw {} kW"
    ),
    "site_rack_units": Cap(
        "site", "max_rack_units", lambda info: info.rack_units_per_unit, "rack_units",
        "GPUs that are owned already take {} rack units",
    ),
}  # fmt: skip
"""By the name of the limit in the problem."""


def limits_of(plan: PlanFile, offers: Iterable[OfferInfo]) -> tuple[Limit, ...]:
    """Every cap that plan.toml states, over the units that are owned."""
    owned = [info for info in offers if info.owned]
    caps = [(name, cap, most) for name, cap in CAPS.items() if owned and (most := cap.of(plan)) is not None]
    return tuple(
        Limit(name, {info.offer.name: cap.taken(info) or 0.0 for info in owned}, most) for name, cap, most in caps
    )


def unknown(plan: PlanFile, offers: Iterable[OfferInfo]) -> Iterable[Fault]:
    """One fault per cap under which a server could be bought that nobody knows to fit."""
    bought = [info for info in offers if info.owned and info.offer.bought]
    for cap in CAPS.values():
        gpus = [info.gpu for info in bought if cap.taken(info) is None]
        if gpus and (most := cap.of(plan)) is not None:
            remedy = f"write {cap.figure} of each in ownership.toml, or forbid buying them (policy.forbid_gpus)"
            what = f"nobody states what servers of {', '.join(gpus)} take of it"
            yield plan.fault(what, remedy, *cap.keys, value=f"{most:g}")


def uncounted(plan: PlanFile, offers: Iterable[OfferInfo]) -> Iterable[str]:
    """GPUs that are there already and count as none under a cap, since nobody states what they take."""
    there = [info for info in offers if info.owned and not info.offer.bought]
    for cap in CAPS.values():
        gpus = dict.fromkeys(info.gpu for info in there if cap.taken(info) is None)
        if gpus and cap.of(plan) is not None:
            yield (
                f"{', '.join(gpus)} of the fleet count as none under {'.'.join(cap.keys)}, since ownership.toml has no "
                f"{cap.figure} of them: lower it by what they take."
            )
