"""One form of a table, written as Markdown, LaTeX and JSON."""

from __future__ import annotations

import json
import math

import pytest

from bench.report.statistics import NOTHING, Interval
from bench.report.tallies import Coverage, Spread
from bench.report.writers.table import ends, json_text, latex_lines, markdown_lines, markdown_table


def test_a_record_is_a_row_and_its_titles_are_the_head() -> None:
    records = [{"defense": "noise", "loss": " 1.0", "": "–"}, {"": "", "loss": 12, "defense": "a"}]
    assert markdown_table(records) == [
        "| defense | loss |  |",
        "| --- | --: | --: |",
        "| noise |  1.0 | – |",
        "| a | 12 |  |",
    ]
    assert markdown_table([]) == []
    with pytest.raises(KeyError):
        markdown_table([{"a": "1"}, {"b": "1"}])


def test_a_head_may_name_two_columns_alike() -> None:
    assert markdown_lines(["x", "x"], [["1", "001"]], text=2)[1:] == ["| --- | --- |", "| 1 | 001 |"]
    assert latex_lines([["a", "1.10"], ["b", ""]]) == [r"a & 1.10 \\", r"b &  \\"]


def test_what_is_missing_is_null() -> None:
    half = Interval(0.5, 0.25, math.nan, 4, 2, 1)
    document = {"none": NOTHING, "half": half, "seeds": (1, 2), "cells": Coverage(1, 2), "zero": -1e-9}
    assert json.loads(json_text(document)) == {
        "none": None,
        "half": {"mean": 0.5, "low": 0.25, "high": None, "releases": 2, "images": 4, "missing": 1},
        "seeds": [1, 2],
        "cells": {"done": 1, "wanted": 2, "incompatible": 0},
        "zero": 0.0,
    }
    assert ends("loss", Spread(1.0, 0.5, 2.0)) == {"loss": 1.0, "loss_low": 0.5, "loss_high": 2.0}
