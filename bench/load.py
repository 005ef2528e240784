"""One worker's part of a stage: whom it sends, what it keeps, what it tells. Knows the wire, not Locust.

Why apart from `locustfile`: this is where the order of events matters, and it can be tested without a Locust process.

A worker prepares (prompts, connections; shared prefixes are sent once so that they are in the server's cache), waits
for the stage's zero, sends, stops on request, drains, decodes and writes its spill file. While the load runs it tells
how it goes in a file of fixed-size rows that the driver reads: one per ended request, a few bytes, no message.
"""

from __future__ import annotations

import gc
import itertools
import os
import struct
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

import gevent
import numpy as np
import orjson
from gevent.event import Event

from bench import talk, wire
from bench.alarm import alarm
from bench.attic import Attic
from bench.decode import decode, peek, to_row
from bench.ending import or_end
from bench.endpoint import endpoint
from bench.order import PRIMED, Order
from bench.prompts import Prompts, longest
from bench.records import SILENT, Records, from_rows, write_records
from bench.schedule import plan, share

ROW = struct.Struct("6d")
"""A progress row. An ended request: 1 (ok) or 0, end, TTFT, E2E, TPOT, output tokens. Alive: 2, now, in flight, 0..."""
_PATHS = {"completions": "/v1/completions", "chat": "/v1/chat/completions"}
_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
"""After a failure a closed-loop user waits, twice as long each time, so that a dead server is not hammered."""
_LISTEN_S = 1.0
_Asked = tuple[int, bytes, talk.Talk | None]
"""A request's number, its bytes, the conversation it belongs to."""
_SPARE = 16
"""Open loop: connections that are kept open ahead of need, so that none is opened inside the stopwatch."""


class Load:
    """What one worker does in one stage."""

    def __init__(self, order: Order, worker: int) -> None:
        self.order, self.worker = order, worker
        self.stage, self.target = order.stage, order.target
        self.plan = plan(self.stage)
        self.to = endpoint(self.target.url, os.environ.get(self.target.key_env or "", ""))
        self.prompts = Prompts(
            seed=self.stage.seed,
            nonce=order.nonce,
            vocab_size=self.target.vocab_size if self.target.api == "completions" else None,
            longest_input=max(longest(self.stage.shape)),
        )
        self.counts_choices = order.target.engine == "vllm"
        self._front, self._back = _body_around(order)
        self.talks = self.stage.turns[1] > 1
        self.zero_ns = 0
        self.go, self.stopping, self.stopped = Event(), Event(), Event()
        self.exhausted = False
        self.in_flight: dict[int, wire.Connection] = {}
        self.heard_ns = 0
        """The end of the last request to which the server said anything."""
        self.kept = Attic(order.folder / f"raw-{worker}.bin")
        self.turns: dict[int, dict[str, int]] = {}
        """Conversations: what was asked of each request, which the schedule alone does not tell."""
        self.taken = 0
        self.users = 0
        self.facts: dict[str, Any] = {"late_connections": 0, **dict.fromkeys(PRIMED, 0)}
        self._idle: list[wire.Connection] = []
        self._spare: list[wire.Connection] = []
        self._progress: BinaryIO | None = None

    # requests -------------------------------------------------------------------------------------------------------

    def payload(self, number: int) -> bytes:
        """The bytes of request `number` of the global schedule."""
        row = number % len(self.plan)
        prompt = self.prompts.prompt(
            number,
            int(self.plan.input_tokens[row]),
            shared=int(self.plan.cached_tokens[row]),
            prefix=int(self.plan.prefix[row]),
        )
        return self._request(prompt, int(self.plan.output_tokens[row]))

    def _request(self, prompt: bytes, output_tokens: int) -> bytes:
        body = b"%b%b%b%d}" % (self._front, prompt, self._back, output_tokens)
        return self.to.request(_PATHS[self.target.api], body)

    def connection(self) -> wire.Connection:
        """A connection of this stage's kind, not yet open."""
        return wire.connection(self.to, kernel_stamps=self.order.kernel_stamps)

    def exchange(
        self, connection: wire.Connection, number: int, payload: bytes, scheduled_ns: int
    ) -> tuple[wire.Exchange, bool]:
        """Send one request, keep what came of it; whether it looks served."""
        self.in_flight[number] = connection
        try:
            kept = connection.exchange(payload, self.target.timeout_s, scheduled_ns)
        finally:
            del self.in_flight[number]
        self.heard_ns = kept.end_ns if kept.raw else self.heard_ns
        seen = peek(kept, self.zero_ns, chat=self.target.api == "chat")
        self._tell(*seen)
        self.kept.put(number, kept)
        return kept, bool(seen[0])

    def prime(self) -> None:
        """Send each shared prefix once, so that the stage finds it in the server's cache."""
        most = int(self.plan.cached_tokens.max(initial=0))
        if not most or self.worker:
            return
        connection = self.connection()
        timeout_s = min(self.target.timeout_s, self.stage.silence_s)  # one token each: until it comes nothing does
        for prefix in range(self.stage.prefixes):
            prompt = self.prompts.prompt(0x7FFFFFFF - prefix, most + 1, shared=most, prefix=prefix)
            kept = connection.exchange(self._request(prompt, 1), timeout_s)
            reply = decode(kept, counts_choices=self.counts_choices)
            self.facts["primed_requests"] += 1
            self.facts["primed_input_tokens"] += max(0, reply.input_tokens)
            if reply.status == "ok":  # the server's sums hold these requests too
                self.facts["primed_ttft_s"] += (int(reply.chunk_ns[0]) - kept.sent_ns) / 1e9
                self.facts["primed_e2e_s"] += (int(reply.chunk_ns[-1]) - kept.sent_ns) / 1e9
            else:
                self.facts["prime_error"] = self.to.scrubbed(f"{reply.status}: {reply.error}")
            if reply.status == "timeout":
                break
        connection.close()

    # closed loop ----------------------------------------------------------------------------------------------------

    def hold(self, connection: wire.Connection, user: int) -> None:
        """One closed-loop user: send, wait for the last byte, send again, until told to stop.

        Its first request is made before the stage's zero, so that all users begin together.
        """
        assert self.stage.load is not None
        first: _Asked | None = self._next(None)
        self.go.wait()
        start_ns = self.zero_ns + int(1e9 * self.stage.stagger_s * (user % self.stage.load) / self.stage.load)
        early_s = (start_ns - time.time_ns()) / 1e9
        if early_s > 0 and self.stopping.wait(early_s):
            return
        think_s, told = self._think(user), None
        pause_s = _PAUSE_S
        while not self.stopping.is_set():
            number, payload, told = first or self._next(told)
            first = None
            kept, served = self.exchange(connection, number, payload, time.time_ns())
            if told is not None:
                told.hear(decode(kept, counts_choices=self.counts_choices))
            pause_s = _PAUSE_S if served else min(2 * pause_s, _LONGEST_PAUSE_S)
            wait_s = max(next(think_s), 0.0 if served else pause_s)
            if wait_s:
                self.stopping.wait(wait_s)

    def _think(self, user: int) -> Iterator[float]:
        """How long this user thinks after each answer."""
        if not self.stage.think_s:
            return itertools.repeat(0.0)
        generator = np.random.default_rng([self.stage.seed, 7, user])
        return (float(generator.exponential(self.stage.think_s)) for _ in itertools.count())

    def _next(self, told: talk.Talk | None) -> _Asked:
        """The next request of this worker's share of the schedule, where users converse the next turn of `told`."""
        number = self.worker + self.taken * self.order.workers
        self.taken += 1
        if not self.talks:
            return number, self.payload(number), None
        told = talk.go_on(told, self.stage, self.prompts, number)
        return number, self._turn(told, number), told

    def _turn(self, told: talk.Talk, number: int) -> bytes:
        row = number % len(self.plan)
        shared, prefix = int(self.plan.cached_tokens[row]), int(self.plan.prefix[row])
        prompt, self.turns[number] = told.ask(number, int(self.plan.input_tokens[row]), shared=shared, prefix=prefix)
        return self._request(prompt, int(self.plan.output_tokens[row]))

    # open loop ------------------------------------------------------------------------------------------------------

    def replay(self) -> None:
        """Send this worker's rows of the global schedule at their moments."""
        rows = share(len(self.plan), self.worker, self.order.workers)
        self._refill(min(len(rows), _SPARE + int(len(rows) / self.stage.cap_s)))
        self.go.wait()
        with alarm() as sleep_until:
            for number in rows:
                payload = self.payload(number)
                moment_ns = self.zero_ns + int(1e9 * self.plan.at_s[number])
                sleep_until(moment_ns)
                if self.stopping.is_set():
                    return
                gevent.spawn(self._send_one, number, payload, moment_ns)
                gevent.sleep(0)  # it sends before the next row is prepared
                self.taken += 1
        self.exhausted = True

    @or_end()
    def _send_one(self, number: int, payload: bytes, moment_ns: int) -> None:
        connection = self._take()
        self.exchange(connection, number, payload, moment_ns)
        if connection.fresh:
            self._idle.append(connection)

    def _take(self) -> wire.Connection:
        """The connection that was used last, else one opened ahead, else one to be opened now."""
        while self._idle:
            connection = self._idle.pop()
            if connection.fresh:
                return connection
            connection.close()
        while self._spare:
            connection = self._spare.pop()
            if len(self._spare) < _SPARE:
                gevent.spawn(self._refill, 1)
            if connection.fresh:
                return connection
            connection.close()
        gevent.spawn(self._refill, _SPARE)
        self.facts["late_connections"] += 1
        return self.connection()

    def _refill(self, count: int) -> None:
        for _ in range(count):
            connection = self.connection()
            try:
                connection.open()
            except OSError:
                return  # the request that needs one will tell
            self._spare.append(connection)

    # the stage's course ---------------------------------------------------------------------------------------------

    def begin(self, zero_ns: int) -> None:
        """The stage's zero is known; the garbage collector rests, because it would stop every stream at once."""
        self.zero_ns = zero_ns
        self._progress = (self.order.folder / f"progress-{self.worker}.bin").open("ab", buffering=0)
        gevent.spawn(self._live)
        gevent.spawn(self._listen)
        gc.collect()
        gc.freeze()
        gc.disable()
        self._clock_ns = time.time_ns() - time.monotonic_ns()
        self._cpu_s, self._wall_s = time.process_time(), time.monotonic()
        self.go.set()

    def finish(self, drain_s: float) -> None:
        """Stop sending, let what is in flight end or abort it, decode, write the spill file."""
        self.stopping.set()
        gevent.sleep(0)  # what was spawned a moment ago is then in flight
        spent = time.process_time() - self._cpu_s, time.monotonic() - self._wall_s
        self.facts["cpu_share"] = spent[0] / max(spent[1], 1e-9)
        self.drain(drain_s)
        while self.in_flight and time.monotonic() < self._drained:
            gevent.sleep(0.02)
        while self.in_flight:  # again and again: one that is still connecting cannot be aborted yet
            for connection in list(self.in_flight.values()):
                connection.abort()
            gevent.sleep(0.02)
        self.facts["clock_step_s"] = (time.time_ns() - time.monotonic_ns() - self._clock_ns) / 1e9
        self.facts["requests"] = len(self.kept)
        self.facts |= {"kept_in_memory": self.kept.trouble} if self.kept.trouble else {}
        gc.enable()
        records = self._decoded()
        write_records(records, self.order.folder / f"spill-{self.worker}.parquet", self.facts)
        self.stopped.set()

    @or_end()
    def _listen(self) -> None:
        """Give up what is in flight once the server has said nothing to any of it for too long.

        To any: it may well read one prompt after another while the others wait for their turn. The silence begins with
        the oldest request that is in flight, or when anything was heard since.
        """
        limit_s = self.stage.silence_s
        while True:
            gevent.sleep(min(_LISTEN_S, limit_s / 4))
            sent = [connection for connection in self.in_flight.values() if connection.sent_ns]
            if not sent:
                continue
            oldest_ns = min(connection.sent_ns for connection in sent)
            heard_ns = max(oldest_ns, self.heard_ns, *(connection.heard_ns for connection in sent))
            if time.time_ns() - heard_ns > 1e9 * limit_s:
                for connection in sent:
                    connection.abort("timeout", f"{SILENT} for {limit_s:g} s")

    def drain(self, drain_s: float) -> None:
        """How long from now what is in flight may go on; may be said again."""
        self._drained = time.monotonic() + drain_s

    def _decoded(self) -> Records:
        rows, chunks = [], []
        for done, (number, kept) in enumerate(self.kept.take()):
            row = number % len(self.plan)
            asked = {
                "request": number,
                "worker": self.worker,
                "asked_input": int(self.plan.input_tokens[row]),
                "asked_cached": int(self.plan.cached_tokens[row]),
                "asked_output": int(self.plan.output_tokens[row]),
            }
            told, arrived = to_row(kept, self.zero_ns, counts_choices=self.counts_choices)
            told["error"] = self.to.scrubbed(told["error"])
            rows.append(asked | self.turns.get(number, {}) | told)
            chunks.append(arrived)
            if done % 16 == 0:
                gevent.sleep(0)  # Locust's heartbeat must go on
        return from_rows(rows, chunks)

    def _tell(self, *row: float) -> None:
        if self._progress is not None:
            self._progress.write(ROW.pack(*row))

    @or_end()
    def _live(self) -> None:
        while True:
            now_s = (time.time_ns() - self.zero_ns) / 1e9
            self._tell(2.0, now_s, len(self.in_flight), float(self.exhausted), self.taken, 0.0)
            gevent.sleep(0.2)


def _body_around(order: Order) -> tuple[bytes, bytes]:
    """The request body before and after the prompt, encoded once."""
    target = order.target
    body: dict[str, Any] = {"model": target.model, "stream": True}
    if target.stream_options:
        body["stream_options"] = {"include_usage": True}
    if target.engine == "vllm":
        body["ignore_eos"] = True
    if target.return_token_ids or (target.engine == "vllm" and order.stage.turns[1] > 1):
        body["return_token_ids"] = True
    front = orjson.dumps({**body, **target.more_fields})[:-1]
    limit = b',"%b":' % target.limit_field.encode()
    if target.api == "chat" and order.stage.turns[1] > 1:
        return front + b',"messages":', limit
    if target.api == "chat":
        return front + b',"messages":[{"role":"user","content":', b"}]" + limit
    return front + b',"prompt":', limit
