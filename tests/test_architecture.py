"""The house keeps its rooms apart: who may import whom, and what a command may load before it works."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("bench", "planner", "hardware_profiles")
HEAVY = ("vllm", "torch", "locust", "pandas", "pulp", "highspy", "matplotlib", "pyarrow", "scipy")
"""What takes long to load or patches the standard library."""


@cache
def imports(path: Path) -> tuple[tuple[str, bool], ...]:
    """Every module that a file imports, and whether as soon as it is loaded itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return tuple(_walk(tree, top=True))


def _walk(node: ast.AST, *, top: bool) -> Iterator[tuple[str, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            yield child.module, top
        inside = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or _only_for_types(child)
        yield from _walk(child, top=top and not inside)


def _only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def files(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def users_of(package: str) -> set[str]:
    """Files of the rooms that import a package anywhere."""
    return {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in files(room)
        if any(name.split(".")[0] == package for name, _ in imports(path))
    }


@pytest.mark.parametrize(
    ("room", "others"),
    [("bench", {"planner"}), ("planner", {"bench"}), ("hardware_profiles", {"bench", "planner"})],
)
def test_rooms_meet_in_the_seam_only(room: str, others: set[str]) -> None:
    """`bench` and `planner` never import each other, and the seam imports neither."""
    assert len(files(room)) > 5
    for path in files(room):
        assert not others & {name.split(".")[0] for name, _ in imports(path)}, path


def test_relative_imports_do_not_hide_a_room() -> None:
    """Every import names its module in full, so that the rules above see it."""
    for room in ROOMS:
        for path in files(room):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert not any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree)), path


def test_the_solver_stays_in_its_corner() -> None:
    """PuLP states the programme and starts the solver; HiGHS is known there, where it begins, and where one matrix is
    solved again."""
    assert users_of("pulp") == {"planner/programme.py", "planner/solver.py"}
    assert users_of("highspy") == {"planner/neighbourhood.py", "planner/same_matrix.py", "planner/solver.py"}


@pytest.mark.parametrize("package", ["locust", "vllm", "torch"])
def test_load_and_server_live_in_one_file_each(package: str) -> None:
    """At most one file imports each; Locust's is the one that runs in Locust's own processes."""
    assert len(users_of(package)) <= 1
    if package == "locust":
        assert users_of(package) == {"bench/locustfile.py"}


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_heavy_is_loaded_with_a_module(room: str) -> None:
    """Heavy packages are imported where they work; the locustfile alone may, for nothing else loads it."""
    for path in files(room):
        if path.name != "locustfile.py":
            loaded = {name.split(".")[0] for name, top in imports(path) if top}
            assert not loaded & set(HEAVY), path
    assert not [
        path for room in ROOMS for path in files(room) if any(n == "bench.locustfile" for n, _ in imports(path))
    ]


def test_what_is_imported_is_installed() -> None:
    """A plain `pip install` brings every package that the rooms import, by name or as what a named one needs: a GPU is
    found wherever vLLM lives."""
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    needed = [text for one in stated for text in requires(_package(one)) or () if "extra ==" not in text]
    brought = {_package(text) for text in [*stated, *needed]}
    ours = {name.split(".")[0] for room in ROOMS for path in files(room) for name, _ in imports(path)}
    foreign = ours - set(sys.stdlib_module_names) - set(ROOMS)
    known = packages_distributions()
    assert {name for name in foreign if not brought & {_package(told) for told in known.get(name, [])}} == set()
    assert "pynvml" in foreign


def _package(requirement: str) -> str:
    """The normalised name that a requirement begins with."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower()


def test_the_rules_would_see_a_breach(tmp_path: Path) -> None:
    """An import inside a function counts as an import, but not as one at load; one inside `try` counts as both."""
    file = tmp_path / "file.py"
    file.write_text("import a.b\ntry:\n    from c import d\nexcept ImportError:\n    pass\ndef f():\n    import e\n")
    assert imports(file) == (("a.b", True), ("c", True), ("e", False))


@pytest.mark.parametrize("module", ["planner.cli", "bench.cli"])
@pytest.mark.parametrize("words", [["--help"], [], ["no-such-command"]])
def test_a_command_line_answers_without_loading_anything_heavy(module: str, words: list[str]) -> None:
    """Help, and a wrong command, come before pandas, PuLP, HiGHS, matplotlib or Locust are touched."""
    code = (
        f"import sys\nimport {module} as cli\nsys.argv = {[module, *words]!r}\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        f"print('loaded:', *sorted({set(HEAVY)!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"
    assert "Traceback" not in done.stderr
    assert re.search(r"Usage", done.stdout + done.stderr)
