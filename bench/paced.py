"""A server on a real socket that obeys a stated latency law: the known truth that the client is held against.

Why: a client's error cannot be seen from the client. This server speaks vLLM's streaming HTTP, keeps to its law, notes
the moment of each of its own sends, and misbehaves on request, so that every measured number and every failure has a
known right answer. It runs as its own process: `python -m bench.paced --help`.

The law, for a request of `in` input tokens (of which `hit` were in its prefix cache):
    queue   until fewer than `max_running` requests run (first come, first served)
    TTFT    = ttft_s + ttft_per_token_s * (in - hit)            after the queue
    TPOT    = tpot_s + tpot_per_running_s * running             running = requests past the queue, at each token
Tokens are due at computed moments (lateness does not add up) and `merge` of them leave in one chunk.

A model named `fault:KIND` or `fault:KIND:SHARE` misbehaves, for every request or for that share of them; `FAULTS` and
`FORMS` in `bench.paced_answers` tell the kinds.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import orjson

from bench import child
from bench.paced_answers import FAULTS, FORMS, Law

__all__ = ["FAULTS", "FORMS", "Law", "paced"]


@contextlib.contextmanager
def paced(law: Law, *arguments: str, log: Path | None = None, cpus: tuple[int, ...] | None = None) -> Iterator[str]:
    """A server in a process of its own; gives its URL, ends it at the end (and its log is then complete)."""
    stated = [f"--{field.name.replace('_', '-')}={getattr(law, field.name)}" for field in fields(Law)]
    logged = [] if log is None else [f"--log={log}"]
    command = [sys.executable, "-m", "bench.paced", *stated, *logged, *arguments]
    server = child.start(command, stdout=-1, cpus=cpus)
    try:
        assert server.stdout is not None
        told = server.stdout.readline()
        if not told:
            raise RuntimeError("the paced server did not start")
        yield f"http://127.0.0.1:{orjson.loads(told)['port']}"
    finally:
        child.end([server])
        if server.stdout is not None:
            server.stdout.close()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m bench.paced", description=(__doc__ or "").split("\n", 1)[0])
    for item in fields(Law):
        kind = int if isinstance(item.default, int) else float
        parser.add_argument(f"--{item.name.replace('_', '-')}", type=kind, default=item.default)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, help="write the truth here at the end (.npz)")
    parser.add_argument("--kv-tokens", type=int, default=1_000_000, help="size of the pretended KV cache")
    parser.add_argument("--prefix-cache", action="store_true", help="remember prompts by blocks of 16 tokens")
    parser.add_argument("--template-tokens", type=int, default=0, help="what chat prompts begin with")
    parser.add_argument("--per-request-metrics", action="store_true", help="tell each request's timings, as vLLM does")
    parser.add_argument("--text", action="store_true", help="each token's text is its request's serial number")
    parser.add_argument("--key-env", help="environment variable with the key that clients must show")
    options = parser.parse_args()
    law = Law(**{item.name: getattr(options, item.name) for item in fields(Law)})
    from bench.paced_server import Server

    child.open_all_files()
    server = Server(law, port=options.port, options=options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "stopped", True))
    print(orjson.dumps({"port": server.port}).decode(), flush=True)
    server.serve()
    if options.log:
        server.log.write(options.log)


if __name__ == "__main__":
    main()
