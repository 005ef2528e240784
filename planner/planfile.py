"""Reads plan.toml into a `PlanFile`, and words what is wrong with it: line, dotted key, value, remedy.

TOML values are checked strictly, by way of JSON: `ttft_s = "2"` is text and not a number, `pue = true` is neither.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hardware_profiles.faults import Faults, InputError
from hardware_profiles.provenance import read_toml
from hardware_profiles.slo import DEFAULT_SLO
from planner.plankeys import (
    DEFAULT_MODEL,
    NOT_YET,
    Fleet,
    PlanFile,
    PlanSource,
    Signed,
    Stock,
    Workload,
    workloads_for,
)
from planner.toml_lines import Keys, key_lines, line_at

__all__ = [
    "DEFAULT_MODEL",
    "DEFAULT_SLO",
    "Fleet",
    "PlanFile",
    "Signed",
    "Stock",
    "Workload",
    "read_planfile",
    "workloads_for",
]

_WRONG_TYPE = {
    "float": ("is not a number", "write digits without quotes, for example 0.5"),
    "int": ("is not a whole number", "write digits without quotes, for example 12"),
    "string": ("is not text", "put it in quotes"),
    "tuple": ("is not a list", "put it in brackets"),
    "date": ("is not a date", "write it as 2027-12-31"),
    "model": ("is not a table", "give it keys of its own"),
    "dict": ("is not a table", "give it keys of its own"),
    "path": ("is not a file name", "put it in quotes"),
}
_BOUNDS = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}


def read_planfile(path: Path) -> PlanFile:
    """Read plan.toml; `InputError` names every fault at once with its line."""
    faults = Faults(str(path))
    data, text = _text(path, faults)
    try:
        content = read_toml(text, faults)
        json.dumps(content, default=str)
    except (RecursionError, ValueError):
        faults.add("is nested too deeply, or a number is too long", "write it as planner init does")
    faults.check()
    lines = key_lines(text)
    for pattern, remedy in NOT_YET.items():
        for keys in _drop(content, pattern.split(".")):
            faults.add("is not supported yet", remedy, line=line_at(lines, keys), column=_dotted(keys))
    try:
        plan = PlanFile.model_validate_json(json.dumps(content, default=str), strict=True)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _add(faults, detail, lines)
        faults.found.sort(key=lambda fault: fault.line or 0)
        raise InputError(*faults.found) from None
    faults.check()
    here = path.parent
    placed = {name: here / file for name, file in plan.prices if file is not None}
    plan = plan.model_copy(update={"prices": plan.prices.model_copy(update=placed)})
    plan._source = PlanSource(path, hashlib.sha256(data).hexdigest(), MappingProxyType(lines))
    return plan


def _text(path: Path, faults: Faults) -> tuple[bytes, str]:
    try:
        data = path.read_bytes()
        return data, data.decode("utf-8-sig")
    except OSError as error:
        faults.add(f"cannot be read ({error.strerror})", "check the path and its permissions")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        what = f"is not encoded in UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}"
        faults.add(what, "save the file in UTF-8", line=line)
    faults.check()
    raise AssertionError("unreachable")


def _drop(content: dict[Any, Any] | list[Any], pattern: list[str]) -> list[Keys]:
    """Remove what matches from the content; where it stood."""
    head, *rest = pattern
    found: list[Keys] = []
    there = range(len(content)) if isinstance(content, list) else list(content)
    for key in [key for key in there if head in ("*", key)]:
        if not rest:
            del content[key]
            found.append((key,))
        elif isinstance(content[key], dict | list):
            found += [(key, *inner) for inner in _drop(content[key], rest)]
    return found


def _add(faults: Faults, detail: ErrorDetails, lines: dict[Keys, int]) -> None:
    keys = tuple(detail["loc"])
    what, remedy = _words(detail, keys)
    value = detail["input"]
    shown = json.dumps(value) if isinstance(value, bool) else value if isinstance(value, (str, int, float)) else None
    if detail["type"] == "extra_forbidden":
        shown = None
    faults.add(what, remedy, line=line_at(lines, keys), column=_dotted(keys), value=shown)


def _words(detail: ErrorDetails, keys: Keys) -> tuple[str, str]:
    """What is wrong and what to do, for each kind of error that pydantic finds."""
    kind, context = detail["type"], detail.get("ctx", {})
    bound = next((name for name in _BOUNDS if name in context), None)
    if kind == "rule":
        words = context["what"], context["remedy"]
    elif kind == "extra_forbidden":
        known = sorted(_known(keys[:-1]))
        near = difflib.get_close_matches(str(keys[-1]), known, n=1)
        words = "unknown key", f"write {near[0]}" if near else f"remove it; known here are {', '.join(known)}"
    elif kind == "missing":
        words = "the key is missing", "add it"
    elif kind == "literal_error":
        words = "is not one of the choices", f"write {context['expected']}"
    elif kind == "finite_number":
        words = "is not a finite number", "write plain digits"
    elif kind == "string_too_short":
        words = "is empty", "write a name"
    elif bound:
        wanted = f"{_BOUNDS[bound]} {context[bound]:g}"
        words = f"is not {wanted}", f"write a number that is {wanted}"
    else:
        fallback = (detail["msg"], "compare with the file that planner init writes")
        words = _WRONG_TYPE.get(kind.split("_")[0], fallback)
    return words


def _known(keys: Keys) -> set[str]:
    """The keys that a table may have."""
    model: Any = PlanFile
    for key in keys:
        field = model.model_fields.get(str(key)) if isinstance(model, type) and issubclass(model, BaseModel) else None
        model = _table_type(field.annotation) if field else model
    return set(model.model_fields)


def _table_type(annotation: Any) -> Any:
    """The model inside `Model`, `dict[str, Model]` or `tuple[Model, ...]`."""
    inner = [arg for arg in get_args(annotation) if isinstance(arg, type) and issubclass(arg, BaseModel)]
    return inner[-1] if inner else annotation


def _dotted(keys: Keys) -> str:
    return ".".join(str(key) for key in keys)
