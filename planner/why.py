"""Why each purchase is there, in words: its cost, and what its work would cost in the next best way of each kind."""

from __future__ import annotations

from planner.amounts import against, share, usd
from planner.plan import Instead, Purchase

_CENT = 0.01


def why(purchase: Purchase, *, needed: bool) -> str:
    """One sentence; `needed` says whether there is work that the rest of the plan would not do without it."""
    used = f"{share(purchase.utilisation)} of its capacity at the SLO is used"
    cost = usd(purchase.without_usd)
    if not needed:
        return f"{used}; without it the rest of this plan would do the same work, and cost {cost} less"
    if not purchase.instead:
        return f"{used}; it costs {cost} for work that no API, GPU by the hour or other term could do"
    whole = [way for way in purchase.instead if not _in_part(way, purchase)]
    part = [way for way in purchase.instead if _in_part(way, purchase)]
    said = f", and the same work would cost {'; '.join(_told(way, purchase) for way in whole)}" if whole else ""
    for way in part:
        said += f", and {usd(way.in_place_of_usd)} of it, one replica's, {usd(way.usd)} on {way.name}"
    return f"{used}; it costs {cost}{said}"


def next_best(purchase: Purchase) -> str:
    """The cheapest other way and how much dearer it is, short."""
    if not purchase.instead:
        return "none"
    way = purchase.instead[0]
    return f"{way.name}: {against(way.usd, way.in_place_of_usd)}"


def _in_part(way: Instead, purchase: Purchase) -> bool:
    """Whether it is a term for the base of what is rented by the hour."""
    return purchase.epoch == "by the hour" and way.scheme in ("owned", "reserved", "commitment")


def _told(way: Instead, purchase: Purchase) -> str:
    said = f"{usd(way.usd)} {'by' if way.scheme == 'api' else 'on'} {way.name}"
    if abs(way.in_place_of_usd - (purchase.without_usd or 0.0)) < _CENT:
        return said
    return f"{said} (where this and later purchases of it cost {usd(way.in_place_of_usd)})"
