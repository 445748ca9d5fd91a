"""Which files of a folder are images of which class, and what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bench.api import files_below, is_hidden
from bench.datasets.folder.reader import ENDINGS


class Listing(NamedTuple):
    """What the names in a folder say; no file is opened.

    Attributes:
        files: by class, in the order of their names, the image files in its folder and below.
        skipped: how many other files there are, by the reason in words.
    """

    files: Mapping[str, list[Path]]
    skipped: Counter[str]


def class_folders(root: Path) -> list[str]:
    """The names of the folders in a folder, sorted, but of hidden ones, those of systems, and loops.

    Raises:
        OSError: the folder cannot be read.
    """
    here = root.resolve()
    return sorted(
        item.name
        for item in os.scandir(root)
        if not is_hidden(item.name) and item.is_dir() and not here.is_relative_to(os.path.realpath(item.path))
    )


def list_images(root: Path) -> Listing:
    """Looks at all names below a folder; links are followed.

    Raises:
        OSError: a folder cannot be read.
    """
    files: dict[str, list[Path]] = {name: [] for name in class_folders(root)}
    skipped: Counter[str] = Counter()
    for path in files_below(root):
        parts = path.relative_to(root).parts
        if why := _why_skipped(path, parts):
            skipped[why] += 1
        else:
            files[parts[0]].append(path)
    return Listing(files, skipped)


def _why_skipped(path: Path, parts: tuple[str, ...]) -> str:
    """In words; empty for an image of a class."""
    if any(map(is_hidden, parts)):
        return "hidden"
    if path.is_dir():
        return "links to a folder above them"
    if not path.is_file():
        return "links to nothing" if path.is_symlink() else "no files"
    if path.suffix.lower() not in ENDINGS:
        return path.suffix.lower() or "without an ending"
    return "" if len(parts) > 1 else "outside the class folders"
