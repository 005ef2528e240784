"""What would change the bill, and what would change the decision: the same problem solved again, one figure moved.

A driver multiplies one family of figures of the `Problem` (demand, API prices, ...). Each is moved to both ends of a
stated range; where the decision at an end differs from the plan's, the factor at which it first does is found by
halving. Two decisions are the same when they buy or reserve the same kinds of supply and their GPUs agree within
`SAME`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from planner.assemble import Case
from planner.plan import Sensitivity
from planner.problem import Blocks, Line, Offer, Problem
from planner.solve import Solution, solve

SAME = 0.1
"""Share of the GPUs of one kind by which a decision may differ and still be called the same."""
_HALVINGS = 5

Change = Callable[[Problem, float], Problem]
Decision = dict[str, float]


@dataclass(frozen=True)
class Driver:
    """A figure that may turn out otherwise, and the range of factors that is tried."""

    name: str
    low: float
    high: float
    change: Change


def _demand(problem: Problem, factor: float) -> Problem:
    blocks = problem.blocks
    return problem.with_blocks(Blocks(blocks.epoch, blocks.weight_h, blocks.demand * factor))


def _api_prices(problem: Problem, factor: float) -> Problem:
    def scaled(prices: tuple[float | None, ...]) -> tuple[float | None, ...]:
        return tuple(None if price is None else price * factor for price in prices)

    changed = tuple(replace(e, usd_per_request=scaled(e.usd_per_request)) for e in problem.endpoints)
    return replace(problem, endpoints=changed)


def _rental_prices(problem: Problem, factor: float) -> Problem:
    def scaled(offer: Offer) -> Offer:
        if offer.running_costs_stay:
            return offer
        return replace(
            offer,
            upfront=_lines(offer.upfront, factor),
            committed=_lines(offer.committed, factor),
            usage_usd_per_h=offer.usage_usd_per_h * factor,
        )

    return replace(problem, offers=tuple(scaled(offer) for offer in problem.offers))


def _server_prices(problem: Problem, factor: float) -> Problem:
    def scaled(offer: Offer) -> Offer:
        if not offer.running_costs_stay:
            return offer
        residual = tuple(usd * factor for usd in offer.residual_usd)
        return replace(offer, upfront=_lines(offer.upfront, factor), residual_usd=residual)

    return replace(problem, offers=tuple(scaled(offer) for offer in problem.offers))


def _power_price(problem: Problem, factor: float) -> Problem:
    def scaled(offer: Offer) -> Offer:
        lines = tuple(Line(x.name, x.usd * factor) if x.name == "idle power" else x for x in offer.committed)
        return replace(offer, committed=lines)

    pools = tuple(replace(pool, busy_usd_per_gpu_h=pool.busy_usd_per_gpu_h * factor) for pool in problem.pools)
    return replace(problem, offers=tuple(scaled(offer) for offer in problem.offers), pools=pools)


def _capacity(problem: Problem, factor: float) -> Problem:
    def scaled(times: tuple[float | None, ...]) -> tuple[float | None, ...]:
        return tuple(None if time is None else time / factor for time in times)

    changed = tuple(replace(d, gpu_h_per_request=scaled(d.gpu_h_per_request)) for d in problem.deployments)
    return replace(problem, deployments=changed)


def _staff(problem: Problem, factor: float) -> Problem:
    charges = tuple(replace(charge, usd_per_h=charge.usd_per_h * factor) for charge in problem.fixed_charges)
    return replace(problem, fixed_charges=charges)


DRIVERS = (
    Driver("demand", 0.5, 2.0, _demand),
    Driver("API prices", 0.5, 2.0, _api_prices),
    Driver("rental prices", 0.7, 1.3, _rental_prices),
    Driver("server prices", 0.7, 1.3, _server_prices),
    Driver("power price", 0.5, 2.0, _power_price),
    Driver("capacity per GPU", 0.7, 1.3, _capacity),
    Driver("staff", 0.5, 2.0, _staff),
)


def decision(case: Case, solution: Solution) -> Decision:
    """GPUs that are bought or reserved, by kind of supply."""
    found: Decision = {}
    for o, info in enumerate(case.offers):
        units = float(solution.fleet.buy[o].sum())
        if info.offer.placed == "epoch" and units:
            key = f"{info.scheme} {info.gpu}"
            found[key] = found.get(key, 0.0) + units * info.gpus_per_unit
    return found


def same(one: Decision, other: Decision) -> bool:
    """Whether two decisions would be called the same."""
    keys = one.keys() | other.keys()
    return all(
        abs(one.get(key, 0.0) - other.get(key, 0.0)) <= SAME * max(one.get(key, 0.0), other.get(key, 0.0))
        for key in keys
    )


def sensitivities(
    case: Case,
    solution: Solution,
    *,
    gap: float,
    time_limit_s: float,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Sensitivity, ...]:
    """Every driver's bill at both ends of its range, and where the decision turns; `time_limit_s` for each solve."""
    base = decision(case, solution)
    found = []
    for driver in DRIVERS:
        progress(driver.name)
        found.append(_moved(case, base, driver, gap, time_limit_s))
    return tuple(found)


def _moved(case: Case, base: Decision, driver: Driver, gap: float, time_limit_s: float) -> Sensitivity:
    def at(factor: float) -> Solution:
        return solve(driver.change(case.problem, factor), gap=gap, time_limit_s=time_limit_s)

    ends = {factor: at(factor) for factor in (driver.low, driver.high)}
    flips: dict[float, tuple[float, Decision]] = {}
    for factor, solved in ends.items():
        if not same(decision(case, solved), base):
            near, flips[factor] = 1.0, (factor, decision(case, solved))
            for _ in range(_HALVINGS):
                middle = (near + flips[factor][0]) / 2
                there = decision(case, at(middle))
                if same(there, base):
                    near = middle
                else:
                    flips[factor] = middle, there
    below, above = (flips.get(factor, (None, None)) for factor in (driver.low, driver.high))
    return Sensitivity(
        driver=driver.name,
        low=driver.low,
        high=driver.high,
        usd_low=ends[driver.low].cost_usd,
        usd_high=ends[driver.high].cost_usd,
        decision_low=decision(case, ends[driver.low]),
        decision_high=decision(case, ends[driver.high]),
        turns_below=below[0],
        turns_above=above[0],
        decision_below=below[1],
        decision_above=above[1],
    )


def _lines(lines: tuple[Line, ...], factor: float) -> tuple[Line, ...]:
    return tuple(Line(line.name, line.usd * factor) for line in lines)
