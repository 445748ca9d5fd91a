"""Every number on the page can be had from the table of images with pandas alone, to the last digit."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import plugins
from bench.matrix import load_matrix
from bench.matrix.cells import Cell
from bench.matrix.suites import by_channel, newest
from bench.report.analysis.verdict import Word
from bench.report.cards import Cards
from bench.report.claims.across import judge_folders
from bench.report.write import write_report
from bench.report.writers.claims_page import render
from tests.report.classes import by_class
from tests.report.conftest import JUDGING, OWED, attack_card
from tests.report.reclaim import headline, lost, printed, rejudged
from tests.report.recompute import Folder as Sceptic
from tests.report.recompute import Marked, share, shown, value

Folder = Any  # the class in conftest.py
ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    *("answer-recovered", "answer-drop", "answer-word", "undefended-recovered", "cost", "lead"),
    *("word", "recovered", "recovered-count", "drop", "union"),
    *("utility", "loss", "rank", "leak", "attack-rank", "area"),
    *("normalised", "cells", "counts", "evaluations", "lpips-mean", "lpips", "ssim", "psnr", "identified"),
    *("label_correct", "recognised", "success"),
}
CLASS_KINDS = {
    *(KINDS - {"identified", "label_correct", "success", "lpips-mean"}),
    *("recognised-mean", "recognised5", "feature_distance", "diversity"),
    *(f"generator_{name}" for name in ("frechet", "frechet_real", "confident", "confident_real")),
    *("generator_classes", "generator_diversity"),
}
METRICS = {"LPIPS ↓": "lpips", "SSIM ↑": "ssim", "PSNR ↑ dB": "psnr", "recovered ↑ %": "identified"}
CLASS_METRICS = {
    "evaluator accuracy @1 ↑ %": "recognised",
    "evaluator accuracy @5 ↑ %": "recognised5",
    "feature distance ↓": "feature_distance",
    "diversity ↑": "diversity",
    **{f"nearest-private {head}": metric for head, metric in METRICS.items()},
}

FEW = ("none", "noise", "clip")
"""Defenses that bring every kind of number."""


def differences(directory: Path, folder: Sceptic) -> tuple[list[str], set[str]]:
    """Where page and recomputation disagree, and which kinds of numbers were compared."""
    page = (directory / "index.html").read_text(encoding="utf-8")
    marked = Marked()
    marked.feed(page)
    assert marked.unmarked == [], "numbers on the page that nobody recomputes"
    wrong, kinds = [], set()
    for at, text in marked.found:
        kinds.add(at["k"])
        if (expected := value(folder, at)) != text:
            wrong.append(f"{at}: the page says {text}, pandas {expected}")
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    for plugin in data["plugins"].values():
        claims, again = printed(plugin["claims"]), rejudged(folder, plugin["role"], plugin["name"])
        wrong += [f"{plugin['name']}: the page says {item}" for item in claims - again]
        wrong += [f"{plugin['name']}: pandas says {item}" for item in again - claims]
        kinds |= {"claim"} if any(item.numbers for item in claims) else set()
    if "claims-title" in page and (counted := headline(page)) != lost(folder):
        wrong.append(f"headline: the page says {counted}, pandas {lost(folder)}")
    for entry in data["entries"].values():
        group = entry["group"].replace(" · B = ", "|").replace(" · ", "|")
        images = folder.attack(group, entry["defense"], entry["title"])
        told = folder.told(group, entry["defense"], entry["title"]) if entry["scores"] else {}
        wrong += [
            f"{entry['title']} on {entry['defense']}, {name}: {entry[name]}, pandas {text}"
            for name, text in told.items()
            if entry[name] != text
        ]
        for head, text in entry["scores"]:
            metric = (METRICS | CLASS_METRICS).get(head)
            expected = text
            if head == "normalised leakage":
                expected = folder.normalised_attack(group, entry["defense"], entry["title"])
            elif metric:
                expected = shown(share(images[metric], group, metric), metric)
            if expected != text:
                wrong.append(f"{entry['title']} on {entry['defense']}, {head}: {text}, pandas {expected}")
    return wrong, kinds


def test_every_number_of_the_page(matrix: Callable[..., Folder], cards: Cards, tmp_path: Path) -> None:
    folder = matrix(releases=4, seeds=3, checkpoints=("trained",), batches=(2,), defenses=FEW)
    smaller = [{**item, "budget": int(item["budget"]) // 2, "lpips": 0.9} for item in folder.images[:80]]
    folder.images += smaller
    for item in [item for item in folder.records if item["status"] == "done"][:20]:
        cell = Cell.from_json(item["cell"])
        less = replace(cell, budget=cell.budget // 2)
        folder.records.append({**item, "id": less.id, "cell": less.to_json()})
    write_report(folder.write(tmp_path), cards=cards)
    wrong, kinds = differences(tmp_path, Sceptic(tmp_path, floor="blind", none="none"))
    assert wrong == []
    assert kinds == KINDS


def test_every_word_of_the_page(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    """Five seeds of 15 releases, and a defense for each word."""
    generator = np.random.default_rng(0)
    rates = {
        ("none", None): 0.97,
        ("noise", 0.1): 0.0,
        ("noise", 0.01): 0.5,
        ("clip", 1.0): 0.97,
        ("clip", 2.0): 0.87,
        ("mixup", 1.0): None,
    }
    seeds = [(seed, release) for seed in range(5) for release in range(15)]
    luck = generator.random(len(seeds))
    for (defense, strength), rate in rates.items():
        for seed in range(5):
            mine = np.array([at[0] == seed for at in seeds])
            found = luck[mine] < (0.9 if rate is None else rate)
            common = {"seed": seed, "accuracy": 0.95 - 0.001 * seed - 0.002 * (strength is not None)}
            lpips = np.where(found, 0.1, 0.4) + 0.01 * generator.random(15)
            adversary = "naive" if strength is None or rate is None else "adaptive"
            folder.add("strong", defense, strength, lpips=lpips, adversary=adversary, **common)
            folder.add("list", defense, strength, lpips=lpips, adversary="naive", **common)
            if strength is None:
                folder.add("blind", defense, strength, lpips=0.45 + 0.1 * generator.random(15), **common)
    cards.attacks["list"] = attack_card(receives_pool=True)  # type: ignore[attr-defined]
    cards.judging = JUDGING  # type: ignore[attr-defined]
    write_report(folder.write(tmp_path), cards=cards)
    sceptic = Sceptic(tmp_path, floor="blind", none="none", suites=OWED, bound="list")
    wrong, kinds = differences(tmp_path, sceptic)
    assert wrong == [] and {"word", "identifiable", "drop"} <= kinds
    group = next(iter(sceptic.images["group"].unique()))
    words = {row: sceptic.word(group, row) for row in sceptic.rows(group)}
    assert words == {
        "none": "–",
        "noise = 0.1": Word.HIDES,
        "noise = 0.01": Word.REDUCES,
        "clip = 1": Word.FAILS,
        "clip = 2": Word.UNDECIDED,
        "mixup = 1": Word.NOT_TESTED,
    }


@pytest.mark.parametrize("mixed", [False, True], ids=["channel model alone", "beside another channel"])
def test_every_number_of_channel_model(
    matrix: Callable[..., Folder], cards: Cards, tmp_path: Path, mixed: bool
) -> None:
    others = matrix(releases=2, seeds=2, checkpoints=("initial",), defenses=FEW) if mixed else None
    write_report(by_class(seeds=2, classes=4, folder=others).write(tmp_path), cards=cards)
    wrong, kinds = differences(tmp_path, Sceptic(tmp_path, floor="blind other_class", none="none"))
    assert wrong == []
    assert kinds == CLASS_KINDS | (KINDS | {"none"} if mixed else set())


def test_a_wrong_number_is_found(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    for seed in (0, 1):
        folder.add("strong", lpips=[0.1, 0.2], seed=seed)
        folder.add("blind", lpips=[0.5, 0.6], seed=seed)
    write_report(folder.write(tmp_path), cards=cards)
    path = tmp_path / "index.html"
    page = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r'(data-k="psnr"[^>]*><span class="v">)(\d)', r"\g<1>9\2", page), encoding="utf-8")
    wrong, _ = differences(tmp_path, Sceptic(tmp_path, floor="blind", none="none"))
    assert wrong and all("psnr" in line for line in wrong)


def test_claims_are_recomputed(folder: Folder, tmp_path: Path) -> None:
    """Real plug-ins with real claims: of an attack, of a defense and of those who ignore it."""
    for seed in (0, 1):
        folder.add("dlg", lpips=[0.1, 0.2, 0.5], psnr=[40.0, 41.0, 12.0], seed=seed)
        for adversary, lpips in (("naive", 0.6), ("adaptive", 0.1)):
            common: dict[str, Any] = {"seed": seed, "adversary": adversary, "psnr": [31.0, 12.0, 12.0]}
            folder.add("dlg", "noise", 0.1, lpips=[lpips, lpips, 0.7], **common)
        for row in (("none", None), ("noise", 0.1)):
            folder.add("prior", *row, lpips=[0.7] * 3, psnr=[9.0] * 3, seed=seed)
    write_report(folder.write(tmp_path))
    owed = {channel: [*suite.attacks] for channel, suite in by_channel(newest()).items()}
    sceptic = Sceptic(tmp_path, floor="prior", none="none", suites=owed, naive_only="analytic")
    wrong, kinds = differences(tmp_path, sceptic)
    assert wrong == [] and "claim" in kinds
    path = tmp_path / "index.html"
    page = path.read_text(encoding="utf-8")
    for old, new in (
        ("not reproduced", "reproduced"),
        ("of 100", "of 200"),
        ("recovered, %: 0 ", "recovered, %: 9 "),
        ("of 1 published", "of 2 published"),
    ):
        assert f'"{old}"' in page or old in page
        path.write_text(page.replace(old, new), encoding="utf-8")
        assert differences(tmp_path, sceptic)[0], old


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "paper", "medical", "federated", "faces", "mednist"])
def test_the_published_tables_are_those_of_their_records(name: str, tmp_path: Path) -> None:
    published = ROOT / "results" / name
    if not (published / "index.html").is_file():
        pytest.skip(f"results/{name} holds no page here: the sdist does not ship it")
    for part in ("records", "sheets", "confirmation"):
        if (published / part).is_dir():
            shutil.copytree(published / part, tmp_path / part)
    for path in (published / name for name in ("images.csv.gz", "verification.json", "published.json")):
        if path.is_file():
            shutil.copy(path, tmp_path)
    write_report(tmp_path)
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    there = {path.relative_to(published) for path in published.rglob("*") if path.is_file()}
    assert made <= there
    changed = [
        str(path)
        for path in sorted(made)
        if (tmp_path / path).read_bytes() != (published / path).read_bytes()
    ]
    assert changed == [], f"run: bench report results/{name}"


@pytest.mark.slow
def test_the_published_page_of_claims_is_that_of_all_published_folders() -> None:
    page = ROOT / "results" / "claims.md"
    if not page.is_file():
        pytest.skip("there is no results/claims.md here: the sdist does not ship it")
    folders = sorted(path.parent for path in page.parent.glob("*/published.json"))
    assert page.read_text("utf-8") == render(judge_folders(folders)), f"run: bench claims {page.parent}/*/"


@pytest.mark.slow
# In no setting of paper all attacks met all defenses, so that it ranks none.
@pytest.mark.parametrize(("name", "absent"), [("full", set()), ("paper", {"leak", "attack-rank"})])
def test_every_number_of_the_published_page(name: str, absent: set[str]) -> None:
    directory = ROOT / "results" / name
    if not (directory / "index.html").is_file():
        pytest.skip(f"results/{name} holds no page here: the sdist does not ship it")
    publication = json.loads((directory / "published.json").read_text(encoding="utf-8"))
    suites = by_channel(load_matrix(publication["matrix"]).suites)
    sceptic = Sceptic(
        directory,
        floor="prior generator_sample wrong_class",
        none="none",
        suites={
            channel: [name for name in suite.attacks if channel in plugins.attack_card(name).channels]
            for channel, suite in suites.items()
        },
        bound="candidates",
        naive_only="analytic gmi kedmi ppa",
        single="analytic idlg",
    )
    wrong, kinds = differences(directory, sceptic)
    assert wrong == []
    assert kinds >= (KINDS - absent) | {"claim"}
