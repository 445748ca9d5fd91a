"""``published.json``: which commit measured what a folder publishes, and that it is still the same.

Code moves on after a publication; the published numbers stay what the code of their commit measured. So a
published folder is compared with what was published, not with today's code; whether today's code still gives
the same numbers is for ``bench verify`` to say.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from pydantic import Field, ValidationError

from bench.api.cards import explain
from bench.api.errors import UsageError
from bench.execute.devices import devices
from bench.execute.folder.matrix_status import load
from bench.execute.plan import State
from bench.matrix import Filters, expand, load_matrix
from bench.plugins import dataset_card
from bench.records.files import write_atomic
from bench.records.provenance import code_commit
from bench.records.record import Record
from bench.records.record_fields import HEX64, Part
from bench.records.results import CONFIRMATION, Results

FILE = "published.json"
_SHORT = 10


class Publication(Part):
    """What a folder publishes."""

    matrix: str
    """Name and version of the matrix whose cells the folder holds: ``full@4``."""
    commit: str = Field(pattern=r"^[0-9a-f]{40}$")
    """Of the code that measured every cell."""
    note: str = ""
    """What a reader must know of these files, such as that they were written again in another form."""
    sha256: str = Field(pattern=HEX64)
    """Of all records and rows, see :func:`digest`."""

    @property
    def title(self) -> str:
        """``full@4, published at 81aacef6f0``."""
        return f"{self.matrix}, published at {self.commit[:_SHORT]}"

    def stands(self, folder: Path) -> bool:
        """Whether the records and rows of the folder are those that were published."""
        return digest(folder) == self.sha256


def digest(folder: Path) -> str:
    """One checksum of the bytes of ``records/*.json`` and ``images.csv.gz``; of what is there.

    Those of the fresh seeds in ``confirmation/`` come after them.
    """
    total = hashlib.sha256()
    for part in _parts(folder):
        for path in [*sorted(part.glob("records/*.json")), part / "images.csv.gz"]:
            if path.is_file():
                data = path.read_bytes()
                total.update(f"{path.name}\0{len(data)}\0".encode() + data)
    return total.hexdigest()


def _parts(folder: Path) -> tuple[Path, ...]:
    """A results folder, and that of its fresh seeds where it has one."""
    fresh = folder / CONFIRMATION
    return (folder, fresh) if (fresh / "records").is_dir() else (folder,)


def read_publication(folder: Path) -> Publication | None:
    """What a folder publishes; None if nothing.

    Raises:
        UsageError: the file is damaged; the message names every wrong field.
    """
    path = folder / FILE
    try:
        return Publication.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise UsageError(f"{explain(error, str(path))}\nmend it, or remove it: {path}") from None


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
    records = {record.id: record for record, _ in Results(folder).whole()}
    wanted = {cell.id for cell in expand(asked)}
    missing, strange = len(wanted - records.keys()), len(records.keys() - wanted)
    if missing or strange:
        raise UsageError(
            f"{folder}: {missing} of {len(wanted)} cells of {asked.name}@{asked.version} are missing and "
            f"{strange} records are none of its cells: bench run --matrix {matrix} --out {folder}, or bench "
            "clean"
        )
    fresh = [record for record, _ in Results(folder / CONFIRMATION).whole()]
    measured = [*records.values(), *fresh]
    commit = _commit_of(measured) or _todays(folder, matrix, device, measured)
    return pin(folder, f"{asked.name}@{asked.version}", commit)


def withhold(folder: Path) -> int:
    """Takes away the contact sheets of data sets whose card says ``pictures = false``.

    Figures and pages that show them are to be written again.

    Returns:
        How many there were.
    """
    gone = 0
    for part in _parts(folder):
        for record in Results(part).snapshot().records.values():
            sheet = part / "sheets" / f"{record.id}.png"
            if sheet.is_file() and not dataset_card(record.asked.dataset.name).pictures:
                sheet.unlink()
                gone += 1
    return gone


def counted(folder: Path) -> dict[str, int]:
    """How many whole cells of a folder have which status; today's code is not asked."""
    return Counter(str(record.status) for record, _ in Results(folder).whole())


def replaced(folder: Path) -> str:
    """What to say before a published folder is written; empty where nothing is published."""
    found = read_publication(folder)
    if found is None or not found.stands(folder):
        return ""
    return f"{found.title}: what is written now replaces published results in {folder}"


def pin(folder: Path, matrix: str, commit: str, note: str = "") -> Publication:
    """Writes down that a commit has measured what the folder holds now."""
    found = Publication(matrix=matrix, commit=commit, note=note, sha256=digest(folder))
    write_atomic(folder / FILE, f"{found.model_dump_json(indent=1)}\n".encode())
    return found


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
