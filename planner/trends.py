"""[price_trends] of plan.toml: how prices change over the horizon, in all or supply by supply.

What is signed keeps the price of the month in which it is signed. Rates are shares per year that compound by the month;
a dated path states multiples of the price book's prices from given days on. A month has the price of its first day.
Prices of the price book itself are today's: a path begins at 1.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from hardware_profiles.curve import Positive, Value

Name = Annotated[str, Field(min_length=1)]
Rate = Annotated[float, Field(gt=-1, le=10)]
Supply = Literal["buy", "reserved", "commitment", "on-demand", "spot", "api"]
"""Ways to serve, as plan.toml calls them."""
KINDS: dict[str, Supply] = {
    "reserved": "reserved", "on_demand": "on-demand", "spot": "spot", "commitment": "commitment",
}  # fmt: skip
"""Schemes of the price book's rows of rented GPUs as plan.toml calls them."""


class SupplyTrend(Value):
    """[[price_trends.supplies]]: how the prices of all supplies change that it names; each None: any."""

    provider: Name | None = None
    """As the price book has it; `yours` for servers that are bought."""
    gpu: Name | None = None
    model: Name | None = None
    """Whose API it is."""
    kind: Supply | None = None
    per_year: Rate | None = None
    path: dict[date, Positive] = Field(default_factory=dict)
    """From each day on, this multiple of today's price."""

    @model_validator(mode="after")
    def _says_one_thing_of_something(self) -> Self:
        what = remedy = None
        if (self.provider, self.gpu, self.model, self.kind) == (None, None, None, None):
            what, remedy = "the price of nothing is said to change", "write provider, gpu, model or kind beside it"
        elif (self.per_year is None) == (not self.path):
            what, remedy = "a price follows a rate or a dated path", "write per_year or path, one of the two"
        elif self.gpu is not None and "api" in (self.kind, self.model and "api"):
            what, remedy = "an API has a model and no GPU", "write model or gpu, and kind = 'api' only beside model"
        elif self.model is not None and self.kind not in (None, "api"):
            what, remedy = "only an API has the price of a model", "leave model out, or write kind = 'api'"
        if what is not None:
            raise PydanticCustomError("rule", "{what}", {"what": what, "remedy": remedy})
        return self

    def names(self, kind: Supply, provider: str, *, gpu: str | None = None, model: str | None = None) -> bool:
        """Whether a supply is meant."""
        wanted = ((self.kind, kind), (self.provider, provider), (self.gpu, gpu), (self.model, model))
        return all(mine in (None, theirs) for mine, theirs in wanted)

    def factor(self, month: int, first: date) -> float:
        """The price of a month of the horizon (0: its first), which begins on `first`, as a multiple of today's.

        >>> SupplyTrend(kind="api", per_year=-0.36).factor(6, date(2027, 7, 1))
        0.8
        >>> path = {date(2028, 1, 1): 0.5, date(2027, 7, 1): 0.9}
        >>> [SupplyTrend(gpu="h100", path=path).factor(0, date(2027, month, 1)) for month in (6, 7, 12)]
        [1.0, 0.9, 0.9]
        """
        if self.per_year is not None:
            return float((1 + self.per_year) ** (month / 12))
        return max(((day, factor) for day, factor in self.path.items() if day <= first), default=(first, 1.0))[1]

    @property
    def told(self) -> str:
        """In words, for the plan's notes.

        >>> SupplyTrend(gpu="h100", kind="on-demand", per_year=-0.4).told
        'h100 on-demand -40 % a year'
        >>> SupplyTrend(provider="x", path={date(2028, 1, 1): 0.5, date(2027, 7, 1): 0.9}).told
        'x 0.9 times from 2027-07-01, 0.5 times from 2028-01-01'
        """
        names = " ".join(name for name in (self.provider, self.gpu, self.model, self.kind) if name)
        if self.per_year is not None:
            return f"{names} {100 * self.per_year:+g} % a year"
        return f"{names} " + ", ".join(f"{factor:g} times from {day}" for day, factor in sorted(self.path.items()))


class PriceTrends(Value):
    """[price_trends]: what changes where no supply's own trend says otherwise."""

    api_per_year: Rate = 0.0
    rental_per_year: Rate = 0.0
    purchase_per_year: Rate = 0.0
    """Of servers to be bought; what running them costs stays."""
    supplies: tuple[SupplyTrend, ...] = ()

    @property
    def change(self) -> bool:
        """Whether any price does."""
        return any((self.api_per_year, self.rental_per_year, self.purchase_per_year, self.supplies))

    @property
    def told(self) -> tuple[str, ...]:
        """What changes, in words."""
        sorts = {"APIs": self.api_per_year, "rentals": self.rental_per_year, "servers": self.purchase_per_year}
        general = [f"{name} {100 * rate:+g} % a year" for name, rate in sorts.items() if rate]
        return (*(trend.told for trend in self.supplies), *general)

    def of(self, kind: Supply, provider: str, *, gpu: str | None = None, model: str | None = None) -> SupplyTrend:
        """The first of `supplies` that names it, else the rate of its sort."""
        usual = {"api": self.api_per_year, "buy": self.purchase_per_year}.get(kind, self.rental_per_year)
        named = (trend for trend in self.supplies if trend.names(kind, provider, gpu=gpu, model=model))
        return next(named, SupplyTrend(kind=kind, per_year=usual))
