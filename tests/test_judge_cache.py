"""What a chat's template adds to prompts, and answers that it writes back, are no fault of the cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.build import gather
from bench.driver import Target, run_stage
from bench.evidence import Evidence
from bench.judge_cache import prefix_hits
from bench.paced import Law, paced
from bench.prompts import Fixed
from bench.schedule import Stage
from bench.watch import read_watch, watching, write_watch
from tests.test_judge import COUNT, LOAD, SOUND, WATCH, page, records

CHAT = replace(SOUND, client=SOUND.client | {"api": "chat"})


def chat(*, hits: float, base: Evidence = CHAT, **changes: Any) -> Evidence:
    """100 words a prompt, of 140 tokens with the template; the server's page says how many it found in each."""
    told = {"input_tokens": 140, "cached_tokens": 32} | changes
    counted = {"running": 0.0, "prefix_queries_tokens": 140.0 * COUNT, "prefix_hits_tokens": hits * COUNT}
    return replace(
        base,
        records=records(**told),
        watch=WATCH.model_copy(update={"after": page(LOAD + 1, COUNT, **counted)}),
    )


@pytest.mark.parametrize(
    ("evidence", "verdict", "reason"),
    [
        # the template's head is in the cache: 32 tokens of 140
        (
            chat(hits=32),
            "pass",
            "asked 0.0% (0.0% to 32.0% over chat, with a template's head of 32 tokens), seen 22.9%",
        ),
        # no chat has no template: a warm cache
        (chat(hits=32, base=SOUND), "fail", "asked 0.0%, seen 22.9%"),
        # words that were said before, too: more than the template can have added
        (
            chat(hits=128, cached_tokens=128),
            "fail",
            "asked 0.0% (0.0% to 40.0% over chat, with a template's head of 40 tokens), seen 91.4%",
        ),
        # a share was asked for and is there, with the head; without it, in longer prompts; and it is not there
        (
            chat(hits=80, asked_cached=48, cached_tokens=80),
            "pass",
            "asked 48.0% (34.3% to 80.0% over chat, with a template's head of 32 tokens), seen 57.1%",
        ),
        (
            chat(hits=48, asked_cached=48, cached_tokens=48),
            "pass",
            "asked 48.0% (34.3% to 48.0% over chat, with a template's head of 0 tokens), seen 34.3%",
        ),
        (
            chat(hits=32, asked_cached=48),
            "fail",
            "asked 48.0% (34.3% to 48.0% over chat, with a template's head of 0 tokens), seen 22.9%",
        ),
        # nobody tells what single requests found: the template may have been found whole
        (
            chat(hits=32, cached_tokens=-1),
            "pass",
            "asked 0.0% (0.0% to 40.0% over chat, with a template's head of 40 tokens), seen 22.9%",
        ),
    ],
)
def test_a_templates_head_may_be_found(evidence: Evidence, verdict: str, reason: str) -> None:
    """As long as the first requests say, and no longer than what `usage` counts beyond our words."""
    found = prefix_hits(evidence)
    assert (found.verdict, found.reason) == (verdict, reason)


@pytest.mark.parametrize("arguments", [("--template-tokens=40",), ()])
@pytest.mark.xdist_group("clock")
def test_a_chats_answers_may_be_found(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Conversations over chat at a server that writes answers back as they were, with and without a template's head:
    three turns find more than our own words, and the check passes; it fails where the cache was switched off."""
    asked = Fixed(input_tokens=64, output_tokens=48)
    stage = Stage(name="s", mode="closed", shape=asked, seed=0, load=2, turns=(3, 3), cap_s=2.5, warm_up_s=0.5)
    with paced(Law(ttft_s=0.01, tpot_s=0.001), "--prefix-cache", *arguments) as url:
        with watching(url, key=None, driver=None, gpu_reason=None) as watched:
            done = run_stage(stage, Target(url=url, model="paced", api="chat", engine="other"), tmp_path)
        write_watch(watched.finish("s", done.sha256, None), tmp_path)
    evidence = gather(tmp_path, read_watch(tmp_path / "s.json"))
    found = prefix_hits(evidence)
    assert found.verdict == "pass", found
    assert "and answers" in found.reason
    words = evidence.records
    assert words.cached_tokens.sum() > 1.2 * words.asked_cached.sum(), "nothing but our words was found"
    assert evidence.watch.after is not None
    cold = evidence.watch.after.model_copy(update={"prefix_hits_tokens": 0.0})
    assert prefix_hits(replace(evidence, watch=evidence.watch.model_copy(update={"after": cold}))).verdict == "fail"
