"""What a plug-in raises becomes a record, whatever its text is."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.cache.keys import Identity
from bench.cells.failures import explain
from bench.matrix import Cell
from bench.records.outcome import failed
from bench.records.record import MAX_BYTES, Status
from bench.records.results import Results
from bench.records.rows import COLUMNS


class Unreadable(Exception):
    def __str__(self) -> str:
        raise ValueError("no message")


TEXTS = {
    "lone surrogate": RuntimeError("left \ud800 alone"),
    "very long": RuntimeError("x" * 50_000_000),
    "control characters": RuntimeError("a\x00b\x1b[2Jc\r\nd"),
    "quotes": RuntimeError('",\n"' * 100),
    "wide characters": RuntimeError("\U0001f600" * 5_000),
    "no message": Unreadable(),
    "not a text": RuntimeError(b"\xff\xfe"),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_no_text_of_an_exception_spoils_the_results(kind: str, cells: list[Cell], tmp_path: Path) -> None:
    try:
        raise TEXTS[kind]
    except Exception as error:
        failure = explain(error)
    warn: list[str] = []
    results = Results(tmp_path, warn.append)
    for cell in cells:
        outcome = failed(cell, Identity("cpu").keys(cell), failure, device="cpu")
        assert len(outcome.record.encode()) <= MAX_BYTES
        results.commit(outcome)
    assert [outcome.record.status for outcome in results.outcomes()] == [Status.FAILED] * len(cells)
    results.fold()
    found = list(results.outcomes())
    assert warn == [] and len(found) == len(cells)
    for outcome in found:
        (row,) = outcome.rows
        reason = dict(zip(COLUMNS, row, strict=True))["reason"]
        assert reason.startswith(type(TEXTS[kind]).__name__) and reason.isprintable()
