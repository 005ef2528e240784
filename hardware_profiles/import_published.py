"""Turn a published table of serving points into curve files of kind `published`.

    python -m hardware_profiles.import_published TABLE.csv FOLDER --source "title, address, licence" --date 2026-08-21

Why: benchmark tables are what most people have before they measure. They are closed loop, state one number per latency
and leave much out; what they leave out stays None here, and what we add says so in the curve's notes.

The table's columns: `published_table.py`.

* A point is of the whole deployment: `gpus` of them serve `concurrency` requests in flight.
* Throughput is derived, not stated: a closed loop that always holds C requests serves C / E2E of them per second
  (Little 1961), with E2E = ttft + tpot x (output tokens - 1).
* Origins whose lengths are random get their mean length (`ORIGINS`), others the nominal one.
* Rows that agree in all but their origin are one. A curve is of one day: of several days the newest is kept, and the
  notes say what was left out.
* Two checks are made. `gpu_count` fails where replicas (attention_dp > 1) show the latencies that one of them showed at
  the same total load: the GPUs of the others are then not evident. `queueing` is `unknown` where most of E2E passed
  before the first token.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from hardware_profiles.curve import (
    Check,
    Conditions,
    Curve,
    Estimate,
    Gpu,
    Point,
    Shape,
    file_name,
    merge_points,
    write_curve,
)
from hardware_profiles.faults import Faults, run_cli
from hardware_profiles.published_table import Row, read_table

DERIVED = (
    "closed loop; throughput is derived as concurrency / (ttft + tpot x (output tokens - 1)), not stated by the source"
)
_SAME = 0.05
_WAITING = 0.5
UNSTATED = "the source does not say whether ttft and tpot are means or medians"


@dataclass(frozen=True)
class Origin:
    """What is known about the rows whose `origin` begins with a certain word."""

    mean_length: float
    """Mean tokens of a request / the nominal isl and osl."""
    note: str


ORIGINS: Mapping[str, Origin] = {
    "inferencex": Origin(
        0.9,
        "InferenceX draws input and output lengths between 80 and 100 % of the nominal ones: the shape is their mean, "
        "90 %; its own reports give medians",
    ),
    "nvidia_internal": Origin(1.0, "NVIDIA internal sweep; lengths are the nominal ones"),
}
NOMINAL = Origin(1.0, "lengths are the nominal ones")

MODEL_NOTES: Mapping[str, str] = {
    "meta-llama/Llama-3.1-70B": "InferenceX serves Llama-3.3-70B-Instruct-FP8 under this name, of one architecture",
    "openai/gpt-oss-120b": "the source calls the 4-bit weights nvfp4",
}


def curves_from(rows: Iterable[Row], source: str, source_date: str) -> tuple[Curve, ...]:
    """One curve per (GPU, model, precision, parallelism, engine version)."""
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in _once(rows):
        groups[row.curve_key].append(row)
    faults = Faults()
    for group in groups.values():
        spreads = sorted({row.expert_parallel for row in group})
        if len(spreads) > 1:
            what = f"rows of one curve ({group[0].gpu}, {group[0].model}) differ in moe_ep"
            faults.add(what, "import them apart, under engine versions that tell them apart", value=spreads)
    faults.check()
    newest = {key: _of_newest_day(group) for key, group in groups.items()}
    return tuple(
        _curve(kept, left_out, _replica_ratio(kept, newest.values()), source, source_date)
        for kept, left_out in newest.values()
    )


def _once(rows: Iterable[Row]) -> list[Row]:
    """Rows that agree in everything but their origin become one that names every origin."""
    alike: dict[Row, set[str]] = defaultdict(set)
    for row in rows:
        alike[replace(row, origin="")].add(row.origin)
    return [replace(row, origin=" and ".join(sorted(origins))) for row, origins in alike.items()]


def _of_newest_day(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    newest = max(row.measured_at or "" for row in rows)
    kept = [row for row in rows if (row.measured_at or "") == newest]
    return kept, [row for row in rows if row not in kept]


def _replica_ratio(kept: list[Row], groups: Iterable[tuple[list[Row], list[Row]]]) -> float | None:
    """TPOT / TPOT of one replica alone at the same total load (median), where that is within 5 % of 1; else None."""
    if kept[0].data_parallel == 1:
        return None
    for lone, _ in groups:
        if lone[0].data_parallel > 1 or lone[0].replica_key != kept[0].replica_key:
            continue
        tpot_s = {row.load_key: row.tpot_s for row in lone}
        ratios = [row.tpot_s / tpot_s[row.load_key] for row in kept if row.load_key in tpot_s]
        if ratios and abs(median(ratios) - 1) < _SAME:
            return median(ratios)
    return None


def _curve(kept: list[Row], left_out: list[Row], replica_ratio: float | None, source: str, date: str) -> Curve:
    first = kept[0]
    origins = sorted({row.origin for row in kept})
    notes = [DERIVED, UNSTATED, *dict.fromkeys(_origin(name).note for name in origins)]
    if first.model_source in MODEL_NOTES:
        notes.append(MODEL_NOTES[first.model_source])
    if any(row.expert_parallel > 1 for row in kept):
        notes.append(f"experts are spread over {max(row.expert_parallel for row in kept)} GPUs (expert parallel)")
    if left_out:
        days = ", ".join(sorted({row.measured_at or "no date" for row in left_out}))
        notes.append(f"{len(left_out)} points of {days} are left out: a curve holds the points of one day")
    named = f", origin {' and '.join(origins)}" if any(origins) else ""
    curve = Curve(
        kind="published",
        model=first.model,
        precision=first.precision,
        gpu=Gpu(name=first.gpu, count=first.gpus),
        tensor_parallel=first.tensor_parallel,
        pipeline_parallel=first.pipeline_parallel,
        data_parallel=first.data_parallel,
        conditions=Conditions(
            engine=first.engine,
            engine_version=first.engine_version,
            model_source=first.model_source,
            measured_at=first.measured_at,
            source=source + named,
            source_date=date,
            notes=tuple(notes),
        ),
        points=(),
    )
    return merge_points(curve, (_point(row, replica_ratio) for row in kept))


def _point(row: Row, replica_ratio: float | None) -> Point:
    mean = _origin(row.origin).mean_length
    shape = Shape(input_tokens=row.input_tokens * mean, output_tokens=row.output_tokens * mean)
    e2e_s = row.ttft_s + row.tpot_s * (shape.output_tokens - 1)
    rate = row.concurrency / e2e_s
    return Point(
        shape=shape,
        mode="closed",
        load=row.concurrency,
        throughput_per_s=round(rate, 6),
        output_tokens_per_s=round(rate * shape.output_tokens, 3),
        input_tokens_per_s=round(rate * shape.input_tokens, 3),
        ttft_s={"unstated": Estimate(value=row.ttft_s)},
        tpot_s={"unstated": Estimate(value=row.tpot_s)},
        checks=tuple(_checks(row, replica_ratio, e2e_s)),
    )


def _checks(row: Row, replica_ratio: float | None, e2e_s: float) -> Iterable[Check]:
    if replica_ratio is not None:
        yield Check(
            name="gpu_count",
            verdict="fail",
            reason=f"{row.data_parallel} replicas show the TPOT that one of them alone showed at the same total load, "
            f"so that {row.gpus} GPUs are not evident; measure this deployment before you plan with it",
            value=round(replica_ratio, 3),
            tolerance=_SAME,
        )
    waited = row.ttft_s / e2e_s
    if waited > _WAITING:
        yield Check(
            name="queueing",
            verdict="unknown",
            reason="most of the time to the last token passed before the first one: the server held requests back, "
            "and TPOT does not belong to this load",
            value=round(waited, 3),
            tolerance=_WAITING,
        )


def _origin(name: str) -> Origin:
    return next((origin for word, origin in ORIGINS.items() if name.startswith(word)), NOMINAL)


def main() -> None:
    """Parse, convert, say how many."""
    parser = argparse.ArgumentParser(description="Turn a published table of serving points into curve files.")
    parser.add_argument("table", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--source", required=True, help="title, address and licence of the table")
    parser.add_argument("--date", required=True, help="when it was published, YYYY-MM-DD")
    given = parser.parse_args()
    rows = read_table(given.table)
    curves = curves_from(rows, given.source, given.date)
    for curve in curves:
        write_curve(curve, given.folder / file_name(curve))
    print(f"{len(curves)} curves with {sum(len(curve.points) for curve in curves)} points from {len(rows)} rows")


if __name__ == "__main__":
    run_cli(main)
