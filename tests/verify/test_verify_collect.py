"""Work that draws nothing says now and then how far it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bench.verify.collect import Collect


def test_messages_come_when_time_has_passed_and_count_cells_alone() -> None:
    said: list[str] = []
    now = [0.0]
    collect = Collect(said.append, "scored again", 3, clock=lambda: now[0])

    def task(kind: str, name: str) -> Any:
        return SimpleNamespace(kind=kind, cell=SimpleNamespace(id=name))

    result: Any = object()
    collect.tick([])
    assert said == []
    collect.ended(task("victim", "a"), result, 1.0)
    collect.ended(task("cell", "a"), result, 1.0)
    collect.ended(task("cell", "b"), None, 1.0)
    collect.lost(task("cell", "c"), result)
    now[0] = 10.0
    collect.tick([])
    collect.tick([])
    assert said == ["scored again: 2 of 3 cells"]
    assert list(collect.outcomes) == ["a", "c"]
    now[0] = 19.0
    collect.tick([])
    assert len(said) == 1
    now[0] = 20.0
    collect.tick([])
    assert len(said) == 2
