"""Each workload's promise and bill, and each deployment's evidence and replicas, from a solved case."""

from __future__ import annotations

import numpy as np

from planner.attribution import missed_requests, workload_usd
from planner.deployments import CaseDeployment
from planner.plan import Deployed, Served
from planner.problem import Array
from planner.seen import seen_shapes
from planner.told import Told
from planner.unit_costs import input_usd


def workloads(told: Told) -> list[Served]:
    """One row per workload of the forecast."""
    bills, inputs = workload_usd(told.case, told.solution), input_usd(told.case, told.solution)
    found = []
    for workload, usd, usd_in in zip(told.case.workloads, bills, inputs, strict=True):
        classes = list(workload.classes)
        demand = told.solution.blocks.demand[:, classes]
        requests = told.weight_h @ demand
        tokens_in = float(requests @ told.input_per_request[classes])
        tokens_out = float(requests @ told.output_per_request[classes])
        tokens = tokens_in + tokens_out
        marginal = float(told.weight_h @ (demand * told.solution.hours.marginal_usd[:, classes]).sum(axis=1))
        slo = workload.spec.slo
        found.append(
            Served(
                name=workload.name,
                model=workload.model,
                owner=workload.spec.owner,
                ttft_s=slo.ttft_s,
                tpot_s=slo.tpot_s,
                e2e_s=slo.e2e_s,
                attainment=slo.attainment,
                requests=float(requests.sum()),
                input_tokens=tokens_in,
                output_tokens=tokens_out,
                unserved_requests=float(missed_requests(told.solution)[classes].sum()),
                usd=float(usd),
                usd_per_mtok=float(usd) / tokens * 1e6 if tokens else None,
                marginal_usd_per_mtok=marginal / tokens * 1e6 if tokens else None,
                input_usd_per_mtok=float(usd_in) / tokens_in * 1e6 if tokens_in else None,
                output_usd_per_mtok=float(usd - usd_in) / tokens_out * 1e6 if tokens_out else None,
            )
        )
    return found


def deployments(told: Told) -> tuple[Deployed, ...]:
    """Those that run at all."""
    return tuple(_deployed(told, d) for d in range(len(told.case.deployments)) if _runs(told, d))


def _runs(told: Told, d: int) -> bool:
    return bool(told.solution.fleet.replicas[d].any() or _rented(told, d).any())


def _rented(told: Told, d: int) -> Array:
    columns = enumerate(told.solution.hours.matrix.columns)
    mine = [i for i, (family, key) in columns if family == "rented" and key[1] == d]
    total: Array = told.solution.hours.values[:, mine].sum(axis=1)
    return total


def _by_hour(told: Told, d: int) -> tuple[float, ...]:
    """The most replicas that run in each hour of the day."""
    running = told.solution.fleet.replicas[d][told.solution.blocks.epoch] + _rented(told, d)
    hours = running[told.solution.block_of]
    of_day = (told.case.span.start.hour + np.arange(len(hours))) % 24
    return tuple(float(hours[of_day == hour].max(initial=0.0)) for hour in range(24))


def _deployed(told: Told, d: int) -> Deployed:
    info: CaseDeployment = told.case.deployments[d]
    curve = info.curve
    epochs = told.case.problem.epochs
    return Deployed(
        name=info.name,
        model=curve.model,
        gpu=curve.gpu.name,
        gpus_per_replica=curve.gpu.count,
        precision=curve.precision,
        engine=curve.conditions.engine,
        engine_version=curve.conditions.engine_version,
        kind=curve.kind,
        saturated=info.law.saturated,
        percentile_known=info.law.percentile_known,
        gpu_time_error=info.law.error_max,
        extrapolated=info.extrapolated,
        replicas={epochs[m].name: float(n) for m, n in enumerate(told.solution.fleet.replicas[d])},
        rented_replicas_most=float(_rented(told, d).max(initial=0.0)),
        source=curve.conditions.source,
        server_args=curve.conditions.server_args,
        notes=(*curve.conditions.notes, *info.law.notes),
        dated=curve.conditions.measured_at or curve.conditions.source_date,
        weights=curve.conditions.weights,
        model_source=curve.conditions.model_source,
        tensor_parallel=curve.tensor_parallel,
        pipeline_parallel=curve.pipeline_parallel,
        data_parallel=curve.data_parallel,
        shapes=seen_shapes(info),
        by_hour=_by_hour(told, d),
    )
