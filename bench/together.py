"""What was asked for but cannot be had together: told before anything is started, where it would be dropped in silence.

Why: an option that is read and not followed gives a curve of something else than was meant, and a worker that cannot
reach the server is found out when the server has been loading for minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench.order import parse_address
from bench.plan import parse_turns
from hardware_profiles.faults import Fault, InputError

if TYPE_CHECKING:
    from bench.asked import Asked

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def unlike_faults(asked: Asked) -> Iterator[Fault]:
    """Everything of the kind."""
    yield from _split(asked)
    yield from _unheard(asked)
    yield from _out_of_reach(asked)
    yield from _no_open_loop(asked)


def tensor_parallel(asked: Asked) -> int:
    """As asked, or all the GPUs that pipeline and data parallel leave."""
    return asked.tensor_parallel or max(1, asked.gpu_count // (asked.pipeline_parallel * asked.data_parallel))


def _split(asked: Asked) -> Iterator[Fault]:
    """A curve is of the GPUs that serve: every one of them, and no other."""
    used = tensor_parallel(asked) * asked.pipeline_parallel * asked.data_parallel
    if used != asked.gpu_count:
        what = f"tensor x pipeline x data parallel is {used}"
        yield Fault(what, f"ask for --gpus {used}, or split it otherwise", column="--gpus", value=str(asked.gpu_count))


def _unheard(asked: Asked) -> Iterator[Fault]:
    """What is said to a server that is not ours to start."""
    said = {"after `--`": asked.server_args, "--server-env": asked.server_env} if asked.endpoint else {}
    for column, texts in said.items():
        if texts:
            what = "nothing is started where --endpoint is given"
            yield Fault(what, "leave it out", column=column, value=texts[0].partition("=")[0])


def _out_of_reach(asked: Asked) -> Iterator[Fault]:
    """Workers that may join from other machines send to the address that we do: it must not be our loopback.

    Bound to loopback, the master can be joined from this machine only, and there loopback will do.
    """
    try:
        elsewhere = bool(asked.remote_workers) and not parse_address(asked.bind, "--bind").loopback
    except InputError:
        return  # told where it is read
    host = urlsplit(asked.endpoint).hostname if asked.endpoint else "127.0.0.1"
    if elsewhere and host in LOOPBACK:
        what = "workers on other machines cannot reach a server on this one's loopback"
        remedy = "start the server where they reach it and name it with --endpoint http://ADDRESS:PORT"
        yield Fault(what, remedy, column="--remote-workers", value=str(asked.remote_workers))


def _no_open_loop(asked: Asked) -> Iterator[Fault]:
    """Rates and a law of arrivals are the open loop's, and conversations and replayed traces have none."""
    try:
        talks = parse_turns(asked.turns)[1] > 1
    except InputError:
        return
    replays = bool(asked.shapes) and all(shape.startswith("trace:") for shape in asked.shapes)
    why = "conversations are a closed loop" if talks else "a trace has its own times" if replays else None
    if why and asked.rates_per_s:
        yield Fault(why, "leave out one of the two", column="--rate", value=f"{asked.rates_per_s[0]:g}")
    if why is None and not asked.rate_search and not asked.rates_per_s:
        why = "without --rate, --no-rate-search leaves nothing that arrives"
    if why and asked.arrivals != "poisson":
        yield Fault(why, "leave out one of the two", column="--arrivals", value=asked.arrivals)
