"""[hidden_costs] of plan.toml: what no price holds. None: not in the bill, and the report says so.

* Orchestration (schedulers, gateways, monitoring; USD per GPU and year) is owed for every GPU that the plan buys,
  reserves or switches on, and egress (USD per million tokens that go to an API and come back) for every token that an
  API serves. Both change what is cheapest, so they are costs of the offers and endpoints: the programme, the bound and
  the checker know them as they know prices. GPUs that are there already and spend commitments carry none.
* Compliance (USD per year) is the same whatever is decided, and migration (USD per swap of a model or an API) is known
  only after the decision, by the last review: they stand beside the bill, not in it (`beside.py`).

Where plan.toml lets prices of rentals or APIs change over the horizon, what rides on them changes with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hardware_profiles.curve import NonNegative, Value
from planner.problem import Endpoint, Line, Offer

YEAR_H = 8760.0
ORCHESTRATION = "orchestration"


class HiddenCosts(Value):
    """[hidden_costs]: your own figures; None is not in this bill."""

    orchestration_usd_per_gpu_year: NonNegative | None = None
    egress_usd_per_million_api_tokens: NonNegative | None = None
    """Both ways: what is sent to an API and what comes back."""
    compliance_usd_per_year: NonNegative | None = None
    migration_usd_per_swap: NonNegative | None = None
    """Per workload that another model serves, and per API that serves and did not in the last review."""


def orchestrated(offer: Offer, gpus_per_unit: float, costs: HiddenCosts) -> Offer:
    """The offer with its GPUs' orchestration: a line of what is bought, a part of the price of what is switched on.

    876 USD a year for each of 8 GPUs are 0.80 USD an hour:

    >>> costs = HiddenCosts(orchestration_usd_per_gpu_year=876.0)
    >>> orchestrated(Offer("own", {"pool": 0.125}), 8, costs).committed
    (Line(name='orchestration', usd=0.8),)
    >>> hourly = Offer("hour", {"pool": 0.125}, "hour", bought=False, usage_usd_per_h=16.0)
    >>> orchestrated(hourly, 8, costs).usage_usd_per_h
    16.8
    """
    usd = (costs.orchestration_usd_per_gpu_year or 0.0) * gpus_per_unit / YEAR_H
    if not usd:
        return offer
    if offer.placed == "hour":
        return replace(offer, usage_usd_per_h=offer.usage_usd_per_h + usd)
    return replace(offer, committed=(*offer.committed, Line(ORCHESTRATION, usd)))


def with_egress(endpoint: Endpoint, tokens_per_request: Sequence[float], costs: HiddenCosts) -> Endpoint:
    """The endpoint with the egress of each class's tokens in its price per request.

    >>> costs = HiddenCosts(egress_usd_per_million_api_tokens=2.0)
    >>> with_egress(Endpoint("api", (0.001, None)), (500.0, 500.0), costs).usd_per_request
    (0.002, None)
    """
    rate = (costs.egress_usd_per_million_api_tokens or 0.0) / 1e6
    prices = zip(endpoint.usd_per_request, tokens_per_request, strict=True)
    return replace(
        endpoint,
        usd_per_request=tuple(None if usd is None else usd + rate * tokens for usd, tokens in prices),
    )
