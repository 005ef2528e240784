"""What owning a GPU costs, line by line, from `ownership.toml`: each figure with its evidence, ranges kept.

Lines are per GPU, so that servers of any size can be made of them: price, its share of chassis and network, support and
repairs, power at the wall and floor space. A figure given as a range is its middle; the range stays in the evidence.
What could not be found is None and costs nothing here, which whoever uses it must say.

Power is at the server's plug: `busy_w` and `idle_w` are what one GPU and its share of the server draw, `provisioned_w`
what must be reserved for it. The building takes `pue` times as much. Colocation is priced per kW reserved, power apart.

`[defaults]` holds what all GPUs have in common; `[gpus.<name>]` adds the rest. A user's file is laid over the shipped
one figure by figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, model_validator

from hardware_profiles.curve import NonNegative, Positive, Value
from hardware_profiles.faults import Faults
from hardware_profiles.provenance import UNDATED, Evidence, line_of, parse_day, read_toml, split_evidence, validated
from planner.price_rows import OfferRow

HOURS_PER_YEAR = 8760.0
HOURS_PER_MONTH = HOURS_PER_YEAR / 12

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Ownership(Value):
    """Per GPU, with its share of the server."""

    gpu: str
    gpus_per_server: Count
    gpu_usd: Positive
    chassis_usd: NonNegative
    """Chassis, processors, memory, network cards, power supplies."""
    network_usd: NonNegative
    """Switches, cabling, insurance on the way."""
    life_months: Count
    residual: tuple[tuple[NonNegative, Share], ...]
    """(months since purchase, share of the capital that a sale would bring), straight lines between."""
    provisioned_w: Positive
    busy_w: Positive
    rack_units: Positive | None = None
    """Height in the rack (1 U = 44.45 mm); None: unknown, and `max_rack_units` then asks for it."""
    idle_w: NonNegative | None = None
    """None: unknown; busy power is then to be assumed at all hours."""
    support_usd_per_month: NonNegative | None = None
    lead_time_months: Annotated[float, Field(ge=0, le=60)] | None = None
    """From signing to the first hour of service; None: not stated, and then it serves from the month of signing."""
    failures_per_year: Share | None = None
    """Share of GPUs that fail for good in a year and are replaced at `gpu_usd`."""
    evidence: dict[str, Evidence] = Field(default_factory=dict)
    file: str = ""
    line: int | None = None

    @model_validator(mode="after")
    def _residual_falls(self) -> Self:
        months, shares = [month for month, _ in self.residual], [share for _, share in self.residual]
        if not months or months[0] != 0 or sorted(set(months)) != months or sorted(shares, reverse=True) != shares:
            raise ValueError("residual is not a list of [month, share] that begins at month 0 and falls")
        return self

    @property
    def capital_usd(self) -> float:
        """What is paid for one GPU's worth of servers and network."""
        return self.gpu_usd + self.chassis_usd + self.network_usd

    def spares_usd(self, site: Site) -> float:
        """What the spares of one GPU cost: they lie on a shelf, so they take no network, power or rack."""
        return (site.spares_share or 0.0) * (self.gpu_usd + self.chassis_usd)

    @property
    def as_of(self) -> date | None:
        """When the hardware's prices were stated (the oldest); None where one is undated."""
        return oldest(self.evidence, ("gpu_usd", "chassis_usd", "network_usd"))

    @property
    def source(self) -> str:
        """Where the GPU's price comes from."""
        return self.evidence["gpu_usd"].source if "gpu_usd" in self.evidence else "not stated"

    @property
    def confidence(self) -> str | None:
        """How far the GPU's price is to be trusted."""
        return self.evidence["gpu_usd"].confidence if "gpu_usd" in self.evidence else None

    def residual_share(self, months: float) -> float:
        """Share of the capital that a sale after `months` brings; beyond the last point, that point's share.

        >>> residual = ((0, 0.8), (40, 0.2), (60, 0.0))
        >>> own = Ownership(gpu="x", gpus_per_server=8, gpu_usd=1, chassis_usd=0, network_usd=0, life_months=60,
        ...                 residual=residual, provisioned_w=1, busy_w=1)
        >>> [round(own.residual_share(months), 3) for months in (0, 20, 40, 50, 99)]
        [0.8, 0.5, 0.2, 0.1, 0.0]
        """
        before = self.residual[0]
        for after in self.residual[1:]:
            if months <= after[0]:
                part = (months - before[0]) / (after[0] - before[0])
                return before[1] + part * (after[1] - before[1])
            before = after
        return before[1]


class Site(Value):
    """Where owned GPUs stand."""

    power_usd_per_kwh: NonNegative
    pue: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    colocation_usd_per_kw_month: NonNegative | None = None
    staff_usd_per_month: NonNegative | None = None
    """For owning any GPU at all."""
    staff_usd_per_gpu_month: NonNegative | None = None
    """On top, for each."""
    spares_share: Share | None = None
    """Servers on the shelf per server in the rack; None: none."""
    evidence: dict[str, Evidence] = Field(default_factory=dict)
    file: str = ""
    line: int | None = None

    @property
    def as_of(self) -> date | None:
        """The oldest of its figures; None where one is undated."""
        return oldest(self.evidence, self.evidence)


Made = TypeVar("Made", Ownership, Site)


def ownership_lines(own: Ownership, site: Site, months: float, busy_share: float = 1.0) -> dict[str, float]:
    """USD per GPU-hour of owning a GPU for `months` and then selling it, by line; money now equals money later.

    capital   = capital x (1 - residual_share(months)) / (months x 730)
    spares    = spares_share x (gpu + chassis) x (1 - residual_share(months)) / (months x 730)
    repairs   = failures_per_year x gpu_usd / 8760
    support   = support_usd_per_month / 730
    power     = (idle + busy_share x (busy - idle)) / 1000 x pue x power_usd_per_kwh   (idle = busy where unknown)
    rack      = provisioned / 1000 x colocation_usd_per_kw_month / 730
    staff     = staff_usd_per_gpu_month / 730   (the fixed part depends on the fleet and is not in it)
    """
    idle_w = own.busy_w if own.idle_w is None else own.idle_w
    draw_w = idle_w + busy_share * (own.busy_w - idle_w)
    lost = (1 - own.residual_share(months)) / (months * HOURS_PER_MONTH)
    return {
        "capital": own.capital_usd * lost,
        "spares": own.spares_usd(site) * lost,
        "repairs": (own.failures_per_year or 0.0) * own.gpu_usd / HOURS_PER_YEAR,
        "support": (own.support_usd_per_month or 0.0) / HOURS_PER_MONTH,
        "power": draw_w / 1000 * site.pue * site.power_usd_per_kwh,
        "rack": own.provisioned_w / 1000 * (site.colocation_usd_per_kw_month or 0.0) / HOURS_PER_MONTH,
        "staff": (site.staff_usd_per_gpu_month or 0.0) / HOURS_PER_MONTH,
    }


def ownership_usd_per_gpu_h(own: Ownership, site: Site, months: float, busy_share: float = 1.0) -> float:
    """The sum of `ownership_lines`.

    36,500 USD kept for 50 months of 730 hours, sold for nothing: 1.00 an hour. 1 kW busy at PUE 1.5 and 0.10 USD: 0.15.
    Floor space for 1 kW at 146 USD a month: 0.20. Four in a hundred GPUs of 21,900 USD replaced a year: 0.10. A tenth
    of GPU and chassis (32,850 USD) on the shelf: 3,285 USD over the same 36,500 hours, 0.09.

    >>> own = Ownership(gpu="x", gpus_per_server=8, gpu_usd=21_900, chassis_usd=10_950, network_usd=3_650,
    ...                 life_months=50, residual=((0, 1), (50, 0)), provisioned_w=1000, busy_w=1000, idle_w=400,
    ...                 failures_per_year=0.04)
    >>> site = Site(power_usd_per_kwh=0.10, pue=1.5, colocation_usd_per_kw_month=146)
    >>> round(ownership_usd_per_gpu_h(own, site, 50), 9)
    1.45
    >>> round(ownership_usd_per_gpu_h(own, site, 50, busy_share=0.0), 9)  # idle: 0.6 kW less, 0.09 USD
    1.36
    >>> round(ownership_usd_per_gpu_h(own, site.model_copy(update={"spares_share": 0.1}), 50), 9)
    1.54
    """
    return sum(ownership_lines(own, site, months, busy_share).values())


def oldest(evidence: Mapping[str, Evidence], names: Iterable[str]) -> date | None:
    """The oldest date among the named figures; None where one is undated or none is there."""
    days = [parse_day(evidence[name].date) for name in names if name in evidence]
    known = [day for day in days if day is not None]
    return min(known) if known and len(known) == len(days) else None


def with_quote(own: Ownership, row: OfferRow) -> Ownership:
    """The same GPU at a quoted price for whole servers: GPU and chassis keep their proportion, the network stays."""
    usd_per_gpu = row.upfront_usd_per_unit / row.gpus_per_unit
    gpu_usd = usd_per_gpu * own.gpu_usd / (own.gpu_usd + own.chassis_usd)
    as_of = UNDATED if row.as_of is None else str(row.as_of)
    quote = Evidence(source=row.source, date=as_of, kind=row.kind, confidence=row.confidence, note=row.note)
    lead = {} if row.lead_time_months is None else {"lead_time_months": row.lead_time_months}
    return own.model_copy(
        update={
            **lead,
            "gpus_per_server": row.gpus_per_unit,
            "gpu_usd": gpu_usd,
            "chassis_usd": usd_per_gpu - gpu_usd,
            "evidence": {**own.evidence, "gpu_usd": quote, "chassis_usd": quote},
            "file": row.file,
            "line": row.line,
        }
    )


@dataclass(frozen=True)
class _Figures:
    """One table's values and evidence, and where they stand."""

    values: Mapping[str, Any]
    evidence: Mapping[str, Evidence]
    file: str
    text: str
    table: str

    def over(self, below: _Figures | None) -> _Figures:
        """Each figure from here where there is one, else from `below`."""
        if below is None:
            return self
        return replace(self, values={**below.values, **self.values}, evidence={**below.evidence, **self.evidence})


def read_ownership(files: Iterable[tuple[str, str]], known_gpus: Iterable[str]) -> tuple[dict[str, Ownership], Site]:
    """GPUs by name, and the site, from (file name, text) pairs, later ones laid over earlier; all faults at once."""
    known = tuple(known_gpus)
    faults = Faults()
    layers: dict[str, _Figures] = {}
    for faults.file, text in files:
        for table, figures in _tables(faults, text, known).items():
            layers[table] = figures.over(layers.get(table))
    defaults, at_site = layers.pop("defaults", None), layers.pop("site", None)
    found = {}
    for table, figures in layers.items():
        name = table.removeprefix("gpus.")
        own = _made(Ownership, figures.over(defaults), faults, {"gpu": name})
        found[name] = own
    site = _made(Site, at_site, faults, {}) if at_site else None
    if at_site is None:
        faults.add("there is no table [site]", "add it with power_usd_per_kwh and pue")
    faults.check()
    assert site is not None
    return {name: own for name, own in found.items() if own is not None}, site


def _tables(faults: Faults, text: str, known_gpus: tuple[str, ...]) -> dict[str, _Figures]:
    content = read_toml(text, faults)
    sources = content.pop("sources", {})
    gpus = content.pop("gpus", {})
    tables: dict[str, Any] = {name: content.pop(name) for name in ("defaults", "site") if name in content}
    for table in content:
        faults.add(
            "unknown table", "known are sources, defaults, site and gpus", line=line_of(text, table), column=table
        )
    for name in gpus:
        if name not in known_gpus:
            remedy = f"write one of {', '.join(known_gpus)}"
            faults.add("unknown GPU", remedy, line=line_of(text, f"gpus.{name}"), column=f"gpus.{name}")
    tables |= {f"gpus.{name}": entry for name, entry in gpus.items() if name in known_gpus}
    found = {}
    for table, entry in tables.items():
        values, evidence, wrong = split_evidence(entry, sources)
        for field, what in wrong:
            remedy = "give source, date and kind"
            faults.add(what, remedy, line=line_of(text, table, field), column=f"{table}.{field}")
        found[table] = _Figures(values, evidence, faults.file or "", text, table)
    return found


def _made(kind: type[Made], figures: _Figures, faults: Faults, more: Mapping[str, Any]) -> Made | None:
    faults.file = figures.file
    value = validated(kind, {**figures.values, **more}, faults, figures.text, figures.table)
    if value is None:
        return None
    place = {"file": figures.file, "line": line_of(figures.text, figures.table)}
    return value.model_copy(update={"evidence": dict(figures.evidence), **place})
