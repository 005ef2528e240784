"""The price book as the plan met it: every offer and endpoint that could be chosen, with its price and source."""

from __future__ import annotations

from planner.assemble import Case
from planner.plan import SUPPLY_ORDER, Price, Supply


def price_rows(case: Case, supplies: tuple[Supply, ...]) -> tuple[Price, ...]:
    """One row per offer and endpoint of the case, in the order of schemes and names; what is there already has none."""
    used = {supply.name for supply in supplies}
    rows = [
        Price(
            name=info.label,
            scheme=info.scheme,
            provider=info.provider,
            what=info.gpu,
            used=info.label in used,
            term_months=info.term_months,
            usd_per_gpu_h=info.usd_per_gpu_h,
            input_usd_per_mtok=None,
            cached_input_usd_per_mtok=None,
            output_usd_per_mtok=None,
            units=info.offer.max_units,
            source=info.source,
        )
        for info in case.offers
        if info.scheme != "existing"
    ]
    rows += [
        Price(
            name=info.label,
            scheme="api",
            provider=info.provider,
            what=info.model,
            used=info.label in used,
            term_months=None,
            usd_per_gpu_h=None,
            input_usd_per_mtok=info.row.input_usd_per_mtok,
            cached_input_usd_per_mtok=info.row.cached_input_usd_per_mtok,
            output_usd_per_mtok=info.row.output_usd_per_mtok,
            units=None,
            source=info.source,
        )
        for info in case.endpoints
        if info.row is not None
    ]
    return tuple(sorted(rows, key=lambda row: (SUPPLY_ORDER.index(row.scheme), row.what, row.name)))
