"""Pinning a results folder to the commit that has measured it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path

from bench.api.errors import UsageError
from bench.execute.devices import devices
from bench.execute.folder.matrix_status import load
from bench.execute.plan import State
from bench.matrix import Filters, expand, load_matrix
from bench.plugins import dataset_card
from bench.records.provenance import code_commit
from bench.records.publication import Publication, pin
from bench.records.record import Record
from bench.records.results import CONFIRMATION, Results, parts


def publish(folder: Path, matrix: str, *, device: str = "auto") -> Publication:
    """Pins a folder to the commit that measured it, and writes that down.

    Args:
        folder: a results folder with a record of every cell of the matrix.
        matrix: name or file.
        device: as for a run, where records are of several commits and have to be compared with today's code.

    Raises:
        UsageError: cells are missing or are none of the matrix, or no one commit has measured them all.
    """
    asked = load_matrix(matrix)
    records = Results(folder).records()
    wanted = {cell.id for cell in expand(asked)}
    missing, strange = len(wanted - records.keys()), len(records.keys() - wanted)
    if missing or strange:
        raise UsageError(
            f"{folder}: {missing} of {len(wanted)} cells of {asked.name}@{asked.version} are missing and "
            f"{strange} records are none of its cells: bench run --matrix {matrix} --out {folder}, or bench "
            "clean"
        )
    fresh = Results(folder / CONFIRMATION).records().values()
    measured = [*records.values(), *fresh]
    commit = _commit_of(measured) or _todays(folder, matrix, device, measured)
    return pin(folder, f"{asked.name}@{asked.version}", commit)


def withhold(folder: Path) -> int:
    """Takes away the contact sheets that are not published.

    Those of data sets whose card says ``pictures = false``; and all but those of the first seed, which the
    galleries show: the others say nothing new, and weigh more than everything else of a folder together.
    Figures and pages that show them are to be written again.

    Returns:
        How many there were.
    """
    gone = 0
    for part in parts(folder):
        records = Results(part).sound().values()
        first = min((record.asked.seed for record in records), default=0)
        for record in records:
            sheet = part / "sheets" / f"{record.id}.png"
            shown = part.name != CONFIRMATION and record.asked.seed == first
            if sheet.is_file() and not (shown and dataset_card(record.asked.dataset.name).pictures):
                sheet.unlink()
                gone += 1
    return gone


def counted(folder: Path) -> dict[str, int]:
    """How many whole cells of a folder have which status; today's code is not asked."""
    return Counter(str(record.status) for record in Results(folder).records().values())


def _commit_of(records: Collection[Record]) -> str:
    """The one commit that all records name, if its code was not changed before it measured; else empty."""
    named = {(record.provenance.commit, record.provenance.dirty) for record in records}
    commit, dirty = named.pop()
    return "" if named or dirty else commit


def _todays(folder: Path, matrix: str, device: str, records: Collection[Record]) -> str:
    """Today's commit, where no cell would be measured anew with its code.

    Raises:
        UsageError: some would, or the code has no commit.
    """
    names, seeds = devices(device), tuple(load_matrix(matrix).confirmation)
    standings = [load(matrix, None, Results(folder), names)]
    if seeds:
        standings.append(load(matrix, Filters(seeds=seeds), Results(folder / CONFIRMATION), names))
    states = Counter(state for standing in standings for state in standing.states().values())
    if stale := states[State.STALE]:
        several = len({record.provenance.commit for record in records})
        raise UsageError(
            f"{folder}: its records are of {several} commits or of uncommitted code, and {stale} are stale "
            f"today: bench run --matrix {matrix} --out {folder} measures these again"
        )
    commit, dirty = code_commit()
    if dirty or not commit:
        raise UsageError("the code of this checkout is not committed: commit it, then publish")
    return commit
