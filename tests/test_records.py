"""Raw records: what is written comes back, the unknown stays unknown, and no file is half there."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.records import COLUMNS, Records, concat, digest, from_rows, read_records, write_records
from hardware_profiles.faults import InputError


def row(request: int, sent_s: float = math.nan, **more: Any) -> dict[str, Any]:
    told: dict[str, Any] = dict.fromkeys(COLUMNS, -1) | {"request": request, "worker": 0, "events": 0}
    told |= {name: math.nan for name in COLUMNS if name.endswith("_s")} | {"scheduled_s": 0.0, "sent_s": sent_s}
    return told | {"status": "ok", "error": ""} | more


def three() -> Records:
    rows = [row(0, 2.0), row(1, 1.0, input_tokens=5, first_token_s=1.5), row(2, status="refused", error="nobody ☃")]
    return from_rows(rows, [np.array([2.1, 2.2]), np.array([1.5]), np.array([])])


def test_rows_stand_in_order_of_sending() -> None:
    """A request that was never sent stands where it was scheduled; chunks stay with their rows."""
    records = three()
    assert records.request.tolist() == [2, 1, 0]
    assert records.chunk_from.tolist() == [0, 0, 1, 3]
    assert records.chunk_s.tolist() == [1.5, 2.1, 2.2]
    assert records.ok.tolist() == [False, True, True]


def test_a_selection_keeps_its_chunks() -> None:
    """By mask or by index, in the order asked for."""
    picked = three().select(np.array([2, 0, 1]))
    assert picked.request.tolist() == [0, 2, 1]
    assert picked.chunk_s.tolist() == [2.1, 2.2, 1.5]
    masked = three().select(three().ok)
    assert masked.request.tolist() == [1, 0]
    assert masked.chunk_from.tolist() == [0, 1, 3]


def test_parts_join_in_order() -> None:
    """Two workers' records become one, ordered by sending."""
    other = from_rows([row(7, 1.5)], [np.array([1.6])])
    joined = concat([three(), other])
    assert joined.request.tolist() == [2, 1, 7, 0]
    assert joined.chunk_s.tolist() == [1.5, 1.6, 2.1, 2.2]
    assert len(concat([])) == 0


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    """Every column, every chunk, the metadata; the digest is the file's."""
    path = tmp_path / "deep" / "stage.parquet"
    sha256 = write_records(three(), path, {"load_s": 1.5})
    records, metadata = read_records(path)
    for name in (*COLUMNS, "chunk_from", "chunk_s"):
        expected, got = getattr(three(), name), getattr(records, name)
        assert got.dtype == expected.dtype, name
        same = got.tolist() if got.dtype == object else pytest.approx(got.tolist(), nan_ok=True)
        assert expected.tolist() == same, name
    assert records.error.tolist() == ["nobody ☃", "", ""]
    assert metadata == {"format": "spillway-records/1", "load_s": 1.5}
    assert sha256 == digest(path)
    assert [p.name for p in path.parent.iterdir()] == ["stage.parquet"]


def test_the_unknown_is_null_in_the_file(tmp_path: Path) -> None:
    """NaN and -1 are only how memory holds what nobody knows."""
    import pyarrow.parquet as pq

    path = tmp_path / "stage.parquet"
    write_records(three(), path, {})
    table = pq.read_table(path)
    assert table["input_tokens"].to_pylist() == [None, 5, None]
    assert table["sent_s"].to_pylist() == [None, 1.0, 2.0]


def test_the_same_records_are_the_same_bytes(tmp_path: Path) -> None:
    """So that a digest says whether a measurement was touched."""
    assert write_records(three(), tmp_path / "a", {"x": 1}) == write_records(three(), tmp_path / "b", {"x": 1})


def test_nothing_is_half_written(tmp_path: Path) -> None:
    """When writing fails the old file stands, and no temporary one is left."""
    path = tmp_path / "stage.parquet"
    write_records(three(), path, {})
    before = digest(path)
    broken = from_rows([row(0, 1.0, error=object())], [np.array([])])
    with pytest.raises(TypeError):
        write_records(broken, path, {})
    assert digest(path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["stage.parquet"]


@pytest.mark.parametrize("content", [b"", b"PAR1 nothing", b"a,b\n1,2\n"])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """Not one of ours: a fault with the file's name and a remedy."""
    path = tmp_path / "stage.parquet"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a file of raw records") as caught:
        read_records(path)
    assert caught.value.faults[0].file == str(path)
    assert caught.value.faults[0].remedy == "give a Parquet file that `bench` wrote"


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """The same fault, not a traceback."""
    with pytest.raises(InputError, match="not a file of raw records"):
        read_records(tmp_path / "none.parquet")
