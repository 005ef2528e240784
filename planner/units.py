"""The same decision with work counted in larger units, because the solver is only right about numbers of like size.

Stated in single requests, a programme multiplies demands of 1e4 and more by GPU times of 1e-4. HiGHS 1.15.1
(1.12.0 too) then derives cuts that remove the optimum, and calls a dearer plan optimal with gap 0: seen on 12 of 250
small programmes with a fixed charge, by up to 20 % (kin to ERGO-Code/HiGHS issues 3170 and 3171). Counted so that one
unit of work takes a GPU about an hour, none of them was wrong. Units of what is bought, switched on and placed stay.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.dispatch import Dispatch
from planner.problem import Blocks, Problem

_PER_REQUEST = ("served", "api", "unserved")
_IN_REQUESTS = ("balance", "endpoint_requests")


def work_unit(problem: Problem) -> float:
    """Requests that take a GPU an hour (the median), no more than the highest demand, as a power of two.

    A power of two changes no digit of a number, so that what is exact stays exact.
    """
    times = [time for d in problem.deployments for time in d.gpu_h_per_request if time is not None]
    most = float(problem.blocks.demand.max(initial=0.0))
    wanted = min((1 / float(np.median(times)) if times else most), most)
    return float(2.0 ** np.round(np.log2(wanted))) if wanted > 0 else 1.0


def in_units(problem: Problem) -> Problem:
    """The same decision with demand, GPU times, prices and limits per `work_unit` requests."""
    unit = work_unit(problem)
    blocks = problem.blocks

    def per_unit(amounts: tuple[float | None, ...]) -> tuple[float | None, ...]:
        return tuple(None if amount is None else amount * unit for amount in amounts)

    return replace(
        problem,
        blocks=Blocks(blocks.epoch, blocks.weight_h, blocks.demand / unit),
        deployments=tuple(replace(d, gpu_h_per_request=per_unit(d.gpu_h_per_request)) for d in problem.deployments),
        endpoints=tuple(
            replace(
                endpoint,
                usd_per_request=per_unit(endpoint.usd_per_request),
                requests_per_h=None if endpoint.requests_per_h is None else endpoint.requests_per_h / unit,
                tokens_per_request=tuple(tokens * unit for tokens in endpoint.tokens_per_request),
            )
            for endpoint in problem.endpoints
        ),
        unserved_usd_per_request=tuple(usd * unit for usd in problem.unserved_usd_per_request),
    )


def in_requests(hours: Dispatch, unit: float) -> Dispatch:
    """A dispatch of the problem `in_units` counted in single requests again."""
    matrix = hours.matrix
    columns = np.array([unit if family in _PER_REQUEST else 1.0 for family, _ in matrix.columns])
    rows = np.array([unit if row.split(".", 1)[0] in _IN_REQUESTS else 1.0 for row in matrix.rows])
    single = replace(
        matrix,
        coefficients=matrix.coefficients * rows[:, None] / columns,
        cost_usd=matrix.cost_usd / columns,
        constant=matrix.constant * rows,
    )
    return replace(hours, matrix=single, values=hours.values * columns, marginal_usd=hours.marginal_usd / unit)
