"""What is bought, rented and called, line by line, with the reason for each purchase.

Nothing is decided here: every figure is a sum over the solution.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from planner.attribution import hourly_usd, offer_charges_usd, offer_lines
from planner.instead import Ways
from planner.plan import SUPPLY_ORDER, Amount, Purchase, Supply
from planner.problem import Array
from planner.supplies import EndpointInfo, OfferInfo
from planner.told import Told
from planner.why import why
from planner.work import by_the_hour, running


def purchases(told: Told) -> list[Purchase]:
    """Every purchase by epoch, and what is switched on by the hour, in the order of schemes."""
    ways = Ways(running(told))
    found = (_reasoned(told, ways, o, m, purchase) for o, m, purchase in _found(told))
    return sorted(found, key=lambda p: (SUPPLY_ORDER.index(p.scheme), p.epoch, p.offer))


def _found(told: Told) -> Iterable[tuple[int, int | None, Purchase]]:
    """Offer, epoch (None: by the hour) and what is bought."""
    for o, info in enumerate(told.case.offers):
        if info.offer.bought:
            bought = _bought if info.offer.placed == "epoch" else _committed
            for m in np.flatnonzero(told.solution.fleet.buy[o]):
                yield o, int(m), bought(told, o, info, int(m))
        elif info.offer.placed == "hour" and told.done.gpus_held[o].any():
            yield o, None, _switched_on(told, o, info)


def _reasoned(told: Told, ways: Ways, o: int, m: int | None, purchase: Purchase) -> Purchase:
    """With what its work would cost otherwise, and all of it in words."""
    if m is not None and told.case.offers[o].offer.placed == "epoch":
        less = np.zeros_like(told.solution.fleet.buy)
        less[o, m] = told.solution.fleet.buy[o, m]
        work = ways.removed(less)
    else:
        work = by_the_hour(ways.run, o, m)
    told_of = purchase.model_copy(update={"without_usd": work.usd, "instead": ways.of(work, o, m)})
    return told_of.model_copy(update={"why": why(told_of, needed=bool(work.served))})


def _bought(told: Told, o: int, info: OfferInfo, m: int) -> Purchase:
    problem = told.case.problem
    units = float(told.solution.fleet.buy[o, m])
    lines = offer_lines(told.solution, o, m)
    gpu_h = units * info.gpus_per_unit * sum(problem.epochs[n].hours for n in problem.active_epochs(info.offer, m))
    made = _purchase(told, o, info, units=units, epoch=problem.epochs[m].name, lines=lines, gpu_h=gpu_h)
    if info.scheme != "commitment":
        return made
    return made.model_copy(update={"usd_per_h": units * info.offer.price_factor(m)})


def _committed(told: Told, o: int, info: OfferInfo, m: int) -> Purchase:
    """A commitment over several GPU types: of what all purchases of the offer pay, this one's part by its USD."""
    problem, buy = told.case.problem, told.solution.fleet.buy[o]
    epochs = [problem.active_epochs(info.offer, n) for n in range(len(buy))]
    hours = [units * sum(problem.epochs[n].hours for n in inside) for units, inside in zip(buy, epochs, strict=True)]
    part = hours[m] / sum(hours)
    made = _purchase(
        told,
        o,
        info,
        units=float(buy[m]),
        epoch=problem.epochs[m].name,
        lines=offer_lines(told.solution, o, m),
        gpu_h=part * float(told.weight_h @ told.done.gpus_held[o]),
    )
    active = problem.active_units(told.solution.fleet.buy)[o][told.solution.blocks.epoch]
    here = np.isin(told.solution.blocks.epoch, list(epochs[m]))
    most = float((told.done.gpus_held[o][here] * buy[m] / active[here]).max(initial=0.0))
    return made.model_copy(
        update={
            "gpus": most,
            "usd_per_h": float(buy[m]) * info.offer.price_factor(m),
            "utilisation": _drawn_usd(told, o) / sum(hours),
        }
    )


def _drawn_usd(told: Told, o: int) -> float:
    """What use draws from a commitment over the horizon, at today's committed prices."""
    problem, hours = told.case.problem, told.solution.hours
    drawn = 0.0
    for i, (family, key) in enumerate(hours.matrix.columns):
        if family == "rented" and key[0] == o:
            deployment = problem.deployments[key[1]]
            each = told.case.offers[o].offer.covers[deployment.pool] * deployment.gpus_per_replica
            drawn += each * float(told.weight_h @ hours.values[:, i])
    return drawn


def _switched_on(told: Told, o: int, info: OfferInfo) -> Purchase:
    usd = float(told.present_h @ hourly_usd(told.solution, "on", o))
    gpu_h = float(told.weight_h @ told.done.gpus_held[o])
    units = float(told.done.gpus_held[o].max()) / info.gpus_per_unit
    return _purchase(told, o, info, units=units, epoch="by the hour", lines=(("on demand", usd),), gpu_h=gpu_h)


def _purchase(
    told: Told,
    o: int,
    info: OfferInfo,
    *,
    units: float,
    epoch: str,
    lines: tuple[tuple[str, float], ...],
    gpu_h: float,
) -> Purchase:
    usd = sum(value for _, value in lines)
    held, busy = (float(told.weight_h @ array[o]) for array in (told.done.gpus_held, told.done.gpus_busy))
    use = busy / held if held else 0.0
    return Purchase(
        offer=info.label,
        scheme=info.scheme,
        provider=info.provider,
        gpu=info.gpu,
        units=units,
        gpus=units * info.gpus_per_unit,
        epoch=epoch,
        term_months=info.term_months,
        usd=usd,
        lines=tuple(Amount(name=name, usd=value) for name, value in lines),
        usd_per_gpu_h=usd / gpu_h if gpu_h else None,
        utilisation=use,
        source=info.source,
        lead_months=None if info.lead_months is None else info.offer.lead_epochs,
        serves_from=_serves_from(told, info, epoch),
        why="",
    )


def _serves_from(told: Told, info: OfferInfo, epoch: str) -> str | None:
    """The epoch in which it begins to supply, where that is not the one in which it is signed."""
    names = [each.name for each in told.case.problem.epochs]
    if not info.offer.lead_epochs or epoch not in names:
        return None
    return names[names.index(epoch) + info.offer.lead_epochs]


def supplies(told: Told) -> list[Supply]:
    """What every supply that is used carries and costs."""
    total = float((told.weight_h @ told.solution.blocks.demand).sum())
    tokens_of = told.tokens_per_request
    all_tokens = float(told.weight_h @ told.solution.blocks.demand @ tokens_of)
    found = []

    def add(info: OfferInfo | EndpointInfo, requests: Array, usd: float, full: float | None = None) -> None:
        tokens = float(requests @ tokens_of)
        found.append(
            Supply(
                name=info.label,
                scheme=info.scheme if isinstance(info, OfferInfo) else "api",
                requests=float(requests.sum()),
                request_share=float(requests.sum()) / total if total else 0.0,
                input_tokens=float(requests @ told.input_per_request),
                output_tokens=float(requests @ told.output_per_request),
                token_share=tokens / all_tokens if all_tokens else 0.0,
                usd=usd,
                full_usd_per_mtok=full / tokens * 1e6 if tokens and full is not None else None,
                source=info.source,
            )
        )

    for o, info in enumerate(told.case.offers):
        if told.done.gpus_held[o].any():
            requests, usd = told.weight_h @ told.done.by_offer[o], _offer_usd(told, o)
            add(info, requests, usd, _full_use_usd(told, o, usd))
    for e, endpoint in enumerate(told.case.endpoints):
        if told.done.by_endpoint[e].any():
            usd = float(told.present_h @ hourly_usd(told.solution, "api", e))
            add(endpoint, told.weight_h @ told.done.by_endpoint[e], usd)
    return sorted(found, key=lambda s: (SUPPLY_ORDER.index(s.scheme), s.name))


def _offer_usd(told: Told, o: int) -> float:
    """All that an offer costs over the horizon: purchases, fixed charges, hours on demand, busy power."""
    bought = sum(usd for m in range(len(told.case.problem.epochs)) for _, usd in offer_lines(told.solution, o, m))
    bought += float(offer_charges_usd(told.solution)[o])
    return bought + float(told.present_h @ hourly_usd(told.solution, "on", o)) + _busy_usd(told, o)


def _full_use_usd(told: Told, o: int, usd: float) -> float:
    """What the work of an offer would cost if every GPU-hour that is paid were full: only the used part of the rest."""
    held, busy = (float(told.weight_h @ array[o]) for array in (told.done.gpus_held, told.done.gpus_busy))
    power = _busy_usd(told, o)
    return power + (usd - power) * (busy / held if held else 0.0)


def _busy_usd(told: Told, o: int) -> float:
    problem, offer = told.case.problem, told.case.offers[o].offer
    price = max(problem.pools[problem.pool_index[pool]].busy_usd_per_gpu_h for pool in offer.covers)
    return float(told.present_h @ told.done.gpus_busy[o]) * price
