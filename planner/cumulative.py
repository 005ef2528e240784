"""What each strategy has cost by the end of each month, and from when on this plan is the cheaper one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from planner.amounts import count, usd
from planner.drawing import COLOURS, INK, drawable, money_scale, panels
from planner.parts import Table
from planner.picture import Picture
from planner.plan import Plan
from planner.profit_and_loss import how_bought

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDE, _NARROW = 9.0, 4.2
_LINES = ((0, (1, 1)), (0, (4, 1.5)), (0, (6, 1, 1, 1)), (0, (2, 2)), (0, (8, 2)))
_COLOURS = {
    "all API": COLOURS["api"],
    "all rented on demand": COLOURS["on demand"],
    "all reserved": COLOURS["reserved"],
    "all owned": COLOURS["owned"],
    "no API": "#56B4E9",
    "silos per workload": "#882255",
    "today's fleet and APIs": COLOURS["existing"],
}
"""A strategy of one scheme has the scheme's colour."""
_OTHER = "#999933"


def cheaper_from(mine: Sequence[float], other: Sequence[float]) -> float | None:
    """Months after which `mine` stays at most as much as `other`, both paid at the start, then by each month's end.

    Straight lines between; None: it never does. Here mine is 6 dearer at the start and after a month 2 cheaper: equal
    three quarters of the way between.

    >>> cheaper_from((10, 12, 14), (4, 14, 24))
    0.75
    >>> cheaper_from((1, 2), (2, 4)), cheaper_from((2, 4), (1, 2)) is None
    (0.0, True)
    """
    more = [a - b for a, b in zip(mine, other, strict=True)]
    if more[-1] > 0:
        return None
    last = max((m for m, value in enumerate(more) if value > 0), default=-1)
    return 0.0 if last < 0 else last + more[last] / (more[last] - more[last + 1])


def cumulative(plan: Plan) -> Picture | None:
    """The picture with its sentence and table; None where nothing is known by month."""
    rows = _rows(plan)
    if not plan.paid or len(rows) < 2:
        return None
    told = [(name, cheaper_from(plan.paid, paid)) for name, paid in rows[1:]]
    crossing = sorted((months, name) for name, months in told if months)
    never = [name for name, months in told if months is None]
    says = f"What is paid by when, {how_bought(plan)}, the rest as it runs; "
    says += "what a sale at the end brings is credited then."
    if crossing:
        first = ", ".join(f"{name} after {count(months, 'month')}" for months, name in crossing)
        says += f" This plan starts dearer and becomes the cheaper one than {first}."
    elif not never:
        says += " No strategy has cost less at the end of any month."
    if never:
        says += f" It never becomes cheaper than {', '.join(never)}."
    return Picture(
        "cumulative",
        "Cumulative cost of the strategies",
        f"Lines: what this plan and {len(rows) - 1} other strategies have cost by the end of each month, in USD.",
        says,
        _table(plan, rows),
        lambda narrow: cumulative_picture(plan, narrow=narrow),
    )


def cumulative_picture(plan: Plan, *, narrow: bool = False) -> Figure:
    """One line per strategy, this plan's in bold, a dot where it becomes the cheaper one."""
    rows = _rows(plan)
    figure, axes = panels(_NARROW if narrow else _WIDE, 4.6 if narrow else 4.0)
    axis = axes[0, 0]
    unit, word = money_scale([amount for _, paid in rows for amount in paid])
    for place, (name, paid) in enumerate(rows):
        style = {"color": INK, "linewidth": 2.4} if not place else {
            "color": _COLOURS.get(name, _OTHER), "linewidth": 1.5, "linestyle": _LINES[place % len(_LINES)]
        }  # fmt: skip
        axis.plot(range(len(paid)), [amount / unit for amount in paid], label=drawable(name, 28), **style)
        months = cheaper_from(plan.paid, paid) if place else None
        if months:
            axis.plot([months], [_at(plan.paid, months) / unit], "o", color=INK, markersize=5)
    axis.set_xlim(0, len(plan.paid) - 1)
    axis.set_xticks(range(0, len(plan.paid), max(1, round((len(plan.paid) - 1) / 12))))
    axis.set_xlabel("months from the start")
    axis.set_ylabel(f"{word} paid so far")
    axis.yaxis.set_major_formatter("{x:,g}")
    figure.legend(loc="outside upper center", ncols=2 if narrow else 4)
    return figure


def _rows(plan: Plan) -> list[tuple[str, tuple[float, ...]]]:
    others = [(other.name, other.paid) for other in plan.baselines if len(other.paid) == len(plan.paid)]
    return [("this plan", plan.paid), *others]


def _table(plan: Plan, rows: list[tuple[str, tuple[float, ...]]]) -> Table:
    last = len(plan.paid) - 1
    ends = sorted({round(last * part) for part in (0.0, 0.25, 0.5, 0.75, 1.0)})
    cells = []
    for place, (name, paid) in enumerate(rows):
        months = cheaper_from(plan.paid, paid) if place else 0.0
        turn = "" if not place else "never" if months is None else "the start" if not months else count(months, "month")
        cells.append((name, *(usd(paid[end]) for end in ends), turn))
    columns = (
        "strategy",
        *(f"after {count(end, 'month')}" if end else "at the start" for end in ends),
        "this plan is cheaper from",
    )
    return Table(columns, tuple(cells))


def _at(paid: Sequence[float], months: float) -> float:
    whole = min(int(months), len(paid) - 2)
    return paid[whole] + (months - whole) * (paid[whole + 1] - paid[whole])
