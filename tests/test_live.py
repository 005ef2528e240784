"""The live table: what runs now, what is unknown, and how much is left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bench.driver import Target
from bench.live import NOW, Left, LiveTable, now_row, up_front
from bench.order import Progress
from bench.plan import Pace, RunPlan, default_shapes
from bench.prompts import Fixed
from bench.schedule import Stage
from bench.watch import Glance
from hardware_profiles.curve import Estimate, Point, Shape

SHAPE = Fixed(input_tokens=100, output_tokens=20)
STAGE = Stage(name="shape-0-100x20-load-4", mode="closed", shape=SHAPE, seed=1, load=4, cap_s=120)


def at(elapsed_s: float = 20.0, **changes: float | None) -> Progress:
    facts = {"completed": 80, "failed": 0, "throughput_per_s": 4.0, "output_tokens_per_s": 80.0, "in_flight": 4}
    facts |= {"ttft_s": 0.123, "tpot_s": 0.0125, "throughput_width": 0.04, "tpot_width": 0.01} | changes  # type: ignore[assignment]
    return Progress(elapsed_s=elapsed_s, **facts)  # type: ignore[arg-type]


def plan(**changes: object) -> RunPlan:
    target = Target(url="http://127.0.0.1:9", model="m")
    facts = {"model": "m", "gpu": "cpu", "target": target, "shapes": (SHAPE, SHAPE), "max_load": 10} | changes
    return RunPlan.model_validate({**facts, "pace": Pace(rate_stages=6)})


@pytest.mark.parametrize(
    ("progress", "glance", "row"),
    [
        # everything is known
        (
            at(),
            Glance(kv_cache_use=0.42, waiting=3.0, power_w=651.6),
            ("<100 s", "<9 min", "4", "3", "80", "0", "80 ±4%", "123", "12.5", "42%", "652"),
        ),
        # a server without a page, a machine without a GPU, nothing served yet
        (
            at(1.5, completed=0, output_tokens_per_s=None, ttft_s=None, tpot_s=None, throughput_width=None),
            Glance(),
            ("<2 min", "<9 min", "4", "-", "0", "0", "-", "-", "-", "-", "-"),
        ),
    ],
)
def test_the_running_stage(progress: Progress, glance: Glance, row: tuple[str, ...]) -> None:
    """Latencies in ms, KV use in %, watts, time left at most; what is unknown is a dash, never zero."""
    told = now_row(STAGE, progress, glance, (STAGE.cap_s - progress.elapsed_s, 500.0))
    assert told == (STAGE.name, row[0].replace("100 s", "2 min"), *row[1:])


def test_what_is_left() -> None:
    """Two shapes of four levels (1 to 8) and six rates: 20 stages at most, each as long as those so far."""
    left = Left(plan())
    assert left.seconds(STAGE, at(20.0)) == (100.0, 100.0 + 19 * 120.0)
    left.finished(30.0)
    left.finished(50.0)
    left.finished(None)  # stood in the folder: says nothing about how long one takes
    assert left.seconds(STAGE, at(20.0)) == (100.0, 100.0 + 16 * 40.0)
    left.ended()  # the first levels ended a stage early
    assert left.seconds(STAGE, at(20.0)) == (100.0, 100.0 + 15 * 40.0)
    default = STAGE.model_copy(update={"shape": default_shapes(None)[0]})
    assert Left(plan(rate_search=False, shapes=())).seconds(default, at(20.0))[1] == 100.0 + 11 * 120.0
    assert Left(plan(rate_search=False, loads=(1, 8))).seconds(STAGE, at(20.0))[1] == 100.0 + 3 * 120.0


def test_longer_answers_take_longer() -> None:
    """Requests take 10 s and levels 80 s; the second shape's answers are five times as long, so seven times 50 s."""
    left = Left(plan(rate_search=False, shapes=(SHAPE, Fixed(input_tokens=100, output_tokens=100))))
    left.finished(80.0)
    long = STAGE.model_copy(update={"stagger_s": 10.0})
    assert left.seconds(long, at(20.0))[1] == 100.0 + 2 * 80.0 + 4 * 350.0


def test_past_its_cap_a_stage_tells_what_it_may_still_take() -> None:
    """Requests prove longer than expected; then the last of them are waited for, 60 s at most."""
    longer = STAGE.model_copy(update={"longest_s": 200.0})
    left_s = [Left(plan()).seconds(longer, at(elapsed_s))[0] for elapsed_s in (100.0, 150.0, 210.0, 270.0)]
    assert left_s == [20.0, 50.0, 50.0, 0.0]


def test_a_round_alone_says_nothing_of_how_long_stages_are() -> None:
    """Its load lasts half a second and its answers may take half an hour; 20 stages of 120 s follow, less one."""
    alone = STAGE.model_copy(update={"cap_s": 0.5, "stagger_s": 0.0, "drain_s": 1800.0})
    assert Left(plan()).seconds(alone, at(100.5)) == (1700.0, 1700.0 + 19 * 120.0)


def test_what_is_said_before_it_begins() -> None:
    """Stages and time at most; with a stated length nothing gets longer."""
    assert up_front(plan()) == (
        "at most 20 stages of 120 s, 40 min; open-loop ones up to four times that; longer where requests take more "
        "than 14 s, which is told when the first has ended"
    )
    short = plan(rate_search=False).model_copy(update={"pace": Pace(stage_s=15, warm_up_s=3)})
    assert up_front(short) == "at most 8 stages of 15 s, 2 min"


def test_the_screen() -> None:
    """The running stage has a line of its own below the points that are done."""
    clock = iter([0.0, 30.0]).__next__
    console = Console(width=200, file=io.StringIO(), color_system=None)
    table = LiveTable(console, plan(), clock)
    table.events.started(STAGE)
    point = Point(
        shape=Shape(input_tokens=100, output_tokens=20),
        mode="closed",
        load=2,
        throughput_per_s=3,
        output_tokens_per_s=60,
        ttft_s={"p50": Estimate(value=0.1)},
    )
    table.events.finished(STAGE, point, False)
    table.events.progress(STAGE, at(), Glance(power_w=300.0))
    with console.capture() as capture:
        console.print(table.render())
    lines = [line.split() for line in capture.get().splitlines() if line.strip()]
    assert lines[0] == ["100/20", "tokens"]
    assert " ".join(NOW).split() in lines
    last = "<2 min <11 min 4 - 80 0 80 ±4% 123 12.5 - 300"
    assert " ".join(lines[-1]) == f"{STAGE.name} {last}"
