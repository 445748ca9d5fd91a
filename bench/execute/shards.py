"""Parts of a matrix for machines that know nothing of each other: ``--shard 2/8``.

All cells of one victim are in one part, so that no victim is trained twice; the parts are as even as that
allows. Which part a cell is in depends on the matrix and the filters alone, never on what is finished.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.api.errors import UsageError
from bench.matrix.cells import Cell, Variant

_FORM = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")
_Victim = tuple[Variant, str, Variant, int, float | None, int]


@dataclass(frozen=True)
class Shard:
    """One of ``count`` parts; ``index`` counts from 0."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"

    def select(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells of this part, in their order."""
        victims = [_victim(cell) for cell in cells]
        sizes = Counter(victims)
        filled = [0] * self.count
        mine: set[_Victim] = set()
        for victim, size in sorted(sizes.items(), key=lambda item: -item[1]):  # stable: ties by first cell
            part = filled.index(min(filled))
            filled[part] += size
            if part == self.index:
                mine.add(victim)
        return [cell for cell, victim in zip(cells, victims, strict=True) if victim in mine]


def parse_shard(text: str) -> Shard:
    """Reads ``i/n``.

    Raises:
        UsageError: the text has another form, or there is no such part.
    """
    match = _FORM.fullmatch(text.strip())
    if not match:
        raise UsageError(f"shard {text!r}: write i/n, like 0/8 for the first of eight parts")
    index, count = int(match[1]), int(match[2])
    if index >= count:
        raise UsageError(
            f"shard {text!r}: i counts from 0, so the last of {count} parts is {count - 1}/{count}"
        )
    return Shard(index, count)


def _victim(cell: Cell) -> _Victim:
    return cell.dataset, cell.model, cell.defense, cell.batch_size, cell.epochs, cell.seed
