"""The Locust side of a stage: users, and the few messages between master and workers.

The only file that imports locust. Why so thin: Locust spawns users, keeps master and workers together and watches
their health; what is sent and what is kept is `bench.load`'s. Locust's own statistics are never used: they are rounded
and bucketed.

Started by `bench.follow`, which sets SPILLWAY_ORDER to the stage's order file. Messages (none of them per request):
    spillway_ready   worker -> master   its users are connected (how many; the first connection error)
    spillway_go      master -> workers  the stage's zero
    spillway_stop    master -> workers  stop, with the drain's length; the driver asks for it by a file
    spillway_done    worker -> master   its spill file is written
With one process the same handlers talk to each other (Locust's LocalRunner).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import gevent
import orjson
from locust import User, events, runners, task  # noqa: TID253  # this is the file that may, in Locust's processes
from locust.runners import MasterRunner, WorkerRunner  # noqa: TID253  # as above

from bench.load import Load
from bench.order import Order
from hardware_profiles.curve import write_text
from hardware_profiles.faults import InputError

runners.HEARTBEAT_LIVENESS = 60  # seconds, for 3: a worker that decodes a long stage is busy, not gone
ORDER = Order.model_validate_json(Path(os.environ["SPILLWAY_ORDER"]).read_bytes())
PARENT = os.getppid()
LEAD_NS = 200_000_000
"""From the decision to the stage's zero: time for every worker to hear of it."""
loads: list[Load] = []
"""This process's load, once it is known which worker it is."""


class Sender(User):
    """Closed loop: one request in flight. Open loop: one per worker, which sends the worker's rows."""

    @task
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
            load.hold(connection, user * ORDER.workers + load.worker)
        else:
            load.replay()
        gevent.sleep(1e6)


class Chief:
    """The master's part: zero, stop and end."""

    def __init__(self, runner: Any) -> None:
        self.runner = runner
        self.ready = self.connected = self.done = 0
        self.trouble = ""
        runner.register_message("spillway_ready", self.on_ready)
        runner.register_message("spillway_done", self.on_done)
        gevent.spawn(self.watch)

    def on_ready(self, msg: Any, **_: Any) -> None:
        """A user is connected, or cannot be."""
        self.ready += msg.data["users"]
        self.connected += not msg.data["trouble"]
        self.trouble = self.trouble or msg.data["trouble"]
        if self.ready == ORDER.users:
            zero_ns = time.time_ns() + LEAD_NS
            told = {"zero_ns": zero_ns, "connected": self.connected, "trouble": self.trouble}
            write_text(ORDER.folder / "go.json", orjson.dumps(told).decode())
            if self.connected:
                self.runner.send_message("spillway_go", {"zero_ns": zero_ns})

    def on_done(self, **_: Any) -> None:
        """A worker has written its spill file; after the last one Locust ends."""
        self.done += 1
        if self.done == ORDER.workers:
            self.runner.environment.process_exit_code = 0
            gevent.spawn(self.runner.quit)

    def watch(self) -> None:
        """Look for the driver's wish to stop."""
        stop = ORDER.folder / "stop.json"
        while not stop.exists():
            gevent.sleep(0.02)
        self.runner.send_message("spillway_stop", orjson.loads(stop.read_bytes()))


def _load(runner: Any) -> Load:
    """This process's load; its worker number is known once the master has acknowledged it."""
    if not loads:
        load = Load(ORDER, runner.worker_index)
        loads.append(load)
        load.prime()
    return loads[0]


def _on_go(environment: Any, msg: Any, **_: Any) -> None:
    _load(environment.runner).begin(msg.data["zero_ns"])


def _on_stop(environment: Any, msg: Any, **_: Any) -> None:
    def finish() -> None:
        load = _load(environment.runner)
        load.finish(msg.data["drain_s"])
        environment.runner.send_message("spillway_done", {"worker": load.worker})

    gevent.spawn(finish)


def _die_with_parent() -> None:
    """Where the kernel does not do it for us (other systems than Linux)."""
    while os.getppid() == PARENT:
        gevent.sleep(0.5)
    os._exit(1)


@events.test_start.add_listener  # type: ignore[untyped-decorator]  # locust has no type information
def on_test_start(environment: Any, **_: Any) -> None:
    """Before the first user: prompts, and shared prefixes into the server's cache."""
    if not isinstance(environment.runner, MasterRunner):
        _load(environment.runner)


@events.init.add_listener  # type: ignore[untyped-decorator]  # locust has no type information
def on_init(environment: Any, **_: Any) -> None:
    """Take the part that this process plays."""
    gevent.spawn(_die_with_parent)
    if not isinstance(environment.runner, WorkerRunner):
        Chief(environment.runner)
    if not isinstance(environment.runner, MasterRunner):
        environment.runner.register_message("spillway_go", _on_go)
        environment.runner.register_message("spillway_stop", _on_stop)
