"""The server's page: what is read off it, and what is said when it cannot be read."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.scrape import (
    KEPT,
    Sampler,
    cache_block_tokens,
    fetch,
    parse_page,
    samples,
    settled_snapshot,
    take_snapshot,
)

PAGE = (Path(__file__).parent / "golden" / "vllm_0.32.0_metrics.txt").read_text()


@contextmanager
def page_server(*answers: str, status: int = 200) -> Iterator[str]:
    """A server whose n-th answer is the n-th page; the last one stays."""
    left = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = (left.pop(0) if len(left) > 1 else left[0]).encode()
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_real_page_is_read() -> None:
    """Every number we keep stands on a real vLLM page; four requests of 300 + 16 tokens were sent before it."""
    assert {name for name, _, _ in samples(PAGE)} == KEPT
    got = parse_page(PAGE, 7.0)
    assert None not in got.model_dump().values()
    assert (got.unix_s, got.input_tokens, got.output_tokens, got.requests, got.aborted) == (7.0, 1200, 64, 4, 0)
    assert (got.prefix_queries_tokens, got.prefix_hits_tokens) == (1200, 256)
    assert (got.ttft_count, got.e2e_count, got.queue_count) == (4, 4, 4)
    assert cache_block_tokens(PAGE) == 128


def test_engines_are_added_up_and_kv_use_is_the_largest() -> None:
    """Counters of data-parallel engines add up; the fullest KV cache is the one that limits."""
    page = "\n".join(
        f'vllm:{name}{{engine="{engine}",model_name="a\\"b"}} {value}'
        for name, values in {"num_requests_running": (2, 3), "kv_cache_usage_perc": (0.25, 0.5)}.items()
        for engine, value in enumerate(values)
    )
    got = parse_page(page, 0)
    assert (got.running, got.kv_cache_use, got.waiting) == (5, 0.5, None)


def test_what_is_not_there_is_unknown() -> None:
    """An empty page, or a broken line, gives None and not 0."""
    got = parse_page('vllm:num_requests_running{engine="0"} many\n', 1.0)
    assert got.model_dump(exclude={"unix_s"}) == dict.fromkeys(got.model_dump(exclude={"unix_s"}))
    assert cache_block_tokens("") is None


def test_a_page_without_vllm_or_an_error_says_why() -> None:
    """A server that is not vLLM, answers 404, redirects or is gone is an OSError with the reason."""
    with page_server("up 1\n") as url, pytest.raises(OSError, match=r"^/metrics has no vLLM numbers$"):
        take_snapshot(url)
    for status in (404, 302):
        with page_server("no", status=status) as url, pytest.raises(OSError, match=f"HTTP Error {status}"):
            fetch(url)
    with pytest.raises(OSError, match="refused"):
        fetch(url)


def test_the_sampler_keeps_what_it_took_and_the_first_reason() -> None:
    """It samples when it starts, in between and when it ends; a failing source leaves a reason and no sample."""
    taken = iter(range(100_000))
    with Sampler(lambda: next(taken), every_s=0.01) as sampler:
        threading.Event().wait(0.1)
    assert len(sampler.taken) >= 3
    assert sampler.taken == list(range(len(sampler.taken)))

    def fail() -> int:
        raise OSError(f"gone {next(taken)}")

    with Sampler(fail, every_s=60) as failing:
        first = failing.reason
    assert (failing.taken, failing.reason) == ([], first)


@pytest.mark.parametrize(("page", "status", "asked"), [("no", 404, 1), ("up 1\n", 200, 1), ("busy", 503, 3)])
def test_a_page_that_is_not_there_is_asked_for_once(page: str, status: int, asked: int) -> None:
    """Not twice a second through the whole stage; one that only failed is asked for again."""
    taken: list[int] = []
    with page_server(page, status=status) as url:

        def take() -> object:
            taken.append(1)
            return take_snapshot(url)

        with Sampler(take, every_s=0.02) as sampler:
            threading.Event().wait(0.3)
    assert len(taken) == 1 if asked == 1 else len(taken) >= asked
    assert sampler.reason is not None


def test_counters_are_read_when_they_stand_still() -> None:
    """vLLM counts a request after its last byte has left: the settled snapshot waits until nothing runs or moves."""
    moving = [PAGE.replace('running{engine="0",model_name="tiny"} 0.0', 'running{engine="0"} 1.0')]
    moving.append(
        PAGE.replace('generation_tokens_total{engine="0",model_name="tiny"} 64.0', "generation_tokens_total 63")
    )
    assert all(page != PAGE for page in moving)
    with page_server(*moving, PAGE) as url:
        got = settled_snapshot(url)
    assert (got.running, got.output_tokens) == (0, 64)
