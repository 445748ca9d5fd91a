"""Suites are versioned, known, and judge each channel once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.api.errors import UsageError
from bench.matrix import load_matrix
from bench.matrix.suites import by_channel, load_suite, newest, suites


def test_every_suite_that_ships_is_read() -> None:
    for title in suites():
        suite = load_suite(title)
        assert suite.title == title and suite.attacks and suite.channels
        assert len(set(suite.attacks)) == len(suite.attacks)


def test_the_newest_suites_judge_every_channel_once() -> None:
    found = by_channel(newest())
    assert set(found) == {"gradients", "client_gradients", "smashed", "model"}


def test_an_unknown_suite_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="gradients@1"):
        load_suite("gradient@1")


def matrix(directory: Path, lines: str) -> Path:
    path = directory / "own.toml"
    head = 'name = "own"\nversion = 1\ndescription = "d"\nseeds = [0]\n'
    block = (
        '[[block]]\ndatasets = ["mnist5k"]\nmodels = ["lenet"]\ncheckpoints = ["initial"]\n'
        'batch_sizes = [1]\nreleases = 1\nbudget = 1\nattacks = ["prior"]\nadversaries = ["naive"]\n'
        'defenses = ["none"]\n'
    )
    path.write_text(f"{head}{lines}\n{block}", encoding="utf-8")
    return path


def test_a_matrix_names_its_suites(tmp_path: Path) -> None:
    assert load_matrix(str(matrix(tmp_path, 'suites = ["gradients@1"]'))).suites == ["gradients@1"]
    with pytest.raises(UsageError, match="suites"):
        load_matrix(str(matrix(tmp_path, 'suites = ["gradients@99"]')))
