"""Running a matrix, and asking how far a run has come."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.matrix import Cell, Filters, expand, load_matrix
from bench.runs.control import Control
from bench.runs.devices import default_workers, device_class, devices
from bench.runs.identity import Identity, Keys, forget_digests
from bench.runs.local import LocalExecutor
from bench.runs.plan import PROBLEMS, State, check_rows_are_distinct, choose, survey
from bench.runs.progress import counted
from bench.runs.progress import display as make_display
from bench.runs.refresh import Refresher
from bench.runs.results import Results
from bench.runs.schedule import Schedule
from bench.runs.store import Store, default_cache


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """How a run ended.

    Attributes:
        counts: cells of the matrix by state, as they stand now.
        ran: cells that this run settled.
        skipped: cells that were settled before.
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


@dataclass(frozen=True)
class _Matrix:
    """The cells of a matrix beside what a folder holds of them."""

    cells: list[Cell]
    keys: dict[str, Keys]
    results: Results

    def states(self) -> dict[str, State]:
        return survey(self.cells, self.keys, self.results.snapshot())


def _load(matrix: str, filters: Filters | None, results: Results, names: list[str]) -> _Matrix:
    forget_digests()
    cells = expand(load_matrix(matrix), filters)
    identity = Identity(device_class(names))
    return _Matrix(cells, {cell.id: identity.keys(cell) for cell in cells}, results)


def _counts(states: Mapping[str, State]) -> dict[str, int]:
    found = Counter(states.values())
    return {str(state): found[state] for state in State if found[state]}


def status(matrix: str, out: Path, *, filters: Filters | None = None, device: str = "auto") -> dict[str, int]:
    """How many cells of a matrix are in which state; reads only.

    Args:
        matrix: name or file of the matrix.
        out: the results folder.
        filters: restrictions.
        device: as for :func:`run_matrix`; results of another device class are stale.
    """
    return _counts(_load(matrix, filters, Results(out), devices(device)).states())


def clean(matrix: str, out: Path) -> int:
    """Takes everything out of a results folder that is not a cell of the matrix.

    Returns:
        How many records went.
    """
    results = Results(out)
    wanted = {cell.id for cell in expand(load_matrix(matrix))}
    strangers = results.snapshot().records.keys() - wanted
    results.remove(strangers)
    results.fold()
    return len(strangers)


def run_matrix(
    matrix: str,
    *,
    out: Path,
    filters: Filters | None = None,
    device: str = "auto",
    workers: int | None = None,
    timeout: float | None = None,
    retry_failed: bool = False,
    force: bool = False,
    display: str = "auto",
    dry_run: bool = False,
) -> RunSummary:
    """Settles every cell of a matrix that is not settled yet, and writes the tables.

    Args:
        matrix: name (``full``, ``full@1``) or a path ending in ``.toml``.
        out: the results folder; what is finished there is not run again.
        filters: restrictions.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:0,1``.
        workers: processes; one per core, or per GPU, unless given.
        timeout: seconds that one task may take.
        retry_failed: run cells again that failed, timed out or ran out of memory.
        force: run all selected cells again, their victims included.
        display: ``auto``, ``rich``, ``plain`` or ``json``.
        dry_run: only say what would run.

    Raises:
        UsageError: the arguments do not make sense together.
        DiskFullError: there is no space left; everything finished is kept.
    """
    shown = make_display(display)
    names = devices(device)
    hands = default_workers(names) if workers is None else max(1, workers)
    plan = _load(matrix, filters, Results(out, shown.message), names)
    found = plan.results.snapshot()
    replaced = check_rows_are_distinct(plan.cells, found.records)
    states = survey(plan.cells, plan.keys, found)
    chosen = choose(plan.cells, states, retry_failed=retry_failed, force=force)
    if dry_run:
        return _dry_run(states, chosen)
    start = time.monotonic()
    plan.results.remove(replaced)
    executor = LocalExecutor(devices=names, workers=hands, timeout=timeout, cache=default_cache())
    control = Control(plan.results, shown, Refresher(out), total=len(chosen), device=names[0], workers=hands)
    shown.start(_counts(states), control.progress())
    with control:
        _work(plan, chosen, control, executor, force=force)
    tables = control.write_tables()
    now, seconds = _counts(plan.states()), time.monotonic() - start
    shown.finish(now, seconds)
    return RunSummary(
        counts=now,
        ran=control.settled,
        skipped=len(plan.cells) - len(chosen),
        interrupted=control.interrupted,
        tables=tables,
        seconds=seconds,
    )


def _work(
    plan: _Matrix, chosen: list[Cell], control: Control, executor: LocalExecutor, *, force: bool
) -> None:
    """Records what is declared impossible, then runs the rest."""
    store = Store(default_cache(), warn=control.note)
    possible = []
    for cell in chosen:
        keys = plan.keys[cell.id]
        if cell.incompatible:
            control.refuse(cell, keys, cell.incompatible)
            continue
        if force:
            store.discard(keys)
        possible.append((cell, keys))
    with executor:
        executor.run(Schedule(possible, ready=store.has), control)


def _dry_run(states: Mapping[str, State], chosen: list[Cell]) -> RunSummary:
    for cell in chosen:
        print(f"{states[cell.id]:8} {cell.title}")
    counts = _counts(states)
    print(f"{counted(counts)}; {len(chosen)} to run")
    return RunSummary(counts=counts, ran=0, skipped=len(states) - len(chosen))
