"""The page of channel ``model``, looked at in a real browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.channels import terms
from bench.report.write import write_report
from tests.report.browser import Browser
from tests.report.classes import by_class, quality
from tests.report.conftest import FakeCards, plausible


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes beside images, with pictures and a poor generator."""
    folder = by_class(seeds=2, classes=3, folder=plausible(releases=2, seeds=2, checkpoints=("initial",)))
    for item in folder.records:
        if item["cell"]["attack"]["name"] == "inverter" and item["cell"]["seed"] == 1:
            item["generator"] = quality(1, frechet=9.0)["generator"]
    directory = tmp_path_factory.mktemp("classes")
    folder.write(directory)
    (directory / "sheets").mkdir()
    for number, item in enumerate(folder.records):
        if item["status"] == "done":
            pixels = np.full((64, 128), (37 * number) % 255, dtype=np.uint8)
            pixels[:32] = (11 * number) % 255
            Image.fromarray(pixels).save(directory / "sheets" / f"{item['id']}.png")
    write_report(directory, cards=FakeCards())
    return directory / "index.html"


LAST = "#board tbody tr:last-child"


def test_a_drawer_tells_the_threat_model_of_a_class(browser: Browser, page: Path) -> None:
    browser.device(width=1280)
    browser.open(page)
    browser.click(f"{LAST} th button")
    text = browser.run("document.querySelector('dialog[open]').innerText")
    for words in (
        "weights",
        "per class",
        "without labels",
        "gan, ",
        "0.30 (real images 0.02)",
        "nearest private",
        "nearest-private LPIPS",
        "evaluator accuracy @5",
        "evaluations per",
        "weak-generator",
    ):
        assert words in text, words
    for words in ("identified", "labels ↑", "private labels", "private batch", "release"):
        assert words not in text.partition("bench run")[0].partition("attack inverter")[0], words
    browser.run(
        "(s => { s.value = [...s.options].find(o => o.text.startsWith('other_class')).value; "
        "s.dispatchEvent(new Event('change')); })(document.querySelector('dialog select'))"
    )
    assert (
        browser.run("[...document.querySelectorAll('dialog .badge')].map(b => b.textContent)")[0] == "control"
    )
    assert browser.complaints() == [] and browser.requests() == []


def test_the_board_names_what_its_numbers_are_against(browser: Browser, page: Path) -> None:
    browser.device(width=1280)
    browser.open(page)
    heads = browser.run("[...document.querySelectorAll('#board thead th')].map(h => h.textContent)")
    assert heads.index("Verdict") < heads.index("Recovered ↑") < heads.index("LPIPS ↓")
    channel = "c.closest('tr').dataset.channel"
    found = browser.run(f"[...document.querySelectorAll('#board .near')].map(c => [c.dataset.k, {channel}])")
    assert {tuple(item) for item in found} == {(name, "model") for name in ("lpips", "ssim", "psnr")}
    said = f"getComputedStyle(document.querySelector('{LAST} .near'), '::after').content"
    assert browser.run(said) == '"nearest private"'
    assert "inverter/naive" in browser.run(f"document.querySelector('{LAST} .by').textContent")
    assert browser.run("document.documentElement.scrollWidth") <= 1280, "the board scrolls in its frame"
    browser.device(width=390)
    browser.open(page)
    assert browser.run("document.documentElement.scrollWidth") == 390
    labels = browser.run(f"[...document.querySelectorAll('{LAST} .near')].map(c => c.dataset.label)")
    assert labels == [terms("model").heads[metric] for metric in ("lpips", "ssim", "psnr")]
    assert browser.run(said) == "none"


def test_every_class_has_its_own_nearest_images_above(browser: Browser, page: Path) -> None:
    browser.device(width=1280)
    browser.open(page)
    script = (
        "[...document.querySelectorAll('details[id^=model] .gallery .strips > span')].map(s => s.textContent)"
    )
    names = browser.run(script)
    assert names[::2] == ["nearest private"] * 4 and len(names) == 8
    rows = browser.run("document.querySelectorAll('#priors tbody tr').length")
    assert rows == 1 and "weak-generator" in browser.run(
        "document.querySelector('#priors tbody').textContent"
    )
    heads = browser.run(
        "[...document.querySelectorAll('details[id^=model] .heat thead small')].map(s => s.textContent)"
    )
    assert heads == ["naive", "naive", "control", "control", "control"]
    figure = Image.open(page.parent / "figures" / "gallery-model-digits-convnet-trained-4.png")
    assert figure.height == 2 * 5 * 4 * (2 * 32 + 6)  # two rows for every attack on every defense
