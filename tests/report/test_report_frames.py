"""What a results folder lacks is said."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.report.frames import read_results

from .conftest import Folder


@pytest.mark.parametrize("lost", [1, 5])
def test_rows_that_are_gone_are_missed(lost: int, matrix: Callable[..., Folder], tmp_path: Path) -> None:
    directory = matrix().write(tmp_path / "results")
    whole = read_results(directory)
    assert whole.problems == ()
    path = directory / "images.csv.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)
    path.write_bytes(gzip.compress("".join(lines[:-lost]).encode()))
    (problem,) = read_results(directory).problems
    assert problem.startswith("done cells without a row for each of their images: 1;")
