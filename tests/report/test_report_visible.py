"""Nothing looks like a success that nobody could see, that recovers the images, or that is no evidence."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.report.answers import answer
from bench.report.cards import Cards
from bench.report.changes import Change
from bench.report.entries import Group
from bench.report.evidence import LEAST_RELEASES, by_setting, caveat
from bench.report.frames import read_results
from bench.report.leaderboard import build
from bench.report.recovered import count, fewer, recovered, with_undefended
from bench.report.statistics import Interval
from bench.report.text import advantage
from bench.report.visible import VISIBLE, Grade, grade, smallest_visible
from bench.report.write import write_report
from tests.report.classes import by_class

Folder = Any  # the class in conftest.py
FILES = ("leaderboard.md", "README.md", "index.html", "leaderboard.tex", "leaderboard.json")


def difference(mean: float, reach: float = 0.001) -> Interval:
    return Interval(mean, mean - reach, mean + reach, 33, 33)


@pytest.mark.parametrize(
    ("value", "visible", "found"),
    [
        (difference(0.05), 0.03, Grade.CERTAIN),
        (difference(0.03), 0.03, Grade.CERTAIN),
        (difference(0.02), 0.03, Grade.NEGLIGIBLE),
        (difference(-0.02), 0.03, Grade.NEGLIGIBLE),
        (difference(-0.05), 0.03, Grade.WORSE),
        (difference(0.05, 0.06), 0.03, Grade.UNSURE),
        (difference(0.0, 0.0), 0.03, Grade.UNSURE),
        (difference(0.05), math.nan, Grade.NO_SCALE),
        (difference(-0.05), math.nan, Grade.WORSE),
        (Interval(0.05, math.nan, math.nan, 1, 1), 0.03, Grade.UNSURE),
    ],
)
def test_a_difference_is_certain_only_if_it_can_be_seen(
    value: Interval, visible: float, found: Grade
) -> None:
    assert grade(value, visible) is found
    shown = advantage("lpips", value, visible)
    assert shown.startswith("**") is (found is Grade.CERTAIN)
    assert shown.endswith(Grade.NEGLIGIBLE.value) is (found is Grade.NEGLIGIBLE)


def test_only_one_grade_is_green() -> None:
    assert [item for item in Grade if item.style == "sure"] == [Grade.CERTAIN]


def test_a_negligible_change_against_a_baseline_is_not_coloured() -> None:
    assert Change("less", difference(0.02), 0.0, "lpips", 0.03).style == ""
    assert Change("less", difference(0.05), 0.0, "lpips", 0.03).style == "less"


def write(
    folder: Folder, directory: Path, cards: Cards, *, lift: float, floor: float | None = 0.9, kept: int = 0
) -> tuple[Group, dict[str, str]]:
    """One defense that lifts the LPIPS of 24 images, of which ``kept`` are still recovered."""
    base = np.linspace(0.1, 0.2, 24)
    for defense, strength, more in (("none", None, 0.0), ("noise", 1.0, lift)):
        folder.add("strong", defense, strength, lpips=base + more)
        if floor is not None:
            folder.add("blind", defense, strength, lpips=base / 10 + floor)
    for image in folder.images:
        if image["defense"] == "noise":
            image["identified"] = int(image["release"] < kept)
    write_report(folder.write(directory), cards=cards)
    (group,) = build(read_results(directory), cards)
    return group, {name: (directory / name).read_text(encoding="utf-8") for name in FILES}


def heads(page: str) -> list[str]:
    return re.findall(r"<h4[^>]*>.*?</h4>", page)


def bold(text: str) -> list[str]:
    return re.findall(r"\*\*(\S+ = \S+?)\*\*", text)


def test_the_scale_runs_from_the_undefended_victim_to_the_floor(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    group, files = write(folder, tmp_path, cards, lift=0.3)
    assert group.floor is not None and group.floor.attack == "blind"
    floor = group.floor.scores["lpips"].mean
    assert group.smallest_visible == smallest_visible(0.15, floor) == pytest.approx(VISIBLE * (floor - 0.15))
    document = json.loads(files["leaderboard.json"])["groups"][0]
    assert document["smallest_visible_difference"] == pytest.approx(group.smallest_visible, abs=1e-6)


def test_a_certain_visible_gain_that_hides_images_stands_out(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    group, files = write(folder, tmp_path, cards, lift=0.3, kept=3)
    found = answer(group, 1.0)
    assert (found.helps, found.visible, found.fewer, found.protects, found.nothing) == (*[True] * 4, "")
    assert bold(files["leaderboard.md"]) == ["noise = 1"] * 2
    assert 'class="plain"' not in "".join(heads(files["index.html"]))
    assert files["index.html"].count('<li class="sure">gain') == 2
    for name in ("leaderboard.md", "README.md"):
        assert "| **0.300 [0.300, 0.300]** |" in files[name]
    told = json.loads(files["leaderboard.json"])["groups"][0]["answers"][0]
    assert told["gain_is"] == "certain" and told["protects"] is told["visibly_helps"] is True
    assert told["recovered"] == {"images": 3, "of": 24}
    assert told["recovered_undefended"] == {"images": 24, "of": 24}


@pytest.mark.parametrize("kept", [3, 24])
def test_a_negligible_gain_is_neither_bold_nor_green(
    folder: Folder, cards: Cards, tmp_path: Path, kept: int
) -> None:
    group, files = write(folder, tmp_path, cards, lift=0.01, kept=kept)
    found = answer(group, 1.0)
    assert found.helps is True and found.visible is False and not found.protects
    assert bool(found.nothing) is (kept == 24), "who recovers clearly fewer images has helped somehow"
    assert found.nothing in heads(files["index.html"])[0]
    assert bold(files["leaderboard.md"]) == []
    assert 'class="sure"' not in files["index.html"]
    for name in ("leaderboard.md", "README.md"):
        assert "| 0.010 [0.010, 0.010] negligible |" in files[name]
    told = json.loads(files["leaderboard.json"])["groups"][0]["answers"][0]
    assert told["certainly_helps"] is True and told["visibly_helps"] is False
    assert told["gain_is"] == "negligible"


def test_nothing_is_bold_without_a_floor(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    group, files = write(folder, tmp_path, cards, lift=0.3, floor=None)
    assert group.floor is None and math.isnan(group.smallest_visible)
    found = answer(group, 1.0)
    assert found.helps is True and found.visible is None and not found.protects and found.nothing == ""
    assert bold(files["leaderboard.md"]) == []
    assert 'class="sure"' not in files["index.html"] and heads(files["index.html"])[0].startswith("<h4 class")
    for name in ("leaderboard.md", "README.md"):
        assert "**0.3" not in files[name]
        (said,) = [line for line in files[name].splitlines() if "Without a floor" in line]
        assert group.title in said
    assert json.loads(files["leaderboard.json"])["groups"][0]["smallest_visible_difference"] is None


def test_nothing_is_bold_where_the_undefended_victim_does_not_leak_more_than_the_floor(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    group, files = write(folder, tmp_path, cards, lift=0.3, floor=0.05)
    assert group.floor is not None and math.isnan(group.smallest_visible)
    assert bold(files["leaderboard.md"]) == []


@pytest.mark.parametrize(("kept", "stands_out"), [(24, False), (22, False), (21, True)])
def test_a_name_stands_out_only_where_images_are_no_longer_recovered(
    folder: Folder, cards: Cards, tmp_path: Path, kept: int, stands_out: bool
) -> None:
    group, files = write(folder, tmp_path, cards, lift=0.3, kept=kept)
    assert answer(group, 1.0).protects is stands_out, "22 of 24 is 8 points less than all"
    assert bool(bold(files["leaderboard.md"])) is stands_out
    assert ('class="plain"' in heads(files["index.html"])[0]) is not stands_out
    warned = re.findall(r'<li class="unsure">images recovered', files["index.html"])
    assert bool(warned) is not stands_out


def test_no_name_stands_out_where_every_attack_ends_below_the_floor(
    folder: Folder, cards: Cards, tmp_path: Path
) -> None:
    group, files = write(folder, tmp_path, cards, lift=0.9, floor=0.5)
    assert "below-prior" in group.rows[1].flags
    found = answer(group, 1.0)
    assert found.fewer and found.visible and not found.protects
    assert bold(files["leaderboard.md"]) == []


def test_images_recovered_stand_beside_every_worst_case(folder: Folder, cards: Cards, tmp_path: Path) -> None:
    group, files = write(folder, tmp_path, cards, lift=0.3, kept=6)
    none, noise = (row.worst for row in group.rows)
    assert none is not None and noise is not None
    assert (recovered(none, group), recovered(noise, group)) == ("24 of 24", "6 of 24")
    assert with_undefended(noise, group) == "6 of 24; undefended 24 of 24"
    assert fewer(noise, none, group) and not fewer(none, none, group)
    text = files["leaderboard.md"]
    glance, section = text[: text.index("\n## gradients")], text[text.index("\n## gradients") :]
    assert glance.count("| 6 of 24; undefended 24 of 24 |") == 2
    assert section.count("| 6 of 24 |") == 2, "a place within each limit"
    for table in (section, files["README.md"]):
        assert "| 24 of 24, 100 [86, 100] % |" in table and "| 6 of 24, 25 [" in table
    assert files["leaderboard.tex"].count("& 6 of 24 &") == 1
    page = files["index.html"]
    cards_, rest = page[: page.index('id="board"')], page[page.index('id="board"') :]
    for kind, least in (("answer-recovered", 2), ("undefended-recovered", 2)):
        assert cards_.count(f'data-k="{kind}"') >= least
    assert rest.count('data-k="recovered"') == 2 and rest.count('data-k="recovered-count"') >= 2


def test_of_classes_no_image_is_recovered(cards: Cards, tmp_path: Path) -> None:
    write_report(by_class().write(tmp_path), cards=cards)
    (group,) = build(read_results(tmp_path), cards)
    assert {with_undefended(row.worst, group) for row in group.rows} == {"–"}
    assert 0 < group.smallest_visible < VISIBLE, "a tenth of the way to the strongest control"
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "-recovered" not in page and 'data-k="recovered' not in page


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
    said = caveat({"one": 5, "two": 50, "three": 0})
    assert "one" in said and "three" in said and "two" not in said
    assert "one" not in caveat({"one": 5}) and caveat({"two": 50}) == caveat({}) == ""
