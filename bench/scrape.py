"""vLLM's /metrics page, sampled through a stage: the server's own word on what the client saw.

Why: a point is worth what the server confirms: its running and waiting requests against the client's in flight, its
token counters against `usage`, its cache hits against the share that was asked for. How: a thread asks for the page
every half second and keeps the few numbers below; counters are read before the first request and after the drain, when
both sides must agree exactly. Histograms are kept as sum and count only: the default buckets start at 10 ms between
tokens, so a percentile from them would be invented.

Metric names are those of vLLM 0.26 to 0.32 (docs.vllm.ai/en/stable/usage/metrics; checked against a real 0.32.0 page).
The page's format is Prometheus text, version 0.0.4. Numbers of several engines (data parallel) are added up, KV-cache
use is the largest.
"""

from __future__ import annotations

import http.client
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any, Generic, Self, TypeVar

from hardware_profiles.curve import Value

EVERY_S = 0.5
SETTLE_S = 0.2
PAGE_LIMIT = 16 * 2**20
_NONE = {404, 405, 410, 501}
"""HTTP's ways to say that there is no such page."""

Taken = TypeVar("Taken")

_LINE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+(\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


class Snapshot(Value):
    """The server's state at one moment; None where its page does not have the number."""

    unix_s: float
    running: float | None
    waiting: float | None
    kv_cache_use: float | None
    """Share of the KV cache in use, 0 to 1."""
    preemptions: float | None
    input_tokens: float | None
    output_tokens: float | None
    prefix_queries_tokens: float | None
    prefix_hits_tokens: float | None
    requests: float | None
    """Ended for whatever reason, aborted ones included."""
    aborted: float | None
    ttft_sum_s: float | None
    ttft_count: float | None
    e2e_sum_s: float | None
    e2e_count: float | None
    tpot_sum_s: float | None
    tpot_count: float | None
    queue_sum_s: float | None
    queue_count: float | None


_NAMES = {
    "running": "vllm:num_requests_running",
    "waiting": "vllm:num_requests_waiting",
    "preemptions": "vllm:num_preemptions_total",
    "input_tokens": "vllm:prompt_tokens_total",
    "output_tokens": "vllm:generation_tokens_total",
    "prefix_queries_tokens": "vllm:prefix_cache_queries_total",
    "prefix_hits_tokens": "vllm:prefix_cache_hits_total",
    "requests": "vllm:request_success_total",
    "ttft_sum_s": "vllm:time_to_first_token_seconds_sum",
    "ttft_count": "vllm:time_to_first_token_seconds_count",
    "e2e_sum_s": "vllm:e2e_request_latency_seconds_sum",
    "e2e_count": "vllm:e2e_request_latency_seconds_count",
    "tpot_sum_s": "vllm:request_time_per_output_token_seconds_sum",
    "tpot_count": "vllm:request_time_per_output_token_seconds_count",
    "queue_sum_s": "vllm:request_queue_time_seconds_sum",
    "queue_count": "vllm:request_queue_time_seconds_count",
}
_KV_CACHE_USE = "vllm:kv_cache_usage_perc"
_CACHE_CONFIG = "vllm:cache_config_info"
KEPT = frozenset({*_NAMES.values(), _KV_CACHE_USE, _CACHE_CONFIG})


def samples(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """(name, labels, value) of every line we keep; what is not in the format is passed over."""
    for line in page.splitlines():
        if line.startswith("vllm:") and (found := _LINE.match(line)) and found[1] in KEPT:
            try:
                value = float(found[3])
            except ValueError:
                continue
            yield found[1], dict(_LABEL.findall(found[2] or "")), value


def parse_page(page: str, unix_s: float) -> Snapshot:
    """The numbers of one page."""
    sums: dict[str, float] = {}
    aborted, kv_cache_use = None, None
    for name, labels, value in samples(page):
        sums[name] = sums.get(name, 0.0) + value
        if name == _KV_CACHE_USE:
            kv_cache_use = max(value, kv_cache_use or 0.0)
        if name == _NAMES["requests"] and labels.get("finished_reason") == "abort":
            aborted = (aborted or 0.0) + value
    values: dict[str, Any] = {key: sums.get(name) for key, name in _NAMES.items()}
    return Snapshot(unix_s=unix_s, kv_cache_use=kv_cache_use, aborted=aborted, **values)


def cache_block_tokens(page: str) -> int | None:
    """Tokens of one cache block (only whole blocks are cached); None where the page does not say."""
    for name, labels, _ in samples(page):
        if name == _CACHE_CONFIG and labels.get("block_size", "").isdigit():
            return int(labels["block_size"])
    return None


def fetch(url: str, *, timeout_s: float = 10.0, key: str | None = None) -> str:
    """The body of a GET; `OSError` when it is not a 200. No proxy is asked and no redirect followed (a key stays)."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=timeout_s) as answer:  # noqa: S310 (http or https: checked where the user gave it)
            return str(answer.read(PAGE_LIMIT).decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        error.close()
        raise
    except http.client.HTTPException as error:
        raise OSError(f"not HTTP: {error!r}") from error


class NoPageError(OSError):
    """The server has no such page, and need not be asked for it again."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        """Follow nothing."""


class Sampler(Generic[Taken]):
    """`with Sampler(take) as sampler:` calls `take` now, in a thread every `every_s`, and when the block ends.

    `take` raises `OSError` when there is nothing to be had; the first reason is kept in `reason`. After
    `NoPageError` it is called no more.
    """

    def __init__(self, take: Callable[[], Taken], *, every_s: float = EVERY_S) -> None:
        self.taken: list[Taken] = []
        self.reason: str | None = None
        self._more = True
        self._take = take
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def sample(self) -> None:
        """Take one more."""
        try:
            if self._more:
                self.taken.append(self._take())
        except OSError as error:
            self.reason = self.reason or str(error)
            self._more = not isinstance(error, NoPageError)

    def __enter__(self) -> Self:
        self.sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.sample()

    def _run(self) -> None:
        while self._more and not self._stop.wait(self._every_s):
            self.sample()


def take_snapshot(url: str, *, key: str | None = None, clock: Callable[[], float] = time.time) -> Snapshot:
    """One look at a server's page; `NoPageError` when there is none or it is not vLLM's, else `OSError`."""
    try:
        snapshot = parse_page(fetch(f"{url}/metrics", timeout_s=5, key=key), clock())
    except urllib.error.HTTPError as error:
        raise (NoPageError if error.code in _NONE else OSError)(str(error)) from error
    if snapshot.running is None:
        raise NoPageError("/metrics has no vLLM numbers")
    return snapshot


def settled_snapshot(
    url: str, *, key: str | None = None, patience_s: float = 5.0, clock: Callable[[], float] = time.time
) -> Snapshot:
    """The page once nothing moves any more: vLLM counts a request a moment after its last byte has left."""
    deadline = clock() + patience_s
    last = take_snapshot(url, key=key, clock=clock)
    while True:
        time.sleep(SETTLE_S)
        now = take_snapshot(url, key=key, clock=clock)
        still = (now.output_tokens, now.requests) == (last.output_tokens, last.requests)
        if (still and not now.running and not now.waiting) or clock() > deadline:
            return now
        last = now
