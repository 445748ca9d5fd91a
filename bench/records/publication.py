"""``published.json``: which commit measured what a folder publishes, and that it is still the same.

Code moves on after a publication; the published numbers stay what the code of their commit measured. So a
published folder is compared with what was published, not with today's code; whether today's code still gives
the same numbers is for ``bench verify`` to say.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import Field, ValidationError

from bench.api.cards import explain
from bench.api.errors import UsageError
from bench.records.files import write_atomic
from bench.records.record_fields import HEX64, Part
from bench.records.results import parts

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
    for part in parts(folder):
        for path in [*sorted(part.glob("records/*.json")), part / "images.csv.gz"]:
            if path.is_file():
                data = path.read_bytes()
                total.update(f"{path.name}\0{len(data)}\0".encode() + data)
    return total.hexdigest()


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
