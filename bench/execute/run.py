"""Running a matrix, and asking how far a run has come."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.cache.store import Store
from bench.execute.budget import Deadline, most_informative_first
from bench.execute.cell_locks import CellLocks
from bench.execute.control import Control
from bench.execute.engines import engine_devices, engine_workers, make_executor
from bench.execute.executor import Executor
from bench.execute.folder.matrix_status import MatrixStatus, clean, counts, load, status
from bench.execute.options import RunOptions
from bench.execute.plan import PROBLEMS, State, check_rows_are_distinct, choose, first_seed, survey
from bench.execute.progress import display as make_display
from bench.execute.progress.dry_run import show_dry_run
from bench.execute.refresh import Refresher
from bench.execute.schedule import Schedule
from bench.execute.writable import check_places, make_writable
from bench.matrix import Cell, Filters
from bench.matrix.user_inputs import build_user_inputs
from bench.records.files import default_cache
from bench.records.publication import replaced as replaced_results
from bench.records.record import Record
from bench.records.results import Results

__all__ = ["RunSummary", "clean", "run_matrix", "status"]


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """How a run ended.

    Attributes:
        counts: cells of the matrix by state, as they stand now.
        ran: cells that this run completed.
        skipped: cells that were completed before, or by another run meanwhile.
        interrupted: Ctrl-C or SIGTERM ended it.
        tables: whether the tables could be written.
        seconds: wall time.
    """

    counts: Mapping[str, int]
    ran: int
    skipped: int
    interrupted: bool = False
    tables: bool = True
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """Cells with a result."""
        return self.counts.get(State.DONE, 0)

    @property
    def failed(self) -> int:
        """Cells that failed, timed out or ran out of memory."""
        return sum(self.counts.get(state, 0) for state in PROBLEMS)

    @property
    def exit_code(self) -> int:
        """0 all done or n/a, 1 some failed, 130 interrupted."""
        if self.interrupted:
            return 130
        return int(self.failed > 0 or not self.tables)


def run_matrix(
    matrix: str,
    *,
    out: Path,
    filters: Filters | None = None,
    options: RunOptions | None = None,
    wanted: Callable[[Cell], bool] | None = None,
) -> RunSummary:
    """Completes every cell of a matrix that is not completed yet, and writes the tables.

    Args:
        matrix: name (``full``, ``full@4``) or a path ending in ``.toml``.
        out: the results folder; what is finished there is not run again.
        filters: restrictions.
        options: how.
        wanted: only these cells.

    Raises:
        UsageError: the arguments do not make sense together, or the folder or the cache cannot be written.
        DiskFullError: there is no space left; everything finished is kept.
    """
    how = options or RunOptions()
    check_places(out, default_cache())
    shown = make_display(how.display)
    names = engine_devices(how.engine, how.device, how.address)
    workers = how.workers or engine_workers(how.engine, names)
    plan = load(matrix, filters, Results(out, shown.message), names, shard=how.shard, wanted=wanted)
    lying, found = plan.results.sound(), plan.results.records()
    replaced = check_rows_are_distinct(plan.cells, lying)
    states = survey(plan.cells, plan.keys, found)
    chosen = choose(plan.cells, states, retry_failed=how.retry_failed, force=how.force)
    for line in plan.read:
        shown.message(line)
    build_user_inputs(chosen)
    if chosen and (warning := replaced_results(out)):
        shown.message(warning)
    if how.budget is not None:
        waiting = {cell.id for cell in chosen}
        chosen = most_informative_first(chosen, [cell for cell in plan.cells if cell.id not in waiting])
    skipped = len(plan.cells) - len(chosen)
    if how.dry_run:
        json, device = how.display == "json", names[0]
        show_dry_run(
            plan, chosen, states=states, device=device, workers=workers, force=how.force, as_json=json
        )
        return RunSummary(counts=counts(states), ran=0, skipped=skipped)
    make_writable(out, default_cache())
    plan.results.sweep()
    Store(default_cache()).sweep()
    plan.results.remove(replaced)
    first = first_seed(plan.cells, chosen)
    total = sum(not cell.incompatible for cell in chosen)
    control = Control(
        plan.results, shown, Refresher(out), total=total, device=names[0], workers=workers, first=first
    )
    control.learn(found.values())
    shown.start(counts(states), control.progress())
    executor = make_executor(how, devices=names, workers=workers, cache=default_cache())
    return _run(plan, chosen, control, executor, how, before=lying, skipped=skipped)


def _run(
    plan: MatrixStatus,
    chosen: list[Cell],
    control: Control,
    executor: Executor,
    how: RunOptions,
    *,
    before: Mapping[str, Record],
    skipped: int,
) -> RunSummary:
    """Runs the chosen cells, then writes the tables and says how it ended."""
    start = time.monotonic()
    with control:
        locks = CellLocks(plan.results, before, control.completed_elsewhere)
        _work(plan, chosen, control, executor, locks, force=how.force, budget=how.budget)
    tables = control.write_tables()
    now, seconds = counts(plan.states()), time.monotonic() - start
    left = len(chosen) - control.completed - control.elsewhere
    if how.budget is not None and left and not control.interrupted:
        control.note(f"the budget is spent: {left} cells are left; the same command continues")
    control.finish(now, seconds)
    return RunSummary(
        counts=now,
        ran=control.completed,
        skipped=skipped + control.elsewhere,
        interrupted=control.interrupted,
        tables=tables,
        seconds=seconds,
    )


def _work(
    plan: MatrixStatus,
    chosen: list[Cell],
    control: Control,
    executor: Executor,
    locks: CellLocks,
    *,
    force: bool,
    budget: float | None,
) -> None:
    """Records what is declared impossible, then runs the rest."""
    store = Store(default_cache(), warn=control.note)
    deadline = None if budget is None else Deadline(time.monotonic() + budget, control.expected)
    possible = []
    for cell in chosen:
        keys = plan.keys[cell.id]
        if cell.incompatible:
            control.refuse(cell, keys, cell.incompatible)
            continue
        if force:
            store.discard(keys)
        possible.append((cell, keys))
    schedule = Schedule(
        possible,
        ready=store.has,
        fits=deadline.fits if deadline else lambda task: True,
        claim=locks.take,
        release=locks.give_back,
    )
    with locks, executor:
        executor.run(schedule, control, deadline=deadline.at if deadline else None)
