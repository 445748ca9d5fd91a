"""Every number on the page can be had from the table of images with pandas alone, to the last digit."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.matrix.cells import Cell
from bench.report.cards import Cards
from bench.report.write import write_report
from tests.report.classes import by_class
from tests.report.reclaim import claim
from tests.report.recompute import Folder as Sceptic
from tests.report.recompute import Marked, share, shown, value

Folder = Any  # the class in conftest.py
ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    *(
        "answer",
        "undefended",
        "gain",
        "cost",
        "cost-doubt",
        "lead",
        "utility",
        "loss",
        "rank",
        "leak",
        "attack-rank",
        "area",
    ),
    *("normalised", "cells", "counts", "evaluations", "lpips-mean", "lpips", "ssim", "psnr", "identified"),
    *("answer-recovered", "undefended-recovered", "recovered", "recovered-count"),
    *("label_correct", "recognised", "success"),
}
RECOVERED = {kind for kind in KINDS if "recovered" in kind}
"""On channel ``model`` no private image belongs to a reconstruction."""
CLASS_KINDS = {
    *(KINDS - {"identified", "label_correct", "success", "lpips-mean"} - RECOVERED),
    *("recognised-mean", "recognised5", "feature_distance", "diversity", "most-recognised"),
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
        for words, _, measured, setting, verdict, why in plugin["claims"]:
            if setting == "–":
                continue
            kinds.add("claim")
            if (expected_claim := claim(folder, measured, setting, why)) != (measured, verdict):
                wrong.append(f"claim {words}: {measured}, {verdict}; pandas {expected_claim}")
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
    folder = matrix(releases=4, seeds=3, checkpoints=("trained",), batches=(2,))
    for item in folder.records:  # one seed of the mildest strengths costs 1.8 points, the mean of all 0.8
        if item["utility"]["accuracy"] == pytest.approx(0.937) and item["cell"]["seed"] == 0:
            item["utility"]["accuracy"] -= 0.015
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


@pytest.mark.parametrize("mixed", [False, True], ids=["channel model alone", "beside another channel"])
def test_every_number_of_channel_model(
    matrix: Callable[..., Folder], cards: Cards, tmp_path: Path, mixed: bool
) -> None:
    others = matrix(releases=2, seeds=2, checkpoints=("initial",)) if mixed else None
    write_report(by_class(seeds=2, classes=4, folder=others).write(tmp_path), cards=cards)
    wrong, kinds = differences(tmp_path, Sceptic(tmp_path, floor="blind other_class", none="none"))
    assert wrong == []
    assert kinds == (CLASS_KINDS | (KINDS | {"none"} if mixed else set())) - {"cost-doubt"}


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
    wrong, kinds = differences(tmp_path, Sceptic(tmp_path, floor="prior", none="none"))
    assert wrong == [] and "claim" in kinds
    path = tmp_path / "index.html"
    page = path.read_text(encoding="utf-8")
    for old, new in (
        ("not reproduced", "reproduced"),
        ("of 100", "of 200"),
        ("recovered, %: 0 ", "recovered, %: 9 "),
    ):
        assert f'"{old}"' in page or old in page
        path.write_text(page.replace(old, new), encoding="utf-8")
        assert differences(tmp_path, Sceptic(tmp_path, floor="prior", none="none"))[0], old


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "paper"])
def test_the_published_tables_are_those_of_their_records(name: str, tmp_path: Path) -> None:
    published = ROOT / "results" / name
    if not (published / "index.html").is_file():
        pytest.skip(f"results/{name} holds no page here: the sdist does not ship it")
    for part in ("records", "sheets"):
        shutil.copytree(published / part, tmp_path / part)
    for path in (published / "images.csv.gz", published / "verification.json"):
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
@pytest.mark.parametrize("name", ["full", "paper"])
def test_every_number_of_the_published_page(name: str) -> None:
    directory = ROOT / "results" / name
    if not (directory / "index.html").is_file():
        pytest.skip(f"results/{name} holds no page here: the sdist does not ship it")
    wrong, kinds = differences(
        directory, Sceptic(directory, floor="prior generator_sample wrong_class", none="none")
    )
    assert wrong == []
    assert kinds >= KINDS - {"cost-doubt"} | {"claim"}
