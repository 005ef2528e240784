"""Bad input, told once and completely.

Every reader of files collects all faults before it raises, so that a user mends a file in one go. A fault names file,
line, column, value and remedy; `run_cli` is the only place that prints one (one line each on stderr, below it what
another program said where that is the fault, exit status 1, no traceback). It lives in the seam because both command
lines use it and neither may import the other.
"""

from __future__ import annotations

import errno
import os
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

_SHOWN_VALUE = 60
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with an input, and what to do about it."""

    what: str
    remedy: str
    file: str | None = None
    line: int | None = None
    column: str | None = None
    value: str | None = None
    lines: tuple[str, ...] = ()
    """What another program said of it, a line each; shown below, indented."""

    def __str__(self) -> str:
        """`file:line: column 'c', value 'v': what. Remedy: remedy.`; absent parts are left out."""
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        named = (("column", self.column), ("value", self.value))
        told = ", ".join(f"{name} {_shown(value)}" for name, value in named if value is not None)
        parts = [part for part in (place, told, self.what) if part]
        told = _one_line(": ".join(parts) + f". Remedy: {self.remedy}.")
        return "\n  ".join((told, *map(_one_line, self.lines)))


class InputError(Exception):
    """One or more faults in what the user gave; `faults` is never empty."""

    def __init__(self, *faults: Fault) -> None:
        if not faults:
            raise ValueError("InputError without a fault")
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


class Faults:
    """Collects faults while a reader goes on; `check()` raises them all at once."""

    def __init__(self, file: str | None = None) -> None:
        self.file = file
        self.found: list[Fault] = []

    def add(
        self, what: str, remedy: str, *, line: int | None = None, column: str | None = None, value: object = None
    ) -> None:
        """Note one fault in `self.file`."""
        shown = None if value is None else str(value)
        self.found.append(Fault(what, remedy, self.file, line, column, shown))

    def check(self) -> None:
        """Raise `InputError` when anything was found."""
        if self.found:
            raise InputError(*self.found)


def printable(text: str) -> str:
    """Text from a file with control characters escaped, so that it cannot steer a terminal."""
    return "".join(c if c == "\n" or not _steers(c) else repr(c)[1:-1] for c in text)


def run_cli(app: Callable[[], object]) -> None:
    """Run a command line; `InputError` becomes one line per fault on stderr and exit status 1.

    So does what the system says of a file: no room, no permission. Other errors are mistakes of ours.
    `SPILLWAY_TRACEBACK=1` lets the traceback through, for people who work on Spillway itself.
    """
    try:
        app()
    except (InputError, OSError) as error:
        faults = error.faults if isinstance(error, InputError) else _of_a_file(error)
        if not faults or os.environ.get("SPILLWAY_TRACEBACK") == "1":
            raise
        for fault in faults:
            print(f"error: {fault}", file=sys.stderr)
        sys.exit(1)


def _of_a_file(error: OSError) -> tuple[Fault, ...]:
    """A full disk does not say which file it has no room for; an error of the network has neither."""
    if error.filename is None and error.errno not in _NO_ROOM:
        return ()
    remedy = "check the path, its permissions and the room on its disk"
    name = None if error.filename is None else os.fsdecode(error.filename)
    return (Fault(error.strerror or str(error), remedy, file=name),)


def _one_line(text: str) -> str:
    return printable(text).replace("\n", "\\n")


def _steers(c: str) -> bool:
    """Control and format characters (right-to-left marks too), and what some programs take for a line's end."""
    category = unicodedata.category(c)
    return category[0] == "C" or category in ("Zl", "Zp")


def _shown(value: str) -> str:
    return repr(value if len(value) <= _SHOWN_VALUE else value[: _SHOWN_VALUE - 1] + "…")
