"""A case with fewer supplies: the same decision with some offers or APIs taken away, and all that refers to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from planner.assemble import Case
from planner.supply import EndpointInfo, OfferInfo


def fewer(case: Case, offer: Callable[[OfferInfo], bool], endpoint: Callable[[EndpointInfo], bool]) -> Case:
    """The case with the offers and endpoints for which these hold."""
    offers = tuple(info for info in case.offers if offer(info))
    endpoints = tuple(info for info in case.endpoints if endpoint(info))
    names = {info.offer.name for info in offers}
    charges = (
        replace(charge, offers=tuple(name for name in charge.offers if name in names))
        for charge in case.problem.fixed_charges
    )
    limits = (
        replace(limit, per_unit={name: use for name, use in limit.per_unit.items() if name in names})
        for limit in case.problem.limits
    )
    problem = replace(
        case.problem,
        fixed_charges=tuple(charge for charge in charges if charge.offers),
        offers=tuple(info.offer for info in offers),
        endpoints=tuple(info.endpoint for info in endpoints),
        limits=tuple(limit for limit in limits if limit.per_unit),
    )
    return replace(case, problem=problem, offers=offers, endpoints=endpoints)
