"""A known transform of the clients' inputs, imitated by several copies that the attacker learns itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.api.dataset import ImageSet
from bench.api.transform import Imitation, InputTransform


@dataclass(frozen=True)
class Imitations:
    """Several copies of one transform, which differ in what a client keeps secret.

    A search through one copy fits that copy's own mistakes. Gradients pass through a copy as far as it lets
    them: where it changes images by steps, as a sign does, the change counts as constant (straight-through).

    Attributes:
        members: the copies; at least one.
        dtype: of the images that they were learned from.
    """

    members: tuple[Imitation, ...]
    dtype: torch.dtype = torch.float32

    def __len__(self) -> int:
        """E, the number of copies."""
        return len(self.members)

    def each(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """What a client would feed its network, by every copy.

        Args:
            images: ``[M, C, H, W]`` in [0, 1].
            labels: int64 ``[M]``, as a client that trains knows them; each copy guesses those below zero,
                and all of them if there are none.

        Returns:
            ``[E, M, *shape]``, differentiable in the images.
        """
        parts = [self._by(member, images.to(self.dtype), labels) for member in self.members]
        return torch.stack(parts).to(images.dtype)

    def inputs(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The copies' mean, ``[M, *shape]``: nearer to most clients than any copy, though like none."""
        return self.each(images, labels).mean(0)

    def batches(self, images: Tensor, labels: Tensor) -> Tensor:
        """The same mean for batches ``[N, B, C, H, W]`` with labels ``[N, B]``: ``[N, B, *shape]``."""
        made: Tensor = self.inputs(images.flatten(0, 1), labels.flatten()).unflatten(0, labels.shape)
        return made

    @staticmethod
    def _by(member: Imitation, images: Tensor, labels: Tensor | None) -> Tensor:
        if labels is None or bool((labels >= 0).all()):
            return member.inputs(images, labels)
        known = (labels >= 0).view(-1, *[1] * (images.dim() - 1))
        return torch.where(known, member.inputs(images, labels.clamp_min(0)), member.inputs(images))


def imitations(
    transform: InputTransform, auxiliary: ImageSet, *, num_classes: int, seed: int, number: int = 3
) -> Imitations:
    """Learns several copies of a transform from the attacker's images, each with another seed.

    Args:
        transform: of the clients' inputs, as the defense makes it public.
        auxiliary: the attacker's images, on the device of the search.
        num_classes: K.
        seed: of all copies.
        number: how many.

    Raises:
        ValueError: fewer than one copy.
    """
    if number < 1:
        raise ValueError(f"{number} copies of a transform: at least one is needed")
    seeds = [(seed * 1_000_003 + at) % 2**31 for at in range(number)]
    learned = tuple(transform.learn(auxiliary, num_classes=num_classes, seed=own) for own in seeds)
    return Imitations(learned, auxiliary.images.dtype)
