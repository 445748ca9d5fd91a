"""A small choice of cells in which everything that a folder reports stands at least once."""

from __future__ import annotations

import random
from collections.abc import Mapping

from bench.matrix.cells import Cell
from bench.plugins import attack_card

Trait = tuple[str, ...]


def traits(cell: Cell) -> frozenset[Trait]:
    """What one measurement of a cell checks: its attack, its defense and its setting.

    Attack and defense count apart for naive and adaptive attackers. An attack that never sees the release
    says nothing of a defense or a setting.
    """
    own = {("attack", cell.attack.label, str(cell.adversary))}
    if not attack_card(cell.attack.name).observes_release:
        return frozenset(own)
    setting = (cell.channel, cell.dataset.label, cell.model, cell.checkpoint, str(cell.batch_size))
    return frozenset({*own, ("defense", cell.defense.label, str(cell.adversary)), ("setting", *setting)})


def cover(cells: Mapping[str, Cell], draw: random.Random) -> list[str]:
    """Ids of cells in which all traits of all cells stand once; the cell that adds most comes next.

    Args:
        cells: to choose from, by id.
        draw: decides between cells that add as much; those of a seed that is there already come first, since
            they may share its victims and generators.
    """
    adds = {name: traits(cell) for name, cell in cells.items()}
    missing = {trait for own in adds.values() for trait in own}
    shuffled = draw.sample(sorted(adds), len(adds))
    chosen: list[str] = []
    seeds: set[int] = set()
    while missing:
        best = max(shuffled, key=lambda name: (len(adds[name] & missing), cells[name].seed in seeds))
        chosen.append(best)
        seeds.add(cells[best].seed)
        missing -= adds[best]
    return chosen
