"""``python -m bench.report.refresh DIR [--final]``: merges the waiting rows and writes the tables."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.api.errors import BenchError
from bench.records.results import Results
from bench.report.write import write_report


def refresh(folder: Path, *, final: bool) -> None:
    """Folds the rows and writes all tables; where there is no record yet, there is nothing to write."""
    if not any((folder / "records").glob("*.json")):
        return
    Results(folder).fold()
    write_report(folder, final=final)


def main(arguments: list[str]) -> int:
    """Command line of the refreshing process."""
    try:
        refresh(Path(arguments[0]), final="--final" in arguments)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
