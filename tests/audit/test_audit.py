"""What an audit runs, how it judges, and what its pages say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.api import UsageError
from bench.audit.page import Audit, write
from bench.audit.suite import refuse_elsewhere, selection, strengths, undefended
from bench.audit.tested import NO_UNDEFENDED, UNSCORED
from bench.audit.verdict import Judged, Word, headline, judge
from bench.check.findings import Checklist, Item, Verdict
from bench.matrix import load_matrix
from bench.report.entries import Group, Row
from bench.report.frames import read_results
from bench.report.leaderboard import build
from bench.report.tallies import Failure, Spread

FULL = Path(__file__).parents[2] / "results" / "full"
SOUND = Item(promise="card", means="", verdict=Verdict.OK, message="valid")
FAULT = Item(promise="clients", means="", verdict=Verdict.BROKEN, message="mixes <them>", fix="reduce | each")


@pytest.fixture(scope="module")
def groups() -> tuple[Group, ...]:
    """The published leaderboard."""
    return build(read_results(FULL))


def checklist(*items: Item) -> Checklist:
    return Checklist(kind="defense", name="pruning", folder="defenses/pruning", items=items)


def test_an_audit_runs_the_cards_sweep_beside_the_undefended_victim() -> None:
    values = strengths("noise")
    assert len(values) >= 3, "three strengths at least"
    assert undefended(load_matrix("full")) == "none"
    assert selection("noise", (0.1, 0.2), "none") == ("none", "noise[sigma=0.1]", "noise[sigma=0.2]")
    assert strengths("none") == () and selection("none", (), "none") == ("none", "none")


def test_strengths_outside_the_declared_range_are_left_out() -> None:
    assert all(0 <= float(value) <= 1 for value in strengths("pruning"))


def test_a_matrix_without_an_undefended_victim_is_refused(tmp_path: Path) -> None:
    matrix = load_matrix("smoke")
    blocks = [
        block.model_copy(update={"defenses": [e for e in block.defenses if e.name != "none"]})
        for block in matrix.block
    ]
    with pytest.raises(UsageError, match="it has no undefended victim"):
        undefended(matrix.model_copy(update={"block": blocks}))


def test_a_matrix_that_attacks_nothing_of_the_defenses_kind_is_refused() -> None:
    matrix = load_matrix("smoke")
    refuse_elsewhere(matrix, "noise")
    here = [block for block in matrix.block if block.channel != "gradients"]
    with pytest.raises(UsageError, match="noise is made for the channel gradients, and the matrix attacks"):
        refuse_elsewhere(matrix.model_copy(update={"block": here}), "noise")


def test_every_strength_is_judged_in_every_setting(groups: tuple[Group, ...]) -> None:
    judged = judge(groups, "pruning")
    rows = [row for group in groups for row in group.rows if row.defense.startswith("pruning")]
    assert [item.row for item in judged] == rows
    for item in judged:
        assert item.gain is not None
        seen = item.gain.low > 0 and item.gain.mean >= item.group.smallest_visible
        assert (item.word is Word.FAILS) == (not seen)
        assert item.word is not Word.HIDES or item.row.normalised.mean <= 0.1


def test_a_setting_for_which_a_defense_is_not_made_is_not_held_against_it(groups: tuple[Group, ...]) -> None:
    group, row = next((group, row) for group in groups for row in group.rows if row.defense == "pruning")
    reason = (Failure("incompatible", "pruning is made for the channel gradients", 3),)
    nowhere = tuple(
        entry if entry.floor else replace(entry, done=0, failures=reason) for entry in row.attacks
    )
    elsewhere = replace(group, rows=(replace(row, attacks=nowhere, worst=None),))
    assert judge((elsewhere,), "pruning") == ()
    failed = tuple(
        replace(entry, failures=(Failure("failed", "it broke", 3),)) for entry in nowhere if not entry.floor
    )
    broken = replace(group, rows=(replace(row, attacks=failed, worst=None),))
    (item,) = judge((broken,), "pruning")
    assert item.word is Word.NOT_TESTED and set(item.reasons) == {UNSCORED, NO_UNDEFENDED}


def test_the_undefended_victim_is_not_judged(groups: tuple[Group, ...]) -> None:
    assert judge(groups, "none") == ()


def as_word(item: Judged, word: Word, *, loss: float = 0.0) -> Judged:
    row: Row = replace(item.row, loss=Spread(loss, loss, loss, 1))
    return replace(item, word=word, row=row)


def test_the_weakest_setting_decides(groups: tuple[Group, ...]) -> None:
    first, *_, last = judge(groups, "noise")
    assert first.group.title != last.group.title
    both = (as_word(first, Word.HIDES), as_word(last, Word.HIDES))
    assert headline(both, "x").startswith("x holds: in all 2 settings")
    assert headline((both[0], as_word(last, Word.REDUCES)), "x").startswith("x holds in 1 of 2 settings")
    dear = as_word(first, Word.HIDES, loss=30.0)
    assert headline((dear, as_word(last, Word.FAILS)), "x").endswith(
        "It certainly reduces the leak in 1 of 2 settings."
    )
    assert "in no setting does it certainly" in headline((as_word(first, Word.FAILS),), "x")
    blind = replace(as_word(first, Word.NOT_TESTED), reasons=("a", "b"))
    assert headline((blind, blind), "x") == "x was not tested: a; b."
    assert headline((), "x").startswith("x was not tested: ")


def test_the_pages_say_the_verdict_and_every_setting(groups: tuple[Group, ...], tmp_path: Path) -> None:
    audit = Audit(name="pruning", checklist=checklist(SOUND), judged=judge(groups, "pruning"))
    markdown, html = (path.read_text(encoding="utf-8") for path in write(audit, tmp_path))
    assert markdown.startswith(f"# Audit of pruning\n\n**{audit.headline}")
    assert audit.headline in html and "<img" not in html
    for item in audit.judged:
        assert item.group.title in html
        assert f'<tr class="{item.word.style}">' in html
    assert markdown.count("\n| ") == len(audit.judged) + 2


def test_a_broken_contract_comes_before_all_numbers(groups: tuple[Group, ...], tmp_path: Path) -> None:
    audit = Audit(name="pruning", checklist=checklist(SOUND, FAULT), judged=judge(groups, "pruning"))
    assert audit.headline == "pruning breaks its contract, so its numbers mean nothing yet."
    markdown, html = (path.read_text(encoding="utf-8") for path in write(audit, tmp_path))
    assert "1 of 2 promises are broken" in markdown
    assert "mixes &lt;them&gt;" in html and "<them>" not in html
