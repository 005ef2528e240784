"""Problems for tests and benchmarks, as plain values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.problem import Array, Blocks, Deployment, Endpoint, Epoch, FixedCharge, Line, Offer, Pool, Problem

_CLASSES = 3


def company(
    *,
    hours: int = 8760,
    epochs: int = 1,
    workloads: int = 12,
    gpus: int = 6,
    offers_per_gpu: int = 3,
    peak_gpus: float = 100.0,
    whole_hours: bool = True,
    growth_per_year: float = 0.0,
    price_change_per_year: float = 0.0,
    seed: int = 1,
) -> Problem:
    """A company: workloads of three shape classes with daily and weekly cycles and 12 % noise; GPU types that differ.

    Every GPU type can be owned (servers of eight, capital, running cost, residual value), reserved and rented by the
    hour; one API serves everything at three to five times a full GPU's cost. `peak_gpus` is the busiest hour's work on
    the middling GPU. Nothing here is data: prices and speeds are drawn around 2-3 USD per hour with `seed`.
    """
    rng = np.random.default_rng(seed)
    demand = _demand(rng, hours, workloads)
    seconds = rng.uniform(0.05, 0.4, workloads).repeat(_CLASSES) * np.tile([0.6, 1.0, 1.8], workloads)
    work = seconds / 3600
    demand *= peak_gpus / (demand @ work).max()
    years = np.arange(hours) / 8760
    demand *= ((1 + growth_per_year) ** years)[:, None]
    months = max(1, epochs)
    path = tuple((1 + price_change_per_year) ** (np.arange(months) * hours / months / 8760))
    pools, deployments, offers = [], [], []
    for g in range(gpus):
        speed = rng.uniform(0.5, 1.6)
        price = speed * rng.uniform(2.2, 2.8)
        kind = 1 + rng.uniform(-0.15, 0.15) * np.tile([-1.0, 0.0, 1.0], workloads)
        times = tuple(work / speed * kind * rng.uniform(0.95, 1.05, workloads).repeat(_CLASSES))
        for owner in ("owned", "rented"):
            pools.append(Pool(f"gpu{g}.{owner}", 0.07 * speed if owner == "owned" else 0.0))
            deployments.append(Deployment(f"on.gpu{g}.{owner}", pools[-1].name, times, divisible=not whole_hours))
        offers += _offers(g, price, hours, epochs, path, whole=whole_hours)[:offers_per_gpu]
    api = Endpoint("api", tuple(work * rng.uniform(3, 5) * 2.5 * rng.uniform(0.9, 1.1, len(work))), price_path=path)
    month_h = hours / months
    rate = 0.08
    return Problem(
        epochs=tuple(Epoch(f"m{m}", month_h, (1 + rate) ** (-m * month_h / 8760)) for m in range(months)),
        classes=tuple(f"w{i // _CLASSES}.c{i % _CLASSES}" for i in range(workloads * _CLASSES)),
        blocks=Blocks(np.arange(hours) * months // hours, np.ones(hours), demand),
        pools=tuple(pools),
        deployments=tuple(deployments),
        offers=tuple(offers),
        endpoints=(api,),
        unserved_usd_per_request=tuple(work * 100),
        end_discount=(1 + rate) ** (-hours / 8760),
    )


def models(problem: Problem, sizes: tuple[float, ...]) -> Problem:
    """The same company with a model for every size, whose replicas take so many GPUs and share the pools.

    Workload i runs model i modulo their number.
    """
    of_class = np.arange(len(problem.classes)) // _CLASSES % len(sizes)
    deployments = [
        replace(d, name=f"{d.name}.m{j}", gpus_per_replica=size, gpu_h_per_request=tuple(
            time if of_class[k] == j else None for k, time in enumerate(d.gpu_h_per_request)
        ))
        for d in problem.deployments
        for j, size in enumerate(sizes)
    ]  # fmt: skip
    return replace(problem, deployments=tuple(deployments))


def _demand(rng: np.random.Generator, hours: int, workloads: int) -> Array:
    hour = np.arange(hours)
    columns = []
    for _ in range(workloads):
        daily = rng.uniform(0.2, 0.6) * np.sin(2 * np.pi * (hour / 24 - rng.uniform(0.2, 0.5)))
        weekly = np.where(hour // 24 % 7 >= 5, rng.uniform(0.4, 1.0), 1.0)
        noise = np.exp(0.12 * rng.standard_normal(hours))
        rate = rng.uniform(0.3, 2.0) * (1 + daily) * weekly * noise
        drift = 0.2 * np.sin(2 * np.pi * (hour / 24 - rng.uniform()))[:, None] * np.array([1.0, 0.0, -1.0])
        mix = rng.dirichlet([6.0] * _CLASSES) * (1 + drift) * (1 + 0.05 * rng.standard_normal((hours, _CLASSES)))
        columns.append(rate[:, None] * np.maximum(mix, 0.0))
    return np.hstack(columns)


def _offers(g: int, price: float, hours: int, epochs: int, path: tuple[float, ...], *, whole: bool) -> list[Offer]:
    """Owned, on demand, then reserved for shorter and longer terms (in epochs), cheaper the longer."""
    capital = 8 * price * 8760 * 1.15
    years = hours / 8760
    life = 4.0
    residual = [capital * max(0.0, 1 - age / life) * 0.7 for age in np.linspace(0, years, epochs + 1)]
    owned = Offer(
        f"own.gpu{g}", {f"gpu{g}.owned": 1 / 8}, upfront=(Line("capital", capital),),
        committed=(Line("running", 8 * 0.15 * price),), residual_usd=tuple(residual), max_units=200.0,
        lead_epochs=min(2, epochs - 1), price_path=path,
    )  # fmt: skip
    hourly = Offer(
        f"hourly.gpu{g}", {f"gpu{g}.rented": 1.0}, placed="hour", bought=False, usage_usd_per_h=price,
        max_units=2000.0, whole=whole, price_path=path,
    )  # fmt: skip
    reserved = [
        Offer(f"reserved{term}.gpu{g}", {f"gpu{g}.rented": 1 / 8}, committed=(Line("rent", 8 * share * price),),
              term_epochs=min(term, max(1, epochs)), max_units=200.0, price_path=path)
        for term, share in ((12, 0.68), (36, 0.55), (1, 0.85), (6, 0.75))
    ]  # fmt: skip
    return [owned, hourly, *reserved]


def mixed(seed: int, hours: int = 12) -> Problem:
    """Two pools that one to three deployments share, two or three epochs, drawn with `seed`.

    Deployments take one to three GPUs (or divide) and leave some classes out. Servers with a lead time and a residual
    value, terms that overlap and outlast the horizon, GPUs by the hour, a spend commitment over both pools, an API with
    limits, GPUs that are there already, price paths, a team, hours of unlike weight, any tail.
    """
    rng = np.random.default_rng(seed)
    classes, epochs = int(rng.integers(2, 4)), int(rng.integers(2, 4))
    work = rng.uniform(0.05, 0.4, classes)
    path = tuple(rng.uniform(0.7, 1.2, epochs)) if rng.random() < 0.5 else ()
    deployments: list[Deployment] = []
    offers: list[Offer] = []
    for pool in ("p0", "p1"):
        for n in range(int(rng.integers(1, 4))):
            times = [None if rng.random() < 0.35 else float(t) for t in work * rng.uniform(0.6, 1.3, classes)]
            times[n % classes] = times[n % classes] or float(work[n % classes])
            size, divides = float(rng.choice([1, 2, 3])), bool(rng.random() < 0.1)
            deployments.append(Deployment(f"d{n}.{pool}", pool, tuple(times), size, divides))
        offers += _drawn_offers(rng, pool, epochs, hours, path)
    if rng.random() < 0.5:
        offers.append(Offer("spend", {pool: float(rng.uniform(0.6, 1.6)) for pool in ("p0", "p1")}, placed="hour",
                            term_epochs=int(rng.integers(1, 3)), committed=(Line("spend", 1.0),), max_units=6.0,
                            usage_usd_per_h=float(rng.choice([0.0, 0.2])), whole=bool(rng.random() < 0.3)))  # fmt: skip
    usd = tuple(None if rng.random() < 0.2 else float(price) for price in work * rng.uniform(3, 9, classes))
    few = rng.random() < 0.5
    api = Endpoint("api", usd, 6.0 if few else None, 30.0 if few else None, tuple(rng.uniform(1, 9, classes)), path)
    weight_h, epoch = rng.choice([0.5, 1.0, 2.0], hours), np.arange(hours) * epochs // hours
    return Problem(
        epochs=tuple(Epoch(f"e{m}", float(weight_h[epoch == m].sum()), 0.95**m) for m in range(epochs)),
        classes=tuple(f"k{k}" for k in range(classes)),
        blocks=Blocks(epoch, weight_h, rng.gamma(2.0, 3.0, (hours, classes)) * (rng.random((hours, classes)) < 0.85)),
        pools=(Pool("p0", float(rng.uniform(0, 0.3))), Pool("p1")),
        deployments=tuple(deployments),
        offers=tuple(offers),
        endpoints=(api,) if rng.random() < 0.8 else (),
        fixed_charges=(FixedCharge("team", ("own.p0", "own.p1"), 0.4, 9.0),) if rng.random() < 0.5 else (),
        unserved_usd_per_request=tuple(work * 30),
        tail=("full", "prorated", "buyout")[int(rng.integers(3))],
        buyout_share=0.4,
        end_discount=0.85,
    )


def _drawn_offers(rng: np.random.Generator, pool: str, epochs: int, hours: int, path: tuple[float, ...]) -> list[Offer]:
    """A server, a term, and GPUs by the hour."""
    price = rng.uniform(1.5, 3.0)
    there = tuple(map(float, rng.integers(0, 2, epochs))) if rng.random() < 0.4 else ()
    worth = tuple(price * hours * share for share in (0.3, 0.2, 0.1, 0.0)) if rng.random() < 0.5 else ()
    own = Offer(
        f"own.{pool}", {pool: 1 / float(rng.choice([1, 2, 4]))}, lead_epochs=int(rng.integers(0, 2)), max_units=3.0,
        upfront=(Line("server", price * hours * rng.uniform(0.4, 1.3)),), existing=there, price_path=path,
        residual_usd=worth, running_costs_stay=True,
    )  # fmt: skip
    term = Offer(
        f"term.{pool}", {pool: 1 / float(rng.choice([1, 2]))}, upfront=(Line("fee", price * rng.uniform(0, 3)),),
        committed=(Line("rent", price * rng.uniform(0.5, 0.9)),), term_epochs=int(rng.integers(1, 4)), max_units=5.0,
        lead_epochs=int(rng.random() < 0.2), price_path=path,
    )  # fmt: skip
    hourly = Offer(
        f"hourly.{pool}", {pool: 1 / float(rng.choice([1, 1, 2, 4]))}, placed="hour", bought=False,
        usage_usd_per_h=price * float(rng.choice([1, 2, 3])), whole=bool(rng.random() < 0.8), price_path=path,
        max_units=float(rng.integers(1, 5)) if rng.random() < 0.5 else None,
    )  # fmt: skip
    return [own, term, hourly]
