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

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hardware_profiles.faults import Fault, InputError

FORMAT = "spillway-records/1"
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Texts = NDArray[np.object_]

OK = "ok"
"""The only status that is not a failure. The others: `http_<code>`, `timeout` (the server said
nothing for the stage's `silence_s`, or did not end in time), `refused`, `unreachable`, `reset`,
`truncated` (the body ended early), `garbage` (not HTTP, not SSE or not JSON), `server_error` (an error event inside a
stream that began with 200), `empty` (a whole stream without a token), `unfinished` (in flight when the drain ended)."""
SILENT = "not a byte from the server"
"""How the error of a request begins that was given up because the server said nothing to anybody."""


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
    conversation: Ints
    """Number of its conversation's first request; -1 for a request that stands alone."""
    turn: Ints
    """0 for a conversation's first request; -1 for a request that stands alone."""
    asked_input: Ints
    asked_cached: Ints
    """Tokens of the input that the server should find in its cache: the head of a shared prefix, or what was said in
    the conversation before."""
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
        return np.asarray(self.status == OK, dtype=np.bool_)

    def select(self, rows: NDArray[Any]) -> Records:
        """The rows of a mask or an index, in that order."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else np.asarray(rows, dtype=np.int64)
        begins, lengths = self.chunk_from[:-1][index], np.diff(self.chunk_from)[index]
        ends = np.cumsum(lengths)
        # position k of the new chunks belongs to a row whose old chunks began `shift` earlier or later
        shift = np.repeat(begins - (ends - lengths), lengths)
        columns = {name: getattr(self, name)[index] for name in COLUMNS}
        chunks = self.chunk_s[np.arange(len(shift)) + shift]
        return Records(**columns, chunk_from=np.concatenate(([0], ends)).astype(np.int64), chunk_s=chunks)


_TIMES: Final = ("scheduled_s", "sent_s", "first_token_s", "first_visible_s", "last_token_s", "end_s")
_SERVER: Final = ("server_queue_s", "server_ttft_s", "server_generation_s")
_TEXTS: Final = ("status", "error")
COLUMNS: Final = tuple(item.name for item in fields(Records) if not item.name.startswith("chunk_"))


def from_rows(rows: Sequence[Mapping[str, Any]], chunks: Sequence[Floats]) -> Records:
    """Records of row dictionaries (keys of `COLUMNS`; what is left out is unknown) and each row's chunk arrivals."""
    columns: dict[str, NDArray[Any]] = {
        name: np.array([row.get(name, _unknown(name)) for row in rows], dtype=_dtype(name)) for name in COLUMNS
    }
    begins = np.concatenate(([0], np.cumsum([len(part) for part in chunks]))).astype(np.int64)
    joined = np.concatenate(chunks) if chunks else np.empty(0)
    return _ordered(Records(**columns, chunk_from=begins, chunk_s=joined.astype(np.float64)))


def concat(parts: Sequence[Records]) -> Records:
    """All rows of the parts, ordered by their sending."""
    if not parts:
        return from_rows([], [])
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    begins = np.concatenate(([0], np.cumsum(np.concatenate([np.diff(part.chunk_from) for part in parts]))))
    chunks = np.concatenate([part.chunk_s for part in parts])
    return _ordered(Records(**columns, chunk_from=begins.astype(np.int64), chunk_s=chunks))


def write_records(records: Records, path: Path, metadata: Mapping[str, Any]) -> str:
    """Write Parquet whole or not at all, with `metadata` (JSON) inside; returns the file's sha256."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: _to_arrow(getattr(records, name), name) for name in COLUMNS}
    columns["chunk_s"] = pa.ListArray.from_arrays(pa.array(records.chunk_from, pa.int32()), pa.array(records.chunk_s))
    told = json.dumps({"format": FORMAT, **metadata}, sort_keys=True)
    table = pa.table(columns).replace_schema_metadata({"spillway": told})
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as temporary:
        try:
            pq.write_table(table, temporary, compression="zstd")
            temporary.close()
            Path(temporary.name).chmod(0o644)
            Path(temporary.name).replace(path)
        except BaseException:
            Path(temporary.name).unlink(missing_ok=True)
            raise
    return digest(path)


def read_records(path: Path) -> tuple[Records, dict[str, Any]]:
    """Rows and metadata of a file; `InputError` when it is not one of ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # not memory-mapped nor threaded: the file may be replaced, and readers may be forked
        table = pq.read_table(path, use_threads=False, memory_map=False)
        metadata = json.loads((table.schema.metadata or {}).get(b"spillway", b"{}"))
        if metadata.get("format") != FORMAT:
            raise pa.ArrowInvalid(f"its format is {metadata.get('format')!r}, not {FORMAT!r}")
        columns = {name: _from_arrow(table.column(name), name) for name in COLUMNS}
        lists = table.column("chunk_s").combine_chunks()
    except (OSError, KeyError, ValueError) as error:
        what = f"not a file of raw records ({str(error).splitlines()[0]})"
        raise InputError(Fault(what, "give a Parquet file that `bench` wrote", file=str(path))) from None
    lengths = np.asarray(lists.value_lengths(), dtype=np.int64)
    begins = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    return Records(**columns, chunk_from=begins, chunk_s=np.array(lists.flatten(), dtype=np.float64)), metadata


def digest(path: Path) -> str:
    """The file's sha256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _ordered(records: Records) -> Records:
    sent = np.where(np.isnan(records.sent_s), records.scheduled_s, records.sent_s)
    return records.select(np.lexsort((records.request, sent)))


def _dtype(name: str) -> type:
    if name in _TEXTS:
        return np.object_
    return np.float64 if name in _TIMES + _SERVER else np.int64


def _unknown(name: str) -> Any:
    return "" if name in _TEXTS else math.nan if name in _TIMES + _SERVER else -1


def _to_arrow(column: NDArray[Any], name: str) -> Any:
    import pyarrow as pa

    if name in _TEXTS:
        return pa.array(column.tolist(), pa.string())
    unknown = np.isnan(column) if column.dtype == np.float64 else column == -1
    return pa.array(column, mask=unknown)


def _from_arrow(column: Any, name: str) -> NDArray[Any]:
    if name in _TEXTS:
        texts = np.empty(len(column), dtype=np.object_)
        texts[:] = column.to_pylist()
        return texts
    kind = _dtype(name)
    filled = column.fill_null(float("nan") if kind is np.float64 else -1)
    return np.array(filled.to_numpy(), dtype=kind)
