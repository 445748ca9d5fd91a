"""The record of one cell: everything measured, or why nothing could be, with its provenance.

A record is one JSON file of at most 4 kB, ``records/<id>.json``, and its existence is the commit mark of its
cell. Values per image are not in it: they are rows of ``images.csv.gz``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bench.api.cards import explain
from bench.api.errors import BenchError
from bench.matrix.cells import Cell
from bench.runs.files import sha256

SCHEMA: Literal[1] = 1
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


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Utility(_Part):
    """What the defense cost: the victim on ``private_test``."""

    accuracy: float
    initial_accuracy: float
    converged: bool
    rounds: int


class AttackCost(_Part):
    """What the attack spent: gradient evaluations per release, and the cost that it reached."""

    evaluations_mean: float
    evaluations_max: int
    cost_mean: float | None


class ReleaseHealth(_Part):
    """Releases that carry nothing, or nothing usable."""

    zero: int
    """Releases whose gradients are all exactly zero."""
    nonfinite: int
    """Releases with an infinite or undefined entry."""
    norm_mean: float | None
    """Mean Euclidean norm over the finite releases."""


class Means(_Part):
    """Means over all images with a value; None where no image has one."""

    psnr: float | None = None
    ssim: float | None = None
    lpips: float | None = None
    identified: float | None = None
    label_correct: float | None = None
    recognised: float | None = None


class Seconds(_Part):
    """Wall time of each stage when it was computed, also if this run found it in the cache."""

    victim: float = 0.0
    release: float = 0.0
    reconstruction: float = 0.0
    scores: float = 0.0


class Provenance(_Part):
    """Which code, on what, when."""

    bench: str
    commit: str
    dirty: bool
    python: str
    torch: str
    torchvision: str
    numpy: str
    lpips: str
    device: str
    threads: int
    platform: str
    finished: str
    """UTC, ISO 8601, seconds."""


class Record(_Part):
    """Everything about one cell but its images."""

    schema_: Literal[1] = Field(default=SCHEMA, alias="schema")
    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Content address of all that went into this cell; another one today means that the record is stale."""
    cell: dict[str, Any]
    status: Status
    reason: str = ""
    traceback: str = ""
    utility: Utility | None = None
    attack: AttackCost | None = None
    release: ReleaseHealth | None = None
    means: Means | None = None
    evaluator_accuracy: float | None = None
    lpips_status: str = ""
    """Why there is no LPIPS; empty if there is."""
    seconds: Seconds = Seconds()
    peak_memory_mb: float | None = None
    provenance: Provenance

    @field_validator("cell")
    @classmethod
    def _is_a_cell(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            Cell.from_json(value)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a cell: {type(error).__name__}: {error}") from None
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
        record = Record.model_validate_json(data)
    except ValidationError as error:
        raise CorruptRecordError(explain(error, str(path))) from None
    if record.id != path.stem or Cell.from_json(record.cell).id != record.id:
        raise CorruptRecordError(f"{path}: id: {record.id} is not the id of this file and its cell")
    return record


def fingerprint(data: bytes) -> str:
    """Ties the pending rows of a cell to the very record that they belong to."""
    return sha256(data)[:16]


def finite(value: float) -> float | None:
    """NaN and infinities are missing values in a record; six digits are all that a metric has."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def means_from(values: Mapping[str, float]) -> Means:
    """Means of the metrics, NaN where there is no value."""
    return Means(**{name: finite(value) for name, value in values.items()})
