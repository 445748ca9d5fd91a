"""Which code a result depends on: what a stage or plug-in runs of ours, without comments and docstrings.

Imports are read, not executed. Of the file in which a stage begins only the definitions count that it can
reach, and what these import; every file that is reached counts as a whole, with all that it imports where it
runs. Only the packages that compute are followed: how cells are written down or displayed changes no result.
A name that a package re-exports leads to the module that it is from, so that a new part of the engine leaves
the attacks that do not use it as they are; where a name may come from anywhere in a package, the whole
package counts.
"""

from __future__ import annotations

import ast
import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from bench.api.data import files_below, is_hidden
from bench.api.errors import UsageError
from bench.cache.code import Entry, code_of, imports_of, parsed
from bench.search_path import channel_folders, search_path

PACKAGE = Path(__file__).resolve().parent.parent
_COMPUTING = frozenset(
    {"api", "cells", "channels", "engine", "metrics", "models", "victims", "seeds", "rounding"}
)
_PLUGINS = frozenset({"attacks", "defenses", "datasets"})
_SILENT = frozenset(
    {PACKAGE / "api" / "cards.py", PACKAGE / "api" / "errors.py", PACKAGE / "models" / "names.py"}
)
"""What is read or said, never computed with."""


def plugin_files(folder: Path) -> list[Path]:
    """The code of a plug-in; links are followed."""
    return [path for path in _files(folder) if path.suffix == ".py"]


@cache
def digest(roots: tuple[Entry | Path, ...]) -> str:
    """One checksum of some code and of all that it runs of this project.

    Names enter relative to the package or the plug-in, so that the same code has the same digest anywhere.

    Args:
        roots: files, or definitions in files.
    """
    found: dict[str, bytes] = {}
    waiting: list[Path] = []
    homes = [(kind, Path(place)) for kind in sorted(_PLUGINS) for place in search_path(kind)]
    for root in roots:
        if isinstance(root, Entry):
            found[f"{_name(root.path, homes)}:{root.name}"] = root.code.encode()
            waiting += _targets(root.imports)
        else:
            waiting.append(root)
    for path in _closure(waiting):
        found[_name(path, homes)] = code_of(path).encode() if path.suffix == ".py" else path.read_bytes()
    total = hashlib.sha256()
    for name, data in sorted(found.items()):
        total.update(f"{name}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()


@cache
def content_digest(path: Path) -> str:
    """One checksum of the user's own file, or of all files below a folder and their names in it.

    Raises:
        UsageError: a file or folder cannot be read.
    """
    total = hashlib.sha256()
    try:
        for item in sorted(_files(path)) if path.is_dir() else [path]:
            with item.open("rb") as stream:
                own = hashlib.file_digest(stream, "sha256").hexdigest()
            name = os.fsencode(item.relative_to(path).as_posix()) if item != path else b""
            total.update(name + f"\0{own}\n".encode())
    except OSError as error:
        raise UsageError(f"{error.filename or path} cannot be read: {error.strerror}") from None
    return total.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder but hidden ones, which no data set reads; links are followed."""
    for path in files_below(folder):
        if path.is_file() and not any(map(is_hidden, path.relative_to(folder).parts)):
            yield path


def _name(path: Path, homes: Iterable[tuple[str, Path]]) -> str:
    for kind, root in homes:
        if path.is_relative_to(root):
            return f"{kind}/{path.relative_to(root).as_posix()}"
    return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name


def _closure(roots: Iterable[Path]) -> set[Path]:
    waiting, found = list(roots), set[Path]()
    while waiting:
        path = waiting.pop()
        if path in found or path in _SILENT or not path.is_file():
            continue
        found.add(path)
        if path.suffix == ".py":
            waiting += _targets(imports_of(path))
    return found


def _targets(imports: Iterable[tuple[str, str | None]]) -> Iterator[Path]:
    for module, name in imports:
        yield from _module(module.split("."), name)


def _module(parts: list[str], name: str | None) -> Iterator[Path]:
    """The files behind ``import a.b`` or ``from a.b import name``."""
    if len(parts) < 2 or parts[0] != "bench":
        if parts == ["bench"] and name in _COMPUTING:
            yield from sorted((PACKAGE / str(name)).rglob("*.py"))
    elif parts[1] in _PLUGINS:
        roots = (Path(root) / parts[2] for root in search_path(parts[1])) if len(parts) > 2 else ()
        folder = next((root for root in roots if root.is_dir()), None)
        if folder is not None:
            yield from plugin_files(folder)
    elif parts[1] == "channels" and len(parts) == 3 and parts[2] != "shared":
        places = (Path(folder, f"{parts[2]}.py") for folder in channel_folders())
        yield from (path for path in places if path.is_file())
    elif parts[1] in _COMPUTING:
        yield from _computing(PACKAGE.joinpath(*parts[1:]), name)


def _computing(place: Path, name: str | None) -> Iterator[Path]:
    if not place.is_dir():
        yield place.with_suffix(".py")
    elif name is not None and (place / f"{name}.py").is_file():
        yield place / f"{name}.py"
    elif name is not None and (home := _re_exports(place).get(name)) is not None:
        yield from _computing(PACKAGE.joinpath(*home[1:]), name)
    elif name is not None and name in _defined(place / "__init__.py"):
        yield place / "__init__.py"
    else:
        yield from sorted(place.rglob("*.py"))


@cache
def _re_exports(package: Path) -> dict[str, list[str]]:
    """The modules from which a package's ``__init__`` takes its names."""
    front = package / "__init__.py"
    if not front.is_file():
        return {}
    nodes = (node for node in ast.walk(parsed(front)) if isinstance(node, ast.ImportFrom))
    return {
        item.asname or item.name: node.module.split(".")
        for node in nodes
        if node.module is not None and node.module.startswith("bench.")
        for item in node.names
    }


def _defined(front: Path) -> set[str]:
    """The functions and classes of a package's ``__init__``."""
    kinds = ast.FunctionDef | ast.ClassDef
    return {node.name for node in parsed(front).body if isinstance(node, kinds)} if front.is_file() else set()


def forget_sources() -> None:
    """Reads every file again."""
    for known in (digest, content_digest, _re_exports, parsed, code_of, imports_of):
        known.cache_clear()
