"""A client's half of the attacker's own, and what would leave it of auxiliary images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bench.api import IncompatibleError, Received, SmashedObservation
from bench.attacks.fora.critic import draw
from bench.models.split import ClientHalf

Release = Callable[[Tensor, torch.Generator], Tensor]
_WIDTH = 32


@dataclass(frozen=True, kw_only=True)
class Substitute:
    """M auxiliary images, and a half that learns to treat them as the client's treats private ones.

    Attributes:
        half: inputs ``[M, ...]`` -> activations ``[M, *Z]``.
        images: ``[M, C, H, W]``.
        labels: int64 ``[M]``.
        inputs: what clients would feed their network, by the attacker's imitation of a known transform.
        release: the defense at the cut, drawn anew for every batch; None where activations leave as they are.
        generator: of all draws.
    """

    half: nn.Module
    images: Tensor
    labels: Tensor
    inputs: Tensor
    release: Release | None
    generator: torch.Generator

    @classmethod
    def drawn(cls, seen: SmashedObservation, *, seed: int, own: bool = False) -> Substitute:
        """An untrained half: of the client's architecture, or of the attacker's ``own``.

        Raises:
            IncompatibleError: there are no auxiliary images.
        """
        if seen.auxiliary is None or not len(seen.auxiliary):
            raise IncompatibleError("a substitute of the client is trained on auxiliary images")
        device, view = seen.activations.device, seen.defense
        images, labels = seen.auxiliary.images.to(device), seen.auxiliary.labels.to(device)
        inputs = images
        if view is not None and view.transform is not None:
            imitation = view.transform.learn(seen.auxiliary, num_classes=seen.num_classes, seed=seed)
            inputs = imitation.inputs(images, labels).detach()
        half = (
            _own(inputs, seen.activations.flatten(0, 1), seed)
            if own
            else ClientHalf.drawn(seen.model, seen.image_shape, seed=seed, device=device)
        )
        return cls(
            half=half.to(images.dtype),
            images=images,
            labels=labels,
            inputs=inputs,
            release=None if view is None else view.release,
            generator=torch.Generator(device=device).manual_seed(seed),
        )

    def draw(self, size: int) -> Tensor:
        """Some of the images: int64 ``[size]``."""
        device = self.images.device
        return torch.randint(len(self.images), (size,), generator=self.generator, device=device)

    def activations(self, index: Tensor) -> Tensor:
        """What would leave clients of the images ``[S]``, each one's of its own: ``[S, *Z]``."""
        made: Tensor = self.half(self.inputs[index])
        if self.release is None:
            return made
        return self.release(made[:, None], self.generator)[:, 0]


def known(seen: SmashedObservation) -> Received:
    """What the server knows of clients: what it received, or else the releases themselves; finite rows."""
    given = seen.received
    if given is None:
        labels = None if seen.labels is None else seen.labels.flatten()
        given = Received(activations=seen.activations.flatten(0, 1), labels=labels)
    sound = given.activations.flatten(1).isfinite().all(1)
    labels = None if given.labels is None else given.labels[sound]
    return Received(activations=given.activations[sound], labels=labels)


class _Own(nn.Module):
    """Convolutions of one width at every resolution down to that of the activations; ReLU between them."""

    def __init__(self, inputs: tuple[int, ...], made: tuple[int, ...], *, positive: bool) -> None:
        super().__init__()
        channels, height, across = (*made, 1, 1)[:3]
        layers: list[nn.Module] = [nn.Conv2d(inputs[0], _WIDTH, 3, padding=1), nn.ReLU()]
        side = inputs[1]
        while side > height:
            layers += [nn.Conv2d(_WIDTH, _WIDTH, 3, stride=2, padding=1), nn.ReLU()]
            side = -(-side // 2)
        layers.append(nn.Conv2d(_WIDTH, channels, 3, padding=1))
        self.layers = nn.Sequential(*layers)
        self.size, self.made, self.positive = (height, across), made, positive

    def forward(self, inputs: Tensor) -> Tensor:
        maps: Tensor = self.layers(inputs)
        if maps.shape[2:] != self.size:
            maps = interpolate(maps, self.size, mode="bilinear", align_corners=False)
        return (maps.relu() if self.positive else maps).view(len(inputs), *self.made)


def _own(inputs: Tensor, activations: Tensor, seed: int) -> nn.Module:
    positive = bool((activations >= 0).all())
    with torch.random.fork_rng(devices=[]):
        network = _Own(inputs.shape[1:], activations.shape[1:], positive=positive)
    draw(network, seed)
    return network.to(inputs.device)
