"""Raw records: one row per request, the ground that every statistic stands on.

Why: a number can only be doubted, or recomputed without a GPU, while the rows it came from are there. So a stage's rows
are kept whole in Parquet, together with the conditions they were measured under.

Format history
    spillway-records/1 (2026-11-20): first version.

All times are seconds since the stage's zero on one clock (CLOCK_REALTIME, because the kernel's receive stamps are in
it; how far it moved against the monotonic clock through the stage stands in the metadata as `clock_step_s`). A time
that never came is NaN in memory and null in the file; an unknown count is -1 in memory and null in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FORMAT = "spillway-records/1"
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Texts = NDArray[np.object_]

OK = "ok"
"""The only status that is not a failure. The others: `http_<code>`, `timeout`, `refused`, `unreachable`, `reset`,
`truncated` (the body ended early), `garbage` (not HTTP, not SSE or not JSON), `server_error` (an error event inside a
stream that began with 200), `empty` (a whole stream without a token), `unfinished` (in flight when the drain ended)."""


@dataclass(frozen=True, eq=False)
class Records:
    """Rows as columns, ordered by `sent_s` (never sent: by `scheduled_s`)."""

    request: Ints
    """Number in the global schedule."""
    worker: Ints
    scheduled_s: Floats
    """Open loop: the row's moment in the schedule. Closed loop: when its user was free to send."""
    sent_s: Floats
    """Before the request's first byte went to the kernel; NaN when no connection could be had."""
    first_token_s: Floats
    """Arrival of the first chunk with a content, reasoning or tool token."""
    first_visible_s: Floats
    """Arrival of the first chunk with content that is not reasoning."""
    last_token_s: Floats
    end_s: Floats
    """End of the body, or the moment of failure."""
    asked_input: Ints
    asked_cached: Ints
    """Tokens of the input that are the head of a shared prefix."""
    asked_output: Ints
    input_tokens: Ints
    """From `usage`; -1 when the server did not say."""
    cached_tokens: Ints
    """From `usage.prompt_tokens_details`; -1 when the server did not say."""
    output_tokens: Ints
    """From `usage`, reasoning included; token ids counted where there is no usage; -1 when neither came."""
    reasoning_tokens: Ints
    events: Ints
    """Chunks that carried at least one token."""
    status: Texts
    error: Texts
    """Short text, empty when ok; never holds a key."""
    server_queue_s: Floats
    """The server's own timings (vLLM `--enable-per-request-metrics`), NaN without."""
    server_ttft_s: Floats
    """The server's own: from being scheduled to its first token (queue excluded)."""
    server_generation_s: Floats
    chunk_from: Ints
    """Row i's chunks are `chunk_s[chunk_from[i]:chunk_from[i + 1]]`; one longer than the rows."""
    chunk_s: Floats
    """Arrivals of token-carrying chunks, seconds since the stage's zero."""

    def __len__(self) -> int:
        """Rows."""
        return len(self.request)

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Rows that were served."""
        raise NotImplementedError

    def select(self, rows: NDArray[Any]) -> Records:
        """The rows of a mask or an index."""
        raise NotImplementedError


def concat(parts: list[Records]) -> Records:
    """All rows of the parts, in order of sending."""
    raise NotImplementedError


def write_records(records: Records, path: Path, metadata: Mapping[str, Any]) -> str:
    """Write Parquet whole or not at all, with `metadata` (JSON) inside; returns the file's sha256."""
    raise NotImplementedError


def read_records(path: Path) -> tuple[Records, dict[str, Any]]:
    """Rows and metadata of a file; `InputError` when it is not one of ours."""
    raise NotImplementedError


def digest(path: Path) -> str:
    """The file's sha256."""
    raise NotImplementedError
