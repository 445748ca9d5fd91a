"""What counts as tested: everything else says nothing of a defense, and counts for nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.audit import tested
from bench.audit.page import Audit, write
from bench.audit.suite import planned_releases
from bench.audit.verdict import Judged, Word, headline, judge
from bench.check.findings import Checklist
from bench.cli.audit import audit
from bench.matrix import Filters, load_matrix
from bench.report.entries import Group, Row
from bench.report.evidence import LEAST_RELEASES, caveat
from bench.report.frames import read_results
from bench.report.leaderboard import build
from bench.report.tallies import Spread
from tests.report.conftest import FakeCards, Folder

IMAGES = [0.1 + 0.01 * number for number in range(24)]


def board(directory: Path, *, lift: float = 0.3, releases: int = 24, **changes: object) -> Group:
    """One setting: the undefended victim, ``noise`` and a floor."""
    folder = Folder()
    for defense, strength, more in (("none", None, 0.0), ("noise", 1.0, lift)):
        given = changes if strength else {}
        folder.add("strong", defense, strength, lpips=[v + more for v in IMAGES[:releases]], **given)
        folder.add("blind", defense, strength, lpips=[0.8 + v / 10 for v in IMAGES[:releases]], **given)
    (group,) = build(read_results(folder.write(directory)), FakeCards())
    return group


@pytest.fixture
def group(tmp_path: Path) -> Group:
    return board(tmp_path)


def only(group: Group) -> Judged:
    (item,) = judge((group,), "noise")
    return item


def changed(group: Group, change: Callable[[Row], Row], *, undefended: bool = False) -> Group:
    """The setting with another row."""
    return replace(
        group, rows=tuple(change(row) if row.baseline is undefended else row for row in group.rows)
    )


def flagged(flag: str) -> Callable[[Row], Row]:
    return lambda row: replace(row, flags=(*row.flags, flag))


def accuracy(value: float) -> Callable[[Row], Row]:
    return lambda row: replace(row, utility=Spread(value, value, value, 1))


def test_a_row_with_enough_behind_it_is_tested(group: Group) -> None:
    assert only(group).word is Word.REDUCES and only(group).reasons == ()


@pytest.mark.parametrize(
    ("change", "undefended", "reason"),
    [
        (flagged("below-prior"), False, tested.BELOW_FLOOR),
        (flagged("unconverged"), False, tested.UNCONVERGED),
        (flagged("unconverged"), True, tested.UNDEFENDED_UNCONVERGED),
        (flagged("missing-attack"), False, tested.MISSING_ATTACK),
        (lambda row: replace(row, baseline=False, defense="other"), True, tested.NO_UNDEFENDED),
    ],
    ids=["below floor", "unconverged", "undefended unconverged", "missing attack", "no undefended"],
)
def test_what_is_not_tested_says_why(
    group: Group, change: Callable[[Row], Row], undefended: bool, reason: str
) -> None:
    item = only(changed(group, change, undefended=undefended))
    assert item.word is Word.NOT_TESTED and not item.holds and item.reasons == (reason,)
    assert headline((item,), "noise") == f"noise was not tested: {reason}."


def test_an_attack_below_the_floor_is_found_in_the_records(tmp_path: Path) -> None:
    item = only(board(tmp_path, lift=0.9))
    assert item.gain is not None and item.gain.low > 0.8, "what looks like a great success"
    assert item.reasons == (tested.BELOW_FLOOR,)


@pytest.mark.parametrize("releases", [LEAST_RELEASES - 1, LEAST_RELEASES])
def test_a_row_needs_twenty_releases(tmp_path: Path, releases: int) -> None:
    few = releases < LEAST_RELEASES
    item = only(board(tmp_path, releases=releases))
    assert (tested.FEW_RELEASES in item.reasons) is few
    audit = Audit(
        name="noise", checklist=Checklist(kind="defense", name="noise", folder="", items=()), judged=(item,)
    )
    assert bool(audit.warning) is few
    for path in write(audit, tmp_path):
        assert ("No evidence" in path.read_text(encoding="utf-8")) is few


@pytest.mark.parametrize(("value", "near"), [(0.549, True), (0.551, False)])
@pytest.mark.parametrize("undefended", [False, True])
def test_accuracy_near_chance_is_below_halfway_to_one(
    group: Group, monkeypatch: pytest.MonkeyPatch, value: float, near: bool, undefended: bool
) -> None:
    reason = tested.UNDEFENDED_NEAR_CHANCE if undefended else tested.NEAR_CHANCE
    low = changed(group, accuracy(value), undefended=undefended)
    assert only(low).remarks == (tested.UNKNOWN_CLASSES,) and not only(low).reasons, "nobody knows ``digits``"
    monkeypatch.setattr(tested, "classes", lambda group: 10)
    assert (reason in only(low).reasons) is near and only(low).remarks == ()


def test_the_number_of_classes_is_that_of_the_card(group: Group) -> None:
    assert tested.classes(replace(group, dataset="mnist5k")) == 10
    assert tested.classes(replace(group, dataset="fashion_mnist[root=x]")) == 10
    assert tested.classes(replace(group, dataset="folder[path=x]")) is None


def test_the_headline_counts_tested_settings_only(group: Group) -> None:
    item = only(group)
    at = [replace(item, group=replace(item.group, model=name)) for name in "abcdefg"]
    blind = [replace(each, word=Word.NOT_TESTED, reasons=("r",)) for each in at]
    hides = [replace(each, word=Word.HIDES) for each in at]
    assert "in all 2 settings" in headline(tuple(hides[:2]), "x")
    some = headline((*hides[:2], replace(at[2], word=Word.FAILS), *blind[3:]), "x")
    assert "in 2 of the 3 settings that were tested" in some and "; 4 were not tested" in some
    every = headline((*hides[:3], blind[3]), "x")
    assert " all " not in every and "in 3 of the 3 settings that were tested" in every
    assert "; 1 was not tested" in every
    for word in (Word.REDUCES, Word.FAILS):
        rest = headline((replace(at[0], word=word), *blind[1:3]), "x")
        assert rest.startswith("x does not hold") and "that were tested" in rest and "; 2 were not" in rest
    mixed = (blind[0], replace(hides[0], row=replace(item.row, strength=9.0)))
    assert "in all 1 settings" in headline(mixed, "x"), "one strength was tested there"


def test_a_negligible_difference_is_no_protection(tmp_path: Path) -> None:
    item = only(board(tmp_path, lift=0.01))
    assert item.gain is not None and item.gain.low > 0
    assert item.word is Word.FAILS


@pytest.mark.parametrize(("seeds", "enough"), [((0,), False), ((0, 1, 2), True)])
def test_what_a_matrix_can_yield_is_known_before_it_runs(seeds: tuple[int, ...], enough: bool) -> None:
    matrix = load_matrix("full")
    planned = planned_releases(matrix, Filters(defenses=("noise",), seeds=seeds))
    block = next(block for block in matrix.block if block.channel == "gradients")
    assert set(planned.values()) == {block.releases * len(seeds)}
    assert bool(caveat(planned)) is not enough


def test_a_matrix_that_can_yield_no_evidence_says_so_before_it_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import bench.check.run
    import bench.runs.run

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    empty = Checklist(kind="defense", name="noise", folder="", items=())
    monkeypatch.setattr(bench.check.run, "check", lambda *_, **__: empty)
    monkeypatch.setattr(bench.runs.run, "run_matrix", stop)
    for matrix, few in (("smoke", True), ("full", False)):
        told = CliRunner().invoke(audit, ["noise", "--matrix", matrix, "--out", str(tmp_path)])
        lines = [line for line in told.stderr.splitlines() if str(LEAST_RELEASES) in line]
        assert len(lines) == few, told.output
