"""Makes the examples' forecasts: hourly, whole weeks. The numbers are made, after published figures.

    python examples/make_forecast.py      # forecast.csv (four weeks, two workloads) and those of the two companies

Published, and kept here:

* `assistant`: 924 input and 142 output tokens a request, the means of the service `m-large` over 14 days on Alibaba
  Cloud Model Studio (github.com/alibaba/ServeGen, commit f891d11, Apache-2.0; arXiv:2505.09999);
* `support-chat`: 1,155 input and 211 output tokens, the means of the conversation trace of Azure's LLM inference
  service on 2023-11-16 (github.com/Azure/AzurePublicDataset, CC-BY 4.0; Patel et al., Splitwise, ISCA 2024);
* the busiest hour is 1.9 times the mean hour (ServeGen: 1.86 for `m-large`, 2.06 for `m-small`), and what is left after
  the profile of the day is noise of about 0.2 in the logarithm that lasts (0.24 and a lag-1 correlation of 0.70 for
  `m-large`).

Made up: the profile of the day and the dip at weekends (the sources publish neither time zone nor weekday), how much
the mean lengths drift, and the size: a busiest hour of 450,000 requests, which a model of 32 billion parameters serves
with 20 to 45 H100s (FP8 or not) by the published curves that ship with Spillway. The two companies have two weeks each:
`company-10-gpus` is a quarter of that size, `company-1000-gpus` has six workloads of three models, with lengths between
those of the published services and long documents, and is sized to about a thousand GPUs at its peak.

Only `random.Random(seed).random()` is drawn from, whose sequence Python promises to keep, and counts are rounded, so
that the file is the same everywhere.
"""

from __future__ import annotations

import math
import random
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

SEED = 20261120
START = datetime(2027, 1, 4, tzinfo=UTC)  # a Monday
WEEK_H = 7 * 24
PEAK_OVER_MEAN = 1.9
NOISE, NOISE_LASTS = 0.2, 0.7
DRIFT, DRIFT_LASTS = 0.08, 0.9
WEEKEND = 0.6


@dataclass(frozen=True)
class Made:
    """One workload: mean requests per hour, mean tokens of a request, and the hour (UTC) at which its day peaks."""

    name: str
    requests_per_h: float
    input_tokens: float
    output_tokens: float
    peak_hour: int


WORKLOADS = (Made("assistant", 200_000, 924, 142, 20), Made("support-chat", 65_000, 1155, 211, 14))
FORECASTS: dict[str, tuple[int, tuple[Made, ...]]] = {
    "forecast.csv": (4, WORKLOADS),
    "company-10-gpus/forecast.csv": (
        2,
        (Made("assistant", 50_000, 924, 142, 20), Made("support-chat", 16_000, 1155, 211, 14)),
    ),
    "company-1000-gpus/forecast.csv": (
        2,
        (
            Made("assistant", 2_600_000, 924, 142, 20),
            Made("support-chat", 900_000, 1155, 211, 14),
            Made("coding-agent", 700_000, 4000, 600, 16),
            Made("document-review", 160_000, 6500, 500, 10),
            Made("research-agent", 200_000, 2500, 2200, 15),
            Made("classify", 4_000_000, 500, 20, 12),
        ),
    ),
}
"""Weeks and workloads of each file."""


def make_forecast(name: str = "forecast.csv", seed: int = SEED) -> str:
    """The text of one forecast."""
    weeks, workloads = FORECASTS[name]
    rng = random.Random(seed)  # noqa: S311  # a forecast, not a secret
    made = [_hours(workload, weeks * WEEK_H, rng) for workload in workloads]
    lines = ["timestamp,workload,requests,input_tokens,output_tokens"]
    for hour in range(weeks * WEEK_H):
        at = (START + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines += [f"{at},{w.name},{r},{i},{o}" for w, (r, i, o) in zip(workloads, (m[hour] for m in made), strict=True)]
    return "\n".join(lines) + "\n"


def _hours(workload: Made, hours: int, rng: random.Random) -> list[tuple[int, int, int]]:
    """(requests, input tokens, output tokens) of every hour."""
    noise = _lasting(hours, NOISE, NOISE_LASTS, rng)
    busy = _to_peak([_profile(workload, hour) + noise[hour] for hour in range(hours)])
    longer = [_centred(_lasting(hours, DRIFT, DRIFT_LASTS, rng), busy) for _ in range(2)]
    rows = []
    for hour in range(hours):
        requests = round(workload.requests_per_h * busy[hour], -1)
        tokens = (workload.input_tokens * longer[0][hour], workload.output_tokens * longer[1][hour])
        rows.append((int(requests), *(int(round(requests * mean, -3)) for mean in tokens)))
    return rows


def _profile(workload: Made, hour: int) -> float:
    """Logarithm of the load: a wave over the day, less at the weekend."""
    wave = 0.35 * math.cos(2 * math.pi * (hour - workload.peak_hour) / 24)
    return wave + (math.log(WEEKEND) if hour // 24 % 7 >= 5 else 0.0)


def _lasting(hours: int, spread: float, lasts: float, rng: random.Random) -> list[float]:
    """Noise of standard deviation `spread` whose neighbours correlate by `lasts`; near-normal: 12 uniform draws - 6."""
    values, last = [], 0.0
    for _ in range(hours):
        fresh = sum(rng.random() for _ in range(12)) - 6
        last = lasts * last + math.sqrt(1 - lasts**2) * fresh
        values.append(spread * last)
    return values


def _to_peak(logs: list[float]) -> list[float]:
    """Loads with mean 1 whose largest is `PEAK_OVER_MEAN`: exp(stretch * log), the stretch found by halving."""
    low, high = 0.0, 10.0
    for _ in range(60):
        stretch = (low + high) / 2
        loads = [math.exp(stretch * log) for log in logs]
        mean = sum(loads) / len(loads)
        low, high = (stretch, high) if max(loads) / mean < PEAK_OVER_MEAN else (low, stretch)
    return [load / mean for load in loads]


def _centred(logs: list[float], loads: list[float]) -> list[float]:
    """Factors around 1 whose mean over all requests is 1."""
    factors = [math.exp(log) for log in logs]
    mean = sum(f * load for f, load in zip(factors, loads, strict=True)) / sum(loads)
    return [f / mean for f in factors]


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for file in FORECASTS:
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(make_forecast(file), encoding="utf-8")
        print(f"wrote {target}")
