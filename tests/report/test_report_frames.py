"""What a results folder lacks is said, and what it holds executes nothing."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench.report.frames import read_results
from bench.report.writers.table import csv

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
    assert re.findall(r"\b\d+\b", problem)[0] == "1"


def test_no_text_of_a_table_is_a_formula() -> None:
    words = ["=1+1", "+1", "-1", "@x", "\tx", "a=1", "", None]
    table = pd.DataFrame({"word": pd.Series(words, dtype=object), "number": [-1.0] * len(words)})
    lines = csv(table).splitlines()
    assert lines[1:6] == ["'=1+1,-1.0", "'+1,-1.0", "'-1,-1.0", "'@x,-1.0", "'\tx,-1.0"]
    assert lines[6:] == ["a=1,-1.0", ",-1.0", ",-1.0"]
