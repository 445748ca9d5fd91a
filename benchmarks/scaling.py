"""`bench run` with more workers, more cells and more nodes, and what the driver costs. Wall-clock time."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.setting import table

MATRIX = """
name = "scaling"
version = 1
description = "A small matrix whose cells cost about the same."
seeds = {seeds}

[[block]]
datasets = ["mnist5k"]
models = ["lenet"]
checkpoints = ["initial"]
batch_sizes = [1]
releases = 8
budget = 200
epochs = 1
attacks = ["dlg", "idlg", "inverting_gradients"]
adversaries = ["naive"]
defenses = ["none", {{ name = "noise", sigma = [0.001, 0.01] }}, {{ name = "pruning", ratio = [0.5, 0.9] }}]
"""
CELLS = 15  # of one seed
PUBLISHED = Path(__file__).resolve().parents[1] / "results" / "full" / "records"
CORES = 16  # of a node of the cluster that the last paragraph is about
# The driver, which says at its end what it computed itself: workers are processes of their own.
DRIVER = """
import json, resource, sys
from bench.cli.main import main
try:
    main()
finally:
    own = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps(own.ru_utime + own.ru_stime), file=sys.stderr)
"""


@dataclass(frozen=True)
class Run:
    """One run in an empty folder with an empty cache.

    Attributes:
        where: workers of this machine, or nodes.
        cells: that were run.
        wall: seconds.
        driver: CPU seconds of the process that plans, hands out and writes.
        kept: bytes in the cache at the end, for each cell.
    """

    where: str
    cells: int
    wall: float
    driver: float
    kept: float


def run(where: str, seeds: int, options: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Measures one run."""
    with tempfile.TemporaryDirectory() as place:
        matrix = Path(place) / "scaling.toml"
        matrix.write_text(MATRIX.format(seeds=list(range(seeds))), encoding="utf-8")
        command = [sys.executable, "-c", DRIVER, "run", "--matrix", str(matrix), *options]
        start = time.monotonic()
        done = subprocess.run(
            [*command, "--out", f"{place}/out", "--display", "plain"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment, "BENCH_CACHE": f"{place}/cache"},
        )
        wall = time.monotonic() - start
        kept = sum(path.stat().st_size for path in Path(place, "cache").rglob("*") if path.is_file())
    cells = CELLS * seeds
    return Run(where, cells, wall, json.loads(done.stderr.strip().splitlines()[-1]), kept / cells)


def here() -> list[Run]:
    """One and two workers of this machine, with one, two and four times the cells."""
    sizes = ((1, 1), (2, 1), (1, 2), (2, 2), (2, 4))
    return [
        run(f"{workers} worker{'s' * (workers > 1)}", seeds, ["-j", str(workers)], {})
        for workers, seeds in sizes
    ]


def nodes() -> list[Run]:
    """One and two Ray nodes of one core on the loopback network; nothing where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        return []
    from tests.execute.ray_nodes import cluster

    runs = []
    with tempfile.TemporaryDirectory() as place, cluster(Path(place) / "c", dict(os.environ)) as found:
        options = ["--engine", "ray", "--address", found.address]
        runs.append(run("2 Ray nodes", 2, options, found.environment))
        found.kill("127.0.0.3")
        runs.insert(0, run("1 Ray node", 2, options, found.environment))
    return runs


def report() -> str:
    """The tables, and what follows for a large cluster."""
    local, distributed = here(), nodes()
    head = "Training, attacks, scores and start-up of the workers together:\n\n"
    text = head + _table(local, local[0])
    if distributed:
        text += "\n\nNodes of a Ray cluster on this machine's loopback network, one core each:\n\n"
        text += _table(distributed, distributed[0])
    return f"{text}\n\n{_thousand(local[-2], local[-1])}"


def _table(runs: Sequence[Run], first: Run) -> str:
    return table(
        [
            {
                "": run.where,
                "cells": str(run.cells),
                "wall-clock": f"{run.wall:.0f} s",
                "cells per minute": f"{run.cells / run.wall * 60:.0f}",
                f"speed against {first.where}, {first.cells} cells": f"{_speed(run) / _speed(first):.2f}x",
                "driver, CPU s": f"{run.driver:.1f}",
            }
            for run in runs
        ]
    )


def _speed(run: Run) -> float:
    return run.cells / run.wall


def _thousand(few: Run, many: Run) -> str:
    """What a thousand nodes need, by what was measured here and recorded in ``results/full``."""
    own = max((many.driver - few.driver) / (many.cells - few.cells), 1e-4)
    records = [json.loads(path.read_text(encoding="utf-8")) for path in PUBLISHED.rglob("*.json")]
    mean = sum(_stages(records).values()) / len(records)
    workers = mean / own
    cores = 1_000 * CORES
    store = cores / mean * many.kept / 1e9
    sentences = (
        f"The driver computes {1e3 * own:.0f} ms for each cell (the difference of the last two rows of",
        "the first table, start-up apart), and a cell of the published `full` takes a worker",
        f"{mean:.1f} s on the mean, what cells share counted once.",
        f"So one driver keeps about {workers:,.0f} workers busy, and a thousand nodes of {CORES} cores",
        f"want {cores / workers:,.0f} drivers: that many shards (`--shard I/N`), each with a cluster of its",
        "own, and `bench merge`.",
        f"`full` has {len(records):,} cells, fewer than those cores; no cluster ends it before its",
        f"longest chain of training and attack, {_longest(records):.0f} s.",
        f"A cell keeps {many.kept / 1e6:.2f} MB in the cache here, so that all cores write {store:.1f} GB",
        "a second to the store that they share.",
    )
    return "**A thousand nodes.** " + " ".join(sentences)


def _stages(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of every stage, by its key: victims, evaluators and generators serve many cells, scores one."""
    return {
        record["stages"].get(stage) or record["id"]: float(seconds)
        for record in records
        for stage, seconds in record["seconds"].items()
        if seconds is not None
    }


def _longest(records: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of the cell that must wait longest, if nothing that it needs is there."""
    return max(sum(float(seconds or 0) for seconds in record["seconds"].values()) for record in records)
