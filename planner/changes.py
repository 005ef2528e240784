"""What changed since the last review, and the numbers that would reopen the decision before the next one."""

from __future__ import annotations

from collections.abc import Iterator

from planner.amounts import UNKNOWN, against, big, number, share, usd
from planner.parts import Section, Table, first, placed_name
from planner.plan import LAST_PLAN, Plan, Since
from planner.turning import Turn, moved_by, then_decided, turns


def changes(plan: Plan) -> tuple[Section, ...]:
    """All sections about the last review; none without one."""
    if plan.since is None:
        return ()
    made = (_cost(plan, plan.since), _forecast(plan.since), _hindsight(plan.since), _prices(plan.since))
    return tuple(section for section in made if section is not None)


def watch(plan: Plan) -> Section | None:
    """The turning points as numbers that somebody can look at; None where no figure was moved."""
    found = turns(plan)
    if not found:
        return None
    rows = tuple(
        (turn.driver, _now(plan, turn, 1.0), moved_by(turn.factor), _now(plan, turn, turn.factor),
         then_decided(plan, turn.decision, turn.shares))
        for turn in found
    )  # fmt: skip
    says = (
        "If one of these numbers is reached before the next review, solve again: another decision would then save more "
        "than 1 % of the bill. Soonest first, each moved alone."
    )
    columns = ("number to watch", "this plan assumes", "reopen when", "that is", "then")
    return Section("Numbers to watch", says, Table(columns, rows, words=first(5)))


def _now(plan: Plan, turn: Turn, factor: float) -> str:
    """The driver's figure in units that can be looked up."""
    if turn.driver == "demand":
        tokens = sum(w.input_tokens + w.output_tokens for w in plan.workloads)
        return f"{big(factor * tokens / (plan.horizon_months or 1))} tokens a month"
    if turn.driver == "API prices":
        used = [p for p in plan.prices if p.used and p.output_usd_per_mtok is not None]
        told: Iterator[str] = (
            f"{p.name}: in {usd(factor * (p.input_usd_per_mtok or 0))}, "
            f"out {usd(factor * (p.output_usd_per_mtok or 0))}"
            for p in used
        )
    elif turn.driver in ("rental prices", "server prices"):
        schemes = ("owned",) if turn.driver == "server prices" else ("reserved", "on demand")
        used = [p for p in plan.prices if p.used and p.usd_per_gpu_h is not None and p.scheme in schemes]
        told = (f"{p.name}: {usd(factor * (p.usd_per_gpu_h or 0))} per GPU-hour" for p in used)
    elif turn.driver.startswith("utilisation"):
        told = (f"{v.model}: busiest hour {number(1 + factor * (v.levels[0][1] - 1))} times the mean"
                for v in plan.volumes if v.levels)  # fmt: skip
    elif turn.driver == "capacity per GPU":
        told = (f"{placed_name(d)}: {number(factor * s.capacity_per_s / d.gpus_per_replica)} requests per second and "
                f"GPU at {s.input_tokens:,g} / {s.output_tokens:,g} tokens"
                for d in plan.deployments for s in d.shapes[:1] if s.capacity_per_s is not None)  # fmt: skip
    elif turn.driver == "staff":
        staff = sum(line.usd for line in plan.lines if line.name.startswith("staff"))
        told = iter((f"{usd(factor * staff / (plan.horizon_months or 1))} a month",) if staff else ())
    else:
        told = iter(())
    return "; ".join(told) or ("as in the inputs" if factor == 1 else f"{number(factor)} times the inputs'")


def _cost(plan: Plan, since: Since) -> Section:
    title = "Since the last review"
    rows: list[tuple[str, ...]] = [("last review", since.name), ("made on", since.made_on)]
    old = next((other for other in plan.baselines if other.name == LAST_PLAN), None)
    if old is not None:
        bill = UNKNOWN if old.usd is None else f"{usd(old.usd)} (against this plan: {against(old.usd, plan.cost_usd)})"
        rows.append(("last plan's purchases at today's prices and demand", bill if old.usd is not None else old.note))
    if since.start is not None:
        rows.append(("actuals", f"{since.start[:10]} to {(since.end or '')[:10]}"))
        rows += [("planned cost of the period", usd(since.planned_usd)), ("paid", usd(since.actual_usd))]
    says = "No actuals were given (--actuals), so plan and fact cannot be compared."
    if since.actual_usd is not None and since.planned_usd is not None:
        rows.append(("difference", _signed(since.actual_usd - since.planned_usd)))
        says = "What was paid in the period, against what the last plan expected of it."
    if since.volume_usd is not None:
        effects = (("volume: more or less work", since.volume_usd), ("mix: dearer or cheaper work", since.mix_usd),
                   ("utilisation: commitments used more or less", since.utilisation_usd),
                   ("price: the same work cost another amount", since.price_usd))  # fmt: skip
        rows += [(f"of which {name}", _signed(value)) for name, value in effects]
        says += " The four effects add up to the difference."
    elif since.start is not None and since.actual_usd is None:
        says = "The actuals do not say what was paid: give a usd column, or a bill."
    return Section(title, says, Table(("", ""), tuple(rows), words=first(2)))


def _forecast(since: Since) -> Section | None:
    if not since.misses:
        return None
    rows = tuple(
        (m.workload, big(m.planned_requests), big(m.actual_requests), _off(m.actual_requests, m.planned_requests),
         big(m.planned_tokens), big(m.actual_tokens), _off(m.actual_tokens, m.planned_tokens))
        for m in since.misses
    )  # fmt: skip
    columns = ("workload", "requests forecast", "requests came", "off by", "tokens forecast", "tokens came", "off by")
    says = "What the last forecast expected in the period of the actuals, and what came."
    return Section("Forecast against actual", says, Table(columns, rows))


def _hindsight(since: Since) -> Section | None:
    if not since.hindsights:
        return None
    rows = tuple(
        (h.name, usd(h.paid_usd), usd(h.worth_usd), h.instead or UNKNOWN,
         f"a mistake, by {usd(h.paid_usd - h.worth_usd)}" if h.paid_usd > h.worth_usd else
         f"right, by {usd(h.worth_usd - h.paid_usd)}")
        for h in since.hindsights
    )  # fmt: skip
    says = (
        "What each commitment of the last plan cost in the period, and what its work would have cost without one: at "
        "the API or the GPUs on demand that were the cheapest on that day, with the tokens that really came."
    )
    columns = ("commitment", "cost", "its work otherwise", "by", "in hindsight")
    return Section("Commitments in hindsight", says, Table(columns, rows, words=frozenset({0, 3, 4})))


def _prices(since: Since) -> Section:
    rows = tuple(
        (m.name, m.unit, usd(m.old_usd), usd(m.new_usd), _off(m.new_usd, m.old_usd)) for m in since.moves
    ) + tuple((name, "no longer offered", "", "", "") for name in since.gone)  # fmt: skip
    rows += tuple((name, "new", "", "", "") for name in since.new)
    says = "Prices of the same offers, then and now." if rows else "No price of the price book has moved."
    columns = ("offer", "price", "last review", "now", "change")
    return Section("Price moves", says, Table(columns, rows, words=first(2)) if rows else None)


def _off(value: float, base: float) -> str:
    if base <= 0:
        return UNKNOWN if value else "as planned"
    change = round(value / base - 1, 4)
    return "as planned" if not change else f"{share(abs(change))} {'more' if change > 0 else 'less'}"


def _signed(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return f"{usd(abs(value))} {'more' if value > 0 else 'less'}" if round(value, 2) else "nothing"
