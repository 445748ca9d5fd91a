"""What figures show: looks of defenses, attackers who ignore them, single images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.plugins import discover
from bench.report.analysis.leaderboard import build
from bench.report.cards import Cards
from bench.report.figures import adaptive, distribution
from bench.report.figures.looks import COLOURS, SHAPES, looks
from bench.report.frames import read_results

Folder = Any  # the class in conftest.py


def test_a_defense_looks_the_same_in_whatever_figure_it_is() -> None:
    every = looks(set(discover("defense").plugins) - {"none"})
    for pair in combinations(sorted(every), 2):
        assert looks(pair) == {name: every[name] for name in pair}
        assert every[pair[0]] != every[pair[1]]


@pytest.mark.parametrize(
    "together",
    [
        ("noise", "pruning", "pgsl"),
        ("noise", "pruning", "topk", "quantization", "dpsgd"),
        ("activation_noise", "dropout", "nopeek"),
        ("mid", "bido", "neg_label_smoothing", "tl_dmi", "trap_mid"),
    ],
)
def test_defenses_of_one_table_differ_in_colour_and_in_shape(together: tuple[str, ...]) -> None:
    found = looks(together).values()
    assert len({look.colour for look in found}) == len({look.shape for look in found}) == len(together)


def test_a_defense_with_other_parameters_keeps_its_colour() -> None:
    plain, other, third = looks(["pgsl", "pgsl[scaling=max]", "pgsl[steps=2]"]).values()
    assert plain.colour == other.colour == third.colour
    assert len({plain.shape, other.shape, third.shape}) == 3
    assert looks(["pgsl[scaling=max]", "noise"])["pgsl[scaling=max]"] == other


def test_names_that_nobody_gave_a_look_share_none_until_all_are_taken() -> None:
    count = len(COLOURS) * len(SHAPES)
    assert len({*looks(f"mine{number}" for number in range(count)).values()}) == count
    assert len(looks(f"mine{number}" for number in range(count + 1))) == count + 1


def test_naive_attackers_are_shown_where_the_same_attacks_were_naive(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    folder.add("strong", lpips=[0.1, 0.2])
    for strength, naive in ((0.1, "strong"), (0.2, "weak")):
        folder.add(naive, "noise", strength, lpips=[0.9, 0.1])
        folder.add("strong", "noise", strength, lpips=[0.1, 0.1], adversary="adaptive")
    (group,) = build(read_results(folder.write(tmp_path)), cards)
    points = adaptive.points(group.rows).set_index("strength")
    assert points["naive"].notna().to_dict() == {0.1: True, 0.2: False}
    assert points["recovered"].notna().all()


def test_every_image_is_counted_by_its_best_reconstruction(
    matrix: Callable[..., Folder], cards: Cards, tmp_path: Path
) -> None:
    folder = type(matrix(releases=1, seeds=1))()
    folder.add("strong", lpips=[0.1, 0.6])
    folder.add("weak", lpips=[0.3, 0.2])
    (group,) = build(read_results(folder.write(tmp_path)), cards)
    (row,) = distribution.images(group)
    assert (row.name, row.defense) == ("none", "")
    np.testing.assert_allclose(row.values, [0.1, 0.2])
    figure = distribution.draw(group, (row,), 7.5)
    (line,) = figure.axes[0].lines
    np.testing.assert_allclose(line.get_xydata(), [[0.1, 50.0], [0.2, 100.0]])
