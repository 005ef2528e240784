"""The paced server keeps to its law, seen from a bare socket: it is the truth that the client is held against."""

import json
import re
import select
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import gevent
import numpy as np
import psutil
import pytest

from bench import wire
from bench.decode import Reply, decode
from bench.endpoint import endpoint
from bench.paced import Law, paced
from bench.truth import beyond_s, read_truth


def ask(url: str, tokens: int = 5, prompt: list[int] | None = None) -> tuple[Reply, float]:
    """One request: the reply, and its TTFT."""
    to = endpoint(url)
    body = {"model": "paced", "prompt": prompt or list(range(100)), "max_tokens": tokens, "stream": True}
    connection = wire.connection(to)
    kept = connection.exchange(to.request("/v1/completions", json.dumps(body).encode()), 10.0)
    connection.close()
    reply = decode(kept)
    return reply, (reply.chunk_ns[0] - kept.sent_ns) / 1e9


def page(url: str, path: str) -> str:
    with urllib.request.urlopen(url + path, timeout=5) as told:
        text: str = told.read().decode()
    return text


def test_ttft_grows_with_the_tokens_that_are_not_cached() -> None:
    """TTFT = 20 ms + 1 ms for each of 100 input tokens; when 96 of them are cached, for 4: the soonest of five, since
    whoever shares the cores can only add."""
    prompts = [[first, *range(99)] for first in range(1000, 1005)]
    with paced(Law(ttft_s=0.02, ttft_per_token_s=0.001, tpot_s=0.001), "--prefix-cache") as url:
        cold, warm = ([ask(url, prompt=prompt) for prompt in prompts] for _ in range(2))
    assert min(ttft_s for _, ttft_s in cold) == pytest.approx(0.12, abs=0.02)
    assert min(ttft_s for _, ttft_s in warm) == pytest.approx(0.024, abs=0.02)
    assert {reply.cached_tokens for reply, _ in cold} == {0}
    assert {reply.cached_tokens for reply, _ in warm} == {96}


def test_only_so_many_run_and_the_rest_wait() -> None:
    """Two may run; four at once: the last two wait for the first two."""
    with paced(Law(ttft_s=0.05, tpot_s=0.01, max_running=2)) as url:
        jobs = [gevent.spawn(ask, url, 6) for _ in range(4)]
        ttft = sorted(job.get()[1] for job in jobs)
    assert ttft[:2] == pytest.approx([0.05, 0.05], abs=0.03)
    assert ttft[2:] == pytest.approx([0.15, 0.15], abs=0.04)  # 50 ms and 5 x 10 ms of the first two, then its own 50


def test_the_log_agrees_with_what_came(tmp_path: Path) -> None:
    """Each request's prompt, arrival and sends are in the log, on the clock that the client reads."""
    log = tmp_path / "truth.npz"
    before = time.time_ns()
    with paced(Law(ttft_s=0.02, tpot_s=0.005), log=log) as url:
        replies = [ask(url, 5, [7, 8, number, *range(50)])[0] for number in range(3)]
    truth = read_truth(log)
    assert truth.heads[:, :3].tolist() == [[7, 8, 0], [7, 8, 1], [7, 8, 2]]
    assert truth.sent_serial.tolist() == [0] * 5 + [1] * 5 + [2] * 5
    assert np.all((before < truth.arrived_ns) & (truth.arrived_ns < truth.sent_ns[::5]))
    assert np.all(truth.sent_ns < truth.done_ns)
    for number, reply in enumerate(replies):
        late = reply.chunk_ns - truth.sent_ns[5 * number : 5 * number + 5]
        assert np.all(late > 0)
        assert late.max() < 50_000_000


def test_an_error_counts_from_what_the_server_knows() -> None:
    """Inside the interval there is no error; outside, the distance to it."""
    spans = np.array([1.0e9, 2.0e9, 4.0e9])
    shortest, longest = np.array([2e9, 1e9, 1e9]).astype(int), np.array([3e9, 3e9, 3e9]).astype(int)
    assert beyond_s(spans, shortest, longest).tolist() == [1.0, 0.0, 1.0]


def test_its_metrics_page_speaks_vllm() -> None:
    """vLLM's names; the counters are what was asked and answered, the gauges are zero when nothing runs."""
    with paced(Law(ttft_s=0.01, tpot_s=0.002), "--prefix-cache") as url:
        for _ in range(2):
            ask(url, 5)
        told = dict(re.findall(r"^(vllm:\w+)\{[^}]*\} (\S+)$", page(url, "/metrics"), re.MULTILINE))
        models = json.loads(page(url, "/v1/models"))
        assert page(url, "/health") == ""
    assert models["data"][0]["id"] == "paced"
    expected = {
        "vllm:num_requests_running": "0.0",
        "vllm:num_requests_waiting": "0.0",
        "vllm:prompt_tokens_total": "200.0",
        "vllm:generation_tokens_total": "10.0",
        "vllm:prefix_cache_queries_total": "200.0",
        "vllm:prefix_cache_hits_total": "96.0",
        "vllm:e2e_request_latency_seconds_count": "2.0",
        "vllm:inter_token_latency_seconds_count": "8.0",
    }
    assert {name: told[name] for name in expected} == expected
    assert float(told["vllm:time_to_first_token_seconds_sum"]) == pytest.approx(0.02, abs=0.01)


def held(limit: str, clients: int) -> tuple[int, int, float]:
    """How many of these are answered at once by a server under this limit of open files, how many of the others when
    the first have gone, and what share of a core the server took while it was full."""
    command = f"ulimit {limit}; exec {sys.executable} -m bench.paced --ttft-s=0.01 --tpot-s=0.001"
    with subprocess.Popen(["bash", "-c", command], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        to = endpoint(f"http://127.0.0.1:{json.loads(server.stdout.readline())['port']}")
        asked = to.request("/v1/completions", b'{"model": "paced", "prompt": [1], "max_tokens": 2}')
        sockets = [socket.create_connection((to.host, to.port)) for _ in range(clients)]
        for one in sockets:
            one.sendall(asked)
        time.sleep(0.5)
        before = sum(psutil.Process(server.pid).cpu_times()[:2])
        time.sleep(0.5)
        busy = (sum(psutil.Process(server.pid).cpu_times()[:2]) - before) / 0.5
        answered = select.select(sockets, [], [], 0)[0]
        for one in answered:
            one.close()
        waiting = [one for one in sockets if one not in answered]
        time.sleep(0.5)
        later = select.select(waiting, [], [], 0)[0]
        for one in waiting:
            one.close()
        server.terminate()
    return len(answered), len(later), busy


def test_a_server_that_may_open_no_more_files_lets_the_others_wait() -> None:
    """It opens as many as it may at all; beyond them it neither dies nor turns in circles, and lets in who waits when
    others leave."""
    assert held("-Sn 30", 60)[:2] == (60, 0)
    answered, later, busy = held("-n 40", 60)
    assert 20 < answered < 40
    assert answered + later == 60
    assert busy < 0.5


def test_a_client_that_leaves_frees_its_place() -> None:
    """A request whose connection closed is aborted: the next one runs, and the page counts the abort."""
    with paced(Law(ttft_s=0.01, tpot_s=0.5, max_running=1)) as url:
        to = endpoint(url)
        body = b'{"model": "paced", "prompt": [1], "max_tokens": 100}'
        with socket.create_connection((to.host, to.port)) as leaver:
            leaver.sendall(to.request("/v1/completions", body))
            assert leaver.recv(100).startswith(b"HTTP/1.1 200")
        assert ask(url, 1)[0].status == "ok"
        assert 'finished_reason="abort"} 1.0' in page(url, "/metrics")


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_share_of_faults_is_that_share(share: float) -> None:
    """Evenly spread without a generator: of 40 requests the stated share, give or take one."""
    with paced(Law(ttft_s=0.0, tpot_s=0.0)) as url:
        to = endpoint(url)
        body = json.dumps({"model": f"fault:429:{share}", "prompt": [1], "max_tokens": 1}).encode()
        connection = wire.connection(to)
        told = [decode(connection.exchange(to.request("/v1/completions", body), 1.0)).status for _ in range(40)]
        connection.close()
    assert set(told) == {"ok", "http_429"}
    assert abs(told.count("http_429") - 40 * share) <= 1
