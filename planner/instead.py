"""What the work of a purchase would cost in the next best way of each kind: an API, by the hour, another term.

Like is compared with like: the same requests in the same hours (`work.py`), at the prices of the months in which they
come, in present value. A way stands only if it can take all of the work within its limits beside what it carries
already, GPUs in whole units and replicas; what fits on units that are switched on anyway costs nothing more.

* **API**: of each class the cheapest endpoint that sells it.
* **By the hour**: one offer on demand or spot. Its minimum hours are not counted.
* **Another term**: one offer that is signed so often that the work is covered. A longer one is held against all
  purchases that it would do away with: this one, and those of the same offer that fall into its time.
* To work that is **by the hour now** another term is offered for one replica, where that replaces most: a term is for
  the base of a load, and its top is what hours are for.

In an optimal plan none of these is cheaper than what it replaces, except inside the gap that was proven.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from planner.plan import Instead, Scheme
from planner.present import fleet_usd
from planner.problem import Array, Endpoint, Offer
from planner.work import Running, Work, without

_ROUNDING = 1e-6
_TERMS: tuple[Scheme, ...] = ("owned", "reserved", "commitment")


class Ways:
    """The ways of one told case."""

    def __init__(self, run: Running) -> None:
        self.run, self.told, self.case = run, run.told, run.told.case
        self.problem, self.fleet = self.case.problem, run.told.solution.fleet
        self.epoch = self.told.solution.blocks.epoch
        self._groups: dict[bytes, Work] = {}

    def of(self, work: Work, o: int, m: int | None) -> tuple[Instead, ...]:
        """The best way of each kind in place of offer o (bought in epoch m; None: by the hour), cheapest first."""
        if not work.served:
            return ()
        terms = self._for_the_base(work, o) if m is None else self._terms(o, m)
        hourly = self.problem.offers[o].placed == "hour"
        kinds = (self._api(work), self._hourly(work, o), () if hourly and m is not None else terms)
        found = [min(ways, key=_ratio) for ways in map(tuple, kinds) if ways]
        return tuple(sorted(found, key=_ratio))

    def removed(self, less: Array) -> Work:
        """What is left to do without these purchases."""
        return self._groups.setdefault(less.tobytes(), without(self.run, less))

    def _api(self, work: Work) -> Iterator[Instead]:
        requests = work.requests
        by_epoch = self._by_epoch(requests * self.told.present_h[:, None])
        asked = np.flatnonzero(requests.any(axis=0)).tolist()
        best: dict[int, tuple[float, str]] = {}
        for e, info in enumerate(self.case.endpoints):
            endpoint = info.endpoint
            sold = [k for k in asked if endpoint.usd_per_request[k] is not None]
            taken = self.told.done.by_endpoint[e].copy()
            taken[:, sold] += requests[:, sold]
            tokens = np.array(endpoint.tokens_per_request or np.zeros(taken.shape[1]))
            limits = ((endpoint.requests_per_h, taken.sum(axis=1)), (endpoint.tokens_per_h, taken @ tokens))
            if any(most is not None and (load > most * (1 + _ROUNDING)).any() for most, load in limits):
                continue
            for k in sold:
                usd = float(self._factors(endpoint) @ by_epoch[:, k]) * (endpoint.usd_per_request[k] or 0.0)
                best[k] = min(best.get(k, (math.inf, "")), (usd, info.label))
        if len(best) == len(asked):
            names = " and ".join(dict.fromkeys(name for _, name in best.values()))
            yield self._way(names, "api", sum(usd for usd, _ in best.values()), work.usd)

    def _hourly(self, work: Work, o: int) -> Iterator[Instead]:
        for h, info in enumerate(self.case.offers):
            offer = info.offer
            if h == o or offer.placed != "hour" or offer.bought:
                continue
            replicas = self._replicas(work, offer)
            if replicas is None:
                continue
            used, on = np.zeros(len(self.epoch)), self._on(h)
            for (each, d), rented in self.run.rented.items():
                used += rented * self._units(offer, d) if each == h else 0.0
            for d, needed in replicas.items():
                spare = self.run.rented_of(d) - (self.run.busy[d] - self.run.placed[d]) if d in self.run.busy else 0.0
                spare = spare if self.problem.offers[o].placed == "epoch" else 0.0
                more = _whole(np.maximum(0.0, needed - spare), self.problem.deployments[d].divisible)
                used += more * self._units(offer, d)
            more = np.maximum(0.0, _whole(used, not offer.whole) - on)
            if offer.max_units is not None and (on + more > offer.max_units + _ROUNDING).any():
                continue
            usd = float(self._factors(offer) @ self._by_epoch(self.told.present_h * more)) * offer.usage_usd_per_h
            yield self._way(info.label, info.scheme, usd, work.usd)

    def _terms(self, o: int, m: int) -> Iterator[Instead]:
        for p, info in enumerate(self.case.offers):
            epochs = tuple(self.problem.active_epochs(self.problem.offers[o], m))
            starts = self._starts(info.offer, epochs) if self._term(p) and p != o else ()
            if not starts:
                continue
            less = self._in_its_time(o, m, p, starts)
            work = self.removed(less)
            replicas = self._replicas(work, info.offer)
            if not work.served or replicas is None:
                continue
            most = np.zeros(len(self.problem.epochs))
            for d, needed in replicas.items():
                peak = np.zeros(len(most))
                np.maximum.at(peak, self.epoch, needed)
                most += _whole(peak, self.problem.deployments[d].divisible) * self._units(info.offer, d)
            usd = self._signed(p, starts, float(_whole(most, not info.offer.whole).max()), less)
            if usd is not None:
                yield self._way(info.label, info.scheme, usd + self._power(work, info.offer), work.usd)

    def _for_the_base(self, work: Work, o: int) -> Iterator[Instead]:
        """One replica of what is rented by the hour now, for the term in which it replaces most of that."""
        now = self.problem.offers[o]
        price = self.told.present_h * self._factors(now)[self.epoch] * now.usage_usd_per_h
        for p, info in enumerate(self.case.offers):
            for d, requests in work.served.items() if self._term(p) else ():
                other = self._replicas(Work({d: requests}, 0.0), info.offer)
                if other is None:
                    continue
                ((d2, busy),) = other.items()
                saved = np.minimum(self.run.rented[o, d], 1.0) * price * self._units(now, d)
                power = np.minimum(busy, 1.0) * self.told.present_h * self._gpu_usd(d2)
                units = float(_whole(np.array([self._units(info.offer, d2)]), not info.offer.whole)[0])
                yield from self._best_time(p, units, self._by_epoch(saved - power))

    def _best_time(self, p: int, units: float, saved: Array) -> Iterator[Instead]:
        """The epoch in which so many units cost least for what they save in the epochs in which they supply."""
        info, found = self.case.offers[p], []
        for m in range(len(self.problem.epochs)):
            save = float(saved[list(self.problem.active_epochs(info.offer, m))].sum())
            if save > 0:
                found.append((sum(usd for _, usd in self.problem.unit_cost(info.offer, m)) / save, m, save))
        for _, m, save in sorted(found):
            usd = self._signed(p, [m], units, np.zeros_like(self.fleet.buy))
            if usd is not None:
                yield self._way(info.label, info.scheme, usd, save)
                return

    def _term(self, p: int) -> bool:
        info = self.case.offers[p]
        return info.scheme in _TERMS and info.offer.placed == "epoch" and info.offer.bought

    def _starts(self, offer: Offer, epochs: tuple[int, ...]) -> list[int]:
        """When to sign it, again and again, to be served in all these epochs; empty where that is too late."""
        step = len(self.problem.epochs) if offer.term_epochs is None else offer.term_epochs
        starts = [at - offer.lead_epochs for at in range(epochs[0], epochs[-1] + 1, step)]
        return starts if starts[0] >= 0 else []

    def _in_its_time(self, o: int, m: int, p: int, starts: list[int]) -> Array:
        """What offer p in these epochs does away with: o in m, and as much of it as supplies in p's time only."""
        time = {n for start in starts for n in self.problem.active_epochs(self.problem.offers[p], start)}
        less = np.zeros_like(self.fleet.buy)
        for n in np.flatnonzero(self.fleet.buy[o]):
            if set(self.problem.active_epochs(self.problem.offers[o], int(n))) <= time:
                less[o, n] = min(self.fleet.buy[o, n], self.fleet.buy[o, m])
        return less

    def _signed(self, p: int, starts: Iterable[int], units: float, less: Array) -> float | None:
        """What so many units cost at these times in place of `less`; None where stock or a site's cap is too small."""
        base = replace(self.fleet, buy=self.fleet.buy - less)
        buy = base.buy.copy()
        for start in starts:
            buy[p, start] += units
        active = self.problem.active_units(buy)
        index = {offer.name: o for o, offer in enumerate(self.problem.offers)}
        full = self.problem.offers[p].max_units
        if full is not None and (active[p] > full + _ROUNDING).any():
            return None
        for limit in self.problem.limits:
            held = sum(each * active[index[name]] for name, each in limit.per_unit.items())
            if (held > limit.cap + _ROUNDING).any():
                return None
        return fleet_usd(self.problem, replace(base, buy=buy)) - fleet_usd(self.problem, base)

    def _replicas(self, work: Work, offer: Offer) -> dict[int, Array] | None:
        """[T] replicas' worth of the work on an offer's GPUs, by the deployments that take least time for it."""
        found: dict[int, Array] = {}
        for d, requests in work.served.items():
            asked = np.flatnonzero(requests.any(axis=0))
            fit = {}
            for d2, deployment in enumerate(self.problem.deployments):
                times = [deployment.gpu_h_per_request[k] for k in asked]
                if deployment.pool in offer.covers and all(time is not None for time in times):
                    busy = requests[:, asked] @ np.array(times, dtype=float) / deployment.gpus_per_replica
                    fit[d2] = busy, float(busy.sum()) * deployment.gpus_per_replica
            if not fit:
                return None
            best = d if d in fit else min(fit, key=lambda each: fit[each][1])
            found[best] = found.get(best, 0.0) + fit[best][0]
        return found

    def _units(self, offer: Offer, d: int) -> float:
        """Units of an offer that a replica takes."""
        deployment = self.problem.deployments[d]
        return deployment.gpus_per_replica * offer.covers[deployment.pool]

    def _factors(self, sold: Offer | Endpoint) -> Array:
        """[M] multiplier of today's price."""
        return np.array([sold.price_factor(m) for m in range(len(self.problem.epochs))])

    def _by_epoch(self, values: Array) -> Array:
        """Sums over the blocks of each epoch."""
        total = np.zeros((len(self.problem.epochs), *values.shape[1:]))
        np.add.at(total, self.epoch, values)
        return total

    def _on(self, h: int) -> Array:
        columns, values = self.told.solution.hours.matrix.columns, self.told.solution.hours.values
        on = [values[:, i] for i, (family, key) in enumerate(columns) if family == "on" and key[0] == h]
        return np.sum(on, axis=0) if on else np.zeros(len(self.epoch))

    def _gpu_usd(self, d: int) -> float:
        """What a replica at work costs on top per hour."""
        deployment = self.problem.deployments[d]
        pool = self.problem.pools[self.problem.pool_index[deployment.pool]]
        return pool.busy_usd_per_gpu_h * deployment.gpus_per_replica

    def _power(self, work: Work, offer: Offer) -> float:
        replicas = self._replicas(work, offer) or {}
        return sum(float(self.told.present_h @ busy) * self._gpu_usd(d) for d, busy in replicas.items())

    def _way(self, name: str, scheme: Scheme, usd: float, in_place_of_usd: float) -> Instead:
        return Instead(name=name, scheme=scheme, usd=usd, in_place_of_usd=in_place_of_usd)


def _ratio(way: Instead) -> tuple[float, str]:
    return (way.usd / way.in_place_of_usd if way.in_place_of_usd > 0 else math.inf, way.name)


def _whole(count: Array, divisible: bool) -> Array:
    """Rounded up unless parts of it can be had."""
    rounded: Array = count if divisible else np.ceil(count - _ROUNDING)
    return rounded
