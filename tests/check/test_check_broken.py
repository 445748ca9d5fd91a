"""Deliberately broken plug-ins: each is caught, by the right promise, with what leads to the fault."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.check.findings import Verdict
from bench.check.place import at
from bench.check.run import check

from .faults import FAULTS, Fault, broken

SLOW = ("imports", "floor")
"""A fresh process, and a thousand evaluations: tried where the fault is there."""


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_caught_by_the_promise_that_it_breaks_and_by_no_other(name: str, tmp_path: Path) -> None:
    breaks = FAULTS[name].breaks
    with at(broken(tmp_path, name)) as subject:
        found = check(subject, without=[promise for promise in SLOW if promise not in breaks])
    assert {item.promise for item in found.broken} == set(breaks), found.to_text()
    for item in found.broken:
        assert re.search(breaks[item.promise], item.message), item.message
        assert item.fix, "says what to do"
    assert not found.sound


def test_what_a_plugin_raises_is_told_with_the_line_that_raised_it(tmp_path: Path) -> None:
    divides = Fault(breaks={}, body="images = torch.full(shape, 1 / (budget - budget))")
    with at(broken(tmp_path, "attacks/divides", divides)) as subject:
        found = check(subject, without=("imports", "floor"))
    item = next(item for item in found.items if item.promise == "shapes")
    assert item.verdict is Verdict.BROKEN and "ZeroDivisionError" in item.message
    assert re.search(r"attack\.py.*\d.*images = torch\.full", item.fix)
