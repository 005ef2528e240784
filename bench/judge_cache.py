"""Verdict on the prefix cache: was it as cold, or as warm, as asked?

Why a range: over /v1/completions a prompt is token ids, so what the server may find of it in its cache is known
exactly. Over chat the model's template stands around what we say. Its head comes first in every prompt and is found
there by all but the first; an answer that was said before is found only where the template writes it back as it was
generated, which templates that drop a model's reasoning do not. So for chat the least that should be found is our own
words (a share of all that `usage` counts), and the most is the template's head and all that was said (a share of our
words).

The head's length is what the first requests of conversations, or single ones, found beyond the share that was asked
for, as `usage` tells (the median: it is the same for all of them); but never more than the template can have added,
which is what `usage` counts beyond our words.
"""

from __future__ import annotations

import numpy as np

from bench.evidence import Evidence, moved, primed_before, unknown, verdict_of, within
from bench.records import Records
from hardware_profiles.curve import Check

PREFIX_SHARE = 0.02


def prefix_hits(evidence: Evidence) -> Check:
    """The cache was as cold, or as warm, as asked: tokens found in it over tokens looked up."""
    trouble, got = primed_before(evidence).trouble, hit_rate(evidence)
    sent = evidence.records.select(~np.isnan(evidence.records.sent_s))
    total = max(1, int(sent.asked_input.sum()))
    asked = float(sent.asked_cached.sum()) / total
    warming = f"; a request that should warm it failed ({trouble})" if trouble else ""
    if got is None and asked:
        told = f"asked {asked:.1%}, and nobody tells what was found in the cache{warming}"
        return verdict_of("prefix_hits", False, told)
    if got is None:
        return unknown("prefix_hits", evidence.watch.pages_reason or "the server looked nothing up in its cache")
    least, most, why = asked, asked, ""
    if evidence.client.get("api") == "chat":
        head, answers = _template_head(sent), _answers(sent)
        counted = int(np.where(sent.input_tokens > 0, sent.input_tokens, sent.asked_input).sum())
        least, most = asked * min(1.0, total / counted), asked + (head * len(sent) + answers) / total
        held = f"a template's head of {head:.0f} tokens" + (" and answers" if answers else "")
        why = f" ({least:.1%} to {most:.1%} over chat, with {held})"
    told = f"asked {asked:.1%}{why}, seen {got:.1%}{warming}"
    return within("prefix_hits", max(least - got, got - most), PREFIX_SHARE, told)


def _template_head(sent: Records) -> float:
    """Tokens that each prompt begins with, as far as a cache may hold them."""
    first = sent.select(sent.ok & (sent.turn <= 0) & (sent.input_tokens > 0))
    if not len(first):
        return 0.0
    added = max(0.0, float(np.median(first.input_tokens - first.asked_input)))
    told = first.select(first.cached_tokens >= 0)
    if not len(told):
        return added
    return min(added, max(0.0, float(np.median(told.cached_tokens - told.asked_cached))))


def _answers(sent: Records) -> float:
    """Tokens said before, of all prompts together, beyond those of them that are our own words."""
    context = {
        (talk, turn): max(asked, counted) + answered
        for talk, turn, asked, counted, answered in zip(
            sent.conversation.tolist(),
            sent.turn.tolist(),
            sent.asked_input.tolist(),
            sent.input_tokens.tolist(),
            np.maximum(sent.output_tokens, 0).tolist(),
            strict=True,
        )
    }
    rows = zip(sent.conversation.tolist(), sent.turn.tolist(), sent.asked_cached.tolist(), strict=True)
    return float(sum(max(0, context.get((talk, turn - 1), 0) - ours) for talk, turn, ours in rows if turn > 0))


def hit_rate(evidence: Evidence) -> float | None:
    """Tokens found in the prefix cache over tokens looked up, without the requests that warmed it.

    By the server's page, else by `usage`; None where neither tells.
    """
    before, after = evidence.watch.before, evidence.watch.after
    hits = queries = None
    if before is not None and after is not None:
        hits, queries = moved(before, after, "prefix_hits_tokens"), moved(before, after, "prefix_queries_tokens")
    primed = primed_before(evidence).input_tokens
    if hits is not None and queries is not None and queries > primed:
        return hits / (queries - primed)
    served = evidence.records.select(evidence.records.ok & (evidence.records.input_tokens > 0))
    if not (served.cached_tokens >= 0).any():
        return None
    # where some requests tell, those that do not found nothing: vLLM leaves a zero out
    return float(np.maximum(served.cached_tokens, 0).sum()) / float(served.input_tokens.sum())
