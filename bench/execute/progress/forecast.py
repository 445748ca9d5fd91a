"""What cells will take, from what earlier ones took: seconds of every stage, and memory.

A stage is predicted from the records that are most like it; where only records of another budget or number
of releases are there, seconds are scaled with both. What is in the cache takes no time, and a victim, an
evaluator or a release that several cells share is paid for once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from statistics import mean

from bench.cache.keys import generator_of
from bench.channels import channel
from bench.matrix.cells import Cell
from bench.records.outcome import Keys
from bench.records.record import Record, Status

STAGES = ("victim", "evaluator", "generator", "release", "reconstruction", "scores")
_Features = tuple[object, ...]


@dataclass(frozen=True)
class Estimate:
    """What one cell will cost.

    Attributes:
        seconds: of the stages that are not in the cache; None where no record is like one of them.
        known: seconds of those of them that can be predicted: all where ``seconds`` is known.
        memory_mb: the peak over these stages; None where unknown.
        cached: stages that are there.
        stages: how many there are in all.
        exact: every number comes from cells with the same budget and releases.
    """

    seconds: float | None
    known: float
    memory_mb: float | None
    cached: tuple[str, ...]
    stages: int
    exact: bool


class Forecast:
    """Learns from finished cells.

    Args:
        records: of any matrix; only finished ones count.
        device: class of the device that is asked about; records of the other class do not count.
    """

    def __init__(self, records: Iterable[Record], *, device: str) -> None:
        self._seconds: dict[_Features, list[float]] = defaultdict(list)
        self._memory: dict[_Features, list[float]] = defaultdict(list)
        self.records = 0
        for record in records:
            here = "cpu" if record.provenance.device == "cpu" else "cuda"
            if record.status is Status.DONE and here == device:
                self.records += 1
                self._learn(record)

    def estimate(self, cells: Iterable[tuple[Cell, Keys]], has: Callable[[str, str], bool]) -> list[Estimate]:
        """What each of these cells will cost, in their order.

        Args:
            cells: what is to be run.
            has: whether the result of a stage is stored under a key.
        """
        paid: set[tuple[str, str]] = set()
        return [self._cell(cell, keys, has, paid) for cell, keys in cells]

    def knows(self, stage: str, cell: Cell) -> bool:
        """Whether the seconds of a stage of this cell can be predicted."""
        return _nearest(self._seconds, stage, cell)[0] is not None

    def learn_training(self, cell: Cell, seconds: float) -> None:
        """Takes what a victim was timed to need."""
        for features, scale in _ladder("victim", cell):
            self._seconds[features].append(seconds / scale)

    def _cell(
        self, cell: Cell, keys: Keys, has: Callable[[str, str], bool], paid: set[tuple[str, str]]
    ) -> Estimate:
        names = asdict(keys)
        wanted = [stage for stage in STAGES if names[stage]]
        cached = tuple(stage for stage in wanted if has(stage, names[stage]))
        parts: list[float | None] = []
        memory: list[float | None] = []
        exact = True
        for stage in wanted:
            if stage in cached or (stage, names[stage]) in paid:
                continue
            seconds, same = _nearest(self._seconds, stage, cell)
            if seconds is not None:
                paid.add((stage, names[stage]))
            parts.append(seconds)
            memory.append(_nearest(self._memory, stage, cell, peak=True)[0])
            exact = exact and same
        known = [value for value in parts if value is not None]
        peak = max((value for value in memory if value is not None), default=None)
        total = sum(known) if len(known) == len(parts) else None
        return Estimate(total, sum(known), peak, cached, len(wanted), exact)

    def _learn(self, record: Record) -> None:
        cell = record.asked
        seconds = record.seconds.model_dump()
        memory = record.memory_mb.model_dump()
        memory["reconstruction"] = memory["reconstruction"] or record.peak_memory_mb
        for stage in STAGES:
            for features, scale in _ladder(stage, cell):
                if seconds[stage] is not None:
                    self._seconds[features].append(seconds[stage] / scale)
                if memory[stage] is not None:
                    self._memory[features].append(memory[stage])


def _ladder(stage: str, cell: Cell) -> list[tuple[_Features, float]]:
    """What a stage's cost depends on, the most telling first, and what seconds are divided by there."""
    data, shape = cell.dataset.label, (cell.model, cell.batch_size)
    where = (*shape, cell.channel)
    protocol = channel(cell.channel).central
    if stage == "evaluator":
        return [((stage, data), 1.0)]
    if stage == "generator":
        return [((stage, data, generator_of(cell)), 1.0)]
    if stage == "victim":
        return [
            ((stage, data, *shape, protocol, cell.epochs, cell.defense.label), 1.0),
            ((stage, data, *shape, protocol, cell.epochs), 1.0),
        ]
    if stage == "release":
        return [((stage, data, *where, cell.releases), 1.0), ((stage, data, *where), float(cell.releases))]
    if stage == "scores":
        images = cell.releases * cell.batch_size
        return [((stage, data, images), 1.0), ((stage, data), float(images))]
    attack, work = (cell.attack.label, cell.adversary), float(cell.releases * cell.budget)
    return [
        ((stage, data, *where, *attack, cell.defense.label, cell.budget, cell.releases), 1.0),
        ((stage, data, *where, *attack, cell.budget, cell.releases), 1.0),
        ((stage, data, *where, *attack), work),
        ((stage, data, *where), work),
    ]


def _nearest(
    known: dict[_Features, list[float]], stage: str, cell: Cell, *, peak: bool = False
) -> tuple[float | None, bool]:
    """The mean over the most similar cells (their peak, unscaled, if asked), and whether they are alike."""
    for features, scale in _ladder(stage, cell):
        if found := known.get(features):
            return (max(found) if peak else mean(found) * scale), scale == 1.0
    return None, False
