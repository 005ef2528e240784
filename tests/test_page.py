"""The page opens without a network, runs nothing, shows the plan's values, and fits a phone and A4."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import subprocess
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import CHROMIUM, OPTIONS, browser, needs_chromium
from review_fixtures import HOSTILE, hostile_plan, hours, plan

from planner.amounts import big, usd
from planner.drawing import render
from planner.page import page, shown
from planner.pictures import pictures
from planner.plan import Plan


class Read(HTMLParser):
    """Tags with their attributes, and the text outside the style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.in_style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self.in_style = False
        self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if not self.in_style:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


@pytest.fixture(scope="module")
def written() -> str:
    return _page(plan())


def test_page_shows_the_plans_values(written: str) -> None:
    """Recommendation, amounts of every table and every warning and note are the plan's own."""
    made, text = plan(), Read(written).text
    amounts = [made.cost_usd, made.bound_usd, *(line.usd for line in made.lines), *(m.usd for m in made.months)]
    amounts += [p.usd for p in made.purchases] + [s.usd for s in made.supplies] + [w.usd for w in made.workloads]
    amounts += [b.usd for b in made.baselines if b.usd is not None]
    for said in (*made.headline, *made.warnings, *made.notes, *(usd(amount) for amount in amounts)):
        assert said in text
    for workload in made.workloads:
        assert f" {big(workload.requests)} {big(workload.input_tokens)} {big(workload.output_tokens)} " in text
    for digest in made.inputs.values():
        assert digest in text


def test_alarms_stand_before_the_recommendation() -> None:
    """A plan that leaves work unserved says so first."""
    text = Read(_page(plan(missed=120_000), draw=False)).text
    assert text.index("This plan leaves 120,000 requests unserved") < text.index("Recommendation")


def test_page_runs_and_loads_nothing(written: str) -> None:
    """No script, no handler, no form; every address is inside the page; the policy allows the page's own style only."""
    read = Read(written)
    assert not {"script", "iframe", "object", "embed", "form", "base"} & {tag for tag, _ in read.tags}
    for tag, attributes in read.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), tag
    style = written.split("<style>")[1].split("</style>", maxsplit=1)[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = (a["content"] for t, a in read.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style
    assert "@import" not in style


def test_pictures_have_words_a_sentence_and_a_table(written: str) -> None:
    """Eight pictures, each drawn wide and narrow, with alt text, a caption and a table in the same section."""
    read = Read(written)
    images = [attributes for tag, attributes in read.tags if tag == "img"]
    assert [image["class"] for image in images] == ["wide", "narrow"] * 8
    assert all(len(image["alt"] or "") > 40 for image in images)
    parts = written.split("<figure>")[1:]
    assert len(parts) == 8
    for part in parts:
        assert len(part.split("<figcaption>")[1].split("</figcaption>")[0]) > 40
        assert "<table>" in part.split("</section>")[0]


def test_numbers_stay_with_their_units(written: str) -> None:
    """No line can end between a number and its percent sign, or between USD and its number."""
    body = html.unescape(written.split("</style>")[1])
    assert len(re.findall(r"\d\N{NO-BREAK SPACE}%|USD\N{NO-BREAK SPACE}\d", body)) > 50
    assert not re.search(r"\d %|USD -?\d", body)


def test_page_is_small(written: str) -> None:
    """Under 6 MB, so that it travels by mail."""
    assert len(written.encode()) < 6_000_000


def test_names_change_text_and_nothing_else() -> None:
    """With hostile names in every text the page has the tags and attributes that plain names give, and shows them.

    But for the class of short cells and the spans around the words of a command, which go by length.
    """
    plain = Plan.model_validate(json.loads(hostile_plan().model_dump_json().replace(json.dumps(HOSTILE)[1:-1], "name")))
    assert "name" in plain.name
    hostile, tame = Read(_page(hostile_plan(), draw=False)), Read(_page(plain, draw=False))
    assert _structure(hostile) == _structure(tame)
    assert HOSTILE.replace("\n", " ") in hostile.text
    assert "\u202e" not in _page(plan(name="a\u202eb\x00c"), draw=False)


@needs_chromium
def test_chromium_shows_the_page_without_complaint(written: str, tmp_path: Path) -> None:
    """A real browser opens the page from disk and says nothing on its console; with a foreign style it does."""
    (tmp_path / "good.html").write_text(written, encoding="utf-8")
    (tmp_path / "bad.html").write_text(written.replace("<main>", "<main style='color: red'>"), encoding="utf-8")
    assert "CONSOLE" not in _chromium(tmp_path, "--dump-dom", (tmp_path / "good.html").as_uri()).stderr
    assert "CONSOLE" in _chromium(tmp_path, "--dump-dom", (tmp_path / "bad.html").as_uri()).stderr


@needs_chromium
def test_no_request_leaves_the_page(written: str, tmp_path: Path) -> None:
    """The browser's own record of the page's requests holds the file and its pictures; on a phone and on a desk.

    The same record shows a picture from elsewhere when the page has one and no policy, and that it is refused with one.
    """
    good, leaky, held = (tmp_path / name for name in ("good.html", "leaky.html", "held.html"))
    good.write_text(written, encoding="utf-8")
    leak = written.replace("<main>", "<main><img src='http://127.0.0.1:9/seen.png' alt=''>")
    held.write_text(leak, encoding="utf-8")
    leaky.write_text(leak.replace("Content-Security-Policy", "nothing"), encoding="utf-8")
    with browser(tmp_path) as opened:
        for width in (360, 1280):
            wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            seen = opened.look(good, width=width, expression=wide)
            assert seen.requests[0] == good.as_uri()
            assert len(seen.requests) > 8
            assert {url.split(":")[0] for url in seen.requests[1:]} == {"data"}
            assert (seen.complaints, seen.value) == ([], 0)
        assert "http://127.0.0.1:9/seen.png" in opened.look(leaky).requests
        refused = opened.look(held)
        assert any("Content Security Policy" in complaint for complaint in refused.complaints)


@needs_chromium
@pytest.mark.parametrize("width", [360, 1280])
def test_page_fits_the_screen(written: str, tmp_path: Path, width: int) -> None:
    """Nothing but a table's own region scrolls sideways; a phone shows the narrow pictures, a desk the wide ones."""
    (tmp_path / "report.html").write_text(written, encoding="utf-8")
    (tmp_path / "frame.html").write_text(
        f"<iframe src='report.html' style='width:{width}px;height:800px;border:0'></iframe><p id='seen'></p><script>"
        "onload = () => { const d = document.querySelector('iframe').contentDocument, e = d.documentElement;"
        "const seen = [...d.images].filter(i => i.offsetWidth && i.naturalWidth).map(i => i.className);"
        "document.querySelector('#seen').textContent = [e.scrollWidth - e.clientWidth, ...new Set(seen)].join(' '); }"
        "</script>",
        encoding="utf-8",
    )
    dom = _chromium(
        tmp_path, "--disable-web-security", "--allow-file-access-from-files", "--dump-dom",
        (tmp_path / "frame.html").as_uri(),
    ).stdout  # fmt: skip
    found = re.search(r'<p id="seen">(.*?)</p>', dom)
    assert found is not None
    assert html.unescape(found[1]) == f"0 {'narrow' if width == 360 else 'wide'}"


@needs_chromium
@pytest.mark.parametrize("made", [plan(), hostile_plan()], ids=["plain", "hostile"])
def test_no_table_is_cut_on_paper(made: Plan, tmp_path: Path) -> None:
    """On the 186 mm between A4's margins every table and picture ends before the paper does, long names included."""
    (tmp_path / "report.html").write_text(_page(made, draw=False), encoding="utf-8")
    edge = "document.documentElement.clientWidth"
    wide = (
        f"[...document.querySelectorAll('table, code, li')].filter(e => e.getBoundingClientRect().right > {edge} + 1)"
    )
    with browser(tmp_path) as opened:
        seen = opened.look(
            tmp_path / "report.html", width=703, media="print", expression=f"{wide}.map(e => e.innerText.slice(0, 60))"
        )
        assert seen.value == []
        narrow = opened.look(tmp_path / "report.html", width=150, media="print", expression=f"{wide}.length")
        assert narrow.value > 0


@needs_chromium
def test_page_prints_on_a4(written: str, tmp_path: Path) -> None:
    """Every sheet is A4."""
    (tmp_path / "report.html").write_text(written, encoding="utf-8")
    _chromium(tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}", (tmp_path / "report.html").as_uri())
    boxes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", (tmp_path / "page.pdf").read_bytes())
    assert len(boxes) > 3
    assert {(round(float(width)), round(float(height))) for width, height in boxes} == {(595, 842)}


def _structure(read: Read) -> list[tuple[str, list[str]]]:
    return [(tag, sorted(set(attributes) - {"class"})) for tag, attributes in read.tags if tag != "span"]


def _page(made: Plan, *, draw: bool = True) -> str:
    parts = []
    for picture in pictures(made, hours(200)):
        drawn = [render(partial(picture.draw, narrow)) if draw else b"" for narrow in (False, True)]
        parts.append(shown(picture, *drawn))
    return page(made, parts)


def _chromium(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    options = (*OPTIONS, "--enable-logging=stderr", f"--user-data-dir={home / 'profile'}")
    return subprocess.run([CHROMIUM, *options, *arguments], capture_output=True, text=True, timeout=120, check=True)
