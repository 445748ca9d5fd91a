"""The page on paper: heads of tables are there on every page, and no page is blank."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.report.write import write_report
from tests.report.browser import Browser
from tests.report.classes import by_class
from tests.report.conftest import FakeCards, plausible

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pdf(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A page of three settings with pictures, printed."""
    folder = by_class(seeds=2, classes=3, folder=plausible(releases=3, seeds=2))
    directory = tmp_path_factory.mktemp("printed")
    folder.write(directory)
    (directory / "sheets").mkdir()
    for number, item in enumerate(folder.records):
        if item["status"] == "done":
            pixels = np.full((64, 128), (37 * number) % 255, dtype=np.uint8)
            Image.fromarray(pixels).save(directory / "sheets" / f"{item['id']}.png")
    write_report(directory, cards=FakeCards())
    return printed(browser, directory)


def printed(browser: Browser, directory: Path) -> bytes:
    """The page of a folder as a PDF."""
    browser.device(width=1280)
    browser.open(directory / "index.html")
    data = browser.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False)["data"]
    return base64.b64decode(data)


def shown(pdf: bytes) -> list[int]:
    """How many pieces of text, lines and pictures each page shows, in the order of the file."""
    parts = {
        int(number): body for number, body in re.findall(rb"(?<!\d)(\d+) 0 obj\s(.*?)endobj", pdf, re.DOTALL)
    }
    pages = [body for body in parts.values() if re.search(rb"/Type\s*/Page\b", body)]
    counts = []
    for page in pages:
        found = re.search(rb"/Contents\s+(\d+) 0 R", page)
        assert found is not None
        head, _, stream = parts[int(found[1])].partition(b"stream")
        stream = re.sub(rb"^\r?\n", b"", stream)
        content = zlib.decompressobj().decompress(stream) if b"FlateDecode" in head else stream
        counts.append(len(re.findall(rb"\b(?:Tj|TJ|Do)\b", content)))
    return counts


def test_no_page_is_blank(pdf: bytes) -> None:
    counts = shown(pdf)
    assert 10 < len(counts) < 60, "a title, answers, a leaderboard, and pages for each setting"
    assert [number for number, count in enumerate(counts, start=1) if not count] == []
    if tool := shutil.which("pdfinfo"):
        told = subprocess.run([tool, "-"], input=pdf, check=True, capture_output=True, timeout=60).stdout
        assert re.search(rb"Pages:\s+(\d+)", told)[1] == str(len(counts)).encode()  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "generative"])
def test_no_page_of_the_published_folders_is_blank(browser: Browser, tmp_path: Path, name: str) -> None:
    """Whether a page is blank depends on how much is on those before it."""
    published = ROOT / "results" / name
    if not (published / "images.csv.gz").is_file():
        pytest.skip("the sdist does not ship results")
    for part in ("records", "sheets"):
        shutil.copytree(published / part, tmp_path / part)
    shutil.copy(published / "images.csv.gz", tmp_path)
    write_report(tmp_path)
    counts = shown(printed(browser, tmp_path))
    assert [number for number, count in enumerate(counts, start=1) if not count] == []


@pytest.mark.usefixtures("pdf")
def test_the_heads_of_the_leaderboard_are_printed(browser: Browser) -> None:
    browser.device(width=1000, media="print")
    heads = "[...document.querySelectorAll('#board thead th')]"
    width = (
        "(h => { const r = document.createRange(); r.selectNodeContents(h); "
        "return r.getBoundingClientRect().width; })"
    )
    widths = browser.run(f"{heads}.map({width})")
    assert len(widths) > 10 and min(widths) > 5
    shapes = browser.run(
        f"{heads}.map(h => h.firstElementChild).filter(Boolean).map(b => getComputedStyle(b).display)"
    )
    assert set(shapes) == {"contents"}, "a button is printed on the first page of a table alone"
    others = "[...document.querySelectorAll('button:not(.open)')].filter(b => !b.closest('th'))"
    assert browser.run(f"{others}.filter(b => b.checkVisibility()).length") == 0
    browser.device(width=1280)


def test_every_printed_page_of_the_leaderboard_has_its_heads(pdf: bytes) -> None:
    if (tool := shutil.which("pdftotext")) is None:
        pytest.skip("no pdftotext on this machine (Debian: apt-get install poppler-utils)")
    text = subprocess.run([tool, "-layout", "-", "-"], input=pdf, check=True, capture_output=True, timeout=60)
    pages = text.stdout.decode().split("\f")
    first = next(
        number for number, page in enumerate(pages) if re.search(r"^Leaderboard$", page, re.MULTILINE)
    )
    last = next(number for number, page in enumerate(pages) if "Setting by setting" in page)
    assert last > first + 1, "it takes several pages"
    for page in pages[first + 1 : last]:
        words = ("Accuracy", "LPIPS", "Loss", "Verdict", "Recovered", "Strongest")
        assert all(word in page for word in words)
