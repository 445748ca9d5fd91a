"""Words of the tables: images that were enlarged for LPIPS are named so wherever it is shown."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bench.channels import terms
from bench.channels.shared.terms import NEAREST
from bench.report.analysis.leaderboard import build
from bench.report.cards import Cards
from bench.report.frames import read_results
from bench.report.write import write_report

from .conftest import Folder

NAMED = terms("gradients", 32).name("lpips")


@pytest.mark.parametrize("channel", ["gradients", "model"])
def test_only_the_name_of_lpips_changes(channel: str) -> None:
    plain, named = terms(channel), terms(channel, 32)
    assert terms(channel, 0) is plain
    assert named.name("lpips").startswith(f"{plain.nearest}LPIPS") and "32 px" in named.name("lpips")
    assert named.heads["lpips"] == f"{named.name('lpips')} ↓"
    assert named.leaked("lpips") == f"1 - {named.name('lpips')}"
    for metric in (*NEAREST, "recognised"):
        if metric != "lpips":
            assert named.name(metric) == plain.name(metric) and named.heads[metric] == plain.heads[metric]
    assert named.metrics == plain.metrics and named.nearest == plain.nearest


def fill(folder: Folder, model: str, **changes: Any) -> None:
    for seed, attack in product((0, 1), ("strong", "blind")):
        folder.add(attack, lpips=[0.1, 0.2], seed=seed, model=model, **changes)
        folder.add(attack, "noise", 0.1, lpips=[0.3, 0.4], seed=seed, model=model, **changes)


def test_every_file_of_a_report_names_lpips_of_small_images(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    fill(folder, "lenet", lpips_side=32)
    write_report(folder.write(tmp_path), cards=cards)
    for name in ("leaderboard.md", "leaderboard.tex", "index.html", "README.md"):
        text = (tmp_path / name).read_text()
        assert NAMED in text and "LPIPS ↓ |" not in text, name
        assert ("32 pixels" in text) == (name != "README.md"), name
    assert json.loads((tmp_path / "leaderboard.json").read_text())["groups"][0]["lpips_at_pixels"] == 32
    assert "lpips_side" in (tmp_path / "cells.csv").read_text().splitlines()[0]


def test_other_settings_keep_the_plain_name(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    fill(folder, "lenet")
    before = {path.name: path.read_text() for path in _written(folder, tmp_path / "before", cards)}
    assert not any("32 px" in text or "lpips_side" in text for text in before.values())
    fill(folder, "convnet", lpips_side=32)
    after = {path.name: path.read_text() for path in _written(folder, tmp_path / "after", cards)}
    names = [group.terms.name("lpips") for group in build(read_results(tmp_path / "after"), cards)]
    assert sorted(names) == ["LPIPS", NAMED]
    assert NAMED in after["index.html"]
    assert "LPIPS ↓ |" in after["leaderboard.md"] and f"{NAMED} ↓ |" in after["leaderboard.md"]


def _written(folder: Folder, directory: Path, cards: Cards) -> list[Path]:
    write_report(folder.write(directory), cards=cards)
    return [path for path in directory.iterdir() if path.suffix in {".md", ".tex", ".html", ".json", ".csv"}]
