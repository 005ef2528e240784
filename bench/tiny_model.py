"""A tiny Llama-architecture model folder, so that a real vLLM can be driven on a CPU in CI.

Why: the measuring path is only worth trusting when it has run against the real server, and CI has neither a GPU nor
weights. How: `config.json` describes a Llama of about a million parameters (four layers, grouped-query attention, the
same operators as the real ones); vLLM fills it with random weights (`--load-format dummy`), so nothing is downloaded
and torch is not needed here. The tokenizer is made in place: token i is byte i, which makes many streamed chunks empty
(half a UTF-8 character has no text), a good test for a client that must not key on text.
"""

from __future__ import annotations

import json
from pathlib import Path

from hardware_profiles.curve import write_text

BYTES = 256
BOS, EOS = 256, 257
VOCABULARY = 320
"""256 bytes, two marks and padding to a multiple of 64, which is what vLLM would pad the embedding to anyway."""

CONFIG: dict[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 4,
    "hidden_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 344,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 16384,
    "rope_theta": 500000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
}


def write_tiny_model(folder: Path) -> None:
    """Write the model folder: configuration, generation defaults and a byte-level tokenizer."""
    marks = {"bos_token_id": BOS, "eos_token_id": EOS}
    files = {
        "config.json": CONFIG,
        "generation_config.json": marks,
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "clean_up_tokenization_spaces": False,
            "chat_template": "{% for m in messages %}{{ m['content'] }}\n{% endfor %}",
        },
    }
    for name, content in files.items():
        write_text(folder / name, json.dumps(content, indent=1) + "\n")


def _tokenizer() -> dict[str, object]:
    """A byte-pair tokenizer without merges: one token a byte."""
    vocabulary = {character: byte for byte, character in enumerate(_byte_characters())}
    marks = {"<bos>": BOS, "<eos>": EOS} | {f"<pad{i}>": i for i in range(EOS + 1, VOCABULARY)}
    added = [
        {"id": i, "content": mark, "special": True, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        for mark, i in marks.items()
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary | marks, "merges": [], "unk_token": None},
    }


def _byte_characters() -> list[str]:
    """GPT-2's printable stand-in for each byte: itself where printable, else the next free one from U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(spare)) for byte in range(BYTES)]


def main() -> None:
    """`python -m bench.tiny_model DIR`."""
    import argparse

    parser = argparse.ArgumentParser(description="Write a tiny Llama-architecture model folder (no weights).")
    parser.add_argument("folder", type=Path)
    write_tiny_model(parser.parse_args().folder)


if __name__ == "__main__":
    main()
