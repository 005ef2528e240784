"""Facts: every number in every data file has source, date and kind; entries are validated; a user's own win."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardware_profiles import provenance
from hardware_profiles.facts import GpuFacts, ModelFacts, gpus, models, read_facts
from hardware_profiles.faults import Faults, InputError
from hardware_profiles.provenance import line_of, orphans, parse_day

ROOT = Path(__file__).parents[1]
DATA_FILES = sorted(
    path
    for folder in ("hardware_profiles", "planner/data")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".toml", ".csv", ".json"}
)

GPU = """
[sources.sheet]
title = "a data sheet"
date = "2026-04"
kind = "published"

[gpus.x1]
title = "X1"
vendor = "X"
source = "sheet"
memory_gib = 80
memory_bandwidth_gb_per_s = 2000
bf16_dense_tflops = 300
board_power_w = {power}
link = "none"
link_gb_per_s = 32
link_domain_gpus = 1
pcie_gb_per_s = 32
"""


def errors(text: str) -> str:
    with pytest.raises(InputError) as raised:
        read_facts(text, "gpus.toml", "gpus", GpuFacts)
    return str(raised.value)


@pytest.mark.parametrize("path", DATA_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_number_has_source_date_and_kind(path: Path) -> None:
    """No data file of the project, present or future, holds an orphan number."""
    assert orphans(path) == ()


def test_the_walk_sees_the_data_files() -> None:
    """The walk above is not vacuous: it covers facts, prices and curves."""
    seen = {str(path.relative_to(ROOT)) for path in DATA_FILES}
    assert {"hardware_profiles/gpus.toml", "hardware_profiles/models.toml"} <= seen


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        # a number outside any sourced entry
        ("a.toml", "price = 3\n", ("price: has no source",)),
        # an entry without a source, beside one that has it
        (
            "b.toml",
            '[sources.s]\ntitle = "s"\ndate = "2026"\nkind = "listed"\n[x]\nsource = "s"\nn = 1\n[y]\nn = [1, 2]\n',
            ("x.n: not a date", "y.n: has no source"),
        ),
        # a source that nobody describes, an unknown kind, a number hidden in a nested table
        (
            "c.toml",
            (
                '[sources.s]\ntitle = "s"\ndate = "2026-01"\nkind = "guess"\n[x]\nsource = "t"\nn = 1\n'
                '[y]\nsource = "s"\nz = { low = 1, high = 2, value = 3 }\n'
            ),
            (
                "x.n: source 't' is not under [sources] (free text needs `date` and `kind` beside it)",
                "y.z.low: kind 'guess' is none of derived, listed, measured, own, published, surveyed, unverified",
                "y.z.high: kind 'guess' is none of derived, listed, measured, own, published, surveyed, unverified",
                "y.z.value: kind 'guess' is none of derived, listed, measured, own, published, surveyed, unverified",
            ),
        ),
        # a source without a date
        ("d.toml", '[sources.s]\ntitle = "s"\nkind = "listed"\n', ("sources.s: no date",)),
        # rows without source, without date, with an unknown kind
        (
            "e.csv",
            "price,source,kind,as_of\n1,,listed,2026-01-01\n2,s,listed,\n3,s,guess,undated\n",
            ("line 2: no source", "line 3: no as_of", "line 4: no known kind"),
        ),
        # a published curve that names no source, a measured one without its time
        ("f.json", '{"kind": "published", "conditions": {"source": "s"}}', ("conditions.source_date: none",)),
        ("g.json", '{"kind": "measured", "conditions": {}}', ("conditions.measured_at: none",)),
        ("h.json", '{"n": 1}', ("kind: none", "conditions.source: none", "conditions.source_date: none")),
    ],
)
def test_an_orphan_number_is_found(tmp_path: Path, name: str, text: str, told: tuple[str, ...]) -> None:
    """The walk does fail on a deliberately orphaned number, whatever the file's form."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert orphans(path) == told


def test_a_file_of_unknown_form_is_no_free_pass(tmp_path: Path) -> None:
    """A form that no rule knows is refused rather than passed."""
    with pytest.raises(ValueError, match=r"no rule says how a \.yaml file names its sources"):
        orphans(tmp_path / "x.yaml")


def test_the_gpus_that_were_promised_are_there() -> None:
    """Every GPU family the README speaks of has an entry."""
    promised = {
        "a100-40gb-sxm", "a100-40gb-pcie", "a100-80gb-sxm", "a100-80gb-pcie", "h100-80gb-pcie", "h100-80gb-sxm",
        "h200-141gb-sxm", "b200-180gb-sxm", "l4-24gb", "l40s-48gb", "a10g-24gb", "rtx-pro-6000-96gb", "mi300x-192gb",
    }  # fmt: skip
    assert promised <= set(gpus())


def test_the_models_that_were_promised_are_there() -> None:
    """Every model family the README speaks of has an entry."""
    promised = {
        "llama-3.2-1b", "llama-3.2-3b", "llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b", "qwen2.5-7b", "qwen3-32b",
        "mistral-7b-v0.3", "mixtral-8x7b", "gpt-oss-20b", "gpt-oss-120b", "deepseek-v3", "gemma-3-27b", "minimax-m2.5",
    }  # fmt: skip
    assert promised <= set(models())


def test_known_figures() -> None:
    """A few figures that anybody can look up come out as they are, and what is from memory says so."""
    h100, a10g = gpus()["h100-80gb-sxm"], gpus()["a10g-24gb"]
    assert (h100.memory_gib, h100.memory_bandwidth_gb_per_s, h100.bf16_dense_tflops) == (80, 3350, 989)
    assert h100.usable_memory_gib == pytest.approx(81559 / 1024, abs=0.005)
    assert gpus()["a100-80gb-sxm"].fp8_dense_tflops is None
    assert a10g.evidence["bf16_dense_tflops"].kind == "unverified"
    assert a10g.evidence["memory_gib"].kind == "published"
    assert models()["llama-3.1-8b"].kv_bytes_per_token_bf16 == 131072


def test_driver_total_never_exceeds_what_is_installed() -> None:
    """Memory units are not mixed up: the driver's GiB stay within the installed GiB, and above 93 % of them."""
    for gpu in gpus().values():
        if gpu.driver_memory_gib is not None:
            assert 0.93 * gpu.memory_gib < gpu.driver_memory_gib <= gpu.memory_gib, gpu.name


@pytest.mark.parametrize("model", models().values(), ids=lambda model: model.name)
def test_parameters_follow_from_the_architecture(model: ModelFacts) -> None:
    """Stored totals agree with the architecture (dense models: recomputed here) and with the published totals."""
    if model.experts is None and model.attention == "gqa":
        head_dim = model.head_dim or 0
        attention = 2 * model.hidden * head_dim * (model.heads + model.kv_heads)
        embeddings = model.vocab * model.hidden * (1 if model.tied_embeddings else 2)
        total = model.layers * (attention + 3 * model.hidden * model.intermediate) + embeddings
        assert total / 1e9 == pytest.approx(model.parameters_billion, rel=1e-3)
    if model.published_parameters_billion and model.name != "kimi-k2":
        assert model.parameters_billion == pytest.approx(model.published_parameters_billion, rel=0.012)


def test_a_users_folder_wins_and_adds(tmp_path: Path) -> None:
    """A user's entry replaces the shipped one of the same name; others stay; evidence is the user's."""
    text = GPU.format(power=123) + GPU.format(power=456).replace("gpus.x1", "gpus.l4-24gb").partition("\n\n")[2]
    (tmp_path / "gpus.toml").write_text(text)
    found = gpus(tmp_path)
    assert found["x1"].board_power_w == 123
    assert found["l4-24gb"].board_power_w == 456
    assert found["h200-141gb-sxm"] == gpus()["h200-141gb-sxm"]
    assert found["x1"].evidence["board_power_w"].date == "2026-04"


def test_two_sources_are_as_old_as_the_older() -> None:
    """A number that rests on two sources carries the older date and both titles."""
    text = GPU.format(power='{ value = 1, source = ["sheet", "older"], kind = "derived", note = "mean of both" }')
    text += '\n[sources.older]\ntitle = "an older sheet"\ndate = "2024-12-30"\nkind = "published"\n'
    evidence = read_facts(text, "gpus.toml", "gpus", GpuFacts)["x1"].evidence["board_power_w"]
    assert (evidence.source, evidence.date, evidence.kind) == ("a data sheet; an older sheet", "2024-12-30", "derived")


def test_a_figure_of_ones_own_needs_no_source_table() -> None:
    """Free text as source is fine when date and kind stand beside it."""
    text = GPU.format(power='{ value = 1, source = "our meter", date = "2026-11-02", kind = "own" }')
    evidence = read_facts(text, "gpus.toml", "gpus", GpuFacts)["x1"].evidence["board_power_w"]
    assert (evidence.source, evidence.date, evidence.kind) == ("our meter", "2026-11-02", "own")


def test_every_fault_is_told_at_once() -> None:
    """A wrong value, an unknown field, a missing field, a missing source and a stray table are one error."""
    text = GPU.format(power=-5).replace('source = "sheet"\n', "speed = 3\n").replace("pcie_gb_per_s = 32\n", "")
    found = errors(text + "\n[models.y]\nlayers = 1\n")
    assert found.splitlines() == [
        "gpus.toml:19: column 'models': unknown table. Remedy: entries go under [gpus.<name>].",
        *(
            f"gpus.toml:{line}: column 'gpus.x1.{field}': has no source. Remedy: give source, date and kind."
            for line, field in (
                (10, "speed"),
                (11, "memory_gib"),
                (12, "memory_bandwidth_gb_per_s"),
                (13, "bf16_dense_tflops"),
                (14, "board_power_w"),
                (16, "link_gb_per_s"),
                (17, "link_domain_gpus"),
            )
        ),
        (
            "gpus.toml:14: column 'gpus.x1.board_power_w', value '-5': Input should be greater than 0. "
            "Remedy: compare with the shipped file's entries."
        ),
        "gpus.toml:7: column 'gpus.x1.pcie_gb_per_s': Field required. Remedy: compare with the shipped file's entries.",
        (
            "gpus.toml:10: column 'gpus.x1.speed', value '3': Extra inputs are not permitted. "
            "Remedy: compare with the shipped file's entries."
        ),
    ]


def test_broken_toml_names_its_line() -> None:
    """A syntax error is one fault with its line."""
    assert errors("[gpus.x]\nmemory = = 3\n") == ("gpus.toml:2: not TOML: Invalid value. Remedy: mend the line.")


def test_a_file_in_another_encoding_is_told(tmp_path: Path) -> None:
    """Latin-1 bytes are a fault, not a traceback."""
    (tmp_path / "models.toml").write_bytes(b'title = "caf\xe9"\n')
    with pytest.raises(InputError) as raised:
        models(tmp_path)
    assert str(raised.value) == (f"{tmp_path / 'models.toml'}: is not UTF-8 (byte 12). Remedy: save the file as UTF-8.")


def test_a_cache_size_that_contradicts_the_layers_is_refused() -> None:
    """kv_bytes_per_token_bf16 is checked against layers, heads and head size."""
    llama = models()["llama-3.1-8b"].model_dump()
    with pytest.raises(ValueError, match="kv_bytes_per_token_bf16 is not 2 bytes x layers x elements per layer"):
        ModelFacts.model_validate({**llama, "kv_bytes_per_token_bf16": 1000})
    with pytest.raises(ValueError, match="sliding_window_tokens and sliding_window_layers come together"):
        ModelFacts.model_validate({**llama, "sliding_window_tokens": 4096})


@pytest.mark.parametrize("text", ["2026", "2026-13", "yesterday", "2026-02-30", "26-01-01", ""])
def test_a_day_that_is_none_is_refused(text: str) -> None:
    """Only YYYY-MM, YYYY-MM-DD and `undated` are dates."""
    with pytest.raises(ValueError):  # noqa: PT011  # the calendar's own message differs by Python version
        parse_day(text)


def test_line_of_finds_keys_and_headers() -> None:
    """Lines are those of the key; where it is absent, of its table; None where there is no such table."""
    text = '[a]\nx = 1\n[ "b.c" ]  # why\nx = 2\n'
    assert [line_of(text, "a", "x"), line_of(text, "b.c", "x"), line_of(text, "b.c", "y"), line_of(text, "d")] == [
        2, 4, 3, None,
    ]  # fmt: skip


def test_kinds_are_those_of_the_type() -> None:
    """The set that data files are checked against is the type's own list."""
    assert {"measured", "listed", "derived", "unverified", "own"} <= provenance.KINDS
    faults = Faults("x")
    assert provenance.read_toml("a = 1", faults) == {"a": 1}
    assert not faults.found
