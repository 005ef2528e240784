"""From where to where a stage counts, and whether it is steady there: a pure pass over raw records.

Why apart from the metrics: what does not count, and what cannot be told, follows from how long requests take
(`bench.length`), whatever is then computed of those that count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.length import FEWEST_E2E, RAMP_E2E, SPARE, TAIL_E2E, Mode, least_load_s
from bench.records import Floats, Records
from bench.schedule import Stage
from bench.stats import Window, e2e_s, in_flight
from bench.sure import effective


@dataclass(frozen=True)
class Stationarity:
    """Whether the window is steady; `stationary` is None when it is too short to tell."""

    stationary: bool | None
    z: float | None
    reason: str


def stage_window(records: Records, stage: Stage, load_s: float) -> Window:
    """From the end of warm-up and ramp to the load's stop, without the tail.

    The ramp: `RAMP_E2E` median E2E times, and in a closed loop until the last user began. In an open loop the E2E is
    that of the tenth that was sent first, since a server that falls behind has E2E times as long as the stage. The
    tail: a median E2E before the stop, because requests sent there end in the drain, under less load. What would leave
    less than half of the load is not cut.
    """
    served = e2e_s(records.select(records.ok))
    start = max(stage.warm_up_s, stage.stagger_s if stage.mode == "closed" else 0.0)
    if not len(served):
        return Window(min(start, load_s / 2), load_s)
    start = min(max(start, RAMP_E2E[stage.mode] * _unloaded_s(served, stage.mode)), load_s / 2)
    end = load_s - TAIL_E2E * float(np.median(served))
    return Window(start, end if end - start > (load_s - start) / 2 else load_s)


def stationarity(records: Records, window: Window, *, mode: Mode = "open") -> Stationarity:
    """Do the first and the last third agree? (Geweke 1992, with the variance of an autocorrelated mean.)

    Open loop: number in flight, which grows when the server falls behind. Closed loop: rate of arriving tokens, since
    the number in flight is held. Judged at 1 % (Student's t); the autocorrelation is estimated with the straight line
    taken out, so that a drift does not excuse itself. A window of fewer than `FEWEST_E2E` E2E times cannot be called
    steady, but a plain drift (|z| > 5) shows even there, once the ramp is over: a server that falls behind has E2E
    times as long as the window.

    Ten E2E times show too little of how the number in flight wanders, so its error is not taken below that of an idle
    server: the mean over T of a Poisson number in flight has the variance mean x E2E / T (M/D/infinity).
    """
    served = records.select(records.ok)
    took_s = e2e_s(served)
    typical = float(np.median(took_s)) if len(served) else math.inf
    enough = window.length_s >= (1 - 1e-9) * FEWEST_E2E[mode] * typical
    bins = int(min(max(4 * window.length_s / typical, 40), 4096)) if typical > 0 else 40
    edges = np.linspace(window.start_s, window.end_s, bins + 1)
    if mode == "open":
        series, what = in_flight(records, edges[:-1]), "requests in flight"
    else:
        series, what = np.histogram(served.chunk_s, edges)[0].astype(np.float64), "tokens arriving"
    unloaded_s = _unloaded_s(took_s, mode) if len(served) else math.inf
    chance = (
        math.sqrt(6 * float(series.mean()) * unloaded_s / window.length_s) if mode == "open" and len(served) else 0.0
    )
    first, last, z, limit = _thirds(series, chance)
    filled = window.start_s >= 0.99 * RAMP_E2E[mode] * unloaded_s
    if not enough and (abs(z) <= 5.0 or not filled):
        return Stationarity(None, None, _too_short(mode, window, typical))
    told = f"{what}: {first:.4g} in the first third, {last:.4g} in the last"
    return Stationarity(abs(z) < limit, None if math.isinf(z) else z, told)


def _unloaded_s(took_s: Floats, mode: Mode) -> float:
    """Median E2E; in an open loop that of the tenth sent first: a server that falls behind lengthens all the others."""
    return float(np.median(took_s if mode == "closed" else took_s[: math.ceil(len(took_s) / 10)]))


def _too_short(mode: Mode, window: Window, typical_s: float) -> str:
    """What is missing, and how to get it."""
    if math.isinf(typical_s):
        return "no request had time to end: leave --stage-seconds out, then stages last as long as they need"
    told = f"the window of {window.length_s:.3g} s is shorter than {FEWEST_E2E[mode]} E2E times of {typical_s:.3g} s"
    least_s = math.ceil(SPARE * least_load_s(mode, 0.0, typical_s))
    return f"{told}: leave --stage-seconds out, or give {least_s}"


def _thirds(series: Floats, least_error: float) -> tuple[float, float, float, float]:
    """Means of the first and the last third, their difference in standard errors, and its bound at 1 %."""
    from scipy.special import stdtrit

    bins = len(series)
    x = np.arange(bins) - (bins - 1) / 2
    detrended = series - series.mean() - (x @ series) / (x @ x) * x
    third = bins // 3
    first, last = float(series[:third].mean()), float(series[-third:].mean())
    worth = effective(detrended, third)
    error = max(float(detrended.std()) * math.sqrt(2 / worth), least_error)
    limit = float(stdtrit(max(1.0, 2 * worth - 2), 0.995))
    if first == last:
        return first, last, 0.0, limit
    return first, last, (last - first) / error if error > 0 else math.copysign(math.inf, last - first), limit
