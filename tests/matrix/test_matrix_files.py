from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench.api.errors import UsageError
from bench.matrix import expand, files, load_matrix, matrices
from bench.plugins import discover
from tests.api.plugin_folders import BLOCK, MATRIX, Folders, toml_file


def test_a_matrix_is_read_from_a_file(folders: Folders) -> None:
    path = folders.matrix()
    matrix = load_matrix(str(path))
    assert (matrix.name, matrix.version, matrix.seeds) == ("mine", 1, [0, 1])
    assert matrix.block[0].attacks[0].name == "guess"
    assert matrix.where == str(path)


def test_a_name_is_its_newest_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FOLDER", tmp_path)
    for version in (1, 2, 10):
        (tmp_path / f"mine@{version}.toml").write_text(toml_file({**MATRIX, "version": version}))
    assert load_matrix("mine").version == 10
    assert load_matrix("mine@2").version == 2
    assert set(matrices()) == {"mine@1", "mine@2", "mine@10"}


@pytest.mark.parametrize("name", ["mein", "mine@3", ""])
def test_an_unknown_matrix_suggests_what_there_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "FOLDER", tmp_path)
    (tmp_path / "mine@1.toml").write_text(toml_file(MATRIX))
    with pytest.raises(UsageError, match=f"'{name}'.*mine"):
        load_matrix(name)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gone.toml"
    with pytest.raises(UsageError, match=re.escape(str(path))):
        load_matrix(str(path))


def test_all_wrong_fields_are_listed_at_once_with_file_and_field(folders: Folders) -> None:
    block = {**BLOCK, "batch_sizes": [0, "many"], "epochs": float("nan"), "attacks": [], "bugdet": 3}
    path = folders.matrix({"name": "Not a name", "seeds": [-1, 2**32], "block": [BLOCK, block]})
    with pytest.raises(UsageError) as error:
        load_matrix(str(path))
    lines = str(error.value).splitlines()
    assert sorted(line.split(": ")[1] for line in lines) == [
        "block.1.attacks",
        "block.1.batch_sizes.0",
        "block.1.batch_sizes.1",
        "block.1.bugdet",
        "block.1.epochs",
        "name",
        "seeds.0",
        "seeds.1",
    ]
    assert all(line.startswith(f"{path}: ") for line in lines)


@pytest.mark.parametrize(
    "wrong",
    [{"seeds": [True]}, {"seeds": ["0"]}, {"version": "1"}]
    + [{"block": [{**BLOCK, "releases": value}]} for value in (True, "2", 2.0)]
    + [{"block": [{**BLOCK, "epochs": value}]} for value in (True, "1")],
)
def test_a_value_of_another_type_is_no_number(folders: Folders, wrong: Mapping[str, object]) -> None:
    with pytest.raises(UsageError, match=r"mine\.toml: (block\.0\.)?(seeds|version|releases|epochs)"):
        load_matrix(str(folders.matrix(wrong)))


def test_a_misspelt_field_is_answered_with_what_was_meant(folders: Folders) -> None:
    path = folders.matrix({"sedes": [1], "block": [{**BLOCK, "relaeses": 3, "colour": 1}]})
    with pytest.raises(UsageError) as error:
        load_matrix(str(path))
    meant = {
        line.split(": ")[1]: line.partition("did you mean ")[2] for line in str(error.value).splitlines()
    }
    assert meant == {"sedes": "'seeds'?", "block.0.relaeses": "'releases'?", "block.0.colour": ""}


def test_all_names_and_values_that_do_not_exist_are_listed_at_once(folders: Folders) -> None:
    block = {
        **BLOCK,
        "models": ["lenet", "lanet"],
        "attacks": ["guess", {"name": "guess", "stpes": 3}, {"name": "guess", "steps": [5, 5000]}],
        "defenses": ["blurr", {"name": "blur", "scale": []}, {"name": "blur", "shape": {"a": 1}}],
    }
    path = folders.matrix({"block": [block]})
    with pytest.raises(UsageError) as error:
        expand(load_matrix(str(path)))
    facts = [
        "models.1: .*lanet.*lenet",
        "attacks.1: .*stpes.*steps",
        "attacks.2: .*steps.*5000.*1000",
        "defenses.0: .*blurr.*blur",
        "defenses.1: .*scale",
        "defenses.2: .*shape.*'a': 1",
    ]
    for line, fact in zip(str(error.value).splitlines(), facts, strict=True):
        assert re.match(f"{re.escape(str(path))}: block.0.{fact}", line), line


def test_a_broken_plugin_that_a_matrix_uses_is_explained_by_its_own_file(folders: Folders) -> None:
    folder = folders.add("attack", "guess", card="kind = ")
    with pytest.raises(UsageError) as error:
        expand(load_matrix(str(folders.matrix())))
    assert str(folder / "card.toml") in str(error.value)


@pytest.mark.parametrize("name", sorted(matrices()))
def test_every_matrix_that_ships_is_sound(name: str) -> None:
    matrix = load_matrix(name)
    assert f"{matrix.name}@{matrix.version}" == name
    cells = expand(matrix)
    assert len({cell.id for cell in cells}) == len(cells)
    assert any(not cell.incompatible for cell in cells)


def test_smoke_has_every_attack_and_every_defense() -> None:
    cells = [cell for cell in expand(load_matrix("smoke")) if not cell.incompatible]
    assert {cell.attack.name for cell in cells} == set(discover("attack").plugins)
    assert {cell.defense.name for cell in cells} == set(discover("defense").plugins)
