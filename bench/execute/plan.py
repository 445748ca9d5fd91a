"""What there is of each cell, and what is to be run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from bench.api.errors import UsageError
from bench.matrix.cells import Cell
from bench.records.outcome import Keys
from bench.records.record import Record, Status
from bench.records.rows import KEYS, Row, key_of


class State(StrEnum):
    """How a cell stands against the code, the parameters and the files of today."""

    DONE = "done"
    FAILED = "failed"
    TIMEOUT = "timeout"
    OOM = "oom"
    INCOMPATIBLE = "incompatible"
    STALE = "stale"
    """Finished once, with other code or other libraries than today's."""
    MISSING = "missing"


PROBLEMS = (State.FAILED, State.TIMEOUT, State.OOM)


def survey(cells: Sequence[Cell], keys: Mapping[str, Keys], found: Mapping[str, Record]) -> dict[str, State]:
    """The state of each cell, by id.

    Args:
        cells: the matrix.
        keys: today's content addresses, by cell id.
        found: the whole records of the results folder, by cell id.
    """
    return {cell.id: _state(keys[cell.id], found.get(cell.id)) for cell in cells}


def _state(keys: Keys, record: Record | None) -> State:
    if record is None:
        return State.MISSING
    return State(record.status) if record.key == keys.scores else State.STALE


def choose(
    cells: Sequence[Cell], states: Mapping[str, State], *, retry_failed: bool, force: bool
) -> list[Cell]:
    """The cells that have to be completed now, in their order."""
    wanted = {State.STALE, State.MISSING}
    if retry_failed or force:
        wanted |= set(PROBLEMS)
    if force:
        wanted |= {State.DONE, State.INCOMPATIBLE}
    return [cell for cell in cells if states[cell.id] in wanted]


def first_seed(cells: Sequence[Cell], chosen: Sequence[Cell]) -> set[str]:
    """The ids of those cells of the first seed that are to be completed; none where there is one seed only.

    Args:
        cells: all that are wanted, seeds outermost.
        chosen: those of them that are to be completed now.
    """
    if len({cell.seed for cell in cells}) < 2:
        return set()
    return {cell.id for cell in chosen if cell.seed == cells[0].seed}


def check_rows_are_distinct(
    cells: Sequence[Cell], records: Mapping[str, Record], *, holder: str = "the matrix has"
) -> list[str]:
    """Makes sure that every row of the tables means one cell.

    Rows do not name releases and epochs: two cells that differ in nothing else cannot share a folder.

    Returns:
        Ids of records without measurements that another cell of the same rows now replaces.

    Raises:
        UsageError: naming the two cells.
    """
    owner: dict[Row, Cell] = {}
    asked = {_question(cell): cell for cell in cells}
    for cell in cells:
        other = owner.setdefault(key_of(cell), cell)
        if other.id != cell.id:
            raise UsageError(f"{cell.title}: {holder} it twice, with {_difference(cell, other)}")
    replaced = []
    for record in records.values():
        old = record.asked
        new = owner.get(key_of(old), asked.get(_question(old)))
        if new is None or new.id == old.id:
            continue
        if record.status is Status.DONE:
            raise UsageError(
                f"{old.title}: the folder holds it with {_difference(old, new)} wanted now; "
                "use another --out, or take its record away"
            )
        replaced.append(record.id)
    return replaced


def _question(cell: Cell) -> Row:
    """The key without the budget: of several budgets of a matrix all may stand, but none of another one."""
    return tuple(value for name, value in zip(KEYS, key_of(cell), strict=True) if name != "budget")


def _difference(first: Cell, second: Cell) -> str:
    a, b = first.to_json(), second.to_json()
    return ", ".join(f"{name} {a[name]!r} and {b[name]!r}" for name in a if a[name] != b[name])
