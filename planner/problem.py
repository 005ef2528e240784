"""The decision as plain numbers: what may be bought, what it costs, what must be served.

A `Problem` knows nothing of CSV, GPUs or tokens, so that a textbook's problem can be stated as directly as a
company's: `assemble.py` is one way to make one, a test is another. `programme.py` turns it into mathematics, `check.py`
verifies an answer to it without a solver.

Units: money in USD, work in requests, supply in GPU-hours per hour (GPUs), time in hours. A price per hour is per unit
of the offer. Arrays are read-only.

* An **epoch** is a span in which purchases can start (a month; any length in hours). Money moves at its start and is
  discounted by `discount`.
* A **block** is an hour (or several alike) inside one epoch: `weight_h` hours with the same `demand` in requests per
  hour per class. A **class** is a workload's requests of one fixed shape, so GPU time per request belongs to the class
  and only right-hand sides vary from hour to hour (see `shapes.py`).
* A **pool** is where GPUs are interchangeable and can form replicas together (one GPU type at one owner and place).
* A **deployment** runs one model on the GPUs of one pool; `gpu_h_per_request[k]` is None where it may not serve k.
* An **offer** supplies units. `placed="epoch"` units are divided among deployments once per epoch (owned and reserved
  GPUs); `placed="hour"` units every hour (on demand, spend commitments). `covers[pool]` is how much of a unit one GPU
  takes: 1/8 for a server of eight; the USD per hour a GPU draws from a spend commitment whose unit is one USD per hour.
* An **endpoint** is an API that serves requests at a price each.
* A **limit** is a site's cap (kW, rack units) over the units that are active in an epoch; a **fixed charge** is owed in
  every epoch in which any of its offers is active.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from planner.finance import Loan, Tail

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Epoch:
    """`hours` long; one USD paid at its start is worth `discount` USD today.

    `past_h` more hours of it lie past the horizon, where that ends inside a month: terms that run in it owe them too.
    """

    name: str
    hours: float
    discount: float = 1.0
    past_h: float = 0.0


@dataclass(frozen=True)
class Pool:
    """`busy_usd_per_gpu_h` is what a GPU costs on top while it works (dynamic power); zero for rented ones."""

    name: str
    busy_usd_per_gpu_h: float = 0.0


@dataclass(frozen=True)
class Deployment:
    """One model on one pool. A replica is `gpus_per_replica` whole GPUs unless `divisible`."""

    name: str
    pool: str
    gpu_h_per_request: tuple[float | None, ...]
    gpus_per_replica: float = 1.0
    divisible: bool = False


@dataclass(frozen=True)
class Line:
    """One line of a bill: USD per unit (upfront) or USD per unit and hour (committed)."""

    name: str
    usd: float


@dataclass(frozen=True)
class Offer:
    """A way to have GPUs. `term_epochs` None keeps a purchase to the end; `bought` False is switched on by the hour.

    `price_path[m]` multiplies every price of a purchase (or of an hour on demand) in epoch m, empty for none; of an
    offer with `running_costs_stay` only what is paid at once (a server gets cheaper, the power that it draws does not).
    `existing[m]` units are there already in epoch m and owe nothing more. `residual_usd[a]` is what one unit is worth
    when the horizon ends `a` epochs after its purchase (last entry beyond), empty for nothing. What is paid upfront is
    borrowed where there is a `loan`.
    """

    name: str
    covers: Mapping[str, float]
    placed: Literal["epoch", "hour"] = "epoch"
    bought: bool = True
    term_epochs: int | None = None
    lead_epochs: int = 0
    upfront: tuple[Line, ...] = ()
    committed: tuple[Line, ...] = ()
    usage_usd_per_h: float = 0.0
    max_units: float | None = None
    whole: bool = True
    existing: tuple[float, ...] = ()
    price_path: tuple[float, ...] = ()
    running_costs_stay: bool = False
    residual_usd: tuple[float, ...] = ()
    loan: Loan | None = None
    usable: float = 1.0
    """Share of a unit's GPUs that can be counted on; `covers` holds it already."""
    minimum_h: float = 1.0
    """Hours that a unit switched on by the hour is paid for at least; a plan keeps them, the bound leaves them out."""
    start_h: float = 0.0
    """Hours from switching a unit on until it serves, paid for; rounded up to whole ones: the plan knows no shorter."""

    @property
    def upfront_usd(self) -> float:
        """USD per unit when bought."""
        return sum(line.usd for line in self.upfront)

    @property
    def committed_usd_per_h(self) -> float:
        """USD per unit and hour of the term, used or not."""
        return sum(line.usd for line in self.committed)

    def price_factor(self, epoch: int) -> float:
        """Multiplier of today's prices in that epoch."""
        return self.price_path[min(epoch, len(self.price_path) - 1)] if self.price_path else 1.0

    def existing_units(self, epoch: int) -> float:
        """Units that are there without a purchase."""
        return self.existing[epoch] if epoch < len(self.existing) else 0.0


@dataclass(frozen=True)
class Endpoint:
    """An API: USD per request of each class (None: not served), and limits per hour on requests and tokens."""

    name: str
    usd_per_request: tuple[float | None, ...]
    requests_per_h: float | None = None
    tokens_per_h: float | None = None
    tokens_per_request: tuple[float, ...] = ()
    price_path: tuple[float, ...] = ()

    def price_factor(self, epoch: int) -> float:
        """Multiplier of today's prices in that epoch."""
        return self.price_path[min(epoch, len(self.price_path) - 1)] if self.price_path else 1.0


@dataclass(frozen=True)
class Limit:
    """Sum over offers of `per_unit[offer]` times active units stays at or under `cap` in every epoch."""

    name: str
    per_unit: Mapping[str, float]
    cap: float


@dataclass(frozen=True)
class FixedCharge:
    """USD per hour owed in every epoch in which any unit of these offers is active (a team that runs owned GPUs).

    `most_units` is how many units can be active together; it keeps the programme's relaxation tight. In the epochs of
    `waived` it is owed whatever is decided (the team runs GPUs that are there already), so no plan is charged with it.
    """

    name: str
    offers: tuple[str, ...]
    usd_per_h: float
    most_units: float
    waived: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Blocks:
    """Demand: `epoch[t]` (index), `weight_h[t]` hours, `demand[t, k]` requests per hour."""

    epoch: Ints
    weight_h: Array
    demand: Array

    def __post_init__(self) -> None:
        for name, kind in (("epoch", np.intp), ("weight_h", np.float64), ("demand", np.float64)):
            array = np.array(getattr(self, name), dtype=kind)
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self.weight_h)


@dataclass(frozen=True, eq=False)
class Problem:
    """Everything the programme needs; raises ValueError naming every inconsistency."""

    epochs: tuple[Epoch, ...]
    classes: tuple[str, ...]
    blocks: Blocks
    pools: tuple[Pool, ...]
    deployments: tuple[Deployment, ...]
    offers: tuple[Offer, ...]
    endpoints: tuple[Endpoint, ...] = ()
    limits: tuple[Limit, ...] = ()
    fixed_charges: tuple[FixedCharge, ...] = ()
    unserved_usd_per_request: tuple[float, ...] = ()
    tail: Tail = "full"
    buyout_share: float = 1.0
    """Of what a term still owes when the horizon ends: what `tail="buyout"` pays to be let out of it."""
    later: tuple[Epoch, ...] = ()
    """Epochs past the horizon that terms still run in; beyond them all are like the last one that is known."""
    warm: tuple[tuple[str, ...], ...] = ()
    """Groups of deployments (of one model) that keep a replica in every hour of an epoch in which they serve; a plan
    keeps them so, the bound leaves it out."""
    end_discount: float = 1.0
    """What one USD received when the horizon ends is worth today (residual values)."""
    pool_index: Mapping[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pool_index", {pool.name: i for i, pool in enumerate(self.pools)})
        from planner.problem_faults import faults_of

        faults = list(faults_of(self))
        if faults:
            raise ValueError("; ".join(faults))

    def with_blocks(self, blocks: Blocks) -> Problem:
        """The same decision over other blocks (clusters of hours, one hour, one epoch)."""
        return replace(self, blocks=blocks)

    def active_epochs(self, offer: Offer, bought_in: int) -> range:
        """Epochs in which a purchase made in epoch `bought_in` supplies."""
        start = bought_in + offer.lead_epochs
        end = len(self.epochs) if offer.term_epochs is None else start + offer.term_epochs
        return range(start, min(end, len(self.epochs)))

    def active_units(self, buy: Array) -> Array:
        """[O, M] units active in every epoch when `buy[o, m]` are bought: those that exist and those bought before."""
        active = np.zeros((len(self.offers), len(self.epochs)))
        for o, offer in enumerate(self.offers):
            active[o] = [offer.existing_units(m) for m in range(len(self.epochs))]
            for m in np.flatnonzero(buy[o]):
                active[o, list(self.active_epochs(offer, int(m)))] += buy[o, m]
        return active

    def fixed_usd(self, charge: FixedCharge, epoch: int) -> float:
        """Present value of a fixed charge in an epoch in which it is owed."""
        owed = 0.0 if epoch in charge.waived else charge.usd_per_h
        return owed * self.epochs[epoch].hours * self.epochs[epoch].discount

    def unit_cost(self, offer: Offer, bought_in: int) -> tuple[tuple[str, float], ...]:
        """Present value in USD by line of buying one unit of `offer` in epoch `bought_in`; residual value is negative.

        The line of the tail is `owed past the horizon` (every epoch's at its own discount), `buyout at the end`
        or, negative, `upfront for later`. `financing` is what is paid back less what was borrowed.
        """
        factor = offer.price_factor(bought_in)
        paid = self.epochs[bought_in].discount
        lines = [(line.name, factor * line.usd * paid) for line in offer.upfront]
        inside = self.active_epochs(offer, bought_in)
        present_hours = sum(self.epochs[m].hours * self.epochs[m].discount for m in inside)
        running = 1.0 if offer.running_costs_stay else factor
        lines += [(line.name, running * line.usd * present_hours) for line in offer.committed]
        past = self.past(offer, bought_in)
        past_h = sum(hours for hours, _ in past)
        if self.tail == "full":
            owed_h = sum(hours * discount for hours, discount in past)
            lines.append(("owed past the horizon", running * offer.committed_usd_per_h * owed_h))
        elif self.tail == "buyout":
            usd = running * offer.committed_usd_per_h * past_h * self.end_discount
            lines.append(("buyout at the end", self.buyout_share * usd))
        elif past_h:
            unused = past_h / (past_h + sum(self.epochs[m].hours for m in inside))
            lines.append(("upfront for later", -factor * offer.upfront_usd * paid * unused))
        if offer.residual_usd and offer.term_epochs is None:
            age = min(len(self.epochs) - bought_in, len(offer.residual_usd) - 1)
            lines.append(("residual value", -factor * offer.residual_usd[age] * self.end_discount))
        if offer.loan is not None:
            repaid, after = self.repaid(offer.loan, bought_in)
            lines.append(("financing", factor * offer.upfront_usd * (sum(repaid.values()) + after - paid)))
        return tuple((name, usd) for name, usd in lines if usd)

    def repaid(self, loan: Loan, borrowed_in: int) -> tuple[Mapping[int, float], float]:
        """Present value of what is paid back per USD borrowed: by epoch, and what is left when the horizon ends.

        A debt outlives the horizon as a term does: with `tail="full"` every later payment is made at its own discount.
        Otherwise it is settled when the horizon ends, interest to that day included: nobody is let out of a debt.
        """
        inside = range(borrowed_in + 1, min(borrowed_in + 1 + loan.epochs, len(self.epochs)))
        paid = {m: loan.payment * self.epochs[m].discount for m in inside}
        left = loan.epochs - len(paid)
        if self.tail == "full":
            known = self.later or self.epochs[-1:]
            return paid, loan.payment * sum(known[min(n, len(known) - 1)].discount for n in range(left))
        return paid, (1 + loan.interest_per_epoch) * loan.owed(len(paid)) * self.end_discount

    def past(self, offer: Offer, bought_in: int) -> list[tuple[float, float]]:
        """Hours and discount of the epochs in which a term bought in `bought_in` runs past the horizon."""
        if offer.term_epochs is None:
            return []
        end = bought_in + offer.lead_epochs + offer.term_epochs
        past = [(self.epochs[m].past_h, self.epochs[m].discount) for m in self.active_epochs(offer, bought_in)]
        known = self.later or self.epochs[-1:]
        beyond = (known[min(n, len(known) - 1)] for n in range(end - len(self.epochs)))
        return [each for each in past if each[0]] + [(epoch.hours + epoch.past_h, epoch.discount) for epoch in beyond]


def merge_identical(blocks: Blocks) -> tuple[Blocks, Ints]:
    """Join blocks of one epoch with the same demand; nothing is lost, since the programme is linear in `weight_h`.

    Returns the merged blocks and, for every old block, the index of the one that stands for it.
    """
    keys = np.column_stack([blocks.epoch.astype(np.float64), blocks.demand])
    _, first, place = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    index = rank[place.ravel()]
    first = first[order]
    weight: Array = np.bincount(index, weights=blocks.weight_h, minlength=len(first)).astype(np.float64)
    return Blocks(blocks.epoch[first], weight, blocks.demand[first]), index
