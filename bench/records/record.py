"""The record of one cell: everything measured, or why nothing could be, with its provenance.

A record is one JSON file of at most 5 kB, ``records/<id>.json``, and its existence is the commit mark of its
cell. Values per image are not in it: they are rows of ``images.csv.gz``. ``docs/records.md`` describes every
field. Records of a newer schema are refused: nobody may overwrite, drop or misread what a newer version has
measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from bench.api.cards import explain
from bench.api.errors import BenchError, UsageError
from bench.matrix.cells import Cell
from bench.records.cell_schema import CellSchema
from bench.records.files import read_regular, sha256
from bench.records.record_fields import (
    HEX64,
    AttackCost,
    Means,
    Memory,
    Part,
    Prior,
    Provenance,
    ReleaseHealth,
    Seconds,
    Seeds,
    StageKeys,
    Utility,
)
from bench.rounding import finite

SCHEMA: Literal[5] = 5
MAX_BYTES = 5120
_MOST = 1 << 20
TRACEBACK = 1200
REASON = 600
"""Characters of a reason that are kept, and of the end of a traceback."""


class Status(StrEnum):
    """How a cell ended."""

    DONE = "done"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OOM = "oom"
    INCOMPATIBLE = "incompatible"


RETRIED = (Status.FAILED, Status.TIMEOUT, Status.OOM)
"""What ``--retry-failed`` runs again."""


class CorruptRecordError(BenchError):
    """A record file that cannot be trusted: the message names the file and every wrong field."""


class NewerRecordError(UsageError):
    """A record of a schema that only a newer version of this package knows; nothing may be done with it."""


class Record(Part):
    """Everything about one cell but its images."""

    schema_: Literal[5] = Field(alias="schema")
    """Version of this description."""
    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Names the question; also the name of the file."""
    key: str = Field(pattern=HEX64)
    """Content address of all that went into this cell; another one today means that the record is stale."""
    stages: StageKeys
    cell: CellSchema
    seeds: Seeds
    status: Status
    """``done``, ``failed``, ``timeout``, ``oom`` or ``incompatible``."""
    reason: str = ""
    """Why there is no result; empty if there is one."""
    traceback: str = ""
    """The end of the Python traceback, where an exception was the reason."""
    utility: Utility | None = None
    attack: AttackCost | None = None
    generator: Prior | None = None
    """None where the attack has no generator."""
    release: ReleaseHealth | None = None
    means: Means | None = None
    perturbed: Means | None = None
    """Reconstructions against the images that the clients computed on; null unless a defense changes them."""
    bound: Means | None = None
    """Those images against the originals: what an attacker reaches who stops at them."""
    pool: int | None = Field(default=None, ge=1)
    """Private images, the originals among them, of which a reconstruction must be nearest to its own; null on
    channel `model`, and where nothing was scored."""
    evaluator_accuracy: float | None = None
    """Of the independent evaluator on ``private_test``."""
    lpips_status: str = ""
    """Why there is no LPIPS; empty if there is."""
    lpips_side: int = 0
    """Pixels of the shorter side to which images were enlarged for LPIPS; 0 if they were not."""
    seconds: Seconds = Seconds()
    peak_memory_mb: float | None = None
    """Of the process in which the attack ran, in MiB."""
    memory_mb: Memory = Memory()
    reconstruction_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """Checksum of the stored reconstructions; empty if there are none."""
    rows_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """Checksum of the cell's rows of ``images.csv.gz``; empty in records of a time that kept none."""
    provenance: Provenance

    @cached_property
    def asked(self) -> Cell:
        """The cell that this is the record of."""
        return Cell.from_json(self.cell.model_dump())

    def encode(self) -> bytes:
        """The file's bytes: sorted keys, one line per field, at most 5 kB."""
        data = self.model_dump(mode="json", by_alias=True)
        data["reason"] = data["reason"][:REASON]
        data["traceback"] = data["traceback"][-TRACEBACK:]
        text = _dump(data)
        if excess := max(0, len(text) - MAX_BYTES):
            # Escapes make a character up to six bytes long: cutting as many characters as there are bytes too
            # many always suffices, as long as there are that many.
            data["traceback"] = data["traceback"][excess:]
            data["reason"] = data["reason"][: max(80, REASON - excess)]
            text = _dump(data)
        return text


def _dump(data: dict[str, Any]) -> bytes:
    lines = [
        f" {json.dumps(key)}: {json.dumps(value, sort_keys=True, allow_nan=False)}"
        for key, value in sorted(data.items())
    ]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def read_record(path: Path) -> Record:
    """Reads and validates one record.

    Raises:
        CorruptRecordError: naming the file and every wrong field.
        NewerRecordError: only a newer version of this package can read it.
        FileNotFoundError: there is no such record.
    """
    return decode_record(record_bytes(path), path)


def record_bytes(path: Path) -> bytes:
    """The bytes of a record's file, which may be anybody's.

    Raises:
        FileNotFoundError: there is no such record.
        OSError: it is no regular file, or much too large for a record.
    """
    return read_regular(path, _MOST)


def decode_record(data: bytes, path: Path) -> Record:
    """Validates the bytes of a record; ``path`` is for the messages, and its name must be the record's id."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorruptRecordError(f"{path}: (whole file): not JSON ({error})") from None
    refuse_newer(content, path)
    try:
        record = Record.model_validate(content)
    except ValidationError as error:
        raise CorruptRecordError(explain(error, str(path))) from None
    if record.id != path.stem or record.asked.id != record.id:
        raise CorruptRecordError(f"{path}: id: {record.id} is not the id of this file and its cell")
    return record


def refuse_newer(content: object, path: Path) -> None:
    """Refuses the content of a record file of a schema that this version does not know yet.

    Raises:
        NewerRecordError: with ``path`` in the message.
    """
    schema = content.get("schema") if isinstance(content, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise NewerRecordError(
            f"{path}: schema: {schema} was written by a newer version of this package, this one knows "
            f"{SCHEMA}; update inversion-bench"
        )


def fingerprint(data: bytes) -> str:
    """Ties the pending rows of a cell to the very record that they belong to."""
    return sha256(data)[:16]


def means_from(values: Mapping[str, float]) -> Means:
    """Means of the metrics, NaN where there is no value."""
    return Means(**{name: finite(value) for name, value in values.items()})
