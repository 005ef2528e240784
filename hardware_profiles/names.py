"""What people type -> one entry, with a note where we chose for them; or an error that lists the near names.

GPUs are compared as sets of words, whatever their order (`A100-80GB-SXM`, `a100 sxm4 80g`, `NVIDIA A100-SXM4-80GB`): an
entry fits when it has every word that was typed and its chip is among them. Where several fit, the first in `gpus.toml`
is taken and the note says which others there are (`a100` is the 80 GB SXM). A word that no entry has (`NVL`, `MIG`,
`workstation`) fits nothing: a part we have no facts about is never taken for one that we have. Models are compared
without their organisation (`meta-llama/`), separators and the endings that do not change the architecture (`-Instruct`,
`-FP8`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from hardware_profiles.facts import GpuFacts, ModelFacts
from hardware_profiles.faults import Fault, InputError

CPU = "cpu"
"""A GPU name that stands for none: demonstrations run vLLM on the processor."""

_FILLER = frozenset(
    {"nvidia", "amd", "instinct", "tesla", "geforce", "gpu", "hbm2", "hbm2e", "hbm3", "hbm3e", "oam"}
    | {"blackwell", "hopper", "ampere", "server", "edition", "tensor", "core"}
)
_SAME_ARCHITECTURE = ("instruct", "chat", "it", "hf", "base", "thinking", "turbo", "2507", "dynamic", "kv")
_PRECISIONS = ("fp8", "bf16", "fp16", "nvfp4", "mxfp4", "fp4", "awq", "gptq", "int4", "int8", "w4a16", "w8a8", "bnb")


def resolve_gpu(text: str, facts: Mapping[str, GpuFacts]) -> tuple[GpuFacts, str | None]:
    """The one entry meant by `text` and, where we chose among several, a note; raises `InputError` with near names."""
    wanted = text.strip()
    if wanted.lower() in facts:
        return facts[wanted.lower()], None
    by_driver = [gpu for gpu in facts.values() if wanted.casefold() in (name.casefold() for name in gpu.driver_names)]
    words = _gpu_words(wanted)
    fitting = by_driver or [gpu for gpu in facts.values() if _chip(gpu) <= words <= _gpu_words(gpu.name)]
    if not fitting:
        sharing = [gpu.name for gpu in facts.values() if _chip(gpu) & words]
        raise _unknown("GPU", text, sharing or _near(text, facts), facts)
    chosen, *others = fitting
    if not others:
        return chosen, None
    return chosen, f"{text!r} is taken as {chosen.name}; there are also {', '.join(gpu.name for gpu in others)}"


def gpu_name(text: str, facts: Mapping[str, GpuFacts]) -> tuple[str, str | None]:
    """As `resolve_gpu`, the name only; `cpu` is allowed and has no facts."""
    if text.strip().lower() == CPU:
        return CPU, None
    gpu, note = resolve_gpu(text, facts)
    return gpu.name, note


def driver_matches(driver_name: str, gpu: str, facts: Mapping[str, GpuFacts]) -> bool:
    """Whether the name that the driver reports is the GPU that our name `gpu` means; False where that is not certain.

    A name listed in `driver_names` decides. Otherwise the driver's words must fit this entry and no other one.
    """
    try:
        entry, note = resolve_gpu(driver_name, facts)
    except InputError:
        return False
    return note is None and entry.name == gpu


def resolve_model(text: str, facts: Mapping[str, ModelFacts]) -> tuple[ModelFacts, str | None]:
    """The one model meant by `text` and, where it stands in for another or a precision was dropped, a note."""
    if text in facts:
        return facts[text], None
    core, precision = _model_core(text)
    dropped = f"{precision} in {text!r} names a precision, which is stated apart from the model" if precision else None
    for model in facts.values():
        if any(_squeezed(name) == core for name in (model.name, model.title, *model.aliases)):
            return model, dropped
    for model in facts.values():
        for name, note in model.stand_ins.items():
            if _squeezed(name) == core:
                notes = (f"{text!r} is taken as {model.name}: {note}", dropped)
                return model, "; ".join(part for part in notes if part)
    names = [name for model in facts.values() for name in (model.name, *model.stand_ins)]
    raise _unknown("model", text, _near(text.rsplit("/", 1)[-1], names), facts)


def _near(text: str, names: Iterable[str]) -> list[str]:
    return get_close_matches(text.lower(), list(names), n=5, cutoff=0.5)


def _unknown(what: str, text: str, near: Iterable[str], facts: Iterable[str]) -> InputError:
    told = f"near names are {', '.join(near)}" if near else f"known names are {', '.join(facts)}"
    add = "or add it to gpus.toml" if what == "GPU" else "or add it to models.toml"
    return InputError(Fault(f"unknown {what}", f"{told}; {add} in a folder given with --profiles", value=text))


def _gpu_words(text: str) -> frozenset[str]:
    spread = re.sub(r"(?<=[a-z0-9])(sxm|pcie)", r" \1", text.lower())
    spread = re.sub(r"\brtx(?=\d)", "rtx ", spread)
    words = re.findall(r"[a-z0-9]+", spread)
    return frozenset(_gpu_word(word) for word in words) - _FILLER


def _gpu_word(word: str) -> str:
    if re.fullmatch(r"(sxm|pcie)\d", word):
        return word[:-1]
    if re.fullmatch(r"\d+g(i?b)?", word):
        return re.sub(r"\D", "", word) + "gb"
    return word


def _chip(gpu: GpuFacts) -> frozenset[str]:
    """The words that cannot be left out, all but memory and form: `rtx pro 6000` (an RTX 6000 is another part)."""
    return frozenset(word for word in _gpu_words(gpu.name) if not re.fullmatch(r"\d+gb|sxm|pcie|nvl72", word))


def _model_core(text: str) -> tuple[str, str | None]:
    """The squeezed name without organisation and endings, and the precision among the endings."""
    name = re.sub(r"[\s_:]+", "-", text.strip().rsplit("/", 1)[-1].lower())
    name = re.sub(r"^(meta|nvidia)-(?=llama)", "", name)
    name = re.sub(r"-(instruct|chat)(?=-)", "", name)
    precision = None
    while True:
        head, _, ending = name.rpartition("-")
        if head and ending in _PRECISIONS:
            precision = precision or ending
        elif not (head and ending in _SAME_ARCHITECTURE):
            return _squeezed(name), precision
        name = head


def _squeezed(name: str) -> str:
    return re.sub(r"[^a-z0-9.]", "", name.lower())
