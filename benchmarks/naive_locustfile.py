"""How people read streams with Locust, for benchmarks/client_truth.py: FastHttp, JSON in the loop.

NAIVE_WAY is `iter_lines` (blocks of 1024 bytes) or `readline` (lines from the response's socket). Each user sends one
request; NAIVE_OUT receives one JSON line per user: [sent_ns, serial, arrival_ns, ...].
"""

import json
import os
import time
from pathlib import Path

import gevent
from locust import FastHttpUser, events, task  # noqa: TID253  # runs in Locust's own process

WAY, TOKENS = os.environ["NAIVE_WAY"], int(os.environ["NAIVE_TOKENS"])
BODY = {"model": "paced", "prompt": list(range(100)), "max_tokens": TOKENS, "stream": True}
rows: list[list[int]] = []


@events.init.add_listener
def on_init(environment, **_):
    users = environment.parsed_options.num_users

    def end():
        while len(rows) < users:
            gevent.sleep(0.1)
        Path(os.environ["NAIVE_OUT"]).write_text("\n".join(json.dumps(row) for row in rows))
        environment.process_exit_code = 0
        environment.runner.quit()

    gevent.spawn(end)


class Naive(FastHttpUser):
    network_timeout = connection_timeout = 120.0

    @task
    def once(self):
        row = [time.time_ns(), -1]
        for line in self.lines():
            if line.startswith("data: {"):
                event = json.loads(line[6:])
                if event["choices"]:
                    row.append(time.time_ns())
                    row[1] = int(event["id"].removeprefix("cmpl-"))
        rows.append(row)
        gevent.sleep(1e6)

    def lines(self):
        if WAY == "iter_lines":
            yield from self.client.iter_lines("/v1/completions", method="POST", json=BODY)
            return
        response = self.client.request("POST", "/v1/completions", json=BODY, stream=True)
        while line := response._response.readline(b"\n"):
            yield line.decode()
