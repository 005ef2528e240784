"""The first screen in words: what to do, what it saves, what to doubt."""

from __future__ import annotations

from collections import Counter

from planner.amounts import count, month, more, share, usd
from planner.assemble import Case
from planner.attribution import hourly_usd, missed_requests, present_hours
from planner.parts import PROVEN
from planner.plan import Baseline, Deployed, Purchase, Supply
from planner.solve import Solution

MARKET = "market-survey"
"""Stands in the price book where a survey states what sellers take, without naming one."""
_ALL = 1e-3
"""By what share two counts of what nothing can serve may differ."""
_OPTIMISTIC = (
    "GPUs are counted on at the high end of what was measured (capacity = high): the SLO may well be missed with so "
    "few; plan with --capacity mid before signing."
)
_ONE_NUMBER = "the source states one number per latency, so the share of requests inside the SLO is unknown."


def headline(
    case: Case,
    purchases: tuple[Purchase, ...],
    supplies: tuple[Supply, ...],
    strategies: tuple[Baseline, ...],
    solution: Solution,
    *,
    proven: bool,
    left: tuple[str, ...],
) -> tuple[str, ...]:
    """Three sentences; what is `left` unserved comes before them."""
    bill = _money(case, strategies, solution)
    cheaper = _cheaper(solution) if proven else "its proof is withdrawn, so another plan may be far cheaper"
    return (*left, _to_sign(case, purchases), _flexible(supplies, served_all=not left), f"{bill}; {cheaper}.")


def faulty(faults: tuple[str, ...]) -> tuple[str, ...]:
    """What leads a plan in which the checker found faults; nothing where it found none."""
    if not faults:
        return ()
    return (f"Do not sign this plan: its own check found {count(len(faults), 'fault')}: {'; '.join(faults)}.",)


def warnings(
    case: Case,
    deployments: tuple[Deployed, ...],
    purchases: tuple[Purchase, ...],
    supplies: tuple[Supply, ...],
) -> tuple[str, ...]:
    """What a reader has to know before signing, most serious first; what is left unserved is told by `unserved`."""
    said = [_OPTIMISTIC] if deployments and case.plan.policy.capacity == "high" else []
    said += _doubts(deployments)
    for p in purchases:
        if p.provider == MARKET:
            said.append(f"{p.offer}: this is a surveyed market price that nobody quoted; ask sellers for it.")
    stale = tuple(dict.fromkeys(p.offer for p in purchases if p.source.stale))
    if stale:
        said.append(f"{', '.join(stale)}: the price is undated or older than a quarter; ask for a new quote.")
    used = {supply.name for supply in supplies if supply.scheme == "api"}
    for info in case.endpoints:
        if info.label in used and not info.evidenced:
            said.append(f"{info.label}: its latency is not evidenced; measure it with bench run --endpoint.")
        if info.label in used and info.source.stale:
            said.append(f"{info.label}: the price is undated or older than a quarter.")
    return tuple(dict.fromkeys((*said, *case.warnings)))


def _doubts(deployments: tuple[Deployed, ...]) -> list[str]:
    """What is doubtful about the curves, a sentence per doubt with all that it is said of."""
    found: dict[str, list[str]] = {}
    for d in deployments:
        name = f"{d.model} on {d.gpus_per_replica}x {d.gpu}"
        told = (
            (d.kind != "measured", f"the curve is {d.kind}, not measured on your GPUs; measure it with bench run."),
            (not d.percentile_known, _ONE_NUMBER),
            (not d.saturated, "the SLO was never broken in the measurement, so its capacity is a floor."),
            (d.extrapolated, "some requests are longer or shorter than any that was measured."),
        )
        for holds, doubt in told:
            if holds:
                found.setdefault(doubt, []).append(name)
    return [f"{', '.join(dict.fromkeys(names))}: {doubt}" for doubt, names in found.items()]


def unserved(case: Case, solution: Solution, impossible: float | None) -> tuple[str, ...]:
    """What is left unserved and why: nothing can serve it, as was shown, or leaving it is cheaper.

    `impossible` is how many requests are missed where leaving them costs `decide.UNSERVED_USD` each; None: unknown.
    """
    asked = float((solution.blocks.weight_h @ solution.blocks.demand).sum())
    missed = missed_requests(solution)
    of_workload = {w.name: (w, float(missed[list(w.classes)].sum())) for w in case.workloads}
    chosen = sum(n for w, n in of_workload.values() if w.spec.unserved_usd_per_request is not None)
    forced = sum(n for w, n in of_workload.values() if w.spec.unserved_usd_per_request is None)
    said = []
    if forced:
        said.append(f"{forced:,.0f} requests ({forced / asked:.2%}) {_why(forced, impossible)}.")
    if chosen:
        said.append(
            f"{chosen:,.0f} requests ({chosen / asked:.2%}) are left unserved: serving them costs more than plan.toml "
            "says they are worth."
        )
    return tuple(said)


def _why(left: float, impossible: float | None) -> str:
    if impossible is None:
        return "are left unserved: no plan that serves them was found, but one may exist"
    if impossible >= left * (1 - _ALL):
        return "cannot be served by anything in the price book"
    beyond = f"{impossible:,.0f} of them cannot be served by anything in the price book, and " if impossible else ""
    return (
        f"are left unserved: {beyond}serving {'the others' if beyond else 'them'} costs more than the default price of "
        "unserved work; state unserved_usd_per_request in plan.toml"
    )


def _to_sign(case: Case, purchases: tuple[Purchase, ...]) -> str:
    parts = []
    for key in dict.fromkeys((p.scheme, p.gpu, p.provider, p.term_months) for p in purchases):
        same = [p for p in purchases if (p.scheme, p.gpu, p.provider, p.term_months) == key]
        gpus = f"{_each(same)} {same[0].gpu}"
        if same[0].scheme == "owned":
            parts.append(f"buy {gpus}{_when(same)}")
        elif same[0].scheme == "reserved":
            seller = "at the surveyed market price" if same[0].provider == MARKET else f"of {same[0].provider}"
            parts.append(f"commit to {gpus} {seller} for {count(same[0].term_months or 0, 'month')}{_when(same)}")
        elif same[0].scheme == "commitment":
            parts.append(
                f"commit to spending {_most_usd_per_h(case, same):,.2f} USD per hour at {same[0].provider} for "
                f"{count(same[0].term_months or 0, 'month')}{_when(same)}"
            )
    if not parts and not any(info.scheme in ("owned", "reserved", "commitment") for info in case.offers):
        return "Sign nothing: there is no GPU to buy or reserve under the plan's rules."
    if not parts:
        return "Sign nothing: neither owning nor reserving GPUs pays at this demand."
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _most_usd_per_h(case: Case, same: list[Purchase]) -> float:
    """The most that commitments owe in any hour: those that renew others are not added to them."""
    epochs = case.problem.epochs
    owed = [0.0] * (len(epochs) + max((p.term_months or 0) + (p.lead_months or 0) for p in same))
    for purchase in same:
        first = [epoch.name for epoch in epochs].index(purchase.epoch) + (purchase.lead_months or 0)
        for m in range(first, first + (purchase.term_months or 0)):
            owed[m] += purchase.usd_per_h or 0.0
    return max(owed)


def _each(same: list[Purchase]) -> str:
    """GPUs that are signed for at one time; the least and the most where they differ."""
    gpus = sorted(sum(p.gpus for p in same if p.epoch == epoch) for epoch in {p.epoch for p in same})
    return f"{gpus[0]:,.0f}" if gpus[0] == gpus[-1] else f"{gpus[0]:,.0f} to {gpus[-1]:,.0f}"


def _when(same: list[Purchase]) -> str:
    epochs = sorted({p.epoch for p in same})
    if epochs == ["start"]:
        return ""
    first, last = month(epochs[0]), month(epochs[-1])
    served = sorted({p.serves_from for p in same if p.serves_from})
    later = f", to serve from {month(served[0])}" if served else ""
    return (f" in {first}" if len(epochs) == 1 else f", signed {len(epochs)} times from {first} to {last}") + later


def _flexible(supplies: tuple[Supply, ...], *, served_all: bool) -> str:
    shares = Counter[str]()
    for supply in supplies:
        if supply.scheme in ("on demand", "spot", "api"):
            shares[supply.scheme] += supply.token_share  # type: ignore[assignment]  # Counter adds floats well
    if not shares and not any(supply.requests for supply in supplies):
        return "Nothing is served."
    if not shares:
        what = "all tokens" if served_all else "all that is served"
        return f"GPUs that are held serve {what}; nothing is left to on-demand GPUs or APIs."
    told = [
        f"{'all' if part > 1 - 1e-9 else share(part) + ' of the'} tokens to "
        f"{'APIs' if scheme == 'api' else scheme.replace(' ', '-') + ' GPUs'}"
        for scheme, part in shares.items()
    ]
    return f"Leave {' and '.join(told)}."


def _money(case: Case, strategies: tuple[Baseline, ...], solution: Solution) -> str:
    months = case.span.months
    length = count(months, "month") if case.plan.horizon.hours is None else count(case.span.hours, "hour")
    text = f"The bill is {usd(solution.cost_usd)} over {length} ({usd(solution.cost_usd / months)} a month)"
    penalty = (
        float(present_hours(solution) @ hourly_usd(solution, "unserved")) if missed_requests(solution).any() else 0.0
    )
    if penalty:
        text += f", {usd(penalty)} of it the price of unserved requests"
    known = [(b.usd, b.name) for b in strategies if b.usd is not None and b.name.startswith("all ")]
    if known:
        other, name = min(known)
        text += f"; the best single strategy, {name}, costs {more(other, solution.cost_usd)}"
    return text


def _cheaper(solution: Solution) -> str:
    return "no plan is cheaper" if solution.gap < PROVEN else f"no plan can be more than {share(solution.gap)} cheaper"
