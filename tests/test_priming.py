"""What warms the cache before a stage: asked once, timed, and told when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.load import Load
from bench.order import Order, Target
from bench.paced import Law, paced
from bench.prompts import Fixed
from bench.schedule import Stage


def primed(folder: Path, url: str, *, model: str = "paced", worker: int = 0, share: float = 0.5) -> dict[str, object]:
    """What a worker tells when it has warmed the cache: three prefixes of half of 160 tokens."""
    shape = Fixed(input_tokens=160, output_tokens=5)
    stage = Stage(name="s", mode="closed", shape=shape, seed=1, load=1, cached_share=share, prefixes=3)
    target = Target(url=url, model=model, vocab_size=1000)
    order = Order(stage=stage, target=target, nonce=1, kernel_stamps=True, workers=2, folder=folder)
    load = Load(order, worker)
    load.prime()
    assert not list(load.kept.take()), "they are no part of the stage"
    return load.facts


@pytest.mark.xdist_group("clock")
def test_each_prefix_is_sent_once_and_timed(tmp_path: Path) -> None:
    """One token each, so TTFT is E2E: 3 x 50 ms, 80 shared tokens and one more; by the first worker only."""
    with paced(Law(ttft_s=0.05, tpot_s=0.01), "--prefix-cache") as url:
        facts = primed(tmp_path, url)
        assert facts["primed_requests"] == 3
        assert facts["primed_input_tokens"] == 3 * 81
        assert facts["primed_ttft_s"] == facts["primed_e2e_s"] == pytest.approx(0.15, rel=0.2)
        assert "prime_error" not in facts
        assert primed(tmp_path, url, worker=1)["primed_requests"] == 0
        assert primed(tmp_path, url, share=0.0)["primed_requests"] == 0


def test_a_prefix_that_fails_is_told_and_not_timed(tmp_path: Path) -> None:
    """The judge must know that the server's sums may hold what the client did not see."""
    with paced(Law(ttft_s=0.01, tpot_s=0.01), "--prefix-cache") as url:
        facts = primed(tmp_path, url, model="fault:500")
    assert (facts["primed_requests"], facts["primed_ttft_s"], facts["primed_e2e_s"]) == (3, 0, 0)
    assert str(facts["prime_error"]).startswith("http_500: paced: ")
