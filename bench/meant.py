"""The model that was meant: where it comes from, what vLLM is given to load, and the precision that is promised.

The model may be `tiny` (a made-up one for demonstrations), one of our names (`llama-3-8b`), a hub repository
(`meta-llama/Llama-3.1-8B-Instruct`) or a folder; with an endpoint it is the name it is served under. A precision is
promised where it was asked for, where the name says it or where we make the weights; otherwise it is None until vLLM
has said what it loaded (`startup.py`), and a promise that vLLM's word contradicts ends the run before it measures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from bench import tiny_model
from bench.model_folder import dummy_config, hub_name, hub_precision, vocabulary, write_dummy_model
from bench.passed import option_value, precision_served
from hardware_profiles.curve import Precision
from hardware_profiles.facts import ModelFacts, models
from hardware_profiles.faults import Fault, InputError
from hardware_profiles.names import resolve_model

if TYPE_CHECKING:
    from bench.asked import Asked

TINY = "tiny"

_WORDS = {"fp8": "fp8", "fp4": "fp4", "gpt-oss": "fp4", "awq": "int4", "int4": "int4", "w4a16": "int4", "int8": "int8"}
_NAMED = {**_WORDS, "bf16": "bf16", "fp16": "fp16"}
"""Words in a model's name -> its precision."""
_MADE_AS: dict[str, tuple[str, ...]] = {
    "bf16": (),
    "fp16": ("--dtype", "float16"),
    "fp32": ("--dtype", "float32"),
    "fp8": ("--quantization", "fp8"),
}
"""What makes random bf16 weights into weights of that precision while they are loaded."""


@dataclass(frozen=True)
class Model:
    """The model that was meant."""

    name: str
    source: str
    """Where it comes from, as a curve may say it: never a path of this machine."""
    load: str
    """What vLLM is given."""
    vocabulary: int | None
    notes: tuple[str, ...] = ()
    make: Callable[[], None] | None = None
    """Writes the folder, where it is one of ours."""
    tokenizer: bool = True
    precision: str | None = None
    """Promised; None: as vLLM will say."""
    args: tuple[str, ...] = ()
    """What vLLM needs to be told to load it so."""


def model_meant(asked: Asked, folder: Path) -> Model:
    """The model that a server of ours will load; one of our own folders will stand under `folder`."""
    if asked.model == TINY and asked.model_path is None:
        made = (folder / "model" / TINY).resolve()
        make, source = partial(tiny_model.write_tiny_model, made), "made by bench.tiny_model"
        return _made(asked, Model(TINY, source, str(made), tiny_model.BYTES, make=make))
    facts, note = _facts(asked)
    notes = (note,) if note else ()
    given = asked.model_path or (asked.model if "/" in asked.model or Path(asked.model).is_dir() else None)
    if given is not None and Path(given).is_dir():
        path = Path(given).resolve()
        name = facts.name if facts else path.name
        tokenizer = any(path.glob("tokenizer*"))
        source = f"folder {path.name}"
        return _unseen(asked, Model(name, source, str(path), vocabulary(path), notes, tokenizer=tokenizer))
    if facts is None:
        resolve_model(asked.model, models(asked.profiles))  # raises, with the near names
    assert facts is not None
    if asked.weights == "dummy":
        if asked.model_path is not None:
            what = "is no folder here, and random weights need a config.json"
            raise InputError(
                Fault(what, "name a folder, or leave it out", column="--model-path", value=asked.model_path)
            )
        dummy_config(facts)  # raises where it cannot be written
        made = (folder / "model" / facts.name).resolve()
        make, source = partial(write_dummy_model, facts, made), "random weights in this architecture"
        model = Model(facts.name, source, str(made), facts.vocab, notes, make=make, tokenizer=False)
        return _made(asked, model)
    if given is not None:
        return _unseen(asked, Model(facts.name, given, given, facts.vocab, notes))
    return _from_the_hub(asked, facts, notes)


def served_model(asked: Asked) -> Model:
    """The model of an endpoint: its precision is what the user or its name says."""
    facts, note = _facts(asked)
    name = facts.name if facts else asked.model
    vocab = facts.vocab if facts else None
    notes = (note,) if note else ()
    return Model(name, asked.model, asked.model, vocab, notes, precision=asked.precision or _named(asked))


def _made(asked: Asked, model: Model) -> Model:
    """Our own folder: its configuration says bf16, and vLLM quantises what it loads where it is told to."""
    served = precision_served(asked.server_args, "bf16")
    wanted = asked.precision or _named(asked) or served
    if wanted == served or served is None or wanted not in get_args(Precision):
        return replace(model, precision=wanted)
    told = option_value(asked.server_args, "--quantization", "-q") or option_value(asked.server_args, "--dtype")
    if told is None and wanted in _MADE_AS:
        return replace(model, precision=wanted, args=_MADE_AS[wanted])
    remedy = f"ask for {', '.join(_MADE_AS)} without --dtype and --quantization, or name a folder: --model-path"
    raise InputError(Fault(f"these random weights are {served}", remedy, column="--precision", value=wanted))


def _from_the_hub(asked: Asked, facts: ModelFacts, notes: tuple[str, ...]) -> Model:
    """One of our names: the repository that it stands for, whose precision is known."""
    source, holds = hub_name(facts), hub_precision(facts)
    served = precision_served(asked.server_args, holds)
    wanted = asked.precision or _named(asked) or served
    if served is not None and wanted != served and wanted in get_args(Precision):
        remedy = f"name weights in {wanted} with --model-path, or let vLLM convert them: `-- --quantization METHOD`"
        raise InputError(Fault(f"{source} is served in {served}", remedy, column="--precision", value=wanted))
    return Model(facts.name, source, source, facts.vocab, notes, precision=wanted)


def _unseen(asked: Asked, model: Model) -> Model:
    """A folder or repository of the user's: what it holds is told by vLLM once it is loaded."""
    served = precision_served(asked.server_args, None)
    wanted = asked.precision or served or _named(asked)
    if served is not None and wanted != served:
        remedy = "leave out one of the two"
        raise InputError(Fault(f"`--quantization` makes it {served}", remedy, column="--precision", value=wanted))
    return replace(model, precision=wanted)


def _named(asked: Asked) -> str | None:
    name = (asked.model_path or asked.model).rstrip("/").rpartition("/")[2].lower()
    return next((precision for word, precision in _NAMED.items() if word in name), None)


def _facts(asked: Asked) -> tuple[ModelFacts | None, str | None]:
    """Our facts about the model, None where we have none (a folder, a hub repository or an endpoint may serve it)."""
    try:
        return resolve_model(asked.model, models(asked.profiles))
    except InputError:
        return None, None
