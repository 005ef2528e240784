"""How a stage goes while it runs: the workers' progress files, read as they grow.

Approximate on purpose: workers only glance at an answer while the load runs (`bench.decode.peek`). What counts is
computed from the records later.
"""

from __future__ import annotations

import time

import numpy as np

from bench import sure
from bench.order import Order, Progress
from bench.records import Floats
from hardware_profiles.curve import Estimate


class Rows:
    """The workers' progress files, read as they grow."""

    def __init__(self, order: Order) -> None:
        self.order, self.stage = order, order.stage
        self.files = [order.folder / f"progress-{worker}.bin" for worker in range(order.workers)]
        self.parts: list[list[Floats]] = [[] for _ in self.files]
        self.read_to = [0] * len(self.files)
        self.alive: list[Floats | None] = [None] * len(self.files)
        self.heard = [0.0] * len(self.files)
        self.joined: Floats | None = None

    def begin(self) -> None:
        """From now on every worker is to be heard."""
        self.heard = [time.monotonic()] * len(self.files)

    def silent(self) -> tuple[int, float]:
        """The worker that was not heard for longest, and for how many seconds."""
        worker = min(range(len(self.heard)), key=self.heard.__getitem__)
        return worker, time.monotonic() - self.heard[worker]

    def read(self) -> None:
        """Take in what is new."""
        for number, path in enumerate(self.files):
            if not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(self.read_to[number])
                data = file.read()
            rows = np.frombuffer(data[: len(data) // 48 * 48]).reshape(-1, 6)
            if not len(rows):
                continue
            self.read_to[number] += rows.nbytes
            lives = rows[rows[:, 0] == 2.0]
            if len(lives):
                self.alive[number], self.heard[number] = lives[-1], time.monotonic()
            self.parts[number].append(rows[rows[:, 0] != 2.0])
            self.joined = None

    def ended(self) -> Floats:
        """All ended requests: ok, end, TTFT, E2E, TPOT, output tokens."""
        if self.joined is None:
            known = [rows for part in self.parts for rows in part]
            self.joined = np.concatenate(known) if known else np.empty((0, 6))
            self.parts = [[self.joined]] + [[] for _ in self.files[1:]]
        return self.joined

    def exhausted(self) -> bool:
        """Open loop: every row was sent before the cap, and nothing is in flight."""
        return all(alive is not None and alive[3] and not alive[2] for alive in self.alive)

    def after_warm_up(self) -> Floats:
        """The rows of requests sent after the warm-up and served, in order of sending."""
        rows = self.ended()
        rows = rows[(rows[:, 0] == 1.0) & (rows[:, 1] - rows[:, 3] >= self.stage.warm_up_s)]
        ordered: Floats = rows[np.argsort(rows[:, 1] - rows[:, 3], kind="stable")]
        return ordered

    def progress(self, elapsed: float, load_s: float | None = None) -> Progress:
        """What to show, and the widths to stop by; the rate counts what ended after the warm-up and under load."""
        self.read()
        rows, settled = self.ended(), self.after_warm_up()
        good = rows[(rows[:, 0] == 1.0) & (rows[:, 1] >= self.stage.warm_up_s)]
        throughput = tokens = tpot = None
        ttft_s: float | None = None
        if len(settled) and elapsed > self.stage.warm_up_s:
            span_s = self.stage.warm_up_s, load_s or elapsed
            batch_s = float(np.median(settled[:, 3])) * (5 if self.stage.mode == "open" else 1)
            throughput = sure.rate(good[:, 1], None, span_s, batch_s)
            tokens = sure.rate(good[:, 1], good[:, 5], span_s, batch_s)
            tpot = sure.percentiles(settled[:, 4]).get("p50")
            ttft_s = float(np.median(settled[:, 2]))
        return Progress(
            elapsed_s=elapsed,
            in_flight=int(sum(alive[2] for alive in self.alive if alive is not None)),
            completed=int(np.count_nonzero(rows[:, 0] == 1.0)),
            failed=int(np.count_nonzero(rows[:, 0] == 0.0)),
            throughput_per_s=_value(throughput),
            output_tokens_per_s=_value(tokens),
            ttft_s=ttft_s,
            tpot_s=_value(tpot),
            throughput_width=sure.relative_width(throughput),
            tpot_width=sure.relative_width(tpot),
        )


def _value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value
