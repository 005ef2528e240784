"""Numbers as people read them: separators, sensible rounding, and the unit always beside the number.

Rounding happens here only, when something is printed; plan.json and the CSV tables keep full values. The unknown is
"unknown", never 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import date
from itertools import groupby

UNKNOWN = "unknown"
_MONTH = re.compile(r"(\d{4})[.-](0[1-9]|1[0-2])")
_STEPS = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))


def usd(value: float | None) -> str:
    """An amount of money: whole dollars from 1000, cents below, three digits below one dollar.

    >>> usd(1234567.8), usd(12.5), usd(0.01234), usd(0.9), usd(-1500.4), usd(0), usd(None)
    ('USD 1,234,568', 'USD 12.50', 'USD 0.0123', 'USD 0.900', 'USD -1,500', 'USD 0', 'unknown')
    """
    if value is None:
        return UNKNOWN
    size = abs(value)
    if round(size, 9) == 0:
        return "USD 0"
    if size >= 999.995:
        digits = f"{size:,.0f}"
    elif size >= 0.995:
        digits = f"{size:.2f}"
    else:
        places = 2 - math.floor(math.log10(float(f"{size:.3g}")))
        digits = f"{size:.{places}f}"
    return f"USD {'-' if value < 0 else ''}{digits}"


def big(value: float | None) -> str:
    """A count, short: three digits and a word from one million.

    >>> big(1_234_567), big(9_999), big(3.25), big(0.2), big(5_000_000_000), big(999_999_999)
    ('1.23 million', '9,999', '3.25', '0.2', '5 billion', '1 billion')
    """
    if value is None:
        return UNKNOWN
    rounded = float(f"{value:.3g}")
    for step, word in _STEPS:
        if abs(rounded) >= step:
            return f"{rounded / step:g} {word}"
    return number(value)


def number(value: float | None) -> str:
    """A count with separators: whole from 100, else at most three digits.

    >>> number(12345.6), number(12), number(12.34), number(0.5)
    ('12,346', '12', '12.3', '0.5')
    """
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def share(value: float | None) -> str:
    """A share as a percentage: a tenth from 1 %, two digits below, whole from 100 %.

    What is not zero never prints as zero, what is not all never prints as all.

    >>> share(0.5), share(0.12345), share(0.00742), share(0.00001), share(0.99999), share(0), share(1), share(1.234)
    ('50 %', '12.3 %', '0.74 %', 'under 0.01 %', 'over 99.9 %', '0 %', '100 %', '123 %')
    """
    if value is None:
        return UNKNOWN
    if 0 < value < 1e-4:
        return "under 0.01 %"
    if 0.999 < value < 1:
        return "over 99.9 %"
    percent = 100 * value
    digits = f"{percent:.2g}" if abs(percent) < 1 else f"{percent:.0f}" if abs(percent) >= 100 else f"{percent:.1f}"
    return f"{float(digits):g} %"


def against(value: float, base: float) -> str:
    """How much dearer `value` is than `base`, in words.

    >>> against(150, 100), against(90, 100), against(100, 100), against(430, 100), against(5, 0)
    ('50 % dearer', '10 % cheaper', 'the same', '4.3 times as dear', 'unknown')
    """
    if base <= 0:
        return UNKNOWN
    ratio = value / base
    if abs(ratio - 1) < 5e-5:
        return "the same"
    if ratio >= 2:
        return f"{number(round(ratio, 1))} times as dear"
    return f"{share(abs(ratio - 1))} {'dearer' if ratio > 1 else 'cheaper'}"


def more(value: float, base: float) -> str:
    """How much more `value` is than `base`, to follow "costs".

    >>> more(150, 100), more(90, 100), more(100, 100), more(430, 100)
    ('50 % more', '10 % less', 'the same', '4.3 times as much')
    """
    return against(value, base).replace("dearer", "more").replace("cheaper", "less").replace("as dear", "as much")


def seconds(value: float | None) -> str:
    """A latency limit; None is no limit.

    >>> seconds(0.05), seconds(2), seconds(None)
    ('50 ms', '2 s', 'no limit')
    """
    if value is None:
        return "no limit"
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def month(name: str) -> str:
    """A month as people write it; any other name of an epoch stays as it is.

    >>> month("2027.01"), month("2027-11"), month("start")
    ('Jan 2027', 'Nov 2027', 'start')
    """
    found = _MONTH.fullmatch(name)
    return f"{date(int(found[1]), int(found[2]), 1):%b %Y}" if found else name


def count(value: float, word: str) -> str:
    """So many of them.

    >>> count(1, "month"), count(12, "month"), count(0.5, "month")
    ('1 month', '12 months', '0.5 months')
    """
    return f"{number(value)} {word}{'' if value == 1 else 's'}"


def spans(values: Iterable[tuple[str, float]]) -> str:
    """Values by epoch with equal neighbours joined.

    >>> spans([("2027.01", 2), ("2027.02", 2), ("2027.03", 3)])
    '2 (Jan 2027 to Feb 2027), 3 (Mar 2027)'
    """
    told = []
    for value, run in groupby(values, key=lambda pair: pair[1]):
        names = [month(name) for name, _ in run]
        told.append(f"{number(value)} ({names[0]}{f' to {names[-1]}' if len(names) > 1 else ''})")
    return ", ".join(told) or "none"
