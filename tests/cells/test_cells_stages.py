"""Facts that a stage notes beside its tensors."""

from __future__ import annotations

import torch

from bench.cells.stages import _release_health
from bench.victims.releases import Release


def _released(labels: list[list[int]], sent: torch.Tensor) -> Release:
    known = torch.tensor(labels)
    images = torch.zeros(*known.shape, 1, 2, 2)
    return Release(images=images, labels=known, indices=known, sent={"weight": sent})


def test_a_release_that_carries_nothing_or_nothing_finite_is_counted() -> None:
    sent = torch.tensor([[3.0, 4.0], [0.0, 0.0], [torch.inf, 1.0]])
    found = _release_health(_released([[0], [1], [1]], sent))
    assert found == {"zero": 1, "nonfinite": 1, "norm_mean": 2.5, "shared_labels": None}


def test_labels_that_several_images_of_one_release_have_are_counted() -> None:
    found = _release_health(_released([[0, 1, 0, 0], [2, 3, 4, 5], [7, 7, 8, 8]], torch.ones(3, 2)))
    assert found["shared_labels"] == round((3 + 0 + 4) / 12, 6)
