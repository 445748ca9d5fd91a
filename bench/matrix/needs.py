"""What a cell needs of its data set, beside what the data set has: ``n/a`` before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.channels import channel, terms
from bench.matrix.cells import Cell
from bench.models.spec import parse_model
from bench.plugins import attack_card

if TYPE_CHECKING:
    from bench.api.dataset import Dataset, Splits


@dataclass(frozen=True)
class Held:
    """What a data set has.

    Attributes:
        private: how many private training images of each class.
        auxiliary: how many images attackers have.
        images: that the parts have, in words.
    """

    private: tuple[int, ...]
    auxiliary: int
    images: str

    @classmethod
    def of(cls, dataset: Dataset, splits: Splits) -> Held:
        """Counts the parts, once they were read."""
        from bench.api.rows import split_sizes

        counts = splits.private_train.labels.bincount(minlength=dataset.num_classes)
        sizes = split_sizes(splits)
        return cls(tuple(counts.tolist()), len(splits.auxiliary), sizes)


def unmet(cell: Cell, held: Held) -> str:
    """Why the images do not suffice for a cell; empty if they do."""
    return _private(cell, held) or _trained(cell, sum(held.private)) or _auxiliary(cell, held.auxiliary)


def _private(cell: Cell, held: Held) -> str:
    """What is released, and what a reconstruction is compared with."""
    from bench.metrics.identity import MIN_POOL

    if terms(cell.channel).by_class:
        classes, fewest = len(held.private), min(held.private)
        if cell.releases > classes:
            return f"the data set has {classes} classes, {cell.releases} are attacked"
        if fewest < cell.batch_size:
            return f"a class has {fewest} private images, B = {cell.batch_size} are rebuilt of each"
        return ""
    released, private = cell.releases * cell.batch_size, sum(held.private)
    if private - released >= MIN_POOL:
        return ""
    left = max(0, private - released)
    return (
        f"{cell.releases} releases of {cell.batch_size} leave {left} of {private} private images as "
        f"distractors, {MIN_POOL} are the least"
    )


def _trained(cell: Cell, private: int) -> str:
    """What a round of the federation takes."""
    clients = dict(parse_model(cell.model).federation).get("clients", 0)
    if not channel(cell.channel).federated or int(clients) * cell.batch_size <= private:
        return ""
    return (
        f"a round of {clients} clients takes {int(clients) * cell.batch_size} images, {private} are private"
    )


def _auxiliary(cell: Cell, auxiliary: int) -> str:
    """What the attack's generator is trained on."""
    if not attack_card(cell.attack.name).needs_generator:
        return ""
    from bench.victims.generator import SCHEDULES

    kind = str(cell.attack.arguments()["generator"])
    if auxiliary >= SCHEDULES[kind].batch:
        return ""
    return f"generator {kind} needs {SCHEDULES[kind].batch} auxiliary images, there are {auxiliary}"
