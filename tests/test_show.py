"""Tables and comparisons come from the curve and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from bench.compare import common_levels, comparison_table, difference
from bench.show import curve_table, knee_lines, library_table, point_row
from hardware_profiles.curve import Check, Conditions, Curve, Ended, Estimate, Gpu, Point, Sample, Shape
from hardware_profiles.slo import Slo

SHAPE = Shape(input_tokens=1024, output_tokens=256)


def point(size: float, **changes: Any) -> Point:
    facts: dict[str, Any] = {
        "shape": SHAPE,
        "mode": "closed",
        "load": size,
        "throughput_per_s": size / 2,
        "output_tokens_per_s": size * 128,
        "ttft_s": {"p50": Estimate(value=0.1, low=0.09, high=0.12), "p95": Estimate(value=0.2)},
        "tpot_s": {"p50": Estimate(value=0.0125), "p95": Estimate(value=0.02)},
        "checks": (Check(name="errors", verdict="pass", reason="none"),),
    }
    return Point(**(facts | changes))


def sampled(size: float, ttft_s: float, **changes: Any) -> Point:
    return point(size, sample=(Sample(ttft_s=ttft_s, tpot_s=0.01, e2e_s=1.0),) * 40, **changes)


def curve(*points: Point, **changes: Any) -> Curve:
    conditions = Conditions(engine="vllm", engine_version="0.32.0", measured_at="2026-11-20", notes=("[red]a note",))
    facts: dict[str, Any] = {
        "kind": "measured",
        "model": "a<b>[bold]model\x1b[2J",
        "precision": "bf16",
        "gpu": Gpu(name="h100-80gb-sxm", count=2),
        "conditions": conditions,
        "points": points,
    }
    return Curve(**(facts | changes))


FAILED = Check(name="client_busy", verdict="fail", reason="the busiest client process used 99% of a core")
TWO = curve(
    point(1),
    point(2, checks=(FAILED,), bottleneck="client"),
    point(4, mode="open", load=None, offered_rate_per_s=1.5, ttft_s={}, tpot_s={}, kv_cache_use=0.5, power_w=651.4),
)


def printed(renderable: Any) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def test_a_curve_is_a_table() -> None:
    """A row a point; intervals as half-widths; the unknown is empty; the marked point says what failed and why."""
    assert [point_row(each) for each in TWO.points] == [
        ("1", "0.5", "128", "100 ±20%", "200", "12.5", "20", "", "", "", "", "1 of 1 pass"),
        ("2", "1", "256", "100 ±20%", "200", "12.5", "20", "", "", "", "", "FAIL: client_busy (client)"),
        ("1.5/s", "2", "512", "", "", "", "", "50%", "", "651", "", "1 of 1 pass"),
    ]
    lines = printed(curve_table(TWO)).splitlines()
    header = next(line for line in lines if "req/s" in line)
    assert header.split() == ["load", "req/s", "tok/s", "TTFT", "ms", "p95", "TPOT", "ms", "p95", "KV", "W", "checks"]
    assert "failed at 2: client_busy: the busiest client process used 99% of a core" in lines


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        # the cap came first; where too little was served nobody knows how well
        (Ended(why="cap", asked_width=0.05, width=0.09), "at cap, ±9%"),
        (Ended(why="cap", asked_width=0.05), "at cap"),
        # the cap is what was asked for; or the width was there as it came
        (Ended(why="cap", width=0.09), ""),
        (Ended(why="cap", asked_width=0.05, width=0.05), ""),
        (Ended(why="narrow", asked_width=0.05, width=0.04), ""),
        (Ended(why="failing"), "failing"),
        (None, ""),
    ],
)
def test_a_stage_that_its_cap_ended_says_so(ended: Ended | None, told: str) -> None:
    """Behind what the checks say."""
    assert point_row(point(1, ended=ended))[-1] == f"1 of 1 pass{told and '; '}{told}"


def test_names_from_a_file_steer_nothing() -> None:
    """Markup and control characters of names and notes are shown, not obeyed."""
    text = printed(curve_table(TWO))
    assert "a<b>[bold]model\\x1b[2J on 2 x h100-80gb-sxm, vllm 0.32.0, bf16, measured" in text
    assert "note: [red]a note" in text
    assert "[bold]model\\x1b[2J" in printed(library_table((TWO,)))


def estimate(value: float, half: float | None) -> Estimate:
    return Estimate(value=value) if half is None else Estimate(value=value, low=value - half, high=value + half)


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        # 10 +- 1 against 12 +- 1: apart by more than sqrt(2)
        (estimate(10, 1), estimate(12, 1), "slower"),
        (estimate(12, 1), estimate(10, 1), "faster"),
        # apart by less than sqrt(2)
        (estimate(10, 1), estimate(11.4, 1), "cannot tell"),
        # one side has no interval, or no value
        (estimate(10, 1), estimate(20, None), "cannot tell"),
        (None, estimate(20, 1), "cannot tell"),
    ],
)
def test_differences(first: Estimate | None, second: Estimate | None, verdict: str) -> None:
    """A difference counts when it is larger than the root of the sum of both half-widths' squares."""
    assert difference(first, second, lower_is_faster=True).verdict == verdict
    opposite = {"slower": "faster", "faster": "slower"}.get(verdict, verdict)
    assert difference(first, second, lower_is_faster=False).verdict == opposite


def test_levels_in_common() -> None:
    """Same shape, mode and load, on both sides usable; the table says when there is none."""
    other = curve(point(1, ttft_s={"p50": estimate(0.05, 0.001)}), point(2), point(8))
    assert [first.load for first, _ in common_levels(TWO, other)] == [1]
    assert common_levels(TWO, curve(point(1, shape=Shape(input_tokens=1050, output_tokens=250))))
    assert not common_levels(TWO, curve(point(1, shape=Shape(input_tokens=1050, output_tokens=240))))
    assert not common_levels(TWO, curve(point(1, shape=SHAPE.model_copy(update={"cached_tokens": 512}))))
    row = next(line for line in printed(comparison_table(TWO, other)).splitlines() if line.startswith("│"))
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        *("1024/256", "1", "1.000", "cannot tell", "0.500", "faster", "1.000", "cannot tell")
    ]
    assert "no shape and load in common" in printed(comparison_table(TWO, curve(point(64))))


def test_throughput_is_compared_by_its_interval() -> None:
    """128 tokens/s known within 2 % against 135 known within 2 %: faster; within 10 %: cannot tell; and it is shown."""

    def told(share: float) -> list[Any]:
        ways = (128.0, 135.0)
        bounds = [{"output_tokens_per_s_interval": (x * (1 - share), x * (1 + share))} for x in ways]
        one, two = (point(1, output_tokens_per_s=x, **more) for x, more in zip(ways, bounds, strict=True))
        row = next(line for line in printed(comparison_table(curve(one), curve(two))).splitlines() if "│" in line)
        return [point_row(one)[2], *[cell.strip() for cell in row.split("│")[3:5]]]

    assert told(0.02) == ["128 ±2%", "1.055", "faster"]
    assert told(0.10) == ["128 ±10%", "1.055", "cannot tell"]


def test_the_knee_of_an_slo() -> None:
    """Up to the highest load and rate below which nothing misses; a marked point and what lies beyond a miss do not
    count; without single requests it is unknown."""

    opened = {"mode": "open", "load": None, "offered_rate_per_s": 1.5}
    points = (sampled(1, 0.1), sampled(2, 0.1), sampled(4, 0.6), sampled(8, 0.1), sampled(3, 0.2, **opened))
    known = curve(*points)
    assert knee_lines(known, Slo(ttft_s=0.5)) == [
        "1024/256: 95% within TTFT 0.5 s up to load 2 (256 tok/s) and 1.5 requests/s"
    ]
    assert knee_lines(known, Slo(ttft_s=0.05)) == ["1024/256: 95% within TTFT 0.05 s up to no load that was measured"]
    assert knee_lines(TWO, Slo(ttft_s=0.5)) == ["the SLO's knee is unknown: this curve has no single requests"]
