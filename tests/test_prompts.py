"""Prompts: lengths follow their law, and no prompt is warm unless it was asked to be."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from bench.prompts import (
    Empirical,
    Fixed,
    LogNormal,
    Prompts,
    Range,
    ShapeLaw,
    Trace,
    draw,
    longest,
    read_pairs,
    read_trace,
)
from hardware_profiles.faults import InputError

LAWS: dict[str, ShapeLaw] = {
    "fixed": Fixed(input_tokens=100, output_tokens=20),
    "range": Range(input_low=90, input_high=110, output_low=1, output_high=3),
    "lognormal": LogNormal(
        input_median=500, input_sigma=0.8, input_max=4000, output_median=100, output_sigma=0.5, output_max=400
    ),
    "empirical": Empirical(pairs=((10, 1), (20, 2), (30, 3))),
    "trace": Trace(rows=((0.0, 5, 6), (1.0, 7, 8))),
}


@pytest.mark.parametrize("name", LAWS)
def test_fewer_rows_are_the_same_rows(name: str) -> None:
    """A law's first rows do not depend on how many are drawn, and stay within its longest request."""
    few, many = draw(LAWS[name], 5, 50), draw(LAWS[name], 5, 500)
    for short, long, most in zip(few, many, longest(LAWS[name]), strict=True):
        assert np.array_equal(short, long[:50])
        assert 1 <= long.min() <= long.max() <= most


def test_the_seed_makes_the_rows() -> None:
    """Another seed draws other lengths; the same seed the same."""
    one, same, other = (draw(LAWS["range"], seed, 100)[0] for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_log_normal_keeps_its_median_and_spread() -> None:
    """Median and sigma of the logarithm come out of 20,000 draws within 3 %, far from the cut."""
    law = LogNormal(input_median=500, input_sigma=0.8, input_max=10**6, output_median=9, output_sigma=0, output_max=99)
    inputs, outputs = draw(law, 1, 20_000)
    assert np.median(inputs) == pytest.approx(500, rel=0.03)
    assert np.log(inputs).std() == pytest.approx(0.8, rel=0.03)
    assert set(outputs.tolist()) == {9}


def test_pairs_keep_their_correlation() -> None:
    """An empirical law never mixes the input of one request with the output of another."""
    inputs, outputs = draw(LAWS["empirical"], 3, 1000)
    assert set(zip(inputs.tolist(), outputs.tolist(), strict=True)) == {(10, 1), (20, 2), (30, 3)}


def ids(prompts: Prompts, request: int, tokens: int, **more: int) -> list[int]:
    told: list[int] = json.loads(prompts.prompt(request, tokens, **more))
    return told


@pytest.mark.parametrize("vocab", [32, 300, 128_256])
def test_no_two_prompts_share_a_block(vocab: int) -> None:
    """Over two runs of 500 requests no first block of 16 tokens comes twice; ids are in range, lengths as asked."""
    heads = set()
    for nonce in (1, 2):
        prompts = Prompts(seed=1, nonce=nonce, vocab_size=vocab, longest_input=200)
        for request in range(500):
            told = ids(prompts, request, 100 + request % 100)
            assert len(told) == 100 + request % 100
            assert 0 <= min(told) <= max(told) < vocab
            heads.add(tuple(told[:16]))
    assert len(heads) == 1000


def test_a_shared_prefix_is_shared_to_its_length_and_no_further() -> None:
    """Two prompts with 64 shared tokens agree in exactly those; a shorter share is the head of a longer one."""
    prompts = Prompts(seed=1, nonce=9, vocab_size=128_256, longest_input=200)
    one, two = (ids(prompts, request, 200, shared=64, prefix=1) for request in (5, 6))
    assert one[:64] == two[:64]
    assert one[64] != two[64]
    assert ids(prompts, 7, 200, shared=32, prefix=1)[:32] == one[:32]
    assert ids(prompts, 5, 200, shared=64, prefix=2)[:16] != one[:16]


def test_the_same_seed_and_nonce_give_the_same_prompts() -> None:
    """A run can be repeated token for token."""
    one, two = (Prompts(seed=4, nonce=5, vocab_size=1000, longest_input=90) for _ in range(2))
    assert [one.prompt(k, 90) for k in range(9)] == [two.prompt(k, 90) for k in range(9)]


def test_words_stand_in_where_the_tokenizer_is_unknown() -> None:
    """Without a vocabulary a prompt is as many words, in quotes, and as cold."""
    prompts = Prompts(seed=1, nonce=9, vocab_size=None, longest_input=80)
    texts = [json.loads(prompts.prompt(request, 80)) for request in range(50)]
    assert {len(text.split()) for text in texts} == {80}
    assert len({tuple(text.split()[:16]) for text in texts}) == 50


def test_pairs_are_read_from_a_file(tmp_path: Path) -> None:
    """Columns are found by name, in any order, with others beside them."""
    path = tmp_path / "pairs.csv"
    path.write_text("model,output_tokens,input_tokens\na,7,100\nb,8,200\n")
    assert read_pairs(path).pairs == ((100, 7), (200, 8))


def test_a_trace_starts_at_its_first_row(tmp_path: Path) -> None:
    """Times are counted from the first row."""
    path = tmp_path / "trace.csv"
    path.write_text("time_s,input_tokens,output_tokens\n10.5,1,2\n12,3,4\n")
    assert read_trace(path).rows == ((0.0, 1, 2), (1.5, 3, 4))


BAD = {
    "time_s,input_tokens,output_tokens\n0,1,2\n1,x,0\n-1,1,1\n": [
        "{}:3: column 'input_tokens', value 'x': not a number of this kind. Remedy: write a whole number from 1 up.",
        "{}:3: column 'output_tokens', value '0': not a number of this kind. Remedy: write a whole number from 1 up.",
        "{}:4: column 'time_s', value '-1': not a number of this kind. Remedy: write seconds from 0 up.",
    ],
    "time_s,input_tokens\n0,1\n": ["{}:1: column 'output_tokens': missing column. Remedy: add it to the header."],
    "time_s,input_tokens,output_tokens\n": ["{}: no rows. Remedy: give at least one request."],
    "time_s,input_tokens,output_tokens\n2,1,1\n1,1,1\n": [
        "{}:3: column 'time_s', value '1.0': goes back in time. Remedy: sort the rows by time."
    ],
    "": [
        "{}:1: column 'time_s': missing column. Remedy: add it to the header.",
        "{}:1: column 'input_tokens': missing column. Remedy: add it to the header.",
        "{}:1: column 'output_tokens': missing column. Remedy: add it to the header.",
    ],
}


@pytest.mark.parametrize("text", BAD)
def test_every_fault_of_a_trace_is_told_at_once(tmp_path: Path, text: str) -> None:
    """Each fault names file, line, column, value and remedy."""
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_trace(path)
    assert str(caught.value).splitlines() == [line.format(path) for line in BAD[text]]


def test_a_file_that_is_not_text_is_told(tmp_path: Path) -> None:
    """Wrong encodings and missing files are faults, not tracebacks."""
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"input_tokens,output_tokens\n\xff\xfe,1\n")
    with pytest.raises(InputError, match=re.escape("not UTF-8 text. Remedy: save the file as UTF-8.")):
        read_pairs(path)
    with pytest.raises(InputError, match=re.escape("cannot be read (No such file or directory)")):
        read_pairs(tmp_path / "none.csv")
