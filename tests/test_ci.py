"""What CI must not let pass: a browser or office test that was skipped."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _refused(log: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / ".ci" / "refuse-skips", log], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("file", "test", "reason"),
    [
        ("test_page.py", "test_page_prints_on_a4", "needs Chromium"),
        ("test_workbook.py", "test_libreoffice_comes_to_the_plans_bill", "needs LibreOffice"),
    ],
)
def test_a_skipped_browser_or_office_test_fails_ci(tmp_path: Path, file: str, test: str, reason: str) -> None:
    """Where the programme is not on the path the test is skipped with the reason, and that reason is refused."""
    bare = {**os.environ, "PATH": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", ROOT / "tests" / file, "-k", test]
    ran = subprocess.run(command, capture_output=True, text=True, env=bare, cwd=ROOT, check=True)
    assert "1 skipped" in ran.stdout
    (tmp_path / "log").write_text(ran.stdout, encoding="utf-8")
    refused = _refused(tmp_path / "log")
    assert refused.returncode == 1
    assert reason in refused.stdout


def test_other_skips_are_let_pass(tmp_path: Path) -> None:
    """A test that needs a GPU or vLLM may be skipped, and passed tests that name a browser are no skips."""
    log = tmp_path / "log"
    log.write_text(
        "SKIPPED [1] tests/test_gpu.py:9: needs a GPU\nPASSED needs Chromium\n9 passed, 1 skipped in 2.00s\n"
    )
    assert _refused(log).returncode == 0


def test_what_is_slow_or_judges_time_is_there() -> None:
    """The modules that tests/conftest.py names exist, and CI runs those that `make test` leaves out."""
    conftest = runpy.run_path(str(ROOT / "tests" / "conftest.py"))
    for name in conftest["SLOW"] | conftest["CLOCK"]:
        assert (ROOT / "tests" / f"{name}.py").is_file(), name
    assert "make test-slow" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
