"""What the driver says, read from a stand-in for the NVML library (this machine may have no GPU)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from bench.asked import Asked, make_plan
from bench.gpu import Reading, energy_between, open_driver
from bench.plan import RunPlan
from bench.run import checked_driver
from bench.server import environment
from hardware_profiles.faults import InputError


class Nvml:
    """Two GPUs that answer as the library does; calls named in `unsupported` fail as old GPUs make them fail."""

    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM
    NVMLError = pynvml.NVMLError

    def __init__(
        self, count: int = 2, unsupported: tuple[str, ...] = (), reasons: int = 0, name: str = "NVIDIA GPU"
    ) -> None:
        self.count, self.unsupported, self.reasons, self.name = count, unsupported, reasons, name

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvmlDevice") and name in object.__getattribute__(self, "unsupported"):

            def fail(*_: object) -> None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

            return fail
        if name.startswith("nvmlClocksEventReason"):
            return getattr(pynvml, name)
        return object.__getattribute__(self, name)

    def nvmlInit(self) -> None: ...  # noqa: N802
    def nvmlSystemGetDriverVersion(self) -> bytes:  # noqa: N802
        return b"570.1"

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        return {"GPU-b": 1}[uuid]

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return f"GPU-{'ab'[handle]}"

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return self.name if self.name != "NVIDIA GPU" else f"{self.name} {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(total=80 * 2**30, used=(handle + 1) * 2**30)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:  # noqa: N802
        return 700_000

    def nvmlDeviceGetMaxClockInfo(self, handle: int, kind: int) -> int:  # noqa: N802
        return 1980

    def nvmlDeviceGetClockInfo(self, handle: int, kind: int) -> int:  # noqa: N802
        return 1500 + handle

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        return 1_000_000

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        return 300_000

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: int) -> int:  # noqa: N802
        return self.reasons if handle == 1 else 0

    nvmlDeviceGetCurrentClocksThrottleReasons = nvmlDeviceGetCurrentClocksEventReasons  # noqa: N815

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=10 + handle), SimpleNamespace(pid=9)]


def reading(nvml: Nvml, count: int = 2) -> Reading:
    driver, reason = open_driver(count, nvml=nvml, environment={})
    assert driver is not None, reason
    return driver.read(clock=lambda: 5.0)


def test_two_gpus_are_read_as_one() -> None:
    """Energy, power and memory add up, the slowest clock counts, processes are joined; mJ and mW become J and W."""
    assert reading(Nvml()) == Reading(
        unix_s=5.0,
        energy_j=2000.0,
        power_w=600.0,
        power_limit_w=1400.0,
        clock_sm_mhz=1500.0,
        throttled=(),
        memory_used_gib=3.0,
        processes=(9, 10, 11),
    )


def test_only_the_gpus_under_test_are_read() -> None:
    """The first of the visible ones: CUDA_VISIBLE_DEVICES may name indices or UUIDs, in its own order."""
    for visible, name in ((None, "NVIDIA GPU 0"), ("1,0", "NVIDIA GPU 1"), ("GPU-b", "NVIDIA GPU 1")):
        environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        driver, _ = open_driver(1, nvml=Nvml(), environment=environment)
        assert driver is not None
        (device,) = driver.devices()
        assert (device.name, device.driver_version, device.memory_gib) == (name, "570.1", 80.0)


def test_reasons_that_slow_are_told_and_harmless_ones_are_not() -> None:
    """A power cap on any GPU is told; idling is no reason."""
    bits = pynvml.nvmlClocksEventReasonSwPowerCap | pynvml.nvmlClocksEventReasonGpuIdle
    assert reading(Nvml(reasons=bits)).throttled == ("SwPowerCap",)
    old = Nvml(reasons=bits, unsupported=("nvmlDeviceGetCurrentClocksEventReasons",))
    assert reading(old).throttled == ("SwPowerCap",)


def test_what_a_gpu_cannot_tell_is_unknown() -> None:
    """A GPU without energy counter, clocks or process list gives None for them and the rest as it is."""
    names = ("TotalEnergyConsumption", "ClockInfo", "ComputeRunningProcesses")
    reasons = ("CurrentClocksEventReasons", "CurrentClocksThrottleReasons")
    got = reading(Nvml(unsupported=tuple(f"nvmlDeviceGet{name}" for name in (*names, *reasons))))
    assert (got.energy_j, got.clock_sm_mhz, got.processes, got.throttled) == (None, None, None, None)
    assert got.power_w == 600.0


def test_no_gpu_is_a_reason() -> None:
    """No library and no GPU are told apart."""

    class Missing(Nvml):
        def nvmlInit(self) -> None:  # noqa: N802
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    assert open_driver(1, nvml=Missing()) == (None, "NVML: NVML Shared Library Not Found")
    assert open_driver(1, nvml=Nvml(count=0), environment={}) == (None, "the driver shows no GPU")


def test_energy_is_the_counters_difference() -> None:
    """1 kJ over 10 s is 100 W: 5 s of it are 500 J; outside the readings, or with none, it is unknown."""

    def at(unix_s: float, energy_j: float | None) -> Reading:
        rest = dict.fromkeys(("power_w", "power_limit_w", "clock_sm_mhz", "throttled", "memory_used_gib", "processes"))
        return Reading(unix_s=unix_s, energy_j=energy_j, **rest)

    readings = (at(0, 100.0), at(5, None), at(10, 1100.0), at(20, 1100.0))
    assert energy_between(readings, 2, 7) == pytest.approx(500.0)
    assert energy_between(readings, 5, 15) == pytest.approx(500.0)
    assert energy_between(readings, 5, 25) is None
    assert energy_between((), 0, 1) is None


def plan(gpu: str, count: int = 1) -> RunPlan:
    return make_plan(Asked(model="llama-3.1-8b", gpu=gpu, gpu_count=count), Path("/runs/x"), (0,))[0]


def test_the_gpu_must_be_the_one_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the driver reports decides; the fault names it and how to ask for it."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(name="NVIDIA H200"))
    driver, reason = checked_driver(plan("h200", 2))
    assert driver is not None
    assert reason is None
    with pytest.raises(InputError) as caught:
        checked_driver(plan("a100"))
    assert str(caught.value) == (
        "column '--gpu', value 'a100-80gb-sxm': the driver reports 'NVIDIA H200'. "
        "Remedy: ask for the GPU that is here: --gpu 'NVIDIA H200'."
    )
    with pytest.raises(InputError) as caught:
        checked_driver(plan("h200", 3))
    assert str(caught.value) == "column '--gpus', value '3': the driver shows 2 GPUs. Remedy: ask for fewer."


def test_the_gpu_that_is_watched_is_the_one_that_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--server-env` names the server's GPU, whatever ours are; CUDA is told to count as the driver does."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(name="NVIDIA H200", count=8))
    asked = Asked(model="llama-3.1-8b", gpu="h200", server_env=("CUDA_VISIBLE_DEVICES=3",))
    chosen = make_plan(asked, Path("/runs/x"), (0,))[0]
    driver, _ = checked_driver(chosen)
    assert driver is not None
    assert driver.read().memory_used_gib == 4.0  # of the fourth GPU alone
    assert chosen.server is not None
    assert environment(chosen.server, os.environ)["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_a_cpu_or_an_endpoint_asks_no_driver() -> None:
    """The reason stands in the curve's checks."""
    tiny = make_plan(Asked(model="tiny", gpu="cpu"), Path("/runs/x"), (0,))[0]
    assert checked_driver(tiny) == (None, "the server runs on the processor")
    given = make_plan(Asked(model="m", gpu="h100", endpoint="http://127.0.0.1:1"), Path("/runs/x"), (0,))[0]
    assert checked_driver(given) == (None, "the endpoint was given: its GPU is out of sight")
