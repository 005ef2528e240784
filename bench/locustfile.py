"""The Locust side of a stage: users, and the few messages between master and workers.

The only file that imports locust. Why so thin: Locust spawns users, keeps master and workers together and watches
their health; what is sent and what is kept is `bench.load`'s. Locust's own statistics are never used: they are rounded
and bucketed.

Started by `bench.follow`, which sets SPILLWAY_ORDER to the stage's order file, or on another machine by `bench.remote`,
which sets SPILLWAY_ERRAND to a folder: the order then comes from the master. Messages (none of them per request):
    spillway_ready   worker -> master   it is prepared, a user of it is connected (or why not)
    spillway_go      master -> workers  the stage's zero
    spillway_stop    master -> workers  stop, with the drain's length; the driver asks for it by a file, when
                                        interrupted once more with a shorter drain
    spillway_done    worker -> master   its spill file is written
    and those of `bench.remote` with workers elsewhere.
With one process the same handlers talk to each other (Locust's LocalRunner).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import gevent
import orjson
from gevent.lock import BoundedSemaphore
from locust import User, events, runners, task  # noqa: TID253  # this is the file that may, in Locust's processes
from locust.runners import MasterRunner, WorkerRunner  # noqa: TID253  # as above

from bench import child
from bench.ending import or_end
from bench.load import Load
from bench.order import Order
from bench.remote import Errand, take_piece
from hardware_profiles.curve import write_text
from hardware_profiles.faults import InputError

runners.HEARTBEAT_LIVENESS = 60  # seconds, for 3: a worker that decodes a long stage is busy, not gone
ELSEWHERE = os.environ.get("SPILLWAY_ERRAND")
"""The folder of a worker on another machine; None for all others."""
orders = [] if ELSEWHERE else [Order.model_validate_json(Path(os.environ["SPILLWAY_ORDER"]).read_bytes())]
"""This stage's order, once it is known."""
errands: list[Errand] = []
making = BoundedSemaphore()
PARENT = os.getppid()
LEAD_NS = 200_000_000
"""From the decision to the stage's zero: time for every worker to hear of it."""
loads: list[Load] = []
"""This process's load, once it is known which worker it is."""


class Sender(User):
    """Closed loop: one request in flight. Open loop: one per worker, which sends the worker's rows."""

    @task
    @or_end()
    def send(self) -> None:
        """The whole stage; then wait for the end of the process."""
        load = _load(self.environment.runner)
        user = load.users
        load.users += 1
        connection = load.connection()
        trouble = ""
        try:
            connection.open()
        except (OSError, InputError) as error:
            trouble = str(error)
        told = {"worker": load.worker, "users": 1, "trouble": load.to.scrubbed(trouble)}
        self.environment.runner.send_message("spillway_ready", told)
        if load.stage.mode == "closed":
            load.hold(connection, user * load.order.workers + load.worker)
        else:
            load.replay()
        gevent.sleep(1e6)


class Chief:
    """The master's part: zero, stop and end."""

    def __init__(self, runner: Any) -> None:
        self.runner, self.order = runner, orders[0]
        self.ready = self.connected = self.done = 0
        self.prepared: set[int] = set()
        self.trouble = ""
        runner.register_message("spillway_ready", self.on_ready)
        runner.register_message("spillway_done", self.on_done)
        runner.register_message("spillway_hello", self.on_hello)
        runner.register_message("spillway_piece", self.on_piece)
        gevent.spawn(self.watch)

    def on_ready(self, msg: Any, **_: Any) -> None:
        """A worker is prepared, also one without users (it may be the one that warms the cache), or a user is connected
        or cannot be. After the last of them the stage begins."""
        self.prepared.add(msg.data["worker"])
        self.ready += msg.data["users"]
        self.connected += msg.data["users"] and not msg.data["trouble"]
        self.trouble = self.trouble or msg.data["trouble"]
        if self.ready == self.order.users and len(self.prepared) == self.order.workers:
            zero_ns = time.time_ns() + LEAD_NS
            told = {"zero_ns": zero_ns, "connected": self.connected, "trouble": self.trouble}
            write_text(self.order.folder / "go.json", orjson.dumps(told).decode())
            if self.connected:
                self.runner.send_message("spillway_go", {"zero_ns": zero_ns})

    def on_hello(self, msg: Any, **_: Any) -> None:
        """A worker elsewhere asks for its order and the time."""
        told = msg.data | {"order": self.order.model_dump_json(), "clock_ns": time.time_ns()}
        self.runner.send_message("spillway_order", told, client_id=msg.node_id)

    def on_piece(self, msg: Any, **_: Any) -> None:
        """A worker elsewhere sends what it measured."""
        take_piece(self.order, msg.data["name"], msg.data["data"], last=msg.data["last"])

    def on_done(self, **_: Any) -> None:
        """A worker has written its spill file; after the last one Locust ends."""
        self.done += 1
        if self.done == self.order.workers:
            self.runner.environment.process_exit_code = 0
            gevent.spawn(self.runner.quit)

    def watch(self) -> None:
        """Look for the driver's wish to stop, and to stop sooner."""
        stop, heard = self.order.folder / "stop.json", b""
        while True:
            gevent.sleep(0.02)
            if stop.exists() and (told := stop.read_bytes()) != heard:
                heard = told
                self.runner.send_message("spillway_stop", orjson.loads(told))


@or_end()
def _load(runner: Any) -> Load:
    """This process's load; its worker number is known once the master has acknowledged it, its order soon after."""
    if errands:
        errands[0].known.wait()
    with making:
        if not loads:
            if errands and errands[0].order:
                orders.append(errands[0].order)
            loads.append(Load(orders[0], runner.worker_index))
            loads[0].prime()
            runner.send_message("spillway_ready", {"worker": runner.worker_index, "users": 0, "trouble": ""})
            if errands:
                gevent.spawn(errands[0].carry, runner.worker_index)
    return loads[0]


@or_end()
def _on_go(environment: Any, msg: Any, **_: Any) -> None:
    load, zero_ns = _load(environment.runner), msg.data["zero_ns"]
    if errands:
        zero_ns -= errands[0].offset_ns
        load.facts["clock_error_s"] = errands[0].error_ns / 1e9
    load.begin(zero_ns)


def _on_stop(environment: Any, msg: Any, **_: Any) -> None:
    @or_end()
    def finish() -> None:
        load = _load(environment.runner)
        if load.stopping.is_set():
            load.drain(msg.data["drain_s"])
            return
        load.finish(msg.data["drain_s"])
        if errands:
            errands[0].deliver(load.worker)
        environment.runner.send_message("spillway_done", {"worker": load.worker})

    gevent.spawn(finish)


def _die_with_parent() -> None:
    """Where the kernel does not do it for us (other systems than Linux)."""
    while os.getppid() == PARENT:
        gevent.sleep(0.5)
    os._exit(1)


@events.test_start.add_listener  # type: ignore[untyped-decorator]  # locust has no type information
def on_test_start(environment: Any, **_: Any) -> None:
    """Prompts, and shared prefixes into the server's cache, whether or not this worker will have users."""
    if not isinstance(environment.runner, MasterRunner):
        gevent.spawn(_load, environment.runner)


@events.init.add_listener  # type: ignore[untyped-decorator]  # locust has no type information
def on_init(environment: Any, **_: Any) -> None:
    """Take the part that this process plays."""
    child.open_all_files()
    gevent.spawn(_die_with_parent)
    if not isinstance(environment.runner, WorkerRunner):
        Chief(environment.runner)
    if not isinstance(environment.runner, MasterRunner):
        environment.runner.register_message("spillway_go", _on_go)
        environment.runner.register_message("spillway_stop", _on_stop)
    if ELSEWHERE:
        errand = Errand(environment.runner.send_message, Path(ELSEWHERE), os.environ.get("SPILLWAY_KEY_ENV") or None)
        errands.append(errand)
        environment.runner.register_message("spillway_order", lambda msg, **_: errand.hear(msg.data))
        gevent.spawn(errand.ask)
