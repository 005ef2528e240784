"""Verdicts on the GPU under a point: was it whole, alone, and the same from the beginning to the end?

Why: a throttled or shared GPU gives numbers that nobody will see again. Tolerances as in `judge.py`.
"""

from __future__ import annotations

import numpy as np

from bench.evidence import Evidence, unknown, verdict_of, within
from bench.gpu import POWER_CAP, energy_between
from hardware_profiles.curve import Check

POWER_LIMIT_SHARE = 0.01
CLOCK_SHARE, FEWEST_CLOCKS = 0.05, 6
"""A power cap lets the clock wander by a few percent; somebody who sets it moves it by more."""
POWER_SHARE = 0.20
"""Power samples cover a quarter of the time on A100 and H100 (arXiv 2312.02741), so they agree only so well."""


def gpu_throttled(evidence: Evidence) -> Check:
    """Heat or a failing supply slowed the GPU. Its own power cap does not fail: that is what this GPU delivers."""
    if not evidence.readings:
        return unknown("gpu_throttled", evidence.watch.gpu_reason or "no reading of the driver from inside the window")
    told = [reading.throttled for reading in evidence.readings]
    if None in told:
        return unknown("gpu_throttled", "the driver does not tell")
    reasons = {reason for reading in told for reason in reading or ()} - {POWER_CAP}
    named = ", ".join(sorted(reasons))
    return verdict_of("gpu_throttled", not reasons, f"slowed by {named}" if reasons else "not slowed by heat or supply")


def gpu_shared(evidence: Evidence) -> Check:
    """Nobody else computed on the GPU."""
    if not evidence.readings:
        return unknown("gpu_shared", evidence.watch.gpu_reason or "no reading of the driver from inside the window")
    seen = [reading.processes for reading in evidence.readings]
    own = evidence.watch.own_processes
    if not own or None in seen:
        return unknown("gpu_shared", "the driver does not tell which processes are the server's")
    foreign = {pid for processes in seen for pid in processes or ()} - set(own)
    told = f"{len(foreign)} other processes" if foreign else "only the server's processes"
    return verdict_of("gpu_shared", not foreign, told)


def gpu_settings(evidence: Evidence) -> Check:
    """The power limit stayed as it was, and the clock of the window's end is that of its beginning."""
    limits = [reading.power_limit_w for reading in evidence.watch.readings if reading.power_limit_w is not None]
    clocks = [reading.clock_sm_mhz for reading in evidence.readings if reading.clock_sm_mhz is not None]
    if not limits:
        return unknown("gpu_settings", evidence.watch.gpu_reason or "the driver does not tell")
    told = f"power limit {min(limits):.0f} to {max(limits):.0f} W"
    worst = (max(limits) / min(limits) - 1) / POWER_LIMIT_SHARE
    if len(clocks) >= FEWEST_CLOCKS:
        third = len(clocks) // 3
        first, last = float(np.mean(clocks[:third])), float(np.mean(clocks[-third:]))
        told += f", clock {first:.0f} MHz in the window's first third, {last:.0f} in its last"
        worst = max(worst, abs(last / first - 1) / CLOCK_SHARE)
    return within("gpu_settings", worst, 1.0, told)


def gpu_energy(evidence: Evidence) -> Check:
    """The driver's energy counter against its own power samples: a counter that stands still or jumps is found out."""
    window, readings = evidence.window, evidence.readings
    moments = evidence.zero_unix_s + window.start_s, evidence.zero_unix_s + window.end_s
    energy_j = energy_between(evidence.watch.readings, *moments)
    samples = [reading.power_w for reading in readings if reading.power_w is not None]
    if energy_j is None or not samples:
        return unknown("gpu_energy", evidence.watch.gpu_reason or "the driver does not tell energy and power")
    counted_w, sampled_w = energy_j / window.length_s, float(np.mean(samples))
    told = f"counter {counted_w:.0f} W, samples {sampled_w:.0f} W on average"
    return within("gpu_energy", abs(counted_w - sampled_w), POWER_SHARE * sampled_w, told)
