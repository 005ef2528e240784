"""How the planner's time and memory grow, and how it compares with one PuLP programme for the same decision.

Every line is one solve in a process of its own (so that its peak memory is its own), all in this run, one after
another: the machine's noise is in all of them, so read the ratios. The problems are those of
`tests/planner_problems.py`: made-up companies with daily and weekly cycles, noise, six GPU types to own, reserve and
rent by the hour, and an API. In the last column is what was asked for.

    python benchmarks/planner_scale.py            # the sizes that reviews have; about fifteen minutes, 16 GB
    python benchmarks/planner_scale.py --quick    # no single programme
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
YEAR = 8760
LIMIT_S, LIMIT_GB = 300, 16
"""Of the single programme: seconds of HiGHS, and memory."""
RELAXED: dict[str, Any] = {"whole_hours": False}
MONTHS: dict[str, Any] = {
    "hours": 3 * YEAR, "epochs": 36, "gpus": 10, "growth_per_year": 0.3, "price_change_per_year": -0.1,
}  # fmt: skip


def measure(way: str, company: dict[str, Any], gap: float, limit_s: float) -> dict[str, Any]:
    """Solve in a process of its own; CPU and wall seconds, peak GB, gap proven, cost."""
    asked = json.dumps({"way": way, "company": company, "gap": gap, "limit_s": limit_s})
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, __file__, "--one", asked], capture_output=True, text=True, cwd=ROOT, check=way == "search",
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:  # the memory allowed was not enough: what was spent until then is a lower bound
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"wall_s": cpu_s, "cpu_s": cpu_s, "memory_gb": LIMIT_GB, "gap": 1.0, "cost": math.inf, "faults": []}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def one(asked: dict[str, Any]) -> dict[str, Any]:
    """The measured process: build the problem, then time the solve."""
    sys.path.insert(0, str(ROOT))
    from planner.check import check
    from planner.programme import Relax, build
    from planner.solve import solve
    from planner.solver import solve_programme
    from planner.units import in_units
    from tests.planner_problems import company, models
    from tests.test_examples import case_of

    sizes, example = (asked["company"].pop(what, None) for what in ("models", "example"))
    problem = case_of(example).problem if example else company(**asked["company"])
    problem = models(problem, tuple(sizes)) if sizes else problem
    if asked["way"] == "programme":
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_GB * 2**30,) * 2)
    wall, cpu = time.perf_counter(), time.process_time()
    if asked["way"] == "search":
        solution = solve(problem, gap=asked["gap"], time_limit_s=asked["limit_s"])
        cost, bound = solution.cost_usd, solution.bound_usd
    else:
        programme = build(in_units(problem), Relax(hours=not asked["company"].get("whole_hours", True)))
        answer = solve_programme(programme, gap=asked["gap"], time_limit_s=asked["limit_s"])
        cost, bound = answer.cost_usd, answer.bound_usd
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    faults = list(check(solution)) if asked["way"] == "search" else []
    gap = max(0.0, (cost - bound) / cost) if math.isfinite(cost) else 1.0
    return {"wall_s": wall, "cpu_s": cpu, "memory_gb": memory, "gap": gap, "cost": cost, "faults": faults}


def show(label: str, found: dict[str, Any], wanted: str = "") -> dict[str, Any]:
    """Print one line."""
    faults = f"  CHECKER: {found['faults'][0]}" if found["faults"] else ""
    figures = f"{found['cpu_s']:8.1f} {found['wall_s']:8.1f} {found['memory_gb']:7.2f} {found['gap']:9.3%}"
    print(f"{label:58} {figures}  {wanted}{faults}", flush=True)
    return found


def against_one_programme() -> None:
    """The same relaxed year searched, and as one PuLP programme: 12 rows of demand, then 36."""
    for rows, year, wanted in (
        (12, {**RELAXED, "workloads": 4}, ""),
        (36, RELAXED, "3 s, 0.4 GB, 0.1 %, 30 times"),
    ):
        ours = show(
            f"{rows} rows x 8,760 h, on demand divisible, searched", measure("search", year, 0.001, 120), wanted
        )
        label = f"  as one PuLP programme, {LIMIT_S} s of HiGHS, {LIMIT_GB} GB at most"
        whole = show(label, measure("programme", year, 0.001, LIMIT_S))
        least = "takes" if whole["gap"] <= 0.001 else "does not get there in"
        print(f"  one programme {least} {whole['cpu_s'] / ours['cpu_s']:.0f} times the CPU, with "
              f"{whole['memory_gb'] / ours['memory_gb']:.0f} times the memory")  # fmt: skip


def targets() -> None:
    """The sizes that reviews have."""
    for peak, gap, wanted in (
        (100, 0.005, ""), (40, 0.005, "10 s, 0.5 %"), (8, 0.01, "1 %"), (2, 0.01, "1 %"), (0.8, 0.01, "1 %"),
    ):  # fmt: skip
        label = f"36 rows x 8,760 h, whole on-demand units, peak {peak:g} GPUs"
        show(label, measure("search", {"peak_gpus": peak}, gap, 120), wanted)
    months = measure("search", MONTHS, 0.005, 120)
    show("36 rows x 26,280 h, 36 months, 30 offers, whole units", months, "20 s, 1 GB, 0.5 %")
    for peak in (8, 40):
        for sizes in ((1.0, 1.0, 1.0), (1.0, 2.0, 4.0)):
            year = {"peak_gpus": peak, "workloads": 3, "gpus": 2, "hours": 2190, "models": sizes}
            label = f"3 models, {'/'.join(f'{size:g}' for size in sizes)} GPUs a replica, 2,190 h, peak {peak} GPUs"
            show(label, measure("search", year, 0.01, 120), "1 %")
    for example in ("company-10-gpus", "company-1000-gpus"):
        show(f"examples/{example}, 36 months", measure("search", {"example": example}, 0.005, 120), "0.5 %")


def growth() -> None:
    """One size at a time, on demand divisible; ratios to the line above each group."""
    base = {**RELAXED, "hours": 2190, "workloads": 4, "gpus": 3}
    first = show("base: 2,190 h, 4 workloads, 9 offers", measure("search", base, 0.001, 120))
    for name, values in (("hours", (8760, 26280)), ("workloads", (12, 24)), ("gpus", (6, 12))):
        for value in values:
            found = show(f"  {name} = {value}", measure("search", {**base, name: value}, 0.001, 120))
            cpu, memory = (found[figure] / first[figure] for figure in ("cpu_s", "memory_gb"))
            times = value / base[name]
            print(f"    {times:.0f} times the {name}: {cpu:.1f} times the CPU, {memory:.1f} times the memory")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave the single programme out")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(one(json.loads(asked.one))))
        return
    print(f"{'problem':58} {'CPU s':>8} {'wall s':>8} {'GB':>7} {'gap':>9}  asked for")
    if not asked.quick:
        against_one_programme()
    targets()
    growth()


if __name__ == "__main__":
    main()
