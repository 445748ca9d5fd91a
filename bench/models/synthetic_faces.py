"""A generator of faces that was trained elsewhere, on rendered people: a DCGAN (Radford et al. 2016)."""

from __future__ import annotations

import io

import torch
from torch import Tensor, nn

from bench.models.base import Shape
from bench.models.weights import GENERATORS

LATENTS = 100
_WIDTHS = (512, 256, 128, 64)
"""Channels of 4 x 4, 8 x 8, 16 x 16 and 32 x 32 pixels; the last layer makes colours of twice that."""
_SIDE = 64
_LUMINANCE = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R BT.601), as grey pictures are made of coloured ones."""


class SyntheticFaces(nn.Module):
    """Latents to faces in the data's size and colours: transposed convolutions, BatchNorm and ReLU."""

    colours: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(self, image_shape: Shape) -> None:
        """Builds the layers, with weights of no meaning, for images ``[C, H, W]``; C is 1 or 3."""
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            layers: list[nn.Module] = [nn.Unflatten(1, (LATENTS, 1, 1))]
            before, stride = LATENTS, 1
            for wide in (*_WIDTHS, 3):
                layers += [nn.ConvTranspose2d(before, wide, 4, stride, padding=stride - 1, bias=False)]
                layers += [nn.Tanh()] if wide == 3 else [nn.BatchNorm2d(wide), nn.ReLU()]
                before, stride = wide, 2
        self.body = nn.Sequential(*layers)
        channels, height, width = image_shape
        mixed = torch.tensor([_LUMINANCE]) if channels == 1 else torch.eye(3)
        # Matrices, so that the same sums are taken on every device, forwards and backwards.
        self.register_buffer("colours", mixed, persistent=False)
        self.register_buffer("rows", _resizing(height), persistent=False)
        self.register_buffer("columns", _resizing(width), persistent=False)

    @classmethod
    def shipped(cls, image_shape: Shape) -> SyntheticFaces:
        """The generator as it is published, in evaluation mode, without gradients for its weights.

        Raises:
            DataMissing: its weights are not on this machine; the message has the command that gets them.
        """
        stored = torch.load(
            io.BytesIO(GENERATORS["synthetic_faces"].read()), map_location="cpu", weights_only=True
        )["netG_state_dict"]
        network = cls(image_shape)
        # In the file layers are numbered from the first convolution; here one before it shapes the latents.
        own = {name.removeprefix("main."): value for name, value in stored.items()}
        split = {name: name.partition(".") for name in own}
        network.body.load_state_dict(
            {f"{int(number) + 1}.{rest}": own[name] for name, (number, _, rest) in split.items()}
        )
        return network.eval().requires_grad_(False)

    def forward(self, latents: Tensor) -> Tensor:
        """Images ``[M, C, H, W]`` in [0, 1] of latents ``[M, Z]``."""
        coloured = (self.body(latents) + 1) / 2
        images = torch.einsum("kc,mcij->mkij", self.colours, coloured)
        resized: Tensor = self.rows @ images @ self.columns.T
        return resized


def _resizing(side: int) -> Tensor:
    """``[side, 64]``: bilinear interpolation with antialiasing along one axis; rows sum to 1."""
    unit = torch.eye(_SIDE)[None, None]
    resized = nn.functional.interpolate(
        unit, size=(side, _SIDE), mode="bilinear", antialias=True, align_corners=False
    )
    return resized[0, 0]
