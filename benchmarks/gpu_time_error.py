"""How well does the GPU-time law predict a shape that was left out? On every curve that ships with four shapes or more.

    python benchmarks/gpu_time_error.py [--ttft 2] [--tpot 0.03]

First table, smallest and largest leave-one-shape-out error: `a, b` and `a, b, c` are the law of the steady load without
and with its KV term, fitted to the closed loop's GPU seconds; `gpu_s` is what a plan uses, room for random arrivals
included; `folded` is what `a, b, c` would give if that room were fitted into the law instead of being kept apart.
Between the tables: how well TPOT at an inner load of a published closed loop is met from its two neighbours.
Second table: capacity per shape of some deployments, with tokens per second and GPU as a check of common sense.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from hardware_profiles.curve import Curve, Shape
from hardware_profiles.faults import InputError
from hardware_profiles.library import load_curves
from hardware_profiles.slo import Slo
from planner.arrivals import Floats
from planner.capacity import measured_shapes, shape_name
from planner.gpu_time import GpuTimeLaw, gpu_time_law, leave_one_out

SHOWN = (
    ("qwen3-32b", "h100-80gb-sxm", 2),
    ("llama-3.1-70b", "h200-141gb-sxm", 1),
    ("gpt-oss-120b", "h100-80gb-sxm", 2),
    ("gpt-oss-120b", "h200-141gb-sxm", 2),
)


def terms(shapes: Sequence[Shape], *, kv: bool) -> Floats:
    """One row per shape: uncached input, output and, with `kv`, output x context."""
    rows = [[s.input_tokens - s.cached_tokens, s.output_tokens] for s in shapes]
    context = [s.output_tokens * (s.input_tokens + s.output_tokens / 2) for s in shapes]
    return np.column_stack([np.array(rows), np.array(context)]) if kv else np.array(rows)


def errors(shapes: Sequence[Shape], seconds: Floats, *, kv: bool) -> Floats:
    """Leave-one-out errors of a least-squares law of relative errors."""
    from scipy.optimize import nnls

    rows = terms(shapes, kv=kv)
    found = []
    for left_out in range(len(shapes)):
        rest = np.arange(len(shapes)) != left_out
        fit = nnls(rows[rest] / seconds[rest, None], np.ones(rest.sum()))[0]
        found.append(rows[left_out] @ fit / seconds[left_out] - 1)
    return np.array(found)


def span(values: Sequence[float] | Floats) -> str:
    """Smallest and largest, in per cent."""
    return f"{min(values):+.0%}..{max(values):+.0%}"


def interpolation_errors(curves: Sequence[Curve], *, logarithm: bool) -> Floats:
    """TPOT at each inner load, on the line between its neighbours, over what was stated, minus 1."""
    found = []
    for curve in curves:
        for shape in measured_shapes(curve):
            stated = {p.load: p.tpot_s["unstated"].value for p in curve.usable_points if p.shape == shape and p.load}
            loads = np.array(sorted(stated))
            tpot_s = np.array([stated[load] for load in loads])
            at = np.log(loads) if logarithm else loads
            for i in range(1, len(loads) - 1):
                share = (at[i] - at[i - 1]) / (at[i + 1] - at[i - 1])
                found.append((tpot_s[i - 1] + share * (tpot_s[i + 1] - tpot_s[i - 1])) / tpot_s[i] - 1)
    return np.array(found)


def print_interpolation(curves: Sequence[Curve]) -> None:
    """Mean size and median of the errors, linear in the load and in its logarithm."""
    published = [curve for curve in curves if curve.kind == "published"]
    for logarithm in (False, True):
        found = interpolation_errors(published, logarithm=logarithm)
        how = "its logarithm" if logarithm else "the load"
        print(
            f"TPOT linear in {how}: {len(found)} loads left out, mean size of the error "
            f"{np.abs(found).mean():.1%}, median {np.median(found):+.1%}"
        )


def name(curve: Curve) -> str:
    """Which deployment."""
    version = curve.conditions.engine_version or "unstated"
    return f"{curve.model} {curve.precision or '?'} {curve.gpu.count} x {curve.gpu.name} vLLM {version}"


def print_errors(laws: Sequence[tuple[Curve, GpuTimeLaw]]) -> None:
    """The first table."""
    print(f"{'deployment':58s} shapes floors          a, b       a, b, c         gpu_s        folded")
    for curve, law in laws:
        predicted = leave_one_out(law)
        if predicted is None:
            continue
        shapes = [each.shape for each in law.measured]
        busy = np.array([law.gpus / (each.closed_rate_per_s or 1) for each in law.measured])
        held = np.array([law.gpus / (each.rate_per_s or 1) for each in law.measured])
        floors = sum(not each.saturated for each in law.measured)
        columns = [
            errors(shapes, busy, kv=False),
            errors(shapes, busy, kv=True),
            predicted,
            errors(shapes, held, kv=True),
        ]
        print(f"{name(curve):58s} {len(shapes):6d} {floors:6d}" + "".join(f"{span(each):>14s}" for each in columns))


def print_capacities(laws: Sequence[tuple[Curve, GpuTimeLaw]]) -> None:
    """The second table."""
    for curve, law in laws:
        if (curve.model, curve.gpu.name, curve.gpu.count) not in SHOWN or len(law.measured) < 3:
            continue
        print(f"\n{name(curve)}: a, b, c = {', '.join(f'{value:.3g}' for value in law.coefficients[0])} GPU s")
        print(
            "  shape                 req/s   n*  of closed  floor  limited by  GPU s/req  out tok/s/GPU  all tok/s/GPU"
        )
        for each in law.measured:
            rate, out = each.rate_per_s or 0.0, each.shape.output_tokens
            per_gpu = [rate * tokens / law.gpus for tokens in (out, out + each.shape.input_tokens)]
            factor = each.derated_by.factor if each.derated_by else 1.0
            print(
                f"  {shape_name(each.shape):19s} {rate:7.3f} {each.load:4.0f} {factor:10.2f} "
                f"{'no' if each.saturated else 'yes':>6s} {each.limiting or '-':>11s} {law.gpu_s(each.shape):10.3f} "
                f"{per_gpu[0]:14.0f} {per_gpu[1]:14.0f}"
            )
        for note in law.notes:
            print(f"  {note}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ttft", type=float, default=2.0)
    parser.add_argument("--tpot", type=float, default=0.03)
    asked = parser.parse_args()
    slo = Slo(ttft_s=asked.ttft, tpot_s=asked.tpot)
    laws, unmet = [], 0
    for curve in load_curves():
        try:
            laws.append((curve, gpu_time_law(curve, slo)))
        except InputError:
            unmet += 1
    print(f"SLO: TTFT {slo.ttft_s:g} s, TPOT {slo.tpot_s:g} s, {slo.attainment:.0%}; {unmet} curves do not meet it")
    print_errors(laws)
    print_interpolation(load_curves())
    print_capacities(laws)


if __name__ == "__main__":
    main()
