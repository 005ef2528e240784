r"""A price on everything scarce gives a lower bound on what hours cost, for every fleet at once.

Let a GPU-hour of deployment d carry the price lambda[d] >= 0, one request or token of a limited endpoint e the prices
rho[e], tau[e] >= 0. At these prices a request of class k costs at least

    worth[k] = min( penalty[k], min_d gpu_h[k,d] (busy[d] + lambda[d]), min_e price[k,e] + rho[e] + token[k,e] tau[e] )

and what is there earns at most its price: owned and reserved replicas lambda, an offer by the hour nu[o] = what a unit
earns above its price of use, an endpoint its limits. So, for an hour of demand x and any fleet,

    cost of the hour >= worth x - sum_d gpus lambda[d] replicas[d] - sum_o nu[o] units[o] - sum_e (rho R + tau T)[e]

by weak duality of linear programming: it holds for any prices whatever, and the duals of a dispatch make it exact at
the fleet dispatched. Summed over the hours of a group it is a row of the master (a Benders cut); see `partition.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.problem import Array, Ints, Problem


@dataclass(frozen=True, eq=False)
class Prices:
    """Price vectors, one a row: `gpu_h[n, d]`, `request[n, e]` and `token[n, e]` in USD at the prices of the epoch.

    `unit[n, o]` prices the units of scarce offers in trees (`trees.py`); elsewhere it has no columns.
    """

    gpu_h: Array
    request: Array
    token: Array
    unit: Array

    def take(self, rows: Ints) -> Prices:
        """Some of the rows."""
        return Prices(self.gpu_h[rows], self.request[rows], self.token[rows], self.unit[rows])

    @staticmethod
    def join(parts: list[Prices]) -> Prices:
        """All rows of several."""
        return Prices(*(np.vstack([getattr(p, n) for p in parts]) for n in ("gpu_h", "request", "token", "unit")))


class Tariff:
    """The problem's prices as arrays, and what they are worth at given scarcity prices."""

    def __init__(self, problem: Problem) -> None:
        epochs, hourly = range(len(problem.epochs)), [o for o, f in enumerate(problem.offers) if f.placed == "hour"]
        self.problem = problem
        self.gpu_h = np.array(
            [[np.inf if time is None else time for time in d.gpu_h_per_request] for d in problem.deployments]
        ).reshape(-1, len(problem.classes))
        pools = [problem.pools[problem.pool_index[d.pool]] for d in problem.deployments]
        busy = np.array([pool.busy_usd_per_gpu_h for pool in pools])
        with np.errstate(invalid="ignore"):
            self.busy = np.where(np.isfinite(self.gpu_h), self.gpu_h * busy[:, None], np.inf)
        self.gpus = np.array([d.gpus_per_replica for d in problem.deployments])
        self.api = np.array(
            [
                [[np.inf if usd is None else usd * e.price_factor(m) for usd in e.usd_per_request] for m in epochs]
                for e in problem.endpoints
            ]
        ).reshape(len(problem.endpoints), len(epochs), len(problem.classes))
        self.tokens = np.array(
            [e.tokens_per_request or (0.0,) * len(problem.classes) for e in problem.endpoints]
        ).reshape(-1, len(problem.classes))
        self.requests_limit = _limits([e.requests_per_h for e in problem.endpoints])
        self.tokens_limit = _limits([e.tokens_per_h for e in problem.endpoints])
        self.penalty = np.array(problem.unserved_usd_per_request)
        self.hourly = np.array(hourly, dtype=np.intp)
        self.covers = np.array(
            [[problem.offers[o].covers.get(d.pool, 0.0) for d in problem.deployments] for o in hourly]
        ).reshape(len(hourly), len(problem.deployments))
        self.usage = np.array(
            [[problem.offers[o].usage_usd_per_h * problem.offers[o].price_factor(m) for m in epochs] for o in hourly]
        ).reshape(len(hourly), len(epochs))
        self.stock = _limits([None if problem.offers[o].bought else problem.offers[o].max_units for o in hourly])
        self.bought = np.array([problem.offers[o].bought for o in hourly], dtype=bool)

    def worth(self, m: int, prices: Prices, *, api: bool = True) -> Array:
        """[n, k] the least that a request can cost in epoch m at each of these price vectors."""
        worth = np.broadcast_to(self.penalty, (len(prices.gpu_h), len(self.penalty))).copy()
        for d in range(len(self.gpu_h)):
            here = np.isfinite(self.gpu_h[d])
            cost = self.busy[d, here] + prices.gpu_h[:, d, None] * self.gpu_h[d, here]
            worth[:, here] = np.minimum(worth[:, here], cost)
        for e in range(len(self.api) if api else 0):
            cost = self.api[e, m] + prices.request[:, e, None] + prices.token[:, e, None] * self.tokens[e]
            np.minimum(worth, cost, out=worth)
        return worth

    def above_use(self, m: int, prices: Prices) -> Array:
        """nu[n, o] what a unit of each hour-placed offer earns above its price of use."""
        above = np.zeros((len(prices.gpu_h), len(self.hourly)))
        for o in range(len(self.hourly)):
            here = self.covers[o] > 0
            best = (prices.gpu_h[:, here] / self.covers[o, here]).max(axis=1, initial=0.0)
            above[:, o] = np.maximum(0.0, best - self.usage[o, m])
        return above

    def limits_usd(self, prices: Prices) -> Array:
        """[n] what the limits of endpoints earn per hour."""
        requests = prices.request @ np.where(np.isfinite(self.requests_limit), self.requests_limit, 0.0)
        tokens: Array = prices.token @ np.where(np.isfinite(self.tokens_limit), self.tokens_limit, 0.0)
        return requests + tokens

    def stock_usd(self, above: Array) -> Array:
        """[n] what the stock of offers that are not bought earns per hour."""
        stock = np.where(~self.bought & np.isfinite(self.stock), self.stock, 0.0)
        earned: Array = above @ stock
        return earned

    def from_worth(self, m: int, worth: Array, request: Array, token: Array, *, rent: bool = True) -> Prices:
        """The smallest price of a GPU-hour at which `worth` holds on every deployment.

        Where an offer by the hour has unlimited units (and `rent` counts them in), it is no more than it costs there.
        """
        gpu_h = np.zeros((len(worth), len(self.gpu_h)))
        for d in range(len(self.gpu_h)):
            here = np.isfinite(self.gpu_h[d])
            gpu_h[:, d] = ((worth[:, here] - self.busy[d, here]) / self.gpu_h[d, here]).max(axis=1, initial=0.0)
        for o in np.flatnonzero(~self.bought & ~np.isfinite(self.stock)) if rent else ():
            most = np.where(self.covers[o] > 0, self.covers[o] * self.usage[o, m], np.inf)
            gpu_h = np.minimum(gpu_h, most)
        request = np.where(np.isfinite(self.requests_limit), np.maximum(request, 0.0), 0.0)
        token = np.where(np.isfinite(self.tokens_limit), np.maximum(token, 0.0), 0.0)
        return Prices(gpu_h, request, token, np.zeros((len(worth), 0)))

    def from_duals(self, m: int, matrix_rows: tuple[str, ...], dual: Array, *, rent: bool = True) -> Prices:
        """Scarcity prices from the duals of these rows (balance first); rows left out were not scarce."""
        endpoint = {e.name: i for i, e in enumerate(self.problem.endpoints)}
        request, token = (np.zeros((len(dual), len(endpoint))) for _ in range(2))
        for r, row in enumerate(matrix_rows):
            family, name = row.split(".", 1)
            if family == "endpoint_requests":
                request[:, endpoint[name]] = -dual[:, r]
            elif family == "endpoint_tokens":
                token[:, endpoint[name]] = -dual[:, r]
        return self.from_worth(m, dual[:, : len(self.penalty)], request, token, rent=rent)


def _limits(limits: list[float | None]) -> Array:
    return np.array([np.inf if limit is None else limit for limit in limits])
