from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from bench.api.cards import Kind
from bench.api.errors import BenchError, PluginError, UsageError
from bench.plugins import (
    attack_card,
    build_attack,
    build_dataset,
    build_defense,
    dataset_card,
    defense_card,
    discover,
    find,
    resolve,
)
from tests.api.plugin_folders import CODE, Folders


@pytest.fixture
def folders(bare: Folders) -> Folders:
    return bare


def test_a_sound_plugin_of_each_kind_is_found_and_built(folders: Folders) -> None:
    folder = folders.add("attack", "guess")
    folders.add("defense", "blur")
    folders.add("dataset", "dots")
    assert find("attack", "guess").folder == folder
    assert attack_card("guess").title == defense_card("blur").title == dataset_card("dots").title
    attack = build_attack("guess", {"steps": 3})
    assert vars(attack) == {"steps": 3}
    assert vars(build_attack("guess", {})) == {"steps": 10}
    assert vars(build_defense("blur", {"scale": 2})) == {"scale": 2.0, "shape": "flat"}
    assert len(build_dataset("dots", {}).splits(seed=0).auxiliary) == 3
    assert type(pickle.loads(pickle.dumps(attack))) is type(attack)


def test_cards_are_read_without_running_the_plugins_code(folders: Folders) -> None:
    folders.add("attack", "guess", code="raise SystemExit(1)")
    assert set(discover("attack").plugins) == {"guess"}


@pytest.mark.parametrize(
    ("kind", "name", "facts"),
    [("attack", "gues", "'gues'.*'guess'"), ("attack", "zzz", "'zzz'.*guess"), ("defense", "zzz", "'zzz'")],
)
def test_an_unknown_name_is_answered_with_what_there_is(
    folders: Folders, kind: Kind, name: str, facts: str
) -> None:
    folders.add("attack", "guess")
    with pytest.raises(UsageError, match=f"^here: .*{kind} {facts}"):
        find(kind, name, where="here")


def test_a_broken_card_does_not_hide_the_others(folders: Folders) -> None:
    folders.add("attack", "guess")
    broken = folders.add("attack", "torn", card="kind = ")
    found = discover("attack")
    assert set(found.plugins) == {"guess"}
    assert str(broken / "card.toml") in found.broken["torn"]
    with pytest.raises(PluginError, match=r"torn.card\.toml"):
        find("attack", "torn")


def test_a_folder_without_its_code_or_its_card_is_broken(folders: Folders) -> None:
    (folders.add("attack", "no_code") / "attack.py").unlink()
    (folders.add("attack", "no_card") / "card.toml").unlink()
    (folders.root / "attacks" / "neither").mkdir()
    found = discover("attack")
    assert not found.plugins
    assert set(found.broken) == {"no_code", "no_card"}
    assert "attack.py" in found.broken["no_code"] and "card.toml" in found.broken["no_card"]


def test_a_folder_that_python_cannot_import_is_broken(folders: Folders) -> None:
    folders.add("attack", "my.attack")
    with pytest.raises(PluginError, match="my_attack"):
        find("attack", "my.attack")


def test_the_first_folder_on_the_path_wins(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Folders(tmp_path / "second")
    second.add("attack", "guess", {"title": "Second"})
    second.add("attack", "other")
    folders.add("attack", "guess", {"title": "First"})
    monkeypatch.setenv("BENCH_PLUGIN_PATH", f"{folders.root}:{second.root}")
    assert {name: plugin.card.title for name, plugin in discover("attack").plugins.items()} == {
        "guess": "First",
        "other": "A title",
    }


def test_the_working_folder_comes_last_and_only_with_a_card(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Folders(tmp_path / "here")
    here.add("attack", "guess", {"title": "Here"})
    here.add("attack", "other")
    (here.add("attack", "anybodys") / "card.toml").unlink()
    folders.add("attack", "guess", {"title": "First"})
    monkeypatch.setattr("bench.search_path.working_folder", lambda kind: here.root / kind)
    monkeypatch.setattr("bench.plugins.working_folder", lambda kind: here.root / kind)
    discover.cache_clear()
    found = discover("attack")
    assert {name: plugin.card.title for name, plugin in found.plugins.items()} == {
        "guess": "First",
        "other": "A title",
    }
    assert not found.broken


def test_code_never_comes_from_another_folder_than_the_card(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python prefers a folder with __init__.py, whatever the order of the path.
    second = Folders(tmp_path / "second")
    (second.add("attack", "guess") / "__init__.py").touch()
    folders.add("attack", "guess")
    import bench.attacks

    monkeypatch.setattr(bench.attacks, "__path__", [str(f.root / "attacks") for f in (folders, second)])
    with pytest.raises(PluginError, match="second"):
        build_attack("guess", {})


@pytest.mark.parametrize(
    ("code", "facts"),
    [
        ("1 / 0", "import.*ZeroDivisionError"),
        ("import nowhere_to_be_found", "import.*ModuleNotFoundError"),
        ("def (", "import.*SyntaxError"),
        ("import sys; sys.exit(3)", "import.*SystemExit.*3"),
        ("x = 1", "one Attack .*none"),
        ("from bench.api import Attack", "one Attack .*none"),
        (CODE["attack"] + "class Another(Mine): pass", "one Attack .*2.*Another, Mine"),
        (CODE["attack"].replace("steps=10", "rounds=10"), "Mine.*parameters"),
        (CODE["attack"].replace("reconstruct", "rebuild"), "Mine.*parameters"),
        (CODE["attack"].replace("self.steps = steps", "1 / 0"), r"Mine\(steps=10\).*ZeroDivisionError"),
    ],
)
def test_broken_code_is_one_clear_error_that_names_the_file(folders: Folders, code: str, facts: str) -> None:
    folder = folders.add("attack", "guess", code=code)
    with pytest.raises(PluginError, match=f"^{re.escape(str(folder / 'attack.py'))}.*{facts}"):
        build_attack("guess", {})


def test_two_names_of_one_class_are_one_class(folders: Folders) -> None:
    folders.add("attack", "guess", code=CODE["attack"] + "Alias = Mine")
    assert vars(build_attack("guess", {})) == {"steps": 10}


def test_a_constructor_may_refuse_in_its_own_words(folders: Folders) -> None:
    refusal = 'from bench.api import BenchError; raise BenchError("refused")'
    folders.add("attack", "guess", code=CODE["attack"].replace("self.steps = steps", refusal))
    with pytest.raises(BenchError, match=r"^refused$"):
        build_attack("guess", {})


def test_parameters_are_the_cards_defaults_overridden(folders: Folders) -> None:
    folders.add("defense", "blur")
    assert resolve("defense", "blur", {}) == {"scale": 0.5, "shape": "flat"}
    resolved = resolve("defense", "blur", {"scale": 2, "shape": "peaked"})
    assert resolved == {"scale": 2.0, "shape": "peaked"}
    assert type(resolved["scale"]) is float
    assert str(resolve("defense", "blur", {"scale": -0.0})["scale"]) == "0.0"


@pytest.mark.parametrize(
    ("parameters", "facts"),
    [
        ({"scal": 1.0}, "'scal'.*'scale'"),
        ({"scale": -1.0}, r"scale: .*-1\.0.*0"),
        ({"scale": "big"}, "scale: .*float.*'big'"),
        ({"scale": True}, "scale: .*float.*True"),
        ({"scale": float("nan")}, "scale: .*nan"),
        ({"scale": 10**400}, "scale: "),
        ({"shape": "peeked"}, "shape: .*'peeked'.*'flat', 'peaked'"),
    ],
)
def test_a_wrong_parameter_is_explained(
    folders: Folders, parameters: dict[str, float | str], facts: str
) -> None:
    folders.add("defense", "blur")
    with pytest.raises(UsageError, match=rf"^file\.toml: .*defense blur.*{facts}"):
        resolve("defense", "blur", parameters, where="file.toml")
