"""HiGHS, read without trust.

PuLP maps a time-out to the status "Optimal" (and `sol_status` to "integer feasible"), so nothing here looks at PuLP's
status word: HiGHS's own model status says whether a solution is there, and its dual bound says how good it can be. The
bound of an interrupted linear programme is not a bound and comes back as -inf.

A solver object never leaves this module: callers get numbers.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from planner.neighbourhood import begin_near
from planner.problem import Array, Blocks, Ints, Problem
from planner.programme import EVERY_BLOCK, Programme, Relax, block_costs, build, whole_by_itself
from planner.same_matrix import Flags

Status = Literal["optimal", "feasible", "infeasible", "unbounded", "nothing found"]
SEED = 20261120
_MASTER_OPTIONS: dict[str, Any] = {
    "mip_heuristic_run_feasibility_jump": False,
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_root_reduced_cost": False,
}


@dataclass(frozen=True, eq=False)
class Fleet:
    """The first-stage answer: `buy[o, m]` units bought and `replicas[d, m]` placed on epoch-placed units."""

    buy: Array
    replicas: Array


@dataclass(frozen=True, eq=False)
class Answer:
    """What HiGHS knows: a plan (None without one), its cost, and a bound under which no plan can cost."""

    status: Status
    cost_usd: float
    bound_usd: float
    fleet: Fleet | None
    values: Array | None
    """Block variables in the order of `HourMatrix.columns`, one row per block; None from a master or a relaxation."""
    stopped: bool = False
    """Whether Ctrl-C ended the search; what was found until then is here."""


def solve_programme(programme: Programme, *, gap: float, time_limit_s: float, start: Fleet | None = None) -> Answer:
    """Solve with HiGHS to a relative `gap` or until `time_limit_s`; one thread and a fixed seed: same in, same out.

    `start` is a fleet to begin with; a master without one begins near its divisible optimum (`neighbourhood.py`). It is
    searched with one of HiGHS's heuristics, the others cost more than they find there. Ctrl-C stops HiGHS and keeps
    what it has (`Answer.stopped`).
    """
    import highspy
    import pulp

    class Started(pulp.HiGHS):  # type: ignore[misc]  # PuLP is not typed
        begun = stopped = False

        def buildSolverModel(self, lp: Any) -> None:  # noqa: N802  # PuLP's name
            _load(lp)

        def callSolver(self, lp: Any) -> None:  # noqa: N802  # PuLP's name
            if start is not None:
                places, values = _as_solution(programme, start)
                lp.solverModel.setSolution(len(places), places, values)
            elif programme.cost:
                self.stopped = begin_near(lp.solverModel, gap, _run)
            if not self.stopped:
                self.begun, self.stopped = True, _run(lp.solverModel)

    options = _MASTER_OPTIONS if programme.cost else {}
    way = Started(msg=False, gapRel=gap, gapAbs=0.0, timeLimit=max(time_limit_s, 0.0), threads=1, random_seed=SEED,
            mip_feasibility_tolerance=1e-7, **options)  # fmt: skip
    way.actualSolve(programme.lp)
    if not way.begun:
        return Answer("nothing found", math.inf, -math.inf, None, None, stopped=True)
    solver = programme.lp.solverModel
    info = solver.getInfo()
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    status = _status(solver.getModelStatus(), found)
    whole = any(variable.cat == pulp.LpInteger for variable in programme.lp.variables())
    if whole:
        bound = float(info.mip_dual_bound)
    else:
        bound = float(info.objective_function_value) if status == "optimal" else -math.inf
    if not found:
        return Answer(status, math.inf, bound if status != "infeasible" else math.inf, None, None, way.stopped)
    bound = min(bound, float(info.objective_function_value))
    values = None if programme.cost or programme.relax.hours else _block_values(programme)
    return Answer(status, float(info.objective_function_value), bound, _fleet(programme), values, way.stopped)


def _load(lp: Any) -> None:
    """Hand the programme to HiGHS at once: PuLP goes by columns and rows, which may take as long as solving."""
    import highspy
    import pulp

    variables, rows = lp.variables(), lp.constraints()
    for i, variable in enumerate(variables):
        variable.index = i
    for r, row in enumerate(rows):
        row.index = r
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(variables), len(rows)
    model.col_cost_ = np.array([lp.objective.get(variable, 0.0) for variable in variables], dtype=float)
    model.col_lower_, model.row_lower_ = (
        _limits(ends, -highspy.kHighsInf)
        for ends in ([variable.lowBound for variable in variables], [row.getLb() for row in rows])
    )
    model.col_upper_, model.row_upper_ = (
        _limits(ends, highspy.kHighsInf)
        for ends in ([variable.upBound for variable in variables], [row.getUb() for row in rows])
    )
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.cumsum([0, *(len(row) for row in rows)])
    model.a_matrix_.index_ = np.array([variable.index for row in rows for variable in row], dtype=np.int32)
    model.a_matrix_.value_ = np.array([unit for row in rows for unit in row.values()], dtype=float)
    if any(variable.cat == pulp.LpInteger for variable in variables):
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        model.integrality_ = [kinds[variable.cat == pulp.LpInteger] for variable in variables]
    if lp.solverModel.passModel(model) == highspy.HighsStatus.kError:
        raise RuntimeError(f"HiGHS does not take the programme {lp.name}")


def _limits(ends: list[float | None], none: float) -> Array:
    return np.array([none if end is None else end for end in ends], dtype=float)


def _run(solver: Any) -> bool:
    """Run HiGHS in a thread, so that Ctrl-C is heard meanwhile and ends it in good order; returns whether it did.

    A thread of our own: highspy's `startSolve` shares its locks between all solvers.
    """
    stop = threading.Event()

    def heard(event: Any) -> None:
        if stop.is_set():
            event.interrupt()

    solver.cbSimplexInterrupt += heard
    solver.cbMipInterrupt += heard
    thread = threading.Thread(target=solver.run, daemon=True)
    thread.start()
    while thread.is_alive():
        try:
            thread.join(0.1)
        except KeyboardInterrupt:
            stop.set()
    return stop.is_set()


def _as_solution(programme: Programme, fleet: Fleet) -> tuple[Ints, Array]:
    pairs = [
        (variable.index, amounts[key])
        for family, amounts in ((programme.buy, fleet.buy), (programme.replicas, fleet.replicas))
        for key, variable in family.items()
    ]
    return np.array([place for place, _ in pairs], dtype=np.int32), np.array([value for _, value in pairs], dtype=float)


@dataclass(frozen=True, eq=False)
class HourMatrix:
    """The rows and columns that every block shares, read off the programme: rows `A x <= or == b`.

    `coefficients[r, c]`; `equality[r]`; `cost_usd[m, c]` per hour at the prices of epoch m. The right-hand side of row
    r in a block of epoch m is `constant[m, r]` plus, for the first rows (one per class, the balance), the demand.
    """

    columns: tuple[tuple[str, tuple[int, ...]], ...]
    rows: tuple[str, ...]
    coefficients: Array
    equality: Flags
    cost_usd: Array
    constant: Array

    @cached_property
    def price_books(self) -> list[tuple[int, Ints]]:
        """The epochs of each distinct price vector, led by the first of them."""
        _, first, place = np.unique(self.cost_usd, axis=0, return_index=True, return_inverse=True)
        return [(int(m), np.flatnonzero(place.ravel() == g)) for g, m in enumerate(first)]

    def family(self, name: str) -> Ints:
        """Indices of the columns of one family of variables (`served`, `api`, `unserved`, `on`, `rented`)."""
        return np.array([i for i, (family, _) in enumerate(self.columns) if family == name], dtype=np.intp)

    def rows_of(self, name: str) -> Ints:
        """Indices of the rows of one family of constraints."""
        return np.array([r for r, row in enumerate(self.rows) if row.split(".", 1)[0] == name], dtype=np.intp)


@dataclass(frozen=True, eq=False)
class HourForm:
    """The matrix without a fleet, and where a fleet enters its right-hand side."""

    bare: HourMatrix
    links: tuple[tuple[Ints, Ints, Ints, Ints, Array], ...]
    """For purchases, then for replicas: epochs, rows, first and second index, and what one unit adds there."""

    def matrix(self, fleet: Fleet) -> HourMatrix:
        """The matrix with `fleet` on the right-hand side."""
        constant = self.bare.constant.copy()
        for (epoch, row, first, second, unit), amounts in zip(self.links, (fleet.buy, fleet.replicas), strict=True):
            np.add.at(constant, (epoch, row), unit * amounts[first, second])
        return replace(self.bare, constant=constant)


def hour_form(problem: Problem) -> HourForm:
    """Read the hour's programme off the stated one: one block without demand in every epoch."""
    epochs = len(problem.epochs)
    idle = Blocks(np.arange(epochs), np.ones(epochs), np.zeros((epochs, len(problem.classes))))
    programme = build(problem.with_blocks(idle), Relax(True, True, True))
    columns = _columns(programme)
    first_stage = [{v.name: key for key, v in family.items()} for family in (programme.buy, programme.replicas)]
    place = [{v.name: i for i, v in enumerate(_block_variables(programme, m))} for m in range(epochs)]
    cost = np.zeros((epochs, len(columns)))
    constants: list[list[float]] = []
    links: list[list[tuple[int, int, int, int, float]]] = [[], []]
    for m in range(epochs):
        for variable, usd in block_costs(programme, m):
            cost[m, place[m][variable.name]] = usd
        constants.append([])
        for r, (_, row) in enumerate(_hour_rows(programme, m)):
            constants[m].append(-row.constant)
            for variable, unit in row.items():
                for link, keys in zip(links, first_stage, strict=True):
                    if variable.name in keys:
                        link.append((m, r, *keys[variable.name], -unit))
    rows = list(_hour_rows(programme, 0))
    coefficients = np.zeros((len(rows), len(columns)))
    for r, (_, row) in enumerate(rows):
        for variable, unit in row.items():
            if variable.name in place[0]:
                coefficients[r, place[0][variable.name]] = unit
    names = tuple(name.rsplit(".", 1)[0] for name, _ in rows)
    equality = np.array([row.sense == 0 for _, row in rows])
    bare = HourMatrix(columns, names, coefficients, equality, cost, np.array(constants))
    return HourForm(bare, tuple(_link(link) for link in links))


def _hour_rows(programme: Programme, t: int) -> Iterator[tuple[str, Any]]:
    return (row for family in EVERY_BLOCK for row in family(programme, t))


def _link(found: list[tuple[int, int, int, int, float]]) -> tuple[Ints, Ints, Ints, Ints, Array]:
    table = np.array(found, dtype=float).reshape(-1, 5)
    epoch, row, first, second = table[:, :4].T.astype(np.intp)
    return epoch, row, first, second, table[:, 4]


def _status(model_status: Any, found: bool) -> Status:
    import highspy

    known: dict[Any, Status] = {
        highspy.HighsModelStatus.kOptimal: "optimal",
        highspy.HighsModelStatus.kInfeasible: "infeasible",
        highspy.HighsModelStatus.kUnbounded: "unbounded",
        highspy.HighsModelStatus.kUnboundedOrInfeasible: "infeasible",
    }
    return known.get(model_status, "feasible" if found else "nothing found")


def _fleet(programme: Programme) -> Fleet:
    problem = programme.problem
    buy = np.zeros((len(problem.offers), len(problem.epochs)))
    replicas = np.zeros((len(problem.deployments), len(problem.epochs)))
    for array, variables in ((buy, programme.buy), (replicas, programme.replicas)):
        for key, variable in variables.items():
            value = variable.varValue or 0.0
            array[key] = round(value) if variable.cat == "Integer" else max(value, 0.0)
    if not programme.relax.purchases:
        for d in range(len(problem.deployments)):
            if whole_by_itself(problem, d):
                replicas[d] = np.floor(replicas_that_fit(problem, buy, d) + 1e-9)
    return Fleet(buy, replicas)


def replicas_that_fit(problem: Problem, buy: Array, d: int) -> Array:
    """[M] how many replicas of d the units placed by epoch in its pool can hold."""
    deployment, active = problem.deployments[d], problem.active_units(buy)
    gpus = np.zeros(len(problem.epochs))
    for o, offer in enumerate(problem.offers):
        if offer.placed == "epoch" and deployment.pool in offer.covers:
            gpus += active[o] / offer.covers[deployment.pool]
    return gpus / deployment.gpus_per_replica


def _families(programme: Programme) -> dict[str, dict[tuple[int, ...], Any]]:
    return {
        "served": dict(programme.served),
        "api": dict(programme.api),
        "unserved": dict(programme.unserved),
        "on": dict(programme.on),
        "rented": dict(programme.rented),
    }


def _columns(programme: Programme) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple(
        (family, key[:-1]) for family, variables in _families(programme).items() for key in variables if not key[-1]
    )


def _block_variables(programme: Programme, t: int = 0) -> list[Any]:
    return [v for variables in _families(programme).values() for key, v in variables.items() if key[-1] == t]


def _block_values(programme: Programme) -> Array:
    columns = {column: i for i, column in enumerate(_columns(programme))}
    values = np.zeros((len(programme.problem.blocks), len(columns)))
    for family, variables in _families(programme).items():
        for key, variable in variables.items():
            value = variable.varValue or 0.0
            values[key[-1], columns[family, key[:-1]]] = round(value) if variable.cat == "Integer" else max(value, 0.0)
    return values
