"""From which volume on does a GPU pay? The cost of a million tokens of one model at any volume, way by way.

Each way serves all of a model's work alone, at the plan's own capacities and prices and with its own swing of load: an
hour's load is its level times the mean, and the levels stay as the volume grows. For a mean of V million tokens an
hour,

    GPUs in an hour of level x  = max(s, ceil(V x g / s) s)      g GPU-hours per million tokens, s GPUs per step
    API                         = p
    by the hour                 = u + mean over the hours of GPUs * q / V
    held (reserved, owned)      = u + (GPUs in the highest hour * q + f) / V

with p and u USD per million tokens (u: power while working), q USD per GPU-hour and f USD per hour whatever the number
of GPUs (a team). A step is a whole replica and a whole unit of the offer; one step always stays warm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from planner.plan import Levels, Way

_BY_HOUR = ("on demand", "spot")


def usd_per_mtok(way: Way, levels: Levels, mtok_per_h: float) -> float:
    """USD per million tokens at a mean of `mtok_per_h` million tokens an hour.

    Half of the hours at 1.5 times the mean, half at 0.5; 1 GPU-hour per 10 million tokens, steps of 2 GPUs at 3 USD an
    hour. At 40 million tokens an hour that takes 6 GPUs, then 2: by the hour 12 USD for 40 million, held 18.

    >>> levels = ((0.5, 1.5), (0.5, 0.5))
    >>> rented = Way(name="a", scheme="on demand", usd_per_mtok=0, gpu_h_per_mtok=0.1, gpus_per_step=2, usd_per_gpu_h=3)
    >>> held = rented.model_copy(update={"scheme": "reserved", "fixed_usd_per_h": 2.0})
    >>> usd_per_mtok(rented, levels, 40), usd_per_mtok(held, levels, 40)
    (0.3, 0.5)
    >>> usd_per_mtok(Way(name="b", scheme="api", usd_per_mtok=0.4), levels, 40)
    0.4
    """
    if way.gpu_h_per_mtok is None:
        return way.usd_per_mtok
    gpus = [(share, _gpus(way, mtok_per_h * level * way.gpu_h_per_mtok)) for share, level in levels]
    if way.scheme in _BY_HOUR:
        paid = sum(share * count for share, count in gpus) * way.usd_per_gpu_h
    else:
        paid = max(count for _, count in gpus) * way.usd_per_gpu_h
    return way.usd_per_mtok + (paid + way.fixed_usd_per_h) / mtok_per_h


def _gpus(way: Way, needed: float) -> float:
    step = way.gpus_per_step
    return max(step, math.ceil(needed / step - 1e-9) * step)


def volumes(mean: float, spread: float = 100.0, count: int = 401) -> tuple[float, ...]:
    """`count` volumes from `mean` / `spread` to `mean` * `spread`, evenly by ratio; the middle one is `mean`.

    >>> volumes(10, 100, 5)
    (0.1, 1.0, 10.0, 100.0, 1000.0)
    """
    half = (count - 1) / 2
    return tuple(round(mean * spread ** ((i - half) / half), 12) for i in range(count))


def break_even(one: Sequence[float], other: Sequence[float], at: Sequence[float]) -> float | None:
    """The smallest volume of `at` from which `one` stays at most as dear as `other`; None where it never does.

    >>> break_even((9, 3, 5, 2, 1), (4, 4, 4, 4, 4), (1, 2, 3, 4, 5))
    4
    >>> break_even((9, 9), (4, 4), (1, 2)) is None
    True
    """
    found = None
    for mine, theirs, volume in zip(reversed(one), reversed(other), reversed(at), strict=True):
        if mine > theirs:
            break
        found = volume
    return found
