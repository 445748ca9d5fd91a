"""The cross: every attack against every defense, in the order of the matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.matrix import Filters, expand, load_matrix
from bench.report.analysis.leaderboard import build
from bench.report.analysis.reproduce import order_of
from bench.report.cards import Cards
from bench.report.findings.cross import cross
from bench.report.frames import read_results
from bench.report.writers.markdown_group import crossed

Folder = Any  # the class in conftest.py


def test_every_attack_has_a_column_and_every_defense_a_row(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    folder.add("blind", lpips=[0.9] * 4)
    folder.add("strong", lpips=[0.1] * 4)
    folder.add("strong", "noise", 0.1, lpips=[0.5] * 4)
    folder.add("strong", "noise", 0.1, lpips=[0.1] * 3 + [0.5], adversary="adaptive")
    folder.add("given", "noise", 0.1, lpips=[0.1] + [0.5] * 3)
    folder.add("given", status="failed", reason="out of luck")
    folder.add("late", "noise", 0.2, status="timeout", reason="too slow")
    folder.add("inverter", "noise", 0.1, status="incompatible", reason="made for classes")
    folder.add("inverter", "noise", 0.2, lpips=[0.1])
    (group,) = build(read_results(folder.write(tmp_path)), cards)
    head, rows = cross(group)
    assert head[3:8] == ["strong", "given", "inverter", "late", "strongest"]
    assert [row[0] for row in rows] == ["none", "noise = 0.1", "noise = 0.2"]
    assert [row[3:8] for row in rows] == [
        ["4", "failed", "–", "–", "4 of 4"],  # what failed is not what was not tried
        ["3 (0)", "1", "n/a", "–", "3 of 4"],
        ["–", "–", "1", "timeout", "1 of 1"],
    ]
    assert all(len(row) == len(head) for row in rows)
    assert len({line.count("|") for line in crossed(group)[:4]}) == 1


def test_classes_are_counted_in_per_cent(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    scores = {"recognised": [1, 1, 1, 0], "recognised5": [1] * 4, "feature_distance": [1.0] * 4}
    folder.add("inverter", channel="model", lpips=[0.3] * 4, **scores, diversity=[1.0] * 4)
    (group,) = build(read_results(folder.write(tmp_path)), cards)
    head, (row,) = cross(group)
    assert row[head.index("inverter")] == "75 %"


def test_nothing_done_is_no_cross(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    folder.add("strong", status="failed", reason="out of luck")
    (group,) = build(read_results(folder.write(tmp_path)), cards)
    assert cross(group)[1] == [] and crossed(group) == []


def test_settings_stand_in_the_order_of_their_matrix() -> None:
    matrix = load_matrix("full")
    order = order_of(f"{matrix.name}@{matrix.version}")
    first = expand(matrix, Filters(limit=1))[0]
    assert order[str(first.channel), first.dataset.label, first.model, str(first.checkpoint), 1] == 0
    assert sorted(order.values()) == [*range(len(order))]
    assert order_of("") == {}
