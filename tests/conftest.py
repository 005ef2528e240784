"""How `make test` and `make test-slow` share the suite between two processes; `pytest` by hand runs all of it in one.

The modules of `SLOW` take a quarter of a minute and more each, waiting for whole runs or solving many problems: `make
test` leaves them to `make test-slow`, and CI runs both.

A module stays whole in one process, so that what its fixtures made is made once. The modules of `CLOCK` judge time on
real sockets: they run one after another in one process, beside calculations and never beside each other, and first,
since they take as long as all others together. (pytest-xdist's own groups do nothing under pytest 9.2.)
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

SLOW = {
    "test_bench_cli", "test_build", "test_driver", "test_driver_ends", "test_explain", "test_hours_file",
    "test_islands", "test_kinks", "test_length", "test_remote", "test_resume", "test_scarcity", "test_search",
    "test_selfcheck", "test_silence", "test_sweep", "test_whatif",
}  # fmt: skip
CLOCK = {"test_build", "test_driver", "test_paced", "test_remote", "test_selfcheck", "test_sweep", "test_wire"}


class Rooms(LoadFileScheduling):
    """Module by module, those of `CLOCK` as if they were one."""

    def _split_scope(self, nodeid: str) -> str:
        module: str = super()._split_scope(nodeid)
        return "clock" if PurePath(module).stem in CLOCK else module


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Rooms | None:
    """Ours in place of `--dist loadfile`."""
    return Rooms(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First those of `CLOCK`, else the order stays; those of `SLOW` are marked."""
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker("slow")
    items.sort(key=lambda item: item.path.stem not in CLOCK)
