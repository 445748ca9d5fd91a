"""``python -m benchmarks.device``: collects, measures or renders; ``device.sh --help`` says more."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path


def main() -> int:
    """Does one of the three; zero if nothing failed."""
    asked = arguments()
    if asked.collect:
        from benchmarks.device.collect import collect

        print(collect(asked.collect))
        return 0
    from benchmarks.device import render
    from benchmarks.device.environment import libraries

    if asked.render:
        print(f"written: {render.write(asked.render)}")
        return 0
    if asked.out is None:
        raise SystemExit("--out FOLDER is required: there is no default")
    if absent := [name for name, version in libraries().items() if version == "missing"]:
        raise SystemExit(f"not installed here: {', '.join(absent)}; carry them and give --wheels DIR")
    from benchmarks.device.driver import Options, run

    sound = run(
        Options(
            out=asked.out.resolve(),
            device=device(asked.device),
            quick=asked.quick,
            minutes=asked.minutes,
            started=asked.started or time.time(),
        )
    )
    print(f"written: {asked.out}/device.md" + ("" if sound else "; something failed or was not reached"))
    return 0 if sound else 1


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks/device.sh")
    parser.add_argument("--collect", type=Path, metavar="DIR")
    parser.add_argument("--render", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, metavar="FOLDER")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--started", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


def device(text: str) -> str:
    """The device that is measured.

    Raises:
        SystemExit: a GPU is asked for, and there is none.
    """
    from bench.api.errors import UsageError
    from bench.execute.devices import devices

    try:
        return devices(text)[0]
    except UsageError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
