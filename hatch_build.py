"""Compiles `bench/_reads.c` while the package is being built, where that can be done; the package is whole without it.

Why so: a slim container has no compiler, and an installation must not fail for want of what only saves processor time.
What is built uses CPython's stable interface, so that any later Python may load it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE, BUILT = "bench/_reads.c", "bench/_reads.abi3.so"


class Compiled(BuildHookInterface):  # type: ignore[type-arg]
    """For wheels, editable ones too: those build it beside its source."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Tell hatchling what was compiled."""
        del version
        if self.target_name != "wheel" or sys.platform != "linux":
            return
        trouble = compiled(Path(self.root))
        if trouble:
            self.app.display_warning(f"{SOURCE} was not compiled, bench reads with Python instead: {trouble}")
            return
        build_data["artifacts"].append(BUILT)  # git ignores it
        build_data["pure_python"] = False
        build_data["tag"] = f"cp311-abi3-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def compiled(root: Path) -> str:
    """Compile within `root`; why not, empty where it went well. What was built before is then gone."""
    named = (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc")  # Python's own may be one of another machine
    known = [shlex.split(name) for name in named if name]
    compiler = next((words for words in known if shutil.which(words[0])), known[0])
    headers = sysconfig.get_paths()["include"]
    built = root / BUILT
    built.unlink(missing_ok=True)  # never written over: a process that has loaded it keeps what it has
    command = [*compiler, "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", f"-I{headers}", "-o", built, root / SOURCE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{compiler[0]}: {error.strerror}"
    if done.returncode:
        return next((line for line in done.stderr.splitlines() if "error" in line), f"{compiler[0]} failed")
    return ""
