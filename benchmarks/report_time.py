"""How long `planner report` takes, against solving and writing the same review: ratios from one run.

    python benchmarks/report_time.py [FORECAST]

Default: examples/company-10-gpus (36 months). Prints seconds of processor time and their ratio; the report's is the
median of three.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path


def main() -> None:
    from planner.report import rewrite_review
    from planner.review import Wanted, review

    default = Path(__file__).parents[1] / "examples" / "company-10-gpus" / "forecast.csv"
    forecast = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    with tempfile.TemporaryDirectory() as folder:
        wanted = Wanted(forecast, None, None, None, 0.005, 60.0, date(2026, 11, 20), "timed", Path(folder))
        solving = _seconds(lambda: review(wanted))
        reports = [_seconds(lambda: rewrite_review(Path(folder) / "timed")) for _ in range(3)]
    report = statistics.median(reports)
    print(f"solve and write {solving:.1f} s, report {report:.1f} s: {solving / report:.1f} to 1")


def _seconds(call: Callable[[], object]) -> float:
    before = time.process_time()
    call()
    return time.process_time() - before


if __name__ == "__main__":
    main()
