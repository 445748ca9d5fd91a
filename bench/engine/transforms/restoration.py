"""From what clients fed their network back to the images that they started from, with an imitation of them.

A defense that changes images before the first layer leaves an attacker two problems: to find a client's input
(a carrier) from what it sees, and to undo the change. This module does the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss, pad, pixel_shuffle, pixel_unshuffle

from bench.api.dataset import ImageSet
from bench.api.transform import Imitation

Shape = tuple[int, int, int]
METHODS = ("subtract", "fixed_point", "learned")
_AT_ONCE = 250


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """How the change is undone.

    Attributes:
        method: ``subtract``: what the carrier tells of the image by itself; ``fixed_point``: the image whose
            imitated change is the one seen; ``learned``: a network trained on the attacker's own images.
        steps: of the training, for ``learned``.
        rounds: of the iteration, for ``fixed_point``.
        width: channels of the network at half resolution.
        images_per_step: auxiliary images of a step.
        learning_rate: of Adam at the first step; it falls to zero.
    """

    method: str = "learned"
    steps: int = 400
    rounds: int = 5
    width: int = 32
    images_per_step: int = 32
    learning_rate: float = 3e-3

    def __call__(self, carriers: Tensor, imitation: Imitation, auxiliary: ImageSet, *, seed: int) -> Tensor:
        """The images ``[N, B, C, H, W]`` in [0, 1] inside of carriers ``[N, B, *shape]``.

        Args:
            carriers: what the clients' network took, as found by an attack.
            imitation: the attacker's copy of the clients' transform.
            auxiliary: the attacker's images, on the device of the carriers.
            seed: of the network's weights and batches.

        Raises:
            ValueError: no such method.
        """
        flat = carriers.flatten(0, 1)
        if self.method == "subtract":
            images = imitation.images(flat)
        elif self.method == "fixed_point":
            images = self._fixed_point(flat, imitation)
        elif self.method == "learned":
            images = self._learned(flat, imitation, auxiliary, seed)
        else:
            raise ValueError(f"unknown method {self.method!r}; known: {', '.join(METHODS)}")
        restored: Tensor = images.detach().clamp(0, 1).unflatten(0, carriers.shape[:2])
        return restored

    @property
    def training_steps(self) -> int:
        """Steps of a network that the method takes."""
        return self.steps if self.method == "learned" else 0

    def _fixed_point(self, carriers: Tensor, imitation: Imitation) -> Tensor:
        """Repeats x <- x^ - (change that a client would make to x), from what the carrier tells by itself."""
        shown = imitation.perturbed(carriers)
        images = imitation.images(carriers).clamp(0, 1)
        for _ in range(self.rounds):
            change = imitation.perturbed(imitation.inputs(images)).detach() - images
            images = (shown - change).clamp(0, 1)
        return images

    def _learned(self, carriers: Tensor, imitation: Imitation, auxiliary: ImageSet, seed: int) -> Tensor:
        made = imitation.inputs(auxiliary.images, auxiliary.labels).detach()
        features, plain = _features(made, imitation)
        network = _Residual(features.shape[1], plain.shape[1:], self.width, seed).to(carriers.device)
        generator = torch.Generator(device=carriers.device).manual_seed(seed)
        optimiser = torch.optim.Adam(network.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=max(1, self.steps))
        with torch.enable_grad():
            for _ in range(self.steps):
                shape = (self.images_per_step,)
                index = torch.randint(len(plain), shape, generator=generator, device=plain.device)
                optimiser.zero_grad()
                error = mse_loss(network(features[index], plain[index]), auxiliary.images[index])
                error.backward()
                optimiser.step()
                schedule.step()
        with torch.no_grad():
            parts = [network(*_features(part, imitation)) for part in carriers.split(_AT_ONCE)]
        return torch.cat(parts)


class _Residual(nn.Module):
    """What is missing in a first guess, by convolutions at half resolution (as in FFDNet); ReLU."""

    def __init__(self, channels: int, image_shape: tuple[int, ...], width: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            self.layers = nn.Sequential(
                nn.Conv2d(4 * channels, width, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(width, 4 * image_shape[0], 3, padding=1),
            )
        generator = torch.Generator().manual_seed(seed)
        convolutions = [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]
        for layer in convolutions:
            # The last layer starts near zero: before the first step the network is the first guess.
            gain = 0.1 if layer is convolutions[-1] else 1.0
            bound = gain * float(layer.weight[0].numel()) ** -0.5
            for values in layer.parameters():
                nn.init.uniform_(values, -bound, bound, generator=generator)

    def forward(self, features: Tensor, guess: Tensor) -> Tensor:
        """Images ``[M, C, H, W]``, not clamped, of features ``[M, F, H, W]`` and a first guess of them."""
        height, width = guess.shape[2:]
        even = pad(features, (0, width % 2, 0, height % 2), mode="replicate")
        missing = pixel_shuffle(self.layers(pixel_unshuffle(even, 2)), 2)
        return guess + missing[..., :height, :width]


@torch.no_grad()
def _features(carriers: Tensor, imitation: Imitation) -> tuple[Tensor, Tensor]:
    """What the network sees, ``[M, F, H, W]``, and its first guess ``[M, C, H, W]``."""
    guess = imitation.images(carriers)
    spread = interpolate(carriers, guess.shape[2:], mode="nearest")
    return torch.cat([imitation.perturbed(carriers), spread, guess], dim=1), guess
