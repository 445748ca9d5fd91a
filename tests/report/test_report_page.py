"""The page: self-contained, stable and safe; and in a real browser sorted, filtered, opened and read."""

import json
import re
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.report.cards import Cards
from bench.report.write import write_report
from tests.report.browser import Browser
from tests.report.classes import by_class
from tests.report.conftest import FakeCards, plausible

Folder = Any  # the class in conftest.py
ROOT = Path(__file__).resolve().parents[2]
HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)"> {{ 7*7 }} & "quoted" \u2028'


def with_sheets(folder: Folder, directory: Path) -> Path:
    """Writes the folder, and a contact sheet for every cell that is done."""
    folder.write(directory)
    (directory / "sheets").mkdir(exist_ok=True)
    for number, item in enumerate(folder.records):
        if item["status"] == "done":
            pixels = np.full((64, 128), (37 * number) % 255, dtype=np.uint8)
            pixels[:32] = 200
            Image.fromarray(pixels).save(directory / "sheets" / f"{item['id']}.png")
    return directory


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a plausible matrix with pictures, failures and hostile text."""
    folder = plausible(releases=3, seeds=2)
    folder.add(f"sly[{HOSTILE}]", "none", lpips=[0.2] * 3, seed=0)
    folder.add("never", "none", status="oom", reason=f"out of memory {HOSTILE}")
    directory = with_sheets(folder, tmp_path_factory.mktemp("page"))
    later = [item["id"] for item in folder.records if item["status"] == "done" and item["cell"]["seed"] == 1]
    for number in later[::2]:  # as of a folder of which not every sheet is published
        (directory / "sheets" / f"{number}.png").unlink()
    write_report(directory, cards=FakeCards())
    return directory / "index.html"


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    """The page on a desktop screen."""
    browser.scripts(True)
    browser.device(width=1280)
    browser.open(page)
    return browser


class Tags(HTMLParser):
    """All start tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))


def test_it_loads_nothing_and_runs_only_its_own_script(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    tags = Tags(text).tags
    policies = [a["content"] for _, a in tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1 and policies[0].startswith("default-src 'none'; script-src 'sha256-")
    assert sum(tag == "script" for tag, _ in tags) == 2
    for tag, attributes in tags:
        assert not any(name.startswith("on") for name in attributes), tag
        assert attributes.get("src", "data:").startswith("data:")
        assert re.match(r"#|data:|https://", attributes.get("href", "#"))
        assert tag != "a" or not attributes["href"].startswith("data:")
    assert "@import" not in text and "49 &amp;" not in text


def test_same_records_same_bytes(matrix: Callable[..., Folder], cards: Cards, tmp_path: Path) -> None:
    folder = matrix(releases=2, seeds=2, checkpoints=("trained",))
    contents = []
    for name, shuffle in (("a", None), ("b", 3)):
        directory = with_sheets(folder, tmp_path / name)
        folder.write(directory, shuffle=shuffle)
        write_report(directory, cards=cards)
        files = ("index.html", "leaderboard.json", "claims.md")
        contents.append([(directory / file).read_bytes() for file in files])
    assert contents[0] == contents[1]


def test_pictures_are_in_the_page_once(page: Path) -> None:
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), re.S)[0])
    shown = [entry["sheet"] for entry in data["entries"].values() if entry["sheet"]]
    assert len(shown) == sum(bool(entry["scores"]) for entry in data["entries"].values())
    assert {name for _, *names, _ in shown for name in names} == set(data["pictures"])
    assert all(count == 4 for _, count in data["pictures"].values())


def awkward(name: str) -> Folder:
    """Folders that lack what the page would like to show."""
    folder: Folder = type(plausible(releases=1, seeds=1))()
    if name == "only failures":
        folder.add("strong", status="failed", reason="boom")
    elif name == "no LPIPS":
        for defense, strength in (("none", None), ("noise", 1.0), ("noise", 2.0)):
            folder.add("strong", defense, strength, lpips=[np.nan] * 4, ssim=[0.9, 0.1, 0.2, 0.3])
            folder.add("blind", defense, strength, lpips=[np.nan] * 4, ssim=[0.1] * 4)
    elif name == "no undefended victim":
        folder.add("strong", "noise", 1.0, lpips=[0.1, 0.2])
        folder.add("strong", "noise", 2.0, lpips=[0.1, 0.2], accuracy=None)
    elif name == "one image":
        folder.add("strong", lpips=[0.1])
    elif name == "all diverged":
        folder.add("strong", lpips=[np.nan] * 3, psnr=[np.nan] * 3, ssim=[np.nan] * 3)
        folder.add("strong", "noise", 1.0, lpips=[0.2] * 3)
    return folder


AWKWARD = ["only failures", "no LPIPS", "no undefended victim", "one image", "all diverged"]


@pytest.mark.parametrize("name", AWKWARD)
def test_what_is_missing_is_said_and_breaks_nothing(browser: Browser, tmp_path: Path, name: str) -> None:
    write_report(awkward(name).write(tmp_path), cards=FakeCards())
    browser.scripts(True)
    browser.device(width=1280)
    browser.open(tmp_path / "index.html")
    assert browser.complaints() == []
    assert browser.run("document.querySelectorAll('#board tbody tr').length") > 0
    text = browser.run("document.body.innerText")
    assert "nan" not in text.lower().split() and "None" not in text.split()
    if browser.run("!!document.querySelector('[data-entry] button')"):
        browser.click("[data-entry] button")
        assert browser.run("document.querySelector('dialog[open] #drawer-title').textContent")
    assert browser.complaints() == []


def test_quiet_in_the_browser(opened: Browser) -> None:
    assert opened.complaints() == []
    assert opened.requests() == []
    assert opened.run("document.scripts.length") == 2


def column(browser: Browser, number: int) -> list[str]:
    """Sort values of a column of the leaderboard, in the order shown."""
    rows = "[...document.querySelectorAll('#board tbody tr:not([hidden])')]"
    found: list[str] = browser.run(f"{rows}.map(row => row.cells[{number}].dataset.s)")
    return found


def by_setting(browser: Browser, number: int) -> dict[str, list[str]]:
    """The same apart for each setting, in the order of the settings."""
    found: dict[str, list[str]] = {}
    names, values = column(browser, 0), column(browser, number)
    for name, value in zip(names, values, strict=True):
        found.setdefault(name, []).append(value)
    assert list(dict.fromkeys(names)) == [n for i, n in enumerate(names) if i == 0 or n != names[i - 1]]
    return found


def test_sorting_by_mouse_and_keyboard(opened: Browser) -> None:
    before = column(opened, 8)
    opened.click("#board thead th:nth-child(9) button")
    down = by_setting(opened, 8)
    assert len(down) == 2, "settings stay apart: what leaks in one may not be compared with another"
    for values in down.values():
        known = [float(value) for value in values if value]
        assert known == sorted(known, reverse=True) and len(known) > 3
    assert sorted(column(opened, 8)) == sorted(before) and column(opened, 8) != before
    sorts = "[...document.querySelectorAll('#board th')].map(h => h.getAttribute('aria-sort') ?? '')"
    assert opened.run(sorts)[8] == "descending"
    opened.press("Enter")  # the button still has the focus
    for values in by_setting(opened, 8).values():
        known = [float(value) for value in values if value]
        assert known == sorted(known)
    assert opened.run(sorts)[8] == "ascending"
    opened.press("Space")
    assert column(opened, 8) == before and not any(opened.run(sorts))
    opened.click("#board thead th:nth-child(2) button")
    for names in by_setting(opened, 1).values():
        assert names.index("noise = 0.001") < names.index("noise = 0.01")
        assert [name.split("=")[0] for name in names] == sorted(name.split("=")[0] for name in names)
    assert sum(map(bool, opened.run(sorts))) == 1
    opened.click("#board thead th:nth-child(1) button")
    opened.press("Enter")
    assert list(by_setting(opened, 1)) == list(down)[::-1], "the settings themselves can be turned round"
    assert opened.complaints() == []


def test_filtering(opened: Browser) -> None:
    everything = len(column(opened, 0))
    opened.run("(s => { s.value = 'trained'; s.dispatchEvent(new Event('input', {bubbles: true})); })"
               "(document.querySelector('#filters [name=checkpoint]'))")  # fmt: skip
    assert 0 < len(column(opened, 0)) < everything
    assert all("trained" in text for text in column(opened, 0))
    opened.run("document.querySelector('#filters [type=search]').focus()")
    opened.type("laplace")
    names = column(opened, 1)
    assert names and all("laplace" in name for name in names)
    assert opened.run("document.querySelector('#count').value") == f"{len(names)} of {everything} rows"
    opened.click("#filters [type=reset]")
    opened.run("new Promise(done => setTimeout(done, 30))")
    assert len(column(opened, 0)) == everything
    opened.click("#filters [name=pareto]")
    stars = opened.run("document.querySelectorAll('#board tbody tr:not([hidden]) .star').length")
    assert 0 < len(column(opened, 0)) == stars < everything


def test_a_drawer_opens_closes_and_gives_the_focus_back(opened: Browser) -> None:
    opened.click("#board tbody tr:nth-child(4) th button")
    text = opened.run("document.querySelector('dialog[open]').innerText")
    for words in (
        "Measured",
        "Threat model",
        "Provenance",
        "commit 0123456789",
        "bench run",
        "bench compare",
        "100 of 100",
        "torch 2.9.0",
    ):
        assert words in text
    assert opened.run("document.querySelectorAll('dialog img').length") == 2
    assert re.fullmatch("#cell-[0-9a-f]{16}", opened.run("location.hash"))
    opened.press("Tab", 30)
    assert opened.run(
        "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
    )
    opened.press("Escape")
    assert opened.run("document.querySelector('dialog').open") is False
    assert opened.run("document.activeElement.closest('tr').rowIndex") == 4
    assert opened.run("location.hash") == ""
    assert opened.complaints() == []


def test_drawers_link_to_the_sheets_that_are_there(opened: Browser, page: Path) -> None:
    links = opened.run(
        "[...document.querySelectorAll('#board tbody th button')].flatMap(button => { button.click();"
        "const links = [...document.querySelectorAll('dialog a[href^=sheets]')];"
        "const found = links.map(link => link.getAttribute('href'));"
        "document.querySelector('dialog').close(); return found; })"
    )
    assert links and all((page.parent / link).is_file() for link in links)


def test_drawers_by_keyboard_by_heat_map_and_by_link(opened: Browser, page: Path) -> None:
    opened.run("document.querySelector('.heat td.worst button').focus()")
    opened.press("Enter")
    assert "strongest" in opened.run("document.querySelector('dialog[open]').innerText")
    opened.run("(s => { s.selectedIndex = 1; s.dispatchEvent(new Event('change')); })"
               "(document.querySelector('dialog select'))")  # fmt: skip
    link = opened.run("location.hash")
    title = opened.run("document.querySelector('#drawer-title').textContent")
    opened.open(page, "")
    opened.run(f"location.hash = '{link}'")
    opened.run("new Promise(done => setTimeout(done, 50))")
    assert opened.run("document.querySelector('dialog[open] #drawer-title').textContent") == title
    assert opened.complaints() == []


def test_a_command_is_copied_by_one_click(opened: Browser) -> None:
    opened.call("Browser.grantPermissions", permissions=["clipboardReadWrite"])
    wanted = opened.run("document.querySelector('.actions').dataset.command")
    opened.click(".actions button:last-child")
    opened.run("new Promise(done => setTimeout(done, 100))")
    assert opened.run("document.querySelector('.actions button:last-child').textContent") == "Copied"
    assert opened.run("navigator.clipboard.readText()") == wanted
    assert "clipboard" in opened.run("document.querySelector('#announce').textContent")


def test_hostile_text_is_text(opened: Browser) -> None:
    assert opened.run("document.querySelectorAll('img[src=\"x\"]').length") == 0
    found = "[...document.querySelectorAll('th button')].find(b => b.textContent.includes('alert(1)'))"
    opened.run(f"{found}.click()")
    assert "<img src=x" in opened.run("document.querySelector('#drawer-title').textContent")
    assert opened.run("document.querySelectorAll('dialog script, img[src=\"x\"]').length") == 0
    assert opened.complaints() == []


def test_readable_without_scripts(browser: Browser, page: Path) -> None:
    browser.scripts(False)
    browser.device(width=1280)
    browser.open(page)
    text = page.read_text(encoding="utf-8")
    shown = Tags(text[text.index("<body") : text.index('<script type="application/json"')])
    browser.scripts(True)
    names = [tag for tag, _ in shown.tags]
    assert names.count("button") == 1, "only the filters' reset, and the filters are hidden"
    assert any(tag == "form" and "hidden" in attributes for tag, attributes in shown.tags)
    assert names.count("table") > 6 and names.count("svg") == 0 and names.count("img") > 20
    assert all(attributes.get("alt") for tag, attributes in shown.tags if tag == "img")
    assert "bench run" in text.split('<script type="application/json"')[0]


OUTSIDE = """
[...document.querySelectorAll('body *')].filter(e => {
  if (e.closest('.scroll, .roll, svg, .hidden, dialog, .skip')) return false;
  const box = e.getBoundingClientRect();
  return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1);
}).map(e => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40))
"""
CLIPPED = """
[...document.querySelectorAll('td, th, .card, .card *, button, summary, .flag, .badge')].filter(e =>
  e.checkVisibility() && !e.closest('.hidden') && e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0 &&
  getComputedStyle(e).overflowX !== 'visible'
).map(e => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40))
"""
OVERLAPS = """
[...document.querySelectorAll('tr')].flatMap(row => {
  const boxes = [...row.cells].filter(cell => cell.checkVisibility()).map(cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return [range.getBoundingClientRect(), cell.textContent.trim()];
  }).filter(([box]) => box.width);
  return boxes.flatMap(([a, text], i) => boxes.slice(i + 1).filter(([b]) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1
  ).map(([, other]) => text + ' / ' + other));
})
"""


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page whose leaks and accuracies differ in the fourth decimal, on two channels, with two budgets."""
    folder = by_class(seeds=2, classes=2, batch=1)
    for step, (defense, strength) in enumerate([("none", None), ("noise", 1.0), ("noise", 2.0)]):
        for image, attack in enumerate(("strong", "weak", "blind")):
            lpips = [1e-4 * (step + image + more) for more in range(1, 5)]
            means = {"lpips": sum(lpips) / 4}
            common: dict[str, Any] = {"accuracy": 0.97 + 1e-4 * step, "means": means}
            folder.add(attack, defense, strength, lpips=lpips, **common)
            folder.add(attack, defense, strength, lpips=lpips, budget=50, **common)
    directory = folder.write(tmp_path_factory.mktemp("narrow"))
    write_report(directory, cards=FakeCards())
    return Path(directory / "index.html")


def test_the_page_shows_the_figures_of_the_folder(page: Path, narrow: Path) -> None:
    for path in (page, narrow):
        text = path.read_text(encoding="utf-8")
        drawn = sorted((path.parent / "figures").glob("*.svg"))
        shown = {figure.name for figure in drawn if b64encode(figure.read_bytes()).decode() in text}
        kinds = ("tradeoff-", "budget-", "adaptive-", "images-")
        assert shown == {figure.name for figure in drawn if figure.name.startswith(kinds)}
    kinds = {name.partition("-")[0] for name in shown}
    assert kinds == {"tradeoff", "budget", "images"}, "two budgets make a curve"


def test_the_axes_of_a_setting_are_chosen_and_the_drawn_figure_comes_back(
    browser: Browser, page: Path
) -> None:
    browser.scripts(True)
    browser.device(width=1280, dark=False)
    browser.open(page)
    place = "document.querySelector('[data-chart]:has(img)')"
    rows = browser.run(
        f"JSON.parse(document.querySelector('#data').textContent).charts[{place}.dataset.chart].rows"
    )

    def choose(across: str, up: str) -> list[Any]:
        """Chooses both; how many points are drawn, and whether figure and caption are there."""
        for select, name in enumerate((across, up)):
            browser.run(
                f"(() => {{ const chosen = {place}.querySelectorAll('select')[{select}]; "
                f"chosen.value = '{name}'; chosen.dispatchEvent(new Event('change')); }})()"
            )
        found = browser.run(
            f"[{place}.querySelectorAll('svg polygon').length, "
            f"...['img', 'figcaption'].map((name) => {place}.querySelector(name).offsetHeight > 0)]"
        )
        assert isinstance(found, list)
        return found

    drawn = [row for row in rows if {"accuracy", "lpips"} <= set(row[4])]
    assert choose("accuracy", "lpips") == [len(drawn), False, False]
    assert len(drawn) > 1
    assert choose("loss", "recovered") == [0, True, True]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 900, 390])
def test_nothing_is_clipped_or_overlaps(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.scripts(True)
    browser.device(width=width, dark=dark)
    browser.open(page)
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run(OUTSIDE) == []
    assert browser.run(CLIPPED) == []
    assert browser.run(OVERLAPS) == []
    browser.click("#board tbody tr:nth-child(2) th button")
    box = "(d => [d.scrollWidth, d.clientWidth])(document.querySelector('dialog'))"
    inner, outer = browser.run(box)
    assert inner <= outer


CONTRAST = """
(() => {
  const linear = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const known = {};
  const rgb = text => known[text] ??= painted(text);
  const painted = text => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c[3] === 255) return c.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const worst = {};
  for (const e of document.querySelectorAll('main *, header *')) {
    if (e.closest('svg, .hidden') || !e.checkVisibility()) continue;
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const [a, b] = [rgb(getComputedStyle(e).color).slice(0, 3), behind(e)].map(light);
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) worst[e.tagName + '.' + e.className + ' ' + e.textContent.trim()] = ratio;
  }
  return worst;
})()
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Browser, page: Path, dark: bool) -> None:
    browser.scripts(True)
    browser.device(width=1280, dark=dark)
    browser.open(page)
    assert browser.run(CONTRAST) == {}


def test_a_screen_reader_finds_names_and_tables(opened: Browser) -> None:
    nodes = opened.call("Accessibility.getFullAXTree")["nodes"]
    seen = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and "role" in node
    ]
    for role in ("button", "link", "img", "image", "combobox", "searchbox", "checkbox", "radio", "table"):
        assert all(name for kind, name in seen if kind == role), role
    roles = {role for role, _ in seen}
    assert {"banner", "main", "navigation", "table", "columnheader", "rowheader", "heading"} <= roles
    opened.device(width=390)  # as cards, a table is still one
    phone = opened.call("Accessibility.getFullAXTree")["nodes"]
    kinds = [node["role"]["value"] for node in phone if not node.get("ignored") and "role" in node]
    assert kinds.count("table") >= 3 and kinds.count("row") > 20


def test_printed_it_is_all_there(opened: Browser) -> None:
    opened.device(width=1000, media="print")
    assert opened.run("getComputedStyle(document.querySelector('#filters')).display") == "none"
    hidden = "[...document.querySelectorAll('.answers')].filter(e => !e.checkVisibility()).length"
    assert opened.run(hidden) == 0
    pdf = opened.call("Page.printToPDF", preferCSSPageSize=True)["data"]
    assert len(pdf) > 50_000
    opened.device(width=1280)


@pytest.mark.slow
def test_the_published_folder_stays_small(tmp_path: Path) -> None:
    source = ROOT / "results" / "full"
    if not (source / "records").is_dir():
        pytest.skip("results/full is not here: the sdist does not ship it")
    for name in ("records", "sheets"):
        shutil.copytree(source / name, tmp_path / name)
    shutil.copy(source / "images.csv.gz", tmp_path)
    command = [sys.executable, "-m", "bench.cli.main", "report", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert (tmp_path / "index.html").stat().st_size < 15_000_000
    published = [path for path in (ROOT / "results").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in published) < 60_000_000
