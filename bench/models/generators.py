"""Networks of an attacker's generative prior: a DCGAN pair and the encoder of a variational autoencoder."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from bench.models.base import Shape

LATENTS = 64
"""Z: digits and the like have fewer degrees of freedom, and each is one more unknown of a search."""
_SHRUNK = 8
"""Three layers of stride 2 each."""
_SECOND, _LAST = 4, 7
"""Where the second and the last transposed convolution of the decoder's body begin a block."""
_LEAST = 2
"""Cells along a side: a normalisation over a single one would leave nothing."""


def _grid(image_shape: Shape) -> tuple[int, int]:
    """Height and width where the generator begins and the critic ends: an eighth of the image's, or more."""
    height, width = (max(_LEAST, -(-side // _SHRUNK)) for side in image_shape[1:])
    return height, width


def _margins(image_shape: Shape) -> tuple[int, int, int, int]:
    """Pixels left, right, above and below an image on its canvas of whole cells; zero where it fills that."""
    rows, columns = _grid(image_shape)
    down, across = _SHRUNK * rows - image_shape[1], _SHRUNK * columns - image_shape[2]
    return across // 2, across - across // 2, down // 2, down - down // 2


class Network(nn.Module):
    """A network that is built without moving the global generator, and draws its weights from its own."""

    @classmethod
    def build(cls, image_shape: Shape, width: int, generator: torch.Generator) -> Self:
        """The network for images ``[C, H, W]`` of any size.

        Inside, height and width are multiples of 8, 16 at least: generated images are cut to their middle,
        images to be judged are framed by zeros.

        Args:
            image_shape: (C, H, W).
            width: channels at half the image's resolution; doubled with each halving of it.
            generator: draws weights and biases from U(-1/sqrt(fan in), 1/sqrt(fan in)), PyTorch's default.
        """
        with torch.random.fork_rng(devices=[]):
            network = cls(image_shape, width)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                bound = float(layer.weight[0].numel()) ** -0.5
                for values in layer.parameters():
                    nn.init.uniform_(values, -bound, bound, generator=generator)
        return network

    def __init__(self, image_shape: Shape, width: int) -> None:
        """Builds the layers."""
        super().__init__()


class Crop(nn.Module):
    """Images cut to the middle of their canvas."""

    def __init__(self, cut: tuple[int, int, int, int]) -> None:
        """Takes what is cut off left, right, above and below, in pixels, each negative."""
        super().__init__()
        self.cut = cut

    def forward(self, canvas: Tensor) -> Tensor:
        """Images ``[M, C, H, W]`` of larger ones."""
        return pad(canvas, self.cut) if any(self.cut) else canvas


class Decoder(Network):
    """Latents to images: a linear layer, then transposed convolutions with BatchNorm and ReLU (DCGAN)."""

    def __init__(self, image_shape: Shape, width: int) -> None:
        """Builds the layers."""
        super().__init__(image_shape, width)
        rows, columns = _grid(image_shape)
        left, right, above, below = _margins(image_shape)
        self.crop = Crop((-left, -right, -above, -below))
        cells = 4 * width * rows * columns
        self.start = nn.Sequential(nn.Linear(LATENTS, cells, bias=False), nn.BatchNorm1d(cells), nn.ReLU())
        layers: list[nn.Module] = [nn.Unflatten(1, (4 * width, rows, columns))]
        for narrow in (2, 1):
            layers += [
                nn.ConvTranspose2d(2 * narrow * width, narrow * width, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(narrow * width),
                nn.ReLU(),
            ]
        layers += [nn.ConvTranspose2d(width, image_shape[0], 4, stride=2, padding=1)]
        self.body = nn.Sequential(*layers)

    def scores(self, latents: Tensor) -> Tensor:
        """Images ``[M, C, H, W]`` before the sigmoid."""
        scores: Tensor = self.crop(self.body(self.start(latents)))
        return scores

    def forward(self, latents: Tensor) -> Tensor:
        """Images ``[M, C, H, W]`` in [0, 1] of latents ``[M, Z]``."""
        return self.scores(latents).sigmoid()

    def blocks(self) -> tuple[nn.Module, ...]:
        """What it is composed of, with the same weights: every block but the last ends with a ReLU."""
        last = nn.Sequential(*self.body[_LAST:], self.crop, nn.Sigmoid())
        return self.start, self.body[:_SECOND], self.body[_SECOND:_LAST], last


class Trunk(Network):
    """Images to features: strided convolutions with a normalising layer and leaky ReLU."""

    outputs: int
    normalise: type[nn.Module]

    def __init__(self, image_shape: Shape, width: int) -> None:
        """Builds the layers."""
        super().__init__(image_shape, width)
        rows, columns = _grid(image_shape)
        self.frame = _margins(image_shape)
        self.features = nn.Sequential(
            nn.Conv2d(image_shape[0], width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            self.normalise(2 * width, affine=True),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
            self.normalise(4 * width, affine=True),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
        )
        self.head = nn.Linear(4 * width * rows * columns, self.outputs)

    def values(self, images: Tensor) -> Tensor:
        """``[M, outputs]`` of images ``[M, C, H, W]``."""
        framed = pad(images, self.frame) if any(self.frame) else images
        values: Tensor = self.head(self.features(framed))
        return values


class Critic(Trunk):
    """How much an image looks like the auxiliary ones, without bound (Gulrajani et al. 2017).

    InstanceNorm mixes no images, as the gradient penalty of each image demands.
    """

    outputs = 1
    normalise = nn.InstanceNorm2d

    def forward(self, images: Tensor) -> Tensor:
        """``[M]`` of images ``[M, C, H, W]`` in [0, 1]; higher is more alike."""
        return self.values(images)[:, 0]


class Encoder(Trunk):
    """Images to the moments of their latents (Kingma and Welling 2014)."""

    outputs = 2 * LATENTS
    normalise = nn.BatchNorm2d

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, ``[M, Z]`` each, of images ``[M, C, H, W]``."""
        mean, log_variance = self.values(images).chunk(2, dim=1)
        return mean, log_variance
