"""Writes the JSON schemas of the files that others may read and write: `python -m planner.schemas [folder]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hardware_profiles.curve import schema_text, write_text
from planner.plan import Plan

FOLDER = Path("docs") / "schemas"


def schemas() -> dict[str, str]:
    """Text by file name."""
    plan = json.dumps(Plan.model_json_schema(), indent=1, sort_keys=True) + "\n"
    return {"plan.schema.json": plan, "curve.schema.json": schema_text()}


def main(folder: Path = FOLDER) -> None:
    """Write them all."""
    for name, text in schemas().items():
        write_text(folder / name, text)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
