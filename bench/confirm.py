"""After a whole matrix: the defenses that its tables name on top, once more on fresh seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bench.execute.options import RunOptions
from bench.execute.plan import PROBLEMS, State
from bench.execute.run import RunSummary, run_matrix
from bench.matrix import Cell, Filters, load_matrix
from bench.records.results import CONFIRMATION

if TYPE_CHECKING:
    from bench.report.findings.confirmation import Named


def run_confirmed(
    matrix: str, *, out: Path, filters: Filters, options: RunOptions | None = None
) -> RunSummary:
    """Runs a matrix; when it is whole, runs what confirms its tables, and writes these again.

    Only a whole matrix names defenses: with filters, a shard, a budget or failed cells nothing is confirmed.

    Args:
        matrix: name or file.
        out: the results folder; the fresh seeds go into ``confirmation/`` below it.
        filters: restrictions.
        options: how.

    Returns:
        The summary of both.
    """
    how = options or RunOptions()
    summary = run_matrix(matrix, out=out, filters=filters, options=how)
    seeds = load_matrix(matrix).confirmation
    left = {str(state) for state in (State.MISSING, State.STALE, *PROBLEMS)} & {*summary.counts}
    if not seeds or filters != Filters() or how.partial or left or summary.interrupted:
        return summary
    return _confirm(matrix, tuple(seeds), out, summary, how)


def _confirm(
    matrix: str, seeds: tuple[int, ...], out: Path, summary: RunSummary, options: RunOptions
) -> RunSummary:
    from bench.report.analysis.leaderboard import build
    from bench.report.findings.confirmation import named
    from bench.report.frames import read_results
    from bench.report.write import write_report

    rows = named(build(read_results(out)))
    if not rows:
        return summary
    fresh, filters = out / CONFIRMATION, Filters(seeds=seeds)
    found = run_matrix(matrix, out=fresh, filters=filters, wanted=_among(rows), options=options)
    if found.ran:
        write_report(out)
    states = {*summary.counts, *found.counts}
    return RunSummary(
        counts={state: summary.counts.get(state, 0) + found.counts.get(state, 0) for state in states},
        ran=summary.ran + found.ran,
        skipped=summary.skipped + found.skipped,
        interrupted=found.interrupted,
        tables=summary.tables and found.tables,
        seconds=summary.seconds + found.seconds,
    )


def _among(rows: tuple[Named, ...]) -> Callable[[Cell], bool]:
    """Whether a cell belongs to one of the rows."""
    places = {row.place for row in rows}

    def wanted(cell: Cell) -> bool:
        setting = (str(cell.channel), cell.dataset.label, cell.model, str(cell.checkpoint), cell.batch_size)
        return (*setting, cell.defense.label, cell.strength) in places

    return wanted
