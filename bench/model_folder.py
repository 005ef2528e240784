"""A model folder without weights, for measuring with random ones (`--weights dummy`); and where real ones come from.

Why: where no weights can be had, the speed of a dense model hardly depends on what is in them, only on the shapes of
its matrices; those are in our facts. How: vLLM reads `config.json` and fills the model with random numbers
(`--load-format dummy`), without a tokenizer: prompts are token ids. Only architectures whose configuration our facts
determine fully are written; expert routing of random weights would be uniform, so mixtures of experts are refused.
Values that do not change the work (rope base, norm epsilon) are the common ones.
"""

from __future__ import annotations

import json
from pathlib import Path

from hardware_profiles.curve import write_text
from hardware_profiles.facts import ModelFacts
from hardware_profiles.faults import Fault, InputError

_ARCHITECTURES: dict[str, tuple[str, str, dict[str, object]]] = {
    "llama": ("llama", "LlamaForCausalLM", {"attention_bias": False, "mlp_bias": False}),
    "mistral": ("mistral", "MistralForCausalLM", {"sliding_window": None}),
    "qwen2.5": ("qwen2", "Qwen2ForCausalLM", {"use_sliding_window": False}),
    "qwen3": ("qwen3", "Qwen3ForCausalLM", {"attention_bias": False, "use_sliding_window": False}),
}

HUB = {
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct",
    "llama-3.1-70b": "meta-llama/Llama-3.1-70B-Instruct",
    "llama-3.1-405b": "meta-llama/Llama-3.1-405B-Instruct",
    "llama-3.2-1b": "meta-llama/Llama-3.2-1B-Instruct",
    "llama-3.2-3b": "meta-llama/Llama-3.2-3B-Instruct",
    "qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct",
    "qwen2.5-14b": "Qwen/Qwen2.5-14B-Instruct",
    "qwen2.5-32b": "Qwen/Qwen2.5-32B-Instruct",
    "qwen2.5-72b": "Qwen/Qwen2.5-72B-Instruct",
    "qwen3-0.6b": "Qwen/Qwen3-0.6B",
    "qwen3-1.7b": "Qwen/Qwen3-1.7B",
    "qwen3-4b": "Qwen/Qwen3-4B",
    "qwen3-8b": "Qwen/Qwen3-8B",
    "qwen3-14b": "Qwen/Qwen3-14B",
    "qwen3-32b": "Qwen/Qwen3-32B",
    "qwen3-30b-a3b": "Qwen/Qwen3-30B-A3B",
    "qwen3-235b-a22b": "Qwen/Qwen3-235B-A22B",
    "mistral-7b-v0.3": "mistralai/Mistral-7B-Instruct-v0.3",
    "mixtral-8x7b": "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "mixtral-8x22b": "mistralai/Mixtral-8x22B-Instruct-v0.1",
    "gpt-oss-20b": "openai/gpt-oss-20b",
    "gpt-oss-120b": "openai/gpt-oss-120b",
    "deepseek-v3": "deepseek-ai/DeepSeek-V3",
    "deepseek-r1": "deepseek-ai/DeepSeek-R1",
    "gemma-3-4b": "google/gemma-3-4b-it",
    "gemma-3-12b": "google/gemma-3-12b-it",
    "gemma-3-27b": "google/gemma-3-27b-it",
}
"""What `--model` with one of our names loads; `--model-path` names anything else. Each repository was found under this
name in public code or documentation on 2026-11-20 (12 of them in vLLM 0.32 and transformers themselves)."""

_QUANTISED = {"gpt-oss-20b": "fp4", "gpt-oss-120b": "fp4", "deepseek-v3": "fp8", "deepseek-r1": "fp8"}
"""Those of them whose weights are not bf16 (their config.json's `quantization_config`)."""


def write_dummy_model(facts: ModelFacts, folder: Path) -> None:
    """Write `config.json` and `generation_config.json`."""
    config = dummy_config(facts)
    marks = {key: config[key] for key in ("bos_token_id", "eos_token_id")}
    write_text(folder / "config.json", json.dumps(config, indent=1) + "\n")
    write_text(folder / "generation_config.json", json.dumps(marks, indent=1) + "\n")


def dummy_config(facts: ModelFacts) -> dict[str, object]:
    """The configuration of a dense model from its facts; `InputError` where they do not determine it."""
    family = next((name for name in _ARCHITECTURES if facts.name.startswith(name)), None)
    if family is None or facts.experts or facts.attention != "gqa" or facts.sliding_window_tokens:
        what = "random weights cannot stand for this model: they are made for dense Llama, Mistral and Qwen models only"
        raise InputError(Fault(what, "give a folder with its config.json: --model-path DIR", value=facts.name))
    kind, architecture, extra = _ARCHITECTURES[family]
    return {
        "architectures": [architecture],
        "model_type": kind,
        "num_hidden_layers": facts.layers,
        "hidden_size": facts.hidden,
        "num_attention_heads": facts.heads,
        "num_key_value_heads": facts.kv_heads,
        "head_dim": facts.head_dim,
        "intermediate_size": facts.intermediate,
        "vocab_size": facts.vocab,
        "max_position_embeddings": facts.max_context_tokens,
        "rope_theta": 500000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": bool(facts.tied_embeddings),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "torch_dtype": "bfloat16",
        **extra,
    }


def hub_name(facts: ModelFacts) -> str:
    """Where this model's weights are; `InputError` where we do not know."""
    if facts.name not in HUB:
        what = "we do not know where this model's weights are"
        raise InputError(Fault(what, "name a folder or a hub repository: --model-path", value=facts.name))
    return HUB[facts.name]


def hub_precision(facts: ModelFacts) -> str:
    """At which precision the weights of `hub_name` are stored."""
    return _QUANTISED.get(facts.name, "bf16")


def vocabulary(folder: Path) -> int | None:
    """The number of token ids of a model folder."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    size = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
    return size if isinstance(size, int) else None
