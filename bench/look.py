"""Who answers at an address: engine, version, context window and cache blocks, as far as it says.

Why: an endpoint need not be vLLM, and one that serves completions may list no models, or list them in a form of its
own. So whatever it says is taken where it has the form that OpenAI and vLLM give it, and is unknown otherwise. Only
two things end the run here: nobody answers, or the key is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError

from bench.scrape import cache_block_tokens, fetch
from hardware_profiles.faults import Fault, InputError

REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
NO_LIST = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED)


@dataclass(frozen=True)
class Seen:
    """What a server says about itself."""

    engine: str
    version: str | None
    window_tokens: int | None
    block_tokens: int | None
    note: str | None = None
    """What it does not say and a reader of the curve should know."""


def look(url: str, key: str | None, model: str) -> Seen:
    """Who answers at `url`; `InputError` when nobody does, the key is refused, or vLLM serves other models."""
    entries, note = _models(url, key)
    served = [name for name in map(_name, entries) if name]
    vllm = any(entry.get("owned_by") == "vllm" for entry in entries)
    if vllm and model not in served:
        raise InputError(
            Fault("not served there", f"name one that is: {', '.join(served)}", column="--model", value=model)
        )
    ours = next((entry for entry in entries if _name(entry) == model), entries[0] if entries else {})
    window, page = ours.get("max_model_len"), _text(f"{url}/metrics", key)
    return Seen(
        engine="vllm" if vllm or "vllm:" in page else "unknown",
        version=_version(_text(f"{url}/version", key)),
        window_tokens=window if type(window) is int and window > 0 else None,
        block_tokens=cache_block_tokens(page),
        note=note,
    )


def _models(url: str, key: str | None) -> tuple[list[dict[str, Any]], str | None]:
    """The models that it lists, and what to note where it lists none."""
    try:
        told = _parsed(fetch(f"{url}/v1/models", key=key))
    except HTTPError as error:
        if error.code in REFUSED:
            what, remedy = f"the endpoint refuses: {error}", "check --key-env: the environment variable with its key"
            raise InputError(Fault(what, remedy, value=url)) from error
        if error.code not in NO_LIST:
            raise _unanswered(url, error) from error
        return [], f"the endpoint lists no models ({error}): that it serves this one was not confirmed"
    except OSError as error:
        raise _unanswered(url, error) from error
    listed = told.get("data") if isinstance(told, dict) else told
    return list(_entries(listed)), None


def _entries(listed: object) -> Iterator[dict[str, Any]]:
    """Each model as an object; some servers list bare names."""
    for entry in listed if isinstance(listed, list) else ():
        if isinstance(entry, dict | str):
            yield {"id": entry} if isinstance(entry, str) else entry


def _name(entry: dict[str, Any]) -> str | None:
    name = entry.get("id")
    return name if isinstance(name, str) else None


def _version(text: str) -> str | None:
    told = _parsed(text)
    version = told.get("version") if isinstance(told, dict) else None
    return version if isinstance(version, str) else None


def _parsed(text: str) -> object:
    """JSON; None where it is not."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def _text(url: str, key: str | None) -> str:
    try:
        return fetch(url, key=key)
    except OSError:
        return ""


def _unanswered(url: str, error: OSError) -> InputError:
    return InputError(Fault(f"the endpoint does not answer: {error}", "check --endpoint", value=url))
