from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.api import Adversary
from bench.cli.text import clean, clean_lines, columns
from bench.matrix import files
from tests.api.plugin_folders import BLOCK, MATRIX, Folders, toml_file
from tests.world import bench

EVIL = "\x1b[31mred\x1b]0;title\x07\u202e\x9b2J [bold]up[/bold]\nnext"
TAMED = "[31mred]0;title2J [bold]up[/bold] next"


def listed(what: str) -> list[dict[str, str]]:
    """The rows of a list by its header."""
    result = bench("list", what)
    assert result.exit_code == 0, result.output
    header, *rows = (re.split(" {2,}", line) for line in result.stdout.splitlines())
    return [dict(zip(header, row, strict=True)) for row in rows]


def shown(name: object) -> dict[str, str]:
    """The text beside each name; a line that is no pair is a name alone."""
    result = bench("show", name)
    assert result.exit_code == 0, result.output
    pairs = (re.split(" {2,}", line.strip(), maxsplit=1) for line in result.stdout.splitlines())
    return {first: " ".join(rest) for first, *rest in pairs}


@pytest.fixture
def shipped(folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of matrices with one in it."""
    folder = tmp_path / "matrices"
    folder.mkdir()
    monkeypatch.setattr(files, "FOLDER", folder)
    (folder / "mine@1.toml").write_text(toml_file(MATRIX), encoding="utf-8")
    return folder


def test_plugins_are_an_aligned_table(folders: Folders) -> None:
    folders.add("attack", "a_longer_name", {"title": "Long " * 30, "parameters": {}})
    result = bench("list", "attacks")
    assert result.exit_code == 0
    header, first, second = result.stdout.splitlines()
    assert header.split() == ["name", "title", "year", "channels", "parameters"]
    assert {line.index(word) for line, word in [(header, "year"), (first, "2020"), (second, "2020")]} == {
        header.index("year")
    }
    name, title, *rest = re.split(" {2,}", first)
    assert (name, title[:4], title[-3:], rest) == ("a_longer_name", "Long", "...", ["2020", "gradients", "-"])
    assert second.split() == ["guess", "A", "title", "2020", "gradients", "steps=10"]


def test_defenses_and_data_sets_are_listed(folders: Folders) -> None:
    (blur,) = listed("defenses")
    assert (blur["name"], blur["channels"], blur["parameters"]) == (
        "blur",
        "gradients",
        "scale=0.5, shape=flat",
    )
    (dots,) = listed("datasets")
    assert (dots["name"], dots["shape"], dots["classes"], dots["parameters"]) == ("dots", "1x16x16", "2", "-")


def test_models_are_listed() -> None:
    assert "lenet" in {row["name"] for row in listed("models")}


def test_matrices_are_listed(shipped: Path) -> None:
    (mine,) = listed("matrices")
    assert mine == {"name": "mine@1", "blocks": "1", "seeds": "0,1", "description": MATRIX["description"]}
    (shipped / "torn@1.toml").write_text("name = ", encoding="utf-8")
    result = bench("list", "matrices")
    assert result.exit_code == 1
    assert "mine@1" in result.stdout
    assert f"\n{shipped / 'torn@1.toml'}: " in result.stdout


def test_broken_plugins_are_listed_with_every_wrong_field(folders: Folders) -> None:
    folder = folders.add("attack", "torn", {"year": "then"}, without=("notes",))
    result = bench("list", "attacks")
    assert result.exit_code == 1
    assert "\nguess " in result.stdout
    card = folder / "card.toml"
    assert all(f"\n{card}: {field}: " in result.stdout for field in ("year", "notes"))


def test_an_attack_is_shown_in_full(folders: Folders) -> None:
    changes = {
        "max_batch_size": 1,
        "max_batch_reason": "one label",
        "needs_auxiliary": True,
        "claims": [{"text": "30 dB", "source": "Table 2"}],
        "floor": {"model": "lenet", "checkpoint": "initial", "psnr": 25.0},
    }
    folder = folders.add("attack", "guess", changes)
    facts = shown("guess")
    assert (facts["title"], facts["folder"]) == ("A title", str(folder))
    assert all(adversary in facts["adversaries"] for adversary in Adversary)
    assert facts["private labels"] == "no" and "BatchNorm" in facts and "auxiliary images" in facts
    assert facts["batch size"].split()[-3:] == ["1", "(one", "label)"]
    assert {"25", "lenet@initial"} <= {*facts["floor"].split()}
    assert facts["steps"].split() == ["10", "-", "1..1000", "Iterations."]
    assert "30 dB (Table 2)" in facts


def test_a_defense_is_shown_in_full(folders: Folders) -> None:
    folders.add("defense", "blur", {"adaptive_view": False, "random": True})
    facts = shown("blur")
    assert (facts["strength"], facts["networks"]) == ("scale", "any")
    assert facts["random"].startswith("yes") and facts["adaptive attacks"].startswith("n/a")
    assert facts["scale"].split()[:3] == ["0.5", "1.0", "0.."]
    assert facts["shape"].split()[:5] == ["flat", "-", "flat", "|", "peaked"]


def test_a_data_set_and_a_model_are_shown(folders: Folders) -> None:
    assert shown("dots")["licence"] == "CC0"
    assert "model lenet" in shown("lenet")


def test_a_name_of_two_things_shows_both(folders: Folders) -> None:
    folders.add("defense", "guess")
    result = bench("show", "guess")
    assert "attack guess\n" in result.stdout
    assert "\n\ndefense guess\n" in result.stdout


@pytest.mark.parametrize("name", ["mine", "mine@1"])
def test_a_matrix_is_shown_with_its_cells(shipped: Path, folders: Folders, name: str) -> None:
    folders.add("attack", "single", {"max_batch_size": 1, "max_batch_reason": "one label"})
    attacks = ["guess", {"name": "single", "steps": [5, 6]}]
    block = {**BLOCK, "attacks": attacks, "batch_sizes": [1, 2], "epochs": 3}
    (shipped / "mine@1.toml").write_text(toml_file({**MATRIX, "block": [block]}), encoding="utf-8")
    facts = shown(name)
    assert "matrix mine@1" in facts and any("one label" in line for line in facts)
    assert re.findall(r"\d+", facts["cells"]) == ["12", "8", "4"]
    assert (facts["attacks"], facts["epochs"]) == ("guess, single[steps=5|6]", "3")
    assert facts["releases"].split()[0] == "4"


def test_a_matrix_file_is_shown(folders: Folders) -> None:
    assert re.findall(r"\d+", shown(folders.matrix())["cells"]) == ["2", "2", "0"]


def test_what_is_not_there_or_broken_is_2(folders: Folders) -> None:
    result = bench("show", "guesss")
    assert result.exit_code == 2
    assert "'guess'" in result.stderr
    folders.add("attack", "guess", card="kind = ")
    result = bench("show", "guess")
    assert result.exit_code == 2
    assert "card.toml" in result.stderr


def test_cards_cannot_reach_the_terminal(folders: Folders, shipped: Path) -> None:
    parameters = {EVIL: {"default": EVIL, "description": EVIL}}
    claims = [{"text": EVIL, "source": EVIL}]
    texts = dict.fromkeys(["title", "paper", "authors", "url", "notes"], EVIL)
    folders.add("attack", "guess", {**texts, "parameters": parameters, "claims": claims})
    folders.add("attack", "torn", {EVIL: 1})
    (shipped / "mine@1.toml").write_text(toml_file({**MATRIX, "description": EVIL}), encoding="utf-8")
    asked = [("show", "guess"), ("list", "attacks"), ("show", "mine"), ("list", "matrices"), ("show", EVIL)]
    for arguments in asked:
        output = bench(*arguments).output
        assert not set(output) & set("\x1b\x07\x9b\u202e\r")
        assert "[31mred" in output


def test_text_loses_its_control_characters_only() -> None:
    assert clean(EVIL) == TAMED
    assert clean_lines("a\n\n b\x00 \nc") == "a\nb\nc"
    assert clean(sound := "Čertík 数 – µ") == sound


@given(st.text())
def test_no_text_reaches_the_terminal_untamed(text: str) -> None:
    assert clean(text).isprintable() or not clean(text)
    assert "\n" not in clean(text)


def test_columns_align_wide_and_combining_characters() -> None:
    assert columns([("数字", "x"), ("e\u0301", "y"), ("abcd", "")]) == "数字  x\ne\u0301     y\nabcd"
