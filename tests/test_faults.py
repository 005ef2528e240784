"""Faults: one line each, in exact words, harmless to a terminal, told once by the command line."""

from __future__ import annotations

import subprocess
import sys

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


def test_other_errors_are_not_swallowed() -> None:
    """A mistake of ours keeps its traceback and is not told as the user's."""
    code = "from hardware_profiles.faults import run_cli\nrun_cli(lambda: 1 / 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
