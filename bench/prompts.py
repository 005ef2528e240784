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

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hardware_profiles.curve import Value

Count = Annotated[int, Field(ge=1)]


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
        if any(later[0] < earlier[0] for earlier, later in zip(self.rows, self.rows[1:], strict=False)):
            raise ValueError("trace rows are not in time order")
        return self


ShapeLaw = Annotated[Fixed | Range | LogNormal | Empirical | Trace, Field(discriminator="law")]
