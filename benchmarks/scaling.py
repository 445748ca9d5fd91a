"""`bench run` with one and two workers, and with twice the cells. Wall-clock time."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def seconds(workers: int, seeds: int) -> float:
    """One run in an empty folder with an empty cache."""
    with tempfile.TemporaryDirectory() as place:
        matrix = Path(place) / "scaling.toml"
        matrix.write_text(MATRIX.format(seeds=list(range(seeds))), encoding="utf-8")
        command = [sys.executable, "-m", "bench.cli.main", "run", "--matrix", str(matrix), "-j", str(workers)]
        start = time.monotonic()
        subprocess.run(
            [*command, "--out", f"{place}/out", "--display", "plain"],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "BENCH_CACHE": f"{place}/cache"},
        )
        return time.monotonic() - start


def report() -> str:
    """The table."""
    rows = []
    first = None
    for workers, seeds in ((1, 1), (2, 1), (1, 2), (2, 2)):
        taken = seconds(workers, seeds)
        first = first or taken
        rows.append(
            {
                "workers": str(workers),
                "cells": str(15 * seeds),
                "wall-clock": f"{taken:.0f} s",
                "cells per minute": f"{15 * seeds / taken * 60:.0f}",
                "speed against one worker, 15 cells": f"{15 * seeds / taken / (15 / first):.2f}x",
            }
        )
    return "Training, attacks, scores and start-up of the workers together:\n\n" + table(rows)
