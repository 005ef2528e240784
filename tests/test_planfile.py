"""plan.toml: defaults, what is accepted, where a key stands; single faults are in `test_bad_inputs.py`."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest

from hardware_profiles.faults import InputError
from hardware_profiles.slo import Slo
from planner.planfile import DEFAULT_MODEL, DEFAULT_SLO, PlanFile, read_planfile, workloads_for
from planner.plankeys import NOT_YET
from planner.toml_lines import key_lines, line_at

FULL = """\
[workloads.chat]
model = "llama-3.1-70b"
residency = ["eu"]
slo = { ttft_s = 1, e2e_s = 20.5, attainment = 0.99 }
owner = "support"
unserved_usd_per_request = 0.05

[workloads."team a"]

[horizon]
months = 24
discount_rate_per_year = 0.08
tail = "prorated"

[site]
power_usd_per_kwh = 0.11
pue = 1.3
colocation_usd_per_kw_month = 184
staff_usd_per_month = 9000

[policy]
capacity = "low"
forbid = ["spot", "api"]
forbid_providers = ["x"]
forbid_gpus = ["l4"]
max_owned_gpus = 16

[[fleet]]
gpu = "h100"
gpus = 8

[[fleet]]
gpu = "h200"
gpus = 4
kind = "reserved"
until = 2027-12-31

[prices]
offers = "offers.csv"
endpoints = "/abs/endpoints.csv"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_key_is_read(tmp_path: Path) -> None:
    """What is stated arrives; price files are found relative to plan.toml; the digest is of the file's bytes."""
    plan = read_planfile(write(tmp_path, FULL))
    chat = plan.workloads["chat"]
    assert (chat.model, chat.residency, chat.owner) == ("llama-3.1-70b", ("eu",), "support")
    assert chat.unserved_usd_per_request == 0.05
    assert (plan.horizon.months, plan.horizon.discount_rate_per_year, plan.horizon.tail) == (24, 0.08, "prorated")
    assert (plan.site.power_usd_per_kwh, plan.site.pue, plan.site.staff_usd_per_month) == (0.11, 1.3, 9000)
    assert (plan.policy.capacity, plan.policy.forbid, plan.policy.max_owned_gpus) == ("low", ("spot", "api"), 16)
    assert [(f.gpu, f.gpus, f.kind, str(f.until)) for f in plan.fleet] == [
        ("h100", 8, "owned", "None"),
        ("h200", 4, "reserved", "2027-12-31"),
    ]
    assert plan.prices.offers == tmp_path / "offers.csv"
    assert plan.prices.endpoints == Path("/abs/endpoints.csv")
    assert plan.prices.ownership is None
    assert plan.source is not None
    assert plan.source.sha256 == hashlib.sha256(FULL.encode()).hexdigest()


def test_a_stated_slo_is_complete(tmp_path: Path) -> None:
    """A limit that a stated SLO leaves out does not limit; without an SLO the default rules."""
    plan = read_planfile(write(tmp_path, FULL))
    assert plan.workloads["chat"].slo == Slo(ttft_s=1.0, tpot_s=None, e2e_s=20.5, attainment=0.99)
    assert plan.workloads["team a"].slo == DEFAULT_SLO == Slo(ttft_s=2.0, tpot_s=0.03, attainment=0.95)


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    """Every key has a default: an empty plan.toml plans as none does."""
    plan = read_planfile(write(tmp_path, ""))
    assert plan.model_dump() == PlanFile().model_dump()
    assert PlanFile().source is None
    assert [w.model for w in workloads_for(plan, ("chat",))] == [DEFAULT_MODEL]


def test_the_model_asked_for_replaces_the_default_only(tmp_path: Path) -> None:
    """`--model` is for workloads whose section names none; it never overrules plan.toml."""
    plan = read_planfile(write(tmp_path, FULL))
    assert [w.model for w in workloads_for(plan, ("other", "chat", "team a"), model="m")] == ["m", "llama-3.1-70b", "m"]


def test_a_section_without_rows_is_a_fault(tmp_path: Path) -> None:
    """A section whose workload the forecast lacks is a misspelling, told with its line and the near name."""
    path = write(tmp_path, FULL)
    with pytest.raises(InputError) as caught:
        workloads_for(read_planfile(path), ("chat", "team-a"))
    assert str(caught.value) == (
        f"{path}:8: column 'workloads.team a': the forecast has no such workload. Remedy: rename it to 'team-a'."
    )


def test_a_fault_found_later_knows_its_line(tmp_path: Path) -> None:
    """Whoever finds that a value cannot be used can point at it; without a file there is no place to point at."""
    path = write(tmp_path, FULL)
    plan = read_planfile(path)
    assert str(plan.fault("is not known", "write h100", "fleet", 1, "gpu", value="h200")) == (
        f"{path}:33: column 'fleet.1.gpu', value 'h200': is not known. Remedy: write h100."
    )
    assert str(PlanFile().fault("is not known", "write h100", "policy")) == (
        "column 'policy': is not known. Remedy: write h100."
    )


@pytest.mark.parametrize("pattern", NOT_YET)
def test_what_is_not_built_is_said_and_not_ignored(tmp_path: Path, pattern: str) -> None:
    """A key that the planner does not act on yet is refused with its line and what to do instead."""
    keys = pattern.replace("stock.*", "stock.0").replace("*", "chat").split(".")
    path = write(tmp_path, f"[{'.'.join(keys[:-1])}]\n{keys[-1]} = 1\n" if keys[1:] else f"\n{keys[0]} = 1\n")
    if keys[0] == "stock":
        path = write(tmp_path, f"[[stock]]\n{keys[-1]} = 1\nkind = 'buy'\ngpus = 1\n")
    with pytest.raises(InputError) as caught:
        read_planfile(path)
    assert str(caught.value) == (
        f"{path}:2: column '{'.'.join(keys)}': is not supported yet. Remedy: {NOT_YET[pattern]}."
    )


def test_lines_of_keys() -> None:
    """Quoted and dotted keys, arrays of tables, inline tables, comments and text that only looks like keys."""
    text = """\
# [not]
a.b = 1
[t."x y"]   # a header
'q' = { inside = 1 }
long = [
  1,
]
words = \"\"\"
fake = 1
[fake]
\"\"\"
real = 2
[[f]]
n = 1
[[f]]
n = 2
[f.sub]
m = 3
"""
    tomllib.loads(text)
    lines = key_lines(text)
    found = {
        ("a", "b"): 2,
        ("t", "x y"): 3,
        ("t", "x y", "q"): 4,
        ("t", "x y", "q", "inside"): 4,
        ("t", "x y", "long", 0): 5,
        ("t", "x y", "words"): 8,
        ("t", "x y", "real"): 12,
        ("f", 0, "n"): 14,
        ("f", 1): 15,
        ("f", 1, "n"): 16,
        ("f", 1, "sub", "m"): 18,
        ("nowhere", "x"): None,
    }
    assert {keys: line_at(lines, keys) for keys in found} == found
    assert ("fake",) not in lines
    assert ("t", "x y", "fake") not in lines
