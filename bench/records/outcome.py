"""What a cell leaves behind, finished or not, ready to be committed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.matrix.cells import Cell
from bench.records.cell_schema import CellSchema
from bench.records.provenance import Machine, provenance
from bench.records.record import REASON, SCHEMA, TRACEBACK, Record, Status
from bench.records.record_fields import Seeds, StageKeys
from bench.records.rows import Row, digest, failure_row
from bench.seeds import derive_seed
from bench.text import storable


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The content addresses of one cell's stages; that of the scores covers all others and names the cell.

    An attack without a generator has an empty one for it.
    """

    victim: str
    release: str
    evaluator: str
    generator: str
    reconstruction: str
    scores: str


@dataclass(frozen=True)
class Outcome:
    """The record of a cell, its rows, and its contact sheet if it has one."""

    record: Record
    rows: tuple[Row, ...]
    sheet: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a task has no result; of untrusted texts it keeps what a record can hold."""

    status: Status
    reason: str
    traceback: str = ""
    machine: Machine | None = None
    """Where it happened; None if the worker could not say."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", storable(self.reason, REASON))
        object.__setattr__(self, "traceback", storable(self.traceback, TRACEBACK, end=True))


def stage_keys(keys: Keys) -> StageKeys:
    """The keys as a record holds them; that of the scores is the record's own."""
    return StageKeys(
        victim=keys.victim,
        evaluator=keys.evaluator,
        generator=keys.generator,
        release=keys.release,
        reconstruction=keys.reconstruction,
    )


def seeds(cell: Cell) -> Seeds:
    """What the stages derive from the cell's seed."""
    return Seeds(attack=derive_seed(cell.seed, "attack"), pool=derive_seed(cell.seed, "pool"))


def named(cell: Cell, keys: Keys) -> dict[str, Any]:
    """What every record of a cell begins with, whatever came of it."""
    return {
        "schema": SCHEMA,
        "id": cell.id,
        "key": keys.scores,
        "stages": stage_keys(keys),
        "cell": CellSchema.model_validate(cell.to_json()),
        "seeds": seeds(cell),
    }


def failed(cell: Cell, keys: Keys, failure: Failure, *, device: str) -> Outcome:
    """The outcome of a cell that could not be measured; ``device`` is for a failure that names no machine."""
    rows = (failure_row(cell, failure.status, failure.reason),)
    record = Record(
        **named(cell, keys),
        status=failure.status,
        reason=failure.reason,
        traceback=failure.traceback,
        rows_sha256=digest(rows),
        provenance=provenance(failure.machine or Machine(device=device)),
    )
    return Outcome(record, rows)
