"""Every verdict fires on what it is for, and does not on a sound stage; none fires where it cannot know."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import stats
from bench.bottleneck import bottleneck
from bench.build import gather, point_of, points_of
from bench.driver import Target, run_stage
from bench.evidence import Evidence
from bench.gpu import Reading
from bench.judge import CHECKS, judge
from bench.paced import Law, paced
from bench.prompts import Fixed
from bench.records import Records, from_rows
from bench.schedule import Arrivals, Stage
from bench.scrape import Snapshot
from bench.selfcheck import Ceiling
from bench.watch import Watch, read_watch, watching, write_watch
from hardware_profiles.curve import Check

ZERO = 1000.0
LOAD, USERS_S, TTFT, E2E, TOKENS = 40.0, 4, 0.1, 0.5, 5
NAN = math.nan


def rows(**changes: Any) -> list[dict[str, Any]]:
    """Four users, each sending the next request when the last one ended: 80 requests of 0.5 s each in 40 s."""
    made = []
    for number in range(int(LOAD / E2E) * USERS_S):
        sent = number // USERS_S * E2E + number % USERS_S * 0.01
        row = {
            "request": number,
            "worker": 0,
            "scheduled_s": sent,
            "sent_s": sent,
            "first_token_s": sent + TTFT,
            "first_visible_s": sent + TTFT,
            "last_token_s": sent + E2E,
            "end_s": sent + E2E - 0.001,
            "asked_input": 100,
            "asked_cached": 0,
            "asked_output": TOKENS,
            "input_tokens": 100,
            "cached_tokens": 0,
            "output_tokens": TOKENS,
            "reasoning_tokens": 0,
            "events": TOKENS,
            "status": "ok",
            "error": "",
            "server_queue_s": 0.02,
            "server_ttft_s": TTFT - 0.03,
            "server_generation_s": E2E - TTFT - 0.005,
        }
        made.append(row | {key: change(row) if callable(change) else change for key, change in changes.items()})
    return made


def records(**changes: Any) -> Records:
    made = rows(**changes)
    chunks = [np.linspace(row["first_token_s"], row["last_token_s"], TOKENS) for row in made]
    return from_rows(made, chunks)


COUNT = len(rows())


def page(at_s: float, done: int = 0, **changes: Any) -> Snapshot:
    """The server's page with `done` requests behind it, all as the records have them."""
    counted = {
        "running": float(USERS_S),
        "waiting": 0.0,
        "kv_cache_use": 0.5,
        "preemptions": 0.0,
        "input_tokens": 100.0 * done,
        "output_tokens": float(TOKENS * done),
        "prefix_queries_tokens": 100.0 * done,
        "prefix_hits_tokens": 0.0,
        "requests": float(done),
        "aborted": 0.0,
        "ttft_sum_s": TTFT * done,
        "ttft_count": float(done),
        "e2e_sum_s": E2E * done,
        "e2e_count": float(done),
        "tpot_sum_s": (E2E - TTFT) / (TOKENS - 1) * done,
        "tpot_count": float(done),
        "queue_sum_s": 0.0,
        "queue_count": float(done),
    }
    return Snapshot(unix_s=ZERO + at_s, **(counted | changes))


def reading(at_s: float, **changes: Any) -> Reading:
    facts: dict[str, Any] = {
        "energy_j": 300 * at_s,
        "power_w": 300.0,
        "power_limit_w": 700.0,
        "clock_sm_mhz": 1980.0,
        "throttled": (),
        "memory_used_gib": 60.0,
        "processes": (7,),
    }
    return Reading(unix_s=ZERO + at_s, **(facts | changes))


STAGE = Stage(name="s", mode="closed", shape=Fixed(input_tokens=100, output_tokens=TOKENS), seed=0, load=USERS_S)
OPEN = Stage(name="s", mode="open", shape=Fixed(input_tokens=100, output_tokens=TOKENS), seed=0, rate_per_s=8.0)
WATCH = Watch(
    stage="s",
    records_sha256="",
    before=page(-1, running=0.0),
    after=page(LOAD + 1, COUNT, running=0.0),
    pages=tuple(page(at + 0.25) for at in range(int(LOAD))),
    readings=tuple(reading(float(at)) for at in range(int(LOAD) + 1)),
    own_processes=(7,),
)
CEILING = Ceiling(
    streams=512,
    events_per_s=20_000,
    error_s=0.001,
    ttft_error_p99_s=0.0005,
    gap_error_p99_s=0.0001,
    kept_share=1.0,
    workers=1,
    wire="raw socket, kernel",
    capped=True,
    measured_at="2026-11-20",
    client={},
)
HELD_NOTHING = CEILING.model_copy(update={"streams": 0, "events_per_s": 0.0})
SOUND = Evidence(
    stage=STAGE,
    records=records(),
    window=stats.Window(5.0, 35.0),
    zero_unix_s=ZERO,
    client={"cpu_share": 0.3, "wire": "raw socket", "stamps": "kernel", "clock_step_s": 0.00002},
    watch=WATCH,
    ceiling=CEILING,
)


def verdicts(evidence: Evidence) -> dict[str, Check]:
    return {check.name: check for check in judge(evidence)}


def watch(**changes: Any) -> Callable[[], Evidence]:
    return lambda: replace(SOUND, watch=WATCH.model_copy(update=changes))


def client(**changes: Any) -> Callable[[], Evidence]:
    return lambda: replace(SOUND, client=SOUND.client | changes)


def seen(stage: Stage = STAGE, **changes: Any) -> Callable[[], Evidence]:
    return lambda: replace(SOUND, stage=stage, records=records(**changes))


def after(**changes: Any) -> Callable[[], Evidence]:
    return watch(after=page(LOAD + 1, COUNT, **({"running": 0.0} | changes)))


def every(n: int, value: Any, key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda row: value if row["request"] % n == 0 else row[key]


def test_a_sound_stage_passes_everything() -> None:
    """No check fires, none is unknown, and their order is the one that curves have."""
    found = verdicts(SOUND)
    assert list(found) == [check.__name__ for check in CHECKS]
    assert {name: check.verdict for name, check in found.items()} == dict.fromkeys(found, "pass")


BLIND = watch(before=None, after=None, pages=(), pages_reason="/metrics has no vLLM numbers", readings=())


def test_the_page_lists_every_check() -> None:
    """docs/method.md: the checks, all of them, in the order in which curves have them."""
    page = (Path(__file__).parents[1] / "docs" / "method.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"## The checks\n(.*?)\n## ", page, flags=re.DOTALL)
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == [check.__name__ for check in CHECKS]


FIRES: list[tuple[str, Callable[[], Evidence], str]] = [
    (
        "server_alive",
        watch(server_death="vLLM ended (exit status 3) while it was being measured"),
        "vLLM ended (exit status 3) while it was being measured",
    ),
    (
        "server_alive",
        watch(before=page(-1, COUNT + 1, running=0.0)),
        "the server began anew: its counters fell",
    ),
    ("errors", seen(status=every(50, "http_500", "status")), "2.1% of the window's requests failed"),
    (
        "client_ceiling",
        lambda: replace(SOUND, ceiling=CEILING.model_copy(update={"streams": 3, "capped": False})),
        "4 streams and 40 events/s; within 1 ms the client holds 3 streams and 20000 events/s",
    ),
    (
        "client_ceiling",
        lambda: replace(SOUND, ceiling=CEILING.model_copy(update={"events_per_s": 39, "capped": False})),
        "4 streams and 40 events/s; within 1 ms the client holds 512 streams and 39 events/s",
    ),
    (
        "client_ceiling",
        lambda: replace(SOUND, ceiling=HELD_NOTHING.model_copy(update={"capped": False})),
        "this client held no load within 1 ms when `bench selfcheck` tried",
    ),
    (
        "client_busy",
        client(cpu_share=0.95),
        "the busiest client process used 95% of a core",
    ),
    (
        "client_lag",
        seen(scheduled_s=lambda row: row["sent_s"] - 0.011),
        "99 % were sent within 11.0 ms",
    ),
    # sent before it was due: a clock that stepped, and as wrong as too late
    (
        "client_lag",
        seen(scheduled_s=lambda row: row["sent_s"] + 0.5),
        "99 % were sent within 500.0 ms",
    ),
    ("clock", client(clock_step_s=-0.5), "the client's clock stepped by -500.0 ms"),
    ("clock", client(clock_step_s=0.0011), "the client's clock stepped by +1.1 ms"),
    (
        "clock",
        client(clock_error_s=0.011),
        "the client's clock stepped by +0.0 ms, workers' clocks agree within 11.0 ms",
    ),
    # there and back within the stage: the ends agree, the requests in between do not
    (
        "clock",
        seen(first_token_s=lambda row: row["first_token_s"] - (0.5 if 20 < row["sent_s"] < 21 else 0)),
        "the client's clock stepped by +0.0 ms; 7 requests have a first token from before they were sent",
    ),
    (
        "in_flight",
        watch(pages=tuple(page(at + 0.25, running=1.0, waiting=0.9) for at in range(int(LOAD)))),
        "client 4.00, server 1.90 (running + waiting) on average over 30 pages",
    ),
    (
        "balance",
        seen(end_s=lambda row: row["end_s"] + (8 if row["sent_s"] > 20 else 0)),
        "240 requests sent and ",
    ),
    (
        "stationary",
        seen(status=lambda row: "reset" if row["sent_s"] > 20 and row["request"] % 2 else "ok"),
        "tokens arriving: ",
    ),
    (
        "load_law",
        seen(OPEN.model_copy(update={"arrivals": Arrivals(law="constant")})),
        "constant arrivals: a planner counts on Poisson ones",
    ),
    (
        "load_law",
        seen(STAGE.model_copy(update={"think_s": 1.5})),
        "users think for 1.5 s: fewer than the load are in flight",
    ),
    ("server_latency", after(ttft_sum_s=0.11 * 2 * COUNT), "means: TTFT 100.00 ms (server 220.00 ms), TPOT 100.00 ms"),
    ("server_latency", after(tpot_sum_s=0.110 * COUNT), "means: TTFT 100.00 ms (server 100.00 ms), TPOT 100.00 ms"),
    ("server_latency", after(e2e_sum_s=0.44 * COUNT), "means: TTFT 100.00 ms (server 100.00 ms), TPOT 100.00 ms"),
    ("server_latency", after(ttft_sum_s=(TTFT - 0.06) * COUNT), "means: TTFT 100.00 ms (server 40.00 ms), TPOT"),
    ("request_timings", seen(server_ttft_s=TTFT - 0.08), "client minus server over 240 requests: TTFT +60.00 ms,"),
    ("request_timings", seen(server_queue_s=0.09), "client minus server over 240 requests: TTFT -60.00 ms, generation"),
    (
        "request_timings",
        seen(server_generation_s=E2E - TTFT + 0.03),
        "client minus server over 240 requests: TTFT +10.00 ms, generation -30.00 ms of 430.0 ms",
    ),
    ("tokens", after(output_tokens=TOKENS * COUNT - 1.0), f"input {100 * COUNT} (server {100 * COUNT}), output "),
    ("tokens", after(input_tokens=100.0 * COUNT + 1), f"input {100 * COUNT} (server {100 * COUNT + 1}), output "),
    (
        "tokens",
        seen(input_tokens=-1, output_tokens=-1),
        f"{COUNT} of {COUNT} served requests came without `usage`: their tokens are not known",
    ),
    (
        "prefix_hits",
        lambda: replace(
            warmed(prefix_hits_tokens=40.0 * COUNT), client=SOUND.client | WARMED | {"prime_error": "reset"}
        ),
        "asked 48.0%, seen 40.0%; a request that should warm it failed (reset)",
    ),
    (
        "prefix_hits",
        lambda: replace(
            BLIND(), records=records(asked_cached=48, cached_tokens=-1), client=SOUND.client | {"prime_error": "reset"}
        ),
        "asked 48.0%, and nobody tells what was found in the cache; a request that should warm it failed (reset)",
    ),
    # no page, but `usage` tells
    (
        "prefix_hits",
        lambda: replace(BLIND(), records=records(asked_cached=48, cached_tokens=40)),
        "asked 48.0%, seen 40.0%",
    ),
    ("prefix_hits", after(prefix_hits_tokens=100 * COUNT * 0.05), "asked 0.0%, seen 5.0%"),
    ("prefix_hits", seen(asked_cached=48), "asked 48.0%, seen 0.0%"),
    ("drained", after(waiting=2.0), "0 unanswered, 2 left on the server"),
    ("drained", seen(status=every(200, "unfinished", "status")), "2 unanswered, 0 left on the server"),
    (
        "gpu_throttled",
        watch(readings=(*WATCH.readings[:20], reading(20.5, throttled=("HwThermalSlowdown", "SwPowerCap")))),
        "slowed by HwThermalSlowdown",
    ),
    ("gpu_shared", watch(readings=tuple(reading(at, processes=(7, 9)) for at in range(40))), "1 other processes"),
    (
        "gpu_settings",
        watch(readings=(*WATCH.readings, reading(LOAD, power_limit_w=500.0))),
        "power limit 500 to 700 W",
    ),
    (
        "gpu_settings",
        watch(readings=tuple(reading(at, clock_sm_mhz=1980.0 if at < 25 else 1410.0) for at in range(41))),
        "power limit 700 to 700 W, clock 1980 MHz in the window's first third, 1410 in its last",
    ),
    (
        "gpu_energy",
        watch(readings=tuple(reading(at, energy_j=0.0) for at in range(41))),
        "counter 0 W, samples 300 W on average",
    ),
]


@pytest.mark.parametrize(("name", "evidence", "reason"), FIRES, ids=[f"{n}-{i}" for i, (n, _, _) in enumerate(FIRES)])
def test_each_check_fires(name: str, evidence: Callable[[], Evidence], reason: str) -> None:
    """On what it is for, with a reason that names both witnesses."""
    found = verdicts(evidence())[name]
    assert found.verdict == "fail", found
    assert found.reason.startswith(reason)


def test_every_check_has_a_case_that_fires() -> None:
    """No verdict without a test that makes it fire."""
    assert {name for name, _, _ in FIRES} == {check.__name__ for check in CHECKS}


UNKNOWN: list[tuple[str, Callable[[], Evidence], str]] = [
    *(
        (name, BLIND, "/metrics has no vLLM numbers")
        for name in ("server_alive", "in_flight", "server_latency", "tokens")
    ),
    (
        "drained",
        BLIND,
        "none unanswered; whether the server still works is not known: /metrics has no vLLM numbers",
    ),
    (
        "prefix_hits",
        lambda: replace(BLIND(), records=records(cached_tokens=-1)),
        "/metrics has no vLLM numbers",
    ),
    *(
        (name, watch(readings=(), gpu_reason="no GPU"), "no GPU")
        for name in ("gpu_throttled", "gpu_shared", "gpu_settings", "gpu_energy")
    ),
    ("gpu_throttled", watch(readings=(reading(10, throttled=None),)), "the driver does not tell"),
    (
        "gpu_shared",
        watch(own_processes=None),
        "the driver does not tell which processes are the server's",
    ),
    ("client_ceiling", lambda: replace(SOUND, ceiling=None), "this machine's client ceiling is not known: "),
    (
        "client_ceiling",
        lambda: replace(SOUND, ceiling=CEILING.model_copy(update={"streams": 3})),
        "4 streams and 40 events/s; within 1 ms the client holds 3 streams and 20000 events/s at least",
    ),
    (
        "client_ceiling",
        lambda: replace(SOUND, ceiling=HELD_NOTHING),
        "this client held no load within 1 ms when `bench selfcheck` tried, and its server fell behind too: ",
    ),
    ("client_busy", client(cpu_share=None), "the client's processor share was not measured"),
    ("stationary", lambda: replace(SOUND, window=stats.Window(5, 6)), "the window "),
    ("tokens", seen(status=every(200, "reset", "status")), "failed requests have tokens that only the server counted"),
    ("tokens", after(output_tokens=None), "the server did not count them"),
    ("clock", lambda: replace(SOUND, client={}), "the client's clock was not watched"),
    (
        "client_ceiling",
        client(wire="tls", stamps="clock at the read"),
        "measured with tls, clock at the read, the ceiling with raw socket, kernel: unlike clients",
    ),
    (
        "client_ceiling",
        client(stamps="clock at the read"),
        "measured with raw socket, clock at the read, the ceiling with raw socket, kernel: unlike clients",
    ),
    (
        "client_ceiling",
        seen(STAGE.model_copy(update={"turns": (2, 6)})),
        "a conversation is decoded while it goes on; the ceiling's client decodes after",
    ),
    ("request_timings", seen(server_queue_s=NAN), "the server tells no timings of single requests"),
    ("server_latency", after(ttft_count=COUNT - 1.0), f"the server counted {COUNT - 1.0} TTFT, the client {COUNT}"),
    # records from before priming was timed
    (
        "server_latency",
        lambda: replace(SOUND, client=SOUND.client | {"primed_requests": 4, "primed_input_tokens": 196}),
        "the requests that warmed the cache are in the server's sums: they were not timed",
    ),
    (
        "server_latency",
        lambda: replace(SOUND, client=SOUND.client | WARMED | {"prime_error": "http_500: no"}),
        "the requests that warmed the cache are in the server's sums: http_500: no",
    ),
]


@pytest.mark.parametrize(("name", "evidence", "reason"), UNKNOWN)
def test_what_cannot_be_known_is_unknown(name: str, evidence: Callable[[], Evidence], reason: str) -> None:
    """Neither passed nor failed, with the reason why."""
    found = verdicts(evidence())[name]
    assert found.verdict == "unknown", found
    assert found.reason.startswith(reason)


def test_a_window_without_requests_fails_and_breaks_nothing() -> None:
    """An empty stage is judged too: no exception, and it is not usable."""
    found = verdicts(replace(SOUND, window=stats.Window(100, 101)))
    told = "no request was sent in the window, so there is no latency: a longer stage has one (--stage-seconds)"
    assert (found["errors"].verdict, found["errors"].reason) == ("fail", told)
    assert found["client_lag"].verdict == "unknown"
    nothing = verdicts(replace(SOUND, records=from_rows([], []), window=stats.Window(0, 1)))
    assert nothing["errors"].verdict == "fail"


PRIMED = 64
WARMED = {
    "primed_requests": PRIMED,
    "primed_input_tokens": PRIMED * 49,
    "primed_ttft_s": PRIMED * 0.2,
    "primed_e2e_s": PRIMED * 0.2,
}


def warmed(**changes: Any) -> Evidence:
    """Half of the input comes from the cache; 64 requests of 49 tokens in, 1 out and 0.2 s have warmed it."""
    done = {
        "running": 0.0,
        "input_tokens": 100.0 * COUNT + PRIMED * 49,
        "output_tokens": TOKENS * COUNT + PRIMED,
        "prefix_queries_tokens": 100.0 * COUNT + PRIMED * 49,
        "prefix_hits_tokens": 48.0 * COUNT,
        "ttft_sum_s": TTFT * COUNT + PRIMED * 0.2,
        "ttft_count": COUNT + PRIMED,
        "e2e_sum_s": E2E * COUNT + PRIMED * 0.2,
        "e2e_count": COUNT + PRIMED,
        "tpot_count": COUNT + PRIMED,  # 0 s each: their sum is that of the stage
    }
    watched = WATCH.model_copy(update={"after": page(LOAD + 1, COUNT, **(done | changes))})
    return replace(SOUND, records=records(asked_cached=48), watch=watched, client=SOUND.client | WARMED)


def test_a_warm_cache_that_was_asked_for_passes() -> None:
    """What warmed the cache is in the server's counters and sums: tokens, hits and mean latencies agree with it in."""
    names = ("prefix_hits", "tokens", "server_latency")
    found = verdicts(warmed())
    assert {found[name].verdict for name in names} == {"pass"}
    assert found["server_latency"].reason.startswith("means: TTFT 116.67 ms (server 116.67 ms), TPOT 100.00 ms")
    # a server that leaves single tokens out of its TPOT says the same
    assert verdicts(warmed(tpot_count=float(COUNT)))["server_latency"].verdict == "pass"
    assert verdicts(replace(warmed(), client=SOUND.client))["tokens"].verdict == "fail"


@pytest.mark.xdist_group("clock")
def test_a_cache_that_is_really_warmed_passes(tmp_path: Path) -> None:
    """A short stage on a real socket, half of each prompt from four shared prefixes: the four requests of one token
    that warm the cache bend no mean, and server and client agree on every count."""
    asked = Fixed(input_tokens=320, output_tokens=26)
    stage = Stage(name="s", mode="closed", shape=asked, seed=0, load=1, cached_share=0.5, cap_s=4, warm_up_s=0.5)
    with paced(Law(ttft_s=0.1, tpot_s=0.01), "--prefix-cache") as url:
        with watching(url, key=None, driver=None, gpu_reason=None) as watched:
            done = run_stage(stage, Target(url=url, model="paced", vocab_size=1000), tmp_path)
        write_watch(watched.finish("s", done.sha256, None), tmp_path)
    found = verdicts(gather(tmp_path, read_watch(tmp_path / "s.json")))
    assert done.client["primed_requests"] == 4
    assert len(done.records) < 15, "too many for four more to show"
    for name in ("prefix_hits", "tokens", "server_latency"):
        assert found[name].verdict == "pass", found[name]


def test_a_warm_cache_excuses_no_latency() -> None:
    """The stage's own requests 30 % slower for the server than for the client: found out, whatever warmed its cache."""
    late = warmed(e2e_sum_s=1.3 * E2E * COUNT + PRIMED * 0.2)
    assert verdicts(late)["server_latency"].verdict == "fail"
    assert verdicts(warmed(tpot_sum_s=0.11 * COUNT))["server_latency"].verdict == "fail"


def test_single_tokens_have_no_tpot_to_compare() -> None:
    """Each answer one token: vLLM counts a TPOT of 0 for each, the client none; TTFT and E2E are compared."""
    made = seen(output_tokens=1, last_token_s=lambda row: row["first_token_s"])
    done = page(LOAD + 1, COUNT, running=0.0, output_tokens=float(COUNT), tpot_sum_s=0.0, e2e_sum_s=TTFT * COUNT)
    found = verdicts(replace(made(), watch=WATCH.model_copy(update={"after": done})))["server_latency"]
    assert (found.verdict, "TPOT" in found.reason) == ("pass", False), found


def test_an_open_loop_is_judged_by_its_number_in_flight() -> None:
    """Requests that last longer and longer climb in flight: neither stationary nor balanced."""
    late = {key: (lambda row, key=key: row[key] + row["sent_s"] / 10) for key in ("last_token_s", "end_s")}
    found = verdicts(seen(OPEN, **late)())
    assert (found["stationary"].verdict, found["balance"].verdict) == ("fail", "fail")
    assert {verdicts(replace(SOUND, stage=OPEN))[name].verdict for name in ("stationary", "balance")} == {"pass"}


def front(late_s: float, scale: float = 1.0) -> Evidence:
    """Everything `scale` times as long, and the server's own TTFT and E2E `late_s` shorter than the client's."""
    times = {name: (lambda row, name=name: row[name] * scale) for name in ("sent_s", "scheduled_s", "end_s")}
    times |= {name: (lambda row, name=name: row[name] * scale) for name in ("first_token_s", "last_token_s")}
    told = {"server_ttft_s": TTFT * scale - 0.02 - late_s, "server_generation_s": (E2E - TTFT) * scale}
    sums = {"ttft_sum_s": (TTFT * scale - late_s) * COUNT, "e2e_sum_s": (E2E * scale - late_s) * COUNT}
    done = page(LOAD + 1, COUNT, running=0.0, tpot_sum_s=(E2E - TTFT) * scale / (TOKENS - 1) * COUNT, **sums)
    watched = WATCH.model_copy(update={"after": done})
    return replace(SOUND, records=records(**times, **told), watch=watched, window=stats.Window(5 * scale, 35 * scale))


@pytest.mark.parametrize(("late_s", "scale", "verdict"), [(0.045, 1, "pass"), (0.06, 1, "fail"), (0.17, 20, "pass")])
def test_both_witnesses_of_the_front_end_have_one_tolerance(late_s: float, scale: float, verdict: str) -> None:
    """50 ms outside the engine, or a tenth of TTFT where that is more, by the sums and by the single requests alike."""
    found = verdicts(front(late_s, scale))
    assert {found[name].verdict for name in ("server_latency", "request_timings")} == {verdict}


@pytest.mark.parametrize(
    ("running", "ttft_s", "verdict"), [(2.1, 0.1, "pass"), (1.9, 0.1, "fail"), (2.9, 0.02, "fail"), (5.1, 0.1, "fail")]
)
def test_a_request_is_unseen_until_its_first_step_ends(running: float, ttft_s: float, verdict: str) -> None:
    """Eight requests a second, each on no page for 50 ms and two steps as long as the quickest TTFT: so many may the
    server miss. It may not have more than the client sent."""
    pages = tuple(page(at + 0.25, running=running) for at in range(int(LOAD)))
    seen_so = records(first_token_s=lambda row: row["sent_s"] + ttft_s)
    found = verdicts(replace(SOUND, records=seen_so, watch=WATCH.model_copy(update={"pages": pages})))
    assert found["in_flight"].verdict == verdict


def test_a_restart_is_not_an_unknown_counter() -> None:
    """A page that does not count requests leaves the server alive: it answered."""
    assert verdicts(after(requests=None)())["server_alive"].verdict == "pass"
    assert (
        verdicts(replace(BLIND(), records=records(status=every(200, "unfinished", "status"))))["drained"].verdict
        == "fail"
    )


def test_a_cache_that_usage_confirms_needs_no_page() -> None:
    """vLLM leaves a zero out of `usage`: where other requests tell, that is a request that found nothing."""
    told = records(asked_cached=48, cached_tokens=lambda row: 48 if row["request"] % 50 else -1)
    assert verdicts(replace(BLIND(), records=told))["prefix_hits"].verdict == "pass"
    half = records(asked_cached=48, cached_tokens=lambda row: 48 if row["request"] % 2 else -1)
    assert verdicts(replace(BLIND(), records=half))["prefix_hits"].verdict == "fail"


def test_cached_tokens_come_from_the_page_where_usage_is_silent() -> None:
    """48 of 100 input tokens asked for and found, by the server's page alone; nothing is taken from what was asked."""
    silent = replace(warmed(), records=records(asked_cached=60, cached_tokens=-1))
    assert point_of(silent, before=None).shape.cached_tokens == pytest.approx(48)
    blind = replace(BLIND(), records=silent.records)
    assert point_of(blind, before=None).shape.cached_tokens == 0
    assert not point_of(blind, before=None).usable


def test_a_power_cap_alone_throttles_nothing() -> None:
    """A GPU at its own power cap gives what it gives: no verdict against the point."""
    assert verdicts(watch(readings=POWER)())["gpu_throttled"].verdict == "pass"


QUEUED = tuple(page(at + 0.25, running=3.0, waiting=1.0) for at in range(int(LOAD)))
FULL = tuple(page(at + 0.25, running=3.0, waiting=1.0, kv_cache_use=0.99) for at in range(int(LOAD)))
POWER = tuple(reading(at, throttled=("SwPowerCap",)) for at in range(40))


def capped(count: int) -> tuple[Reading, ...]:
    """The power cap shows in so many of the window's thirty readings."""
    return tuple(reading(at, throttled=("SwPowerCap",) if 5 <= at < 5 + count else ()) for at in range(40))


@pytest.mark.parametrize(
    ("evidence", "saturated", "expected"),
    [
        # nothing waits and more load still gives more
        (lambda: SOUND, False, None),
        (lambda: SOUND, True, "compute"),
        (watch(pages=QUEUED), False, "queue"),
        (watch(pages=FULL), False, "kv_cache"),
        # a full cache shows in preemptions even where the pages miss its peak
        (watch(pages=QUEUED, after=page(LOAD + 1, COUNT, running=0.0, preemptions=3.0)), False, "kv_cache"),
        (watch(after=page(LOAD + 1, COUNT, running=0.0, preemptions=3.0)), False, None),
        (watch(readings=POWER), True, "power"),
        # capped in one reading of thirty, and in ten
        (watch(readings=capped(1)), True, "compute"),
        (watch(readings=capped(10)), True, "power"),
        # a power cap below saturation holds nothing back
        (watch(readings=POWER), False, None),
        (client(cpu_share=0.99), True, "client"),
        # a clock that stepped makes the point unusable, and held nothing back
        (client(clock_step_s=0.5), True, "compute"),
        # without pages nobody can tell a queue from compute
        (BLIND, True, "unknown"),
    ],
)
def test_what_held_a_point_back(evidence: Callable[[], Evidence], saturated: bool, expected: str | None) -> None:
    """The client first, then the queue or the KV cache behind it, then power, else compute."""
    found = evidence()
    assert bottleneck(found, judge(found), saturated=saturated) == expected


def level(load: int, keep: Callable[[int], bool], **changes: Any) -> Evidence:
    """A stage at `load` that served the requests of these numbers."""
    made = records()
    stage = STAGE.model_copy(update={"load": load} | changes)
    return replace(SOUND, stage=stage, records=made.select(np.array([keep(int(n)) for n in made.request])))


def test_a_level_that_gives_little_more_is_saturated() -> None:
    """+50 % and then +2 %: the third level is held back, by compute; another shape's first level has none before it."""
    fewest, fewer, full = (lambda n: n % 50 > 0 and n % 3 > 0), (lambda n: n % 50 > 0), (lambda _: True)
    longer = {"shape": Fixed(input_tokens=200, output_tokens=TOKENS)}
    points = points_of([level(1, fewest), level(2, fewer), level(4, full), level(1, fewer, **longer)])
    gained = [after.throughput_per_s / before.throughput_per_s for before, after in itertools.pairwise(points)]
    assert gained[:2] == pytest.approx([1.5, 1.02], rel=0.01)
    assert gained[2] < 1, "by this it would be saturated"
    assert [point.bottleneck for point in points] == [None, None, "compute", None]


def test_an_open_loop_is_not_saturated_by_its_neighbours() -> None:
    """A rate offers what it offers: two rates with the same throughput show no limit."""
    opened = replace(SOUND, stage=OPEN)
    assert [point.bottleneck for point in points_of([opened, opened])] == [None, None]
