"""Discovery of plug-in folders, and their classes.

Cards are read without importing anybody's code; a plug-in's module is imported only when it is used.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench.api.cards import AttackCard, Card, DatasetCard, DefenseCard, Kind, Value, read_card
from bench.api.data import find_data, searched
from bench.api.errors import BenchError, PluginError, UsageError, unknown
from bench.search_path import entry_folders, search_path, working_folder

if TYPE_CHECKING:
    from bench.api.attack import BaseAttack
    from bench.api.dataset import Dataset
    from bench.api.defense import Defense

PUBLISHED = "published"
"""The preset of an attack that its card implies, ``dlg@published``: the paper's parameters."""
DIGEST = "digest"
"""The parameter of a data set that names the beginning of the digest of its rows."""
FOLDERS: dict[Kind, str] = {"attack": "attacks", "defense": "defenses", "dataset": "datasets"}


@dataclass(frozen=True)
class Plugin:
    """One plug-in folder and its card."""

    kind: Kind
    name: str
    folder: Path
    card: Card


@dataclass(frozen=True)
class Discovery:
    """All plug-ins of one kind: the sound ones, and what is wrong with the others."""

    plugins: dict[str, Plugin]
    broken: dict[str, str]


@cache
def discover(kind: Kind) -> Discovery:
    """Finds every folder with a card or with code on the search path; the first of a name wins.

    A broken plug-in does not hide the others: it is listed in ``broken`` with its message. In the working
    folder only what has a card counts: ``datasets/`` there may be anybody's.
    """
    plugins: dict[str, Plugin] = {}
    broken: dict[str, str] = dict(entry_folders(FOLDERS[kind])[1])
    anybodys = working_folder(FOLDERS[kind])
    for root in map(Path, search_path(FOLDERS[kind])):
        forms = ("card.toml",) if root == anybodys else ("card.toml", f"{kind}.py")
        folders = {path.parent for form in forms for path in root.glob(f"*/{form}")}
        for folder in sorted(folders):
            if folder.name in plugins or folder.name in broken:
                continue
            try:
                plugins[folder.name] = _read(kind, folder)
            except PluginError as error:
                broken[folder.name] = str(error)
    return Discovery(plugins, broken)


def _read(kind: Kind, folder: Path) -> Plugin:
    if not folder.name.isidentifier():
        raise PluginError(f"{folder}: the folder's name must be a Python identifier, like my_{kind}")
    card = read_card(folder / "card.toml", kind)
    if not (path := folder / f"{kind}.py").is_file():
        raise PluginError(
            f"{path}: file is missing; the folder of every {kind} holds {kind}.py and card.toml"
        )
    return Plugin(kind, folder.name, folder, card)


def find(kind: Kind, name: str, *, where: str = "") -> Plugin:
    """The plug-in of that name.

    Args:
        kind: which kind of plug-in.
        name: its folder's name.
        where: file and field that name it, for the message.

    Raises:
        PluginError: it is broken (the message lists every wrong field of its card).
        UsageError: there is none; the message names the nearest.
    """
    found = discover(kind)
    if name in found.broken:
        raise PluginError(found.broken[name])
    if name not in found.plugins:
        raise unknown(kind, name, {*found.plugins, *found.broken}, where=where)
    return found.plugins[name]


def attack_card(name: str) -> AttackCard:
    """The card of an attack."""
    return cast("AttackCard", find("attack", name).card)


def defense_card(name: str) -> DefenseCard:
    """The card of a defense."""
    return cast("DefenseCard", find("defense", name).card)


def dataset_card(name: str) -> DatasetCard:
    """The card of a data set."""
    return cast("DatasetCard", find("dataset", name).card)


def preset(kind: Kind, spec: str, *, where: str = "") -> tuple[str, dict[str, Value]]:
    """The plug-in that ``name`` or ``name@preset`` names, and the parameters that the preset sets.

    Raises:
        UsageError: there is no such plug-in or preset.
    """
    name, at, wanted = spec.partition("@")
    card = find(kind, name, where=where).card
    known = {PUBLISHED: card.published} if isinstance(card, AttackCard) and card.published else {}
    if at and wanted not in known:
        raise unknown(f"preset of {kind} {name}", wanted, known, where=where)
    return name, known[wanted] if at else {}


def resolve(kind: Kind, name: str, parameters: Mapping[str, Value], *, where: str = "") -> dict[str, Value]:
    """All parameters of a plug-in: its card's defaults, overridden by ``parameters``.

    Raises:
        UsageError: a parameter that the card does not declare, or a value that it does not allow.
    """
    card = find(kind, name, where=where).card
    resolved: dict[str, Value] = {key: p.default for key, p in card.parameters.items()}
    for key, value in parameters.items():
        if key not in card.parameters:
            raise unknown(f"parameter of {kind} {name}", key, card.parameters, where=where)
        if isinstance(value, bool) and isinstance(card.parameters[key].default, str):
            value = str(value).lower()  # the word true, where a word is asked for
        if problem := card.parameters[key].problem(value):
            prefix = f"{where}: " if where else ""
            raise UsageError(f"{prefix}{kind} {name}: {key}: {problem}")
        # "+ 0.0" turns -0.0 into 0.0: equal values must be the same cell.
        resolved[key] = float(value) + 0.0 if isinstance(card.parameters[key].default, float) else value
    named = names_digest(card, resolved)
    for key, parameter in card.parameters.items():
        pinned = isinstance(card, DatasetCard) and bool(card.sha256)
        if not parameter.path or (pinned and resolved[key] == parameter.default):
            continue  # pinned bytes may lie where the data set looks by itself
        if named and resolved[key]:
            continue  # whoever names a digest says which file is meant, not that it is on this machine
        if not (resolved[key] and find_data(str(resolved[key])).exists()):
            prefix = f"{where}: " if where else ""
            what = f"there is no {resolved[key]}" if resolved[key] else f"write {name}[{key}=...]"
            raise UsageError(f"{prefix}{kind} {name}: {key}: {what} ({searched()})")
    return resolved


def names_digest(card: Card, parameters: Mapping[str, Value]) -> bool:
    """Whether files of the user's are named together with what they must hold: they may be absent."""
    return isinstance(card, DatasetCard) and not card.sha256 and bool(parameters.get(DIGEST))


def _load(kind: Kind, name: str, base: type[Any]) -> type[Any]:
    path = find(kind, name).folder / f"{kind}.py"
    try:
        module = importlib.import_module(f"bench.{FOLDERS[kind]}.{name}.{kind}")
    except (Exception, SystemExit) as error:
        raise PluginError(f"{path}: raises at import: {type(error).__name__}: {error}") from error
    if not (module.__file__ and path.samefile(module.__file__)):
        raise PluginError(f"{path}: hidden by {module.__file__}; remove one, or its folder's __init__.py")
    classes = {
        item
        for _, item in inspect.getmembers(module, inspect.isclass)
        if issubclass(item, base) and item.__module__ == module.__name__
    }
    if len(classes) != 1:
        names = f"{len(classes)}: {', '.join(sorted(c.__name__ for c in classes))}" if classes else "none"
        raise PluginError(f"{path}: must define exactly one {kind.capitalize()} subclass, found {names}")
    return cast("type[Any]", classes.pop())


def _build(kind: Kind, name: str, parameters: Mapping[str, Value], base: type[Any]) -> Any:
    resolved = resolve(kind, name, parameters)
    cls = _load(kind, name, base)
    where = find(kind, name).folder / f"{kind}.py"
    try:
        return cls(**resolved)
    except TypeError as error:
        raise PluginError(f"{where}: {cls.__name__} does not take its card's parameters: {error}") from error
    except BenchError:
        raise
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in resolved.items())
        raise PluginError(
            f"{where}: {cls.__name__}({given}) raises {type(error).__name__}: {error}"
        ) from error


def build_attack(name: str, parameters: Mapping[str, Value]) -> BaseAttack[Any]:
    """An attack with its card's parameters, some overridden."""
    from bench.api.attack import BaseAttack

    return cast("BaseAttack[Any]", _build("attack", name, parameters, BaseAttack))


def build_defense(name: str, parameters: Mapping[str, Value]) -> Defense:
    """A defense with its card's parameters, some overridden."""
    from bench.api.defense import Defense

    return cast("Defense", _build("defense", name, parameters, Defense))


def build_dataset(name: str, parameters: Mapping[str, Value]) -> Dataset:
    """A data set with its card's parameters, some overridden."""
    from bench.api.dataset import Dataset

    return cast("Dataset", _build("dataset", name, parameters, Dataset))
