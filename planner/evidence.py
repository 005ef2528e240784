"""What the plan rests on, row by row: the price book, the curves, and the costs that a price tag does not show."""

from __future__ import annotations

from planner.amounts import UNKNOWN, count, number, share, usd
from planner.drawing import label
from planner.parts import Section, Table, first, placed_name, told
from planner.plan import Deployed, Hidden, Plan, Price

_EXTRA = (
    ("staff", ("staff", "staff per GPU"), "people who run owned GPUs"),
    ("repairs and support", ("repairs", "support"), "GPUs that fail, maintenance contracts"),
    ("network", ("network",), "switches, cabling, insurance on the way"),
    ("spares", ("spares",), "servers on the shelf, for those that fail"),
    ("financing", ("financing",), "interest on what is borrowed, less what money at hand is worth"),
    ("rack", ("rack", "colocation"), "floor space, cooling and feed for owned servers"),
    ("power", ("idle power", "busy power"), "of owned GPUs, times the building's overhead"),
    (
        "owed past the horizon",
        ("owed past the horizon", "buyout at the end", "upfront for later"),
        "terms that outlast the plan",
    ),
    ("residual value", ("residual value",), "credit for what a sale at the end brings"),
)
"""Costs beside price per GPU-hour or token: what they are called, the lines they are made of, what they are for."""
_NOT_PRICED = (
    ("orchestration", "schedulers, gateways, monitoring"),
    ("compliance", "audits, contracts, data protection"),
    ("migration", "moving to another model or provider, tests included"),
    ("egress", "data that leaves a provider's network"),
)


def extra_costs(plan: Plan) -> Section:
    """Hidden costs, each a line of its own, those that this bill does not hold included."""
    amounts = {line.name: line.usd for line in plan.lines if told(line.usd)}
    rows = []
    for name, lines, what in _EXTRA:
        found = [amounts[line] for line in lines if line in amounts]
        part = share(sum(found) / plan.cost_usd) if found and plan.cost_usd > 0 and sum(found) >= 0 else ""
        rows.append((name, what, usd(sum(found)) if found else "none in this plan", part))
    idle = sum(p.usd * (1 - p.utilisation) for p in plan.purchases if p.utilisation is not None)
    part = share(idle / plan.cost_usd) if plan.cost_usd else ""
    rows.append(
        ("capacity that stands idle", "redundancy and peaks; inside the lines above and below", usd(idle), part)
    )
    stated = {hidden.name: hidden for hidden in plan.hidden}
    rows += [_hidden_row(plan, name, what, stated.get(name)) for name, what in _NOT_PRICED]
    beside = sum(hidden.usd or 0.0 for hidden in plan.hidden if not hidden.inside)
    says = "Costs that no price per GPU-hour or token shows."
    if len(stated) < len(_NOT_PRICED):
        says += " What is not in this bill has no figure in the inputs: [hidden_costs] in plan.toml takes one."
    if beside:
        says += f" With what stands beside the bill, {usd(plan.cost_usd + beside)} are to be paid."
    return Section("Costs beside the price tag", says, Table(("cost", "what for", "amount", "of the bill"), tuple(rows),
                                                             words=first(2)))  # fmt: skip


def _hidden_row(plan: Plan, name: str, what: str, hidden: Hidden | None) -> tuple[str, str, str, str]:
    if hidden is None:
        return name, what, "not in this bill", ""
    part = share(hidden.usd / plan.cost_usd) if hidden.inside and hidden.usd is not None and plan.cost_usd > 0 else ""
    return name, f"{what}; {hidden.note}", usd(hidden.usd), part


def price_book(plan: Plan) -> Section | None:
    """Every price that the plan could choose, with its source; None for plans that kept no price book."""
    if not plan.prices:
        return None
    rows = tuple(
        (p.name, label(p.scheme), "yes" if p.used else "", _term(p), _price(p),
         number(p.units) if p.units else "not stated", p.source.text, _as_of(p), p.source.confidence or UNKNOWN)
        for p in sorted(plan.prices, key=lambda p: not p.used)
    )  # fmt: skip
    stale = sum(p.source.stale for p in plan.prices)
    says = (
        f"The {count(len(rows), 'offer')} that the plan could choose from, those it uses first; stale (undated, or "
        f"older than a quarter): {stale}. An owned GPU's price per hour spreads the purchase, spares and interest over "
        "its life and holds rack, idle power and repairs, not the team. Offers that another one beats in every respect "
        "are left out."
    )
    columns = ("offer", "scheme", "used", "term", "price", "stock", "source", "as of", "confidence")
    return Section("Price book", says, Table(columns, rows, words=frozenset({0, 1, 2, 3, 4, 6, 7, 8})))


def curves_used(plan: Plan) -> Section | None:
    """Each curve that serves, with its date and engine."""
    if not plan.deployments:
        return None
    rows = tuple(
        (placed_name(d), d.kind, d.dated or "undated", f"{d.engine} {d.engine_version or '(version unknown)'}",
         d.precision or UNKNOWN, _weights(d), str(len(d.shapes)) if d.shapes else UNKNOWN,
         " ".join(d.server_args) or "not stated", d.source or UNKNOWN)
        for d in plan.deployments
    )  # fmt: skip
    columns = ("curve", "kind", "date", "engine", "precision", "weights", "shapes", "server arguments", "source")
    says = "Where each capacity was measured, when, on what engine and with what arguments."
    return Section("Curves used", says, Table(columns, rows, words=frozenset({0, 1, 2, 3, 4, 5, 7, 8})))


def _weights(deployed: Deployed) -> str:
    return deployed.weights or UNKNOWN


def _term(price: Price) -> str:
    if price.term_months is not None:
        return count(price.term_months, "month")
    return {"on demand": "by the hour", "spot": "by the hour", "api": "by the token"}.get(price.scheme, "kept")


def _price(price: Price) -> str:
    if price.usd_per_gpu_h is not None:
        return f"{usd(price.usd_per_gpu_h)} per GPU-hour"
    told = [f"in {usd(price.input_usd_per_mtok)}", f"out {usd(price.output_usd_per_mtok)}"]
    if price.cached_input_usd_per_mtok is not None:
        told.insert(1, f"cached in {usd(price.cached_input_usd_per_mtok)}")
    return f"{', '.join(told)} per million tokens"


def _as_of(price: Price) -> str:
    return (price.source.as_of or "undated") + (" (stale)" if price.source.stale else "")
