"""What would change the bill, and what would change the decision: the same problem solved again, one figure moved.

A driver multiplies one family of figures of the `Problem` (demand, API prices, ...). Each is moved to both ends of a
stated range. There the plan's own purchases are kept (hours dispatched anew) and everything is decided anew. The
decision turns where what is decided anew saves more than `WORTH` of what keeping the plan's purchases would cost; that
is then the bill, else the plan's own is: what two searches differ by less is a tie, not a reason to sign something
else, and a search that ran out of time cannot make a better world look dearer. The nearest such factor is found by
halving.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from planner.assemble import Case
from planner.attribution import carried
from planner.cheapest import cheapest, untied
from planner.dispatch import Hours, dispatch
from planner.most_units import tight
from planner.plan import Sensitivity
from planner.present import fleet_usd, hours_usd
from planner.problem import Array, Blocks, Line, Offer, Problem
from planner.solve import Solution, in_time, joined
from planner.solver import Fleet
from planner.units import in_requests, in_units, work_unit
from planner.whole import settle

WORTH = 0.01
"""Share of the bill that another decision has to save before it is called better."""
_HALVINGS = 6

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
    return tight(problem.with_blocks(Blocks(blocks.epoch, blocks.weight_h, blocks.demand * factor)))


def _swing(problem: Problem, factor: float) -> Problem:
    """Each hour's distance from its epoch's mean; totals stay. Flatter load fills the same GPUs better."""
    blocks = problem.blocks
    demand: Array = blocks.demand.copy()
    for m in range(len(problem.epochs)):
        here = blocks.epoch == m
        hours = blocks.weight_h[here]
        if hours.sum() <= 0:
            continue
        mean = hours @ blocks.demand[here] / hours.sum()
        moved = np.maximum(mean + factor * (blocks.demand[here] - mean), 0.0)
        total = hours @ moved
        demand[here] = moved * np.divide(hours.sum() * mean, total, out=np.ones_like(total), where=total > 0)
    return tight(problem.with_blocks(Blocks(blocks.epoch, blocks.weight_h, demand)))


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
    return tight(replace(problem, deployments=changed))


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
    Driver("utilisation (swing of load)", 0.5, 1.5, _swing),
    Driver("staff", 0.5, 2.0, _staff),
)


def decision(case: Case, fleet: Fleet) -> Decision:
    """GPUs that are bought or reserved by kind of supply, the most at once: terms that renew others add nothing."""
    held = case.problem.active_units(fleet.buy) - case.problem.active_units(np.zeros_like(fleet.buy))
    by_kind: dict[str, Array] = {}
    for o, info in enumerate(case.offers):
        if info.offer.placed == "epoch" and fleet.buy[o].any():
            key = f"{info.scheme} {info.gpu}"
            by_kind[key] = by_kind.get(key, np.zeros(held.shape[1])) + held[o] * info.gpus_per_unit
    return {key: float(gpus.max()) for key, gpus in by_kind.items()}


def kept(problem: Problem, fleet: Fleet, allowed_usd: float = 0.0) -> Solution:
    """What `fleet` costs in `problem`: its purchases and placements stay, every hour is dispatched anew.

    Whole on-demand units are sought until they can be `allowed_usd` too dear, also without what keeps them on longer
    than they are needed. Nothing is proven about other fleets.
    """

    def dispatched(less: Problem) -> Solution:
        return _dispatched(less, fleet, allowed_usd)

    return untied(dispatched(problem), dispatched, gap=0.0)


def _dispatched(problem: Problem, fleet: Fleet, allowed_usd: float) -> Solution:
    blocks, block_of = joined(problem)
    merged = problem.with_blocks(blocks)
    counted = in_units(merged)
    hours = Hours(counted)
    settled = settle(hours, fleet, counted.blocks, dispatch(hours, fleet, counted.blocks), allowed_usd=allowed_usd)
    made = in_time(hours, fleet, settled)
    usd = fleet_usd(problem, fleet) + hours_usd(problem, blocks, made.usd_per_h)
    return Solution(problem, fleet, blocks, block_of, in_requests(made, work_unit(merged)), usd, 0.0, "not sought")


def sensitivities(
    case: Case,
    solution: Solution,
    *,
    gap: float,
    time_limit_s: float,
    progress: Callable[[str], None] = lambda _: None,
    drivers: tuple[Driver, ...] = DRIVERS,
) -> tuple[Sensitivity, ...]:
    """Every driver's bill at both ends of its range, and where the decision turns; `time_limit_s` for each solve."""
    found = []
    for driver in drivers:
        progress(driver.name)
        found.append(_moved(_Base(case, solution, gap, time_limit_s), driver))
    return tuple(found)


@dataclass(frozen=True, eq=False)
class _Base:
    """The plan that a figure is moved in, and how exactly it is solved again."""

    case: Case
    solution: Solution
    gap: float
    time_limit_s: float

    def solved(self, problem: Problem) -> Solution:
        return cheapest(problem, gap=self.gap, time_limit_s=self.time_limit_s)

    def kept(self, problem: Problem, fleet: Fleet | None = None) -> Solution:
        return kept(problem, fleet or self.solution.fleet, self.gap / 8 * abs(self.solution.cost_usd))


def _moved(base: _Base, driver: Driver) -> Sensitivity:
    low, high = _End.of(base, driver, driver.low), _End.of(base, driver, driver.high)
    below, above = low.turn(base, driver), high.turn(base, driver)
    return Sensitivity(
        driver=driver.name,
        low=driver.low,
        high=driver.high,
        usd_low=low.best.cost_usd,
        usd_high=high.best.cost_usd,
        kept_usd_low=low.stays.cost_usd,
        kept_usd_high=high.stays.cost_usd,
        decision_low=decision(base.case, low.best.fleet),
        decision_high=decision(base.case, high.best.fleet),
        turns_below=below and below[0],
        turns_above=above and above[0],
        decision_below=below and decision(base.case, below[1].fleet),
        decision_above=above and decision(base.case, above[1].fleet),
        shares_below=below and flexible(base.case, below[1]),
        shares_above=above and flexible(base.case, above[1]),
    )


@dataclass(frozen=True, eq=False)
class _End:
    """One end of a driver's range: the plan as it is, and what is decided there (the plan, where nothing else pays)."""

    factor: float
    stays: Solution
    best: Solution

    @staticmethod
    def of(base: _Base, driver: Driver, factor: float) -> _End:
        problem = driver.change(base.case.problem, factor)
        stays, solved = base.kept(problem), base.solved(problem)
        return _End(factor, stays, solved if _pays(stays, solved) else stays)

    def turn(self, base: _Base, driver: Driver) -> tuple[float, Solution] | None:
        """The factor nearest to 1 at which another decision pays, by halving, and that decision."""
        if not _pays(self.stays, self.best):
            return None
        near, far = 1.0, self.factor
        for _ in range(_HALVINGS):
            middle = (near + far) / 2
            problem = driver.change(base.case.problem, middle)
            if _pays(base.kept(problem), base.kept(problem, self.best.fleet)):
                far = middle
            else:
                near = middle
        problem = driver.change(base.case.problem, far)
        return far, min(base.kept(problem, self.best.fleet), base.solved(problem), key=_usd)


def _usd(solution: Solution) -> float:
    return solution.cost_usd


def _pays(stays: Solution, other: Solution) -> bool:
    """Whether another decision saves more than `WORTH` of the bill."""
    return stays.cost_usd - other.cost_usd > WORTH * abs(stays.cost_usd)


def flexible(case: Case, solution: Solution) -> dict[str, float]:
    """Share of the tokens that goes to on-demand GPUs and to APIs."""
    tokens = np.array([s.input_tokens + s.output_tokens for w in case.workloads for s in w.shapes.classes])
    done = carried(replace(case, problem=solution.problem), solution)
    hours = solution.blocks.weight_h
    asked = float(hours @ solution.blocks.demand @ tokens)
    rented = [o for o, info in enumerate(case.offers) if info.scheme in ("on demand", "spot")]
    parts = {"on demand": done.by_offer[rented].sum(axis=0), "api": done.by_endpoint.sum(axis=0)}
    return {name: float(hours @ requests @ tokens) / asked if asked else 0.0 for name, requests in parts.items()}


def _lines(lines: tuple[Line, ...], factor: float) -> tuple[Line, ...]:
    return tuple(Line(line.name, line.usd * factor) for line in lines)
