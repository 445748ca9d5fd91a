"""How a results folder stands against a matrix: counting its cells, and taking strangers out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.cache.keys import Identity, forget_digests
from bench.execute.devices import device_class, devices
from bench.execute.plan import State, survey
from bench.execute.shards import Shard
from bench.matrix import Cell, Filters, expand, load_matrix
from bench.matrix.absent import without_data
from bench.matrix.user_inputs import within_data
from bench.records.outcome import Keys
from bench.records.results import Results


@dataclass(frozen=True)
class MatrixStatus:
    """The cells of a matrix beside what a folder holds of them.

    Attributes:
        cells: the matrix, filtered, of one shard.
        keys: today's content addresses, by cell id.
        results: the folder.
        read: a line on each data set of the user's.
    """

    cells: list[Cell]
    keys: dict[str, Keys]
    results: Results
    read: list[str] = field(default_factory=list)

    def states(self) -> dict[str, State]:
        """The state of each cell now, by id."""
        return survey(self.cells, self.keys, self.results.records())


def load(
    matrix: str,
    filters: Filters | None,
    results: Results,
    names: list[str],
    *,
    shard: Shard | None = None,
    wanted: Callable[[Cell], bool] | None = None,
) -> MatrixStatus:
    """Reads a matrix and computes the keys of its cells.

    Args:
        matrix: name or file.
        filters: restrictions.
        results: the folder.
        names: the devices; their class is part of the keys.
        shard: which part of the cells; None is all of them.
        wanted: which of the cells; None is all of them.
    """
    forget_digests()
    cells = without_data(expand(load_matrix(matrix), filters))
    cells = [cell for cell in cells if wanted is None or wanted(cell)]
    if shard is not None:
        cells = shard.select(cells)
    cells, read = within_data(cells, filters or Filters())
    identity = Identity(device_class(names))
    return MatrixStatus(cells, {cell.id: identity.keys(cell) for cell in cells}, results, read)


def counts(states: Mapping[str, State]) -> dict[str, int]:
    """How many cells are in which state; states of no cell are left out."""
    found = Counter(states.values())
    return {str(state): found[state] for state in State if found[state]}


def status(matrix: str, out: Path, *, filters: Filters | None = None, device: str = "auto") -> dict[str, int]:
    """How many cells of a matrix are in which state; reads only.

    Args:
        matrix: name or file of the matrix.
        out: the results folder.
        filters: restrictions.
        device: ``auto``, ``cpu`` or ``cuda``; results of another device class are stale.
    """
    return counts(load(matrix, filters, Results(out), devices(device)).states())


def strangers(matrix: str, out: Path) -> dict[str, str]:
    """The titles of the records in a folder that are no cell of the matrix, by id; reads only."""
    asked = load_matrix(matrix)
    wanted = {cell.id for cell in expand(asked)}
    if asked.confirmation:
        wanted |= {cell.id for cell in expand(asked, Filters(seeds=tuple(asked.confirmation)))}
    found = Results(out).sound()
    return {name: record.asked.title for name, record in found.items() if name not in wanted}


def clean(matrix: str, out: Path) -> int:
    """Takes everything out of a results folder that is not a cell of the matrix.

    Returns:
        How many records went.
    """
    results = Results(out)
    gone = strangers(matrix, out)
    results.remove(gone)
    results.fold()
    return len(gone)
