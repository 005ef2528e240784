"""The forecast: how many requests and tokens each workload brings in every hour.

Why hours: prices, whole on-demand units and daily peaks live in them; Poisson and burst inside the hour belong to
capacity. Whatever the file's interval, a `Forecast` is hourly totals:

* shorter intervals are added up (nothing is lost; a last hour that is only partly there is a fault);
* longer ones, calendar months too, are spread evenly and a note says that peaks inside a row are not seen;
* hours begin where the first row begins, so a zone of UTC+5:30 keeps its hours.

Times without a zone are UTC, said in a note; times with several offsets are one sequence in UTC. Rows may come in any
order. Without a `workload` column there is one workload, `all`. Several scenarios are several `Forecast`s of the same
hours and workloads (`read_scenarios`): whoever plans on one alone (`read_forecast`) is told when there are more.

`tile` lengthens a forecast by repeating its last whole weeks, so that weekdays stay weekdays; `source_hour` keeps which
hours are copies of one another, so that they can be merged without loss.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from hardware_profiles.faults import Faults, InputError
from planner.forecast_rows import CappedFaults, read_rows
from planner.forecast_table import FloatArray, IntArray, hourly_table

__all__ = ["FloatArray", "Forecast", "IntArray", "read_forecast", "read_scenarios", "tile"]

_DAY_H = 24
_WEEK_H = 7 * _DAY_H


@dataclass(frozen=True, eq=False)
class Forecast:
    """Hourly totals of every workload, read-only: row t of each array is the hour that begins `start` + t hours."""

    path: Path
    sha256: str
    """Of the file's bytes."""
    start: datetime
    """Aware, UTC."""
    workloads: tuple[str, ...]
    """In the order in which the file names them; column w of each array."""
    requests: FloatArray
    input_tokens: FloatArray
    """Cached ones included."""
    cached_input_tokens: FloatArray
    output_tokens: FloatArray
    source_hour: IntArray
    """[T]: hours with the same number are copies of one row of the file; 0, 1, 2, ... in an hourly file as read."""
    notes: tuple[str, ...] = ()
    """What was assumed while reading, one sentence each, for the first screen."""
    scenario: str | None = None
    probability: float = 1.0

    def __post_init__(self) -> None:
        shape = (len(self.source_hour), len(self.workloads))
        for array in (self.requests, self.input_tokens, self.cached_input_tokens, self.output_tokens):
            if array.shape != shape:
                raise ValueError(f"expected an array of shape {shape}, not {array.shape}")
            array.setflags(write=False)
        self.source_hour.setflags(write=False)

    @property
    def hours(self) -> int:
        """Number of hours, T."""
        return len(self.requests)


def read_forecast(path: Path) -> Forecast:
    """Read a forecast of one scenario; `InputError` names every fault at once, and refuses several scenarios."""
    forecasts = read_scenarios(path)
    if len(forecasts) > 1:
        faults = Faults(str(path))
        names = ", ".join(str(forecast.scenario) for forecast in forecasts)
        faults.add("planning over several scenarios is not supported yet", "keep one", column="scenario", value=names)
        faults.check()
    return forecasts[0]


def read_scenarios(path: Path) -> tuple[Forecast, ...]:
    """Read one `Forecast` per scenario of the file, in its order; probabilities sum to 1."""
    faults = CappedFaults(str(path))
    try:
        data = path.read_bytes()
    except OSError as error:
        faults.add(f"cannot be read ({error.strerror})", "check the path and its permissions")
        raise InputError(*faults.found) from error
    rows = read_rows(data, faults)
    if not rows.line:
        faults.check()
    table = hourly_table(rows, faults)
    return tuple(
        Forecast(
            path=path,
            sha256=hashlib.sha256(data).hexdigest(),
            start=table.start,
            workloads=table.workloads,
            requests=counts[0],
            input_tokens=counts[1],
            cached_input_tokens=counts[2],
            output_tokens=counts[3],
            source_hour=table.source_hour,
            notes=table.notes,
            scenario=scenario,
            probability=probability,
        )
        for counts, (scenario, probability) in zip(table.counts, table.scenarios.items(), strict=True)
    )


def tile(forecast: Forecast, hours: int) -> tuple[Forecast, str | None]:
    """Exactly `hours` hours, repeated by whole weeks or cut; the note says so (None when nothing was done).

    The repeated part is the forecast's last whole weeks, or its last whole days where it is shorter than a week (said:
    weekends are then unknown). Less than a day cannot be repeated: `InputError`.
    """
    have = forecast.hours
    if hours == have:
        return forecast, None
    if hours < have:
        note = f"The forecast covers {have} h; the plan uses the first {hours} h."
        return _take(forecast, np.arange(hours)), note
    unit, name = (_WEEK_H, "week") if have >= _WEEK_H else (_DAY_H, "day")
    period = have // unit * unit
    if not period:
        faults = Faults(str(forecast.path))
        what = f"covers {have} h, which cannot be repeated to the {hours} h of the plan"
        faults.add(what, "give at least 24 hours, better a week or more")
        faults.check()
    index = np.arange(hours)
    index[have:] = have - period + (index[have:] - have) % period
    count = period // unit
    repeated = f"its last {count} {name}s" if count > 1 else f"its last {name}"
    weekend = "" if name == "week" else " (shorter than a week: weekends are not seen)"
    note = f"The forecast covers {have} h; the plan's {hours} h repeat {repeated}{weekend}."
    return _take(forecast, index), note


def later(forecast: Forecast, hours: int) -> Forecast:
    """The forecast without its first hours."""
    start = forecast.start + timedelta(hours=hours)
    return replace(_take(forecast, np.arange(hours, forecast.hours)), start=start)


def _take(forecast: Forecast, index: IntArray) -> Forecast:
    return replace(
        forecast,
        requests=forecast.requests[index],
        input_tokens=forecast.input_tokens[index],
        cached_input_tokens=forecast.cached_input_tokens[index],
        output_tokens=forecast.output_tokens[index],
        source_hour=forecast.source_hour[index],
    )
