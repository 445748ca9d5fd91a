"""Limited time is shared among attacks, and what takes long says that it still runs."""

from __future__ import annotations

import time

import pytest
import torch

from bench.own import pace
from bench.own.gradients import attack_gradients
from bench.own.pace import Clock, alive

from .nets import blobs, sigmoid_cnn


def test_without_a_limit_every_attack_has_what_it_wants() -> None:
    assert Clock(None, lambda: None).budget(700, 3) == 700
    assert Clock(1.0, None).budget(700, 3) == 700


def test_each_attack_has_an_equal_share_of_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = Clock(1.0, lambda: now.__setitem__(0, now[0] + 1.0))
    clock._begun = 0.0
    assert clock.budget(700, 2) == (60 - 2) // 2  # two evaluations were timed
    assert clock.budget(10, 2) == 10
    clock.spent(1, 30.0)  # a closed form: no search
    assert clock.budget(700, 2) == 29
    clock.spent(100, 200.0)
    assert clock.budget(700, 1) == 29
    now[0] = 500.0
    assert clock.budget(700, 1) == 1


def test_what_was_cut_short_is_said() -> None:
    images, labels = blobs(2)
    torch.manual_seed(0)
    leak = attack_gradients(
        sigmoid_cnn(), images=images, labels=labels, attacks=["dlg"], budget=10**7, minutes=0.01
    )
    (found,) = leak.attempts
    assert found.evaluations < 10**6 and str(10**7) in found.reason
    assert any("fit in the time" in text for text in leak.warnings)


def test_what_takes_long_says_that_it_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "FIRST", 0.01)
    monkeypatch.setattr(pace, "EACH", 0.01)
    said: list[str] = []
    with alive(said.append, "dlg"):
        while len(said) < 3:
            time.sleep(0.01)
    count = len(said)
    time.sleep(0.05)
    assert count == len(said) and all(text.startswith("dlg: ") for text in said)
