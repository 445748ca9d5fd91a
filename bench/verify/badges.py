"""``verification.json``: which cells were checked, how, and whether they agreed.

An entry is bound to the key of the record that was checked: a record that is measured again has to be checked
again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.records.files import write_atomic
from bench.records.outcome import Outcome
from bench.records.record import Record
from bench.verify.agreement import Agreement

FILE = "verification.json"
Badge = Literal["recomputed", "re-run"]


@dataclass(frozen=True)
class Verified:
    """One cell that was checked."""

    record: Record
    badge: Badge
    agreement: Agreement
    processors: tuple[str, str] | None = None
    """Where they differ, processor and instruction set of torch's kernels: when it was recorded, and now."""

    @property
    def title(self) -> str:
        """One line."""
        return self.record.asked.title


def write_badges(folder: Path, found: Sequence[Verified], recorded: Mapping[str, Outcome]) -> None:
    """Adds what was found to what earlier checks have found of records that are still the same.

    Args:
        folder: the results folder.
        found: the new checks.
        recorded: the done cells of the folder, by id.

    Raises:
        DiskFullError: the old file is still there.
    """
    path = folder / FILE
    cells: dict[str, Any] = {}
    with suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        cells = dict(json.loads(path.read_bytes()).get("cells"))
    kept = {
        name: item
        for name, item in cells.items()
        if name in recorded and isinstance(item, dict) and item.get("key") == recorded[name].record.key
    }
    for one in found:
        before = kept.get(one.record.id, {})
        if one.badge == "recomputed" and before.get("badge") == "re-run" and one.agreement.agrees:
            continue  # the stronger check still holds, whatever it found
        kept[one.record.id] = {
            "key": one.record.key,
            "badge": one.badge,
            "agrees": one.agreement.agrees,
            "identical": one.agreement.identical,
            "reason": one.agreement.reason,
        }
    text = json.dumps({"cells": kept}, sort_keys=True, indent=1)
    write_atomic(path, f"{text}\n".encode())
