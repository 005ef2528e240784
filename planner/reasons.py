"""What `--explain` found, in words: why each supply is there, what each rule costs, what is near to being chosen.

Made of `Plan.explained` alone, for the terminal and for every form of the review.
"""

from __future__ import annotations

from planner.amounts import big, share, usd
from planner.parts import Section, Table, first
from planner.plan import Plan
from planner.plan_explained import Entry, Explained, LongRun, Without

UNCHANGED = "as before"
_SURE = 0.1
"""Share of a difference within which its two ends are told as one figure."""


def reasons(plan: Plan) -> tuple[Section, ...]:
    """One section per kind of question that was answered; none where nothing was asked."""
    made = (_supplies(plan), _rules(plan), _margins(plan), _entries(plan), _unasked(plan))
    return tuple(section for section in made if section is not None)


def reasoned(plan: Plan, explained: Explained) -> Plan:
    """The plan with what was found; each purchase says beside its price what the plan would be without its offer."""
    found = {without.name: without for without in explained.supplies}
    purchases = tuple(
        purchase.model_copy(update={"why": f"{purchase.why}; without it the plan is {_worth(found[purchase.offer])}"})
        if purchase.offer in found
        else purchase
        for purchase in plan.purchases
    )
    return plan.model_copy(update={"explained": explained, "purchases": purchases})


def _worth(without: Without) -> str:
    gains = instead(without)
    return difference(without, "dearer") + ("" if gains == UNCHANGED else f" ({gains})")


def difference(without: Without, word: str) -> str:
    """How much dearer or cheaper, as far as the gaps proven tell."""
    if not without.clear:
        return f"at most {usd(without.most_usd)} {word}: too little to tell"
    wide = without.most_usd - without.least_usd > _SURE * without.difference_usd
    said = f"{usd(without.least_usd)} to {usd(without.most_usd)}" if wide else usd(without.difference_usd)
    missed = f", {big(without.unserved_requests)} requests unserved" if without.unserved_requests else ""
    return f"{said} {word}{missed}"


def instead(without: Without) -> str:
    """What carries more tokens in its place."""
    return "; ".join(f"{shift.name} +{share(shift.token_share)} of tokens" for shift in without.instead) or UNCHANGED


def _supplies(plan: Plan) -> Section | None:
    if plan.explained is None or not plan.explained.supplies:
        return None
    rows = tuple((w.name, difference(w, "dearer"), instead(w)) for w in plan.explained.supplies)
    says = "The plan decided again without each of its supplies: how much dearer it gets, and what takes its place."
    return Section("Why each supply is there", says, Table(("supply", "without it", "instead"), rows, words=first(3)))


def _rules(plan: Plan) -> Section | None:
    if plan.explained is None or not plan.explained.rules:
        return None
    ordered = sorted(plan.explained.rules, key=lambda rule: -rule.difference_usd)
    rows = tuple((rule.name, difference(rule, "cheaper"), instead(rule)) for rule in ordered)
    says = (
        "The plan decided again without each rule, all others kept: how much cheaper it could be, and what would gain."
    )
    return Section("What each rule costs", says, Table(("rule", "without it", "instead"), rows, words=first(3)))


def _margins(plan: Plan) -> Section | None:
    if plan.explained is None or not plan.explained.margins:
        return None
    fixed = {workload.name: workload.marginal_usd_per_mtok for workload in plan.workloads}
    rows = tuple((m.workload, usd(fixed.get(m.workload)), _long_run(m), share(m.step)) for m in plan.explained.margins)
    says = (
        "What another million tokens costs: with the fleet as it is, and with everything decided again for that much "
        "more work in every hour."
    )
    columns = ("workload", "fleet as it is", "fleet decided again", "for this much more")
    return Section("What the next tokens cost", says, Table(columns, rows))


def _long_run(margin: LongRun) -> str:
    if margin.clear:
        return usd(margin.usd_per_mtok)
    return f"{usd(margin.least_usd_per_mtok)} to {usd(margin.most_usd_per_mtok)}"


def _entries(plan: Plan) -> Section | None:
    if plan.explained is None or not plan.explained.entries:
        return None
    rows = tuple((e.name, f"{usd(e.usd)} {_unit(e)}", _enters(e)) for e in plan.explained.entries)
    says = (
        "Of what the plan does not use, the nearest by price: the price at which it was seen to be used, all else the "
        "same. Of a server the price of hardware moves, not what running it costs."
    )
    return Section(
        "What is near to being chosen", says, Table(("supply", "price", "would be used"), rows, words=first(3))
    )


def _unit(entry: Entry) -> str:
    return entry.unit.removeprefix("USD ")


def _enters(entry: Entry) -> str:
    if entry.enters_at is None:
        return f"not even {share(1 - entry.stays_out_at)} cheaper"
    return f"from {share(1 - entry.enters_at)} cheaper on, not yet {share(1 - entry.stays_out_at)} cheaper"


def _unasked(plan: Plan) -> Section | None:
    if plan.explained is None or not plan.explained.unasked:
        return None
    rows = tuple((name,) for name in plan.explained.unasked)
    says = "A longer --time-limit answers these too."
    return Section("What there was no time to answer", says, Table(("question",), rows))
