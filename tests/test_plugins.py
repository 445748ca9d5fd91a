from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.api.cards import Kind
from bench.api.errors import BenchError, PluginError, UsageError
from bench.plugins import (
    FOLDERS,
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
from tests.api.plugin_folders import CODE, Folders, plugin_folders
from tests.victims.test_victims_folder import photographs


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folders]:
    yield from plugin_folders(tmp_path / "plugins", monkeypatch)


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


def test_reading_cards_imports_no_torch() -> None:
    code = "import sys, bench.plugins as p; [p.discover(k) for k in p.FOLDERS]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_unknown_name_suggests_the_nearest(folders: Folders) -> None:
    folders.add("attack", "guess")
    with pytest.raises(UsageError, match="unknown attack 'gues'; did you mean 'guess'\\?"):
        find("attack", "gues")


def test_an_unknown_name_without_a_neighbour_lists_what_there_is(folders: Folders) -> None:
    folders.add("attack", "guess")
    with pytest.raises(UsageError, match="here: unknown attack 'zzz'; known: guess"):
        find("attack", "zzz", where="here")
    with pytest.raises(UsageError, match="unknown defense 'zzz'; known: none"):
        find("defense", "zzz")


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
    assert "attack.py: file is missing; the folder of every attack holds" in found.broken["no_code"]
    assert found.broken["no_card"].endswith("card.toml: file is missing")


def test_a_folder_that_python_cannot_import_is_broken(folders: Folders) -> None:
    folders.add("attack", "my.attack")
    with pytest.raises(PluginError, match="must be a Python identifier, like my_attack"):
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
    with pytest.raises(PluginError, match=r"hidden by .*second"):
        build_attack("guess", {})


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "raises at import: ZeroDivisionError: division by zero"),
        ("import nowhere_to_be_found", "raises at import: ModuleNotFoundError"),
        ("def (", "raises at import: SyntaxError"),
        ("import sys; sys.exit(3)", "raises at import: SystemExit: 3"),
        ("x = 1", "must define exactly one Attack subclass, found none"),
        ("from bench.api import Attack", "must define exactly one Attack subclass, found none"),
        (
            CODE["attack"] + "class Another(Mine): pass",
            "must define exactly one Attack subclass, found 2: Another, Mine",
        ),
        (CODE["attack"].replace("steps=10", "rounds=10"), "Mine does not take its card's parameters"),
        (CODE["attack"].replace("reconstruct", "rebuild"), "Mine does not take its card's parameters"),
        (CODE["attack"].replace("self.steps = steps", "1 / 0"), r"Mine\(steps=10\) raises ZeroDivisionError"),
    ],
)
def test_broken_code_is_one_clear_error_that_names_the_file(
    folders: Folders, code: str, message: str
) -> None:
    folder = folders.add("attack", "guess", code=code)
    with pytest.raises(PluginError, match=message) as error:
        build_attack("guess", {})
    assert str(error.value).startswith(str(folder / "attack.py"))


def test_two_names_of_one_class_are_one_class(folders: Folders) -> None:
    folders.add("attack", "guess", code=CODE["attack"] + "Alias = Mine")
    assert vars(build_attack("guess", {})) == {"steps": 10}


def test_a_constructor_may_refuse_in_its_own_words(folders: Folders) -> None:
    refusal = 'from bench.api import BenchError; raise BenchError("not today")'
    folders.add("attack", "guess", code=CODE["attack"].replace("self.steps = steps", refusal))
    with pytest.raises(BenchError, match=r"^not today$"):
        build_attack("guess", {})


def test_parameters_are_the_cards_defaults_overridden(folders: Folders) -> None:
    folders.add("defense", "blur")
    assert resolve("defense", "blur", {}) == {"scale": 0.5, "shape": "flat"}
    resolved = resolve("defense", "blur", {"scale": 2, "shape": "peaked"})
    assert resolved == {"scale": 2.0, "shape": "peaked"}
    assert type(resolved["scale"]) is float
    assert str(resolve("defense", "blur", {"scale": -0.0})["scale"]) == "0.0"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"scal": 1.0}, "unknown parameter of defense blur 'scal'; did you mean 'scale'?"),
        ({"scale": -1.0}, "defense blur: scale: -1.0 is below the minimum 0"),
        ({"scale": "big"}, "defense blur: scale: expected float, got 'big'"),
        ({"scale": True}, "defense blur: scale: expected float, got True"),
        ({"scale": float("nan")}, "defense blur: scale: expected a finite number, got nan"),
        ({"scale": 10**400}, "defense blur: scale: the number is too large"),
        ({"shape": "peeked"}, "defense blur: shape: 'peeked' is not one of 'flat', 'peaked'"),
    ],
)
def test_a_wrong_parameter_is_explained(
    folders: Folders, parameters: dict[str, float | str], message: str
) -> None:
    folders.add("defense", "blur")
    with pytest.raises(UsageError) as error:
        resolve("defense", "blur", parameters, where="file.toml")
    assert str(error.value) == f"file.toml: {message}"


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in FOLDERS for name in discover(kind).plugins]
)
def test_the_project_s_own_plugins_can_be_built(kind: Kind, name: str, tmp_path: Path) -> None:
    build = {"attack": build_attack, "defense": build_defense, "dataset": build_dataset}[kind]
    paths = [key for key, item in find(kind, name).card.parameters.items() if item.path]
    parameters = {key: str(photographs(tmp_path / "photos", 6)) for key in paths}
    assert type(build(name, parameters)).__module__ == f"bench.{FOLDERS[kind]}.{name}.{kind}"


@pytest.mark.parametrize("kind", FOLDERS)
def test_none_of_the_project_s_own_plugins_is_broken(kind: Kind) -> None:
    assert discover(kind).broken == {}
