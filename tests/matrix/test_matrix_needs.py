"""What a matrix needs beside what the user's data have: ``n/a`` before anything is trained."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench.api import Channel
from bench.matrix import Cell, Filters, expand, load_matrix
from bench.matrix.needs import Held, unmet
from bench.matrix.user_inputs import within_data
from tests.victims.test_victims_folder import photographs

PLENTY = Held(private=(500,) * 10, auxiliary=1000, images="")


@pytest.fixture(scope="module")
def full() -> list[Cell]:
    return expand(load_matrix("full"))


def one(cells: list[Cell], channel: Channel, **changes: object) -> Cell:
    cell = next(cell for cell in cells if cell.channel == channel and not cell.incompatible)
    return replace(cell, **changes)  # type: ignore[arg-type]


def test_what_ships_needs_no_more_than_its_data_have(full: list[Cell]) -> None:
    assert {unmet(cell, PLENTY) for cell in full} == {""}


@pytest.mark.parametrize(
    ("held", "why"),
    [
        (Held((70, 70), 999, ""), r"^the data set has 2 classes, 10 are attacked$"),
        (Held((1,) + (70,) * 9, 999, ""), r"1 private images.* B = 2"),
        (Held((2,) * 10, 999, ""), "^$"),
    ],
)
def test_classes_are_attacked_that_exist(full: list[Cell], held: Held, why: str) -> None:
    cell = one(full, Channel.MODEL, releases=10, batch_size=2)
    assert re.search(why, unmet(cell, held))


def test_images_and_distractors_are_counted(full: list[Cell]) -> None:
    cell = one([cell for cell in full if cell.attack.name == "idlg"], Channel.GRADIENTS, batch_size=1)
    few = Held((30, 30), 36, "")
    assert not unmet(replace(cell, releases=30), few)
    assert "29 of 60" in unmet(replace(cell, releases=31), few)
    assert "0 of 60" in unmet(replace(cell, releases=15, batch_size=8), few)
    crowd = replace(cell, model="convnet[clients=61]", releases=8)
    assert "61" in unmet(crowd, few) and not unmet(replace(crowd, model="convnet[clients=60]"), few)


def test_a_generator_needs_a_batch_of_auxiliary_images(full: list[Cell]) -> None:
    cell = one([cell for cell in full if cell.attack.name == "ggl"], Channel.GRADIENTS)
    assert not unmet(cell, Held((60, 60), 64, ""))
    assert "20" in unmet(cell, Held((60, 60), 20, ""))


def test_planning_reads_the_users_images_and_says_what_it_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photographs(tmp_path / "photos", 120)
    (tmp_path / "photos" / "class1" / "notes.txt").touch()
    filters = Filters(datasets=("folder[path=photos]",))
    cells, lines = within_data(expand(load_matrix("full"), filters), filters)
    (line,) = lines
    for fact in (
        "120 image files of 3 classes",
        "1 .txt",
        "60 private_train",
        "chance level of accuracy 33%",
    ):
        assert fact in line
    reasons = {cell.channel: cell.incompatible for cell in cells if cell.attack.name in ("gmi", "idlg")}
    assert reasons[Channel.MODEL] == "the data set has 3 classes, 10 are attacked"
    assert reasons[Channel.GRADIENTS] == ""
    assert within_data(cells, Filters(datasets=("folder[path=photos]",)))[0] == cells
    shipped, none = within_data(expand(load_matrix("smoke")), Filters())
    assert shipped == expand(load_matrix("smoke")) and not none
