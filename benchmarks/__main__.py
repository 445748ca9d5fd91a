"""``make bench``: every measurement, as ratios within one run, into benchmarks/results.md."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from pathlib import Path

from benchmarks import attacks, evaluations, memory, metrics, photographs, replay, scaling

SECTIONS = {
    "attacks": ("Whole attacks", attacks.report),
    "evaluations": ("One matching-gradient evaluation", evaluations.report),
    "photographs": ("Photographs", photographs.report),
    "memory": ("Memory", memory.report),
    "replay": ("Compiled and replayed graphs", replay.report),
    "metrics": ("Metrics", metrics.report),
    "scaling": ("`bench run`", scaling.report),
}
RESULTS = Path(__file__).parent / "results.md"


def main(wanted: list[str]) -> None:
    """Runs the sections named, or all; only a complete run replaces the file."""
    unknown = [name for name in wanted if name not in SECTIONS]
    if unknown:
        raise SystemExit(f"unknown section {', '.join(unknown)}; known: {', '.join(SECTIONS)}")
    text = [_head()]
    for name in wanted or SECTIONS:
        title, report = SECTIONS[name]
        start = time.monotonic()
        print(f"== {name}", file=sys.stderr, flush=True)
        body = report()
        print(body, f"({time.monotonic() - start:.0f} s)", sep="\n", flush=True)
        text += [f"## {title}", "", body, ""]
    if not wanted:
        RESULTS.write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")
        print(f"written: {RESULTS}", file=sys.stderr)


def _head() -> str:
    return (
        "# Speed\n\n"
        f"Written by `make bench` on {os.cpu_count()} cores, {platform.processor() or platform.machine()}, "
        f"Python {platform.python_version()}, torch {importlib.metadata.version('torch')}, one thread. "
        "All ratios are within this run; CPU seconds, not wall-clock time, unless a column says so. "
        '"The loop" is the published algorithm, one victim at a time (`benchmarks/plain.py`). '
        "Success: MSE below 1e-3.\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
