"""GPU seconds per request of classes that share deployments, enough for every hour's own mix of them.

Why. The room for random arrivals belongs to all requests in flight (`gpu_time.py`): in an hour whose mix is D the
deployment needs D busy / share(D) GPU seconds, where `busy` of a measured shape is such that alone it is as measured.
The programme wants one number per class for all hours, and hours differ: a class that comes alone by night cannot pay
the room of a mix that it is only part of by day. So

* every class costs what it needs alone, a measured shape what was measured;
* where the mix of an hour needs more than its classes then pay, they are raised alike until they pay for it;
* where every hour in which a class comes pays more than it needs, the class is lowered (one long prompt in a thousand
  needs no server of its own), though not below its part of the worst of these mixes; the dearest class first.

Alone is nearly right: two classes, up to 500 in flight, then pay at least 94 % of what any mix of them needs (1 / share
is nearly linear in 1 / n), and in every hour of the shipped examples 99 %. So where a part of a mix is served elsewhere
the rest is nearly paid for too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hardware_profiles.curve import Shape
from planner.arrivals import Floats
from planner.gpu_time import GpuTimeLaw

_ENOUGH = 1e-6
"""Of what an hour's mix needs: what may be missing."""
_HASH = np.int64(6364136223846793005)
"""Knuth's multiplier for 64-bit words."""


def gpu_s_by_class(law: GpuTimeLaw, shapes: Sequence[Shape], demand: Floats) -> tuple[float | None, ...]:
    """GPU seconds per request of each shape, `demand[t, k]` requests of them coming in hour t.

    None: it comes in an hour whose mix meets the SLO at no rate, nor does it alone.
    """
    alone = np.array([np.nan if (usual := law.gpu_s(shape)) is None else usual for shape in shapes])
    steady = alone * law.shares(shapes, np.eye(len(shapes)))
    busy = np.where(np.isnan(steady), [law.steady_gpu_s(shape) for shape in shapes], steady)
    mixes = _mixes(demand)
    share = law.shares(shapes, mixes)
    worst = busy / np.where(mixes > 0, share[:, None], np.inf).min(axis=0, initial=np.inf)
    first = np.where(np.isnan(alone) & (worst > 0), worst, alone)
    served = ~np.isnan(first)
    known = ~np.isnan(share) & ~(mixes[:, ~served] > 0).any(axis=1)
    mixes, part = mixes[known][:, served], busy[served] / share[known, None]
    least = np.where(worst > 0, worst, np.inf)[served]
    seconds = first.copy()
    seconds[served] = _lowered(_raised(first[served], mixes, part), mixes, part, least)
    return tuple(None if np.isnan(each) else float(each) for each in seconds)


def _mixes(demand: Floats) -> Floats:
    """The hours' demands as shares, each once or nearly so; equal to six digits is the same.

    Rows are brought together by a hash, which is ten times as fast as sorting them; two rows of one hash both stay.
    """
    busy = demand[demand.sum(axis=1) > 0]
    parts = np.round(1e6 * busy / busy.sum(axis=1, keepdims=True)).astype(np.int64)
    parts = parts[np.argsort(parts @ (_HASH ** np.arange(parts.shape[1])), kind="stable")]
    first = np.ones(len(parts), dtype=bool)
    first[1:] = (parts[1:] != parts[:-1]).any(axis=1)
    found: Floats = parts[first] / 1e6
    return found


def _raised(seconds: Floats, mixes: Floats, part: Floats) -> Floats:
    """The classes of every mix that pays too little raised alike, none beyond its own `part[t, k]` of its need."""
    paid, need = seconds.copy(), (mixes * part).sum(axis=1)
    while (short := mixes @ paid < need * (1 - _ENOUGH)).any():
        here, most = mixes[short], np.maximum(part[short], paid)
        full = (most <= paid * (1 + _ENOUGH / 10)) | (here == 0)
        others = need[short] - np.where(full, here * paid, 0.0).sum(axis=1)
        rise = others / np.where(full, 0.0, here * paid).sum(axis=1)
        paid = np.where(full, paid, np.minimum(rise[:, None] * paid, most)).max(axis=0)
    return paid


def _lowered(seconds: Floats, mixes: Floats, part: Floats, least: Floats) -> Floats:
    """Every class lowered by what all its mixes pay too much, the dearest of its work first."""
    paid, need = seconds.copy(), (mixes * part).sum(axis=1)
    for k in np.argsort(-seconds / least, kind="stable"):
        here = mixes[:, k] > 0
        if here.any():
            spare = ((mixes[here] @ paid - need[here]) / mixes[here, k]).min()
            paid[k] = min(paid[k], max(least[k], paid[k] - max(float(spare), 0.0)))
    return paid
