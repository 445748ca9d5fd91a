"""``--dry-run``: what would run, what of it is cached, and what it will take."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bench.cache.store import Store
from bench.execute.devices import device_class
from bench.execute.folder.matrix_status import MatrixStatus, counts
from bench.execute.plan import PROBLEMS, State
from bench.execute.progress.display import counted, duration
from bench.execute.progress.forecast import Estimate, Forecast
from bench.execute.progress.timed import training_seconds
from bench.matrix.cells import Cell
from bench.models.spec import parse_model
from bench.records.files import default_cache
from bench.records.results import Results
from bench.text import clean

PUBLISHED = Path("results")


def show_dry_run(
    standing: MatrixStatus,
    chosen: Sequence[Cell],
    *,
    states: Mapping[str, State],
    device: str,
    workers: int,
    force: bool,
    as_json: bool,
) -> None:
    """Prints one line per cell that would run, a table of all settings, and the sum.

    Predictions come from the records of the folder, and where it has none of this device class, from the
    published ones of ``results/<name of the folder>``. Of networks of the user's that no record knows two
    rounds of the training are timed.

    Args:
        standing: matrix and folder.
        chosen: the cells that would run, in that order.
        states: of all cells.
        device: that computes: ``cpu`` or ``cuda:0``.
        workers: how many would share the work.
        force: nothing that is cached would be used.
        as_json: one JSON object a line.
    """
    kind = device_class([device])
    forecast = Forecast(standing.results.records().values(), device=kind)
    if not forecast.records:
        published = Results(PUBLISHED / standing.results.folder.resolve().name)
        forecast = Forecast(published.records().values(), device=kind)
    store = Store(default_cache())
    possible = [cell for cell in chosen if not cell.incompatible]
    wanted = [cell for cell in possible if force or not store.has("victim", standing.keys[cell.id].victim)]
    timed = _timed(wanted, forecast, store, device)
    estimates = forecast.estimate(
        [(cell, standing.keys[cell.id]) for cell in possible],
        (lambda stage, key: False) if force else store.has,
    )
    costs = {cell.id: estimate for cell, estimate in zip(possible, estimates, strict=True)}
    for cell in chosen:
        print(_line(cell, states[cell.id], costs.get(cell.id), as_json=as_json))
    sums = _sums(list(costs.values()), workers)
    settings = _settings(standing.cells, states, costs, workers)
    if as_json:
        numbers = {"counts": counts(states), "to_run": len(chosen), "records": forecast.records, **sums}
        print(json.dumps({"event": "plan", **numbers, "settings": settings, "timed": timed}))
        return
    print(f"\n{_table(settings)}\n\n{counted(counts(states))}; {len(possible)} to run")
    for title, found in timed.items():
        text = found if isinstance(found, str) else f"{duration(found)}, by two timed rounds"
        print(f"training of {clean(title)}: {clean(text)}")
    if possible:
        print(_words(sums, forecast.records, workers, len(possible)))


def _timed(cells: Sequence[Cell], forecast: Forecast, store: Store, device: str) -> dict[str, float | str]:
    """Seconds of every training of a network of the user's that no record knows, or why there are none."""
    found: dict[str, float | str] = {}
    for cell in cells:
        title = f"{cell.model} on {cell.dataset.label}, {cell.channel}, B={cell.batch_size}"
        if title in found or parse_model(cell.model).plain or forecast.knows("victim", cell):
            continue
        try:
            seconds = training_seconds(cell, device=device, store=store)
        except Exception as error:  # of the user's code: the run will say so in its record
            found[title] = f"{type(error).__name__}: {error}"
        else:
            found[title] = round(seconds, 1)
            forecast.learn_training(cell, seconds)  # not the rounded ones: 0.0 would be no prediction
    return found


def _settings(
    cells: Sequence[Cell], states: Mapping[str, State], costs: Mapping[str, Estimate], workers: int
) -> list[dict[str, Any]]:
    """How far each setting is: its cells by state, and the seconds that are still to come."""
    found: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        place = (str(cell.channel), cell.dataset.label, cell.model, str(cell.checkpoint), cell.batch_size)
        found.setdefault(place, []).append(cell)
    rows = []
    for place, members in found.items():
        able = [states[cell.id] for cell in members if not cell.incompatible]
        coming = [costs[cell.id] for cell in members if cell.id in costs]
        known = sum(cost.known for cost in coming) / max(1, workers)
        rows.append(
            {
                **dict(zip(("channel", "dataset", "model", "checkpoint", "B"), place, strict=True)),
                "cells": len(members),
                "done": sum(state is State.DONE for state in able),
                "failed": sum(state in PROBLEMS for state in able),
                "missing": sum(state in (State.MISSING, State.STALE) for state in able),
                "n/a": len(members) - sum(state is not State.INCOMPATIBLE for state in able),
                "seconds": round(known, 1) if known or not coming else None,
                "at_least": any(cost.seconds is None for cost in coming),
            }
        )
    return rows


def _table(settings: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for row in settings:
        shown = {key: clean(value) for key, value in row.items() if key not in ("seconds", "at_least")}
        shorter = "at least " if row["at_least"] and row["seconds"] is not None else ""
        rows.append({**shown, "time": f"{shorter}{duration(row['seconds'])}"})
    return tabulate(rows, headers="keys", tablefmt="plain", disable_numparse=True)


def _line(cell: Cell, state: State, cost: Estimate | None, *, as_json: bool) -> str:
    if as_json:
        found = asdict(cost) if cost else None
        return json.dumps({"event": "cell", "id": cell.id, "cell": cell.title, "state": state, "cost": found})
    if cost is None:
        return f"{state:8} {'n/a':>9} {'':>9}  {clean(cell.title)}: {clean(cell.incompatible)}"
    seconds = "? s" if cost.seconds is None else f"{cost.seconds:.1f} s"
    memory = "? MiB" if cost.memory_mb is None else f"{cost.memory_mb:.0f} MiB"
    cached = f"  (cached: {', '.join(cost.cached)})" if cost.cached else ""
    return f"{state:8} {seconds:>9} {memory:>9}  {clean(cell.title)}{cached}"


def _sums(costs: Sequence[Estimate], workers: int) -> dict[str, float | int | None]:
    known = [cost.known for cost in costs]
    memory = [cost.memory_mb for cost in costs if cost.memory_mb is not None]
    predicted = [cost for cost in costs if cost.seconds is not None]
    # No cell is cut in two: the longest one is the least that the run can take.
    seconds = max(sum(known) / max(1, workers), max(known)) if predicted or any(known) else None
    return {
        "seconds": None if seconds is None else round(seconds, 1),
        "at_least": len(predicted) < len(costs),
        "memory_mb": max(memory, default=None),
        "predicted": len(predicted),
        "exact": sum(cost.exact for cost in predicted),
        "cached_stages": sum(len(cost.cached) for cost in costs),
        "stages": sum(cost.stages for cost in costs),
    }


def _words(sums: Mapping[str, float | int | None], records: int, workers: int, cells: int) -> str:
    cached = f"{sums['cached_stages']} of {sums['stages']} stages are cached"
    if sums["seconds"] is None:
        return f"no prediction: none of {records} earlier records is like these cells; {cached}"
    memory = "memory unknown" if sums["memory_mb"] is None else f"up to {sums['memory_mb']:.0f} MiB each"
    about = "at least" if sums["at_least"] else "about"
    return (
        f"{about} {duration(sums['seconds'])} on {workers} workers, {memory}; {cached}\n"
        f"predicted from {records} earlier records: {sums['exact']} cells from cells of the same kind, "
        f"{int(sums['predicted'] or 0) - int(sums['exact'] or 0)} scaled from similar ones, "
        f"{cells - int(sums['predicted'] or 0)} not or only in part"
    )
