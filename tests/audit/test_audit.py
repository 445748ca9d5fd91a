"""What an audit runs, what it says of a defense, and what its pages say."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from bench.api import UsageError
from bench.audit.page import HEAD, Audit, origin, write
from bench.audit.suite import (
    planned_releases,
    refuse_elsewhere,
    selection,
    strengths,
    too_small,
    undefended,
)
from bench.audit.verdict import AuditRow, audited, by_setting, headline
from bench.check.findings import Checklist, Item, Verdict
from bench.cli.audit import audit
from bench.matrix import Filters, load_matrix
from bench.report.analysis.tested import BELOW_FLOOR, FEW_RELEASES, FEW_SEEDS, UNSCORED
from bench.report.analysis.verdict import LEAST_RELEASES, MEANING, Word
from bench.report.findings.recovered import DROP
from bench.report.tallies import Failure
from bench.report.text import markdown as escaped
from tests.audit import board
from tests.report.conftest import Folder

SOUND = Item(promise="card", means="", verdict=Verdict.OK, message="valid")
FAULT = Item(promise="clients", means="", verdict=Verdict.BROKEN, message="mixes <them>", fix="reduce | each")


def checklist(*items: Item) -> Checklist:
    return Checklist(kind="defense", name="noise", folder="defenses/noise", items=items)


def rows(folder: Folder, directory: Path) -> tuple[AuditRow, ...]:
    return audited(board.judged(folder, directory), "noise")


def counts(sentence: str) -> list[str]:
    return re.findall(r"\b\d+\b", sentence)


@pytest.fixture
def folder() -> Folder:
    """The undefended victims of two settings."""
    folder = board.undefended(Folder())
    return board.undefended(folder, checkpoint="trained")


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
    with pytest.raises(UsageError, match="undefended"):
        undefended(matrix.model_copy(update={"block": blocks}))


def test_a_matrix_that_attacks_nothing_of_the_defenses_kind_is_refused() -> None:
    matrix = load_matrix("smoke")
    refuse_elsewhere(matrix, "noise")
    here = [block for block in matrix.block if block.channel in ("model", "smashed")]
    with pytest.raises(UsageError, match=r"gradients.*model, smashed"):
        refuse_elsewhere(matrix.model_copy(update={"block": here}), "noise")


@pytest.mark.parametrize(
    ("seeds", "releases", "enough"), [(5, 15, True), (5, 14, False), (4, 20, False), (6, 12, True)]
)
def test_a_word_takes_enough_seeds_and_releases(seeds: int, releases: int, enough: bool) -> None:
    said = too_small({"gradients · digits": dict.fromkeys(range(seeds), releases)})
    assert (said == "") is enough
    if not enough:
        assert re.search(rf"\b{seeds * releases}\b.*\b{seeds}\b.*gradients · digits", said)


def test_on_channel_model_classes_count_as_releases() -> None:
    assert too_small({"model · digits": dict.fromkeys(range(5), 10)}) == ""
    assert too_small({"model · digits": dict.fromkeys(range(5), 9)})


def test_what_a_matrix_can_yield_is_known_before_it_runs() -> None:
    matrix = load_matrix("full")
    planned = planned_releases(matrix, Filters(defenses=("noise",), seeds=(0, 1)))
    block = next(block for block in matrix.block if block.channel == "gradients")
    assert planned and all(seeds == {0: block.releases, 1: block.releases} for seeds in planned.values())


def test_a_matrix_that_can_yield_no_word_says_so_before_it_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import bench.check.run
    import bench.execute.run

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench.check.run, "check", lambda *_, **__: checklist())
    monkeypatch.setattr(bench.execute.run, "run_matrix", stop)
    large = tmp_path / "large.toml"
    large.write_text(
        'name = "large"\nversion = 1\ndescription = "large enough"\nseeds = [0, 1, 2, 3, 4]\n[[block]]\n'
        'datasets = ["mnist5k"]\nmodels = ["lenet"]\ncheckpoints = ["initial"]\nbatch_sizes = [1]\n'
        'releases = 15\nbudget = 10\nattacks = ["dlg"]\nadversaries = ["naive"]\ndefenses = ["none"]\n'
    )
    chosen = Filters(defenses=selection("noise", strengths("noise"), "none"))
    for matrix, enough in (("smoke", False), (str(large), True)):
        warning = too_small(planned_releases(load_matrix(matrix), chosen))
        told = CliRunner().invoke(audit, ["noise", "--matrix", matrix, "--out", str(tmp_path)])
        assert (warning == "") is enough and warning in told.stderr, told.output


@pytest.mark.parametrize(
    ("share", "word"), [(0.0, Word.HIDES), (0.5, Word.REDUCES), (0.9, Word.UNDECIDED), (1.0, Word.FAILS)]
)
def test_the_word_is_the_leaderboards(tmp_path: Path, share: float, word: Word) -> None:
    (item,) = rows(board.defended(board.undefended(Folder()), share=share), tmp_path)
    assert item.row.verdict.word is word is item.word


def test_a_setting_for_which_a_defense_is_not_made_is_not_held_against_it(tmp_path: Path) -> None:
    (item,) = rows(board.defended(board.undefended(Folder())), tmp_path)
    reason = (Failure("incompatible", "noise is made for the channel gradients", 3),)
    nowhere = tuple(replace(entry, done=0, failures=reason) for entry in item.row.attacks)
    elsewhere = replace(item.group, rows=(replace(item.row, attacks=nowhere),))
    assert audited((elsewhere,), "noise") == ()
    broke = tuple(replace(entry, failures=(Failure("failed", "it broke", 3),)) for entry in nowhere)
    (found,) = audited((replace(item.group, rows=(replace(item.row, attacks=broke),)),), "noise")
    assert found.row.attacks == broke


def test_cells_that_all_failed_are_not_tested(tmp_path: Path) -> None:
    folder = board.undefended(Folder())
    for seed in range(5):
        folder.add(
            "strong", "noise", 1.0, seed=seed, adversary="adaptive", status="failed", reason="it broke"
        )
    (item,) = rows(folder, tmp_path)
    assert item.word is Word.NOT_TESTED and UNSCORED in item.row.verdict.reasons


def test_the_undefended_victim_is_not_judged(folder: Folder, tmp_path: Path) -> None:
    assert audited(board.judged(folder, tmp_path), "none") == ()


def test_an_attack_below_the_floor_never_counts_as_hidden(folder: Folder, tmp_path: Path) -> None:
    (item,) = rows(board.defended(folder, lost=0.95), tmp_path)
    assert item.row.verdict.recovered.mean == 0 and item.row.verdict.drop.low > 0.9, "it looks like a success"
    assert item.row.verdict.reasons == (BELOW_FLOOR,)
    assert BELOW_FLOOR in headline((item,), "noise")


def test_each_setting_counts_once_by_its_best_strength_that_is_cheap(folder: Folder, tmp_path: Path) -> None:
    board.defended(folder, strength=1.0, share=0.5)
    board.defended(folder, strength=2.0, share=0.0, accuracy=0.7)  # hides, and costs 25 points
    board.defended(folder, strength=1.0, share=1.0, checkpoint="trained")
    found = rows(folder, tmp_path)
    assert [item.word for item in found] == [Word.REDUCES, Word.HIDES, Word.FAILS]
    assert list(by_setting(found).values()) == [Word.REDUCES, Word.FAILS]
    assert counts(headline(found, "noise")) == ["1", "2", "1"], "one reduces and one fails, of two"
    assert list(by_setting(found[1:2]).values()) == [None]
    assert counts(headline(found[1:2], "noise")) == ["1", "1"]


def test_what_hides_somewhere_is_only_as_good_as_its_weakest_setting(folder: Folder, tmp_path: Path) -> None:
    board.defended(folder)
    board.defended(folder, checkpoint="trained", share=1.0)
    first, second = found = rows(folder, tmp_path)
    assert list(by_setting(found).values()) == [Word.HIDES, Word.FAILS]
    assert Word.HIDES in headline(found, "x") and Word.HIDES not in headline((second,), "x")
    sentences = [headline(items, "x").count(". ") for items in (found, (first,))]
    assert sentences == [1, 0], "that the weakest setting counts is said where it does"


def test_the_cost_counts_by_its_upper_limit(folder: Folder, tmp_path: Path) -> None:
    board.defended(folder, share=0.0)
    for number, record in enumerate(folder.records):
        if record["cell"]["defense"]["name"] == "noise":
            record["utility"]["accuracy"] = 0.95 - 0.009 - 0.002 * (number % 2)
    (item,) = rows(folder, tmp_path)
    assert item.row.loss.mean < 1.05 < item.row.loss.upper and not item.cheap


def test_settings_that_were_not_tested_stand_beside_the_others(folder: Folder, tmp_path: Path) -> None:
    board.defended(folder)
    board.defended(folder, checkpoint="trained", seeds=2)
    found = rows(folder, tmp_path)
    assert list(by_setting(found).values()) == [Word.HIDES, Word.NOT_TESTED]
    assert counts(headline(found, "x")) == ["1", "2", "1"]
    alone = headline(found[1:], "x")
    assert all(fact in alone for fact in (Word.NOT_TESTED, FEW_SEEDS, FEW_RELEASES))
    assert Word.NOT_TESTED in headline((), "x")


def test_a_strength_that_was_not_tested_does_not_stand_for_a_setting(folder: Folder, tmp_path: Path) -> None:
    board.defended(folder, strength=1.0, share=1.0)
    board.defended(folder, strength=2.0, lost=0.95)  # below the floor
    found = rows(folder, tmp_path)
    assert [item.word for item in found] == [Word.FAILS, Word.NOT_TESTED]
    assert list(by_setting(found).values()) == [Word.FAILS]


@pytest.mark.parametrize("releases", [LEAST_RELEASES // 5, 15])
def test_the_pages_say_the_verdict_and_every_setting(tmp_path: Path, releases: int) -> None:
    folder = board.undefended(Folder(), releases=releases)
    found = rows(board.defended(folder, share=0.0, releases=releases), tmp_path)
    records = pd.DataFrame(
        {
            "commit": ["0123456789abcdef"] * 2,
            "dirty": ["False", "True"],
            "finished": ["2030-01-02T00:00:00", "2030-01-01T10:00:00"],
        }
    )
    told = origin("full@9", records)
    result = Audit(name="noise", checklist=checklist(SOUND), rows=found, origin=told)
    markdown, html = (path.read_text(encoding="utf-8") for path in write(result, tmp_path))
    assert f"**{result.headline}" in markdown
    assert result.headline in html and "<img" not in html and '<tr class="' in html
    few = releases < 15
    assert bool(result.warning) is few
    assert result.warning in unescape(html) and escaped(result.warning) in markdown
    assert told in html and told.count("0123456789") == 2 == told.count("2030-01-0") and "full@9" in told
    (line,) = [line for line in markdown.splitlines() if line.startswith("| gradients")]
    cells = dict(zip(HEAD, line.strip("| ").split(" | "), strict=False))
    assert cells["verdict"].startswith(Word.NOT_TESTED if few else Word.HIDES)
    if not few:
        assert cells["recovered ↑"] == r"0 of 75, 0 \[0, 5\] %"
        assert cells["undefended"] == r"75 of 75, 100 \[95, 100\] %"
        assert cells["undefended accuracy %"] == "95.0" and cells["accuracy %"] == "94.8"
        assert cells[HEAD[5]].startswith("0.2 (≤ ") and cells[HEAD[10]] == "15 x 5"
        assert cells[DROP].startswith("100 ") and cells["strongest attack"] == "strong/adaptive"
    for word, meaning in MEANING.items():
        assert f"- **{word.value}**: " in markdown and f"<b>{word.value}</b>" in html and meaning


def test_records_of_no_commit_and_no_date_say_so() -> None:
    nothing = pd.DataFrame({"commit": [""], "dirty": [""], "finished": [""]})
    assert "m@1" in origin("m@1", nothing) and origin("m@1", nothing).count("unknown") == 2


def test_a_broken_contract_comes_before_all_numbers(tmp_path: Path) -> None:
    found = rows(board.defended(board.undefended(Folder())), tmp_path)
    result = Audit(name="noise", checklist=checklist(SOUND, FAULT), rows=found)
    assert not any(word in result.headline for word in Word) and counts(result.headline) == []
    markdown, html = (path.read_text(encoding="utf-8") for path in write(result, tmp_path))
    assert "- **clients**: " in markdown and "- **card**: " not in markdown
    assert "mixes &lt;them&gt;" in html and "<them>" not in html
