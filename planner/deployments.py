"""Curves -> deployments: what each model can do on the GPUs of each place, at the SLO of those who share it.

* One deployment per (curve, place): the same model on the same GPUs, owned or rented, at the strictest SLO of the
  workloads that share it; where SLOs differ, each also gets deployments of its own, and the programme chooses.
* Of curves that differ in engine version or weights only, the best kind, then real weights, then the newest is used.
* GPU time per request is the curve's at that SLO (`gpu_time.py`) in the mixes that come (`mix.py`), in GPU-hours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from hardware_profiles.curve import Curve, Shape
from hardware_profiles.faults import InputError
from hardware_profiles.slo import Slo, strictest
from planner.gpu_time import GpuTimeLaw, gpu_time_law
from planner.mix import gpu_s_by_class
from planner.names import apart
from planner.planfile import PlanFile, Workload
from planner.problem import Deployment
from planner.shapes import ShapeClasses
from planner.supplies import Place

_KINDS = ("measured", "published", "estimated")
_SHAPES = 3
"""Measured shapes that a GPU-time law needs to tell its three coefficients apart."""


@dataclass(frozen=True, eq=False)
class CaseWorkload:
    """A workload and its classes in the problem (`first` and following)."""

    name: str
    slug: str
    spec: Workload
    model: str
    shapes: ShapeClasses
    first: int

    @property
    def classes(self) -> range:
        """Indices of its classes."""
        return range(self.first, self.first + len(self.shapes.classes))


@dataclass(frozen=True, eq=False)
class CaseDeployment:
    """A deployment and the evidence it rests on."""

    name: str
    curve: Curve
    place: Place
    slo: Slo
    law: GpuTimeLaw
    shapes: tuple[Shape, ...]

    @property
    def extrapolated(self) -> bool:
        """Whether a class lies outside the measured shapes."""
        return any(self.law.covers(shape).extrapolated for shape in self.shapes)


def best_curves(curves: Iterable[Curve], model: str) -> tuple[Curve, ...]:
    """The curves of one model, of those alike but for engine version and weights the best: kind, real, newest."""
    best: dict[tuple[object, ...], Curve] = {}
    for curve in curves:
        if curve.model == model:
            key = (*curve.key[:8],)
            if key not in best or _rank(curve) > _rank(best[key]):
                best[key] = curve
    return tuple(best[key] for key in sorted(best, key=str))


def _rank(curve: Curve) -> tuple[int, bool, tuple[int, ...]]:
    version = tuple(int(part) for part in (curve.conditions.engine_version or "").split(".") if part.isdigit())
    return -_KINDS.index(curve.kind), curve.conditions.weights != "dummy", version


def deployments_for(
    workloads: tuple[CaseWorkload, ...], curves: tuple[Curve, ...], places: tuple[Place, ...], plan: PlanFile
) -> tuple[tuple[CaseDeployment, ...], tuple[str, ...]]:
    """Every deployment that some workload could use, and why other curves are not used."""
    found: list[CaseDeployment] = []
    notes: list[str] = []
    for model in dict.fromkeys(w.model for w in workloads):
        sharing = [w for w in workloads if w.model == model]
        slos = list(dict.fromkeys([strictest([w.spec.slo for w in sharing]), *(w.spec.slo for w in sharing)]))
        for number, slo in enumerate(slos):
            laws, unfit = _laws(best_curves(curves, model), slo, plan)
            notes += unfit
            shapes = tuple(s for w in sharing if _meets(slo, w.spec.slo) for s in w.shapes.classes)
            for curve, law in laws:
                here = [place for place in places if place.gpu == curve.gpu.name]
                here = [place for place in here if place.owner != "spot" or any(w.spec.spot for w in sharing)]
                found += [CaseDeployment(_name(curve, place, number), curve, place, slo, law, shapes) for place in here]
    names = apart((deployment.name for deployment in found), ".")
    named = (replace(deployment, name=name) for deployment, name in zip(found, names, strict=True))
    return tuple(named), tuple(dict.fromkeys(notes))


def _laws(curves: tuple[Curve, ...], slo: Slo, plan: PlanFile) -> tuple[list[tuple[Curve, GpuTimeLaw]], list[str]]:
    """Each curve's law at the SLO. Where one was measured at enough shapes, those that were not are left out."""
    laws, notes = [], []
    for curve in curves:
        try:
            laws.append((curve, gpu_time_law(curve, slo, plan.policy.capacity)))
        except InputError as error:
            notes.append(f"{_label(curve)} is not used: {error.faults[0].what}.")
    full = [(curve, law) for curve, law in laws if len(law.measured) >= _SHAPES]
    if full:
        for curve, law in laws:
            if len(law.measured) < _SHAPES:
                few = "one shape" if len(law.measured) == 1 else f"{len(law.measured)} shapes"
                notes.append(f"{_label(curve)} is not used: it was measured at {few} only.")
    return full or laws, notes


def stated(deployment: CaseDeployment, workloads: tuple[CaseWorkload, ...], count: int) -> Deployment:
    """The deployment with its GPU time per request of every class that it may serve, enough for every hour's mix."""
    mine = [workload for workload in workloads if _may_serve(deployment, workload) and workload.shapes.classes]
    times: list[float | None] = [None] * count
    if mine:
        shapes = [shape for workload in mine for shape in workload.shapes.classes]
        seconds = gpu_s_by_class(deployment.law, shapes, np.hstack([workload.shapes.demand for workload in mine]))
        for k, each in zip((k for workload in mine for k in workload.classes), seconds, strict=True):
            times[k] = None if each is None else each / 3600
    return Deployment(deployment.name, deployment.place.pool, tuple(times), deployment.curve.gpu.count)


def _may_serve(deployment: CaseDeployment, workload: CaseWorkload) -> bool:
    where = workload.spec.residency
    allowed = (not where or deployment.place.region in where) and (
        deployment.place.owner != "spot" or workload.spec.spot
    )
    return allowed and workload.model == deployment.curve.model and _meets(deployment.slo, workload.spec.slo)


def _meets(slo: Slo, promised: Slo) -> bool:
    return strictest([slo, promised]) == slo


def _name(curve: Curve, place: Place, number: int) -> str:
    engine = "" if curve.conditions.engine == "vllm" else curve.conditions.engine
    parts = [curve.model, f"{curve.gpu.count}x{curve.gpu.name}", curve.precision or "", engine, place.owner]
    parts += [place.region] if place.region else []
    parts += [f"slo{number}"] if number else []
    if curve.pipeline_parallel * curve.data_parallel > 1:
        parts.append(f"tp{curve.tensor_parallel}pp{curve.pipeline_parallel}dp{curve.data_parallel}")
    text = ".".join(part for part in parts if part)
    return "".join(c if c.isascii() and (c.isalnum() or c == ".") else "_" for c in text)


def _label(curve: Curve) -> str:
    precision = f" {curve.precision}" if curve.precision else ""
    return f"{curve.model}{precision} on {curve.gpu.count}x {curve.gpu.name} ({curve.kind})"
