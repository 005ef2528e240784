"""Pictures show the curve's own numbers: what is drawn is read back from the axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.plot import figure_of, write_plot
from hardware_profiles.curve import Estimate, Shape
from hardware_profiles.faults import InputError
from hardware_profiles.slo import Slo
from tests.test_show import FAILED, TWO, curve, point, sampled

OPEN = {"mode": "open", "load": None, "offered_rate_per_s": 1.5}
OTHER = Shape(input_tokens=100, output_tokens=20)
MEASURED = curve(
    sampled(1, 0.1),
    sampled(2, 0.1, tpot_s={"p50": Estimate(value=0.015), "p95": Estimate(value=0.03)}),
    sampled(4, 0.1, checks=(FAILED,)),
    sampled(3, 0.1, **OPEN),
    sampled(2, 0.6, shape=OTHER),
)
PUBLISHED = curve(point(1, ttft_s={"mean": Estimate(value=0.2)}, tpot_s={}), point(2, ttft_s={}, tpot_s={}))


def drawn(axis: Any, style: str, marker: str = "None") -> list[tuple[list[float], list[float]]]:
    """(x, y) of every line of a style, in the order in which they were drawn."""
    lines = [line for line in axis.get_lines() if (line.get_linestyle(), line.get_marker()) == (style, marker)]
    return [(list(line.get_xdata()), [round(y, 6) for y in line.get_ydata()]) for line in lines]


def hollow(axis: Any, marker: str) -> list[tuple[float, bool]]:
    """(x, whether it is hollow) of every mark."""
    marks = [line for line in axis.get_lines() if line.get_marker() == marker]
    return [(line.get_xdata()[0], line.get_markerfacecolor() == "none") for line in marks]


def test_throughput_is_drawn_against_load() -> None:
    """A line a shape through its levels, the marked one hollow, the rate left out; a legend that names the shapes."""
    axis = figure_of(MEASURED, None).axes[0]
    assert drawn(axis, "-") == [([1, 2, 4], [128, 256, 512]), ([2], [256])]
    assert hollow(axis, "o") == [(1, False), (2, False), (4, True), (2, False)]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["1024/256", "100/20"]
    assert len({line.get_color() for line in axis.get_lines()}) == 2


def test_latencies_are_drawn_against_throughput_in_milliseconds() -> None:
    """Medians drawn through, p95 dotted, marked points hollow here too, and rates as squares at their p95."""
    _, tpot, ttft = figure_of(MEASURED, None).axes
    assert drawn(tpot, "-")[0] == ([128, 256, 512], [12.5, 15, 12.5])
    assert drawn(tpot, ":")[0] == ([128, 256, 512], [20, 30, 20])
    assert drawn(ttft, "-")[0] == ([128, 256, 512], [100, 100, 100])
    assert hollow(tpot, "o") == [(128, False), (256, False), (512, True), (256, False)]
    assert drawn(ttft, "None", "s") == [([384], [200])]
    assert not drawn(ttft, "--")


def test_the_slo_is_drawn_as_limits_and_knees() -> None:
    """TTFT and TPOT as lines across; each shape's knee as a dotted line up, none where its first level misses."""
    throughput, tpot, ttft = figure_of(MEASURED, Slo(ttft_s=0.5, tpot_s=0.04)).axes
    assert [y for _, y in drawn(ttft, "--")] == [[500, 500]]
    assert [y for _, y in drawn(tpot, "--")] == [[40, 40]]
    assert [x for x, _ in drawn(throughput, ":")] == [[2, 2]], "of the first shape only, below its marked level"
    late = figure_of(MEASURED, Slo(e2e_s=2.0)).axes
    assert [x for x, _ in drawn(late[0], ":")] == [[2, 2], [2, 2]]
    assert not drawn(late[1], "--") + drawn(late[2], "--"), "E2E has no axes of its own"


def test_what_a_curve_does_not_say_is_not_drawn() -> None:
    """A published curve with a mean TTFT at one load, and no TPOT."""
    _, tpot, ttft = figure_of(PUBLISHED, None).axes
    assert not tpot.get_lines()
    assert drawn(ttft, "-") == [([128], [200])]


@pytest.mark.parametrize("ending", ["png", "svg", "html"])
def test_pictures(tmp_path: Path, ending: str) -> None:
    """Each kind is written whole, the same bytes every time, and HTML is self-contained with names escaped."""
    path = tmp_path / f"curve.{ending}"
    write_plot(TWO, path, Slo(ttft_s=0.5, tpot_s=0.03))
    first = path.read_bytes()
    write_plot(TWO, path, Slo(ttft_s=0.5, tpot_s=0.03))
    assert path.read_bytes() == first
    assert first[:4] in (b"\x89PNG", b"<?xm", b"<!do")
    if ending == "html":
        text = first.decode()
        assert "<h1>a&lt;b&gt;[bold]model" in text
        assert "src=" not in text
        assert "a<b>" not in text


def test_a_picture_of_no_kind_is_a_fault(tmp_path: Path) -> None:
    """The ending tells the kind."""
    with pytest.raises(InputError) as caught:
        write_plot(TWO, tmp_path / "curve.pdf")
    assert caught.value.faults[0].remedy == "end it in .png, .svg or .html"
    assert not list(tmp_path.iterdir())
