"""What a token, a request, a workload and an owner cost: the unit economics of a plan."""

from __future__ import annotations

from planner.amounts import big, share, usd
from planner.drawing import label
from planner.parts import Section, Table, first, per_mtok
from planner.plan import Plan, Served

_SPLIT = (
    "The cost of a request on a GPU is split between its input and its output as the GPU time of prefill and decode is "
    "(the KV cache that decode reads counts as output); an API's is split by its own prices."
)


def by_workload(plan: Plan) -> Section:
    """Unit costs of every workload."""
    rows = [
        (w.name, big(w.requests), big(w.input_tokens), big(w.output_tokens), usd(w.usd), usd(w.input_usd_per_mtok),
         usd(w.output_usd_per_mtok), usd(w.usd_per_mtok), usd(w.marginal_usd_per_mtok),
         usd(1000 * w.usd / w.requests if w.requests else None))
        for w in plan.workloads
    ]  # fmt: skip
    columns = ("workload", "requests", "input tokens", "output tokens", "cost", "per million in", "per million out",
               "per million of both", "one more million", "per 1,000 requests")  # fmt: skip
    says = (
        f"What each workload asks for and costs. {_SPLIT} One more million tokens is priced with the GPUs that this "
        "plan holds."
    )
    return Section("Unit economics by workload", says, Table(columns, tuple(rows)))


def by_owner(plan: Plan) -> Section | None:
    """The workloads' costs summed by owner; None where no owner is named."""
    owners = sorted({w.owner or "" for w in plan.workloads})
    if owners == [""]:
        return None
    rows = []
    for owner in owners:
        mine = [w for w in plan.workloads if (w.owner or "") == owner]
        cost, requests = sum(w.usd for w in mine), sum(w.requests for w in mine)
        tokens = sum(w.input_tokens + w.output_tokens for w in mine)
        part = share(cost / plan.cost_usd) if plan.cost_usd else ""
        rows.append(
            (owner or "no owner named", big(tokens), usd(cost), part, *_in_and_out(mine), per_mtok(cost, tokens),
             usd(1000 * cost / requests if requests else None))
        )  # fmt: skip
    columns = ("owner", "tokens", "cost", "of the bill", "per million in", "per million out", "per million of both",
               "per 1,000 requests")  # fmt: skip
    return Section("Cost by owner", "The workloads' costs summed by owner.", Table(columns, tuple(rows)))


def by_supply(plan: Plan) -> Section:
    """What every supply carries, as it is used and as it would be at full use."""
    rows = [
        (s.name, label(s.scheme), big(s.requests), share(s.request_share), big(s.input_tokens), big(s.output_tokens),
         share(s.token_share), usd(s.usd), per_mtok(s.usd, s.input_tokens + s.output_tokens),
         usd(s.full_usd_per_mtok) if s.scheme != "api" else "")
        for s in plan.supplies
    ]  # fmt: skip
    columns = ("supply", "scheme", "requests", "of all", "input tokens", "output tokens", "of all tokens", "cost",
               "per million tokens, as used", "per million tokens, at full use")  # fmt: skip
    says = (
        "Who serves what part of the work, and at what cost, busy power included. As used, idle hours are paid by the "
        "tokens that are served (usage-based); at full use, the GPUs work at the SLO's capacity in every hour that is "
        "paid (reservation-based)."
    )
    return Section("Work and cost by supply", says, Table(columns, tuple(rows), words=first(2)))


def _in_and_out(workloads: list[Served]) -> tuple[str, str]:
    """Cost of a million input and output tokens of several workloads together."""
    told = []
    for prices in (
        [(w.input_usd_per_mtok, w.input_tokens) for w in workloads],
        [(w.output_usd_per_mtok, w.output_tokens) for w in workloads],
    ):
        known = [(price, tokens) for price, tokens in prices if price is not None]
        tokens = sum(count for _, count in known)
        told.append(
            usd(sum(p * count for p, count in known) / tokens if tokens and len(known) == len(prices) else None)
        )
    return told[0], told[1]
