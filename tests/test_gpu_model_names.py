"""Names people type resolve to one entry, or the error lists the near ones."""

from __future__ import annotations

import pytest

from hardware_profiles.facts import gpus, models
from hardware_profiles.faults import InputError
from hardware_profiles.names import driver_matches, gpu_name, resolve_gpu, resolve_model

GPUS = gpus()
MODELS = models()


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        # our own names, in any case and with blanks around
        ("h100-80gb-sxm", "h100-80gb-sxm"),
        (" H100-80GB-SXM ", "h100-80gb-sxm"),
        # words in any order, any separator
        ("A100-80GB-SXM", "a100-80gb-sxm"),
        ("a100 sxm4 80g", "a100-80gb-sxm"),
        ("A100-PCIE-40GB", "a100-40gb-pcie"),
        ("h200_sxm", "h200-141gb-sxm"),
        ("h100sxm", "h100-80gb-sxm"),
        ("h200", "h200-141gb-sxm"),
        ("l4", "l4-24gb"),
        ("L40S", "l40s-48gb"),
        ("a10", "a10-24gb"),
        ("A10G", "a10g-24gb"),
        ("rtx4090", "rtx-4090-24gb"),
        ("RTX PRO 6000", "rtx-pro-6000-96gb"),
        ("MI300X", "mi300x-192gb"),
        ("GB200-NVL72", "gb200-186gb-nvl72"),
        # what drivers report: NVML's names decide, though `H100 80GB` alone would be ambiguous
        ("NVIDIA H100 80GB HBM3", "h100-80gb-sxm"),
        ("NVIDIA H100 PCIe", "h100-80gb-pcie"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb-sxm"),
        ("NVIDIA A100 80GB PCIe", "a100-80gb-pcie"),
        ("NVIDIA H200", "h200-141gb-sxm"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000-96gb"),
    ],
)
def test_a_gpu_name_means_one_entry(typed: str, name: str) -> None:
    """Unambiguous names resolve without a note."""
    entry, note = resolve_gpu(typed, GPUS)
    assert (entry.name, note) == (name, None)


@pytest.mark.parametrize(
    ("typed", "name", "others"),
    [
        ("a100", "a100-80gb-sxm", "a100-80gb-pcie, a100-40gb-sxm, a100-40gb-pcie"),
        ("A100-80GB", "a100-80gb-sxm", "a100-80gb-pcie"),
        ("a100-pcie", "a100-80gb-pcie", "a100-40gb-pcie"),
        ("h100", "h100-80gb-sxm", "h100-80gb-pcie"),
        ("NVIDIA H100", "h100-80gb-sxm", "h100-80gb-pcie"),
    ],
)
def test_a_choice_is_said(typed: str, name: str, others: str) -> None:
    """Where a name fits several parts, the first of the family is taken and the others are named."""
    entry, note = resolve_gpu(typed, GPUS)
    assert entry.name == name
    assert note == f"{typed!r} is taken as {name}; there are also {others}"


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        ("h1000", "h100-80gb-sxm, h100-80gb-pcie"),
        # parts that exist but that we have no facts about are not taken for their cousins
        ("NVIDIA H100 NVL", "h100-80gb-sxm, h100-80gb-pcie"),
        ("RTX 6000 Ada", "rtx-4090-24gb, rtx-5090-32gb, rtx-pro-6000-96gb"),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "a100-80gb-sxm, a100-80gb-pcie, a100-40gb-sxm, a100-40gb-pcie"),
        ("l40", "l40s-48gb"),
    ],
)
def test_an_unknown_gpu_lists_the_near_ones(typed: str, near: str) -> None:
    """The error names the value and the near names, exactly."""
    with pytest.raises(InputError) as raised:
        resolve_gpu(typed, GPUS)
    assert str(raised.value) == (
        f"value {typed!r}: unknown GPU. Remedy: near names are {near}; "
        "or add it to gpus.toml in a folder given with --profiles."
    )


@pytest.mark.parametrize("typed", ["", "nvidia", "pcie", "../../x", "🙂"])
def test_nothing_near_lists_all(typed: str) -> None:
    """Words that name no chip fit nothing; the error then lists every known name."""
    with pytest.raises(InputError) as raised:
        resolve_gpu(typed, GPUS)
    assert f"Remedy: known names are {', '.join(GPUS)}; or add it" in str(raised.value)


def test_cpu_is_a_name_without_facts() -> None:
    """`cpu` is allowed where only a name is needed, and nowhere else."""
    assert gpu_name("CPU", GPUS) == ("cpu", None)
    assert gpu_name("h200", GPUS) == ("h200-141gb-sxm", None)
    with pytest.raises(InputError, match="unknown GPU"):
        resolve_gpu("cpu", GPUS)


@pytest.mark.parametrize(
    ("driver", "gpu", "same"),
    [
        ("NVIDIA H200", "h200-141gb-sxm", True),
        ("NVIDIA H100 80GB HBM3", "h100-80gb-sxm", True),
        ("NVIDIA H100 80GB HBM3", "h100-80gb-pcie", False),
        ("NVIDIA A100-SXM4-40GB", "a100-80gb-sxm", False),
        ("A100-SXM4-40GB", "a100-40gb-sxm", True),
        # uncertain or unknown is not a match
        ("NVIDIA A100", "a100-80gb-sxm", False),
        ("NVIDIA H200 NVL", "h200-141gb-sxm", False),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "a100-80gb-sxm", False),
        ("", "h200-141gb-sxm", False),
        ("NVIDIA H200", "cpu", False),
    ],
)
def test_the_driver_decides_what_is_there(driver: str, gpu: str, same: bool) -> None:
    """A driver's name matches our name only when it can mean nothing else."""
    assert driver_matches(driver, gpu, GPUS) is same


def test_every_entry_is_found_by_its_own_names() -> None:
    """No entry hides another: name, title and driver names of each resolve to it alone."""
    for gpu in GPUS.values():
        for name in (gpu.name, *gpu.driver_names):
            assert resolve_gpu(name, GPUS) == (gpu, None), name
    for model in MODELS.values():
        for name in (model.name, model.title, *model.aliases, f"org/{model.title}-Instruct"):
            assert resolve_model(name, MODELS) == (model, None), name


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("llama-3.1-8b", "llama-3.1-8b"),
        ("Llama-3.1-8B", "llama-3.1-8b"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
        ("Meta-Llama-3.1-8B-Instruct-Turbo", "llama-3.1-8b"),
        ("Qwen/Qwen3-32B", "qwen3-32b"),
        ("qwen3 32b", "qwen3-32b"),
        ("Qwen3-235B-A22B-Instruct-2507", "qwen3-235b-a22b"),
        ("Mistral-7B-Instruct-v0.3", "mistral-7b-v0.3"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"),
        ("google/gemma-3-27b-it", "gemma-3-27b"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("MiniMaxAI/MiniMax-M2.5", "minimax-m2.5"),
        ("deepseek-ai/DeepSeek-V3-0324", "deepseek-v3"),
    ],
)
def test_a_model_name_means_one_entry(typed: str, name: str) -> None:
    """Organisation, case, separators and endings such as -Instruct do not matter."""
    entry, note = resolve_model(typed, MODELS)
    assert (entry.name, note) == (name, None)


@pytest.mark.parametrize(
    ("typed", "name", "note"),
    [
        (
            "llama-3-8b",
            "llama-3.1-8b",
            (
                "'llama-3-8b' is taken as llama-3.1-8b: Llama 3 8B has the same architecture and size; "
                "its own context is 8192 tokens"
            ),
        ),
        (
            "nvidia/Llama-3.1-8B-Instruct-FP8",
            "llama-3.1-8b",
            "fp8 in 'nvidia/Llama-3.1-8B-Instruct-FP8' names a precision, which is stated apart from the model",
        ),
        (
            "Llama-3.3-70B-Instruct-AWQ",
            "llama-3.1-70b",
            (
                "'Llama-3.3-70B-Instruct-AWQ' is taken as llama-3.1-70b: Llama 3.3 70B has the same architecture and "
                "size; its weights differ; awq in 'Llama-3.3-70B-Instruct-AWQ' names a precision, which is stated "
                "apart from the model"
            ),
        ),
    ],
)
def test_a_stand_in_or_a_dropped_precision_is_said(typed: str, name: str, note: str) -> None:
    """Where the entry is not quite what was typed, the note says in what way."""
    entry, told = resolve_model(typed, MODELS)
    assert (entry.name, told) == (name, note)


def test_an_unknown_model_lists_the_near_ones() -> None:
    """The error names the value and the near names, exactly; with none near, all names."""
    with pytest.raises(InputError) as raised:
        resolve_model("meta-llama/Llama-8B", MODELS)
    assert str(raised.value) == (
        "value 'meta-llama/Llama-8B': unknown model. Remedy: near names are "
        "llama-3-8b, llama-3.1-8b, llama-2-7b, llama-3-70b, llama-2-70b; "
        "or add it to models.toml in a folder given with --profiles."
    )
    with pytest.raises(InputError, match=r"known names are llama-3\.1-8b, llama-3\.1-70b"):
        resolve_model("", MODELS)


def test_no_two_models_share_a_name() -> None:
    """Squeezed names, aliases and stand-ins are each one model's."""
    owners: dict[str, str] = {}
    for model in MODELS.values():
        for name in {model.name, *model.aliases, *model.stand_ins}:
            assert owners.setdefault("".join(c for c in name if c.isalnum() or c == "."), model.name) == model.name
