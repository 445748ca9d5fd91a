"""How far a number was verified, from ``verification.json`` beside the records.

The file says, per cell id, under which record key the cell was verified, how, and whether the result agreed.
A badge counts only for the record that was verified: an edited or re-measured record falls back to
``reported``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

Badge = Literal["reported", "recomputed", "re-run"]
FILE = "verification.json"
MEANING: Mapping[Badge, str] = {
    "reported": "as the one who ran it wrote it down",
    "recomputed": "its scores were computed again from the stored reconstructions and agree",
    "re-run": "the whole cell was run again and agrees",
}
"""Badge -> what it means, weakest first."""
_ORDER: tuple[Badge, ...] = tuple(MEANING)


def least(badges: Iterable[Badge]) -> Badge:
    """The weakest of some badges; ``reported`` where there is none."""
    return min(badges, key=_ORDER.index, default=_ORDER[0])


def read_badges(directory: Path, cells: pd.DataFrame, problems: list[str]) -> pd.Series[str]:
    """The badge of every cell, in the order of ``cells``.

    Args:
        directory: the results folder.
        cells: with ``id`` and ``key``.
        problems: is told of a file that cannot be read.
    """
    verified = _verified(directory / FILE, problems)
    badges = [
        _badge(verified.get(str(name)), str(key)) for name, key in zip(cells["id"], cells["key"], strict=True)
    ]
    return pd.Series(badges, index=cells.index, dtype=object)


def _verified(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        problems.append(f"{path.name}: not readable, so no badge is shown ({type(error).__name__})")
        return {}
    return cells if isinstance(cells, dict) else {}


def _badge(item: Any, key: str) -> Badge:
    if not isinstance(item, dict) or item.get("key") != key or item.get("agrees") is not True:
        return _ORDER[0]
    return next((badge for badge in _ORDER if badge == item.get("badge")), _ORDER[0])
