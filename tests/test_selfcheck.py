"""The self-check finds a ceiling on this machine, and knows an error when there is one."""

import contextlib
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from bench import selfcheck
from bench.prompts import Prompts
from bench.reads import COMPILED, KERNEL_STAMPS
from bench.truth import Truth
from tests.test_records import row

HERE = selfcheck.Kind("5e1", 1)


def truth(shift_ns: int = 0) -> Truth:
    """Three requests of four tokens each, 10 ms apart, each sent within a microsecond; arrived at 1 s, 2 s, 3 s."""
    prompts = Prompts(seed=1, nonce=7, vocab_size=32000, longest_input=20)
    heads = [[int(t) for t in prompts.prompt(number, 20)[1:-1].split(b",")[:12]] for number in range(3)]
    arrived = np.array([1, 2, 3]) * 10**9
    sent = (arrived[:, None] + 100_000_000 + np.arange(4) * 10_000_000).ravel() + shift_ns
    return Truth(np.arange(3), np.array(heads), arrived, np.repeat(np.arange(3), 4), sent, sent + 1000)


def client(late_s: float = 0.0, merged: bool = False) -> selfcheck.Errors:
    """A client that saw all of it, its k-th chunk `late_s` * k late."""
    from bench.records import from_rows

    rows, chunks = [], []
    for number in range(3):
        at = number + 1.1 + np.arange(4) * 0.01 + np.arange(4) * late_s + 5e-7
        at = at[1:] if merged and number == 1 else at
        rows.append(row(number, number + 1.0, first_token_s=at[0], asked_input=20))
        chunks.append(at)
    prompts = Prompts(seed=1, nonce=7, vocab_size=32000, longest_input=20)
    return selfcheck.errors(from_rows(rows, chunks), truth(), prompts)


def test_a_true_client_has_no_error() -> None:
    """What lies between the moments just before and just after a send is no error."""
    found = client()
    assert found.ttft_s == pytest.approx([0, 0, 0], abs=1e-9)
    assert found.gap_s == pytest.approx([0] * 9, abs=1e-9)
    assert found.unmatched == 0


def test_a_late_client_is_found_out() -> None:
    """Each gap 2 ms too long: an error of 2 ms less the microsecond that the server does not know."""
    assert client(late_s=0.002).gap_s == pytest.approx([0.002 - 1e-6] * 9, abs=1e-9)


def test_merged_chunks_are_counted_not_compared() -> None:
    """A read that swallowed a token's arrival makes the request unmatched, and its TTFT wrong."""
    found = client(merged=True)
    assert found.unmatched == 1
    assert len(found.gap_s) == 6
    assert found.ttft_s.max() == pytest.approx(0.01, abs=2e-6)


def test_a_ceiling_is_found_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick form: real Locust, real server; a few streams hold with 5 ms allowed, and the file says so later."""
    monkeypatch.setattr(selfcheck, "QUICK_LEVELS", (4, 8))
    levels: list[tuple[int, float, float]] = []
    assert selfcheck.known_ceiling(tmp_path, HERE) is None
    found = selfcheck.find_ceiling(
        tmp_path,
        HERE,
        now="2026-11-20T12:00:00Z",
        quick=True,
        error_s=0.005,
        on_level=lambda *told: levels.append(told),
    )
    assert [streams for streams, _, _ in levels] == [4, 8]
    assert (found.streams, found.capped, found.workers) == (8, True, 1)
    assert found.ttft_error_p99_s <= 0.005
    assert found.gap_error_p99_s <= 0.005
    assert found.events_per_s == pytest.approx(8 * 50 / 1.08, rel=0.25)
    assert selfcheck.known_ceiling(tmp_path, HERE) == found
    unlike = {"machine_id": "4d2"}, {"pinned": True}, {"workers": 2}, {"compiled": not HERE.compiled}
    for other in (replace(HERE, **change) for change in unlike):
        assert selfcheck.known_ceiling(tmp_path, other) is None, "of another kind of client"
    kept = tmp_path / ("ceiling-5e1-1-compiled.json" if COMPILED else "ceiling-5e1-1.json")
    assert list(tmp_path.iterdir()) == [kept]
    kept.write_text("{}")
    assert selfcheck.known_ceiling(tmp_path, HERE) is None


def test_a_level_that_may_not_be_opened_is_not_tried(tmp_path: Path) -> None:
    """140 open files at most: 64 streams beside all else are too many, and that says nothing against the client."""
    command = f"ulimit -n 140; exec {sys.executable} -m bench.cli selfcheck --quick --error-ms 1000"
    home = os.environ | {"XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", command], env=home, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "with 1 workers this client holds at least 8 streams" in done.stdout
    assert ("its reads are not compiled" in done.stdout) == (KERNEL_STAMPS and not COMPILED)


def test_a_server_that_died_says_nothing_of_the_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it is measured, both times: no stream was held, and that was not the client's doing."""
    monkeypatch.setattr(selfcheck, "QUICK_LEVELS", (2,))
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.3):
            for one in psutil.Process().children() if list(tmp_path.glob(".selfcheck/.selfcheck-2/progress-*")) else ():
                with contextlib.suppress(psutil.Error):
                    if "bench.paced" in one.cmdline():
                        one.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        found = selfcheck.find_ceiling(tmp_path, HERE, now="2026-11-20T12:00:00Z", quick=True)
    finally:
        over.set()
        thread.join()
    assert (found.streams, found.capped) == (0, True)


def test_where_no_load_holds_there_is_no_ceiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice as many events asked for as are sent: zero streams, and it was the client, not the server, that failed."""
    monkeypatch.setattr(selfcheck, "QUICK_LEVELS", (2,))
    monkeypatch.setattr(selfcheck, "KEPT", 2.0)
    found = selfcheck.find_ceiling(tmp_path, HERE, now="2026-11-20T12:00:00Z", quick=True)
    assert (found.streams, found.events_per_s, found.capped) == (0, 0.0, False)
    assert 0.8 < found.kept_share < 1.1


def test_an_interrupted_search_keeps_what_it_has_found(tmp_path: Path) -> None:
    """Ctrl-C during the second level: the first stands, as the least that this client holds."""

    def interrupt(streams: int, _: float, __: float) -> None:
        if streams > selfcheck.QUICK_LEVELS[0]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        # an error that every machine keeps to: what a client can do is not the question here
        selfcheck.find_ceiling(tmp_path, HERE, now="2026-11-21", error_s=10.0, quick=True, on_level=interrupt)
    found = selfcheck.known_ceiling(tmp_path, HERE)
    assert found is not None
    assert (found.streams, found.capped) == (selfcheck.QUICK_LEVELS[0], True)
