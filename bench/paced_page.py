"""What the paced server tells about itself: a /metrics page with vLLM's names, for what reads such pages."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from bench.paced_answers import Stream

BLOCK = 16
"""Tokens of a block of its pretended KV cache."""


class Page:
    """Counters, and the page made of them."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    def note(self, stream: Stream, reason: str) -> None:
        """Counters of /metrics."""
        now, count = time.monotonic(), self.count
        count[f"success {reason}"] += 1
        count["prompt"] += stream.input_tokens
        count["cached"] += stream.cached_tokens
        count["generated"] += stream.sent_tokens
        if reason == "length" and stream.tokens:
            spans = {"ttft": stream.first - stream.arrived, "e2e": now - stream.arrived}
            spans["queue"] = stream.admitted - stream.arrived
            spans["tpot"] = 0.0  # vLLM counts a single token so (vllm/v1/metrics/stats.py)
            if stream.tokens > 1:
                spans["tpot"] = (now - stream.first) / (stream.tokens - 1)
                count["gap sum"] += int(1e9 * (now - stream.first))
                count["gap count"] += stream.tokens - 1
            for name, length in spans.items():
                count[f"{name} sum"] += int(1e9 * length)
                count[f"{name} count"] += 1

    def page(self, streams: Iterable[Stream], *, running: int, waiting: int, kv_tokens: int) -> str:
        """vLLM's names (docs.vllm.ai/en/stable/usage/metrics), only those that bench reads."""
        count, label = self.count, 'engine="0",model_name="paced"'
        live = sum(s.sent_tokens + s.input_tokens for s in streams if s.active)
        lines = [
            f"vllm:num_requests_running{{{label}}} {running}.0",
            f"vllm:num_requests_waiting{{{label}}} {waiting}.0",
            f"vllm:kv_cache_usage_perc{{{label}}} {min(1.0, live / kv_tokens)}",
            f'vllm:cache_config_info{{block_size="{BLOCK}",num_gpu_blocks="{kv_tokens // BLOCK}"}} 1.0',
            f"vllm:num_preemptions_total{{{label}}} 0.0",
            f"vllm:prompt_tokens_total{{{label}}} {count['prompt']}.0",
            f"vllm:generation_tokens_total{{{label}}} {count['generated']}.0",
            f"vllm:prefix_cache_queries_total{{{label}}} {count['prompt']}.0",
            f"vllm:prefix_cache_hits_total{{{label}}} {count['cached']}.0",
            f"vllm:prompt_tokens_cached_total{{{label}}} {count['cached']}.0",
        ]
        for reason in ("length", "stop", "abort", "error"):
            total = count[f"success {reason}"]
            lines.append(f'vllm:request_success_total{{{label},finished_reason="{reason}"}} {total}.0')
        names = {"time_to_first_token": "ttft", "inter_token_latency": "gap", "request_time_per_output_token": "tpot"}
        names |= {"e2e_request_latency": "e2e", "request_queue_time": "queue"}
        for name, kept in names.items():
            lines.append(f"vllm:{name}_seconds_sum{{{label}}} {count[f'{kept} sum'] / 1e9}")
            lines.append(f"vllm:{name}_seconds_count{{{label}}} {count[f'{kept} count']}.0")
        return "\n".join(lines) + "\n"
