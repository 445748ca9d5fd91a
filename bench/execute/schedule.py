"""The order of the work: cells in the matrix's order, each after the victim and the evaluator it needs.

Victims, evaluators and generators are tasks of their own, so that no two workers train the same one. A cell
that has to wait for one is passed over for the next cell that can run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from bench.cache.keys import generator_of
from bench.matrix.cells import Cell
from bench.records.outcome import Failure, Keys


class Kind(StrEnum):
    """What a worker is asked for."""

    VICTIM = "victim"
    EVALUATOR = "evaluator"
    GENERATOR = "generator"
    CELL = "cell"


@dataclass(frozen=True, kw_only=True)
class Task:
    """One unit of work; a victim or an evaluator is named by the first cell that needs it."""

    kind: Kind
    cell: Cell
    keys: Keys

    @property
    def title(self) -> str:
        """One line for displays."""
        cell = self.cell
        if self.kind is Kind.CELL:
            return cell.title
        if self.kind is Kind.EVALUATOR:
            return f"evaluator for {cell.dataset.label} seed={cell.seed}"
        if self.kind is Kind.GENERATOR:
            return f"generator {generator_of(cell)} for {cell.dataset.label} seed={cell.seed}"
        strength = "" if cell.strength is None else f"={cell.strength:g}"
        return (
            f"victim {cell.model} under {cell.defense.label}{strength} on {cell.dataset.label} "
            f"B={cell.batch_size} seed={cell.seed}"
        )

    @property
    def group(self) -> tuple[str, ...]:
        """Tasks that take about equally long."""
        cell = self.cell
        if self.kind is Kind.GENERATOR:
            return (self.kind, cell.dataset.label, generator_of(cell))
        common = (self.kind, cell.dataset.label, cell.model, str(cell.batch_size))
        if self.kind is not Kind.CELL:
            return common
        return (*common, str(cell.channel), cell.attack.label, str(cell.adversary), str(cell.budget))


Needs = tuple[Kind, str]


class Claim(StrEnum):
    """Whose a cell is, where several runs share a folder."""

    OURS = "ours"
    THEIRS = "theirs"
    """Another run works on it; it may come back."""
    COMPLETED = "completed"
    """Another run has recorded it meanwhile."""


class Schedule:
    """Hands out tasks one by one.

    Args:
        cells: what is to be run, with its keys, in order.
        ready: whether the result of a victim or an evaluator is in the store.
        fits: whether a task may still begin; what may not is passed over.
        claim: asked for every cell that could be handed out; a completed one is dropped.
        release: told when a claimed cell has ended.

    Attributes:
        waits: a cell could run now if no other run was working on it.
    """

    def __init__(
        self,
        cells: Iterable[tuple[Cell, Keys]],
        ready: Callable[[Kind, str], bool],
        *,
        fits: Callable[[Task], bool] = lambda task: True,
        claim: Callable[[Task], Claim] = lambda task: Claim.OURS,
        release: Callable[[Task], None] = lambda task: None,
    ) -> None:
        self.waits = False
        self._fits = fits
        self._claim = claim
        self._release = release
        self._waiting = [Task(kind=Kind.CELL, cell=cell, keys=keys) for cell, keys in cells]
        self._ready: dict[Needs, bool] = {}
        self._running: set[Needs] = set()
        self._failures: dict[Needs, Failure] = {}
        for task in self._waiting:
            for needs in _needs(task):
                if needs not in self._ready:
                    self._ready[needs] = ready(*needs)

    def remaining(self) -> list[Task]:
        """All tasks that have not been handed out."""
        seen = (
            {needs for needs, there in self._ready.items() if there} | self._running | self._failures.keys()
        )
        tasks: list[Task] = []
        for task in self._waiting:
            for needs in _needs(task):
                if needs not in seen:
                    seen.add(needs)
                    tasks.append(Task(kind=needs[0], cell=task.cell, keys=task.keys))
            tasks.append(task)
        return tasks

    def next(self) -> Task | None:
        """The first task that can run now; None if there is none, until another one has ended."""
        self.waits = False
        for task in list(self._waiting):
            missing = [needs for needs in _needs(task) if not self._ready[needs]]
            if not missing and self._fits(task):
                claim = self._claim(task)
                if claim is not Claim.THEIRS:
                    self._waiting.remove(task)
                if claim is Claim.OURS:
                    return task
                self.waits |= claim is Claim.THEIRS
            for needs in missing:
                first = Task(kind=needs[0], cell=task.cell, keys=task.keys)
                if needs not in self._running and needs not in self._failures and self._fits(first):
                    self._running.add(needs)
                    return first
        return None

    def back(self, task: Task) -> None:
        """Takes a task back whose worker was lost through no fault of its own; it is the next one."""
        if task.kind is Kind.CELL:
            self._waiting.insert(0, task)
        else:
            self._running.discard(_name(task.kind, task.keys))

    def ended(self, task: Task, failure: Failure | None) -> list[tuple[Task, Failure]]:
        """Notes the end of a task.

        Returns:
            The cells that can never run because what they need has failed, with the reason.
        """
        if task.kind is Kind.CELL:
            self._release(task)
            return []
        needs = _name(task.kind, task.keys)
        self._running.discard(needs)
        if failure is None:
            self._ready[needs] = True
            return []
        self._failures[needs] = failure
        reason = replace(failure, reason=f"{task.kind}: {failure.reason}")
        lost = [waiting for waiting in self._waiting if needs in _needs(waiting)]
        self._waiting = [waiting for waiting in self._waiting if needs not in _needs(waiting)]
        return [(waiting, reason) for waiting in lost]


def _name(kind: Kind, keys: Keys) -> Needs:
    return kind, str(getattr(keys, kind))


def _needs(task: Task) -> list[Needs]:
    """What must be there before a task; a generator comes last, because the evaluator judges it."""
    kinds = [Kind.VICTIM, Kind.EVALUATOR]
    if task.keys.generator:
        kinds.append(Kind.GENERATOR)
    return [_name(kind, task.keys) for kind in kinds]
