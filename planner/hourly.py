"""The plan hour by hour: who serves what when, for pictures and for `hours.csv`.

Kept apart from `plan.json`, which stays readable: a year of hours is a table, not a document.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from planner.plan import Scheme
from planner.problem import Array


@dataclass(frozen=True, eq=False)
class HourTable:
    """Row t of every array is the hour that begins `start` + t hours (UTC).

    `served[scheme][t, w]` requests per hour of workload w; `unserved[t, w]` likewise; `tokens_per_request[w]` means
    over the horizon (input and output); `gpus_held[scheme][t]` GPUs there whether used or not (on demand: that are
    switched on); `gpus_busy[scheme][t]` the part of them that work fills at the SLO's capacity; `usd[t]` what the hour
    itself costs (on demand, API, busy power; purchases and commitments are not hourly).
    """

    start: datetime
    workloads: tuple[str, ...]
    demand: Array
    served: dict[Scheme, Array]
    unserved: Array
    tokens_per_request: Array
    gpus_held: dict[Scheme, Array]
    gpus_busy: dict[Scheme, Array]
    usd: Array
