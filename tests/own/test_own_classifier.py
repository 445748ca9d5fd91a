"""A classifier of the caller, attacked in one call."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.api.errors import UsageError
from bench.own.attempt import Outcome
from bench.own.classifier import attack_model

SIDE, CLASSES = 12, 3


def bars(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images ``[M, 1, 12, 12]`` with a bar whose place is their class."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    images = 0.2 * torch.rand(count, 1, SIDE, SIDE, generator=chance)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, 4 * label : 4 * label + 3] += 0.7
    return images, labels


@pytest.fixture(scope="module")
def owned() -> tuple[nn.Module, Tensor, Tensor]:
    """A classifier that was trained on its owner's images."""
    images, labels = bars(96, seed=0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(144, CLASSES))
    steps = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        steps.zero_grad()
        cross_entropy(model(images), labels).backward()
        steps.step()
    return model, images, labels


def test_classes_are_rebuilt_and_judged_by_another_network(owned: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, images, labels = owned
    auxiliary, _ = bars(90, seed=1)
    leak = attack_model(
        model, images=images, labels=labels, auxiliary=auxiliary, images_each=2,
        attacks=["gmi[generator=wgan_gp_short]", "rmle"], budget=60,
    )  # fmt: skip
    found, other = leak.attempts
    assert found.outcome is Outcome.DONE and other.outcome is Outcome.NOT_APPLICABLE
    assert leak.images is not None and leak.images.shape == (CLASSES, 2, 1, SIDE, SIDE)
    assert leak.originals is not None and leak.originals.shape == leak.images.shape
    assert leak.floor is not None and leak.floor.found is not None and leak.found is not None
    assert leak.found > leak.floor.found
    assert leak.chance is None and len(leak.frame) == 6
    assert f"{leak.found} of 6 images" in leak.sentence


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"classes": [5]}, "5"),
        ({"images_each": 0}, "images_each"),
        ({"auxiliary": torch.rand(9, 3, 12, 12)}, "3"),
    ],
)
def test_what_does_not_fit_is_said_in_words(
    owned: tuple[nn.Module, Tensor, Tensor], given: dict[str, Any], named: str
) -> None:
    model, images, labels = owned
    good: dict[str, Any] = {"images": images, "labels": labels, "auxiliary": bars(9, seed=1)[0]}
    with pytest.raises(UsageError, match=named):
        attack_model(model, **{**good, **given})
