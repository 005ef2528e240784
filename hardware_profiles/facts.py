"""Facts about GPUs and models, from `gpus.toml` and `models.toml`, each number with its evidence.

Units: memory in GiB (2**30 bytes) although vendors print "GB", because a part sold as "80 GB" holds 80 GiB (its driver
reports 81,559 MiB); bandwidths and links in decimal GB/s, one direction, per GPU, as data sheets have them; rates
dense, never "with sparsity"; parameters in billions (10**9).

A folder of the user's own (`--profiles DIR`) may hold `gpus.toml` and `models.toml` in the same form: its entries
replace shipped ones of the same name and add new ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, model_validator

from hardware_profiles.curve import Positive, Value
from hardware_profiles.faults import Faults, InputError
from hardware_profiles.provenance import Evidence, line_of, read_toml, split_evidence, validated

Count = Annotated[int, Field(ge=1)]


class GpuFacts(Value):
    """One kind of GPU. `None` is unknown or absent (an A100 has no fp8 rate)."""

    name: str
    """Ours: `h100-80gb-sxm`. The figure in it is the vendor's way of saying the memory, not a unit of ours."""
    title: str
    vendor: str
    memory_gib: Positive
    """Installed."""
    driver_memory_gib: Positive | None = None
    """Total as the driver reports it (ECC and reserved parts taken off)."""
    memory_bandwidth_gb_per_s: Positive
    bf16_dense_tflops: Positive
    fp8_dense_tflops: Positive | None = None
    fp4_dense_tflops: Positive | None = None
    int8_dense_tops: Positive | None = None
    board_power_w: Positive
    link: str
    link_gb_per_s: Positive
    """To its peers, one direction."""
    link_domain_gpus: Count
    """How many GPUs the link joins without a network."""
    pcie_gb_per_s: Positive
    driver_names: tuple[str, ...] = ()
    """What NVML or ROCm calls it."""
    evidence: dict[str, Evidence] = Field(default_factory=dict)

    @property
    def usable_memory_gib(self) -> float:
        """What a server can be given: the driver's figure where known."""
        return self.driver_memory_gib or self.memory_gib


class ModelFacts(Value):
    """One model architecture; fine-tunes share it."""

    name: str
    title: str
    layers: Count
    hidden: Count
    heads: Count
    attention: Literal["gqa", "mla"]
    """gqa: K and V per KV head (MHA is the case kv_heads = heads); mla: one latent vector per layer (DeepSeek)."""
    kv_heads: Count
    head_dim: Count | None = None
    kv_latent_dim: Count | None = None
    """MLA: kv_lora_rank + qk_rope_head_dim elements per layer and token."""
    intermediate: Count
    vocab: Count
    tied_embeddings: bool | None = None
    experts: Count | None = None
    experts_per_token: Count | None = None
    shared_experts: int | None = None
    moe_layers: Count | None = None
    moe_intermediate: Count | None = None
    sliding_window_tokens: Count | None = None
    sliding_window_layers: Count | None = None
    """How many layers keep only the last `sliding_window_tokens`; the others keep everything."""
    max_context_tokens: Count
    parameters_billion: Positive
    active_parameters_billion: Positive
    """Per token; counts both embedding matrices."""
    kv_bytes_per_token_bf16: Positive
    """When every layer keeps the token."""
    published_parameters_billion: Positive | None = None
    published_active_parameters_billion: Positive | None = None
    aliases: tuple[str, ...] = ()
    """Other names of the very same model."""
    stand_ins: dict[str, str] = Field(default_factory=dict)
    """Names of other models with this architecture -> the note a user should read."""
    evidence: dict[str, Evidence] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _kv_agrees(self) -> Self:
        per_layer = self.kv_latent_dim if self.attention == "mla" else 2 * self.kv_heads * (self.head_dim or 0)
        if self.kv_bytes_per_token_bf16 != 2 * self.layers * (per_layer or 0):
            raise ValueError("kv_bytes_per_token_bf16 is not 2 bytes x layers x elements per layer")
        if (self.sliding_window_tokens is None) != (self.sliding_window_layers is None):
            raise ValueError("sliding_window_tokens and sliding_window_layers come together")
        return self


Facts = TypeVar("Facts", GpuFacts, ModelFacts)


@lru_cache(maxsize=8)
def gpus(user_dir: Path | None = None) -> Mapping[str, GpuFacts]:
    """Every known GPU by name, in the file's order (the first of a family is what its short name means)."""
    return _load("gpus.toml", "gpus", GpuFacts, user_dir)


@lru_cache(maxsize=8)
def models(user_dir: Path | None = None) -> Mapping[str, ModelFacts]:
    """Every known model by name."""
    return _load("models.toml", "models", ModelFacts, user_dir)


def _load(file: str, table: str, kind: type[Facts], user_dir: Path | None) -> Mapping[str, Facts]:
    shipped = resources.files("hardware_profiles").joinpath(file).read_text(encoding="utf-8")
    found = read_facts(shipped, f"hardware_profiles/{file}", table, kind)
    if user_dir is not None and (user_dir / file).is_file():
        path = user_dir / file
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            faults = Faults(str(path))
            faults.add(f"is not UTF-8 (byte {error.start})", "save the file as UTF-8")
            raise InputError(*faults.found) from None
        found = {**found, **read_facts(text, str(path), table, kind)}
    return MappingProxyType(found)


def read_facts(text: str, file: str, table: str, kind: type[Facts]) -> dict[str, Facts]:
    """Read and validate the entries `[table.<name>]` of one TOML text; raises `InputError` with every fault."""
    faults = Faults(file)
    content = read_toml(text, faults)
    for key in content.keys() - {table, "sources"}:
        faults.add("unknown table", f"entries go under [{table}.<name>]", line=line_of(text, key), column=key)
    found: dict[str, Facts] = {}
    for name, entry in content.get(table, {}).items():
        here = f"{table}.{name}"
        values, evidence, wrong = split_evidence(entry, content.get("sources", {}))
        for field, what in wrong:
            remedy = "give source, date and kind"
            faults.add(what, remedy, line=line_of(text, here, field), column=f"{here}.{field}")
        value = validated(kind, {**values, "name": name}, faults, text, here)
        if value is not None:
            found[name] = value.model_copy(update={"evidence": evidence})
    faults.check()
    return found
