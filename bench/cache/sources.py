"""Which source files a result depends on: the files of a stage or plug-in, and what they import of ours.

Imports are read, not executed. Only the packages that compute are followed: how cells are written down or
displayed changes no result. A name that a package re-exports leads to the module that it is from, so that a
new part of the engine leaves the attacks that do not use it as they are; where a name may come from anywhere
in a package, the whole package counts.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from bench.search_path import search_path

PACKAGE = Path(__file__).resolve().parent.parent
_COMPUTING = frozenset({"api", "engine", "metrics", "models", "victims"})
_PLUGINS = frozenset({"attacks", "defenses", "datasets"})
_SILENT = frozenset(
    {PACKAGE / "api" / "cards.py", PACKAGE / "api" / "errors.py", PACKAGE / "models" / "names.py"}
)
"""What is read or said, never computed with."""


def plugin_files(folder: Path) -> list[Path]:
    """The files of a plug-in that make it what it is: its code and its card."""
    return [path for pattern in ("*.py", "card.toml") for path in folder.rglob(pattern) if path.is_file()]


@cache
def digest(roots: tuple[Path, ...]) -> str:
    """One checksum of the raw bytes of some files and of all that they import of this project.

    Names enter relative to the package or the plug-in, so that the same code has the same digest anywhere.
    """
    total = hashlib.sha256()
    for name, path in sorted((_name(path), path) for path in _closure(roots)):
        data = path.read_bytes()
        total.update(f"{name}\0{len(data)}\0".encode())
        total.update(data)
    return total.hexdigest()


@cache
def content_digest(path: Path) -> str:
    """One checksum of the user's own file, or of all files below a folder and their names in it."""
    total = hashlib.sha256()
    files = sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]
    for item in files:
        with item.open("rb") as stream:
            own = hashlib.file_digest(stream, "sha256").hexdigest()
        name = item.relative_to(path).as_posix() if item != path else ""
        total.update(f"{name}\0{own}\n".encode())
    return total.hexdigest()


def _name(path: Path) -> str:
    for kind in sorted(_PLUGINS):
        for root in map(Path, search_path(kind)):
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
            waiting += _imported(path)
    return found


def _imported(path: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # its bytes are in the digest; what it cannot import does not matter
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                yield from _module(item.name.split("."), None)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            for item in node.names:
                yield from _module(node.module.split("."), item.name)


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
    elif parts[1] in _COMPUTING:
        yield from _computing(PACKAGE.joinpath(*parts[1:]), name)


def _computing(place: Path, name: str | None) -> Iterator[Path]:
    if not place.is_dir():
        yield place.with_suffix(".py")
    elif name is not None and (place / f"{name}.py").is_file():
        yield place / f"{name}.py"
    elif name is not None and (home := _re_exports(place).get(name)) is not None:
        yield from _computing(PACKAGE.joinpath(*home[1:]), name)
    else:
        yield from sorted(place.rglob("*.py"))


@cache
def _re_exports(package: Path) -> dict[str, list[str]]:
    """The modules from which a package's ``__init__`` takes its names."""
    front = package / "__init__.py"
    if not front.is_file():
        return {}
    nodes = (node for node in ast.walk(ast.parse(front.read_bytes())) if isinstance(node, ast.ImportFrom))
    return {
        item.asname or item.name: node.module.split(".")
        for node in nodes
        if node.module is not None and node.module.startswith("bench.")
        for item in node.names
    }


def forget_sources() -> None:
    """Reads every file again."""
    digest.cache_clear()
    content_digest.cache_clear()
    _re_exports.cache_clear()
