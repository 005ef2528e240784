"""At which price would what the plan does not use be used? Found by halving, solving again at each price.

Nearest is judged without solving: the price of the work that a supply could do, GPUs full at the SLO, over what the
plan pays for the same work. A supply counts as used when it carries anything. Within the gap proven two plans are
alike, so the price is a range: at the lower end it was seen to be used, at the upper end not to be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planner.assemble import Case
from planner.attribution import carried, class_usd
from planner.cheapest import cheapest
from planner.plan import Scheme
from planner.plan_explained import Entry
from planner.problem import Array, Endpoint, Line, Offer, Problem
from planner.solve import Solution

LOWEST = 0.5
"""The lowest factor of today's price that is tried."""
_HALVINGS = 4
_COUNT = 3
_LITTLE = 1e-6


@dataclass(frozen=True)
class Candidate:
    """A supply that the plan does not use: its place among offers or endpoints, and how near it is."""

    label: str
    scheme: Scheme
    place: int
    unit: str
    usd: float
    ratio: float


def nearest(case: Case, solution: Solution, count: int = _COUNT) -> tuple[Candidate, ...]:
    """Of what is not used, what is nearest by the price of its work."""
    problem, done = case.problem, carried(case, solution)
    requests: Array = solution.blocks.weight_h @ solution.blocks.demand
    paid = class_usd(case, solution)
    found = []
    for o, info in enumerate(case.offers):
        if info.scheme != "existing" and not solution.fleet.buy[o].any() and not done.gpus_held[o].any():
            times = [d.gpu_h_per_request for d in problem.deployments if d.pool in info.offer.covers]
            best = np.array([min((t[k] or np.inf for t in times), default=np.inf) for k in range(len(requests))])
            ratio = _ratio(best * info.usd_per_gpu_h / info.offer.usable, requests, paid)
            found.append(Candidate(info.label, info.scheme, o, "USD per GPU-hour", info.usd_per_gpu_h, ratio))
    tokens = np.array([s.input_tokens + s.output_tokens for w in case.workloads for s in w.shapes.classes])
    for e, sold in enumerate(case.endpoints):
        if not done.by_endpoint[e].any():
            prices = np.array([np.inf if usd is None else usd for usd in sold.endpoint.usd_per_request])
            mine = np.isfinite(prices) & (requests > 0)
            per_mtok = 1e6 * float(prices[mine] @ requests[mine]) / max(1e-12, float(tokens[mine] @ requests[mine]))
            ratio = _ratio(prices, requests, paid)
            found.append(Candidate(sold.label, "api", e, "USD per million tokens", per_mtok, ratio))
    known = [candidate for candidate in found if np.isfinite(candidate.ratio)]
    return tuple(sorted(known, key=lambda candidate: (candidate.ratio, candidate.label))[:count])


def entry(case: Case, candidate: Candidate, gap: float, limit_s: float) -> Entry | None:
    """Halve between the lowest factor and today's price; None where a plan was not proven in its part of the time."""
    used, unused = None, 1.0
    factor = LOWEST
    for _ in range(1 + _HALVINGS):
        asked = at_price(case.problem, candidate, factor)
        solution = cheapest(asked, gap=gap, time_limit_s=limit_s / (1 + _HALVINGS))
        if solution.gap > gap:
            return None
        if _is_used(case, candidate, solution):
            used = factor
        else:
            unused = factor
        if used is None:
            break
        factor = (used + unused) / 2
    return Entry(
        name=candidate.label,
        scheme=candidate.scheme,
        unit=candidate.unit,
        usd=candidate.usd,
        enters_at=used,
        stays_out_at=unused,
    )


def _ratio(usd_per_request: Array, requests: Array, paid: Array) -> float:
    """Price of the work that it could do over what the plan pays for it; infinite where it could do none."""
    mine = np.isfinite(usd_per_request) & (requests > 0)
    now = float(paid[mine].sum())
    return float(usd_per_request[mine] @ requests[mine]) / now if now > 0 else np.inf


def _is_used(case: Case, candidate: Candidate, solution: Solution) -> bool:
    if candidate.scheme != "api":
        held = solution.total("on", len(case.offers))[candidate.place] if _by_hour(case, candidate) else 0.0
        return bool(solution.fleet.buy[candidate.place].any() or held > _LITTLE)
    asked = float((solution.blocks.weight_h @ solution.blocks.demand).sum())
    columns = enumerate(solution.hours.matrix.columns)
    mine = [i for i, (family, key) in columns if family == "api" and key[1] == candidate.place]
    return bool((solution.blocks.weight_h @ solution.hours.values[:, mine]).sum() > _LITTLE * asked)


def _by_hour(case: Case, candidate: Candidate) -> bool:
    return case.offers[candidate.place].offer.placed == "hour"


def at_price(problem: Problem, candidate: Candidate, factor: float) -> Problem:
    """The problem with that supply at `factor` times its price."""
    if candidate.scheme == "api":
        endpoints = list(problem.endpoints)
        endpoints[candidate.place] = _endpoint(endpoints[candidate.place], factor)
        return replace(problem, endpoints=tuple(endpoints))
    offers = list(problem.offers)
    offers[candidate.place] = _offer(offers[candidate.place], factor)
    return replace(problem, offers=tuple(offers))


def _offer(offer: Offer, factor: float) -> Offer:
    """All its prices; of a server what is paid at once and what a sale brings."""
    committed = offer.committed if offer.running_costs_stay else _times(offer.committed, factor)
    return replace(
        offer,
        upfront=_times(offer.upfront, factor),
        committed=committed,
        usage_usd_per_h=offer.usage_usd_per_h * factor,
        residual_usd=tuple(usd * factor for usd in offer.residual_usd),
    )


def _times(lines: tuple[Line, ...], factor: float) -> tuple[Line, ...]:
    return tuple(Line(line.name, line.usd * factor) for line in lines)


def _endpoint(endpoint: Endpoint, factor: float) -> Endpoint:
    return replace(
        endpoint, usd_per_request=tuple(None if usd is None else usd * factor for usd in endpoint.usd_per_request)
    )
