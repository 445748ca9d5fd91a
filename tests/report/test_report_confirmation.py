"""What fresh seeds say of the defenses named on top stands beside what the seeds of the matrix say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.matrix import load_matrix
from bench.records.results import CONFIRMATION
from bench.report.analysis.entries import Group
from bench.report.analysis.leaderboard import build
from bench.report.analysis.verdict import Word
from bench.report.cards import Cards
from bench.report.findings.answers import answer, sentence
from bench.report.findings.confirmation import build_confirmed, named
from bench.report.frames import read_results
from bench.report.statistics import Interval
from bench.report.write import write_report
from tests.report.conftest import Folder as Records
from tests.report.test_report_verdict import SUITE, fill

Folder = Any  # the class in conftest.py


def _written(folder: Folder, directory: Path, cards: Cards, *, rate: float) -> tuple[Group, ...]:
    """A matrix in which noise = 0.1 hides, and five fresh seeds in which some share is recovered."""
    cards.judging = {"gradients": SUITE}  # type: ignore[attr-defined]
    fill(folder)
    fresh = Records()
    fill(fresh, first=20, rates={("none", None): 0.95, ("noise", 0.1): rate})
    fresh.write(folder.write(directory) / CONFIRMATION)
    return build_confirmed(directory, read_results(directory), cards)


def test_the_rows_on_top_are_named_with_their_undefended_rows(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    cards.judging = {"gradients": SUITE}  # type: ignore[attr-defined]
    fill(folder)
    groups = build(read_results(folder.write(tmp_path)), cards)
    assert {(item.defense, item.place[-1]) for item in named(groups)} == {("noise", 0.1), ("none", None)}
    cards.judging = {}  # type: ignore[attr-defined]
    assert named(build(read_results(tmp_path), cards)) == (), "what is not tested is not named"


def test_both_numbers_are_printed(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    (group,) = _written(folder, tmp_path, cards, rate=0.5)
    found = answer(group, 1.0)
    assert found.word is Word.HIDES, "the word stands on the seeds of the matrix"
    assert found.confirmation is not None
    fresh = found.confirmation[1].verdict
    assert fresh.word is Word.REDUCES and 0.3 < fresh.recovered.mean < 0.7
    text = sentence([group], 1.0)
    assert "0 of 75" in text and "5 fresh seeds" in text and "confirmed" not in text
    write_report(tmp_path, final=False, cards=cards)
    assert "5 fresh seeds" in (tmp_path / "leaderboard.md").read_text()
    written = json.loads((tmp_path / "leaderboard.json").read_text())["groups"][0]["answers"][0]
    assert written["word"] == Word.HIDES and written["confirmation"]["verdict"]["word"] == Word.REDUCES


def test_without_fresh_seeds_nothing_is_said_of_them(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    cards.judging = {"gradients": SUITE}  # type: ignore[attr-defined]
    fill(folder)
    (group,) = build_confirmed(folder.write(tmp_path), read_results(tmp_path), cards)
    assert answer(group, 1.0).confirmation is None
    assert "fresh" not in sentence([group], 1.0)


def test_names_on_top_await_the_fresh_seeds_that_their_matrix_asks_for(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    (group,) = _written(folder, tmp_path, cards, rate=0.5)
    assert not answer(replace(group, confirmable=True), 1.0).awaited, "they were measured"
    bare = replace(group, confirmations={})
    assert not answer(bare, 1.0).awaited, "its matrix asks for none"
    asking = replace(bare, confirmable=True)
    assert answer(asking, 1.0).awaited
    assert sentence([asking], 1.0) != sentence([bare], 1.0)


def test_the_matrix_says_whether_fresh_seeds_are_asked(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    fill(folder)
    results = read_results(folder.write(tmp_path))
    for matrix in ("full@4", "generative@2", ""):
        asks = bool(matrix and load_matrix(matrix).confirmation)
        assert [group.confirmable for group in build(results, cards, matrix=matrix)] == [asks]


def test_what_a_list_gives_away_stands_beside_the_name_on_top(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    cards.judging = {"gradients": SUITE}  # type: ignore[attr-defined]
    fill(folder)
    (group,) = build(read_results(folder.write(tmp_path)), cards)
    place = answer(group, 1.0).place
    assert place is not None and "re-identifiable" not in sentence([group], 1.0)
    verdict = replace(place.row.verdict, identifiable=Interval(0.2, 0.1, 0.3, 75, 75, 0))
    named_too = replace(place, row=replace(place.row, verdict=verdict))
    told = replace(group, places={1.0: (named_too, *group.places[1.0][1:])})
    assert "20 % re-identifiable" in sentence([told], 1.0)
