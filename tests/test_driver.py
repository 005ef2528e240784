"""Stages in real Locust processes against the paced server: the curve is its law, and nothing is lost."""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import stats, steady
from bench.driver import Progress, StageRun, Target, load_run, run_stage
from bench.length import least_load_s
from bench.paced import Law, paced
from bench.prompts import Fixed, Range
from bench.reads import COMPILED
from bench.records import digest
from bench.schedule import Arrivals, Stage, plan
from hardware_profiles.curve import Ended
from hardware_profiles.faults import InputError
from tests.locusts import locusts

LAW = Law(ttft_s=0.05, tpot_s=0.01, tpot_per_running_s=0.001)
SHAPE = Range(input_low=90, input_high=110, output_low=15, output_high=25)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with paced(LAW, "--prefix-cache", "--per-request-metrics") as told:
        yield told


def stage(**more: Any) -> Stage:
    settings = {"name": "s", "mode": "closed", "shape": SHAPE, "seed": 3, "warm_up_s": 0.5, "stagger_s": 0.2}
    return Stage.model_validate(settings | ({} if more.get("mode") == "open" else {"load": 6}) | more)


def target(url: str, model: str = "paced", **more: Any) -> Target:
    return Target(url=url, model=model, vocab_size=32000, **more)


def gone(folder: Path, within_s: float) -> bool:
    """Whether the last of them ends in time."""
    deadline = time.monotonic() + within_s
    while locusts(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def closed_run(url: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[StageRun, list[Progress], Path]:
    """Six users in two workers, half of each prompt from shared prefixes, to the cap of four seconds."""
    folder, told = tmp_path_factory.mktemp("closed"), list[Progress]()
    asked = stage(cap_s=4.0, width=None, cached_share=0.5, prefixes=2)
    run = run_stage(asked, target(url), folder, workers=2, conditions={"why": "test"}, on_progress=told.append)
    return run, told, folder


def test_the_closed_loops_curve_is_the_law(closed_run: tuple[StageRun, list[Progress], Path]) -> None:
    """TPOT = 10 ms + 1 ms for each of six running; TTFT = 50 ms; throughput = 6 / E2E: all within 5 %."""
    run, _, _ = closed_run
    point = stats.window_point(run.records, steady.stage_window(run.records, run.stage, run.load_s), run.stage)
    assert point.tpot_s["p50"].value == pytest.approx(0.016, rel=0.05)
    assert point.ttft_s["p50"].value == pytest.approx(0.05, rel=0.05)
    lawful_e2e_s = 0.05 + (point.shape.output_tokens - 1) * 0.016
    assert point.throughput_per_s == pytest.approx(6 / lawful_e2e_s, rel=0.08)
    assert point.failed == 0


def test_two_workers_take_turns_in_one_schedule(closed_run: tuple[StageRun, list[Progress], Path]) -> None:
    """Even rows are worker 0's, odd ones worker 1's; each row once, with the lengths that the schedule gives it."""
    run, _, _ = closed_run
    records, asked = run.records, plan(run.stage)
    assert np.array_equal(records.worker, records.request % 2)
    assert len(set(records.request.tolist())) == len(records)
    assert np.array_equal(records.asked_output, asked.output_tokens[records.request])
    assert np.array_equal(records.asked_input, asked.input_tokens[records.request])
    assert set(records.status.tolist()) == {"ok"}


def test_tokens_are_those_that_were_asked_for(closed_run: tuple[StageRun, list[Progress], Path]) -> None:
    """Input, cached and output tokens as the server counted them are the schedule's; each came in its own chunk."""
    records = closed_run[0].records
    assert np.array_equal(records.input_tokens, records.asked_input)
    assert np.array_equal(records.cached_tokens, records.asked_cached)
    assert np.array_equal(records.output_tokens, records.asked_output)
    assert np.array_equal(np.diff(records.chunk_from), records.output_tokens)
    assert closed_run[0].client["primed_requests"] == 2


def test_six_users_are_never_more_than_six(closed_run: tuple[StageRun, list[Progress], Path]) -> None:
    """The load is held over both workers: six in flight between the staggered start and the stop."""
    run, _, _ = closed_run
    held = stats.in_flight(run.records, np.linspace(0.3, run.load_s, 400))
    assert held.max() == 6
    assert held.mean() > 5.9


def test_progress_is_told_while_it_runs(closed_run: tuple[StageRun, list[Progress], Path]) -> None:
    """The last look agrees with the records: what ended, how fast, and how sure."""
    run, told, _ = closed_run
    last = told[-1]
    assert len(told) >= 5
    assert last.completed == np.count_nonzero(run.records.end_s <= last.elapsed_s)
    assert last.tpot_s == pytest.approx(float(np.median(stats.tpot_s(run.records))), rel=0.05)
    assert last.failed == 0
    assert run.tpot_width is not None
    assert run.tpot_width < 0.05


def test_the_stages_file_is_all_that_stays(closed_run: tuple[StageRun, list[Progress], Path]) -> None:
    """One Parquet file with its digest, from which the run can be read back; no work folder, no process."""
    run, _, folder = closed_run
    assert [path.name for path in folder.iterdir()] == ["s.parquet"]
    assert run.sha256 == digest(folder / "s.parquet")
    again = load_run(folder / "s.parquet")
    assert (again.stage, again.load_s, again.stopped, again.client) == (run.stage, run.load_s, "cap", run.client)
    assert again.conditions == {"why": "test"}
    assert np.array_equal(again.records.chunk_s, run.records.chunk_s)
    assert gone(folder, 1.0)


def test_the_clients_own_conditions_are_told(closed_run: tuple[StageRun, list[Progress], Path]) -> None:
    """How it was measured stands with the records; the clocks did not part."""
    client = closed_run[0].client
    assert client["workers"] == 2
    told = {"wire": "raw socket, compiled reads" if COMPILED else "raw socket", "stamps": "kernel"}
    elsewhere = {"wire": "raw socket", "stamps": "clock at the read"}
    assert {name: client[name] for name in told} == (told if sys.platform == "linux" else elsewhere)
    assert isinstance(client["cpu_share"], float)
    assert 0 < client["cpu_share"] < 1
    assert abs(float(str(client["clock_step_s"]))) < 0.05
    assert float(str(client["send_lag_p99_s"])) < 0.05


def test_a_stage_waits_for_who_warms_the_cache(tmp_path: Path) -> None:
    """One user among three workers, and prefixes that take a second and a half: the first worker warms the cache before
    the zero though the user is another's; its first prompt is found there, and it begins within the stagger."""
    asked = stage(load=1, cap_s=0.8, width=None, cached_share=0.5, prefixes=1)
    with paced(Law(ttft_s=1.5, tpot_s=0.002), "--prefix-cache") as slow:
        run = run_stage(asked, target(slow), tmp_path, workers=3)
    assert run.client["primed_requests"] == 1
    assert run.records.cached_tokens[0] == run.records.asked_cached[0] > 0
    assert run.records.sent_s[0] < asked.stagger_s


def test_open_loop_sends_the_schedule_and_nothing_else(url: str, tmp_path: Path) -> None:
    """Two workers, bursty arrivals: every row of the global schedule was sent once, at its moment, and answered."""
    asked = stage(mode="open", rate_per_s=25.0, arrivals=Arrivals(law="gamma", cv=2.0), cap_s=2.0, width=None)
    run = run_stage(asked, target(url), tmp_path, workers=2)
    lawful = plan(asked)
    order = np.argsort(run.records.request)
    assert run.records.request[order].tolist() == list(range(len(lawful)))
    assert run.records.scheduled_s[order] == pytest.approx(lawful.at_s, abs=1e-6)
    assert np.median(run.records.sent_s - run.records.scheduled_s) < 0.005
    assert set(run.records.status.tolist()) == {"ok"}
    assert run.stopped in ("cap", "exhausted")
    assert np.median(stats.ttft_s(run.records)) == pytest.approx(0.05, rel=0.1)
    assert np.median(run.records.server_ttft_s) == pytest.approx(0.05, rel=0.1)


def test_conversations_carry_what_was_said(url: str, tmp_path: Path) -> None:
    """Two to four turns: each prompt is the whole context; all but the new is in the cache."""
    asked = stage(load=3, turns=(2, 4), think_s=0.02, cap_s=3.0, width=None, cached_share=0.4, prefixes=1)
    records = run_stage(asked, target(url), tmp_path).records
    assert set(records.status.tolist()) == {"ok"}
    assert set(records.turn.tolist()) == {0, 1, 2, 3}
    assert np.array_equal(records.input_tokens, records.asked_input)
    assert np.array_equal(records.cached_tokens, records.asked_cached)
    for first in set(records.conversation.tolist()):
        turns = records.select(records.conversation == first)
        assert turns.turn.tolist() == list(range(len(turns)))
        new = plan(asked).input_tokens[turns.request]
        context = np.cumsum(new) + np.concatenate(([0], np.cumsum(turns.output_tokens)[:-1]))
        assert np.array_equal(turns.input_tokens, context)


def test_a_chat_carries_what_was_said_too(url: str, tmp_path: Path) -> None:
    """Messages with roles, the answers' texts among them: the context the server counts grows from turn to turn."""
    asked = stage(load=2, turns=(3, 3), cap_s=1.5, width=None)
    records = run_stage(asked, Target(url=url, model="paced", api="chat", engine="other"), tmp_path).records
    assert set(records.status.tolist()) == {"ok"}
    first = records.select(records.conversation == 0)
    assert first.turn.tolist() == [0, 1, 2]
    new = plan(asked).input_tokens[first.request]
    said = np.concatenate(([0], np.cumsum(first.output_tokens)[:-1]))
    assert np.array_equal(first.input_tokens, np.cumsum(new) + said)
    # the template writes an answer back as it was, so the cache holds more than our own words
    assert first.cached_tokens[0] == 0
    assert (first.cached_tokens[1:] > first.asked_cached[1:]).all()


def test_a_conversation_needs_token_ids_or_chat(tmp_path: Path) -> None:
    """Text over /v1/completions has no roles to carry."""
    with pytest.raises(InputError, match="conversations over /v1/completions are made of token ids"):
        run_stage(stage(turns=(2, 2)), Target(url="http://127.0.0.1:9", model="m"), tmp_path)


def test_a_stage_stops_when_it_knows_enough(url: str, tmp_path: Path) -> None:
    """With 20 % asked for, a long cap is not waited for; but the window and the tail behind it are."""
    asked = stage(shape=Fixed(input_tokens=20, output_tokens=5), cap_s=60.0, width=0.2, min_requests=50)
    run = run_stage(asked, target(url), tmp_path)
    assert run.stopped == "narrow"
    assert run.load_s < 20
    assert run.throughput_width is not None
    assert run.tpot_width is not None
    assert max(run.throughput_width, run.tpot_width) <= 0.2
    width = max(run.throughput_width, run.tpot_width)
    assert run.ended == Ended(why="narrow", asked_width=0.2, width=width)
    # an open loop waits for TPOT only, which is known as nearly as it was asked
    opened = replace(run, stage=stage(mode="open", rate_per_s=9.0, width=0.2), stopped="cap", throughput_width=0.9)
    assert (opened.ended.width, opened.ended.unsettled) == (run.tpot_width, False)
    assert run.load_s >= least_load_s("closed", 0.5, float(np.median(stats.e2e_s(run.records))))
