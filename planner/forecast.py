"""The forecast: how many requests and tokens each workload brings in every hour."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


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
    """[T]: which hour of the file each hour repeats; 0, 1, 2, ... until `tile` lengthens it."""
    notes: tuple[str, ...] = ()
    """What was assumed while reading, one sentence each, for the first screen."""
    scenario: str | None = None
    probability: float = 1.0

    @property
    def hours(self) -> int:
        """Number of hours, T."""
        return len(self.requests)


def read_forecast(path: Path) -> Forecast:
    """Read a forecast of one scenario; `InputError` names every fault at once, and refuses several scenarios."""
    raise NotImplementedError


def read_scenarios(path: Path) -> tuple[Forecast, ...]:
    """Read one `Forecast` per scenario of the file, in its order; probabilities sum to 1."""
    raise NotImplementedError


def tile(forecast: Forecast, hours: int) -> tuple[Forecast, str | None]:
    """Exactly `hours` hours, repeated by whole weeks or cut; the note says so (None when nothing was done)."""
    raise NotImplementedError
