"""The spreadsheet comes to plan.json's bill by formulas alone, moves with a price, and runs no name."""

from __future__ import annotations

import csv
import html
import io
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from review_fixtures import HOSTILE, hostile_plan, plan

from planner.amounts import month as month_name
from planner.bill import bill
from planner.plan import Amount, Books, BooksMonth, Expense, Plan
from planner.workbook import workbook

pytest.importorskip("xlsxwriter", reason="needs XlsxWriter")
SOFFICE = shutil.which("soffice")
needs_libreoffice = pytest.mark.skipif(SOFFICE is None, reason="needs LibreOffice (Debian package `libreoffice-calc`)")
_ALL_SHEETS = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false,false,false,false,-1"


def test_the_bill_is_quantities_times_prices() -> None:
    """Items add up to every line of the plan; what no purchase owns (busy power) is an item of its own."""
    made = plan()
    things, items = bill(made)
    for line in made.lines:
        assert round(sum(item.usd for item in items if item.line == line.name), 2) == line.usd
    assert [(t.name, t.quantity, t.unit) for t in things] == [
        ("h100 server of 8", 1.0, "units"),
        ("Example Cloud 3 months", 6.0, "units"),
        ("Example Cloud on demand", 2400.0, "GPU-hours"),
        ("Example API, llama-3-8b", 690.0, "million tokens"),
        ("busy power, all together", 1.0, "whole horizon"),
    ]


@needs_libreoffice
def test_libreoffice_comes_to_the_plans_bill(tmp_path: Path) -> None:
    """With every stored result taken out, LibreOffice's own results equal plan.json to the cent."""
    made = plan()
    sheets = _recalculated(_without_results(workbook(made)), tmp_path)
    review = dict(sheets["Review"][1:5])
    assert float(review["bill of this plan, USD"]) == pytest.approx(made.cost_usd, abs=0.005)
    assert float(review["per month, USD"]) == pytest.approx(made.cost_usd / made.horizon_months, abs=0.005)
    assert float(review["moved by, USD"]) == pytest.approx(0, abs=0.005)
    for row, line in zip(sheets["Cost by line"][1:], made.lines, strict=False):
        assert (row[0], float(row[2])) == (line.name, pytest.approx(line.usd, abs=0.005))
    for row, month in zip(sheets["Months"][1:], made.months, strict=False):
        assert (row[0], float(row[-1])) == (month_name(month.name), pytest.approx(month.usd, abs=0.005))
    assert float(sheets["Months"][-1][-1]) == pytest.approx(made.cost_usd, abs=0.005)
    for row, other in zip(sheets["Strategies"][2:], made.baselines, strict=True):
        assert row[0] == other.name
        if other.usd is None:
            assert row[1] == "not possible"
        else:
            assert float(row[3]) == pytest.approx(other.usd - made.cost_usd, abs=0.005)
    assert [float(row[8]) for row in sheets["Demand"][1:]] == pytest.approx([w.usd_per_mtok for w in made.workloads])


@needs_libreoffice
def test_a_changed_price_moves_the_bill(tmp_path: Path) -> None:
    """1,000 USD more for each of six reserved units: 6,000 USD in the bill, the line, the month and the comparison."""
    changed = _without_results(workbook(plan()), (b"<v>15000</v>", b"<v>16000</v>"))
    sheets = _recalculated(changed, tmp_path)
    assert float(dict(sheets["Review"][1:5])["moved by, USD"]) == pytest.approx(6_000)
    assert {row[0]: float(row[2]) for row in sheets["Cost by line"][1:]}["reserved GPUs"] == pytest.approx(96_000)
    assert [float(row[-1]) for row in sheets["Months"][1:]] == pytest.approx([237_000, 29_000, 266_000])
    assert float(sheets["Strategies"][2][3]) == pytest.approx(1_150_000 - 266_000)


@needs_libreoffice
def test_expenses_move_with_their_lines(tmp_path: Path) -> None:
    """LibreOffice comes to the plan's expenses and tax; a server 50 % dearer is written off so much dearer."""
    made = plan().model_copy(update={"books": _booked()})
    sheets = _recalculated(_without_results(workbook(made)), tmp_path)
    assert [row[0] for row in sheets["Profit and loss"]] == ["month", "Jan 2027", "Feb 2027", "all"]
    assert [float(row[4]) for row in sheets["Profit and loss"][1:]] == pytest.approx([5_100, 5_100, 10_200])
    assert [float(row[5]) for row in sheets["Profit and loss"][1:]] == pytest.approx([1_275, 1_275, 2_550])
    assert float(sheets["Expense to bill"][-1][1]) == pytest.approx(made.cost_usd)
    dearer = _without_results(workbook(made), (b'<v>150000</v></c><c r="D2"', b'<v>225000</v></c><c r="D2"'))
    moved = _recalculated(dearer, tmp_path)["Profit and loss"]
    assert [float(cell) for cell in moved[1][1:5]] == pytest.approx([3_750, 2_000, 600, 6_350])


@needs_libreoffice
def test_hostile_names_open_as_text(tmp_path: Path) -> None:
    """LibreOffice shows the names as they are, and no cell of them comes to anything."""
    sheets = _recalculated(workbook(_with_line(hostile_plan(), "=1+1")), tmp_path)
    shown = HOSTILE.replace("\n", " ")
    assert sheets["Price book"][1][0] == shown
    assert "=1+1" in [row[0] for row in sheets["Cost by line"]]


def test_no_name_is_a_formula() -> None:
    """Every formula is made of our own references and numbers; text cells stay text when they are edited."""
    parts = _parts(workbook(_with_line(hostile_plan(), "=1+1")))
    formulas = [html.unescape(f) for text in parts.values() for f in re.findall(r"<f>(.*?)</f>", text)]
    assert len(formulas) > 30
    ours = re.compile(
        r"(?:'(?:Cost build-up|Price book|Cost by line)'!|Plan!|Inputs!|SUM|IF|[$A-Z]+\d+|[-+*/(),:=$.\de])+"
    )
    assert [formula for formula in formulas if not ours.fullmatch(formula)] == []
    sheets = [text for name, text in parts.items() if name.startswith("xl/worksheets/")]
    cells = [cell for text in sheets for cell in re.findall(r'<c [^>]*t="s"[^>]*>', text)]
    below = [cell for cell in cells if not re.search(r'r="[A-Z]+1"', cell)]
    styles = re.findall(r"<xf [^>]*>", parts["xl/styles.xml"].split("<cellXfs")[1].split("</cellXfs>")[0])
    assert len(below) > 50
    assert all('quotePrefix="1"' in styles[int(re.findall(r's="(\d+)"', cell)[0])] for cell in below)


def test_same_plan_same_workbook() -> None:
    """No clock is read: the file's dates are those of the plan and of the format."""
    made = workbook(plan())
    assert made == workbook(plan())
    with zipfile.ZipFile(io.BytesIO(made)) as file:
        assert {info.date_time[0] for info in file.infolist()} == {1980}
        assert b"2026-11-20T00:00:00Z" in file.read("docProps/core.xml")


def test_a_plan_that_buys_nothing_still_has_a_workbook() -> None:
    """No purchases, no lines, no months, no horizon: sheets with headers."""
    bare = plan().model_copy(
        update={"purchases": (), "supplies": (), "lines": (), "months": (), "baselines": (), "horizon_months": 0.0}
    )
    assert bill(bare) == ((), ())
    assert len([name for name in _parts(workbook(bare)) if "worksheets/sheet" in name]) == 12


def _booked() -> Books:
    """The fixture's server written off over 60 months, its colocation, and interest that is in no line of the bill."""
    expenses = (
        Expense(name="depreciation", line="hardware", usd=2_500.0),
        Expense(name="colocation", line="colocation", usd=2_000.0),
        Expense(name="interest", line="financing", usd=600.0),
    )
    months = tuple(
        BooksMonth(name=name, expenses=expenses, usd=5_100.0, tax_saved_usd=1_275.0, book_usd=1.0, loans_usd=2.0)
        for name in ("2027-01", "2027-02")
    )
    steps = (Amount(name="expense of the horizon", usd=10_200.0), Amount(name="all else", usd=249_800.0))
    return Books(tax_rate=0.25, life_months={"h100-80gb-sxm": 60.0}, months=months, to_bill=steps)


def _with_line(made: Plan, name: str) -> Plan:
    return made.model_copy(update={"lines": (*made.lines, Amount(name=name, usd=3.0))})


def _parts(made: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(made)) as file:
        return {name: file.read(name).decode() for name in file.namelist()}


def _without_results(made: bytes, change: tuple[bytes, bytes] | None = None) -> bytes:
    """The workbook with stored results of formulas taken out and, once, some bytes of a sheet changed."""
    out, changed = io.BytesIO(), 0
    with zipfile.ZipFile(io.BytesIO(made)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = re.sub(rb"(</f>)<v>.*?</v>", rb"\1", old.read(name))
            if change is not None and name.startswith("xl/worksheets/"):
                changed += content.count(change[0])
                content = content.replace(*change)
            new.writestr(name, content)
    assert change is None or changed == 1
    return out.getvalue()


def _recalculated(made: bytes, folder: Path) -> dict[str, list[list[str]]]:
    """Every sheet's values as LibreOffice computes them."""
    assert SOFFICE is not None
    (folder / "book.xlsx").write_bytes(made)
    subprocess.run(
        [SOFFICE, "--headless", f"-env:UserInstallation={(folder / 'profile').as_uri()}", "--convert-to", _ALL_SHEETS,
         "--outdir", str(folder), str(folder / "book.xlsx")],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    found = {}
    for path in folder.glob("book-*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            found[path.stem.removeprefix("book-")] = list(csv.reader(file))
    return found
