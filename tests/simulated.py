"""A batching server without waiting: steps of one token each, as an engine makes them, and the records they leave."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench import schedule
from bench.length import least_load_s
from bench.records import Floats, Records, from_rows
from bench.schedule import Stage


@dataclass(frozen=True)
class Engine:
    """A step takes `step_s`, more by `running_s` for each request in it, and more by `prefill_s` for each new one."""

    step_s: float
    running_s: float = 0.0
    prefill_s: float = 0.0

    def serve(self, stage: Stage, load_s: float) -> Records:
        """The records of a stage whose load stops after `load_s`; every request ends in the drain."""
        asked = schedule.plan(stage)
        load = stage.load or 0
        starts = [stage.stagger_s * user / load for user in range(load)] if load else asked.at_s.tolist()
        due = [at for at in starts if at < load_s]
        heapq.heapify(due)
        running: list[tuple[float, int, list[float]]] = []
        rows: list[dict[str, Any]] = []
        chunks: list[Floats] = []
        number, now = 0, 0.0
        while due or running:
            now = max(now, due[0]) if not running else now
            new = 0
            while due and due[0] <= now:
                at = heapq.heappop(due)
                running.append((at, number, []))
                number, new = number + 1, new + 1
            now += self.step_s + self.running_s * len(running) + self.prefill_s * new
            for at, who, tokens in running:
                tokens.append(now)
                if len(tokens) == asked.output_tokens[who % len(asked)]:
                    rows.append(_row(who, at, tokens))
                    chunks.append(np.array(tokens))
                    if load and now < load_s:
                        heapq.heappush(due, now)
            running = [one for one in running if len(one[2]) < asked.output_tokens[one[1] % len(asked)]]
        return from_rows(rows, chunks)


def _row(number: int, at: float, tokens: list[float]) -> dict[str, Any]:
    told: dict[str, Any] = {"request": number, "status": "ok", "scheduled_s": at, "sent_s": at}
    told |= {"first_token_s": tokens[0], "last_token_s": tokens[-1], "end_s": tokens[-1], "asked_cached": 0}
    return told | {"output_tokens": len(tokens), "input_tokens": 10, "asked_input": 10, "asked_output": len(tokens)}


def soonest_s(stage: Stage, served: Records) -> float:
    """When a stage that is known well enough stops at the earliest (`follow.Run.enough`)."""
    typical = float(np.median(served.last_token_s - served.sent_s)) if len(served) else math.inf
    begins_s = max(stage.warm_up_s, stage.stagger_s if stage.mode == "closed" else 0.0)
    return 1.02 * least_load_s(stage.mode, begins_s, typical)
