"""The price book: shipped rows are sourced and dated, the user's files win, every fault is told, ownership adds up."""

from __future__ import annotations

import csv
import doctest
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware_profiles.facts import gpus, models
from hardware_profiles.faults import InputError
from hardware_profiles.library import load_curves
from planner import ownership, price_rows, prices
from planner.ownership import Ownership, ownership_lines, ownership_usd_per_gpu_h
from planner.prices import PriceBook, read_price_book, stale

TODAY = date(2026, 11, 20)
BOOK = read_price_book(None, TODAY)

OFFERS = "provider,gpu,gpus_per_unit,scheme,term_months,committed_usd_per_gpu_h,usage_usd_per_gpu_h,as_of,source\n"
ENDPOINTS = "provider,model,input_usd_per_mtok,output_usd_per_mtok,as_of,source\n"


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def faults(folder: Path, **files: str | bytes) -> list[str]:
    for name, text in files.items():
        write(folder, f"{name}.toml" if name == "ownership" else f"{name}.csv", text)
    with pytest.raises(InputError) as raised:
        read_price_book(folder, TODAY)
    return str(raised.value).replace(f"{folder}/", "").splitlines()


# the shipped book


@pytest.mark.parametrize("module", [ownership, prices, price_rows], ids=lambda module: module.__name__)
def test_the_examples_in_docstrings_hold(module: object) -> None:
    """Every figure in a docstring is what the function gives."""
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]  # a module


def test_the_shipped_book_covers_what_was_promised() -> None:
    """GPUs to rent and to own, terms of 1 to 36 months, and an endpoint for every model that has a curve."""
    rented = {(row.gpu, row.scheme) for row in BOOK.offers}
    for gpu in ("h100-80gb-sxm", "h200-141gb-sxm", "a100-80gb-sxm", "l40s-48gb", "b200-180gb-sxm", "mi300x-192gb"):
        assert {(gpu, "on_demand"), (gpu, "reserved")} <= rented
        assert {row.term_months for row in BOOK.offers if row.gpu == gpu and row.scheme == "reserved"} == {
            1, 3, 6, 12, 36,
        }  # fmt: skip
    assert set(BOOK.ownership) == {
        "h100-80gb-sxm", "h200-141gb-sxm", "b200-180gb-sxm", "mi300x-192gb", "l40s-48gb",
    }  # fmt: skip
    assert {curve.model for curve in load_curves()} <= {row.model for row in BOOK.endpoints}
    assert {row.gpu for row in BOOK.offers} <= set(gpus())
    assert {row.model for row in BOOK.endpoints} <= set(models())


def test_every_shipped_row_points_at_itself() -> None:
    """File and line of a row are where it stands, so that a plan can point at it."""
    for rows, name in ((BOOK.offers, "offers.csv"), (BOOK.endpoints, "endpoints.csv")):
        lines = (Path(prices.__file__).parent / "data" / name).read_text().splitlines()
        for row in rows:
            assert row.file == f"planner/data/{name}"
            assert lines[row.line - 1].startswith(f"{row.provider},")
    for own in BOOK.ownership.values():
        lines = (Path(prices.__file__).parent / own.file.removeprefix("planner/")).read_text().splitlines()
        assert lines[(own.line or 0) - 1] == f"[gpus.{own.gpu}]"


def test_derived_prices_follow_from_the_rows_they_name() -> None:
    """A derived reserved price is the seller's on-demand price less the published discount of its term, and says so."""
    discount = {1: 0.20, 3: 0.20, 6: 0.20 + 0.20 * (6 - 3) / (12 - 3), 12: 0.40, 36: (0.30 + 0.60) / 2}
    derived = [row for row in BOOK.offers if row.kind == "derived"]
    assert len(derived) == 29
    for row in derived:
        (base,) = [
            other
            for other in BOOK.offers
            if (other.provider, other.gpu, other.scheme) == (row.provider, row.gpu, "on_demand")
        ]
        assert row.term_months is not None
        expected = base.usage_usd_per_gpu_h * (1 - discount[row.term_months])
        assert row.committed_usd_per_gpu_h == pytest.approx(expected, abs=0.0011)
        assert (row.scheme, row.confidence) == ("reserved", "low")
        assert base.source in row.source
        assert row.note is not None
        assert row.note.startswith(f"{base.usage_usd_per_gpu_h:g} on demand x (1 - 0.")


def test_longer_terms_cost_less_per_hour() -> None:
    """Within one GPU a longer reservation is never dearer, nor dearer than the same seller's on-demand price."""
    for gpu in {row.gpu for row in BOOK.offers}:
        reserved = sorted((row.term_months or 0, row.committed_usd_per_gpu_h) for row in BOOK.offers
                          if row.gpu == gpu and row.scheme == "reserved")  # fmt: skip
        assert [price for _, price in reserved] == sorted((price for _, price in reserved), reverse=True)


def test_stale_is_older_than_a_quarter_or_undated() -> None:
    """Of the shipped rentals only Crusoe's, of 2026-10-20, are fresh on 2026-11-20; endpoints are; hardware is not."""
    fresh = {row.provider for row in BOOK.offers if not stale(row, TODAY)}
    assert fresh == {"crusoe"}
    assert {row.as_of for row in BOOK.offers if row.provider == "verda"} == {None}
    assert not any(stale(row, TODAY) for row in BOOK.endpoints)
    assert all(stale(own, TODAY) for own in BOOK.ownership.values())
    assert stale(BOOK.site, TODAY)


def test_a_range_keeps_its_ends_and_its_middle() -> None:
    """The price of an H100 is the middle of 28,000-35,000 USD, with source, date and confidence."""
    told = BOOK.ownership["h100-80gb-sxm"].evidence["gpu_usd"]
    assert (told.low, BOOK.ownership["h100-80gb-sxm"].gpu_usd, told.high) == (28000, (28000 + 35000) / 2, 35000)
    assert (told.date, told.kind, told.confidence) == ("2026-01", "published", "medium")
    assert told.source.startswith("https://www.generalcompute.com/")
    assert BOOK.site.evidence["power_usd_per_kwh"].confidence == "high"


PUBLISHED_TCO = {
    # USD per GPU-hour of owning (hyperscaler, neocloud): SemiAnalysisAI/InferenceX-app @ 77ca49a,
    # packages/app/src/lib/constants.ts, 2026-04-03
    "h100-80gb-sxm": (1.30, 1.69),
    "h200-141gb-sxm": (1.41, 1.74),
    "b200-180gb-sxm": (1.95, 2.34),
    "mi300x-192gb": (1.12, 1.40),
}


@pytest.mark.parametrize("gpu", PUBLISHED_TCO)
def test_owning_costs_what_others_say_it_costs(gpu: str) -> None:
    """Over a life of five years, always busy, our lines add up to SemiAnalysis's neocloud figure within 10 %, and to
    more than its hyperscaler figure by 15 to 40 % (hyperscalers pay less for power and buildings)."""
    ours = ownership_usd_per_gpu_h(BOOK.ownership[gpu], BOOK.site, months=60)
    hyperscaler, neocloud = PUBLISHED_TCO[gpu]
    assert 0.90 <= ours / neocloud <= 1.10
    assert 1.15 <= ours / hyperscaler <= 1.40


@given(months=st.floats(1, 120), busy=st.floats(0, 1))
def test_ownership_lines_add_up(months: float, busy: float) -> None:
    """The total is the sum of its lines; none is negative; a busier GPU never costs less."""
    for own in BOOK.ownership.values():
        lines = ownership_lines(own, BOOK.site, months, busy)
        assert min(lines.values()) >= 0
        assert ownership_usd_per_gpu_h(own, BOOK.site, months, busy) == pytest.approx(sum(lines.values()))
        assert lines["power"] <= ownership_lines(own, BOOK.site, months, 1.0)["power"]


def test_an_unknown_idle_power_counts_as_busy() -> None:
    """Where no idle figure was found, an idle GPU is charged as a busy one rather than as none."""
    own = BOOK.ownership["l40s-48gb"]
    assert own.idle_w is None
    assert ownership_lines(own, BOOK.site, 36, 0.0) == ownership_lines(own, BOOK.site, 36, 1.0)


# the user's files


def test_a_users_table_replaces_the_shipped_one(tmp_path: Path) -> None:
    """offers.csv replaces all offers and leaves the endpoints; names are ours; what was chosen is noted."""
    write(tmp_path, "offers.csv", OFFERS + "us,a100,8,on_demand,,,1.5,2026-11,quote 17\n")
    book = read_price_book(tmp_path, TODAY)
    (row,) = book.offers
    assert (row.gpu, row.usage_usd_per_gpu_h, row.as_of, row.kind) == ("a100-80gb-sxm", 1.5, date(2026, 11, 1), "own")
    assert (row.minimum_hours, row.region, row.limit_units, row.confidence) == (None, None, None, None)
    assert book.endpoints == BOOK.endpoints
    assert book.notes == (
        (
            f"{tmp_path / 'offers.csv'}:2: 'a100' is taken as a100-80gb-sxm; "
            "there are also a100-80gb-pcie, a100-40gb-sxm, a100-40gb-pcie"
        ),
    )
    assert book.digests["offers.csv"] != BOOK.digests["offers.csv"]
    assert book.digests["endpoints.csv"] == BOOK.digests["endpoints.csv"]


def test_files_can_be_named(tmp_path: Path) -> None:
    """A file named in plan.toml is used instead of the one in the folder; it must be there."""
    write(tmp_path, "endpoints.csv", "not even a table")
    named = write(tmp_path, "mine.csv", ENDPOINTS + "us,meta-llama/Llama-3.1-8B-Instruct,0.1,0.2,undated,contract\n")
    (row,) = read_price_book(tmp_path, TODAY, endpoints=named).endpoints
    assert (row.model, row.as_of, stale(row, TODAY)) == ("llama-3.1-8b", None, True)
    with pytest.raises(InputError) as raised:
        read_price_book(None, TODAY, endpoints=tmp_path / "none.csv")
    assert str(raised.value) == (
        f"{tmp_path / 'none.csv'}: cannot be read (No such file or directory). "
        "Remedy: check the path and its permissions."
    )


def test_ownership_is_laid_over_figure_by_figure(tmp_path: Path) -> None:
    """A user's figure replaces one of ours and keeps the others; evidence and line are the user's."""
    write(
        tmp_path,
        "ownership.toml",
        "[gpus.h200-141gb-sxm]\n"
        'gpu_usd = { value = 27000, source = "quote 18", date = "2026-11-02", kind = "own" }\n'
        "[site]\n"
        'pue = { value = 1.2, source = "our meter", date = "2026-10", kind = "own" }\n',
    )
    book = read_price_book(tmp_path, TODAY)
    mine, theirs = book.ownership["h200-141gb-sxm"], BOOK.ownership["h200-141gb-sxm"]
    assert (mine.gpu_usd, mine.evidence["gpu_usd"].source) == (27000, "quote 18")
    assert (mine.chassis_usd, mine.evidence["chassis_usd"]) == (theirs.chassis_usd, theirs.evidence["chassis_usd"])
    assert (mine.file, mine.line) == (str(tmp_path / "ownership.toml"), 1)
    assert book.ownership["h100-80gb-sxm"] == BOOK.ownership["h100-80gb-sxm"]
    assert (book.site.pue, book.site.power_usd_per_kwh) == (1.2, BOOK.site.power_usd_per_kwh)


def test_the_cheapest_quote_sets_the_price_of_servers(tmp_path: Path) -> None:
    """`buy` rows are quotes for whole servers: the cheapest replaces GPU and chassis, and is no rental."""
    text = "provider,gpu,gpus_per_unit,scheme,upfront_usd_per_unit,as_of,source\n"
    text += "dear,h100-80gb-sxm,8,buy,320000,2026-11-01,quote 1\ncheap,h100-80gb-sxm,4,buy,140000,2026-11-01,quote 2\n"
    write(tmp_path, "offers.csv", text)
    book = read_price_book(tmp_path, TODAY)
    own, ours = book.ownership["h100-80gb-sxm"], BOOK.ownership["h100-80gb-sxm"]
    assert book.offers == ()
    assert own.gpu_usd + own.chassis_usd == pytest.approx(35000)
    assert own.gpu_usd / own.chassis_usd == pytest.approx(ours.gpu_usd / ours.chassis_usd)
    assert (own.network_usd, own.gpus_per_server, own.source, own.line) == (ours.network_usd, 4, "quote 2", 3)
    assert stale(own, TODAY)  # the network's figure is older
    assert book.notes == (f"{tmp_path / 'offers.csv'}:2: a cheaper quote for h100-80gb-sxm is used",)


def test_names_are_data(tmp_path: Path) -> None:
    """Hostile names stay what they are: nothing is executed, resolved as a path or lost."""
    hostile = ["../../x", "=cmd()", "<script>", "a,b", 'q"q', "日本"]
    with (tmp_path / "offers.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(OFFERS.strip().split(","))
        writer.writerows([name, "l4", 1, "spot", "", "", 0.3, "2026-11-01", name] for name in hostile)
    book = read_price_book(tmp_path, TODAY)
    assert [row.provider for row in book.offers] == hostile
    assert [row.source for row in book.offers] == hostile


def test_a_byte_order_mark_is_no_column(tmp_path: Path) -> None:
    """Files that a spreadsheet saved as UTF-8 are read."""
    write(tmp_path, "offers.csv", "\ufeff" + OFFERS + "us,l4,1,spot,,,0.3,2026-11-01,quote\r\n")
    assert [row.provider for row in read_price_book(tmp_path, TODAY).offers] == ["us"]


def test_the_readme_s_example_works(tmp_path: Path) -> None:
    """The least that the price book's README says works does work."""
    text = (Path(prices.__file__).parent / "data" / "README.md").read_text()
    example = [line.removeprefix("    ") for line in text.splitlines() if line.startswith("    ")]
    write(tmp_path, "offers.csv", "\n".join(example[:2]))
    write(tmp_path, "endpoints.csv", "\n".join(example[2:4]))
    write(tmp_path, "ownership.toml", "\n".join(example[4:6]))
    book = read_price_book(tmp_path, TODAY)
    assert [(row.gpu, row.usage_usd_per_gpu_h) for row in book.offers] == [("h100-80gb-sxm", 2.10)]
    assert [(row.model, row.output_usd_per_mtok) for row in book.endpoints] == [("qwen3-32b", 0.30)]
    assert book.site.power_usd_per_kwh == 0.11
    write(tmp_path, "offers.csv", "\n".join(example[6:]))
    book = read_price_book(tmp_path, TODAY)
    assert [(row.gpu, row.commitment, row.usage_usd_per_gpu_h, row.term_months) for row in book.offers] == [
        ("h100-80gb-sxm", "compute", 1.60, 12),
        ("l40s-48gb", "compute", 0.70, 12),
    ]


# bad files


def test_every_fault_of_every_file_is_told_at_once(tmp_path: Path) -> None:
    """Three bad files are one error that names file, line, column, value and remedy of each fault."""
    assert faults(
        tmp_path,
        offers=OFFERS
        + "us,h1000,1,on_demand,,,-2,2026-11-01,quote\n"
        + "us,h200,1.5,rent,,,nan,2026-13-01,\n"
        + "us,h200,1,reserved,,2,3,2026-11-01,quote\n"
        + "us,l4,1,spot,,,,2027-01-01,quote\n"
        + "us,l4,1,spot,6,,1,2026-11-01,quote\n",
        endpoints=ENDPOINTS + "us,llama-9b,free,0.2,2026-11-01,page\n,qwen3-32b,0.1,inf,2026-11-01,page\n",
        ownership=(
            "[gpus.h300]\ngpu_usd = 1\n[gpus.l4-24gb]\ngpu_usd = 2500\n"
            '[site]\npue = { value = 0.9, source = "us", date = "2026-11", kind = "own" }\ncolour = "red"\n'
        ),
    ) == [
        (
            "offers.csv:2: column 'gpu', value 'h1000': unknown GPU. Remedy: near names are h100-80gb-sxm, "
            "h100-80gb-pcie; or add it to gpus.toml in a folder given with --profiles."
        ),
        (
            "offers.csv:2: column 'usage_usd_per_gpu_h', value '-2': is not a number of 0 or more. "
            "Remedy: write digits with a decimal point."
        ),
        (
            "offers.csv:3: column 'scheme', value 'rent': is not one of the choices. "
            "Remedy: write one of buy, reserved, on_demand, spot, "
            "commitment."
        ),
        "offers.csv:3: column 'gpus_per_unit', value '1.5': is not a whole number. Remedy: write a whole number.",
        (
            "offers.csv:3: column 'usage_usd_per_gpu_h', value 'nan': is not a number of 0 or more. "
            "Remedy: write digits with a decimal point."
        ),
        (
            "offers.csv:3: column 'as_of', value '2026-13-01': is not a date. "
            "Remedy: write YYYY-MM-DD, YYYY-MM or undated."
        ),
        "offers.csv:3: column 'source': is empty. Remedy: fill it in.",
        (
            "offers.csv:4: column 'term_months': a reserved offer and a commitment have a term, others have none. "
            "Remedy: write the months, or another scheme."
        ),
        (
            "offers.csv:4: column 'usage_usd_per_gpu_h', value '3': reserved offers have no such price. "
            "Remedy: write it under upfront_usd_per_unit or committed_usd_per_gpu_h."
        ),
        (
            "offers.csv:5: column 'as_of', value '2027-01-01': lies after today (2026-11-20). "
            "Remedy: write the day on which the price was seen."
        ),
        "offers.csv:5: column 'usage_usd_per_gpu_h': spot offers need a price. Remedy: write usage_usd_per_gpu_h.",
        (
            "offers.csv:6: column 'term_months', value '6': a reserved offer and a commitment have a term, others have "
            "none. Remedy: write the months, or another scheme."
        ),
        (
            "endpoints.csv:2: column 'model', value 'llama-9b': unknown model. Remedy: near names are llama-3-8b, "
            "llama-2-7b, llama-3-70b, llama-2-70b, llama-3.2-3b; or add it to models.toml in a folder given with "
            "--profiles."
        ),
        (
            "endpoints.csv:2: column 'input_usd_per_mtok', value 'free': is not a number of 0 or more. "
            "Remedy: write digits with a decimal point."
        ),
        "endpoints.csv:3: column 'provider': is empty. Remedy: fill it in.",
        (
            "endpoints.csv:3: column 'output_usd_per_mtok', value 'inf': is not a number of 0 or more. "
            "Remedy: write digits with a decimal point."
        ),
        f"ownership.toml:1: column 'gpus.h300': unknown GPU. Remedy: write one of {', '.join(gpus())}.",
        "ownership.toml:4: column 'gpus.l4-24gb.gpu_usd': has no source. Remedy: give source, date and kind.",
        *(
            f"ownership.toml:3: column 'gpus.l4-24gb.{field}': Field required. "
            "Remedy: compare with the shipped file's entries."
            for field in ("chassis_usd", "network_usd", "provisioned_w", "busy_w")
        ),
        (
            "ownership.toml:6: column 'site.pue', value '0.9': Input should be greater than or equal to 1. "
            "Remedy: compare with the shipped file's entries."
        ),
        (
            "ownership.toml:7: column 'site.colour', value 'red': Extra inputs are not permitted. "
            "Remedy: compare with the shipped file's entries."
        ),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "offers.csv: is empty. Remedy: write a header and rows, or remove the file for the shipped one."),
        (OFFERS, "offers.csv: has no rows. Remedy: add rows, or remove the file for the shipped one."),
        (b"provider,gpu\n\xe9", "offers.csv:2: is not UTF-8 (byte 13). Remedy: save the file as UTF-8."),
        (
            "provider,gpu,scheme,as_of,source,source\n",
            "offers.csv:1: column 'source': column appears twice. Remedy: keep one.",
        ),
        ("provider,gpu,scheme,source\n", "offers.csv:1: column 'as_of': column is missing. Remedy: add it."),
        (
            "provider,gpu,scheme,as_of,source,prize\n",
            (
                "offers.csv:1: column 'prize': unknown column. Remedy: known are provider, gpu, gpus_per_unit, scheme, "
                "term_months, upfront_usd_per_unit, committed_usd_per_gpu_h, usage_usd_per_gpu_h, minimum_hours, "
                "region, limit_units, lead_time_months, commitment, interruptions_per_h, restart_minutes, as_of, "
                "source, kind, confidence, note."
            ),
        ),
        (
            OFFERS + "us,l4,1,spot,,,1,5,2026-11-01,quote\n",
            "offers.csv:2: has more or fewer cells than columns. Remedy: quote cells that hold a comma.",
        ),
        (
            OFFERS + "us,l4,1,spot,,,1,2026-11-01,quote\nus,L4,1,spot,,,2,2026-11-01,quote\n",
            ("offers.csv:3: value 'us': is the same as line 2. Remedy: keep one of the two, or name their regions."),
        ),
        (
            OFFERS + f"us,l4,1,spot,,,1,2026-11-01,{'x' * 200_000}\n",
            "offers.csv:2: is not CSV (field larger than field limit (131072)). Remedy: mend the line.",
        ),
        (
            "provider,gpu,scheme,upfront_usd_per_unit,limit_units,as_of,source\nus,l4,buy,9,2,2026-11-01,q\n",
            (
                "offers.csv:2: column 'limit_units', value '2': a quote has no such limit. "
                "Remedy: leave it empty; max_owned_gpus in plan.toml limits."
            ),
        ),
        (
            "provider,gpu,scheme,upfront_usd_per_unit,as_of,source\nus,l4,buy,9,2026-11-01,q\n",
            (
                "offers.csv:2: column 'gpu', value 'l4-24gb': no figures for owning this GPU. "
                "Remedy: add [gpus.l4-24gb] to ownership.toml."
            ),
        ),
    ],
)
def test_a_malformed_table_is_told(tmp_path: Path, text: str | bytes, told: str) -> None:
    """Empty, header-only, wrongly encoded or wrongly shaped tables and repeated rows each have their own words."""
    assert told in faults(tmp_path, offers=text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pue = = 3", "ownership.toml:1: not TOML: Invalid value. Remedy: mend the line."),
        (
            "[prices]\nx = 1\n",
            "ownership.toml:1: column 'prices': unknown table. Remedy: known are sources, defaults, site and gpus.",
        ),
        (b"[site]\n# caf\xe9\n", "ownership.toml:2: is not UTF-8 (byte 12). Remedy: save the file as UTF-8."),
        (
            '[site]\npue = { value = "low", source = "us", date = "2026-11", kind = "own" }\n',
            (
                "ownership.toml:2: column 'site.pue', value 'low': Input should be a valid number. "
                "Remedy: compare with the shipped file's entries."
            ),
        ),
        (
            '[gpus.l40s-48gb]\nsource = "us"\ndate = "2026-11"\nkind = "own"\nresidual = [[0, 0.2], [12, 0.5]]\n',
            (
                "ownership.toml:1: column 'gpus.l40s-48gb': residual is not a list of [month, share] that begins at "
                "month 0 and falls. Remedy: compare with the shipped file's entries."
            ),
        ),
        (
            '[site]\npue = { value = 1.2, source = "us", date = "today", kind = "own" }\n',
            "ownership.toml:2: column 'site.pue': not a date. Remedy: give source, date and kind.",
        ),
    ],
)
def test_malformed_ownership_is_told(tmp_path: Path, text: str | bytes, told: str) -> None:
    """Syntax, encoding, tables, types and impossible residual curves each have their own words."""
    assert faults(tmp_path, ownership=text) == [told]


def test_the_book_is_frozen() -> None:
    """What was read cannot be changed in place."""
    assert isinstance(BOOK, PriceBook)
    with pytest.raises(AttributeError):
        BOOK.offers = ()  # type: ignore[misc]  # that is the point
    with pytest.raises(TypeError):
        BOOK.ownership["x"] = BOOK.ownership["l40s-48gb"]  # type: ignore[index]  # that is the point
    with pytest.raises(ValueError, match="frozen"):
        BOOK.ownership["l40s-48gb"].gpu_usd = 1  # type: ignore[misc]  # that is the point


@given(months=st.lists(st.integers(1, 120), unique=True, max_size=5).map(sorted), at=st.floats(0, 150))
def test_residual_value_never_rises(months: list[int], at: float) -> None:
    """Whatever falling curve is given, waiting never brings more, and the curve's own points are met."""
    points = ((0.0, 0.9), *((float(m), 0.9 / (n + 2)) for n, m in enumerate(months)))
    own = BOOK.ownership["l40s-48gb"].model_copy(update={"residual": points})
    assert isinstance(own, Ownership)
    assert own.residual_share(at + 1) <= own.residual_share(at) <= 0.9
    assert [own.residual_share(month) for month, _ in points] == pytest.approx([share for _, share in points])
