"""What changed against a baseline, the JSON beside it, and the command that measures a row again."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cli.main import main
from bench.matrix import Filters, expand, load_matrix
from bench.report.analysis.leaderboard import build
from bench.report.analysis.reproduce import Commands, matrix_of
from bench.report.cards import Cards
from bench.report.findings.changes import compare
from bench.report.frames import read_results
from bench.report.write import write_report

Folder = Any  # the class in conftest.py


@pytest.fixture
def two(folder: Folder, tmp_path: Path) -> tuple[Path, Path]:
    """A folder and an older one: one row is the same, one leaks less now, one is new, one gone."""
    image = np.random.default_rng(0).uniform(0.2, 0.4, 40)
    folder.add("strong", lpips=image / 4)
    folder.add("strong", "clip", 1.0, lpips=image)
    folder.add("strong", "noise", 1.0, lpips=image)
    old = folder.write(tmp_path / "old")
    folder.records, folder.images = [], []
    folder.add("strong", lpips=image / 4)
    folder.add("strong", "clip", 1.0, lpips=image + 0.05, accuracy=0.88)
    folder.add("strong", "prune", 1.0, lpips=image)
    return folder.write(tmp_path / "new"), old


def test_rows_are_compared_on_the_same_images(two: tuple[Path, Path], cards: Cards) -> None:
    new, old = (build(read_results(folder), cards) for folder in two)
    kinds = {row: change.kind for (_, row), change in compare(new, old).items()}
    assert kinds == {"none": "same", "clip = 1": "less", "prune = 1": "new", "noise = 1": "gone"}
    back = compare(old, new)[new[0].key, "clip = 1"]
    assert (back.kind, back.difference.n_images) == ("more", 40)
    assert (back.difference.mean, back.accuracy) == pytest.approx((-0.05, 2.0))
    assert all(change.kind == "same" for change in compare(new, new).values())


def test_changes_are_marked_everywhere(two: tuple[Path, Path], cards: Cards) -> None:
    new, old = two
    write_report(new, cards=cards, baseline=old)
    for name in ("leaderboard.md", "index.html"):
        text = (new / name).read_text(encoding="utf-8")
        assert "0.050 [0.050, 0.050]" in text, name
    assert "1 of 4 rows" in (new / "leaderboard.md").read_text(encoding="utf-8")
    changes = json.loads((new / "leaderboard.json").read_text(encoding="utf-8"))["changes"]
    assert [change["kind"] for change in changes] == ["same", "less", "new", "gone"]
    write_report(new, cards=cards)
    assert "baseline" not in (new / "leaderboard.md").read_text(encoding="utf-8")
    assert "changes" not in json.loads((new / "leaderboard.json").read_text(encoding="utf-8"))


def test_a_baseline_without_records_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a" / "records").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    result = CliRunner().invoke(main, ["report", str(tmp_path / "a"), "--baseline", str(tmp_path / "b")])
    assert result.exit_code == 2 and str(tmp_path / "b") in result.output


def test_json_says_what_the_csv_says(matrix: Callable[..., Folder], cards: Cards, tmp_path: Path) -> None:
    write_report(matrix(releases=2, seeds=2).write(tmp_path), final=False, cards=cards)
    data = json.loads((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))
    groups = build(read_results(tmp_path), cards)
    assert data["format"] == 2 and len(data["groups"]) == len(groups)
    for found, group in zip(data["groups"], groups, strict=True):
        for row, expected in zip(found["rows"], group.rows, strict=True):
            assert (row["defense"], row["pareto"], row["badge"]) == (
                expected.defense,
                expected.pareto,
                "reported",
            )
            assert expected.worst is not None
            lpips = expected.worst.scores["lpips"]
            assert row["worst_case"]["scores"]["lpips"]["mean"] == pytest.approx(lpips.mean, abs=1e-6)
            assert row["worst_case"]["scores"]["lpips"]["high"] == pytest.approx(lpips.high, abs=1e-6)
            assert [a["attack"] for a in row["attacks"]] == [entry.attack for entry in expected.attacks]
        names = [place["row"] for place in found["places"]["5"]]
        assert names == [place.row.name for place in group.places[5.0]]
        assert found["answers"][1]["defense"] == names[0]
        assert set(found["hypervolumes"]) == set(group.areas)


def test_the_command_measures_that_very_row(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    cells = expand(load_matrix("smoke"))
    places = {(cell.channel, cell.checkpoint, cell.model, cell.batch_size) for cell in cells}
    assert len({(channel, checkpoint) for channel, checkpoint, *_ in places}) > 1, "a command must choose"
    results = read_results(_from_cells(folder, cells, tmp_path))
    assert matrix_of(results).startswith("smoke@")
    groups = build(results, cards)
    commands = Commands(results)
    for group in groups:
        for row in group.rows:
            words = shlex.split(commands.command(group, row))
            assert words[:4] == ["bench", "run", "--matrix", commands.matrix]
            options = list(zip(words[4::2], words[5::2], strict=True))
            again = expand(
                load_matrix(commands.matrix),
                Filters(
                    defenses=tuple(value for key, value in options if key == "-d"),
                    datasets=tuple(value for key, value in options if key == "-D"),
                    models=tuple(value for key, value in options if key == "-m"),
                    channels=tuple(value for key, value in options if key == "--channel"),
                    checkpoints=tuple(value for key, value in options if key == "--checkpoint"),
                ),
            )
            rows = {row.number, group.baseline.number if group.baseline else row.number}
            mine = set(results.cells.loc[results.cells["row"].isin(rows), "id"])
            assert mine == {cell.id for cell in again}, "the row, what it is set beside, and nothing else"
    assert commands.comparison.split() == ["bench", "compare", "results/smoke", "runs/again"]


def test_records_of_no_known_matrix_have_a_placeholder(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    folder.add("strong", "noise[kind=a b]", 1.0, lpips=[0.1])
    results = read_results(folder.write(tmp_path))
    assert matrix_of(results) == "" == matrix_of(replace(results, cells=results.cells.iloc[:0]))
    (group,) = build(results, cards)
    commands = Commands(results)
    words = shlex.split(commands.command(group, group.rows[0], "strong"))
    assert commands.comparison.split() == ["bench", "compare", "DIR", "runs/again"]
    assert words[:4] == ["bench", "run", "--matrix", "FILE"]
    assert words[-4:] == ["-a", "strong", "--out", "runs/again"]


def _from_cells(folder: Folder, cells: Any, directory: Path) -> Path:
    """Records of real cells with made-up results."""
    from tests.report.conftest import keys, record

    for cell in cells:
        status = "incompatible" if cell.incompatible else "done"
        folder.records.append(record(cell, status, cell.incompatible, 0.9))
        for release in range(0 if cell.incompatible else cell.releases):
            for image in range(cell.batch_size):
                scores = {"psnr": 10, "ssim": 0.5, "lpips": 0.3, "identified": 0, "recognised": 0}
                place = {"release": release, "image": image, "status": status}
                folder.images.append(keys(cell) | place | scores)
        if cell.incompatible:
            folder.images.append(keys(cell) | {"status": status})
    return Path(folder.write(directory))
