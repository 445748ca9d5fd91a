"""One page over several results folders: numbers of the leaderboards, no network, no need of scripts."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from bench.cli.main import main
from bench.report.analysis.verdict import MEANING
from bench.report.frames import GROUP
from bench.report.site.collect import Site, collect
from bench.report.site.render import render
from bench.report.writers import json_table
from tests.report.browser import Browser
from tests.report.classes import by_class
from tests.report.conftest import JUDGING, FakeCards, plausible
from tests.report.test_report_page import CLIPPED, CONTRAST, HOSTILE, OUTSIDE, OVERLAPS
from tests.report.test_report_print import shown

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "results" / "index.html"
EMPTY = {"meta", "link", "input", "wbr", "img", "br"}
Rows = dict[tuple[str, str], dict[str, str]]


class Page(HTMLParser):
    """What a reader of the page finds: rows of settings, tags, and all text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.rows: Rows = {}
        self.settings: list[str] = []
        self.text = ""
        self._open: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.tags.append((tag, found))
        if tag not in EMPTY:
            self._open.append((tag, found))
        if tag == "tbody" and "id" in found:
            self.settings.append(found["id"])

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag, "a tag that nobody closed"

    def handle_data(self, data: str) -> None:
        tags = {tag for tag, _ in self._open}
        if tags & {"script", "style"}:
            return
        self.text += data
        place = {key: value for _, found in self._open for key, value in found.items()}
        if (
            "tbody" in tags and "data-k" in place
        ):  # of the head of a setting, the levels stand in a row of no name
            row = self.rows.setdefault((place["id"], place.get("data-row", "")), {})
            row[place["data-k"]] = row.get(place["data-k"], "") + data


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Path]]:
    """A site over two folders; one of them has words of all kinds, the other rebuilds classes."""
    root = tmp_path_factory.mktemp("site")
    folder = plausible(seeds=5, releases=15, checkpoints=("trained",), defenses=("none", "noise", "prune"))
    folder.add("strong", f"odd[{HOSTILE}]", 1.0, lpips=[0.2] * 3, checkpoint="trained")
    cards = FakeCards()
    cards.judging = JUDGING
    for name, item in {"images": folder, "classes": by_class(seeds=2, classes=3)}.items():
        (root / name).mkdir()
        item.write(root / name)
        (root / name / "index.html").write_text("<!doctype html>")
    site = collect([root / "images", root / "classes"], root / "index.html", cards)
    (root / "index.html").write_text(render(site), encoding="utf-8")
    yield site, root / "index.html"


@pytest.fixture(scope="module")
def page(made: tuple[Site, Path]) -> Page:
    """Its text, read as a program reads it."""
    return Page(made[1].read_text(encoding="utf-8"))


@pytest.fixture
def opened(browser: Browser, made: tuple[Site, Path]) -> Browser:
    """It on a desktop screen."""
    browser.scripts(True)
    browser.device(width=1280)
    browser.open(made[1])
    return browser


def squeezed(text: str) -> str:
    return " ".join(text.replace("\N{NO-BREAK SPACE}", " ").split())


def printed(value: float | None, digits: int) -> str:
    text = "n/a" if value is None else f"{round(value, 7):.{digits}f}"
    return text.lstrip("-") if text.strip("-0.") == "" else text


def counted(share: dict[str, Any]) -> str:
    return f"{round(share['mean'] * share['images'])} of {share['images']}"


def expected(row: dict[str, Any], net: bool) -> dict[str, str]:
    """What the leaderboard's JSON says of a row, as the site prints it."""
    found = row["verdict"]["recovered"]
    share = [printed(100 * found[end], 0) for end in ("mean", "low", "high")]
    lost = row["loss_points"]
    cost = f"{printed(lost['mean'], 1)} (≤ {printed(lost['upper'], 1)})"
    middle = f"{share[0]} [{share[1]}, {share[2]}] %"
    return {
        "word": row["verdict"]["word"] or "–",
        "recovered": middle if net else f"{counted(found)} {middle}",
        "loss": "–" if row["undefended"] else cost,
        "attack": row["strongest_attack"],
    }


def boards(site: Site) -> dict[str, dict[str, Any]]:
    """The leaderboard's JSON of each setting, by its name on the page."""
    found = {}
    for folder in site.folders:
        groups = json.loads(json_table.render(folder.results, folder.groups))["groups"]
        names = {tuple(group[part] for part in GROUP): group for group in groups}
        own = [item for item in site.settings if item.folder is folder]
        assert len(own) == len(groups)
        found |= {item.anchor: names[item.group.setting] for item in own}
    return found


def compare(site: Site, page: Page) -> None:
    wanted = boards(site)
    assert sorted(page.settings) == sorted(wanted), "each setting once"
    rows = {}
    for name, group in wanted.items():
        net = group["channel"] == "model"
        bare = next(row for row in group["rows"] if row["undefended"])["verdict"]["recovered"]
        blind = 0.0 if net else bare["mean"] - group["undefended_above_blind_guesses"]["mean"]
        whole = f"{printed(100 * bare['mean'], 0)} %" if net else counted(bare)
        rows[name, ""] = {"undefended": whole, "blind": f"{printed(100 * blind, 0)} %"}
        for row in group["rows"]:
            strength = "" if row["strength"] is None else f" = {row['strength']:g}"
            rows[name, row["defense"] + strength] = expected(row, net)
    assert set(page.rows) == set(rows)
    for key, texts in page.rows.items():
        own = {name: squeezed(text) for name, text in texts.items() if name in rows[key]}
        assert own == rows[key], key


def test_every_setting_stands_there_once_with_the_numbers_of_its_leaderboard(
    made: tuple[Site, Path], page: Page
) -> None:
    compare(made[0], page)
    words = {squeezed(texts["word"]) for texts in page.rows.values() if "word" in texts}
    assert {"reduces", "undecided", "not tested", "–"} <= words
    answers = [found["data-answer"] for _, found in page.tags if "data-answer" in found]
    assert sorted(answers) == sorted(page.settings), "each setting has a defense, hence an answer"
    assert all(text in page.text.lower() for text in MEANING.values())


def test_what_all_rows_share_is_said_once(made: tuple[Site, Path], page: Page) -> None:
    flags = [found["href"] for tag, found in page.tags if tag == "a" and found["href"].startswith("#flag-")]
    for item in made[0].settings:
        carried = [set(row.headline) for row in item.group.rows]
        assert set(item.shared) == set.intersection(*carried)
    single = sum(
        len(item.shared) + sum(len(item.notes(row)[1]) for row in item.group.rows)
        for item in made[0].settings
    )
    assert len(flags) == single
    reasons = {reason for item in made[0].settings for reason in item.reasons}
    assert reasons, "two seeds are too few"
    for reason in reasons:
        shared = sum(reason in item.reasons for item in made[0].settings)
        alone = [item.notes(row)[0] for item in made[0].settings for row in item.group.rows]
        assert page.text.count(reason) == shared + sum(reason in texts for texts in alone)


def test_it_asks_nobody_and_its_links_lead_somewhere(made: tuple[Site, Path], page: Page) -> None:
    ids = [found["id"] for _, found in page.tags if "id" in found]
    assert len(ids) == len(set(ids))
    places = set()
    for tag, found in page.tags:
        assert not any(name.startswith("on") for name in found), tag
        assert "src" not in found
        if tag != "a":
            continue
        link = urlsplit(found["href"])
        assert not link.scheme and not link.netloc
        if link.path:
            assert (made[1].parent / link.path).is_file()
            places.add(link.path)
        else:
            assert link.fragment in ids
    assert places == {"images/index.html", "classes/index.html"}
    text = made[1].read_text(encoding="utf-8")
    assert "http" not in re.sub(r"http-equiv", "", text) and "url(" not in text and "@import" not in text
    policies = [
        found["content"] for _, found in page.tags if found.get("http-equiv") == "Content-Security-Policy"
    ]
    assert len(policies) == 1 and policies[0].startswith("default-src 'none'; script-src 'sha256-")


def test_it_is_whole_without_scripts_and_for_screen_readers(made: tuple[Site, Path], page: Page) -> None:
    forms = [found for tag, found in page.tags if tag == "form"]
    assert len(forms) == 1 and "hidden" in forms[0], "a filter that does nothing is not shown"
    assert sum("hidden" in found for _, found in page.tags) == 1
    for item in made[0].settings:
        assert all(item.command(row) in page.text for row in item.group.rows)
    assert all(found.get("scope") for tag, found in page.tags if tag == "th")
    assert [found["lang"] for tag, found in page.tags if tag == "html"] == ["en"]
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in page.tags}


def test_the_command_writes_it(tmp_path: Path) -> None:
    for name in ("here", "there/here", "there"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        folder = plausible(seeds=1, releases=1, checkpoints=("trained",), defenses=("none",))
        folder.write(tmp_path / name)
    out = tmp_path / "made.html"
    run = CliRunner().invoke(
        main, ["site", str(tmp_path / "here"), str(tmp_path / "there"), "--out", str(out)]
    )
    assert run.exit_code == 0, run.output
    found = Page(out.read_text(encoding="utf-8"))
    assert len(found.settings) == 2
    links = [item["href"] for tag, item in found.tags if tag == "a"]
    assert all(link.startswith("#") for link in links), "neither folder has a page to lead to"
    twice = [str(tmp_path / name) for name in ("here", "there/here")]
    refused = CliRunner().invoke(main, ["site", *twice, "--out", str(out)])
    assert refused.exit_code == 2 and "here" in refused.stderr
    assert CliRunner().invoke(main, ["site", str(tmp_path), "--out", str(out)]).exit_code == 2


VISIBLE = "[...document.querySelectorAll('#board tr[data-row]')].filter(row => row.checkVisibility())"


def reopen(browser: Browser, path: Path, fragment: str) -> None:
    """Loads a page that is open already: another fragment alone would load nothing."""
    browser.call("Page.navigate", url="about:blank")
    browser.run("new Promise(done => setTimeout(done, 50))")
    browser.open(path, fragment)


def test_filters_live_in_the_address(opened: Browser, made: tuple[Site, Path]) -> None:
    assert opened.complaints() == [] and opened.requests() == []
    everything = opened.run(f"{VISIBLE}.length")
    opened.run("document.querySelector('#filters [name=defense]').focus()")
    opened.press("ArrowDown", 2)
    chosen = opened.run("document.querySelector('#filters [name=defense]').value")
    assert opened.run("location.hash") == f"#defense={chosen}" and chosen == "noise"
    reopen(opened, made[1], "#channel=gradients&word=reduces&nonsense=1&dataset=nowhere")
    rows = opened.run(f"{VISIBLE}.map(row => [row.dataset.word, row.dataset.defense])")
    assert {word for word, _ in rows} == {"reduces", ""} and ["", "none"] in rows
    assert 1 < len(rows) < everything
    assert opened.run("document.querySelector('#count').value") == f"{len(rows) - 1} of {everything} rows"
    opened.run("document.querySelector('#filters [name=text]').focus()")
    opened.type("strong 0.001")
    assert "text=strong+0.001" in opened.run("location.hash")
    assert 0 < opened.run(f"{VISIBLE}.length") <= len(rows)
    opened.click("#filters [type=reset]")
    opened.run("new Promise(done => setTimeout(done, 30))")
    assert opened.run(f"{VISIBLE}.length") == everything and opened.run("location.hash") == ""
    assert opened.complaints() == []


def test_a_column_without_anything_to_read_is_hidden(opened: Browser, made: tuple[Site, Path]) -> None:
    heads = "[...document.querySelectorAll('#board thead th')].filter(h => h.checkVisibility()).length"
    whole = opened.run(heads)
    reopen(opened, made[1], "#text=none+classes")
    assert opened.run(f"{VISIBLE}.length") == 1
    assert opened.run(heads) < whole, "an undefended row has no verdict and no cost"


def test_a_command_is_copied_by_one_click(opened: Browser) -> None:
    opened.call("Browser.grantPermissions", permissions=["clipboardReadWrite"])
    opened.click("#board .repeat button")
    opened.run("new Promise(done => setTimeout(done, 100))")
    wanted = opened.run("document.querySelector('#board .repeat code').textContent")
    assert opened.run("navigator.clipboard.readText()") == wanted and wanted.startswith("bench run ")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 900, 390])
def test_nothing_is_clipped_or_hard_to_read(opened: Browser, width: int, dark: bool) -> None:
    opened.device(width=width, dark=dark)
    opened.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert opened.run("document.documentElement.scrollWidth") <= width
    assert [opened.run(script) for script in (OUTSIDE, CLIPPED, OVERLAPS)] == [[], [], []]
    assert opened.run(CONTRAST) == {}
    assert opened.run("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def pages(browser: Browser, whole: bool) -> list[int]:
    """Pieces on each page of paper."""
    browser.device(width=1280)
    browser.run(f"document.querySelector('#whole').checked = {json.dumps(whole)}")
    pdf = browser.call("Page.printToPDF", preferCSSPageSize=True, printBackground=False)["data"]
    return shown(base64.b64decode(pdf))


def test_paper_has_the_summary_or_everything(opened: Browser) -> None:
    short, whole = pages(opened, False), pages(opened, True)
    assert len(short) <= 2 < len(whole) and min(*short, *whole) > 0
    opened.device(width=1032, media="print")
    assert (
        opened.run("getComputedStyle(document.querySelector('#board thead')).display") == "table-header-group"
    )
    assert opened.run("getComputedStyle(document.querySelector('#board thead th')).position") == "static"
    opened.device(width=1280)


@pytest.mark.slow
def test_the_published_page_is_that_of_all_published_folders(browser: Browser) -> None:
    if not PUBLISHED.is_file():
        pytest.skip("there is no results/index.html here: the sdist does not ship it")
    folders = sorted(path.parent for path in PUBLISHED.parent.glob("*/published.json"))
    site = collect(folders, PUBLISHED)
    text = PUBLISHED.read_text(encoding="utf-8")
    assert text == render(site), (
        f"run: bench site {' '.join(f'results/{f.name}' for f in folders)} --out {PUBLISHED}"
    )
    assert len(text.encode()) < 2_000_000
    page = Page(text)
    compare(site, page)
    for tag, found in page.tags:
        link = urlsplit(found["href"]) if tag == "a" else urlsplit("")
        if link.path:
            there = (PUBLISHED.parent / link.path).read_text(encoding="utf-8")
            name = link.fragment.removeprefix("cell-")
            assert not name or f'id="{name}"' in there or f'"{name}":' in there, found["href"]
    browser.device(width=1280)
    browser.open(PUBLISHED)
    short, whole = pages(browser, False), pages(browser, True)
    assert len(short) <= 2 and min(*short, *whole) > 0
