"""The server's life, with a stand-in package named `vllm` on a real socket; the real vLLM is in test_real_vllm.py."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.guard import descendants
from bench.redact import redacted
from bench.scrape import fetch
from bench.server import ServerSpec, environment, knows_request_timings, serving
from hardware_profiles.faults import InputError

# Healthy at once, and with children that a plain SIGTERM does not reach: one ignores it, one is in another session.
STAND_IN = """
import http.server, os, signal, subprocess, sys, time
if "--die" in sys.argv:
    print("bad flag", flush=True)
    sys.exit(2)
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
children = [subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=new) for new in (False, True)]
print("cores", sorted(os.sched_getaffinity(0)), "token", os.environ.get("SECRET_TOKEN"), flush=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/die":
            os._exit(3)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args): pass
port = int(sys.argv[sys.argv.index("--port") + 1])
if "--never" in sys.argv:
    time.sleep(600)
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def spec(tmp_path: Path) -> ServerSpec:
    package = tmp_path / "site" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    (package / "api_server.py").write_text(STAND_IN)
    return ServerSpec(
        python=sys.executable,
        model="some/model",
        served_name="m",
        weights="dummy",
        environment={"PYTHONPATH": str(tmp_path / "site")},
        start_timeout_s=20,
        grace_s=0.5,
    )


def gone(pids: list[int], within_s: float = 10) -> bool:
    """Whether all of them end in time; zombies that nobody collects here have ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        states = [Path("/proc", str(pid), "stat") for pid in pids]
        if not any(path.exists() and path.read_text().rpartition(")")[2].split()[0] not in "ZX" for path in states):
            return True
        time.sleep(0.05)
    return False


def test_it_serves_and_leaves_nothing_behind(spec: ServerSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Healthy on loopback, pinned, timed, weighed; after the block every process is gone, stubborn ones too."""
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    core = min(os.sched_getaffinity(0))
    with serving(spec.model_copy(update={"cpus": (core,)}), tmp_path / "run" / "server.log") as server:
        assert fetch(f"{server.url}/health") == ""
        assert server.url.startswith("http://127.0.0.1:")
        assert server.alive()
        assert 0 < server.start_up_s < 20
        memory = server.host_memory_gib()
        assert memory is not None
        assert 0.005 < memory < 1
        pids = server.processes()
        assert len(pids) == 3
    assert gone(pids, 0.1)
    assert not server.alive()
    assert server.log.text() == f"cores [{core}] token None\n"


def test_it_dies_with_its_parent(spec: ServerSpec, tmp_path: Path) -> None:
    """SIGKILL of the process that started it, which no handler sees, leaves nothing within 10 s."""
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom bench.server import ServerSpec, serving\n"
        "with serving(ServerSpec.model_validate_json(sys.argv[1]), Path(sys.argv[2])) as server:\n"
        "    print(server.process.pid, *server.processes(), flush=True)\n    time.sleep(600)\n"
    )
    arguments = [sys.executable, "-c", program, spec.model_dump_json(), str(tmp_path / "server.log")]
    parent = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 4
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert gone(pids)


def test_it_ends_even_when_the_guard_is_killed(spec: ServerSpec, tmp_path: Path) -> None:
    """With the guard gone the server dies too and its group is ended; only what has left the group can stay."""
    with serving(spec, tmp_path / "server.log") as server:
        group = [pid for pid in server.processes() if os.getpgid(pid) == server.pid]
        others = [pid for pid in server.processes() if os.getpgid(pid) != server.pid]
        assert len(group) == 2
        server.process.kill()
    assert gone(group, 1)
    for pid in others:
        os.kill(pid, signal.SIGKILL)


def test_a_failed_start_shows_the_logs_end(spec: ServerSpec, tmp_path: Path) -> None:
    """How it ended and the last lines that this start wrote; an earlier start's lack of memory in the log is none of
    this one's."""
    log = tmp_path / "server.log"
    log.write_text("CUDA out of memory\n")
    with pytest.raises(InputError) as caught, serving(spec.model_copy(update={"args": ("--die",)}), log):
        pass
    assert str(caught.value) == (
        f"{log}: vLLM ended (exit status 2) before it was ready. Remedy: read the whole log.\n"
        "  its log ends:\n"
        "    bad flag"
    )


def test_a_server_that_never_gets_ready_is_ended(spec: ServerSpec, tmp_path: Path) -> None:
    """After the time allowed it is a fault, and no process stays."""
    slow = spec.model_copy(update={"args": ("--never",), "start_timeout_s": 1.0})
    told = "vLLM was not ready in time. Remedy: allow more with --start-timeout."
    with pytest.raises(InputError, match=re.escape(told)), serving(slow, tmp_path / "server.log"):
        pass
    assert not descendants(os.getpid())


def test_a_death_in_mid_run_is_seen(spec: ServerSpec, tmp_path: Path) -> None:
    """`alive` turns False and `death` tells the status, once it has ended by itself."""
    with serving(spec, tmp_path / "server.log") as server:
        with pytest.raises(OSError, match="closed connection"):
            fetch(f"{server.url}/die")
        assert gone([server.pid])
        assert not server.alive()
        assert server.death.what == "vLLM ended (exit status 3) while it was being measured"
        assert server.death.lines[0] == "its log ends:"


def test_a_python_without_vllm_says_so(tmp_path: Path) -> None:
    """No such Python, and a Python without vLLM, both name --server-python."""
    spec = ServerSpec(python=sys.executable, model="m", served_name="m")
    with pytest.raises(InputError, match=r"No module named 'vllm'") as caught, serving(spec, tmp_path / "a.log"):
        pass
    remedy = "name a Python that has vLLM: --server-python PATH, or hand on what leads to it: --server-env PYTHONPATH"
    assert caught.value.faults[0].remedy == remedy
    absent = spec.model_copy(update={"python": "/no/python"})
    with pytest.raises(InputError) as caught, serving(absent, tmp_path / "b.log"):
        pass
    assert str(caught.value) == (
        "value '/no/python': the server's Python cannot be run. Remedy: name one that has vLLM: --server-python PATH."
    )


def test_the_server_sees_an_allow_list_only() -> None:
    """Cloud keys and our own endpoint key never reach it; the hub's token only where weights come from the hub."""
    outer = {
        "PATH": "/bin",
        "CUDA_VISIBLE_DEVICES": "1",
        "VLLM_USE_V1": "1",
        "AWS_SECRET_ACCESS_KEY": "x",
        "VLLM_API_KEY": "x",
        "HF_TOKEN": "x",
        "PYTHONPATH": "/x",
        "OPENAI_API_KEY": "x",
    }
    always = {"PATH": "/bin", "CUDA_VISIBLE_DEVICES": "1", "VLLM_USE_V1": "1", "VLLM_NO_USAGE_STATS": "1"}
    always |= {"DO_NOT_TRACK": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    real = ServerSpec(python="p", model="org/model", served_name="m")
    assert environment(real, outer) == always | {"HF_TOKEN": "x"}
    dummy = real.model_copy(update={"weights": "dummy", "environment": {"A": "b"}})
    assert environment(dummy, outer) == always | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "A": "b"}


def test_stored_arguments_hold_no_secret_and_no_path() -> None:
    """Values of secret-looking options and passwords in addresses go; options that only sound so stay."""
    args = ("--api-key", "k1", "k2", "--hf-token=t", "--max-num-batched-tokens", "9", "--tokenizer", "http://u:p@h/x")
    shown = (
        "--api-key",
        "***",
        "***",
        "--hf-token=***",
        "--max-num-batched-tokens",
        "9",
        "--tokenizer",
        "http://***@h/x",
    )
    assert redacted(args) == shown
    spec = ServerSpec(
        python="/p", model="/home/me/models/tiny", served_name="tiny", weights="dummy", args=("--seed", "1")
    )
    assert spec.shown_args()[:4] == ("--model", "tiny", "--load-format", "dummy")
    assert spec.shown_args()[-2:] == ("--seed", "1")


@pytest.mark.parametrize(("text", "known"), [("x.enable_per_request_metrics = True", True), ("nothing", False)])
def test_an_older_vllm_is_not_asked_for_what_it_does_not_know(tmp_path: Path, text: str, known: bool) -> None:
    """The option stands in a vLLM's own text or not; without it the server gets all the others."""
    package = tmp_path / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    (tmp_path / "vllm" / "__init__.py").write_text("raise RuntimeError('it was imported')")
    (package / "cli_args.py").write_text(text)
    spec = ServerSpec(
        python=sys.executable, model="m", served_name="m", weights="dummy", environment={"PYTHONPATH": str(tmp_path)}
    )
    assert knows_request_timings(spec) is known
    args = spec.model_copy(update={"request_timings": known}).shown_args()
    assert ("--enable-per-request-metrics" in args) is known
    assert "--enable-prompt-tokens-details" in args


def test_where_vllm_cannot_be_looked_at_it_is_asked(tmp_path: Path) -> None:
    """No such Python, or one without vLLM: what is wrong is told when the server is started."""
    for python in ("/no/python", sys.executable):
        spec = ServerSpec(python=python, model="m", served_name="m", weights="dummy")
        assert knows_request_timings(spec.model_copy(update={"environment": {"PYTHONPATH": str(tmp_path)}}))
