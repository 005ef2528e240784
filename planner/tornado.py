"""The tornado: how far each figure moves the bill, the widest bar on top."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planner.amounts import usd
from planner.drawing import COLOURS, INK, drawable, money_scale, panels
from planner.picture import Picture
from planner.plan import Plan, Sensitivity
from planner.turning import by_spread, moved_by, sensitivity_table, turn_text, turns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDE, _NARROW = 9.0, 4.2


def tornado_picture(plan: Plan, *, narrow: bool = False) -> Figure:
    """Two bars per figure from the plan's bill to the bill at either end of its range; the ends are written beside."""
    rows = by_spread(plan)
    figure, axes = panels(_NARROW if narrow else _WIDE, 1.3 + 0.45 * len(rows))
    axis = axes[0, 0]
    ends = [amount for s in rows for amount in (s.usd_low, s.usd_high)] + [plan.cost_usd]
    unit, word = money_scale(ends)
    for place, s in enumerate(rows):
        bars = [("lower", s.usd_low, COLOURS["owned"]), ("higher", s.usd_high, COLOURS["on demand"])]
        if (s.usd_low - plan.cost_usd) * (s.usd_high - plan.cost_usd) > 0:  # on one side: the shorter one in front
            bars.sort(key=lambda bar: -abs(bar[1] - plan.cost_usd))
        for name, amount, colour in bars:
            axis.barh(
                place,
                (amount - plan.cost_usd) / unit,
                0.7,
                plan.cost_usd / unit,
                color=colour,
                label=f"figure {name}" if place == 0 else None,
            )
    axis.axvline(plan.cost_usd / unit, color=INK, linewidth=1.2)
    axis.set_yticks(range(len(rows)), [_ticked(s, narrow=narrow) for s in rows])
    axis.invert_yaxis()
    axis.margins(x=0.04)
    axis.locator_params(axis="x", nbins=4 if narrow else 8)
    axis.xaxis.set_major_formatter("{x:,g}")
    axis.grid(visible=False)
    axis.set_xlabel(f"bill in {word}; the line is this plan's")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _ticked(moved: Sensitivity, *, narrow: bool) -> str:
    ends = f"{moved.low - 1:+.0%} to {moved.high - 1:+.0%}".replace("-", "\N{MINUS SIGN}")
    return f"{drawable(moved.driver, 28)}{chr(10) if narrow else ', '}{ends}"


def tornado(plan: Plan) -> Picture | None:
    """The picture with its sentence and table; None where no figure was moved."""
    if not plan.sensitivities:
        return None
    widest = by_spread(plan)[0]
    ends = f"{usd(widest.usd_low)} ({moved_by(widest.low)}) to {usd(widest.usd_high)} ({moved_by(widest.high)})"
    says = f"The bill depends most on {widest.driver}: from {ends}, everything decided again. "
    turning = turns(plan)
    says += f"The decision turns soonest at: {turn_text(plan, turning[0])}" if turning else "The decision holds."
    return Picture(
        "sensitivity",
        "What would change the bill and the decision",
        f"Bars: the bill when each of {len(plan.sensitivities)} figures is lower and higher than assumed, in USD.",
        says,
        sensitivity_table(plan),
        lambda narrow: tornado_picture(plan, narrow=narrow),
    )
