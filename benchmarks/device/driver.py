"""The stages one after another, each in a process of its own and within its share of the time."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.device import plan, render
from benchmarks.device.book import FAILED, INAPPLICABLE, STOPPED, UNMEASURED, Book, Row
from benchmarks.device.collect import CHECKOUT
from benchmarks.device.supervise import Ended, supervise

RESERVE = 8.0
"""Seconds kept for writing the results."""
FEW_FILES = 2
"""With tests, where the script itself is tried: each takes a second to import."""
SMOKE_END = 30.0
"""Seconds before its limit at which the smoke run is interrupted, so that its tables are written."""
LEAST = 20.0
"""Seconds that a stage may take however small its share is, if they are left: libraries load slowly."""
SHARES = {"environment": 1.0, "tests": 4.0, "speed": 4.5, "smoke": 5.0, "speed, the rest": 2.5}
"""A stage may take its part of what is left; what it leaves goes to the later ones."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked; ``started`` is the wall-clock time at which the script began."""

    out: Path
    device: str
    quick: bool
    minutes: float
    started: float


class Driver:
    """One measurement of one machine."""

    def __init__(self, options: Options, scratch: Path) -> None:
        from bench.execute.executor import ENVIRONMENT

        self.options = options
        self.scratch = scratch
        self.cuda = options.device.startswith("cuda")
        self.end = options.started + 60 * options.minutes - RESERVE
        self.environment = dict(ENVIRONMENT) | ({} if self.cuda else {"CUDA_VISIBLE_DEVICES": ""})
        self.book = Book(options.out, hidden=(CHECKOUT, scratch, Path(sys.prefix)))
        self.cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.book.head = {
            "device": options.device,
            "quick": options.quick,
            "minutes": options.minutes,
            "started": datetime.fromtimestamp(options.started, UTC).isoformat(timespec="seconds"),
            "finished": None,
        }

    def run(self) -> bool:
        """All stages; whether each was done and nothing failed."""
        self.cases = plan.cases(quick=self.options.quick)
        stages: dict[str, Callable[[float], Ended]] = {
            "environment": self.describe,
            "tests": self.test,
            "speed": lambda seconds: self.measure([case for case in self.cases if not case.dear], seconds),
            "smoke": self.smoke,
            "speed, the rest": lambda seconds: self.measure(self.cases, seconds),
        }
        for name in stages:
            self.book.plan("stages", {"key": name})
        for case in self.cases:
            reason = plan.not_applicable(case.attack, case.model)
            status = {"status": INAPPLICABLE, "reason": reason} if reason else {}
            self.book.plan("speed", {**case.row(), **status})
        self.save()
        for name, stage in stages.items():
            self.carry_out(name, stage)
        self.book.head["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        self.save()
        return self.sound()

    def carry_out(self, name: str, stage: Callable[[float], Ended]) -> None:
        """One stage; whatever it raises is its row's reason."""
        later = list(SHARES)[list(SHARES).index(name) :]
        left = self.end - time.time()
        limit = max(left * SHARES[name] / sum(SHARES[one] for one in later), min(left, LEAST))
        row: Row = {"key": name, "limit": round(limit, 1)}
        if limit < 1:
            self.book.put("stages", {**row, "status": UNMEASURED, "reason": "no time was left"})
            return
        print(f"== {name}: at most {limit:.0f} s", flush=True)
        begun = time.monotonic()
        try:
            ended = stage(limit)
            row |= {"status": ended.status, "reason": ended.reason}
        except Exception as error:
            row |= {"status": FAILED, "reason": f"{type(error).__name__}: {error}"[:400]}
        self.book.put("stages", {**row, "seconds": round(time.monotonic() - begun, 1)})
        self.save()
        print(f"   {row['status']} {row['reason']}", flush=True)

    def describe(self, seconds: float) -> Ended:
        """Stage: the machine and the libraries."""
        return self.supervised("environment", [self.options.device], "environment", seconds)

    def test(self, seconds: float) -> Ended:
        """Stage: the tests that need a GPU, in several processes where pytest can."""
        found = [path for path in (CHECKOUT / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text()]
        # The contract of all plug-ins comes last: it takes as long as all others together.
        files = [str(path) for path in sorted(found, key=lambda path: (path.parent.name == "check", path))]
        files = files[:FEW_FILES] if self.options.quick else files
        options = ["-m", "gpu", "-q", "-p", "no:cacheprovider", "-p", "benchmarks.device.pytest_rows"]
        if self.cuda and find_spec("xdist"):
            options += ["-n", str(min(4, self.cores))]
        command = [sys.executable, "-m", "pytest", *options, "--rootdir", str(CHECKOUT), *files]
        ended = self.watched(command, "tests", seconds)
        self.abandoned("tests", ended)
        return ended

    def measure(self, cases: list[plan.Case], seconds: float) -> Ended:
        """Stage: speed; a process that ends early costs the row it was at, and another does the others."""
        end = time.monotonic() + seconds
        while keys := self.book.open("speed", [case.key for case in cases]):
            left = end - time.monotonic()
            ended = self.supervised("speed", [self.options.device, *keys], "speed", left, plan.ROW_SECONDS)
            if time.monotonic() >= end:  # the row under way is left to the last stage
                return ended
            self.abandoned("speed", ended)
            if len(self.book.open("speed", keys)) == len(keys):
                return ended
        return Ended(status="done", reason="", begun=(), seconds=seconds - (end - time.monotonic()))

    def smoke(self, seconds: float) -> Ended:
        """Stage: the matrix ``smoke`` on both devices."""
        cuda = min(plan.CUDA_WORKERS, self.cores) if self.cuda else 0
        until = time.time() + max(seconds / 2, seconds - SMOKE_END)
        numbers = {"cuda": cuda, "cpu": max(1, self.cores - cuda), "until": until}
        options = [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
        options += ["--gpu", "cuda" if self.cuda else "", "--scratch", str(self.scratch)]
        options += ["--out", str(self.options.out), *(["--quick"] if self.options.quick else [])]
        return self.supervised("smoke", options, "smoke", seconds)

    def supervised(
        self, module: str, options: list[str], section: str, seconds: float, row_seconds: float | None = None
    ) -> Ended:
        """A module of this package as a process."""
        command = [sys.executable, "-m", f"benchmarks.device.{module}", *options]
        return self.watched(command, section, seconds, row_seconds)

    def watched(
        self, command: list[str], section: str, seconds: float, row_seconds: float | None = None
    ) -> Ended:
        """A command whose rows go into a section, and from there into the file."""

        def put(rows: list[dict[str, Any]]) -> None:
            for row in rows:
                self.book.put(row.pop("section", section), row)
            self.book.write()

        return supervise(
            command,
            rows=self.scratch / "rows",
            log=self.options.out / "log.txt",
            seconds=seconds,
            put=put,
            row_seconds=row_seconds,
            environment=self.environment,
        )

    def abandoned(self, section: str, ended: Ended) -> None:
        """Rows that were under way when their process ended."""
        for key in ended.begun:
            self.book.put(section, {"key": key, "status": FAILED, "reason": ended.reason or "never finished"})

    def save(self) -> None:
        """The results and the page made of them."""
        self.book.write()
        render.write(self.options.out)

    def sound(self) -> bool:
        """Whether all stages were done on the device that was asked for, and no row failed or was stopped."""
        if not self.cuda and self.options.device != "cpu":
            return False
        stages = all(row["status"] == "done" for row in self.book.rows("stages"))
        rows = [row for name in ("tests", "speed", "runs") for row in self.book.rows(name)]
        return stages and not any(row["status"] in (FAILED, STOPPED) for row in rows)


def run(options: Options) -> bool:
    """Measures into the folder; see :meth:`Driver.run`."""
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "log.txt").write_bytes(b"")
    with tempfile.TemporaryDirectory(prefix="bench-device-", ignore_cleanup_errors=True) as scratch:
        return Driver(options, Path(scratch)).run()
