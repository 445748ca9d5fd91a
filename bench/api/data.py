"""Where the files of data sets lie: where the user's path leads, or below the folder ``$BENCH_DATA``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bench.api.errors import UsageError

ENVIRONMENT_VARIABLE = "BENCH_DATA"


def data_folder() -> Path | None:
    """The folder of data sets that ``$BENCH_DATA`` names; None where the variable is empty.

    Raises:
        UsageError: it names no folder.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE, "")
    if not named:
        return None
    folder = Path(os.path.expanduser(named))  # where there is no home, "~" stays
    if not folder.is_dir():
        raise UsageError(f"${ENVIRONMENT_VARIABLE}: {named} is no folder (seen from {Path.cwd()})")
    return folder


def find_data(path: str) -> Path:
    """The file or folder that a parameter names; it need not exist.

    Args:
        path: as the user wrote it; a relative one is looked for in the working folder, then in
            ``$BENCH_DATA``.

    Raises:
        UsageError: ``$BENCH_DATA`` names no folder.
    """
    here = Path(os.path.expanduser(path))
    folder = data_folder()
    if here.exists() or here.is_absolute() or folder is None or not (folder / here).exists():
        return here
    return folder / here


def searched() -> str:
    """Where :func:`find_data` has looked, for messages."""
    folder = data_folder()
    return f"seen from {Path.cwd()}" + (f" and from ${ENVIRONMENT_VARIABLE}, {folder}" if folder else "")


OF_SYSTEMS = frozenset({"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information"})
"""Folders that programs leave among files: archives of macOS, Python, network drives, Windows."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's data: hidden, or one that systems leave."""
    return name.startswith(".") or name in OF_SYSTEMS


def files_below(folder: Path) -> Iterator[Path]:
    """All files in a folder and in those below it, in the order of their names.

    Links are followed wherever they lead, but for those to a folder in which they lie themselves: such a link
    is given as if it were a file, and so is a link to nothing.

    Args:
        folder: where to begin; paths begin with it.

    Raises:
        OSError: a folder cannot be read.
    """
    return _below(folder, (Path(os.path.realpath(folder)),))


def _below(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    for name in sorted(os.listdir(folder)):
        path = folder / name
        real = Path(os.path.realpath(path))
        if path.is_dir() and not any(place.is_relative_to(real) for place in above):
            yield from _below(path, (*above, real))
        else:
            yield path
