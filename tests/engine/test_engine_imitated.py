"""Several copies of a transform: what they have in common with one, and that a search sees through them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import pytest
import torch
from torch import Tensor

from bench.api import ImageSet, InputTransform
from bench.engine.transforms.imitated import Imitations, imitations
from bench.plugins import build_defense
from tests.engine.observations import batches, digits


@dataclass(frozen=True)
class Shifted:
    """Adds its own number and the label, 0.5 for a guessed one."""

    number: float

    def inputs(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        known = images.new_full((len(images),), 0.5) if labels is None else labels.to(images.dtype)
        return images[..., ::2, ::2] + self.number + known.view(-1, 1, 1, 1)

    def perturbed(self, inputs: Tensor) -> Tensor:
        return inputs

    def images(self, inputs: Tensor) -> Tensor:
        return inputs


class Transform:
    """Learns nothing but its seed."""

    def shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return image_shape

    def project(self, inputs: Tensor) -> Tensor:
        return inputs

    def learn(self, auxiliary: ImageSet, *, num_classes: int, seed: int) -> Shifted:
        return Shifted(float(seed))


def drawn(size: int = 4) -> Tensor:
    return torch.rand(size, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def test_every_copy_is_learned_by_a_seed_of_its_own() -> None:
    owned = ImageSet(drawn(), torch.zeros(4, dtype=torch.long))
    copies = imitations(cast(InputTransform, Transform()), owned, num_classes=10, seed=3, number=4)
    seeds = [cast(Shifted, member).number for member in copies.members]
    assert len(copies) == len(set(seeds)) == 4
    again = imitations(cast(InputTransform, Transform()), owned, num_classes=10, seed=3, number=2)
    assert [cast(Shifted, member).number for member in again.members] == seeds[:2]
    with pytest.raises(ValueError, match="at least one"):
        imitations(cast(InputTransform, Transform()), owned, num_classes=10, seed=3, number=0)


def test_copies_see_what_each_of_them_would() -> None:
    images, labels = drawn(), torch.tensor([3, 1, 0, 2])
    members = Shifted(1.0), Shifted(5.0)
    copies = Imitations(members)
    for index, member in enumerate(members):
        assert torch.equal(copies.each(images, labels)[index], member.inputs(images, labels))
        assert torch.equal(copies.each(images)[index], member.inputs(images))
    torch.testing.assert_close(copies.inputs(images, labels), copies.each(images, labels).mean(0))
    grouped = copies.batches(images.view(2, 2, 1, 6, 6), labels.view(2, 2))
    assert torch.equal(grouped.flatten(0, 1), copies.inputs(images, labels))


def test_unknown_labels_are_guessed_and_only_those() -> None:
    images, copies = drawn(), Imitations((Shifted(0.0),))
    partly = copies.each(images, torch.tensor([3, -1, 0, -1]))
    assert torch.equal(partly[:, [0, 2]], copies.each(images, torch.tensor([3, 9, 0, 9]))[:, [0, 2]])
    assert torch.equal(partly[:, [1, 3]], copies.each(images)[:, [1, 3]])


def test_a_search_in_another_precision_keeps_it() -> None:
    made = Imitations((Shifted(1.0),)).inputs(drawn().double())
    assert made.dtype == torch.float64


def test_gradients_pass_through_learned_copies_of_a_map_that_has_none() -> None:
    owned = digits().auxiliary
    few = replace(owned, images=owned.images[:64], labels=owned.labels[:64])
    transform = build_defense("pgsl", {"surrogate_epochs": 1}).view().transform
    assert transform is not None
    copies = imitations(transform, few, num_classes=10, seed=0, number=2)
    images, labels = (part.flatten(0, 1) for part in batches(3, 1))
    # Pixels at the ends of the range are clipped by some maps, and let nothing through there.
    leaf = (0.2 + 0.5 * images).requires_grad_()
    made = copies.each(leaf, labels)
    assert made.shape == (2, 3, 5, 16, 16) and not torch.equal(made[0], made[1])
    (gradient,) = torch.autograd.grad(made[:, :, :4].sum(), leaf)
    torch.testing.assert_close(gradient, torch.full_like(gradient, 2.0))  # one from each copy
