"""[financing] and [accounting] of plan.toml: how purchases are paid for, and how the books spread them.

A loan pays for all that a purchase costs at once and is repaid in equal monthly payments, the first a month after
signing. The rate is the effective one of a year, as the discount rate is: where both are equal, borrowing costs nothing
in present value; where money is worth more to the house than the bank asks, the line `financing` is a credit. The
annuity is that of textbooks and of energy systems' cost tables (PyPSA technology-data, `annuity`).

[accounting] decides nothing: it says how the profit-and-loss view tells the same money (`books.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from hardware_profiles.curve import Positive, Value

Tail = Literal["full", "prorated", "buyout"]
"""What of a term that outlasts the horizon is charged: all that it owes; only the part inside, of what is paid upfront
too; or a share of what it still owes, paid when the horizon ends."""


@dataclass(frozen=True)
class Loan:
    """What is paid upfront is borrowed; `epochs` equal payments, at the start of each epoch that follows.

    The interest r of an epoch is a share of what is owed in it.
    """

    interest_per_epoch: float
    epochs: int

    @property
    def payment(self) -> float:
        """Each payment per USD borrowed: r / (1 - (1 + r) ** -n), or 1 / n without interest.

        At 10 % an epoch, two payments of 0.57619: 1.1 is owed before the first, 0.57619 before the second.

        >>> round(Loan(0.1, 2).payment, 5), Loan(0.0, 4).payment
        (0.57619, 0.25)
        >>> round((1 * 1.1 - 0.57619) * 1.1, 5)
        0.57619
        """
        r = self.interest_per_epoch
        return r / self._repaid_share(self.epochs) if r else 1 / self.epochs

    def owed(self, payments: int) -> float:
        """Per USD borrowed, what is still owed right after k payments: payment (1 - (1 + r) ** -(n - k)) / r.

        >>> [round(Loan(0.1, 2).owed(k), 5) for k in (0, 1)], Loan(0.0, 4).owed(1)
        ([1.0, 0.52381], 0.75)
        """
        r, left = self.interest_per_epoch, max(0, self.epochs - payments)
        return self._repaid_share(left) / self._repaid_share(self.epochs) if r else left / self.epochs

    def _repaid_share(self, payments: int) -> float:
        """1 - (1 + r) ** -n, exact also where r is next to nothing."""
        return -math.expm1(-payments * math.log1p(self.interest_per_epoch))


class Financing(Value):
    """[financing]: what is bought is borrowed; without it, it is paid at once."""

    rate_per_year: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Effective: 0.08 is 8 % of what is owed, after a year without a payment."""
    years: Annotated[float, Field(gt=0, le=10)] | None = None
    """Until it is repaid, month by month."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if (self.rate_per_year is None) != (self.years is None):
            raise _rule("a loan has a rate and a length", "write rate_per_year and years, or neither")
        if self.years is not None and abs(self.years * 12 - round(self.years * 12)) > 1e-6:
            raise _rule("a loan is repaid in whole months", "write years = 2.5 for thirty months")
        return self

    @property
    def loan(self) -> Loan | None:
        """By the month; None where nothing is borrowed.

        >>> loan = Financing(rate_per_year=0.21, years=1.5).loan
        >>> loan.epochs, round((1 + loan.interest_per_epoch) ** 12, 9)
        (18, 1.21)
        """
        if self.rate_per_year is None or self.years is None:
            return None
        return Loan(math.expm1(math.log1p(self.rate_per_year) / 12), round(self.years * 12))

    def says(self, tail: Tail) -> str:
        """What the plan assumes of it, for its notes."""
        assert self.rate_per_year is not None
        assert self.years is not None
        after = "in the bill, each payment at its own discount" if tail == "full" else "settled then"
        return (
            f"What is bought is borrowed at {100 * self.rate_per_year:.4g} % a year and repaid in "
            f"{round(12 * self.years)} equal payments, the first a month after signing; what is still owed when the "
            f"horizon ends is {after}."
        )


class Accounting(Value):
    """[accounting]: the profit-and-loss view."""

    depreciation_years: Annotated[Positive, Field(le=20)] | None = None
    """In a straight line to nothing; None: `life_months` of ownership.toml."""
    tax_rate: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Share of an expense that it saves in tax; None: the view is before tax."""


def _rule(what: str, remedy: str) -> PydanticCustomError:
    return PydanticCustomError("rule", "{what}", {"what": what, "remedy": remedy})
