"""What a cell leaves behind, finished or not, ready to be committed."""

from __future__ import annotations

from dataclasses import dataclass

from bench.matrix.cells import Cell
from bench.runs.provenance import provenance
from bench.runs.record import Record, Status
from bench.runs.rows import Row, failure_row


@dataclass(frozen=True)
class Outcome:
    """The record of a cell, its rows, and its contact sheet if it has one."""

    record: Record
    rows: tuple[Row, ...]
    sheet: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a task has no result."""

    status: Status
    reason: str
    traceback: str = ""


def failed(cell: Cell, key: str, failure: Failure, *, device: str) -> Outcome:
    """The outcome of a cell that could not be measured."""
    record = Record(
        schema=1,
        id=cell.id,
        key=key,
        cell=cell.to_json(),
        status=failure.status,
        reason=failure.reason,
        traceback=failure.traceback,
        provenance=provenance(device),
    )
    return Outcome(record, (failure_row(cell, failure.status, failure.reason),))
