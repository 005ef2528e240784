"""What the NVIDIA driver says about the GPUs under test, before, through and after a stage; None with a reason without.

Why: a curve may only carry the name, clocks and power that the driver confirms, and a point measured on a throttled or
shared GPU must say so. How: NVML through `nvidia-ml-py`, imported when first asked. Energy is the driver's counter
(millijoules since it was loaded): power samples of nvidia-smi cover a quarter of the time on A100 and H100
(arXiv 2312.02741), so they are kept as a cross-check only. Numbers of several GPUs: energy, power and memory are added
up, the slowest clock and the union of the throttle reasons are kept.

Inside a container NVML may number processes as the host does, so ours are those that were not there before the server
started and are when it is ready (no two start on one GPU at once: `alone.py`); every other one is foreign.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from hardware_profiles.curve import Value

GIB = 2**30
SLOWING_REASONS = ("SwPowerCap", "HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown")
"""NVML's clock event reasons that make a GPU slower than its clocks promise; idling and set clocks do not."""
POWER_CAP = "SwPowerCap"
POWER_REASONS = frozenset({POWER_CAP, "HwPowerBrakeSlowdown"})


class Device(Value):
    """One GPU as the driver tells it."""

    name: str
    driver_version: str
    memory_gib: float | None
    power_limit_w: float | None
    clock_sm_max_mhz: float | None


class Reading(Value):
    """All GPUs under test at one moment; None where the driver does not tell."""

    unix_s: float
    energy_j: float | None
    power_w: float | None
    power_limit_w: float | None
    clock_sm_mhz: float | None
    throttled: tuple[str, ...] | None
    memory_used_gib: float | None
    processes: tuple[int, ...] | None


class Driver:
    """The GPUs that the server will use: the first `count` of those visible."""

    def __init__(self, nvml: Any, count: int, visible: str | None) -> None:
        self._nvml = nvml
        self._handles = _handles(nvml, visible)[:count]
        self.found = len(self._handles)

    def devices(self) -> tuple[Device, ...]:
        """Who they are."""
        nvml = self._nvml
        version = _text(nvml.nvmlSystemGetDriverVersion())
        return tuple(
            Device(
                name=_text(nvml.nvmlDeviceGetName(handle)),
                driver_version=version,
                memory_gib=self._of(lambda h: nvml.nvmlDeviceGetMemoryInfo(h).total / GIB, handle),
                power_limit_w=self._of(lambda h: nvml.nvmlDeviceGetEnforcedPowerLimit(h) / 1000, handle),
                clock_sm_max_mhz=self._of(lambda h: nvml.nvmlDeviceGetMaxClockInfo(h, nvml.NVML_CLOCK_SM), handle),
            )
            for handle in self._handles
        )

    def ids(self) -> tuple[str, ...]:
        """What tells each from every other GPU, wherever it is; one that does not tell is left out."""
        told = (self._of(self._nvml.nvmlDeviceGetUUID, handle) for handle in self._handles)
        return tuple(_text(uuid) for uuid in told if uuid is not None)

    def read(self, clock: Callable[[], float] = time.time) -> Reading:
        """How they are now."""
        nvml = self._nvml
        clocks = self._each(lambda h: nvml.nvmlDeviceGetClockInfo(h, nvml.NVML_CLOCK_SM))
        return Reading(
            unix_s=clock(),
            energy_j=_sum(self._each(lambda h: nvml.nvmlDeviceGetTotalEnergyConsumption(h) / 1000)),
            power_w=_sum(self._each(lambda h: nvml.nvmlDeviceGetPowerUsage(h) / 1000)),
            power_limit_w=_sum(self._each(lambda h: nvml.nvmlDeviceGetEnforcedPowerLimit(h) / 1000)),
            clock_sm_mhz=None if None in clocks else min(clock for clock in clocks if clock is not None),
            throttled=self._throttled(),
            memory_used_gib=_sum(self._each(lambda h: nvml.nvmlDeviceGetMemoryInfo(h).used / GIB)),
            processes=self._processes(),
        )

    def _throttled(self) -> tuple[str, ...] | None:
        bits = 0
        for handle in self._handles:
            told = self._of(self._nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
            if told is None:  # drivers before 535 know the call by its old name
                told = self._of(self._nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
            if told is None:
                return None
            bits |= told
        return tuple(name for name in SLOWING_REASONS if bits & getattr(self._nvml, f"nvmlClocksEventReason{name}"))

    def _processes(self) -> tuple[int, ...] | None:
        found: set[int] = set()
        for handle in self._handles:
            running = self._of(self._nvml.nvmlDeviceGetComputeRunningProcesses, handle)
            if running is None:
                return None
            found.update(process.pid for process in running)
        return tuple(sorted(found))

    def _each(self, ask: Callable[[Any], float]) -> list[float | None]:
        return [self._of(ask, handle) for handle in self._handles]

    def _of(self, ask: Callable[[Any], Any], handle: Any) -> Any:
        """The answer; None where this GPU does not support the question."""
        try:
            return ask(handle)
        except self._nvml.NVMLError:
            return None


def open_driver(
    count: int, *, nvml: Any = None, environment: Mapping[str, str] = os.environ
) -> tuple[Driver | None, str | None]:
    """The driver, or None and the reason in words."""
    if nvml is None:
        import pynvml

        nvml = pynvml
    try:
        nvml.nvmlInit()
        driver = Driver(nvml, count, environment.get("CUDA_VISIBLE_DEVICES"))
    except nvml.NVMLError as error:
        return None, f"NVML: {error}"
    return (driver, None) if driver.found else (None, "the driver shows no GPU")


def energy_between(readings: tuple[Reading, ...], start_unix_s: float, end_unix_s: float) -> float | None:
    """Joules used from one moment to the other: the counter, read off linearly between its readings.

    >>> def at(t, j):
    ...     return Reading(unix_s=t, energy_j=j, power_w=None, power_limit_w=None, clock_sm_mhz=None, throttled=(),
    ...                    memory_used_gib=None, processes=None)
    >>> energy_between((at(0, 100.0), at(10, 1100.0)), 2, 7)
    500.0
    """
    known = [(r.unix_s, r.energy_j) for r in readings if r.energy_j is not None]
    if len(known) < 2 or not known[0][0] <= start_unix_s < end_unix_s <= known[-1][0]:
        return None
    return _at(known, end_unix_s) - _at(known, start_unix_s)


def _at(known: list[tuple[float, float]], unix_s: float) -> float:
    for (t0, j0), (t1, j1) in itertools.pairwise(known):
        if unix_s <= t1:
            return j0 + (j1 - j0) * (unix_s - t0) / (t1 - t0)
    return known[-1][1]


def _handles(nvml: Any, visible: str | None) -> list[Any]:
    """In CUDA's order where CUDA_VISIBLE_DEVICES names indices or UUIDs; all of them otherwise."""
    if visible is None:
        return [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    named = [name.strip() for name in visible.split(",") if name.strip()]
    return [
        nvml.nvmlDeviceGetHandleByIndex(int(name)) if name.isdigit() else nvml.nvmlDeviceGetHandleByUUID(name)
        for name in named
    ]


def _sum(values: list[float | None]) -> float | None:
    return None if None in values else sum(value for value in values if value is not None)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
