"""What is negligible is called so, counts stand beside every row, and too few releases decide nothing."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.report.analysis.leaderboard import build
from bench.report.analysis.verdict import LEAST_RELEASES
from bench.report.cards import Cards
from bench.report.findings.changes import Change
from bench.report.findings.evidence import by_setting, caveat
from bench.report.findings.recovered import count, recovered, with_undefended
from bench.report.frames import read_results
from bench.report.statistics import Interval
from bench.report.text import advantage
from bench.report.visible import NEGLIGIBLE, VISIBLE, negligible, smallest_visible
from bench.report.write import write_report
from tests.report.classes import by_class

Folder = Any  # the class in conftest.py
FILES = ("leaderboard.md", "README.md", "index.html", "leaderboard.tex", "leaderboard.json")


def difference(mean: float, reach: float = 0.001) -> Interval:
    return Interval(mean, mean - reach, mean + reach, 33, 33)


@pytest.mark.parametrize(
    ("value", "visible", "found"),
    [
        (difference(0.05), 0.03, False),
        (difference(0.03), 0.03, False),
        (difference(0.02), 0.03, True),
        (difference(-0.02), 0.03, True),
        (difference(-0.05), 0.03, False),
        (difference(0.05, 0.06), 0.03, False),
        (difference(0.0, 0.0), 0.03, False),
        (difference(0.05), math.nan, False),
        (difference(-0.05), math.nan, False),
        (Interval(0.05, math.nan, math.nan, 1, 1), 0.03, False),
    ],
)
def test_a_certain_difference_that_nobody_can_see_is_negligible(
    value: Interval, visible: float, found: bool
) -> None:
    assert negligible(value, visible) is found
    assert advantage("lpips", value, visible).endswith(NEGLIGIBLE) is found


def test_a_negligible_change_against_a_baseline_is_not_coloured() -> None:
    assert Change("less", difference(0.02), 0.0, "lpips", 0.03).style == ""
    assert Change("less", difference(0.05), 0.0, "lpips", 0.03).style == "less"


def test_the_scale_runs_from_the_undefended_victim_to_the_best_of_as_many_guesses(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    own = np.linspace(0.1, 0.2, 24)
    for defense, strength, lift in (("none", None, 0.0), ("noise", 1.0, 0.3)):
        folder.add("strong", defense, strength, lpips=own + lift)
        folder.add("weak", defense, strength, lpips=own + lift + 0.1)
    guesses = np.random.default_rng(0).uniform(0.5, 0.9, (3, 24))
    for name, guess in zip(("blind", "blind[guess=b]", "blind[guess=c]"), guesses, strict=True):
        folder.add(name, lpips=guess)
    (group,) = build(read_results(folder.write(tmp_path)), cards)
    assert group.fair_floor == pytest.approx(guesses[:2].min(axis=0).mean()), "two attacks, two guesses"
    assert group.smallest_visible == pytest.approx(VISIBLE * (group.fair_floor - 0.15))
    assert smallest_visible(0.15, group.fair_floor) == group.smallest_visible


def test_every_draw_of_a_blind_guess_counts_as_one(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    """As many as there are attacks: the first draws of all kinds of guesses, then further draws."""
    own = np.linspace(0.1, 0.2, 24)
    for number in range(4):
        folder.add(f"strong[tv={number}]", lpips=own + 0.01 * number)
    names = ["blind", "blind[guess=noise]", *(f"blind[draw={draw}]" for draw in (1, 2, 3))]
    guesses = dict(zip(names, np.random.default_rng(0).uniform(0.5, 0.9, (5, 24)), strict=True))
    for name in sorted(names):
        folder.add(name, lpips=guesses[name])
    (group,) = build(read_results(folder.write(tmp_path)), cards)
    best = np.stack([guesses[name] for name in names[:4]]).min(axis=0)
    assert group.fair_floor == pytest.approx(best.mean())
    assert group.fair_floor < min(guess.mean() for guess in guesses.values()) - 0.05


def test_there_is_no_scale_without_a_floor(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    folder.add("strong", lpips=[0.1] * 24)
    (group,) = build(read_results(folder.write(tmp_path)), cards)
    assert math.isnan(group.fair_floor) and math.isnan(group.smallest_visible)


def test_images_recovered_stand_beside_every_row(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    for defense, strength, kept in (("none", None, 24), ("noise", 1.0, 6)):
        folder.add("strong", defense, strength, lpips=[0.1] * kept + [0.5] * (24 - kept))
    write_report(folder.write(tmp_path), cards=cards)
    (group,) = build(read_results(tmp_path), cards)
    none, noise = group.rows
    assert (recovered(none, group), recovered(noise, group)) == ("24 of 24", "6 of 24")
    assert re.findall(r"\d+ of \d+", with_undefended(noise, group)) == ["6 of 24", "24 of 24"]
    files = {name: (tmp_path / name).read_text(encoding="utf-8") for name in FILES}
    text = files["leaderboard.md"]
    glance, section = text[: text.index("\n## gradients")], text[text.index("\n## gradients") :]
    assert glance.count("| 6 of 24 | 24 of 24 |") == 2
    assert section.count("| 6 of 24 |") == 3, "a place within each limit, and the cross"
    for table in (section, files["README.md"]):
        assert "| 24 of 24, 100 [86, 100] % |" in table and "| 6 of 24, 25 [" in table
    assert files["leaderboard.tex"].count("& 6 of 24 &") == 1
    page = files["index.html"]
    cards_, rest = page[: page.index('id="board"')], page[page.index('id="board"') :]
    for kind, least in (("answer-recovered", 2), ("undefended-recovered", 2)):
        assert cards_.count(f'data-k="{kind}"') >= least
    assert rest.count('data-k="recovered"') == 2 and rest.count('data-k="recovered-count"') >= 2


def test_of_classes_a_net_share_is_recovered(cards: Cards, tmp_path: Path) -> None:
    (group,) = build(read_results(by_class().write(tmp_path)), cards)
    row = group.baseline
    assert row is not None and row.recovery is not None
    assert 0 < row.verdict.recovered.mean < row.recovery.share.mean
    assert re.fullmatch(r"\d+ %", recovered(row, group))


def test_a_count_of_nothing_is_missing() -> None:
    assert count(Interval(math.nan, math.nan, math.nan, 0, 0, 5)) == "n/a"
    assert count(Interval(25 / 33, 0.6, 0.9, 33, 33)) == "25 of 33"


@pytest.mark.parametrize("releases", [LEAST_RELEASES - 1, LEAST_RELEASES])
def test_few_releases_are_said_to_be_no_evidence_on_top_of_every_page(
    folder: Folder, cards: Cards, tmp_path: Path, releases: int
) -> None:
    folder.add("strong", lpips=[0.1] * (releases - 10), seed=0)
    folder.add("strong", lpips=[0.1] * 10, seed=1)
    write_report(folder.write(tmp_path), cards=cards)
    (group,) = groups = build(read_results(tmp_path), cards)
    assert by_setting(groups) == {group.title: releases}
    sentence = caveat(by_setting(groups))
    assert bool(sentence) is (releases < LEAST_RELEASES)
    files = {name: (tmp_path / name).read_text(encoding="utf-8") for name in FILES}
    assert json.loads(files["leaderboard.json"])["no_evidence"] == sentence
    assert ('id="no-evidence"' in files["index.html"]) is bool(sentence)
    for name in ("leaderboard.md", "README.md"):
        assert files[name].split("\n\n")[1].startswith("> **") is bool(sentence)


def test_the_settings_without_evidence_are_named_where_others_have_some() -> None:
    said = caveat({"one": 5, "two": 80, "three": 0})
    assert "one" in said and "three" in said and "two" not in said
    assert "one" not in caveat({"one": 5}) and caveat({"two": 80, "model · x": 50}) == caveat({}) == ""
