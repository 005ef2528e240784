"""The README is run: its commands, its options, and the output it shows.

`SPILLWAY_UPDATE_README=1 pytest tests/test_readme.py` writes the present output into the README.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SHOWN = re.compile(r"<!-- (?P<command>(?:planner|bench) .*) -->\n```text\n(?P<output>.*?)```\n", re.DOTALL)
WIDTH = "110"


def _run(command: str, cwd: Path) -> str:
    program, *arguments = command.split()
    done = subprocess.run(
        [sys.executable, "-m", f"{program}.cli", *arguments],
        cwd=cwd,
        env={**os.environ, "COLUMNS": WIDTH, "NO_COLOR": "1", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=True,
    )
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines())


def test_shown_output_is_what_the_command_prints(tmp_path: Path) -> None:
    """Every output block under a command comment is that command's output, to the letter."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    text = README.read_text()
    blocks = list(SHOWN.finditer(text))
    assert blocks
    for block in blocks:
        output = _run(block["command"], tmp_path)
        if os.environ.get("SPILLWAY_UPDATE_README") == "1":
            text = (
                text.replace(block["output"] + "```\n", output + "```\n", 1)
                if block["output"]
                else _fill(text, block, output)
            )
            README.write_text(text)
        else:
            assert block["output"] == output


def _fill(text: str, block: re.Match[str], output: str) -> str:
    head = f"<!-- {block['command']} -->\n```text\n"
    return text.replace(f"{head}```\n", f"{head}{output}```\n")


@pytest.mark.parametrize("program", ["bench", "planner"])
def test_options_named_exist(program: str, tmp_path: Path) -> None:
    """Every subcommand and long option that README shows for a program stands in its help."""
    lines = re.findall(rf"(?:^    |`){program} ([a-z]+)([^`\n#]*)", README.read_text(), re.MULTILINE)
    assert lines
    for command, rest in lines:
        shown = _run(f"{program} {command} --help", tmp_path)
        for option in re.findall(r"--[a-z][a-z-]+", rest):
            assert option in shown, f"{program} {command} {option}"


def test_make_targets_exist() -> None:
    """Every `make` target that README and CONTRIBUTING name is in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", (ROOT / name).read_text(), re.MULTILINE))
        assert named
        assert named <= targets


def test_files_named_exist() -> None:
    """Every file of this project that README, CONTRIBUTING and docs name in backticks is there."""
    for path in (README, ROOT / "CONTRIBUTING.md"):
        for name in re.findall(
            r"`((?:docs|planner|bench|examples|tests|hardware_profiles|benchmarks)/[\w./-]*)`", path.read_text()
        ):
            assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_every_module_has_its_place_in_the_house() -> None:
    """docs/design.md names every module of the three rooms, and none that is gone."""
    text = (ROOT / "docs" / "design.md").read_text()
    for room in ("bench", "planner", "hardware_profiles"):
        part = text.split(f"### `{room}/`")[1].split("\n### ")[0]
        named = set(re.findall(r"^\| `(\w+)\.py` \|", part, re.MULTILINE))
        there = {path.stem for path in (ROOT / room).glob("*.py")} - {"__init__"}
        assert named == there


@pytest.mark.parametrize("name", ["programme.md"])
def test_examples_in_docs_run(name: str) -> None:
    """Every Python block of the page runs, its assertions included."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / name).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, name, "exec"), {})
