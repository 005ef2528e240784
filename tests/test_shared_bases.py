"""Many programmes by few bases: every one compared with a solver that knows nothing of the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.shared_bases import Bases, lowest, solve_many


def _hours(seed: int, count: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two or three classes served by two pools, an API and a penalty; some demands and capacities are zero."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 4))
    time = rng.uniform(0.2, 2.0, (2, classes))
    nothing = np.zeros(classes)
    a = np.vstack([
        np.hstack([np.eye(classes)] * 4),
        np.concatenate([time[0], nothing, nothing, nothing]),
        np.concatenate([nothing, time[1], nothing, nothing]),
    ])  # fmt: skip
    c = np.concatenate([0.1 * time[0], nothing, rng.uniform(1, 4, classes), np.full(classes, 50.0)])
    demand = rng.gamma(2.0, 3.0, (count, classes)) * rng.choice([0.0, 1.0], (count, classes), p=[0.2, 0.8])
    demand[0] = 0.0
    gpus = rng.integers(0, 5, (count, 2)).astype(float)
    equality = np.array([True] * classes + [False, False])
    return a, equality, c, np.hstack([demand, gpus])


def _alone(a: np.ndarray, equality: np.ndarray, c: np.ndarray, b: np.ndarray) -> float:
    from scipy.optimize import linprog

    answer = linprog(c, A_ub=a[~equality], b_ub=b[~equality], A_eq=a[equality], b_eq=b[equality], method="highs")
    return float(answer.fun)


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_every_hour_has_the_cost_it_has_alone(seed: int) -> None:
    """An hour of no demand comes first; every answer keeps its rows and costs what another solver finds."""
    a, equality, c, b = _hours(seed)
    optima = solve_many(a, equality, c, b)
    assert optima.x.min() >= 0
    np.testing.assert_allclose(optima.x @ a[equality].T, b[:, equality], atol=1e-6)
    assert (optima.x @ a[~equality].T <= b[:, ~equality] + 1e-6).all()
    for t in range(len(b)):
        assert optima.x[t] @ c == pytest.approx(_alone(a, equality, c, b[t]), abs=1e-6)


def test_the_duals_value_one_more_unit() -> None:
    """One request more costs its dual, as long as the basis lasts; capacity is never worth less than nothing."""
    a, equality, c, b = _hours(7)
    optima = solve_many(a, equality, c, b)
    more = b.copy()
    more[:, 0] += 1e-4
    rise = (solve_many(a, equality, c, more).cost - optima.cost) / 1e-4
    dual = optima.dual[optima.basis]
    assert (dual[:, ~equality] <= 1e-9).all()
    assert np.isclose(rise, dual[:, 0], atol=1e-4).mean() > 0.9
    assert (rise >= dual[:, 0] - 1e-4).all()


def test_known_bases_are_used_again_and_bound_from_below() -> None:
    """A second call finds no new basis, costs the same, and the bound from known duals touches every optimum."""
    a, equality, c, b = _hours(11)
    bases = Bases()
    first = solve_many(a, equality, c, b, bases)
    count = len(bases.found)
    second = solve_many(a, equality, c, b, bases)
    assert 0 < count < len(b)
    assert len(bases.found) == count
    np.testing.assert_allclose(second.cost, first.cost, atol=1e-9)
    other = _hours(11, 80)[3][40:]
    exact = solve_many(a, equality, c, other).cost
    least = lowest(a, equality, c, other, bases)
    assert (least <= exact + 1e-7).all()
    np.testing.assert_allclose(lowest(a, equality, c, b, bases), first.cost, atol=1e-6)


def test_with_other_prices_old_bases_are_checked_before_use() -> None:
    """Bases found at one price vector never give a dearer answer at another."""
    a, equality, c, b = _hours(3)
    bases = Bases()
    solve_many(a, equality, c, b, bases)
    dearer = c.copy()
    dearer[-2 * (len(c) // 4) :] *= 0.2
    again = solve_many(a, equality, dearer, b, bases)
    for t in range(len(b)):
        assert again.cost[t] == pytest.approx(_alone(a, equality, dearer, b[t]), abs=1e-6)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the stack is full the oldest basis makes room, and answers stay right."""
    import planner.shared_bases as module

    monkeypatch.setattr(module, "_MOST_BYTES", 1)
    a, equality, c, b = _hours(5, 400)
    bases = Bases()
    cost = solve_many(a, equality, c, b, bases).cost
    assert 0 < len(bases.found) <= 64
    np.testing.assert_allclose(cost, solve_many(a, equality, c, b).cost, atol=1e-9)
    assert all(list(map(tuple, bases.stacked()[0]))[place] == basis for basis, place in bases.found.items())


def test_an_hour_without_an_answer_is_an_error() -> None:
    """Demand that nobody may leave unserved and nobody can serve: RuntimeError, not a number."""
    a, equality, c = np.array([[1.0], [1.0]]), np.array([True, False]), np.array([1.0])
    with pytest.raises(RuntimeError, match="no optimum"):
        solve_many(a, equality, c, np.array([[2.0, 1.0]]))
