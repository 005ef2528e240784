"""GPU seconds per request of any shape, from the capacities of the shapes that were measured.

Why. A plan serves shapes that nobody measured, and the programme needs one number per (shape class, deployment). At a
steady load (closed loop) that number follows a law; the room that random arrivals need does not, because it depends on
how many requests are in flight. So the two are kept apart.

The law. At a steady load a request holds the deployment's GPUs for (GPU seconds)

    busy(shape) = a (input - cached) + b output + c output (input + output / 2),    a, b, c >= 0

prefill by uncached input token, decode by output token, and the KV cache that every output token reads: its context is
the whole input, cached or not, and on average half of the output. busy = GPUs / closed-loop rate at the SLO; a, b, c
are fitted to the measured shapes by least squares of relative errors (Lawson & Hanson's non-negative least squares), so
`busy_gpu_s` never falls when a request grows. With fewer than three shapes every law of one or two terms that meets
them is kept and the dearest counts; the true law, if it is of this form, is never dearer.

The room. n* = GPUs x residence / busy requests are in flight at the SLO (Little's law; residence = u uncached input + v
output, fitted likewise). Poisson arrivals may use the share of them that `arrivals.steady_arrival_share` allows, times
the smallest ratio at which the measured shapes' own derating stood to it. In a mix of classes with request rates w, the
swing counts as that of n = GPUs sum(w busy) / sum(w busy^2 / residence) equal requests (their loads are independent, so
their squares add).

    gpu_s = busy / (room x share(n*))

A measured shape (within 1 %) is used as it was measured. `error_max` and `error_mean` are of `gpu_s`, each shape
predicted from the others. Where a curve has open loops only, their rates hold the room already, and busy does too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from hardware_profiles.curve import Curve, Shape
from hardware_profiles.faults import Fault, InputError
from hardware_profiles.slo import Slo
from planner.arrivals import Floats, steady_arrival_share, steady_arrival_shares
from planner.capacity import SAME_SHAPE, Capacity, capacity, measured_shapes, same_shape, shape_name
from planner.strain import Band

Coefficients = tuple[float, float, float]

_FOR_ALL_TERMS = 3
_FOR_AN_ERROR = 4
_WORTH_SAYING = 0.1


@dataclass(frozen=True)
class Coverage:
    """How far a shape lies beyond the measured ones: 1.0 is inside, 2.0 is twice the largest or half the smallest."""

    extrapolated: bool
    factor: float


@dataclass(frozen=True)
class GpuTimeLaw:
    """GPU seconds of one deployment per request, at one SLO and band."""

    gpus: int
    attainment: float
    ends: int
    """Of a request's life that the room protects (`arrivals.py`)."""
    coefficients: tuple[Coefficients, ...]
    """(a, b, c) in GPU seconds; several where the shapes were too few to tell them apart: the dearest counts."""
    residence_s_per_token: tuple[float, float] | None
    """(u, v) at the SLO; None: no closed loop was measured, and `busy_gpu_s` holds the room already."""
    room: float
    """Smallest ratio of a measured shape's derating to the steady law's share."""
    measured: tuple[Capacity, ...]
    """Every measured shape that meets the SLO."""
    unmet: tuple[Capacity, ...]
    """Every measured shape that does not, each with its reason."""
    fit_error_max: float = 0.0
    """Largest error of the law at the shapes it was fitted to, as a share."""
    error_max: float | None = None
    """Largest leave-one-shape-out error of `gpu_s`, as a share; None with fewer than four shapes."""
    error_mean: float | None = None
    reason: str | None = None
    """Why fewer than three coefficients were fitted; None when all were."""
    notes: tuple[str, ...] = ()

    @property
    def saturated(self) -> bool:
        """False: at least one capacity is a floor, so GPU time may be overstated."""
        return all(each.saturated for each in self.measured)

    @property
    def percentile_known(self) -> bool:
        """False: at least one capacity rests on a stated number that is not the percentile asked for."""
        return all(each.percentile_known for each in self.measured)

    def as_measured(self, shape: Shape) -> Capacity | None:
        """The measured capacity of this very shape (within 1 %)."""
        return next((each for each in self.measured if same_shape(shape, each.shape)), None)

    def busy_gpu_s(self, shape: Shape) -> float:
        """GPU seconds per request at a steady load, by the law: never less for more input or output."""
        return max(float(_terms(shape) @ np.array(each)) for each in self.coefficients)

    def input_share(self, shape: Shape) -> float:
        """Part of `busy_gpu_s` that prefill takes; decode, and the KV cache that it reads, take the rest."""
        parts = max((_terms(shape) * np.array(each) for each in self.coefficients), key=lambda each: float(each.sum()))
        return float(parts[0] / parts.sum())

    def gpu_s(self, shape: Shape) -> float | None:
        """GPU seconds per request when this shape alone arrives at random; None: no rate of it meets the SLO.

        Unlike `busy_gpu_s` it can fall with the output where prefill rules, because more requests are in flight then
        and their number swings less.
        """
        known = self.as_measured(shape)
        if known is not None:
            return _seconds(self.gpus, known.rate_per_s)
        share = float(self.shares((shape,), np.ones((1, 1)))[0])
        return None if np.isnan(share) else self.busy_gpu_s(shape) / share

    def steady_gpu_s(self, shape: Shape) -> float:
        """GPU seconds per request at a steady load, measured where it was."""
        return self._steady(shape)[0]

    def shares(self, shapes: Sequence[Shape], demand: Floats) -> Floats:
        """[T] share of the steady rate that random arrivals may use when `demand[t, k]` requests of the shapes mix.

        NaN: at no rate does the mix meet the SLO. A shape that rarely comes hardly changes the share of the others.
        """
        if self.residence_s_per_token is None:
            return np.ones(len(demand))
        steady = np.array([self._steady(shape) for shape in shapes])
        busy, residence = steady[:, 0], steady[:, 1]
        swings = np.divide(busy * busy, residence, out=np.zeros(len(shapes)), where=residence > 0)
        loads = np.divide(self.gpus * (demand @ busy), demand @ swings, out=np.zeros(len(demand)),
                          where=demand @ swings > 0)  # fmt: skip
        shares = self.room * steady_arrival_shares(loads, self.attainment, ends=self.ends)
        return np.minimum(shares, 1.0)

    def covers(self, shape: Shape) -> Coverage:
        """How far input or output tokens lie beyond those of the measured shapes."""
        tokens = [(each.shape.input_tokens, each.shape.output_tokens) for each in self.measured]
        beyond = 1.0
        for asked, seen in zip((shape.input_tokens, shape.output_tokens), zip(*tokens, strict=True), strict=True):
            beyond = max(beyond, asked / max(seen), min(seen) / asked)
        return Coverage(beyond > 1.0 + SAME_SHAPE, beyond)

    def _steady(self, shape: Shape) -> tuple[float, float]:
        """(busy GPU seconds, residence in seconds) at the SLO, measured where it was."""
        known = self.as_measured(shape)
        if known is not None and known.rate_per_s and self.residence_s_per_token is None:
            return self.gpus / known.rate_per_s, 0.0
        if known is not None and known.closed_rate_per_s and known.residence_s:
            return self.gpus / known.closed_rate_per_s, known.residence_s
        per_input, per_output = self.residence_s_per_token or (0.0, 0.0)
        uncached = shape.input_tokens - shape.cached_tokens
        return self.busy_gpu_s(shape), per_input * uncached + per_output * shape.output_tokens


def gpu_time_law(curve: Curve, slo: Slo, band: Band = "mid") -> GpuTimeLaw:
    """Fit the law to the curve's shapes that meet the SLO; `InputError` when none does."""
    found = [capacity(curve, shape, slo, band) for shape in measured_shapes(curve)]
    met = tuple(each for each in found if each.rate_per_s is not None)
    unmet = tuple(each for each in found if each.rate_per_s is None)
    if not met:
        raise InputError(_none_meets(curve, slo, unmet))
    law = _fitted(met, gpus=curve.gpu.count, attainment=slo.attainment, ends=1 if band == "high" else 2)
    errors = leave_one_out(law)
    if errors is not None:
        size = np.abs(errors)
        law = replace(law, error_max=float(size.max()), error_mean=float(size.mean()))
    return replace(law, unmet=unmet, notes=_notes(law, unmet))


def leave_one_out(law: GpuTimeLaw) -> tuple[float, ...] | None:
    """Signed relative error of `gpu_s` at each measured shape, fitted to the others; None with too few shapes."""
    if len(law.measured) < _FOR_AN_ERROR:
        return None
    errors = []
    for left_out in law.measured:
        others = tuple(each for each in law.measured if each is not left_out)
        refitted = _fitted(others, gpus=law.gpus, attainment=law.attainment, ends=law.ends)
        predicted, truth = refitted.gpu_s(left_out.shape), _seconds(law.gpus, left_out.rate_per_s)
        errors.append(float("inf") if predicted is None or truth is None else predicted / truth - 1)
    return tuple(errors)


def fit_coefficients(shapes: Sequence[Shape], busy_gpu_s: Floats) -> tuple[Coefficients, ...]:
    """(a, b, c) by least squares of relative errors, none negative; the exact laws of fewer terms for 1 or 2 shapes.

    >>> shapes = [Shape(input_tokens=i, output_tokens=o) for i, o in ((100, 10), (1000, 10), (100, 100), (1000, 100))]
    >>> law = np.array([2e-3, 3e-2, 1e-5])
    >>> fit = fit_coefficients(shapes, np.array([_terms(shape) @ law for shape in shapes]))
    >>> [[round(value, 9) for value in each] for each in fit]
    [[0.002, 0.03, 1e-05]]
    """
    from scipy.optimize import nnls

    rows = np.array([_terms(shape) for shape in shapes]) / busy_gpu_s[:, None]
    if len(rows) < _FOR_ALL_TERMS:
        return _exact_laws(rows) or _ceilings(rows)
    scale = np.maximum(rows.max(axis=0), np.finfo(np.float64).tiny)
    return (_three(nnls(rows / scale, np.ones(len(rows)))[0] / scale),)


def _exact_laws(rows: Floats) -> tuple[Coefficients, ...]:
    """Every law with as many terms as there are shapes that meets them all without a negative term."""
    laws = []
    for terms in combinations(range(3), len(rows)):
        square = rows[:, terms]
        if (square > 0).all() and np.linalg.matrix_rank(square / square.max(axis=0)) == len(rows):
            solved = np.linalg.solve(square, np.ones(len(rows)))
            if (solved >= 0).all():
                law = np.zeros(3)
                law[list(terms)] = solved
                laws.append(_three(law))
    return tuple(laws)


def _ceilings(rows: Floats) -> tuple[Coefficients, ...]:
    """Where no law meets shapes that contradict each other: for each term alone, the one that stays below none."""
    return tuple(_three(np.eye(3)[term] / rows[:, term].min()) for term in range(3) if rows[:, term].min() > 0)


def _fitted(met: Sequence[Capacity], *, gpus: int, attainment: float, ends: int) -> GpuTimeLaw:
    """The law of these capacities: of their closed loops, or of their open loops when no closed one is known."""
    closed = [each for each in met if each.closed_rate_per_s and each.residence_s and each.load]
    used = closed or list(met)
    rates = [each.closed_rate_per_s if closed else each.rate_per_s for each in used]
    busy = np.array([gpus / (rate or 1) for rate in rates])
    law = GpuTimeLaw(
        gpus=gpus,
        attainment=attainment,
        ends=ends,
        coefficients=fit_coefficients([each.shape for each in used], busy),
        residence_s_per_token=_residence(closed) if closed else None,
        room=min((room for each in closed if (room := _room(each, attainment, ends))), default=1.0),
        measured=tuple(met),
        unmet=(),
    )
    misses = [law.busy_gpu_s(each.shape) / seconds - 1 for each, seconds in zip(used, busy, strict=True)]
    law = replace(law, fit_error_max=float(np.abs(misses).max()))
    if len(used) >= _FOR_ALL_TERMS:
        return law
    several = "the dearest law that meets them counts" if len(law.coefficients) > 1 else "terms of the law are missing"
    return replace(law, reason=f"only {len(used)} measured shapes cannot tell three coefficients apart: {several}")


def _residence(closed: Sequence[Capacity]) -> tuple[float, float]:
    """(u, v): residence at the SLO per uncached input token and per output token, relative errors, none negative."""
    from scipy.optimize import nnls

    if len(closed) == 1:
        return 0.0, (closed[0].residence_s or 0.0) / closed[0].shape.output_tokens
    times = np.array([each.residence_s for each in closed], dtype=np.float64)
    tokens = np.array([[e.shape.input_tokens - e.shape.cached_tokens, e.shape.output_tokens] for e in closed])
    fitted = nnls(tokens / times[:, None], np.ones(len(closed)))[0]
    return float(fitted[0]), float(fitted[1])


def _room(each: Capacity, attainment: float, ends: int) -> float | None:
    """The measured shape's derating over the steady law's share at its own load; None where either is unknown."""
    share = steady_arrival_share(each.load or 0.0, attainment, ends=ends)
    return each.derated_by.factor / share if each.derated_by and share else None


def _terms(shape: Shape) -> Floats:
    """What a, b and c multiply."""
    context = shape.input_tokens + shape.output_tokens / 2
    return np.array(
        [shape.input_tokens - shape.cached_tokens, shape.output_tokens, shape.output_tokens * context], dtype=np.float64
    )


def _three(values: Floats) -> Coefficients:
    return float(values[0]), float(values[1]), float(values[2])


def _seconds(gpus: int, rate_per_s: float | None) -> float | None:
    return gpus / rate_per_s if rate_per_s else None


def _notes(law: GpuTimeLaw, unmet: Sequence[Capacity]) -> tuple[str, ...]:
    """What a reader of the plan should know of the law."""
    notes = [f"{shape_name(each.shape)}: {each.reason}." for each in unmet]
    floors = sum(not each.saturated for each in law.measured)
    if law.fit_error_max > _WORTH_SAYING:
        notes.append(f"The law misses the shapes it was fitted to by up to {law.fit_error_max:.0%}.")
    if law.reason:
        notes.append(law.reason[0].upper() + law.reason[1:] + ".")
    if floors:
        notes.append(f"{floors} of {len(law.measured)} shapes were not measured up to the SLO: GPU time is a ceiling.")
    if all(each.shape.cached_tokens == 0 for each in law.measured):
        notes.append("No cached input was measured: its prefill is taken as free, its KV traffic as usual.")
    if law.residence_s_per_token is None:
        notes.append("Open loops only: the room for random arrivals is inside the law.")
    return tuple(notes)


def _none_meets(curve: Curve, slo: Slo, unmet: Sequence[Capacity]) -> Fault:
    """The fault when no shape of a curve meets the SLO."""
    limits = ", ".join(f"{name.upper()} {limit:g} s" for name, limit in slo.limits.items()) or "no limit"
    reasons = "; ".join(f"{shape_name(each.shape)}: {each.reason}" for each in unmet) or "it has no usable point"
    name = f"{curve.model} on {curve.gpu.count} x {curve.gpu.name}"
    return Fault(
        f"no measured shape of the curve meets the SLO ({limits}, {slo.attainment:.0%} of requests): {reasons}",
        "loosen the SLO, or use a curve of faster hardware or with more GPUs per deployment",
        value=name,
    )
