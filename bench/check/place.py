"""From what the user typed, a name or a path, to one plug-in that discovery can see."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.api.cards import Kind, Value
from bench.api.errors import UsageError, unknown
from bench.matrix import parse_variant
from bench.models.names import MODELS
from bench.plugins import FOLDERS, discover, preset
from bench.search_path import ENVIRONMENT_VARIABLE, search_path


@dataclass(frozen=True)
class Subject:
    """The plug-in under test.

    Attributes:
        kind: attack, defense or dataset.
        name: its folder's name.
        folder: where it lies.
        parameters: values that replace the card's defaults.
    """

    kind: Kind
    name: str
    folder: Path
    parameters: dict[str, Value] = field(default_factory=dict)


def subjects(text: str) -> list[Subject]:
    """All plug-ins of a name, broken ones included.

    Raises:
        UsageError: there is none.
    """
    spec, given = parse_variant(text)
    name, found = spec.partition("@")[0], []
    for kind, plural in FOLDERS.items():
        known = discover(kind)
        if name in known.plugins:
            parameters = {**preset(kind, spec)[1], **given}
            found.append(Subject(kind, name, known.plugins[name].folder, parameters))
        elif name in known.broken:
            roots = (Path(root) / name for root in search_path(plural))
            folder = next((path for path in roots if path.is_dir()), Path(plural) / name)
            found.append(Subject(kind, name, folder, given))
    if not found:
        names = {n for kind in FOLDERS for n in (*discover(kind).plugins, *discover(kind).broken)}
        raise unknown("attack, defense, dataset or model", name, {*names, *MODELS})
    return found


@contextmanager
def at(path: Path) -> Iterator[Subject]:
    """Makes the plug-in in a folder visible to discovery, and to all processes started meanwhile.

    The folder may lie anywhere: it is linked into a temporary place at the head of the plug-in path.

    Raises:
        UsageError: the folder holds no plug-in.
    """
    folder = path.resolve()
    kind = _kind(folder, path)
    before = os.environ.get(ENVIRONMENT_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="bench-check-") as temporary:
        place = Path(temporary) / FOLDERS[kind]
        place.mkdir()
        (place / folder.name).symlink_to(folder, target_is_directory=True)
        os.environ[ENVIRONMENT_VARIABLE] = os.pathsep.join(filter(None, [temporary, before]))
        look_again()
        try:
            yield Subject(kind, folder.name, folder)
        finally:
            if before is None:
                del os.environ[ENVIRONMENT_VARIABLE]
            else:
                os.environ[ENVIRONMENT_VARIABLE] = before
            look_again()


def _kind(folder: Path, path: Path) -> Kind:
    if not folder.is_dir():
        raise UsageError(f"{path}: there is no such folder")
    kinds = [kind for kind in FOLDERS if (folder / f"{kind}.py").is_file()]
    if len(kinds) != 1:
        seen = " and ".join(f"{kind}.py" for kind in kinds) or "none of them"
        raise UsageError(
            f"{path}: a plug-in's folder holds card.toml and one of attack.py, defense.py, dataset.py; "
            f"found {seen}"
        )
    if not folder.name.isidentifier():
        raise UsageError(f"{path}: the folder's name must be a Python identifier, like my_{kinds[0]}")
    return kinds[0]


def look_again() -> None:
    """Forgets what was discovered and imported of plug-ins, after the plug-in path has changed."""
    discover.cache_clear()
    importlib.invalidate_caches()
    for plural in FOLDERS.values():
        package = importlib.import_module(f"bench.{plural}")
        package.__path__ = search_path(plural)
        _forget(f"bench.{plural}.")


def real_names(text: str, subject: Subject) -> str:
    """A message that names the plug-in's files where they lie, not where :func:`at` shows them."""
    for root in search_path(FOLDERS[subject.kind]):
        link = Path(root, subject.name)
        if link.is_symlink() and link.resolve() == subject.folder:
            text = text.replace(f"{link}{os.sep}", f"{subject.folder}{os.sep}")
    return text


def import_anew(subject: Subject) -> None:
    """Has the plug-in's code executed again when it is used next, whatever it keeps at module level."""
    package = f"bench.{FOLDERS[subject.kind]}.{subject.name}"
    sys.modules.pop(package, None)
    _forget(f"{package}.")


def _forget(prefix: str) -> None:
    for name in [name for name in sys.modules if name.startswith(prefix)]:
        del sys.modules[name]
