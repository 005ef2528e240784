"""What would change the decision: the figures whose change turns it soonest, and what would then be decided.

Made of `Plan.sensitivities` (one figure moved, everything decided again). A turning point is a factor of what the plan
assumes, found by halving: from there on another decision saves more than 1 % of the bill. Soonest is the smallest
change, up or down, by the logarithm of the factor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from planner.amounts import UNKNOWN, against, number, share, usd
from planner.parts import Table
from planner.plan import Plan, Sensitivity

Decision = dict[str, float]
"""GPUs by "scheme GPU"."""

_VERBS = {"owned": "buy", "reserved": "reserve"}
_SAME = 0.1
_MOVED = 0.02
"""Share of all tokens by which what is left to on-demand GPUs or APIs may differ untold."""
UNTRIED = "No figure was moved: solve with --what-if to see at which values the decision would change."


@dataclass(frozen=True)
class Turn:
    """At `factor` times what the plan assumes for `driver`, this is decided instead (None: not known)."""

    driver: str
    factor: float
    decision: Decision | None
    shares: Decision | None = None
    """Share of the tokens that goes to on-demand GPUs and APIs then."""

    @property
    def distance(self) -> float:
        """How far away, the same for halving and doubling."""
        return abs(math.log(self.factor))


def decided(plan: Plan) -> Decision:
    """GPUs that the plan buys or reserves by scheme and GPU, the most at once: terms that renew others add nothing."""
    names = [month.name for month in plan.months]
    held: dict[str, list[float]] = {}
    for purchase in plan.purchases:
        if purchase.scheme not in _VERBS:
            continue
        gpus = held.setdefault(f"{purchase.scheme} {purchase.gpu}", [0.0] * max(1, len(names)))
        epoch = purchase.serves_from or purchase.epoch
        first = names.index(epoch) if epoch in names else 0
        for m in range(first, min(len(gpus), first + (purchase.term_months or len(gpus)))):
            gpus[m] += purchase.gpus
    return {key: max(gpus) for key, gpus in held.items()}


def turns(plan: Plan) -> tuple[Turn, ...]:
    """Every turning point, soonest first."""
    found = []
    for moved in plan.sensitivities:
        for factor, decision, shares in (
            (moved.turns_below, moved.decision_below, moved.shares_below),
            (moved.turns_above, moved.decision_above, moved.shares_above),
        ):
            if factor is not None and factor > 0:
                found.append(Turn(moved.driver, factor, decision, shares))
    return tuple(sorted(found, key=lambda turn: (turn.distance, turn.driver)))


def soonest(plan: Plan, most: int = 3) -> tuple[str, ...]:
    """The `most` figures that would change the decision soonest, a sentence each; why there is none otherwise."""
    if not plan.sensitivities:
        return (UNTRIED,)
    nearest: dict[str, Turn] = {}
    for turn in turns(plan):
        nearest.setdefault(turn.driver, turn)
    told = tuple(turn_text(plan, turn) for turn in list(nearest.values())[:most])
    return told or (f"No figure turns the decision within the range in which it was moved: {_ranges(plan)}.",)


def turn_text(plan: Plan, turn: Turn) -> str:
    """One turning point in words."""
    then = then_decided(plan, turn.decision, turn.shares)
    return f"{turn.driver[:1].upper()}{turn.driver[1:]} {moved_by(turn.factor)}: {then}."


def then_decided(plan: Plan, decision: Decision | None, shares: Decision | None) -> str:
    """What is decided at a turning point in words, what is left to on-demand GPUs and APIs included."""
    if decision is None:
        return "the decision is another one"
    told = instead(decided(plan), decision)
    for scheme, name in (("on demand", "on-demand GPUs"), ("api", "APIs")):
        now = sum(supply.token_share for supply in plan.supplies if supply.scheme == scheme)
        then = (shares or {}).get(scheme, now)
        if abs(then - now) > _MOVED:
            told += f", {share(then)} of the tokens to {name} in place of {share(now)}"
    return told


def moved_by(factor: float) -> str:
    """A factor as a change.

    >>> moved_by(0.97), moved_by(1.5), moved_by(1)
    ('3 % lower', '50 % higher', 'as assumed')
    """
    change = round(factor - 1, 4)
    if not change:
        return "as assumed"
    return f"{share(abs(change))} {'higher' if change > 0 else 'lower'}"


def instead(base: Decision, other: Decision) -> str:
    """What is decided instead, only what differs by more than a tenth.

    >>> instead({"reserved h100": 16}, {})
    'buy and reserve nothing'
    >>> instead({"reserved h100": 16}, {"reserved h100": 24, "owned h200": 8})
    'buy 8 h200, reserve 24 h100 in place of 16'
    >>> instead({"owned h200": 8, "reserved h100": 16}, {"owned h200": 8})
    'reserve no h100'
    >>> instead({"reserved h100": 16}, {"reserved h100": 16})
    'the same GPUs at other times or for other terms'
    """
    if not any(other.values()):
        return "buy and reserve nothing"
    told = []
    for key in sorted(base.keys() | other.keys()):
        before, after = base.get(key, 0.0), other.get(key, 0.0)
        if abs(after - before) <= _SAME * max(after, before):
            continue
        scheme, _, gpu = key.partition(" ")
        verb = _VERBS.get(scheme, scheme)
        if not after:
            told.append(f"{verb} no {gpu}")
        else:
            told.append(f"{verb} {number(after)} {gpu}" + (f" in place of {number(before)}" if before else ""))
    return ", ".join(told) or "the same GPUs at other times or for other terms"


def _ranges(plan: Plan) -> str:
    return ", ".join(f"{s.driver} {share(s.low)} to {share(s.high)}" for s in plan.sensitivities)


def by_spread(plan: Plan) -> tuple[Sensitivity, ...]:
    """The figures that move the bill most, first."""
    return tuple(sorted(plan.sensitivities, key=lambda s: (-abs(s.usd_high - s.usd_low), s.driver)))


def sensitivity_table(plan: Plan) -> Table:
    """Bill at both ends of each figure's range, and where the decision turns."""

    def end(factor: float, amount: float) -> str:
        return f"{usd(amount)} ({against(amount, plan.cost_usd)}) at {moved_by(factor)}"

    def turning(factor: float | None, decision: Decision | None, shares: Decision | None) -> str:
        if factor is None:
            return "holds"
        return moved_by(factor) + ("" if decision is None else f": {then_decided(plan, decision, shares)}")

    def keeping(s: Sensitivity) -> str:
        if s.kept_usd_low is None or s.kept_usd_high is None:
            return UNKNOWN
        return f"{usd(s.kept_usd_low)} / {usd(s.kept_usd_high)}"

    rows = tuple(
        (s.driver, end(s.low, s.usd_low), end(s.high, s.usd_high), keeping(s),
         turning(s.turns_below, s.decision_below, s.shares_below),
         turning(s.turns_above, s.decision_above, s.shares_above))
        for s in by_spread(plan)
    )  # fmt: skip
    columns = ("figure", "bill when lower", "bill when higher", "lower / higher if its purchases were kept",
               "decision turns when", "or when")  # fmt: skip
    return Table(columns, rows, words=frozenset(range(6)))
