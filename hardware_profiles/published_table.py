"""A published table of serving points, one row per point, read and validated.

Columns: `system` (GPU), `model`, `backend`, `backend_version`, `precision`, `isl`, `osl` (nominal tokens in and out),
`concurrency` (requests in flight of the whole deployment), `tp`, `gpus` (of the whole deployment), `ttft_ms`,
`tpot_ms`; where known also `pp`, `attention_dp` (replicas), `moe_ep` (GPUs the experts are spread over),
`measured_date`, `origin`. Other columns are ignored; a blank version, precision or date is unknown.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from hardware_profiles.curve import Precision
from hardware_profiles.facts import gpus, models
from hardware_profiles.faults import Faults, InputError
from hardware_profiles.names import resolve_gpu, resolve_model
from hardware_profiles.provenance import UNDATED, parse_day

NEEDED = (
    "system", "model", "backend", "backend_version", "precision", "isl", "osl", "concurrency", "tp", "gpus",
    "ttft_ms", "tpot_ms",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One row of the table in our units and names."""

    gpu: str
    model: str
    model_source: str
    engine: str
    engine_version: str | None
    precision: Precision | None
    input_tokens: int
    output_tokens: int
    concurrency: int
    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    expert_parallel: int
    gpus: int
    ttft_s: float
    tpot_s: float
    measured_at: str | None
    origin: str

    @property
    def curve_key(self) -> tuple[object, ...]:
        """Rows with the same one belong to one curve."""
        return (
            self.gpu, self.model, self.gpus, self.precision, self.tensor_parallel, self.pipeline_parallel,
            self.data_parallel, self.engine, self.engine_version,
        )  # fmt: skip

    @property
    def load_key(self) -> tuple[int, int, int]:
        """Nominal lengths and load."""
        return self.input_tokens, self.output_tokens, self.concurrency

    @property
    def replica_key(self) -> tuple[object, ...]:
        """Agrees for deployments whose replicas are alike, however many they are."""
        return (
            self.gpu, self.model, self.precision, self.tensor_parallel, self.pipeline_parallel, self.engine,
            self.engine_version,
        )  # fmt: skip


def read_table(path: Path) -> tuple[Row, ...]:
    """Read and validate the table; `InputError` names every fault at once."""
    faults = Faults(str(path))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for name in NEEDED:
                if name not in (reader.fieldnames or ()):
                    faults.add("column is missing", "add the column", column=name)
            faults.check()
            rows = [_row(_Cells(cells, reader.line_num, faults)) for cells in reader]
    except (OSError, UnicodeDecodeError) as error:
        faults.add(f"cannot be read ({error})", "give a UTF-8 CSV file")
        raise InputError(*faults.found) from error
    faults.check()
    return tuple(rows)


class _Cells:
    """One row's cells, read with faults that name line and column."""

    def __init__(self, cells: Mapping[str, str | None], line: int, faults: Faults) -> None:
        self.cells, self.line, self.faults = cells, line, faults

    def fault(self, what: str, remedy: str, column: str, value: object) -> None:
        self.faults.add(what, remedy, line=self.line, column=column, value=value)

    def text(self, column: str) -> str | None:
        return (self.cells.get(column) or "").strip() or None

    def number(self, column: str) -> float:
        text = self.text(column) or ""
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if 0 < value < float("inf"):
            return value
        self.fault("not a positive number", "write a number", column, text)
        return 1.0

    def whole(self, column: str, default: int | None = None) -> int:
        """A whole number; blank or 0 means `default` where there is one."""
        if default is not None and self.text(column) in (None, "0"):
            return default
        value = self.number(column)
        if value != int(value):
            self.fault("not a whole number", "write a whole number", column, self.text(column))
        return int(value)

    def gpu(self, column: str) -> str:
        return self._resolved(column, lambda text: resolve_gpu(text, gpus())[0].name)

    def model(self, column: str) -> str:
        return self._resolved(column, lambda text: resolve_model(text, models())[0].name)

    def precision(self, column: str) -> Precision | None:
        text = self.text(column)
        known: tuple[Precision, ...] = get_args(Precision)
        found = next((name for name in known if name == text), None)
        if text is not None and found is None:
            self.fault("unknown precision", f"write one of {', '.join(known)}, or nothing", column, text)
        return found

    def day(self, column: str) -> str | None:
        text = self.text(column)
        try:
            parse_day(text or UNDATED)
        except ValueError:
            self.fault("not a date", "write YYYY-MM-DD, or nothing", column, text)
        return text

    def _resolved(self, column: str, resolve: Callable[[str], str]) -> str:
        text = self.text(column) or ""
        try:
            return resolve(text)
        except InputError as error:
            self.fault(error.faults[0].what, error.faults[0].remedy, column, text)
            return ""


def _row(cells: _Cells) -> Row:
    return Row(
        gpu=cells.gpu("system"),
        model=cells.model("model"),
        model_source=cells.text("model") or "",
        engine=cells.text("backend") or "",
        engine_version=cells.text("backend_version"),
        precision=cells.precision("precision"),
        input_tokens=cells.whole("isl"),
        output_tokens=cells.whole("osl"),
        concurrency=cells.whole("concurrency"),
        tensor_parallel=cells.whole("tp"),
        pipeline_parallel=cells.whole("pp", 1),
        data_parallel=cells.whole("attention_dp", 1),
        expert_parallel=cells.whole("moe_ep", 1),
        gpus=cells.whole("gpus"),
        ttft_s=round(cells.number("ttft_ms") / 1000, 9),
        tpot_s=round(cells.number("tpot_ms") / 1000, 9),
        measured_at=cells.day("measured_date"),
        origin=cells.text("origin") or "",
    )
