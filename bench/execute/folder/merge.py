"""Putting results folders together: the parts of a matrix that several machines have run.

A cell that several folders hold is taken from one of them: a result wins over a failure, then the one that
was finished last. What the target folder has is treated like any other source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.api.errors import UsageError
from bench.execute.plan import check_rows_are_distinct
from bench.records.outcome import Outcome
from bench.records.record import Record, Status
from bench.records.results import Results

_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Merged:
    """What became of the cells.

    Attributes:
        added: cells that the target did not have.
        replaced: cells that it had worse or older.
        kept: cells of the sources that it has at least as good.
        differing: titles of cells that two folders hold under one key with other values: the same code
            gave different results on two machines.
    """

    added: int
    replaced: int
    kept: int
    differing: tuple[str, ...]


def merge(
    sources: Sequence[Path], out: Path, *, warn: Callable[[str], None] = lambda message: None
) -> Merged:
    """Commits the cells of some folders to one; the sources stay as they are.

    Args:
        sources: results folders.
        out: the target; made if it is not there.
        warn: is told of damaged files, which do not count.

    Raises:
        UsageError: a source is no results folder, or two folders hold different questions (releases or
            epochs) in the same rows; nothing has been written.
        DiskFullError: the cells committed before are whole; the same command continues.
    """
    for source in sources:
        if not (source / "records").is_dir():
            raise UsageError(f"{source}: there is no records folder in it, so it holds no results")
    target = Results(out, warn)
    there = {outcome.record.id: outcome for outcome in target.outcomes()}
    best: dict[str, Outcome] = dict(there)
    differing: dict[str, str] = {}
    kept = 0
    for source in sources:
        for outcome in Results(source, warn).outcomes():
            record, before = outcome.record, best.get(outcome.record.id)
            if before is not None and _differ(before, outcome):
                differing[record.id] = record.asked.title
            if before is None or _worth(record) > _worth(before.record):
                best[record.id] = outcome
            else:
                kept += 1
    cells = [outcome.record.asked for outcome in best.values()]
    check_rows_are_distinct(cells, {}, holder="the folders have")
    new = [outcome for name, outcome in best.items() if there.get(name) is not outcome]
    for outcome in new:
        if outcome.sheet is not None and not outcome.sheet.startswith(_PNG):
            warn(f"sheets/{outcome.record.id}.png: left out, as it is no PNG")
            outcome = replace(outcome, sheet=None)
        target.commit(outcome)
    target.fold()
    replaced = sum(outcome.record.id in there for outcome in new)
    return Merged(len(new) - replaced, replaced, kept, tuple(differing.values()))


def _worth(record: Record) -> tuple[int, str]:
    rank = {Status.DONE: 2, Status.INCOMPATIBLE: 1}
    return rank.get(record.status, 0), record.provenance.finished


def _differ(first: Outcome, second: Outcome) -> bool:
    both = first.record.status is second.record.status is Status.DONE
    return both and first.record.key == second.record.key and set(first.rows) != set(second.rows)
