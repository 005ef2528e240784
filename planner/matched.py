"""What several inputs must agree on: names of plan.toml against facts, curves and price book, SLOs against curves.

Names become the one entry they mean; a note says where we chose. Every fault is kept, with its place in plan.toml.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from hardware_profiles.curve import Curve, Point
from hardware_profiles.facts import GpuFacts, ModelFacts
from hardware_profiles.faults import Fault, InputError
from hardware_profiles.library import curves_for
from hardware_profiles.names import resolve_gpu, resolve_model
from hardware_profiles.slo import Slo
from planner.forecast import Forecast
from planner.gpu_time import gpu_time_law
from planner.planfile import PlanFile, Signed, Stock, Workload
from planner.prices import PriceBook
from planner.rented import rented_rows, signed_rows
from planner.trends import KINDS, Supply, SupplyTrend

Read = TypeVar("Read")


class Gather:
    """Collects the faults of several readers."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def read(self, reader: Callable[[], Read]) -> Read | None:
        """What the reader gives, or None with its faults kept."""
        try:
            return reader()
        except InputError as error:
            self.faults += error.faults
            return None

    def check(self) -> None:
        """Raise what was found, each fault once: file by file as they were read, in the order of lines."""
        files = list(dict.fromkeys(fault.file for fault in self.faults))
        found = sorted(dict.fromkeys(self.faults), key=lambda f: (files.index(f.file), f.line or sys.maxsize))
        if found:
            raise InputError(*found)


class Matched:
    """Names of plan.toml against facts, curves and price book."""

    def __init__(
        self,
        plan: PlanFile,
        book: PriceBook,
        curves: tuple[Curve, ...],
        *,
        facts: tuple[Mapping[str, GpuFacts], Mapping[str, ModelFacts]],
        asked: str | None,
        gather: Gather,
    ) -> None:
        self.plan, self.book, self.curves, self.asked, self.gather = plan, book, curves, asked, gather
        self.gpus, self.models = facts
        self.notes: list[str] = []

    def workload(self, name: str, spec: Workload) -> Workload:
        """The workload with the model's own name."""
        regions = {row.region for row in self.book.offers} | {row.region for row in self.book.endpoints}
        regions |= {self.plan.site.region} | {fleet.region for fleet in self.plan.fleet}
        for region in spec.residency:
            self._known(region, regions, "region", "workloads", name, "residency")
        if spec.model in {curve.model for curve in self.curves}:
            self._can_be_served(name, spec)
            return spec
        try:
            found, note = resolve_model(spec.model, self.models)
        except InputError as error:
            self._model_fault(name, spec.model, error.faults[0])
            return spec
        if note:
            self.notes.append(f"{note[0].upper()}{note[1:]}.")
        spec = spec.model_copy(update={"model": found.name})
        self._can_be_served(name, spec)
        return spec

    def rules(self) -> PlanFile:
        """The plan with the GPUs' own names; providers must be known to the price book."""
        policy = self.plan.policy
        providers = {row.provider for row in self.book.offers} | {row.provider for row in self.book.endpoints}
        for at, provider in enumerate(policy.forbid_providers):
            self._known(provider, providers, "provider", "policy", "forbid_providers", at)
        fleet = tuple(
            have.model_copy(update={"gpu": self._gpu(have.gpu, "fleet", at, "gpu")})
            for at, have in enumerate(self.plan.fleet)
        )
        forbidden = tuple(self._gpu(gpu, "policy", "forbid_gpus", at) for at, gpu in enumerate(policy.forbid_gpus))
        for at, have in enumerate(fleet):
            if have.gpu in forbidden:
                what, remedy = "is in the fleet and forbidden", "take it out of policy.forbid_gpus, or out of the fleet"
                self.gather.faults.append(self.plan.fault(what, remedy, "fleet", at, "gpu", value=have.gpu))
        rules = policy.model_copy(update={"forbid_gpus": forbidden})
        for at, signed in enumerate(self.plan.commitments):
            self._signed(at, signed)
        stock = tuple(self._stock(at, stated, providers) for at, stated in enumerate(self.plan.stock))
        trends = tuple(self._trend(at, stated, providers) for at, stated in enumerate(self.plan.price_trends.supplies))
        moved = self.plan.price_trends.model_copy(update={"supplies": trends})
        return self.plan.model_copy(update={"fleet": fleet, "policy": rules, "stock": stock, "price_trends": moved})

    def _signed(self, at: int, signed: Signed) -> None:
        """It is in the price book, at one committed price per GPU."""
        rows = signed_rows(self.book, self.plan, signed)
        prices = [{row.usage_usd_per_gpu_h for row in rows if row.gpu == gpu} for gpu in {row.gpu for row in rows}]
        what = None
        if not rows:
            what = "the price book has no such commitment"
            remedy = "add its rows to offers.csv, scheme commitment, with the committed prices"
        elif any(len(each) > 1 for each in prices):
            what, remedy = "the price book has several terms of it at unlike prices", "write term_months beside it"
        if what is not None:
            self.gather.faults.append(self.plan.fault(what, remedy, "commitments", at, value=signed.provider))

    def _stock(self, at: int, stated: Stock, providers: Iterable[str]) -> Stock:
        if stated.provider is not None and stated.provider != "yours":
            self._known(stated.provider, providers, "provider", "stock", at, "provider")
        if stated.gpu is None:
            return stated
        return stated.model_copy(update={"gpu": self._gpu(stated.gpu, "stock", at, "gpu")})

    def _trend(self, at: int, stated: SupplyTrend, providers: Iterable[str]) -> SupplyTrend:
        """Its names as the price book has them; what it names must be there."""
        keys = ("price_trends", "supplies", at)
        before = len(self.gather.faults)
        found = stated
        if stated.provider not in (None, "yours"):
            self._known(str(stated.provider), providers, "provider", *keys, "provider")
        if stated.gpu is not None:
            found = found.model_copy(update={"gpu": self._gpu(stated.gpu, *keys, "gpu")})
        if stated.model is not None:
            found = found.model_copy(update={"model": self._model(stated.model, *keys, "model")})
        there = any(found.names(kind, seller, gpu=gpu, model=model) for kind, seller, gpu, model in self._sold())
        if len(self.gather.faults) == before and not there:
            what, remedy = "the price book has nothing that is all of this", "leave one of its names out"
            self.gather.faults.append(self.plan.fault(what, remedy, *keys))
        return found

    def _sold(self) -> Iterable[tuple[Supply, str, str | None, str | None]]:
        """Kind, provider, GPU and model of every row of the price book."""
        yield from (("buy", "yours", gpu, None) for gpu in self.book.ownership)
        yield from ((KINDS[o.scheme], o.provider, o.gpu, None) for o in self.book.offers if o.scheme in KINDS)
        yield from (("api", row.provider, None, row.model) for row in self.book.endpoints)

    def begins(self, forecast: Forecast) -> None:
        """The plan may not begin before the forecast does."""
        start = self.plan.horizon.start
        first = f"{forecast.start:%Y-%m-%dT%H:%MZ}"
        if (
            start is not None
            and datetime(start.year, start.month, start.day, tzinfo=forecast.start.tzinfo) < forecast.start
        ):
            what, remedy = f"lies before the forecast's first hour ({first})", "write a later day, or leave it out"
            self.gather.faults.append(self.plan.fault(what, remedy, "horizon", "start", value=start))

    def _can_be_served(self, name: str, spec: Workload) -> None:
        """Note a fault where no curve meets the SLO (an API's latency is seldom known), or nothing serves the model."""
        forbidden = set(self.plan.policy.forbid)
        sold = "api" not in forbidden and any(row.model == spec.model for row in self.book.endpoints)
        ways = {"buy"} | {KINDS[row.scheme] for row in rented_rows(self.book, self.plan)}
        curves = () if forbidden >= ways and not self.plan.fleet else curves_for(self.curves, spec.model)
        if not curves and not sold:
            known = sorted({curve.model for curve in self.curves})
            remedy = f"name a model with curves ({', '.join(known)}), measure it with bench run, or add an endpoint"
            what = "no curve and no API of this model may be used"
            self._model_fault(name, spec.model, Fault(what, remedy))
        elif curves and not any(_meets(curve, spec.slo, self.plan) for curve in curves):
            what = f"no curve of {spec.model} meets this SLO; the nearest point has {_nearest(curves, spec.slo)}"
            remedy = "loosen it, name another model, or forbid buy, reserved and on-demand to rely on an API's latency"
            self.gather.faults.append(self.plan.fault(what, remedy, "workloads", name, "slo", value=told(spec.slo)))

    def _model_fault(self, name: str, model: str, fault: Fault) -> None:
        """The fault at the key that names the model, or at the option."""
        stated = name in self.plan.workloads and "model" in self.plan.workloads[name].model_fields_set
        if stated or self.asked is None:
            fault = self.plan.fault(fault.what, fault.remedy, "workloads", name, "model", value=model)
        else:
            fault = replace(fault, column="--model", value=model)
        self.gather.faults.append(fault)

    def _gpu(self, text: str, *keys: str | int) -> str:
        try:
            gpu, note = resolve_gpu(text, self.gpus)
        except InputError as error:
            fault = error.faults[0]
            self.gather.faults.append(self.plan.fault(fault.what, fault.remedy, *keys, value=text))
            return text
        if note:
            self.notes.append(f"{note[0].upper()}{note[1:]}.")
        return gpu.name

    def _model(self, text: str, *keys: str | int) -> str:
        if any(row.model == text for row in self.book.endpoints):
            return text
        try:
            model, note = resolve_model(text, self.models)
        except InputError as error:
            fault = error.faults[0]
            self.gather.faults.append(self.plan.fault(fault.what, fault.remedy, *keys, value=text))
            return text
        if note:
            self.notes.append(f"{note[0].upper()}{note[1:]}.")
        return model.name

    def _known(self, name: str, known: Iterable[str | None], what: str, *keys: str | int) -> None:
        among = sorted(filter(None, set(known)))
        if name not in among:
            near = difflib.get_close_matches(name, among, n=1)
            remedy = f"write {near[0]}" if near else f"write one of {', '.join(among)}"
            if not among:
                remedy = f"name price files of your own in [prices], whose rows have a {what}"
            self.gather.faults.append(self.plan.fault(f"the price book has no such {what}", remedy, *keys, value=name))


def _meets(curve: Curve, slo: Slo, plan: PlanFile) -> bool:
    try:
        gpu_time_law(curve, slo, plan.policy.capacity)
    except InputError:
        return False
    return True


def _nearest(curves: Iterable[Curve], slo: Slo) -> str:
    """The latencies of the usable point that exceeds the limits least."""
    points = [point for curve in curves for point in curve.usable_points]
    point = min(points, key=lambda point: max(_ratio(point, slo), default=float("inf")), default=None)
    seen = {} if point is None else {name: _stated(point, name) for name in slo.limits}
    told = [f"{name.upper()} {value:.3g} s" for name, value in seen.items() if value is not None]
    return ", ".join(told) or "no latency stated"


def _ratio(point: Point, slo: Slo) -> list[float]:
    stated = [(_stated(point, name), limit) for name, limit in slo.limits.items()]
    return [value / limit for value, limit in stated if value is not None]


def _stated(point: Point, name: str) -> float | None:
    """The point's typical latency: the median where it is known, else whatever statistic the source names."""
    found = {"ttft": point.ttft_s, "tpot": point.tpot_s, "e2e": point.e2e_s}[name]
    value = found.get("p50") or next(iter(found.values()), None)
    return None if value is None else value.value


def told(slo: Slo) -> str:
    """An SLO in words."""
    limits = ", ".join(f"{name.upper()} <= {limit:g} s" for name, limit in slo.limits.items())
    return f"{limits} for {slo.attainment:.0%}"
