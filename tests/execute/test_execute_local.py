"""Workers start although the process that forks them has just been killed."""

from __future__ import annotations

from typing import Any

import pytest

from bench.execute import local


class Refused:
    """Stands for a process whose start is refused a number of times."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.started = 0

    def start(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ConnectionRefusedError
        self.started += 1


@pytest.mark.parametrize("refusals", [0, 1, 2, 4])
def test_a_start_that_is_refused_is_tried_again(refusals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(local.time, "sleep", pauses.append)
    process: Any = Refused(refusals)
    local._start(process)
    assert process.started == 1
    assert len(pauses) == refusals and pauses == sorted(pauses), "the server ends while it waits"


def test_a_start_that_is_always_refused_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local.time, "sleep", lambda _: None)
    process: Any = Refused(1000)
    with pytest.raises(ConnectionRefusedError):
        local._start(process)
