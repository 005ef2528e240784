"""`planner init`: a forecast and a plan.toml to begin with, every key explained.

The two files ship as they are (`starter/`), are read by the same readers as anybody's, and a test holds that they are
sound and name every key. Nothing is overwritten, and either both files are written or none.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from hardware_profiles.curve import write_text
from hardware_profiles.faults import Fault, InputError

STARTER_FILES = ("forecast.csv", "plan.toml")


def write_starter(folder: Path) -> tuple[Path, ...]:
    """Write forecast.csv and plan.toml into `folder` (made if need be); refuses to overwrite; the paths written."""
    paths = tuple(folder / name for name in STARTER_FILES)
    there = [path for path in paths if path.exists()]
    if there:
        remedy = "give another folder, or remove the file"
        raise InputError(*(Fault("is there already and is not overwritten", remedy, str(path)) for path in there))
    shipped = resources.files("planner") / "starter"
    written: list[Path] = []
    try:
        for path in paths:
            write_text(path, (shipped / path.name).read_text(encoding="utf-8"))
            written.append(path)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        what = f"cannot be written ({error.strerror})"
        raise InputError(Fault(what, "give a folder that you may write to", str(path))) from None
    return paths
