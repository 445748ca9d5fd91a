"""From images to what the server sees: straight through the client's half, or by imitated clients."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from bench.api import SmashedObservation
from bench.engine.activations import Features, Prior, features
from bench.engine.transforms.imitated import Imitations

_NO_PRIOR = Prior(start=0.0, incomplete=0.0, nats=0.0)


@dataclass(frozen=True)
class Paths:
    """How well M images explain the activations of M others, each its own.

    Attributes:
        client: the client's half, ``[M, *S] -> [M, *Z]``.
        seen: how activations are compared with those observed.
        imitated: copies of what clients make of their images; None where images go straight in.
        labels: int64 ``[M]``, for which clients make their inputs; None: each copy guesses them.
    """

    client: nn.Module
    seen: Features
    imitated: Imitations | None = None
    labels: Tensor | None = None

    @property
    def number(self) -> int:
        """Passes through the client's half that the cost of an image takes."""
        return 1 if self.imitated is None else len(self.imitated)

    def turn(self, step: int) -> Paths:
        """The single path that a step takes: the copies come in turns."""
        if self.imitated is None:
            return self
        member = self.imitated.members[step % len(self.imitated)]
        return replace(self, imitated=replace(self.imitated, members=(member,)))

    def select(self, rows: Tensor) -> Paths:
        """The same for some of the images."""
        labels = None if self.labels is None else self.labels[rows]
        return replace(self, seen=self.seen.select(rows), labels=labels)

    def cost(self, images: Tensor) -> Tensor:
        """The mismatch ``[M]`` of images ``[M, C, H, W]``, the mean over the copies; differentiable."""
        if self.imitated is None:
            return self.seen.match(self.client(images))
        inputs = self.imitated.each(images, self.labels)
        sent = self.client(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])
        return torch.stack([self.seen.match(by_one) for by_one in sent]).mean(0)


def paths(seen: SmashedObservation, client: nn.Module, imitated: Imitations | None) -> Paths:
    """The paths of all images of an observation, ``[N * B]``.

    Where the labels are not given, the server's half reads them off the activations, as it does in its work.
    """
    shown = features(seen, client, _NO_PRIOR)
    if imitated is None:
        return Paths(client, shown)
    if seen.labels is not None:
        return Paths(client, shown, imitated, seen.labels.flatten())
    with torch.no_grad():  # an infinite release may not stop those of others
        scores = seen.server(shown.seen.nan_to_num(0.0, 0.0, 0.0))
    return Paths(client, shown, imitated, scores.argmax(1))
