"""What a review says, once, for every form it is written in: titles, sentences and tables of text.

Markdown and HTML are made from these values, so they cannot disagree. Cells hold names as they are; each form escapes
them in its own way. The sentences here are our own words, free of names from files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from planner.acting import acting, command
from planner.amounts import UNKNOWN, against, big, count, month, number, seconds, share, spans, usd
from planner.changes import changes, watch
from planner.drawing import label
from planner.economics import by_owner, by_supply, by_workload
from planner.evidence import curves_used, extra_costs, price_book
from planner.parts import CAPACITY, EVIDENCE, PROVEN, Point, Section, Table, first, placed_name, told
from planner.plan import SUPPLY_ORDER, Baseline, Deployed, Plan, Purchase, Served
from planner.profit_and_loss import by_month, how_bought, to_bill
from planner.reasons import reasons
from planner.why import next_best


def total(plan: Plan) -> str:
    """The bill in one sentence."""
    rate = plan.discount_rate_per_year
    worth = f"present value at {share(rate)} a year" if rate else "not discounted"
    monthly = usd(plan.cost_usd / plan.horizon_months) if plan.horizon_months else UNKNOWN
    return (
        f"{usd(plan.cost_usd)} over {count(plan.horizon_months, 'month')} from {plan.horizon_start[:10]}, "
        f"{monthly} a month ({worth})."
    )


def alarms(plan: Plan) -> tuple[str, ...]:
    """What has to stand before everything else: a plan that failed its check, and work that is not served."""
    found = []
    if plan.checks:
        found.append(f"The independent check found {count(len(plan.checks), 'fault')} in this plan; do not sign it.")
    if plan.unserved_requests > 0:
        asked = sum(workload.requests for workload in plan.workloads)
        part = f" ({share(plan.unserved_requests / asked)} of all)" if asked else ""
        found.append(f"This plan leaves {big(plan.unserved_requests)} requests unserved{part}.")
    return tuple(found)


def strategies(plan: Plan) -> Table:
    """The bill of this plan against the other strategies."""
    rows = [("this plan", *_bill(plan, plan.cost_usd), "", _proven(plan.gap), "")]
    for other in plan.baselines:
        if other.usd is None:
            rows.append((other.name, none_of(other), "", "", "", other.note))
        else:
            change = against(other.usd, plan.cost_usd)
            rows.append((other.name, *_bill(plan, other.usd), change, _proven(other.gap), other.note))
    columns = ("strategy", "bill", "per month", "against this plan", "could be less by at most", "note")
    keep = [i for i in range(len(columns)) if i < 5 or any(row[5] for row in rows)]
    kept = tuple(tuple(row[i] for i in keep) for row in rows)
    return Table(tuple(columns[i] for i in keep), kept, words=frozenset({0, 5}))


def none_of(other: Baseline) -> str:
    """Why there is no bill, in a word or two."""
    return "forbidden" if other.forbidden else "not found in time" if other.unfinished else "not possible"


def certainty(plan: Plan) -> Table:
    """How sure the plan is: proof, check, evidence, prices."""
    dated = {s.name: s.source for s in plan.supplies if s.source} | {p.offer: p.source for p in plan.purchases}
    stale = sorted(name for name, source in dated.items() if source.stale)
    rows = [
        ("proof", _proof(plan)),
        ("check", "; ".join(plan.checks) or "an independent check of every rule and every amount found nothing wrong"),
        ("worst evidence", EVIDENCE[plan.evidence]),
        ("curves", _curves(plan.deployments)),
        ("capacity counted on", CAPACITY[plan.capacity]),
        ("prices used", f"{len(dated)}, stale: {', '.join(stale) or 'none'}"),
    ]
    return Table(("", ""), tuple(rows), words=first(2))


def _proof(plan: Plan) -> str:
    if plan.gap is None or plan.bound_usd is None:
        return plan.proof
    cheaper = f"no plan can be more than {share(plan.gap)} cheaper" if plan.gap >= PROVEN else "no plan is cheaper"
    return f"{cheaper}: any plan costs at least {usd(plan.bound_usd)} ({plan.proof})"


def sections(plan: Plan) -> tuple[Section, ...]:
    """Everything after the first screen and the pictures, in order."""
    made: tuple[Callable[[Plan], Section | None], ...] = (
        by_supply, _lines, extra_costs, by_workload, by_owner, _promises, _months, by_month, to_bill, price_book,
        curves_used, _deployments, _notes, _inputs,
    )  # fmt: skip
    begun = (_purchases(plan), *reasons(plan), *changes(plan), *acting(plan), watch(plan))
    parts = (*begun, *(make(plan) for make in made))
    return tuple(section for section in parts if section is not None)


def _purchases(plan: Plan) -> Section:
    title = "What to buy, rent and commit to"
    if not plan.purchases:
        return Section(title, "Nothing: no GPU is bought, committed to or switched on.")
    rows = [
        (p.offer, label(p.scheme), p.provider, p.gpu, _from(p), _term(p), number(p.units), number(p.gpus),
         usd(p.usd), usd(p.usd_per_gpu_h), share(p.utilisation), next_best(p))
        for p in plan.purchases
    ]  # fmt: skip
    columns = ("offer", "scheme", "provider", "GPU", "from", "term", "units", "GPUs", "cost", "per GPU-hour", "used",
               "the same work otherwise")  # fmt: skip
    points = tuple(_bought([p for p in plan.purchases if p.offer == offer])
                   for offer in dict.fromkeys(p.offer for p in plan.purchases))  # fmt: skip
    says = (
        "What to buy, commit to and switch on. Units and GPUs by the hour are the most at once; cost is that of the "
        "horizon without busy power, and per GPU-hour that cost over its hours (both discounted as the bill is); used "
        "is the share of GPU-hours that work fills at the SLO's capacity. The same work otherwise: what only this "
        "purchase carries, in the cheapest other way that could take all of it, at the prices of the same months."
    )
    return Section(title, says, Table(columns, tuple(rows), words=first(6) | {11}), points)


def _from(purchase: Purchase) -> str:
    """When it is signed and, if that is later, when it serves."""
    return month(purchase.epoch) + (f", serves {month(purchase.serves_from)}" if purchase.serves_from else "")


def _lines(plan: Plan) -> Section:
    rows = [
        (line.name, usd(line.usd), share(round(line.usd / plan.cost_usd, 8)) if plan.cost_usd else "")
        for line in plan.lines
        if told(line.usd)
    ]
    rows.append(("all", usd(plan.cost_usd), share(1.0)))
    return Section("Cost by line", "The lines add up to the bill.", Table(("line", "cost", "of the bill"), tuple(rows)))


def _promises(plan: Plan) -> Section:
    rows = [
        (
            w.name,
            w.owner or "",
            w.model,
            seconds(w.ttft_s),
            seconds(w.tpot_s),
            seconds(w.e2e_s),
            share(w.attainment),
            _unserved(w),
        )
        for w in plan.workloads
    ]
    columns = ("workload", "owner", "model", "first token within", "each next token within", "all within",
               "of requests", "not served")  # fmt: skip
    says = "The latency that is promised, and the share of requests that must meet every limit at once."
    return Section("What is promised", says, Table(columns, tuple(rows), words=first(3)))


def _deployments(plan: Plan) -> Section | None:
    if not plan.deployments:
        return None
    rows = [
        (placed_name(d), d.kind, "yes" if d.saturated else "no: a floor", "yes" if d.percentile_known else "no",
         "yes" if d.extrapolated else "no", spans(d.replicas.items()), share(d.gpu_time_error),
         number(d.rented_replicas_most))
        for d in plan.deployments
    ]  # fmt: skip
    columns = ("deployment", "evidence", "measured to its limit", "share inside the SLO known", "extrapolated",
               "replicas placed", "GPU-time error", "rented replicas at most")  # fmt: skip
    says = (
        "Each model on each GPU: the curve its capacity rests on, and the replicas that run. GPU-time error is the "
        "largest leave-one-shape-out error of the law between measured shapes."
    )
    points = tuple(Point(placed_name(d), _conditions(d), command(d)) for d in plan.deployments)
    return Section("Deployments and their evidence", says, Table(columns, tuple(rows), words=first(6)), points)


def _months(plan: Plan) -> Section:
    schemes = [scheme for scheme in SUPPLY_ORDER if any(scheme in month.gpus for month in plan.months)]
    rows = [
        (month(m.name), number(m.hours), big(m.requests), *(number(m.gpus.get(s, 0.0)) for s in schemes),
         *((usd(m.usd),) if m.paid is None else (usd(sum(line.usd for line in m.paid)), usd(m.usd))))
        for m in plan.months
    ]  # fmt: skip
    signed_only = any(m.paid is None for m in plan.months)
    costs = ("cost",) if signed_only else ("paid in it", "cost of what is signed in it")
    columns = ("month" if len(plan.months) > 1 else "from", "hours", "requests",
               *(f"GPUs {label(scheme)}" for scheme in schemes), *costs)  # fmt: skip
    says = (
        f"GPUs are the most held at once. Paid in it: commitments as they run, {how_bought(plan)}, what a sale "
        "brings at the end. Signed in it: all that the month's signatures cost over the horizon, and its own running "
        "costs."
    )
    if signed_only:
        says = (
            "GPUs are the most held at once. A purchase counts when it is signed, with all its cost over the horizon."
        )
    if len(plan.months) == 1:
        columns, rows = (*columns[: -len(costs)], "cost"), [(*row[: -len(costs)], row[-1]) for row in rows]
        return Section("The whole horizon", "GPUs are the most held at once.", Table(columns, tuple(rows)))
    return Section("Month by month", says, Table(columns, tuple(rows)))


def _notes(plan: Plan) -> Section:
    points = tuple(Point("", note) for note in plan.notes)
    says = "What was assumed where the inputs are silent." if points else "Nothing was assumed beyond the inputs."
    return Section("Assumptions", says, points=points)


def _inputs(plan: Plan) -> Section:
    rows = tuple(sorted(plan.inputs.items()))
    says = (
        f"Made on {plan.made_on} by Spillway {plan.spillway_version}. The same inputs give the same plan; these are "
        "their SHA-256 digests."
    )
    return Section("Inputs", says, Table(("input", "SHA-256"), rows, words=first(2)))


def _bill(plan: Plan, amount: float) -> tuple[str, str]:
    return usd(amount), usd(amount / plan.horizon_months) if plan.horizon_months else UNKNOWN


def _proven(gap: float | None) -> str:
    return "" if gap is None else share(gap)


def _curves(deployments: Iterable[Deployed]) -> str:
    used = tuple(deployments)
    flaws = (
        ("not measured to the limit (a floor)", [d for d in used if not d.saturated]),
        ("without the share of requests inside the SLO", [d for d in used if not d.percentile_known]),
        ("used beyond the measured shapes", [d for d in used if d.extrapolated]),
        ("not measured by bench", [d for d in used if d.kind != "measured"]),
    )
    doubts = [f"{len(found)} {what}" for what, found in flaws if found]
    return f"{len(used) or 'none'} used" + (f", of these {', '.join(doubts)}" if doubts else "")


def _term(purchase: Purchase) -> str:
    if purchase.term_months is not None:
        return count(purchase.term_months, "month")
    return "by the hour" if purchase.scheme in ("on demand", "spot") else "kept"


def _bought(same: list[Purchase]) -> Point:
    """All purchases of one offer: how many and when, why each, at what cost and price."""
    at = {"start": "from the start", "by the hour": "at most, by the hour"}
    when = ", ".join(f"{number(p.units)} {at.get(p.epoch) or 'in ' + month(p.epoch)}" for p in same)
    whys = [p.why if len(same) == 1 else f"In {month(p.epoch)}: {p.why}" for p in same]
    return Point(f"{same[0].offer}: {when}", f"{'. '.join(whys)}. Cost: {_cost(same)}. {_source(same[0])}")


def _cost(purchases: list[Purchase]) -> str:
    usd_of: dict[str, float] = {}
    for line in (line for purchase in purchases for line in purchase.lines):
        usd_of[line.name] = usd_of.get(line.name, 0.0) + line.usd
    return ", ".join(f"{name} {usd(amount)}" for name, amount in usd_of.items() if told(amount)) or "none"


def _source(purchase: Purchase) -> str:
    source = purchase.source
    dated = [f"as of {source.as_of}" if source.as_of else "undated"]
    dated += ["stale"] if source.stale else []
    dated += [f"confidence {source.confidence}"] if source.confidence else []
    return f"Price: {source.text} ({', '.join(dated)})."


def _unserved(workload: Served) -> str:
    if workload.unserved_requests <= 0:
        return "none"
    part = f" ({share(workload.unserved_requests / workload.requests)})" if workload.requests else ""
    return f"{big(workload.unserved_requests)}{part}"


def _conditions(deployed: Deployed) -> str:
    engine = f"{deployed.engine} {deployed.engine_version or '(version unknown)'}"
    weights = f"{deployed.model} ({deployed.precision or 'precision unknown'})"
    place = f"{deployed.gpus_per_replica} x {deployed.gpu} per replica"
    source = deployed.source or ("raw records of bench" if deployed.kind == "measured" else UNKNOWN)
    notes = [f"{note[:1].upper()}{note[1:]}" for note in deployed.notes if note]
    parts = [f"{weights} on {place}, served by {engine}", f"Source: {source}", *notes]
    return " ".join(f"{text.rstrip('.')}." for text in parts)
