"""benchmarks/client_truth.py: what it prints about a client follows from what client and server saw."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import astuple
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bench.truth import Truth

MS = 1_000_000
SENT_MS = ((1500, 1520, 1540), (2500, 2520, 2550), (3000,))
"""Three streams' sends: one as the law says, one whose last token is 10 ms late, one that was given up."""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "client_truth.py"
    spec = importlib.util.spec_from_file_location("client_truth", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["client_truth"] = module  # its dataclasses look their annotations up there
    spec.loader.exec_module(module)
    return module


def truth() -> Truth:
    """The streams' requests arrived half a second before their first tokens; each send took a microsecond."""
    sent = np.array([at * MS for stream in SENT_MS for at in stream])
    serial = np.repeat(np.arange(3), [len(stream) for stream in SENT_MS])
    heads = np.arange(36).reshape(3, 12)
    arrived = np.array([stream[0] * MS - 500 * MS for stream in SENT_MS])
    return Truth(np.arange(3), heads, arrived, serial, sent, sent + 1000)


def compared(script: ModuleType, first_ms: list[float], second_ms: list[float]) -> tuple[object, ...]:
    """A client that saw the first stream's tokens then, known by its number, and the second's, known by its prompt."""
    head = hash(tuple(range(12, 24)))
    seen = {0: (0.502, np.array(first_ms) * MS), head: (0.5, np.array(second_ms) * MS), 2: (0.5, np.array([1.0]))}
    samples = [(0.0, 0.0), (10.0, 5.0)]  # half a core
    setting = script.Setting(2, 3, Path(), (0,), (1,), None, 0)
    return astuple(script.compare("it", seen, truth(), samples, setting))


def test_a_clients_errors_are_those_it_made(script: ModuleType) -> None:
    """The first stream: TTFT 2 ms late, gaps of 30 and 10 ms where the server made 20 and 20. The second: as sent.
    Half a core from the first request's arrival (1 s) to the last send of a whole stream (2.55 s) for six tokens.
    The server's streams took 40 and 50 ms where its law says 40."""
    name, kept, ttft_ms, gap_ms, cpu_us, missing, late = compared(script, [7, 37, 47], [0, 20, 50])
    assert (name, kept, missing) == ("it", 1.0, 0)
    unknown = 0.001  # a send is known to the microsecond: what lies within is no error
    assert ttft_ms == pytest.approx((1 - unknown / 2, 2 * 0.99 - 0.99 * unknown))
    assert gap_ms == pytest.approx((5 - unknown / 2, 10 - unknown))
    assert cpu_us == pytest.approx(0.5 * 1.55 / 6 * 1e6)
    assert late == pytest.approx(0.125)


@pytest.mark.parametrize(("last_ms", "kept"), [(69.9, 1.0), (70.1, 5 / 6)])
def test_a_token_more_than_an_interval_late_is_not_kept_up_with(
    script: ModuleType, last_ms: float, kept: float
) -> None:
    """Sent 50 ms after the stream's first token, it may come 20 ms later."""
    assert compared(script, [0, 20, 40], [0, 20, last_ms])[1] == pytest.approx(kept)


def test_swallowed_tokens_are_missing(script: ModuleType) -> None:
    """Two of three arrivals: the stream's gaps are not compared, its tokens were not kept up with; its TTFT counts."""
    _, kept, ttft_ms, gap_ms, _, missing, _ = compared(script, [7, 37], [0, 20, 50])
    assert (kept, missing) == (0.5, 1)
    assert gap_ms == pytest.approx((0, 0), abs=1e-9)
    assert ttft_ms == pytest.approx((1, 2), abs=0.03)
    blind = compared(script, [7, 37], [0, 20])
    assert isinstance(blind[1], float)
    assert math.isnan(blind[1])


def test_what_is_asked_of_our_client_stands_below_the_figures(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """Share kept up with, both errors' 99th percentiles and CPU over the floor's, each in its column."""
    seen = script.Result("spillway", 0.998, (0.001, 0.005), (0.0, 0.25), 20.0, 0, 0.01)
    script.report({"floor (C, epoll)": [seen], "spillway": [seen]}, 512)
    head, names, _, ours, asked, _ = capsys.readouterr().out.splitlines()
    assert head == "512 streams, 25600 events/s, medians of 1 rounds"
    assert ours.split() == ["spillway", "99.80%", "0.001", "/", "0.005", "0.000", "/", "0.250", "20.0", "1.00"]
    assert asked.split() == ["(asked", "of", "ours)", "99.50%", "0.500", "0.100", "1.50"]
    for column in ("kept up", "TTFT err p50/p99 ms", "gap err p50/p99 ms", "x floor"):
        end = names.index(column) + len(column)
        assert asked[:end].split()[-1] == asked[: end + 1].split()[-1], "the figures end where the column does"
