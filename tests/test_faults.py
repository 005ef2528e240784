"""Faults: one line each, in exact words, harmless to a terminal, told once by the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_profiles.faults import Fault, Faults, InputError, printable, run_cli


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (Fault("is wrong", "mend it"), "is wrong. Remedy: mend it."),
        (Fault("is wrong", "mend it", file="a.csv"), "a.csv: is wrong. Remedy: mend it."),
        (Fault("is wrong", "mend it", file="a.csv", line=3), "a.csv:3: is wrong. Remedy: mend it."),
        (Fault("is wrong", "mend it", column="price"), "column 'price': is wrong. Remedy: mend it."),
        (
            Fault("is wrong", "mend it", file="a.csv", line=3, column="price", value="-1"),
            "a.csv:3: column 'price', value '-1': is wrong. Remedy: mend it.",
        ),
        # a long value is cut, an empty one is shown
        (Fault("is wrong", "mend it", value=""), "value '': is wrong. Remedy: mend it."),
        (Fault("is wrong", "mend it", value="x" * 99), f"value '{'x' * 59}…': is wrong. Remedy: mend it."),
        # another program's words stand below, a line each, and steer nothing
        (Fault("died", "mend it", lines=("said:", "  a\x1b\nb")), "died. Remedy: mend it.\n  said:\n    a\\x1b\\nb"),
    ],
)
def test_a_fault_in_words(fault: Fault, text: str) -> None:
    """Place, name, value, what and remedy stand in this order; what is not known is left out."""
    assert str(fault) == text


@given(what=st.text(), value=st.text(), file=st.text(min_size=1))
def test_a_fault_is_one_harmless_line(what: str, value: str, file: str) -> None:
    """Whatever a file holds, its fault is one line without control characters."""
    text = str(Fault(what, "mend it", file=file, line=1, column=value, value=value))
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_control_characters_are_escaped() -> None:
    """Escape sequences, right-to-left marks and odd line ends are shown, not obeyed; plain text stays."""
    assert printable("a\x1b[31mb\u202ec\u2028d") == "a\\x1b[31mb\\u202ec\\u2028d"
    assert printable("naïve 日本 🙂\nnext") == "naïve 日本 🙂\nnext"


def test_faults_are_raised_together() -> None:
    """Nothing is raised while a reader goes on; then everything at once; nothing found raises nothing."""
    faults = Faults("a.csv")
    faults.check()
    faults.add("is wrong", "mend it", line=1, value=3)
    faults.add("is missing", "add it")
    with pytest.raises(InputError) as raised:
        faults.check()
    assert len(raised.value.faults) == 2
    assert str(raised.value) == ("a.csv:1: value '3': is wrong. Remedy: mend it.\na.csv: is missing. Remedy: add it.")


def test_an_error_without_a_fault_is_a_mistake_of_ours() -> None:
    """`InputError` cannot be empty."""
    with pytest.raises(ValueError, match="InputError without a fault"):
        InputError()


def test_the_command_line_prints_one_line_per_fault(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults go to stderr, one line each, with exit status 1 and no traceback; the switch lets it through."""

    def app() -> None:
        raise InputError(Fault("is wrong", "mend it", file="a"), Fault("is missing", "add it"))

    with pytest.raises(SystemExit) as ended:
        run_cli(app)
    assert ended.value.code == 1
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "error: a: is wrong. Remedy: mend it.\nerror: is missing. Remedy: add it.\n")
    monkeypatch.setenv("SPILLWAY_TRACEBACK", "1")
    with pytest.raises(InputError):
        run_cli(app)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/dev/full", "No space left on device"),  # the system names no file here
        ("/dev/null/x", "/dev/null/x: Not a directory"),
    ],
)
def test_what_the_system_says_of_a_file_is_a_fault(path: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A full disk and a path that cannot be written: one line, no traceback."""
    with pytest.raises(SystemExit, match="1"):
        run_cli(lambda: Path(path).write_text("x"))
    remedy = "check the path, its permissions and the room on its disk"
    assert capsys.readouterr().err == f"error: {told}. Remedy: {remedy}.\n"


@pytest.mark.parametrize(("code", "error"), [("1 / 0", "ZeroDivisionError"), ("exec('raise OSError(111)')", "OSError")])
def test_other_errors_are_not_swallowed(code: str, error: str) -> None:
    """A mistake of ours keeps its traceback and is not told as the user's; so does what is not about a file."""
    program = f"from hardware_profiles.faults import run_cli\nrun_cli(lambda: {code})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert error in done.stderr
    assert "Traceback" in done.stderr
