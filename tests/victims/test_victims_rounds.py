"""Rounds of a training: who listens is told, and the training is the same."""

from __future__ import annotations

import time

import pytest
import torch

from bench.execute import worker
from bench.victims.rounds import in_rounds, listening
from tests.victims.test_victims_training import trained


class Enough(Exception):
    """Ends a training."""


def test_rounds_are_counted_from_one_and_told_when_they_have_ended() -> None:
    heard: list[tuple[int, int]] = []
    with listening(lambda turn, rounds: heard.append((turn, rounds))):
        for turn, item in in_rounds("abc"):
            assert item == "abc"[turn - 1] and len(heard) == turn - 1
    assert list(in_rounds("abc")) == [(1, "a"), (2, "b"), (3, "c")], "nobody listens any more"
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_a_training_that_is_listened_to_is_the_same() -> None:
    heard: list[tuple[int, int]] = []
    with listening(lambda turn, rounds: heard.append((turn, rounds))):
        one = trained()
    assert heard == [(turn, one.rounds) for turn in range(1, one.rounds + 1)]
    other = trained()
    assert all(torch.equal(value, other.trained[name]) for name, value in one.trained.items())


def test_who_listens_may_end_a_training() -> None:
    def stop(turn: int, rounds: int) -> None:
        if turn == 2:
            raise Enough

    with pytest.raises(Enough), listening(stop):
        trained()


def test_a_worker_reports_a_training_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said = [0.0], list[worker.Training]()
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with worker.told(said.append):
        for turn, _ in in_rounds(range(10)):
            clock[0] = turn * worker.PAUSE / 2.5
    assert said == [worker.Training(turn, 10) for turn in (3, 6, 9)]
