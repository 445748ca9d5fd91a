"""A badge holds for the record that was verified, and for no other."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.report.analysis.leaderboard import build
from bench.report.badges import FILE, least
from bench.report.cards import Cards
from bench.report.frames import read_results

Folder = Any  # the class in conftest.py


def test_a_row_is_as_verified_as_its_least_verified_cell(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    for seed in (0, 1):
        folder.add("strong", lpips=[0.1, 0.2], seed=seed, key=f"{seed}" * 64)
        folder.add("weak", lpips=[0.3, 0.4], seed=seed, key="a" * 64)
    folder.add("sly", status="failed", reason="boom")
    ids = [item["id"] for item in folder.records]
    verified = {
        ids[0]: {"key": "0" * 64, "badge": "re-run", "agrees": True},
        ids[1]: {"key": "a" * 64, "badge": "recomputed", "agrees": True},
        ids[2]: {"key": "1" * 64, "badge": "recomputed", "agrees": True},
        ids[3]: {"key": "b" * 64, "badge": "re-run", "agrees": True},  # another record by now
    }
    folder.write(tmp_path)
    (tmp_path / FILE).write_text(json.dumps({"cells": verified}))
    results = read_results(tmp_path)
    (row,) = build(results, cards)[0].rows
    assert {entry.attack: entry.badge for entry in row.attacks if entry.done} == {
        "strong": "recomputed",
        "weak": "reported",
    }
    assert row.badge == "reported" and results.problems == ()
    verified[ids[3]]["key"] = "a" * 64
    (tmp_path / FILE).write_text(json.dumps({"cells": verified}))
    (row,) = build(read_results(tmp_path), cards)[0].rows
    assert row.badge == "recomputed"


@pytest.mark.parametrize(
    "item", [{"agrees": False}, {"agrees": "yes"}, {"badge": "certified"}, {"key": None}], ids=str
)
def test_what_does_not_agree_has_no_badge(folder: Folder, tmp_path: Path, item: dict[str, Any]) -> None:
    folder.add("strong", lpips=[0.1])
    name, key = folder.records[0]["id"], folder.records[0]["key"]
    folder.write(tmp_path)
    sound = {"key": key, "badge": "re-run", "agrees": True}
    (tmp_path / FILE).write_text(json.dumps({"cells": {name: sound}}))
    assert read_results(tmp_path).cells["badge"].tolist() == ["re-run"]
    (tmp_path / FILE).write_text(json.dumps({"cells": {name: sound | item}}))
    assert read_results(tmp_path).cells["badge"].tolist() == ["reported"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"cells": 3}', "null"])
def test_a_damaged_file_gives_no_badge(folder: Folder, tmp_path: Path, text: str) -> None:
    folder.add("strong", lpips=[0.1])
    (folder.write(tmp_path) / FILE).write_text(text)
    results = read_results(tmp_path)
    assert results.cells["badge"].tolist() == ["reported"]
    assert all(FILE in problem for problem in results.problems)


def test_least() -> None:
    assert least([]) == "reported"
    assert least(["re-run", "recomputed"]) == "recomputed"
