"""The forecast: what is read, what is brought to hours, what is repeated; faults are in `test_bad_inputs.py`."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_profiles.faults import InputError
from planner.forecast import Forecast, read_forecast, read_scenarios, tile

START = datetime(2027, 1, 4, tzinfo=UTC)
HEADER = "timestamp,workload,requests,input_tokens,output_tokens\n"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "forecast.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(count: int, step: timedelta, *, workload: str = "chat", requests: float = 60.0) -> str:
    lines = []
    for index in range(count):
        at = (START + index * step).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines.append(f"{at},{workload},{requests + index},{10 * (requests + index)},{2 * (requests + index)}\n")
    return "".join(lines)


def hourly(count: int) -> Forecast:
    """A forecast of one workload whose requests are 0, 1, 2, ..."""
    counts = np.arange(count, dtype=np.float64)[:, None]
    return Forecast(
        path=Path("forecast.csv"),
        sha256="",
        start=START,
        workloads=("chat",),
        requests=counts,
        input_tokens=10 * counts,
        cached_input_tokens=0 * counts,
        output_tokens=2 * counts,
        source_hour=np.arange(count),
    )


def test_an_hourly_file_is_read_as_it_stands(tmp_path: Path) -> None:
    """Workloads keep the file's order, rows may come in any order, and the digest is of the file's bytes."""
    text = (
        "timestamp,workload,requests,input_tokens,cached_input_tokens,output_tokens\n"
        "2027-01-04T01:00:00Z,search,3,40,10,6\n"
        "2027-01-04T00:00:00Z,chat,1,20,5,3\n"
        "2027-01-04T00:00:00Z,search,2,30,0,4\n"
        "2027-01-04T01:00:00Z,chat,0,0,0,0\n"
    )
    path = write(tmp_path, text)
    forecast = read_forecast(path)
    assert forecast.workloads == ("search", "chat")
    assert forecast.start == START
    assert forecast.start.tzinfo is UTC
    assert forecast.requests.tolist() == [[2, 1], [3, 0]]
    assert forecast.input_tokens.tolist() == [[30, 20], [40, 0]]
    assert forecast.cached_input_tokens.tolist() == [[0, 5], [10, 0]]
    assert forecast.output_tokens.tolist() == [[4, 3], [6, 0]]
    assert forecast.source_hour.tolist() == [0, 1]
    assert forecast.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert forecast.path == path
    assert (forecast.notes, forecast.scenario, forecast.probability, forecast.hours) == ((), None, 1.0, 2)


def test_arrays_cannot_be_written(tmp_path: Path) -> None:
    """A forecast is a value: nobody downstream can change it for the others."""
    forecast = read_forecast(write(tmp_path, HEADER + rows(3, timedelta(hours=1))))
    with pytest.raises(ValueError, match="read-only"):
        forecast.requests[0, 0] = 1


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,  # a byte order mark, as spreadsheets write
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("chat", '"chat"'),
        lambda text: text.replace(",", " , "),
        lambda text: text.replace("timestamp", "Timestamp"),
        lambda text: text + "\n\n,,,,\n",
        lambda text: text.replace("T0", " 0"),
        lambda text: text.replace("Z", "+00:00"),
    ],
)
def test_harmless_differences_of_writing_change_nothing(tmp_path: Path, change: object) -> None:
    """Byte order mark, line ends, quotes, spaces, capitals, blank rows and ways to write UTC do not matter."""
    plain = HEADER + rows(3, timedelta(hours=1))
    forecast = read_forecast(write(tmp_path, change(plain)))  # type: ignore[operator]
    assert forecast.workloads == ("chat",)
    assert forecast.requests[:, 0].tolist() == [60, 61, 62]
    assert forecast.notes == ()


def test_quoted_names_keep_their_commas(tmp_path: Path) -> None:
    """A name is data: commas, quotes and markup in it survive."""
    name = 'chat, "beta" <b>'
    text = HEADER + '2027-01-04T00:00:00Z,"chat, ""beta"" <b>",1,2,3\n'
    assert read_forecast(write(tmp_path, text)).workloads == (name,)


def test_shorter_intervals_are_added_up(tmp_path: Path) -> None:
    """Four quarters of an hour make one hour and nothing is lost."""
    forecast = read_forecast(write(tmp_path, HEADER + rows(8, timedelta(minutes=15))))
    assert forecast.requests[:, 0].tolist() == [60 + 61 + 62 + 63, 64 + 65 + 66 + 67]
    assert forecast.input_tokens[:, 0].tolist() == [10 * 246, 10 * 262]
    assert forecast.source_hour.tolist() == [0, 1]
    assert forecast.notes == ("The forecast has one row every 15 min: added up to hours.",)


def test_longer_intervals_are_spread_evenly_and_it_is_said(tmp_path: Path) -> None:
    """A day's total is spread over its 24 hours, which are known to be copies of one another."""
    forecast = read_forecast(write(tmp_path, HEADER + rows(2, timedelta(days=1), requests=48)))
    assert forecast.hours == 48
    assert forecast.requests[:24, 0].tolist() == [2.0] * 24
    assert forecast.requests[24:, 0].sum() == pytest.approx(49)
    assert forecast.source_hour.tolist() == [0] * 24 + [24] * 24
    assert forecast.notes == (
        "The forecast has one row every 24 h: spread evenly over its hours, peaks inside are not seen.",
    )


def test_calendar_months_are_a_regular_interval(tmp_path: Path) -> None:
    """Months differ in length; each month's total is spread over its own hours."""
    text = HEADER + "".join(f"2028-{month:02}-01,chat,744,7440,1488\n" for month in (1, 2, 3))
    forecast = read_forecast(write(tmp_path, text))
    assert forecast.hours == (31 + 29 + 31) * 24
    assert forecast.requests[0, 0] == 1.0
    assert forecast.requests[31 * 24, 0] == 744 / (29 * 24)
    assert forecast.requests.sum() == pytest.approx(3 * 744)
    assert forecast.notes == (
        "Times in the forecast name no zone: taken as UTC.",
        "The forecast has one row every month: spread evenly over its hours, peaks inside are not seen.",
    )


def test_several_offsets_are_one_sequence_in_utc(tmp_path: Path) -> None:
    """A clock change is no gap when times carry their offset; half-hour zones keep their hours."""
    text = (
        "timestamp,requests,input_tokens,output_tokens\n"
        "2027-03-28T01:30:00+01:00,1,2,3\n"
        "2027-03-28T03:30:00+02:00,2,4,6\n"
    )
    forecast = read_forecast(write(tmp_path, text))
    assert forecast.start == datetime(2027, 3, 28, 0, 30, tzinfo=UTC)
    assert forecast.requests[:, 0].tolist() == [1, 2]
    assert forecast.workloads == ("all",)
    assert forecast.notes == ("The forecast has no workload column: its one workload is called 'all'.",)


def test_a_single_time_is_one_hour(tmp_path: Path) -> None:
    """One row is a forecast of one hour, and that is said."""
    forecast = read_forecast(write(tmp_path, HEADER + rows(1, timedelta(hours=1))))
    assert (forecast.hours, forecast.notes) == (1, ("The forecast has a single time: taken as one hour.",))


def test_scenarios_are_forecasts_of_the_same_hours(tmp_path: Path) -> None:
    """Each scenario is a forecast with its probability; reading one alone is refused while there are more."""
    text = "timestamp,requests,input_tokens,output_tokens,scenario,probability\n" + "".join(
        f"2027-01-04T{hour:02}:00:00Z,{scale * (1 + hour)},{scale * 10},{scale * 5},{name},{probability}\n"
        for name, scale, probability in (("base", 1, 0.75), ("high", 2, 0.25))
        for hour in (0, 1)
    )
    path = write(tmp_path, text)
    base, high = read_scenarios(path)
    assert (base.scenario, base.probability, high.scenario, high.probability) == ("base", 0.75, "high", 0.25)
    assert base.requests[:, 0].tolist() == [1, 2]
    assert high.requests[:, 0].tolist() == [2, 4]
    with pytest.raises(InputError) as caught:
        read_forecast(path)
    assert str(caught.value) == (
        f"{path}: column 'scenario', value 'base, high': planning over several scenarios is not supported yet. "
        "Remedy: keep one."
    )


def test_scenarios_without_probabilities_are_equally_likely(tmp_path: Path) -> None:
    """Where the file gives no probability the scenarios share it evenly, and that is said."""
    text = "timestamp,requests,input_tokens,output_tokens,scenario\n" + "".join(
        f"2027-01-04T00:00:00Z,1,2,3,{name}\n" for name in "abcd"
    )
    scenarios = read_scenarios(write(tmp_path, text))
    assert [scenario.probability for scenario in scenarios] == [0.25] * 4
    assert "The forecast gives its scenarios no probability: taken as equally likely." in scenarios[0].notes


def test_tiling_keeps_the_weekday(tmp_path: Path) -> None:
    """Ten days are followed by their last seven: an hour repeats one a whole number of weeks before."""
    tiled, note = tile(hourly(240), 1000)
    assert note == "The forecast covers 240 h; the plan's 1000 h repeat its last week."
    assert tiled.source_hour[:240].tolist() == list(range(240))
    assert tiled.source_hour[240:].min() == 72
    assert ((np.arange(1000) - tiled.source_hour) % 168 == 0).all()
    assert (tiled.requests[:, 0] == tiled.source_hour).all()


@settings(deadline=None)  # the cores are shared
@given(have=st.integers(24, 1000), hours=st.integers(1, 3000))
def test_a_tiled_forecast_holds_copies_only(have: int, hours: int) -> None:
    """Whatever the lengths, every hour equals the hour it says it repeats, and hours of the file come first."""
    forecast = hourly(have)
    tiled, note = tile(forecast, hours)
    assert tiled.hours == hours
    assert (tiled.output_tokens == forecast.output_tokens[tiled.source_hour]).all()
    assert tiled.source_hour[:have].tolist() == list(range(min(have, hours)))
    assert (note is None) == (have == hours)
    assert not tiled.requests.flags.writeable


def test_days_are_repeated_where_there_is_no_week() -> None:
    """Two and a half days repeat their last two days; that weekends are unknown is said."""
    tiled, note = tile(hourly(60), 120)
    assert note == (
        "The forecast covers 60 h; the plan's 120 h repeat its last 2 days "
        "(shorter than a week: weekends are not seen)."
    )
    assert tiled.source_hour[60:].tolist() == [*range(12, 60), *range(12, 24)]


def test_a_longer_forecast_is_cut_and_it_is_said() -> None:
    """A horizon shorter than the forecast uses its first hours."""
    tiled, note = tile(hourly(100), 30)
    assert note == "The forecast covers 100 h; the plan uses the first 30 h."
    assert tiled.source_hour.tolist() == list(range(30))


def test_less_than_a_day_is_not_repeated() -> None:
    """Nobody knows a day from a part of it."""
    with pytest.raises(InputError) as caught:
        tile(hourly(23), 24)
    assert str(caught.value) == (
        "forecast.csv: covers 23 h, which cannot be repeated to the 24 h of the plan. "
        "Remedy: give at least 24 hours, better a week or more."
    )


def test_copies_of_a_day_stay_copies_when_tiled(tmp_path: Path) -> None:
    """Hours made from one daily row are marked alike, also after tiling, so that they can be merged without loss."""
    forecast = read_forecast(write(tmp_path, HEADER + rows(7, timedelta(days=1))))
    tiled, _ = tile(forecast, 336)
    assert len(np.unique(tiled.source_hour)) == 7
    for hour in np.unique(tiled.source_hour):
        assert len(np.unique(tiled.requests[tiled.source_hour == hour])) == 1
