"""``device.json``: all that was measured, failed or was left out, written anew with every addition."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from benchmarks.device.collect import CHECKOUT

Row = dict[str, Any]
NAME = "device.json"
FORMAT = 1
SECTIONS = ("environment", "stages", "tests", "speed", "runs", "smoke")
MEASURED, FAILED, UNMEASURED, INAPPLICABLE = "measured", "failed", "not measured", "not applicable"
STOPPED, UNREACHED = "stopped", "not reached"
"""The status of a row (tests are also ``passed`` or ``skipped``), and the reason until it is tried."""


class Book:
    """The rows of every section by their keys; a row that is planned stands there before it is measured.

    Args:
        folder: where the file is.
        hidden: folders of this machine whose names are left out of all texts.
    """

    def __init__(self, folder: Path, *, hidden: tuple[Path, ...] = (CHECKOUT,)) -> None:
        self.folder = folder
        self.head: Row = {}
        self._hidden = [f"{path}{os.sep}" for path in hidden]
        self._sections: dict[str, dict[str, Row]] = {name: {} for name in SECTIONS}

    def put(self, section: str, row: Row) -> None:
        """Adds a row, or completes the one that has its key."""
        rows = self._sections[section]
        rows[row["key"]] = rows.get(row["key"], {}) | self._cleaned(row)

    def plan(self, section: str, row: Row, *, status: str = UNMEASURED, reason: str = UNREACHED) -> None:
        """A row that is expected; it keeps this status unless it is measured."""
        self.put(section, {"status": status, "reason": reason, **row})

    def rows(self, section: str) -> list[Row]:
        """The rows of a section in the order in which they came."""
        return list(self._sections[section].values())

    def open(self, section: str, keys: list[str]) -> list[str]:
        """Those of the keys that nobody has measured, tried or left out yet."""
        rows = self._sections[section]
        return [key for key in keys if rows[key]["reason"] == UNREACHED]

    def write(self) -> None:
        """Replaces the file at once, so that a reader never sees half of it."""
        content = {"format": FORMAT, **self.head} | {name: self.rows(name) for name in SECTIONS}
        draft = self.folder / f".{NAME}"
        draft.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        draft.replace(self.folder / NAME)

    def _cleaned(self, value: Any) -> Any:
        """The same without the names of this machine's folders, and without numbers that JSON lacks."""
        if isinstance(value, dict):
            return {key: self._cleaned(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._cleaned(item) for item in value]
        if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
            return None
        if isinstance(value, str):
            for path in self._hidden:
                value = value.replace(path, "")
        return value


def read(folder: Path) -> Row:
    """What a folder's file holds.

    Raises:
        SystemExit: there is none, or it is of another format.
    """
    try:
        content: Row = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{folder / NAME}: {error}") from None
    if content.get("format") != FORMAT:
        raise SystemExit(f"{folder / NAME}: format {content.get('format')}, this program reads {FORMAT}")
    return content
