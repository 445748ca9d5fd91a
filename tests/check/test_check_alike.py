"""What a defense changes in training is compared with what it changes at release."""

from __future__ import annotations

from typing import Any, cast

import pytest

from bench.check.defenses import alike
from bench.check.findings import Broken
from bench.victims.releases import Source
from bench.victims.training import Victim


def compare(monkeypatch: pytest.MonkeyPatch, trained: float | None, released: list[float | None]) -> None:
    """Raises unless they are alike: the median ratio of a first round, and those of released clients."""
    monkeypatch.setattr(alike, "signal", lambda *_: released)
    victim = Victim(
        initial={}, trained={}, curve=[], accuracy=0, initial_accuracy=0, converged=True, rounds=1,
        signal=(trained,),
    )  # fmt: skip
    alike.in_training(victim, [cast(Source, None)], lambda _: cast(Any, None))


@pytest.mark.parametrize("trained", [None, 6.5])
def test_a_defense_that_changes_half_of_the_clients_is_alike(
    monkeypatch: pytest.MonkeyPatch, trained: float | None
) -> None:
    compare(monkeypatch, trained, [None, 6.7, None, 4.2, 6.6, None, 7.3, None])


@pytest.mark.parametrize(
    ("trained", "released"),
    [(None, [6.5] * 8), (6.5, [None] * 8), (6.5, [2.0] * 8), (2.0, [6.5] * 8), (None, [6.5] * 7 + [None])],
)
def test_a_defense_that_changes_other_amounts_is_not(
    monkeypatch: pytest.MonkeyPatch, trained: float | None, released: list[float | None]
) -> None:
    with pytest.raises(Broken, match="first round"):
        compare(monkeypatch, trained, released)
