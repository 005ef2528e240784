"""Servers that take requests and say nothing: called so within the time allowed, never mistaken for slow ones."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from bench.build import curve_of
from bench.driver import run_stage
from bench.evidence import silence
from bench.load import Load
from bench.order import Order, Target
from bench.paced import Law, paced
from bench.prompts import Fixed
from bench.records import SILENT, from_rows
from bench.schedule import Stage
from tests.test_build import Place, check
from tests.test_driver import stage, target

LAW = Law(ttft_s=0.01, tpot_s=0.002)
RUNS = {"silent": (), "hang": (), "stall": (), "stated": ("--stage-seconds", "4", "--warm-up-seconds", "1")}
"""Faults of the paced server; `silent` once more with stages of a stated length."""
Done = dict[str, tuple[Place, int, str, str]]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """All of them side by side, with 2 s of silence allowed."""
    places = {kind: Place(tmp_path_factory.mktemp(kind)) for kind in RUNS}
    with paced(LAW) as url:

        def start(kind: str) -> subprocess.Popen[str]:
            model = "fault:silent" if kind == "stated" else f"fault:{kind}"
            return places[kind].start(
                *("run", "--model", model, "--gpu", "h100", "--endpoint", url, "--vocab-size", "1000", *RUNS[kind]),
                *("--raw", str(places[kind].raw), "--out", str(places[kind].folder / "curves"), "--shape", "=100/20"),
                *("--silence-seconds", "2"),
            )

        runs = {kind: start(kind) for kind in RUNS}
        ends = {kind: run.communicate(timeout=100) for kind, run in runs.items()}
    return {kind: (places[kind], runs[kind].returncode, *ends[kind]) for kind in RUNS}


@pytest.mark.parametrize("kind", RUNS)
def test_a_server_that_answers_nothing_is_called_so(done: Done, kind: str) -> None:
    """Before any token, after the headers, in mid-answer: one fault with the way on; nothing about short stages."""
    place, status, out, err = done[kind]
    probe = "" if kind == "stated" else "-probe"
    assert status == 1, out + err
    assert f"stage shape-0-100x20-load-1{probe}: the server answers nothing: not a byte from the server for 2 s" in err
    assert f"`bench resume {place.raw}` then goes on" in err
    assert "no request had time to end" not in out + err
    assert place.none_left()


def test_it_is_counted_as_failed(done: Done) -> None:
    """A level of a stated length: every request is a `timeout`, the point is marked; a round alone is asked again."""
    (point,) = curve_of(done["stated"][0].raw).points
    assert set(point.errors) == {"timeout"}
    assert point.failed == point.errors["timeout"] > 0
    assert (check(point, "errors"), check(point, "server_alive"), point.usable) == ("fail", "fail", False)
    assert not list(done["silent"][0].raw.glob("shape-*"))


def test_a_request_that_waits_for_its_turn_is_not_given_up(tmp_path: Path) -> None:
    """One runs at a time, for 0.5 s: the others wait twice as long as the server may be silent, and are served."""
    asked = stage(load=4, cap_s=0.6, width=None, silence_s=0.7, shape=Fixed(input_tokens=50, output_tokens=9))
    with paced(Law(ttft_s=0.1, tpot_s=0.05, max_running=1)) as url:
        records = run_stage(asked, target(url), tmp_path).records
    assert set(records.status.tolist()) == {"ok"}
    assert np.max(records.first_token_s - records.sent_s) > 1.4


def test_a_forgotten_request_is_given_up_alone(tmp_path: Path) -> None:
    """Some are never answered, others are: at the end those are `timeout`, and the server has not stopped answering."""
    asked = stage(mode="open", rate_per_s=20.0, cap_s=1.5, width=None, silence_s=1.0)
    with paced(LAW) as url:
        records = run_stage(asked, target(url, "fault:silent:0.2"), tmp_path).records
    assert set(records.status.tolist()) == {"ok", "timeout"}
    assert set(records.error[~records.ok].tolist()) == {f"{SILENT} for 1 s"}
    assert silence(records) is None


def test_shared_prefixes_are_not_waited_for_either(tmp_path: Path) -> None:
    """The first that gets no answer is the last that is sent."""
    asked = Stage(
        name="s",
        mode="closed",
        shape=Fixed(input_tokens=160, output_tokens=5),
        seed=1,
        load=1,
        cached_share=0.5,
        silence_s=0.3,
    )
    with paced(LAW) as url:
        sent_to = Target(url=url, model="fault:silent", vocab_size=1000)
        load = Load(Order(stage=asked, target=sent_to, nonce=1, kernel_stamps=True, workers=1, folder=tmp_path), 0)
        load.prime()
    assert not list(load.kept.take())
    assert (load.facts["primed_requests"], load.facts["prime_error"]) == (1, "timeout: no end within 0.3 s")


@pytest.mark.parametrize(
    ("rows", "silent"),
    [
        # nothing was asked, everything was served
        ([], False),
        ([(0, 1, ""), (1, 2, "")], False),
        # nothing was ever answered
        ([(0, 5, SILENT)], True),
        # it stopped in mid-stage
        ([(0, 1, ""), (1, 6, SILENT)], True),
        # one was forgotten, others were served after it was sent
        ([(0, 9, SILENT), (1, 2, "")], False),
        # it came back
        ([(0, 5, SILENT), (6, 7, "")], False),
        # other failures
        ([(0, 1, "paced: fails")], False),
    ],
)
def test_when_a_server_has_stopped_answering(rows: list[tuple[int, int, str]], silent: bool) -> None:
    """Rows are (sent, end, error)."""
    told = [
        {"request": k, "sent_s": sent, "end_s": end, "status": "timeout" if error else "ok", "error": error}
        for k, (sent, end, error) in enumerate(rows)
    ]
    assert (silence(from_rows(told, [np.empty(0)] * len(told))) is not None) == silent
