"""Finds the Locust processes of a run, whoever their parent is by now."""

from __future__ import annotations

import contextlib
from pathlib import Path

import psutil


def locusts(folder: Path) -> list[psutil.Process]:
    """Those that work for `folder`, or for a stage in it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(folder.resolve()) in process.environ().get("SPILLWAY_ORDER", ""):
                found.append(process)
    return found
