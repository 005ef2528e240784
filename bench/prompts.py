"""What is asked: the shape laws (how many tokens in and out) and prompts that no cache has seen.

Why: a prompt that the server has seen before is served from its prefix cache and measures the cache, and lengths that
are all alike march in waves. So lengths follow a stated law, and every prompt is cold unless a cached share is asked
for.

How: a law is a frozen value that draws (input tokens, output tokens) from a seeded generator; the first n rows are the
same whatever is drawn after them. A prompt starts with tokens that spell the run's nonce and the request's number (so
no two prompts of any two runs share a first block; vLLM hashes blocks chained from the start, see
docs.vllm.ai/en/stable/design/prefix_caching) and goes on with a slice of one seeded pool of random token ids that is
encoded once, so that making a body costs a copy and not an encoding. A cached share is the head of one of a few shared
prefixes, in whole blocks of 16 tokens (vLLM's default block), because only whole blocks are cached.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from hardware_profiles.curve import Value
from hardware_profiles.faults import Faults

Count = Annotated[int, Field(ge=1)]
Ints = NDArray[np.int64]

_POOL = 1 << 18
_GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / golden ratio: its multiples spread evenly (Knuth, TAOCP 3, 6.4)
_TEXT = """
the of and to in is that for it as was with be by on not he this are or his from at which but have an had they you were
their one all we can her has there been if more when will would who so no out up into than them only time new some could
these two may then do first any my now such like our over man me even most made after also
"""
_WORDS = tuple(_TEXT.split())


class Fixed(Value):
    """Every request alike."""

    law: Literal["fixed"] = "fixed"
    input_tokens: Count
    output_tokens: Count


class Range(Value):
    """Input and output drawn evenly from closed ranges, each on its own."""

    law: Literal["range"] = "range"
    input_low: Count
    input_high: Count
    output_low: Count
    output_high: Count

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.input_high < self.input_low or self.output_high < self.output_low:
            raise ValueError("a range's high is below its low")
        return self


class LogNormal(Value):
    """Log-normal lengths given by median and sigma of the logarithm, cut to [1, max] by drawing the quantile there."""

    law: Literal["lognormal"] = "lognormal"
    input_median: Annotated[float, Field(gt=0)]
    input_sigma: Annotated[float, Field(ge=0)]
    input_max: Count
    output_median: Annotated[float, Field(gt=0)]
    output_sigma: Annotated[float, Field(ge=0)]
    output_max: Count


class Empirical(Value):
    """(input, output) pairs as they were seen, drawn with replacement, so that their correlation stays."""

    law: Literal["empirical"] = "empirical"
    pairs: Annotated[tuple[tuple[Count, Count], ...], Field(min_length=1)]


class Trace(Value):
    """(time in seconds from the trace's start, input, output) rows, replayed in order; with `arrivals` `trace`."""

    law: Literal["trace"] = "trace"
    rows: Annotated[tuple[tuple[Annotated[float, Field(ge=0)], Count, Count], ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _in_time_order(self) -> Self:
        if any(later[0] < earlier[0] for earlier, later in itertools.pairwise(self.rows)):
            raise ValueError("trace rows are not in time order")
        return self


ShapeLaw = Annotated[Fixed | Range | LogNormal | Empirical | Trace, Field(discriminator="law")]


def draw(law: ShapeLaw, seed: int, count: int) -> tuple[Ints, Ints]:
    """(input, output) tokens of the first `count` requests; fewer are the same rows, cut short."""
    own = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
    if isinstance(law, Fixed):
        return np.full(count, law.input_tokens), np.full(count, law.output_tokens)
    if isinstance(law, Range):
        return (
            own[0].integers(law.input_low, law.input_high, count, endpoint=True),
            own[1].integers(law.output_low, law.output_high, count, endpoint=True),
        )
    if isinstance(law, LogNormal):
        return (
            _lognormal(own[0].random(count), law.input_median, law.input_sigma, law.input_max),
            _lognormal(own[1].random(count), law.output_median, law.output_sigma, law.output_max),
        )
    if isinstance(law, Empirical):
        pairs = np.array(law.pairs, dtype=np.int64)[own[0].integers(0, len(law.pairs), count)]
        return pairs[:, 0], pairs[:, 1]
    rows = np.array([row[1:] for row in law.rows], dtype=np.int64)[np.arange(count) % len(law.rows)]
    return rows[:, 0], rows[:, 1]


def longest(law: ShapeLaw) -> tuple[int, int]:
    """The most input and output tokens that one request of this law may have."""
    if isinstance(law, Fixed):
        return law.input_tokens, law.output_tokens
    if isinstance(law, Range):
        return law.input_high, law.output_high
    if isinstance(law, LogNormal):
        return law.input_max, law.output_max
    pairs = law.pairs if isinstance(law, Empirical) else tuple((row[1], row[2]) for row in law.rows)
    return max(pair[0] for pair in pairs), max(pair[1] for pair in pairs)


def read_pairs(path: Path) -> Empirical:
    """A CSV with columns `input_tokens` and `output_tokens`, one row per request seen."""
    rows = _read_columns(path, {"input_tokens": _count, "output_tokens": _count})
    return Empirical(pairs=tuple((int(a), int(b)) for a, b in rows))


def read_trace(path: Path) -> Trace:
    """A CSV with columns `time_s`, `input_tokens` and `output_tokens`, in time order; the first row is moment zero."""
    rows = _read_columns(path, {"time_s": _moment, "input_tokens": _count, "output_tokens": _count}, ordered="time_s")
    return Trace(rows=tuple((at - rows[0][0], int(a), int(b)) for at, a, b in rows))


class Prompts:
    """Makes the prompts of one stage, each as the JSON text of its value: a list of token ids, or words in quotes.

    `vocab_size` None means words (an endpoint whose tokenizer is not known): about one token each with common
    byte-pair tokenizers, so that what counts is the server's own `usage.prompt_tokens`.
    """

    def __init__(self, *, seed: int, nonce: int, vocab_size: int | None, longest_input: int) -> None:
        self._nonce = nonce & 0xFFFFFFFF
        self._base = vocab_size or 16
        self.words = vocab_size is None
        size = _POOL + longest_input
        ids = np.random.default_rng([seed, 3]).integers(0, vocab_size or len(_WORDS), size)
        texts = [_WORDS[i] for i in ids] if self.words else [str(i) for i in ids]
        self._joint = " " if self.words else ","
        self._pool = self._joint.join(texts).encode()
        self._starts = np.concatenate(([0], np.cumsum([len(text) + 1 for text in texts])))

    def prompt(self, request: int, tokens: int, *, shared: int = 0, prefix: int = 0) -> bytes:
        """`tokens` tokens that nothing else starts with, after `shared` of them from the head of a shared prefix."""
        parts = []
        if shared:
            parts.append(self._piece(0xFFFFFFFF - prefix, shared))
        if tokens > shared:
            parts.append(self._piece(request, tokens - shared))
        text = self._joint.encode().join(parts)
        return b'"' + text + b'"' if self.words else b"[" + text + b"]"

    def spell(self, request: int) -> list[int]:
        """The tokens that make a prompt its own: the request's number, then the run's nonce, lowest digit first."""
        digits = max(1, math.ceil(32 / math.log2(max(2, self._base))))
        numbers = request & 0xFFFFFFFF, self._nonce
        return [number // self._base**place % self._base for number in numbers for place in range(digits)]

    def _piece(self, number: int, tokens: int) -> bytes:
        head = self.spell(number)[:tokens]
        texts = [_WORDS[digit] for digit in head] if self.words else [str(digit) for digit in head]
        text = self._joint.join(texts).encode()
        rest = tokens - len(head)
        if not rest:
            return text
        # where a piece begins does not depend on its length, so that a shorter one is a longer one's head
        start = (number * _GOLDEN & 0xFFFFFFFFFFFFFFFF) % _POOL
        return text + self._joint.encode() + self._pool[self._starts[start] : self._starts[start + rest] - 1]


def _lognormal(uniform: NDArray[np.float64], median: float, sigma: float, most: int) -> Ints:
    """Rounded lengths by the quantile function, u scaled so that nothing exceeds `most`."""
    normal = NormalDist()
    top = normal.cdf(math.log(most / median) / sigma) if sigma else 1.0
    deviates = np.array([normal.inv_cdf(min(max(u * top, 1e-12), 1 - 1e-12)) for u in uniform])
    return np.clip(np.rint(median * np.exp(sigma * deviates)), 1, most).astype(np.int64)


def _count(text: str) -> float:
    value = int(text)
    if value < 1:
        raise ValueError
    return float(value)


def _moment(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise ValueError
    return value


def _read_columns(
    path: Path, columns: dict[str, Callable[[str], float]], ordered: str | None = None
) -> list[tuple[float, ...]]:
    """Rows of the named columns as numbers; every fault of the file at once."""
    faults, rows = Faults(str(path)), []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            for name in columns:
                if name not in (reader.fieldnames or ()):
                    faults.add("missing column", "add it to the header", line=1, column=name)
            faults.check()
            for row in reader:
                rows.append(_read_row(row, columns, faults, reader.line_num))
    except OSError as error:
        faults.add(f"cannot be read ({error.strerror})", "check the path and its permissions")
    except UnicodeDecodeError:
        faults.add("not UTF-8 text", "save the file as UTF-8")
    if not rows and not faults.found:
        faults.add("no rows", "give at least one request")
    if ordered and not faults.found:
        at = list(columns).index(ordered)
        for number, (earlier, later) in enumerate(itertools.pairwise(rows), start=3):
            if later[at] < earlier[at]:
                faults.add("goes back in time", "sort the rows by time", line=number, column=ordered, value=later[at])
    faults.check()
    return rows


def _read_row(
    row: dict[str, str | None], columns: dict[str, Callable[[str], float]], faults: Faults, line: int
) -> tuple[float, ...]:
    values = []
    for name, parse in columns.items():
        text = (row.get(name) or "").strip()
        try:
            values.append(parse(text))
        except ValueError:
            wanted = "a whole number from 1 up" if parse is _count else "seconds from 0 up"
            faults.add("not a number of this kind", f"write {wanted}", line=line, column=name, value=text)
            values.append(math.nan)
    return tuple(values)
