"""The starter and the example are sound, complete and what they say they are; checked inputs carry one name each."""

from __future__ import annotations

import re
import runpy
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from hardware_profiles.faults import InputError
from planner.forecast import read_forecast
from planner.inputs import check_inputs
from planner.planfile import PlanFile, read_planfile
from planner.plankeys import NOT_YET
from planner.starter import write_starter

EXAMPLES = Path(__file__).parents[1] / "examples"
STARTER = resources.files("planner") / "starter"


def keys(model: type[BaseModel], path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Every key of plan.toml as the schema has it; `*` for any name."""
    found: set[tuple[str, ...]] = set()
    for name, field in model.model_fields.items():
        inner, here = table_in(field.annotation), (*path, name)
        if inner is None:
            found.add(here)
        else:
            found |= keys(inner, (*here, "*") if "dict" in str(field.annotation) else here)
    return found


def table_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((inner for part in get_args(annotation) if (inner := table_in(part))), None)


def test_the_starter_is_sound(tmp_path: Path) -> None:
    """What `planner init` writes passes `planner check` as it is, and needs nothing to be assumed."""
    written = write_starter(tmp_path / "new" / "folder")
    assert [path.name for path in written] == ["forecast.csv", "plan.toml"]
    checked = check_inputs(written[0], cwd=tmp_path)
    assert checked.forecast.workloads == ("chat",)
    assert checked.forecast.hours == 168
    assert checked.forecast.notes == ()
    assert checked.plan.source is not None
    assert checked.plan.source.path == written[1]
    assert not [note for note in checked.notes if "assumed" in note or "no plan.toml" in note]


def test_the_starter_states_the_defaults(tmp_path: Path) -> None:
    """Keys that are not commented out stand at their defaults, so that the file says what would hold without it."""
    plan = read_planfile(write_starter(tmp_path)[1]).model_dump()
    plan["workloads"] = {}
    assert plan["horizon"].pop("months") == 12
    default = PlanFile().model_dump()
    del default["horizon"]["months"]
    assert plan == default


def test_the_starter_explains_every_key() -> None:
    """Each key that plan.toml may have stands in the starter, after a comment; none that the planner refuses does."""
    text = (STARTER / "plan.toml").read_text(encoding="utf-8")
    lines = text.splitlines()
    stated = set(re.findall(r"\b([a-z0-9_]+) = ", text))
    accepted = {path for path in keys(PlanFile) if ".".join(path) not in NOT_YET}
    assert {path[-1] for path in accepted} <= stated
    refused = {pattern.rsplit(".")[-1] for pattern in NOT_YET} - {path[-1] for path in accepted}
    assert not refused & stated
    for number, line in enumerate(lines):
        if re.match(r"(# )?[a-z0-9_]+ = ", line):
            above = next(text for text in reversed(lines[:number]) if not re.match(r"(# )?[a-z0-9_\[]+.* = ", text))
            assert above.startswith("# ") or re.match(r"(# )?\[+\w+\]+$", above), line


def test_every_line_of_the_starter_can_be_used(tmp_path: Path) -> None:
    """With every commented key switched on (of two that exclude each other, one) the file is read without a fault."""
    text = (STARTER / "plan.toml").read_text(encoding="utf-8")
    used = re.sub(r"^# (?=[a-z0-9_]+ = |\[)", "", text, flags=re.MULTILINE)
    used = re.sub(r"^months = .*\n", "", used, flags=re.MULTILINE)
    used = used.replace('tail = "full"', 'tail = "buyout"')
    used = used.replace("slo = { ttft_s = 2.0, tpot_s = 0.03, attainment = 0.95 }\n", "")
    path = tmp_path / "plan.toml"
    path.write_text(used, encoding="utf-8")
    plan = read_planfile(path)
    assert (plan.horizon.hours, plan.horizon.buyout_share) == (8760, 0.5)
    assert plan.workloads["chat"].slo.e2e_s == 30
    assert plan.fleet[0].until is not None
    assert plan.prices.ownership == tmp_path / "ownership.toml"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A file that is there stays, and the other one is not written either."""
    (tmp_path / "plan.toml").write_text("mine")
    with pytest.raises(InputError) as caught:
        write_starter(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'plan.toml'}: is there already and is not overwritten. "
        "Remedy: give another folder, or remove the file."
    )
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"plan.toml": "mine"}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the way of the folder is a fault, not a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError) as caught:
        write_starter(tmp_path / "file" / "folder")
    assert str(caught.value) == (
        f"{tmp_path / 'file' / 'folder' / 'forecast.csv'}: cannot be written (Not a directory). "
        "Remedy: give a folder that you may write to."
    )


def test_the_example_is_what_its_generator_makes(tmp_path: Path) -> None:
    """examples/forecast.csv is made by make_forecast.py and has the published figures that its docstring states."""
    made = runpy.run_path(str(EXAMPLES / "make_forecast.py"))["make_forecast"]()
    path = EXAMPLES / "forecast.csv"
    assert path.read_text(encoding="utf-8") == made
    forecast = read_forecast(path)
    assert (forecast.workloads, forecast.hours) == (("assistant", "support-chat"), 672)
    mean = forecast.requests.mean(axis=0)
    assert forecast.requests.max(axis=0) / mean == pytest.approx(1.9, rel=1e-4)
    assert forecast.input_tokens.sum(axis=0) / forecast.requests.sum(axis=0) == pytest.approx([924, 1155], rel=1e-4)
    assert forecast.output_tokens.sum(axis=0) / forecast.requests.sum(axis=0) == pytest.approx([142, 211], rel=1e-4)
    assert forecast.requests.sum(axis=1).max() == pytest.approx(450_000, rel=1e-3)


def test_a_forecast_alone_is_checked_and_what_is_assumed_is_said(tmp_path: Path) -> None:
    """Without a plan.toml the default model and SLO hold, and the notes say so in words for the first screen."""
    alone = tmp_path / "forecast.csv"
    alone.write_bytes((EXAMPLES / "forecast.csv").read_bytes())
    checked = check_inputs(alone, cwd=tmp_path)
    assert [spec.model for spec in checked.workloads] == ["qwen3-32b", "qwen3-32b"]
    assert checked.notes[:2] == (
        "There is no plan.toml: its defaults hold (`planner init` writes one with every key explained).",
        (
            "Nothing else is stated for assistant, support-chat: qwen3-32b at TTFT <= 2 s, TPOT <= 0.03 s for 95% of "
            "requests is assumed."
        ),
    )
    assert {curve.model for curve in checked.curves} >= {"qwen3-32b"}
    assert checked.book.endpoints


def test_names_become_the_ones_that_curves_and_prices_use(tmp_path: Path) -> None:
    """Models and GPUs as people type them are resolved, also in rules and fleet, and a choice is told."""
    forecast, plan = write_starter(tmp_path)
    plan.write_text(
        "[workloads.chat]\nmodel = 'meta-llama/Llama-3.1-70B-Instruct'\n"
        "[policy]\nforbid_gpus = ['H200']\n[[fleet]]\ngpu = 'h100'\ngpus = 2\n"
    )
    checked = check_inputs(forecast, cwd=tmp_path)
    assert checked.workloads[0].model == "llama-3.1-70b"
    assert checked.plan.policy.forbid_gpus == ("h200-141gb-sxm",)
    assert checked.plan.fleet[0].gpu == "h100-80gb-sxm"
    assert "'h100' is taken as h100-80gb-sxm; there are also h100-80gb-pcie." in checked.notes
    assert checked.plan.source is not None, "later faults still know their lines"
