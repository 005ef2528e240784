"""With the fleet fixed, every hour is the same small programme with another right-hand side: solve them all.

`Hours` reads that small programme off the stated one (`solver.hour_form`), so the mathematics stands in `programme.py`
only. `dispatch` leaves out what is never scarce (`reduced.py`) and solves every block by shared bases, on-demand units
divisible: the cheapest hours of this fleet, and the prices of what is scarce in them, which bound the cost of any other
fleet (`scarcity.py`). `whole.settle` makes the on-demand units whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from planner.problem import Array, Blocks, Ints, Problem
from planner.reduced import Reduced, reduce
from planner.scarcity import Prices, Tariff
from planner.shared_bases import Bases, solve_many
from planner.solver import Fleet, HourMatrix, hour_form


@dataclass(frozen=True, eq=False)
class Dispatch:
    """Who serves what in every block.

    `values[t, c]` in the order of `matrix.columns` (requests or units per hour), `usd_per_h[t]` undiscounted,
    `marginal_usd[t, k]` the cost of one more request of class k in that block (fleet fixed, hours divisible).
    """

    matrix: HourMatrix
    values: Array
    usd_per_h: Array
    marginal_usd: Array

    @property
    def left_out(self) -> Array:
        """[t] requests per hour that nobody serves."""
        left_out: Array = self.values[:, self.matrix.family("unserved")].sum(axis=1)
        return left_out


class Hours:
    """The hour's programme for every epoch, and the bases already found for it."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.form = hour_form(problem)
        self.tariff = Tariff(problem)
        self.bases: dict[tuple[object, ...], Bases] = {}

    def matrix(self, fleet: Fleet) -> HourMatrix:
        """The matrix with `fleet` on the right-hand side."""
        return self.form.matrix(fleet)

    def bases_of(self, reduced: Reduced) -> Bases:
        """What was found before for the same rows and columns."""
        return self.bases.setdefault(reduced.key(), Bases())


@dataclass(frozen=True, eq=False)
class Priced:
    """Every block at its cheapest with a fleet, and the prices of what is scarce in it.

    Block t has cost `usd_per_h[t]` and the prices, worth and so on of row `row[t]`; a row holds in epochs with the
    price book of `row_epoch`. Of a sketch only bounds are known: `usd_per_h` is one, `x` and `reduced` are None.
    """

    matrix: HourMatrix
    reduced: Reduced | None
    epoch: Ints
    x: Array | None
    usd_per_h: Array
    row: Ints
    row_epoch: Ints
    prices: Prices
    worth: Array
    unit_usd: Array = field(repr=False)
    """[row, hour-placed offer] what a unit earns above its price of use."""
    limit_usd: Array = field(repr=False)
    """[row] what the limits that no purchase moves earn."""

    @property
    def marginal_usd(self) -> Array:
        """[t, k] the cost of one more request."""
        return self.worth[self.row]

    def full(self) -> Dispatch:
        """All columns of the stated programme, made anew: of three years they take a tenth of a gigabyte."""
        assert self.reduced is not None
        assert self.x is not None
        values = self.reduced.expand(self.epoch, self.x)
        return Dispatch(self.matrix, values, self.usd_per_h, self.marginal_usd)


def dispatch(hours: Hours, fleet: Fleet, blocks: Blocks) -> Priced:
    """The cheapest way to serve every block with `fleet`, on-demand units divisible."""
    matrix = hours.matrix(fleet)
    reduced = reduce(hours.problem, matrix, blocks)
    b = reduced.right_hand_side(right_hand_sides(matrix, blocks))
    x, usd = np.zeros((len(blocks), reduced.coefficients.shape[1])), np.zeros(len(blocks))
    row, row_epoch = np.zeros(len(blocks), dtype=np.intp), []
    prices, worth, unit, limit = [], [], [], []
    seen = 0
    for m, group in matrix.price_books:
        here = np.flatnonzero(np.isin(blocks.epoch, group))
        if not len(here):
            continue
        cost = reduced.cost_usd[m]
        optima = solve_many(reduced.coefficients, reduced.equality, cost, b[here], hours.bases_of(reduced))
        x[here], usd[here], row[here] = optima.x, optima.x @ cost, optima.basis + seen
        seen += len(optima.dual)
        row_epoch.append(np.full(len(optima.dual), m))
        prices.append(hours.tariff.from_duals(m, reduced.names, optima.dual))
        worth.append(hours.tariff.worth(m, prices[-1]))
        above = hours.tariff.above_use(m, prices[-1])
        unit.append(np.where(hours.tariff.bought, above, 0.0))
        limit.append(hours.tariff.stock_usd(above) + hours.tariff.limits_usd(prices[-1]))
    return Priced(
        matrix, reduced, blocks.epoch, x, usd, row, np.concatenate(row_epoch), Prices.join(prices),
        np.vstack(worth), np.vstack(unit), np.concatenate(limit),
    )  # fmt: skip


def right_hand_sides(matrix: HourMatrix, blocks: Blocks) -> Array:
    """The right-hand side of every row in every block."""
    b = matrix.constant[blocks.epoch].copy()
    b[:, : blocks.demand.shape[1]] += blocks.demand
    return b
