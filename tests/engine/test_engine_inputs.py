"""An adaptive attacker searches what clients compute on, and pays for the way back to images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.api import Adversary, IncompatibleError
from bench.engine.transforms.inputs import InputSpace, imitated
from bench.plugins import build_defense
from tests.engine.observations import batches, digits, observation


def adaptive_loss(defense: str, **changes: Any) -> Any:
    seen = observation("lenet", *batches(2, 1), seeds=1)
    threat = replace(seen.threat, adversary=Adversary.ADAPTIVE)
    return replace(seen, threat=threat, defense=build_defense(defense, {}).view(), **changes)


@pytest.mark.parametrize("defense", ["none", "noise", "pruning"])
def test_without_a_transform_nothing_changes(defense: str) -> None:
    seen = adaptive_loss(defense)
    space = InputSpace.of(seen, budget=70, seed=0)
    assert space.observation is seen and space.budget == 70 and space.learning == 0
    found = torch.randn(2, 1, *seen.image_shape)
    assert space.images(found) is found
    assert torch.equal(space.project(found.flatten(1)), found.flatten(1).clamp(0, 1))


def test_a_known_transform_is_searched_and_undone_within_the_budget() -> None:
    owned = digits().auxiliary
    few = replace(owned, images=owned.images[:40], labels=owned.labels[:40])
    defense = build_defense("pgsl", {"surrogate_epochs": 1})
    seen = replace(adaptive_loss("none", auxiliary=few), defense=defense.view())
    space = InputSpace.of(seen, budget=50, seed=0)
    assert space.observation.image_shape == (5, 16, 16) and seen.image_shape == (1, 32, 32)
    assert space.budget + space.learning == 50 and 0 < space.learning <= 20
    point = 3 * torch.randn(2, 5 * 16 * 16, generator=torch.Generator().manual_seed(0))
    inside = space.project(point).view(2, 5, 16, 16)
    assert inside.min() >= 0 and inside[:, :4].max() <= 1 and inside[:, 4].max() <= 0.2
    images = space.images(point.view(2, 1, 5, 16, 16))
    assert images.shape == (2, 1, 1, 32, 32) and images.min() >= 0 and images.max() <= 1
    assert torch.equal(images, space.images(point.view(2, 1, 5, 16, 16)))


def test_a_transform_cannot_be_undone_without_images_of_ones_own() -> None:
    seen = replace(adaptive_loss("none"), defense=build_defense("pgsl", {}).view())
    with pytest.raises(IncompatibleError, match="auxiliary images are needed"):
        InputSpace.of(seen, budget=50, seed=0)


def test_copies_are_learned_only_where_a_transform_is_known() -> None:
    assert imitated(adaptive_loss("noise"), seed=0) is None
    shield = build_defense("pgsl", {"surrogate_epochs": 1}).view()
    with pytest.raises(IncompatibleError, match="auxiliary images are needed"):
        imitated(replace(adaptive_loss("none"), defense=shield), seed=0)
    owned = digits().auxiliary
    few = replace(owned, images=owned.images[:40], labels=owned.labels[:40])
    seen = replace(adaptive_loss("none", auxiliary=few), defense=shield)
    copies, again = imitated(seen, seed=0, number=2), imitated(seen, seed=0, number=2)
    assert copies is not None and again is not None and len(copies) == 2
    images, labels = batches(2, 1)
    made = copies.batches(images, labels)
    assert made.shape == (2, 1, 5, 16, 16) and torch.equal(made, again.batches(images, labels))
    one, other = copies.each(images.flatten(0, 1), labels.flatten())
    assert not torch.equal(one, other)
