"""Every number on the page can be had from the table of images with pandas alone, to the last digit."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.matrix.cells import Cell
from bench.report.cards import Cards
from bench.report.write import write_report
from tests.report.recompute import Folder as Sceptic
from tests.report.recompute import Marked, interval, shown, value

Folder = Any  # the class in conftest.py
ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    *(
        "answer",
        "undefended",
        "gain",
        "cost",
        "lead",
        "utility",
        "loss",
        "rank",
        "leak",
        "attack-rank",
        "area",
    ),
    *("normalised", "cells", "counts", "evaluations", "lpips-mean", "lpips", "ssim", "psnr", "identified"),
    *("label_correct", "recognised", "success"),
}
METRICS = {"LPIPS ↓": "lpips", "SSIM ↑": "ssim", "PSNR ↑ dB": "psnr", "identified ↑ %": "identified"}


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
    for entry in json.loads(found[1])["entries"].values():
        group = entry["group"].replace(" · B = ", "|").replace(" · ", "|")
        images = folder.attack(group, entry["defense"], entry["title"])
        for head, text in entry["scores"]:
            metric = METRICS.get(head)
            if metric and (expected := shown(interval(images[metric], group), metric)) != text:
                wrong.append(f"{entry['title']} on {entry['defense']}, {head}: {text}, pandas {expected}")
    return wrong, kinds


def test_every_number_of_the_page(matrix: Callable[..., Folder], cards: Cards, tmp_path: Path) -> None:
    folder = matrix(releases=4, seeds=3, checkpoints=("trained",), batches=(2,))
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


@pytest.mark.slow
def test_every_number_of_the_published_page() -> None:
    directory = ROOT / "results" / "full"
    if not (directory / "index.html").is_file():
        pytest.skip("results/full holds no page here: the sdist does not ship it")
    wrong, kinds = differences(directory, Sceptic(directory, floor="prior", none="none"))
    assert wrong == []
    assert kinds == KINDS
