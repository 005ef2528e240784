"""The bill of a plan as quantities times prices, item by item: what a spreadsheet can be built on.

Bought or reserved: units; rented by the hour: GPU-hours; APIs: million tokens. Lines that no single purchase owns (busy
power, a team) are one item each, for the whole horizon.
"""

from __future__ import annotations

from dataclasses import dataclass

from planner.plan import Plan, Purchase, Source

_CENT = 0.005
_API = "API"
_BY_HOUR = ("on demand", "spot")


@dataclass(frozen=True)
class Thing:
    """What has a quantity in the plan."""

    name: str
    scheme: str
    start: str
    quantity: float
    unit: str
    source: Source | None


@dataclass(frozen=True)
class Item:
    """One price of a thing: `usd` is its part of the bill."""

    thing: int
    line: str
    usd: float


def bill(plan: Plan) -> tuple[tuple[Thing, ...], tuple[Item, ...]]:
    """The whole bill as quantities and prices; the items add up to the plan's lines, line by line."""
    things, items = [], []
    for purchase in plan.purchases:
        things.append(_bought(purchase))
        items += [Item(len(things) - 1, line.name, line.usd) for line in purchase.lines]
    for supply in plan.supplies:
        if supply.scheme == "api":
            tokens = (supply.input_tokens + supply.output_tokens) / 1e6
            things.append(Thing(supply.name, "api", "by the hour", tokens or 1.0, "million tokens", supply.source))
            items.append(Item(len(things) - 1, _API, supply.usd))
    for line in plan.lines:
        rest = line.usd - sum(item.usd for item in items if item.line == line.name)
        if abs(rest) > _CENT:
            things.append(Thing(f"{line.name}, all together", "", "", 1.0, "whole horizon", None))
            items.append(Item(len(things) - 1, line.name, rest))
    return tuple(things), tuple(items)


def _bought(purchase: Purchase) -> Thing:
    """Rented by the hour: GPU-hours; anything else: units."""
    name, scheme, start, source = purchase.offer, purchase.scheme, purchase.epoch, purchase.source
    if scheme in _BY_HOUR and purchase.usd_per_gpu_h:
        return Thing(name, scheme, start, purchase.usd / purchase.usd_per_gpu_h, "GPU-hours", source)
    return Thing(name, scheme, start, purchase.units or 1.0, "units", source)
