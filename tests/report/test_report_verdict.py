"""The five words: their thresholds, what voids a row, and what cannot."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.api.threat import Channel
from bench.matrix.suites import Suite
from bench.report.analysis.entries import Group
from bench.report.analysis.leaderboard import build
from bench.report.analysis.verdict import DROP, HIDES, Word, decide, net
from bench.report.cards import Cards
from bench.report.findings.answers import sentence
from bench.report.frames import read_results
from bench.report.statistics import Interval, drop_interval

Folder = Any  # the class in conftest.py
SUITE = Suite(title="toy@1", channels=(Channel.GRADIENTS,), attacks=("blind", "strong", "weak"))
RATES = {("none", None): 0.95, ("noise", 0.1): 0.0, ("noise", 0.01): 0.5, ("clip", 1.0): 0.95}
WORDS = {"none": None, "noise = 0.1": Word.HIDES, "noise = 0.01": Word.REDUCES, "clip = 1": Word.FAILS}


def value(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 75, 75)


@pytest.mark.parametrize(
    ("recovered", "drop", "word"),
    [
        (value(0.0, HIDES), value(0.5, 0.9), Word.HIDES),
        (value(0.0, HIDES + 0.01), value(DROP + 0.01, 0.9), Word.REDUCES),
        (value(0.2, 0.4), value(DROP, 0.9), Word.UNDECIDED),
        (value(0.8, 1.0), value(-0.1, DROP - 0.01), Word.FAILS),
        (value(0.8, 1.0), value(-0.1, DROP), Word.UNDECIDED),
        (value(0.8, 1.0), value(math.nan, math.nan), Word.UNDECIDED),
    ],
)
def test_the_thresholds(recovered: Interval, drop: Interval, word: Word) -> None:
    assert decide(recovered, drop, ()) is word
    assert decide(recovered, drop, ("why",)) is Word.NOT_TESTED


def test_only_one_word_is_green() -> None:
    assert [word for word in Word if word.style == "hides"] == [Word.HIDES]
    assert sorted(Word, key=lambda word: word.order) == [*Word]


def test_what_a_control_reaches_is_no_leak() -> None:
    assert net(value(0.1, 0.3), 0.2).mean == pytest.approx(0.0)
    found = net(value(0.5, 0.7), 0.2)
    assert (found.low, found.mean, found.high) == pytest.approx((0.375, 0.5, 0.625))
    assert math.isnan(net(value(0.5, 0.7), 1.0).mean)


@pytest.mark.parametrize("share", [0.6, 0.8, 0.95])
def test_a_defense_that_does_nothing_does_not_protect(share: float) -> None:
    """The same attack on a release that is all but the same: two images in a hundred fall otherwise."""
    generator = np.random.default_rng(2)
    seeds, runs = np.repeat(np.arange(5), 15), 300
    words = []
    for _ in range(runs):
        rates = generator.beta(9 * share, 9 * (1 - share), 5)[seeds]
        before = (generator.random(75) < rates).astype(float)
        again = (generator.random(75) < rates).astype(float)
        after = np.where(generator.random(75) < 0.02, again, before)
        drop = drop_interval(before, after, np.arange(75), seeds)
        words.append(decide(value(0.5, 1.0), drop, ()))
    assert words.count(Word.FAILS) / runs >= 0.9


def fill(
    folder: Folder,
    *,
    blind: int = 1,
    without: str = "",
    first: int = 0,
    rates: Mapping[tuple[str, float | None], float] = RATES,
) -> None:
    """A defense for each word; ``blind`` guesses on every row; an attack that may be left out."""
    luck = np.random.default_rng(0).random((5, 15))
    guess = np.random.default_rng(1)
    for (defense, strength), rate in rates.items():
        adversary = "naive" if strength is None else "adaptive"
        for seed in range(5):
            found = luck[seed] < rate
            lpips = np.where(found, 0.1, 0.4)
            common = {"seed": first + seed, "accuracy": 0.95 - 0.002 * (strength is not None)}
            for attack, lift in (("strong", 0.0), ("weak", 0.35)):
                if attack != without or strength is None:
                    leak = lpips + lift if lift else lpips
                    folder.add(attack, defense, strength, lpips=leak, adversary=adversary, **common)
            for number in range(blind):
                name = "blind" if not number else f"blind[draw={number}]"
                folder.add(name, defense, strength, lpips=0.6 + 0.3 * guess.random(15), **common)


def read(folder: Folder, directory: Path, cards: Cards) -> Group:
    cards.judging = {"gradients": SUITE}  # type: ignore[attr-defined]
    (group,) = build(read_results(folder.write(directory)), cards)
    return group


def words(group: Group) -> dict[str, Word | None]:
    return {row.name: row.verdict.word for row in group.rows}


@pytest.mark.parametrize("count", [1, 2, 8])
def test_blind_draws_change_no_word_however_many(
    folder: Folder, cards: Cards, tmp_path: Path, count: int
) -> None:
    fill(folder, blind=count)
    group = read(folder, tmp_path, cards)
    assert words(group) == WORDS
    assert {"2", "toy@1"} <= {*group.headline.split()}


def test_attacks_outside_the_suite_may_raise_a_row_and_void_none(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    """A plug-in that sees the release and returns blind draws, and one that beats the suite on one row."""
    fill(folder)
    guess = np.random.default_rng(3)
    for seed in range(5):
        for number in range(4):
            name = f"sly[draw={number}]"
            folder.add(name, lpips=0.5 + 0.3 * guess.random(15), seed=seed, accuracy=0.95)
            folder.add(name, "noise", 0.01, lpips=0.5 + 0.3 * guess.random(15), seed=seed, accuracy=0.948)
        folder.add("sharp", "noise", 0.1, lpips=[0.1] * 15, seed=seed, accuracy=0.948, adversary="adaptive")
    group = read(folder, tmp_path, cards)
    assert words(group) == {**WORDS, "noise = 0.1": Word.FAILS}
    row = next(row for row in group.rows if row.name == "noise = 0.1")
    assert row.strongest is not None and row.strongest.attack == "sharp"


def test_rows_that_owe_an_attack_of_the_suite_are_not_tested(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    fill(folder, without="strong")
    group = read(folder, tmp_path, cards)
    for row in group.rows:
        assert (row.verdict.word is Word.NOT_TESTED) is not row.baseline
        assert ("missing-attack" in row.flags) is not row.baseline
        assert row.baseline or any("strong" in reason for reason in row.verdict.reasons)
    assert group.places == {1.0: (), 5.0: ()}


def test_a_loss_smaller_than_a_second_undefended_victims_is_admitted(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    for seed in range(5):
        accuracy = 0.9 + 0.02 * (seed % 2)
        folder.add("strong", lpips=[0.1], seed=seed, accuracy=accuracy)
        folder.add("strong", "noise", 1.0, lpips=[0.1], seed=seed, accuracy=accuracy - 0.015)
    group = read(folder, tmp_path, cards)
    own = np.array([0.9, 0.92, 0.9, 0.92, 0.9])
    reach = 2.7764451 * own.std(ddof=1) / math.sqrt(5)
    assert group.resolution == pytest.approx(100 * math.sqrt(2) * reach) and group.resolution > 1.5
    assert group.admitted(group.rows[1], 1.0)
    fine = replace(group, resolution=0.2)
    assert not fine.admitted(group.rows[1], 1.0) and fine.admitted(group.rows[1], 5.0)


def test_the_result_is_one_sentence(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    fill(folder)
    group = read(folder, tmp_path, cards)
    assert "noise = 0.1" in sentence([group], 1.0) and "0 of 75; " in sentence([group], 1.0)

    def only(name: str, word: Word) -> str:
        """The sentence where one defense alone is cheap, and has this word."""
        places = [place for place in group.places[1.0] if place.row.name == name]
        places = [
            replace(place, row=replace(place.row, verdict=replace(place.row.verdict, word=word)))
            for place in places
        ]
        return sentence([replace(group, places={1.0: tuple(places), 5.0: ()})], 1.0)

    fails, undecided, untested = (
        only("clip = 1", word) for word in (Word.FAILS, Word.UNDECIDED, Word.NOT_TESTED)
    )
    assert "no defense" in fails and "no defense" in undecided and fails != undecided
    assert "no defense" not in untested
    assert "no defense" not in only("too dear", Word.FAILS), "what is not cheap says nothing of protection"
