"""The command line as a user meets it; runs against a real server are in test_build.py and test_real_vllm.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.paced import Law, paced
from hardware_profiles.curve import read_curve

BENCH = [sys.executable, "-m", "bench.cli"]


def bench(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*BENCH, *arguments], capture_output=True, text=True, cwd=cwd, timeout=60, check=False)


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    """The command line answers `--help` before any of the packages that take time is imported."""
    assert bench("--help", cwd=tmp_path).returncode == 0
    heavy = "{'locust', 'gevent', 'numpy', 'pandas', 'pyarrow', 'scipy', 'matplotlib', 'pydantic'}"
    program = f"import sys, bench.cli; print(sorted({heavy} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert told.stdout == "[]\n"


@pytest.mark.parametrize("command", ["run", "resume", "worker", "selfcheck", "show", "list", "recompute", "compare"])
def test_every_command_explains_itself(command: str, tmp_path: Path) -> None:
    """Each answers --help."""
    done = bench(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ("run", "--model", "llama-3-8b", "--gpu", "a100"),
            (
                "error: column '--gpu', value 'a100-80gb-sxm': no NVIDIA GPU on this machine (NVML: NVML Shared "
                "Library Not Found). Remedy: measure a server that runs elsewhere with --endpoint URL, or vLLM on "
                "this processor with --gpu cpu.\n"
            ),
        ),
        (
            ("run", "--model", "tiny", "--gpu", "cpu", "--endpoint", "http://127.0.0.1:9"),
            (
                "error: value 'http://127.0.0.1:9': the endpoint does not answer: <urlopen error [Errno 111] "
                "Connection refused>. Remedy: check --endpoint.\n"
            ),
        ),
        (
            ("run", "--model", "tiny", "--gpu", "cpu", "--server-python", "/no/python", "--fresh"),
            (
                "error: value '/no/python': the server's Python cannot be run. Remedy: name one that has vLLM: "
                "--server-python PATH.\n"
            ),
        ),
        (
            ("run", "--model", "tiny", "--gpu", "cpu", "--remote-workers", "1", "--bind", "5557"),
            ("error: column '--bind', value '5557': not HOST:PORT. Remedy: write it like 192.0.2.1:5557.\n"),
        ),
        (
            ("worker", "--master", "there:0"),
            "error: column '--master', value 'there:0': not HOST:PORT. Remedy: write it like 192.0.2.1:5557.\n",
        ),
        (
            ("worker", "--master", "there:5557", "--key-env", "SPILLWAY_NO_KEY"),
            (
                "error: column '--key-env': the environment variable SPILLWAY_NO_KEY is not set. Remedy: export the "
                "endpoint's key in it.\n"
            ),
        ),
        (
            ("show", "no.json"),
            "error: no.json: cannot be read (No such file or directory). Remedy: check the path and its permissions.\n",
        ),
        (
            ("show", "no.json", "--ttft", "-1", "--attainment", "1.5"),
            (
                "error: column '--ttft', value '-1.0': Input should be greater than 0. Remedy: see `bench show --help`."
                "\nerror: column '--attainment', value '1.5': Input should be less than or equal to 1. Remedy: see "
                "`bench show --help`.\n"
            ),
        ),
        (
            ("recompute", "nowhere"),
            (
                "error: nowhere/run.json: cannot be read (No such file or directory). Remedy: name the folder of a "
                "`bench run` (.bench/<name>).\n"
            ),
        ),
    ],
)
def test_faults_are_one_line_and_exit_status_1(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    """No traceback, the remedy named, no curve half-written."""
    if "a100" in arguments and Path("/proc/driver/nvidia").exists():
        pytest.skip("this machine has an NVIDIA driver")
    done = bench(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, told)
    assert not list(tmp_path.glob("hardware_profiles/**/*"))


def test_a_run_is_never_written_over_unless_asked(tmp_path: Path) -> None:
    """A folder with a run in it is left as it is."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "run.json").write_text("{}")
    done = bench("run", "--model", "tiny", "--gpu", "cpu", "--raw", "mine", cwd=tmp_path)
    folder = tmp_path / "mine"
    assert done.stderr == (
        f"error: {folder}: holds a run already. Remedy: `bench resume {folder}` goes on with it; --fresh removes it; "
        "--raw names another folder.\n"
    )
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_shipped_curves_are_listed(tmp_path: Path) -> None:
    """`bench list` shows the library, published curves as such."""
    done = bench("list", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "h100-80gb-sxm" in done.stdout


def test_the_options_default_to_the_slo_of_the_house() -> None:
    """`cli.py` writes the default SLO out, because it loads nothing: it is the one that the planner takes too."""
    from inspect import signature

    from bench.asked import Asked
    from bench.cli import run
    from hardware_profiles.slo import DEFAULT_SLO

    told = {name: parameter.default for name, parameter in signature(run).parameters.items()}
    slo = DEFAULT_SLO
    assert (told["ttft"], told["tpot"], told["e2e"]) == (slo.ttft_s, slo.tpot_s, slo.e2e_s)
    asked = Asked(model="m", gpu="cpu")
    names = {"rate_requests": asked.rate_requests, "rate_stages": asked.rate_stages, "max_load": asked.max_load}
    names |= {"attainment": slo.attainment, "stage_seconds": asked.stage_s, "warm_up_seconds": asked.warm_up_s}
    assert {name: told[name] for name in names} == names


def test_the_loads_asked_for_are_held(tmp_path: Path) -> None:
    """`--load` twice: two levels, in rising order, and no doubling between them."""
    with paced(Law(ttft_s=0.01, tpot_s=0.002)) as url:
        done = bench(
            *("run", "--model", "paced", "--gpu", "h100", "--endpoint", url, "--vocab-size", "1000", "--width", "0"),
            *("--shape", "=100/20", "--load", "5", "--load", "1", "--stage-seconds", "2", "--warm-up-seconds", "0.5"),
            *("--no-rate-search", "--raw", "mine", "--out", "curves"),
            cwd=tmp_path,
        )
    assert done.returncode == 0, done.stderr
    assert "levels of shape 0 end: the loads asked for were measured" in done.stdout
    (curve,) = (tmp_path / "curves").iterdir()
    assert [point.load for point in read_curve(curve).points] == [1, 5]
