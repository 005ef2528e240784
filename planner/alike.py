"""Whether a horizon of many months is one decision: where what is best for one month is best for all.

* **Demand repeats.** After less than a week every hour is as the one so many whole days earlier, 28 of them at most, so
  that every whole month brings all hours that repeat; and no hour before them asks for more than the most of these.
* **Nothing changes**: no discount, growth, price trend or loan; nothing that is there already comes or goes.
* **Nothing comes late**: what may be signed supplies at once.
* **Terms end with the horizon**: one that is shorter divides it. Another would be renewed past its end, where a plan by
  months may sign it once less; so may it in a last month that is cut.

What still differs from month to month is where the calendar cuts the weeks that repeat: a month of 31 days brings three
of 28 twice. The plan's note says that this is not planned for.
"""

from __future__ import annotations

import numpy as np

from planner.forecast import Forecast
from planner.planfile import PlanFile
from planner.prices import OfferRow, PriceBook
from planner.problem import Array, Epoch

_DAY_H, _WEEK_H, _MONTH_H = 24, 7 * 24, 28 * 24
"""The shortest month is four weeks long."""


def repeats(forecast: Forecast) -> bool:
    """Whether demand over a horizon of more than a month is that of at most four weeks, again and again."""
    counts = (forecast.requests, forecast.input_tokens, forecast.cached_input_tokens, forecast.output_tokens)
    demand: Array = np.hstack(counts)
    first, rest = demand[:_WEEK_H], demand[_WEEK_H:]
    if (first > rest[:_MONTH_H].max(axis=0)).any():
        return False
    return any((rest[period:] == rest[:-period]).all() for period in range(_DAY_H, _MONTH_H + 1, _DAY_H))


def changes(plan: PlanFile) -> bool:
    """Whether demand, prices, their worth or what is there change from month to month."""
    return (
        plan.price_trends.change
        or bool(plan.horizon.discount_rate_per_year)
        or bool(plan.growth.requests_per_year)
        or any(plan.growth.workloads.values())
        or (plan.financing.loan is not None and "buy" not in plan.policy.forbid)
        or bool(plan.commitments or any(f.until or f.arrives for f in plan.fleet))
    )


def waits(plan: PlanFile, book: PriceBook) -> bool:
    """Whether anything that may be signed arrives later than at once."""
    stated = plan.site.lead_time_months
    leads = [stated] if stated is not None else [own.lead_time_months for own in book.ownership.values()]
    leads = [] if "buy" in plan.policy.forbid else leads
    return any(leads) or any(row.lead_time_months for row in _signable(plan, book))


def terms_end(plan: PlanFile, book: PriceBook, epochs: tuple[Epoch, ...]) -> bool:
    """Whether every term that may be signed and is shorter than the horizon ends with it when it is renewed."""
    shorter = {row.term_months or 1 for row in _signable(plan, book)} & set(range(1, len(epochs)))
    return not shorter or not (epochs[-1].past_h or any(len(epochs) % months for months in shorter))


def _signable(plan: PlanFile, book: PriceBook) -> list[OfferRow]:
    """Rows that are signed for a term, under the plan's rules."""
    return [
        row
        for row in book.offers
        if row.scheme in ("reserved", "commitment")
        and row.scheme not in plan.policy.forbid
        and row.provider not in plan.policy.forbid_providers
        and row.gpu not in plan.policy.forbid_gpus
    ]
