"""The record of one cell: everything measured, or why nothing could be, with its provenance.

A record is one JSON file of at most 4 kB, ``records/<id>.json``, and its existence is the commit mark of its
cell. Values per image are not in it: they are rows of ``images.csv.gz``. ``docs/records.md`` describes every
field. Records of schema 1 are read as what they are: what they do not say is unknown (None or empty).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from bench.api.cards import explain
from bench.api.errors import BenchError
from bench.matrix.cells import Cell
from bench.runs.files import sha256
from bench.runs.parts import (
    HEX64,
    AttackCost,
    Means,
    Memory,
    Part,
    Provenance,
    ReleaseHealth,
    Seconds,
    Seeds,
    StageKeys,
    Utility,
)

SCHEMA: Literal[3] = 3
MAX_BYTES = 4096
_TRACEBACK = 1200
_REASON = 600


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


class Record(Part):
    """Everything about one cell but its images."""

    schema_: Literal[3] = Field(default=SCHEMA, alias="schema")
    """Version of this description."""
    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    """Names the question; also the name of the file."""
    key: str = Field(pattern=HEX64)
    """Content address of all that went into this cell; another one today means that the record is stale."""
    stages: StageKeys | None = None
    """None in records of schema 1."""
    cell: dict[str, Any]
    """The question: data set, model, defense, attack with all parameters, seed, budget."""
    seeds: Seeds | None = None
    """None in records of schema 1."""
    status: Status
    """``done``, ``failed``, ``timeout``, ``oom`` or ``incompatible``."""
    reason: str = ""
    """Why there is no result; empty if there is one."""
    traceback: str = ""
    """The end of the Python traceback, where an exception was the reason."""
    utility: Utility | None = None
    attack: AttackCost | None = None
    release: ReleaseHealth | None = None
    means: Means | None = None
    perturbed: Means | None = None
    """Reconstructions against the images that the clients computed on; null unless a defense changes them."""
    bound: Means | None = None
    """Those images against the originals: what an attacker reaches who stops at them."""
    evaluator_accuracy: float | None = None
    """Of the independent judge on ``private_test``."""
    lpips_status: str = ""
    """Why there is no LPIPS; empty if there is."""
    seconds: Seconds = Seconds()
    peak_memory_mb: float | None = None
    """Of the reconstruction, in MiB."""
    memory_mb: Memory = Memory()
    reconstruction_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """Checksum of the stored reconstructions; empty if there are none or the record has schema 1."""
    provenance: Provenance

    @field_validator("cell")
    @classmethod
    def _is_a_cell(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            Cell.from_json(value)
        except (KeyError, TypeError, ValueError) as error:
            words = " ".join(str(error).split())  # a key may hold any character, line ends included
            raise ValueError(f"not a cell: {type(error).__name__}: {words}") from None
        return value

    def encode(self) -> bytes:
        """The file's bytes: sorted keys, one line per field, at most 4 kB."""
        data = self.model_dump(mode="json", by_alias=True)
        data["reason"] = data["reason"][:_REASON]
        data["traceback"] = data["traceback"][-_TRACEBACK:]
        text = _dump(data)
        if excess := max(0, len(text) - MAX_BYTES):
            # Escapes make a character up to six bytes long: cutting as many characters as there are bytes too
            # many always suffices, as long as there are that many.
            data["traceback"] = data["traceback"][excess:]
            data["reason"] = data["reason"][: max(80, _REASON - excess)]
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
        FileNotFoundError: there is no such record.
    """
    return decode_record(path.read_bytes(), path)


def decode_record(data: bytes, path: Path) -> Record:
    """Validates the bytes of a record; ``path`` is for the messages, and its name must be the record's id."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorruptRecordError(
            f"{path}: not JSON ({error}); remove it, the next run makes it again"
        ) from None
    if isinstance(content, dict):
        content = migrated(content, path)
    try:
        record = Record.model_validate(content)
    except ValidationError as error:
        raise CorruptRecordError(explain(error, str(path))) from None
    if record.id != path.stem or Cell.from_json(record.cell).id != record.id:
        raise CorruptRecordError(f"{path}: id: {record.id} is not the id of this file and its cell")
    return record


def migrated(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The content of a record file in today's schema.

    Schemas 2 and 3 only added fields, all of which may be unknown, so that an older record needs a new number
    and nothing else.

    Raises:
        CorruptRecordError: a schema that this version does not know; ``path`` is for the message.
    """
    schema = content.get("schema")
    if schema in range(1, SCHEMA) and type(schema) is int:
        return {**content, "schema": SCHEMA}
    if isinstance(schema, int) and schema > SCHEMA:
        raise CorruptRecordError(
            f"{path}: schema: {schema} was written by a newer bench, this one knows 1 to {SCHEMA}; update it"
        )
    return content


def fingerprint(data: bytes) -> str:
    """Ties the pending rows of a cell to the very record that they belong to."""
    return sha256(data)[:16]


def finite(value: float) -> float | None:
    """NaN and infinities are missing values in a record; six digits are all that a metric has."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def means_from(values: Mapping[str, float]) -> Means:
    """Means of the metrics, NaN where there is no value."""
    return Means(**{name: finite(value) for name, value in values.items()})
