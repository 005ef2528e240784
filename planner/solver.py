"""HiGHS, read without trust.

PuLP maps a time-out to the status "Optimal" (and `sol_status` to "integer feasible"), so nothing here looks at PuLP's
status word: HiGHS's own model status says whether a solution is there, and its dual bound says how good it can be. The
bound of an interrupted linear programme is not a bound and comes back as -inf.

A solver object never leaves this module: callers get numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from planner.problem import Array, Ints
from planner.programme import EVERY_BLOCK, Programme, block_costs

Status = Literal["optimal", "feasible", "infeasible", "unbounded", "nothing found"]
SEED = 20261120


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
    """Block variables in the order of `HourMatrix.columns`, one row per block."""


def solve_programme(programme: Programme, *, gap: float, time_limit_s: float) -> Answer:
    """Solve with HiGHS to a relative `gap` or until `time_limit_s`; one thread and a fixed seed: same in, same out."""
    import highspy
    import pulp

    programme.lp.solve(
        pulp.HiGHS(msg=False, gapRel=gap, gapAbs=0.0, timeLimit=time_limit_s, threads=1, random_seed=SEED,
                   mip_feasibility_tolerance=1e-7)
    )  # fmt: skip
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
        return Answer(status, math.inf, bound if status != "infeasible" else math.inf, None, None)
    bound = min(bound, float(info.objective_function_value))
    values = _block_values(programme)
    return Answer(status, float(info.objective_function_value), bound, _fleet(programme), values)


@dataclass(frozen=True, eq=False)
class HourMatrix:
    """The rows and columns that every block shares, read off the programme of one block: rows `A x <= or == b`.

    `coefficients[r, c]`; `equality[r]`; `cost_usd[m, c]` per hour at the prices of epoch m. The right-hand side of row
    r in a block of epoch m is `constant[m, r]` plus, for the first rows (one per class, the balance), the demand.
    """

    columns: tuple[tuple[str, tuple[int, ...]], ...]
    rows: tuple[str, ...]
    coefficients: Array
    equality: np.ndarray[Any, np.dtype[np.bool_]]
    cost_usd: Array
    constant: Array

    def family(self, name: str) -> Ints:
        """Indices of the columns of one family of variables (`served`, `api`, `unserved`, `on`, `rented`)."""
        return np.array([i for i, (family, _) in enumerate(self.columns) if family == name], dtype=np.intp)


def hour_matrix(programmes: list[Programme], fleet: Fleet) -> HourMatrix:
    """The matrix of a block from one single-block programme per epoch (demand zero), `fleet` on the right-hand side."""
    first = programmes[0]
    columns = _columns(first)
    place = {variable.name: i for i, variable in enumerate(_block_variables(first))}
    names: list[str] = []
    equality: list[bool] = []
    rows: list[Array] = []
    constants, costs = [], []
    for m, programme in enumerate(programmes):
        bought = {variable.name: fleet.buy[key] for key, variable in programme.buy.items()}
        bought |= {variable.name: fleet.replicas[key] for key, variable in programme.replicas.items()}
        constant = []
        for family in EVERY_BLOCK:
            for name, row in family(programme, 0):
                constant.append(-row.constant - sum(c * bought.get(v.name, 0.0) for v, c in row.items()))
                if m == 0:
                    line = np.zeros(len(columns))
                    for variable, coefficient in row.items():
                        if variable.name in place:
                            line[place[variable.name]] = coefficient
                    names.append(name.rsplit(".", 1)[0])
                    equality.append(row.sense == 0)
                    rows.append(line)
        constants.append(constant)
        cost = np.zeros(len(columns))
        for variable, usd in block_costs(programme, 0):
            cost[place[variable.name]] = usd
        costs.append(cost)
    return HourMatrix(columns, tuple(names), np.array(rows), np.array(equality), np.array(costs), np.array(constants))


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
    return Fleet(buy, replicas)


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
