"""What counts as tested: everything else says nothing of a defense, and counts for nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.report.analysis import tested
from bench.report.analysis.entries import Group, Row
from bench.report.analysis.verdict import LEAST_CLASSES, LEAST_KINDS, LEAST_RELEASES, LEAST_SEEDS, Word
from bench.report.statistics import NOTHING, Interval
from bench.report.tallies import Spread
from tests.audit import board
from tests.report.conftest import JUDGING, Folder

SUITE = JUDGING["gradients"]
LEAD = Interval(1.0, 0.95, 1.0, 75, 75)


@pytest.fixture
def group(tmp_path: Path) -> Group:
    """An undefended victim and a defense that halves what is recovered."""
    (group,) = board.judged(board.defended(board.undefended(Folder()), share=0.5), tmp_path)
    return group


def setting(group: Group, **changes: Any) -> tested.Setting:
    known: dict[str, Any] = {
        "by_class": False,
        "suite": SUITE,
        "baseline": group.baseline,
        "lead": LEAD,
        "guesses": 2,
        "classes": 10,
    }
    return tested.Setting(**(known | changes))


def why(
    where: tested.Setting, row: Row, *, releases: int = 75, missing: tuple[str, ...] = ()
) -> tuple[str, ...]:
    images = row.recovery.images if row.recovery else None
    return tested.reasons(where, row, replace(row.verdict.recovered, n_clusters=releases), images, missing)


def defended(group: Group) -> Row:
    (row,) = (row for row in group.rows if not row.baseline)
    return row


def flagged(row: Row | None, flag: str) -> Row:
    assert row is not None
    return replace(row, flags=(*row.flags, flag))


def accurate(row: Row | None, value: float) -> Row:
    assert row is not None
    return replace(row, utility=Spread(value, value, value, 5))


def test_a_row_with_enough_behind_it_is_tested(group: Group) -> None:
    assert defended(group).verdict.word is Word.REDUCES
    assert why(setting(group), defended(group)) == () == defended(group).verdict.reasons


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda row: flagged(row, "below-prior"), tested.BELOW_FLOOR),
        (lambda row: flagged(row, "unconverged"), tested.UNCONVERGED),
        (lambda row: replace(row, recovery=None), tested.UNSCORED),
    ],
    ids=["below floor", "unconverged", "unscored"],
)
def test_a_row_may_say_nothing_by_itself(group: Group, change: Callable[[Row], Row], reason: str) -> None:
    assert why(setting(group), change(defended(group))) == (reason,)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"suite": None}, tested.NO_SUITE),
        ({"baseline": None}, tested.NO_UNDEFENDED),
        ({"guesses": 0}, tested.NO_FLOOR),
        ({"lead": NOTHING}, tested.NOT_ABOVE),
        ({"lead": Interval(0.5, 0.3, 0.7, 75, 75)}, tested.NOT_ABOVE),
    ],
    ids=["no suite", "no undefended", "no floor", "no lead", "lead not certain"],
)
def test_a_setting_may_say_nothing_of_any_row(group: Group, changes: dict[str, Any], reason: str) -> None:
    assert why(setting(group, **changes), defended(group)) == (reason,)


def test_an_attack_of_the_suite_that_is_missing_is_named(group: Group) -> None:
    (reason,) = why(setting(group), defended(group), missing=("dlg", "ggl"))
    assert "missing-attack" in reason and "dlg, ggl" in reason


def test_the_undefended_victim_must_have_converged(group: Group) -> None:
    where = setting(group, baseline=flagged(group.baseline, "unconverged"))
    assert why(where, defended(group)) == (tested.UNDEFENDED_UNCONVERGED,)


@pytest.mark.parametrize(("value", "near"), [(0.549, True), (0.551, False)])
def test_undefended_accuracy_near_chance_is_below_halfway_to_one(
    group: Group, value: float, near: bool
) -> None:
    base = accurate(group.baseline, value)
    assert (tested.UNDEFENDED_NEAR_CHANCE in why(setting(group, baseline=base), defended(group))) is near
    unknown = setting(group, baseline=base, classes=None)
    assert why(unknown, defended(group)) == () and tested.remarks(unknown) == (tested.UNKNOWN_CLASSES,)


def test_a_defense_that_ruins_its_victim_is_tested_all_the_same(group: Group) -> None:
    assert why(setting(group), accurate(defended(group), 0.1)) == ()


@pytest.mark.parametrize("short", [False, True])
def test_a_row_needs_releases_and_on_channel_model_classes(group: Group, short: bool) -> None:
    row = defended(group)
    assert (tested.FEW_RELEASES in why(setting(group), row, releases=LEAST_RELEASES - short)) is short
    of_classes = setting(group, by_class=True)
    assert (tested.FEW_CLASSES in why(of_classes, row, releases=LEAST_CLASSES - short)) is short
    few = setting(group, by_class=True, classes=LEAST_KINDS - short)
    assert (tested.FEW_KINDS in why(few, row)) is short


@pytest.mark.parametrize("seeds", [LEAST_SEEDS - 1, LEAST_SEEDS])
def test_a_row_needs_seeds(tmp_path: Path, seeds: int) -> None:
    folder = board.undefended(Folder(), seeds=seeds, releases=20)
    (group,) = board.judged(board.defended(folder, seeds=seeds, releases=20), tmp_path)
    few = seeds < LEAST_SEEDS
    assert defended(group).verdict.reasons == ((tested.FEW_SEEDS,) if few else ())


def test_an_attack_below_the_floor_is_found_in_the_records(tmp_path: Path) -> None:
    (group,) = board.judged(board.defended(board.undefended(Folder()), lost=0.95), tmp_path)
    verdict = defended(group).verdict
    assert verdict.drop.low > 0.9, "what looks like a great success"
    assert verdict.word is Word.NOT_TESTED and verdict.reasons == (tested.BELOW_FLOOR,)
    assert verdict.shown == f"{Word.NOT_TESTED} ({tested.BELOW_FLOOR})"


def test_a_floor_smaller_than_the_suite_is_remarked(group: Group) -> None:
    assert tested.remarks(setting(group, guesses=1)) == (tested.SMALL_FLOOR,)
    assert tested.remarks(setting(group, guesses=2)) == () == tested.remarks(setting(group, by_class=True))
