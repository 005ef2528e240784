"""What the paced server itself saw, written when it ends: the truth that a client's records are compared with."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.records import Floats

HEAD_TOKENS = 12


@dataclass(frozen=True, eq=False)
class Truth:
    """What the server itself saw; times are CLOCK_REALTIME nanoseconds, rows of one request share its `serial`."""

    serial: NDArray[np.int64]
    heads: NDArray[np.int64]
    """First prompt tokens of each request (-1 beyond its end), to match it with a client's row."""
    arrived_ns: NDArray[np.int64]
    """The kernel's stamp on the request's first bytes."""
    sent_serial: NDArray[np.int64]
    """Ordered, so that the sends of one request stand together, in time order."""
    sent_ns: NDArray[np.int64]
    """Just before each chunk of tokens was given to the kernel."""
    done_ns: NDArray[np.int64]
    """Just after: in between the server may have been set aside by the machine, so the truth is this interval."""


def beyond_s(span_ns: Floats, shortest_ns: NDArray[np.int64], longest_ns: NDArray[np.int64]) -> Floats:
    """How far a client's span lies outside what the server knows of it, in seconds."""
    below, above = shortest_ns - span_ns, span_ns - longest_ns
    error: Floats = np.maximum(np.maximum(below, above), 0.0) / 1e9
    return error


def read_truth(path: Path) -> Truth:
    """The log that a server wrote when it ended."""
    with np.load(path) as data:
        columns = {field.name: data[field.name] for field in fields(Truth)}
    order = np.argsort(columns["sent_serial"], kind="stable")
    return Truth(**columns | {name: columns[name][order] for name in ("sent_serial", "sent_ns", "done_ns")})


class Log:
    """The same, as it grows: numbers only, so that noting a send costs well below a microsecond."""

    def __init__(self) -> None:
        self.requests = array("q")
        self.sends = array("q")

    def request(self, first_ns: int, tokens: Sequence[object]) -> int:
        """Note a request's arrival and first tokens (-2 for words); its serial number."""
        serial = len(self.requests) // (2 + HEAD_TOKENS)
        numbers = [token if isinstance(token, int) else -2 for token in tokens[:HEAD_TOKENS]]
        self.requests.extend([serial, first_ns, *numbers, *[-1] * (HEAD_TOKENS - len(numbers))])
        return serial

    def write(self, path: Path) -> None:
        """For `read_truth`."""
        requests = np.array(self.requests, dtype=np.int64).reshape(-1, 2 + HEAD_TOKENS)
        serial, arrived, heads = requests[:, 0], requests[:, 1], requests[:, 2:]
        sent, before, after = np.array(self.sends, dtype=np.int64).reshape(-1, 3).T
        requested = {"serial": serial, "arrived_ns": arrived, "heads": heads}
        np.savez(path, allow_pickle=False, **requested, sent_serial=sent, sent_ns=before, done_ns=after)
