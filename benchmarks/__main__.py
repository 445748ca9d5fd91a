"""``make bench``: every measurement, as ratios within one run, into benchmarks/results.md."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from functools import partial
from pathlib import Path

from bench.records.provenance import processor
from benchmarks import (
    attack_process,
    attacks,
    evaluations,
    linear,
    memory,
    metrics,
    peers,
    photographs,
    profile,
    replay,
    scaling,
    together,
)

SECTIONS = {
    "dlg": ("DLG", partial(attacks.report, "dlg", "lenet")),
    "idlg": ("iDLG", partial(attacks.report, "idlg", "lenet")),
    "inverting_gradients": (
        "Inverting Gradients",
        partial(attacks.report, "inverting_gradients", "lenet", "convnet"),
    ),
    "evaluations": ("One matching-gradient evaluation", evaluations.report),
    "linear": ("Beside linear cost", linear.report),
    "photographs": ("Photographs", photographs.report),
    "together": ("Cells together", together.report),
    "peers": ("Beside breaching", peers.report),
    "memory": ("Memory", memory.report),
    "replay": ("Compiled and replayed graphs", replay.report),
    "metrics": ("Metrics", metrics.report),
    "attack_process": ("The process of attacks", attack_process.report),
    "scaling": ("`bench run`", scaling.report),
    "profile": ("Where `full` spends its time", profile.report),
}
RESULTS = Path(__file__).parent / "results.md"


def main(wanted: list[str]) -> None:
    """Runs the sections named, or all; each replaces its own part of the file as soon as it is measured."""
    unknown = [name for name in wanted if name not in SECTIONS]
    if unknown:
        raise SystemExit(f"unknown section {', '.join(unknown)}; known: {', '.join(SECTIONS)}")
    for name in wanted or SECTIONS:
        title, report = SECTIONS[name]
        start = time.monotonic()
        print(f"== {name}", file=sys.stderr, flush=True)
        body = report()
        print(body, f"({time.monotonic() - start:.0f} s)", sep="\n", flush=True)
        write({**written(), title: f"{_machine()}\n\n{body.strip()}"})
    print(f"written: {RESULTS}", file=sys.stderr)


def written() -> dict[str, str]:
    """The sections that the file holds, by title."""
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.is_file() else ""
    parts = (part.partition("\n") for part in f"\n{text}".split("\n## ")[1:])
    return {title: body.strip() for title, _, body in parts}


def write(parts: dict[str, str]) -> None:
    """The file, its sections in the order above."""
    text = [_head(), *(f"## {title}\n\n{parts[title]}\n" for title, _ in SECTIONS.values() if title in parts)]
    RESULTS.write_text("\n".join(text), encoding="utf-8")


def _machine() -> str:
    version = importlib.metadata.version("torch")
    return f"*{os.cpu_count()} cores, {processor()}, Python {platform.python_version()}, torch {version}.*"


def _head() -> str:
    return (
        "# Speed\n\n"
        "Written by `make bench`, with one thread. Every section is a run of its own, and all its ratios are "
        "within that run; CPU seconds, not wall-clock time, unless a column says so. "
        '"The loop" is the published algorithm, one victim at a time (`benchmarks/plain.py`). '
        "Success: MSE below 1e-3.\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
