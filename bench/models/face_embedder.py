"""A recogniser of people that was trained elsewhere: dlib's residual network, as a package has it.

It has seen none of a data set's people, and its family is that of no evaluator here: what both say of a
reconstruction is not the doing of one of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from bench.models.weights import FACE_LAYOUT, FACE_WEIGHTS

SIDE = 150
"""Pixels of the pictures that it was trained on."""
_MEAN, _SCALE = (122.782, 117.001, 104.298), 256.0
"""Of red, green and blue in 0 to 255: dlib's ``input_rgb_image_sized``."""
_BLOCKS = (("conv32", 3, False), ("conv64", 3, True), ("conv128", 2, True), ("conv256", 2, True))
"""Name, residual blocks, and whether one that halves the picture comes first."""


class FaceEmbedder:
    """Pictures of faces to 128 numbers, near each other for one person (dlib, King 2017)."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        """Takes the weights by the names that the file gives them; convolutions as ``[O, I, h, w]``."""
        self._weights = weights

    @classmethod
    def shipped(cls, device: torch.device) -> FaceEmbedder:
        """The network as it is published.

        Raises:
            DataMissing: its weights are not on this machine; the message has the command that gets them.
        """
        layout = json.loads(FACE_LAYOUT.read())[0]["weights"]
        weights = dequantised(layout, FACE_WEIGHTS.read())
        return cls({name: value.to(device) for name, value in weights.items()})

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Embeddings ``[M, 128]`` of images ``[M, C, H, W]`` in [0, 1]; one grey channel stands for three."""
        shown = functional.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
        centre = images.new_tensor(_MEAN).view(1, 3, 1, 1)
        x = (shown.expand(-1, 3, -1, -1) * 255 - centre) / _SCALE
        x = functional.max_pool2d(self._convolve(x, "conv32_down", 2, 0).relu(), 3, 2)
        for name, blocks, halves in _BLOCKS:
            x = self._halve(x, f"{name}_down") if halves else x
            for number in range(1, blocks + 1):
                x = (self._branch(x, f"{name}_{number}", 1, 1) + x).relu()
        x = self._halve(x, "conv256_down_out")
        return x.mean((2, 3)) @ self._weights["fc"]

    def _convolve(self, x: Tensor, name: str, stride: int, padding: int) -> Tensor:
        """A convolution and the affine map that is left of its BatchNorm."""
        kernel, bias = (self._weights[f"{name}/conv/{part}"] for part in ("filters", "bias"))
        scale, shift = (self._weights[f"{name}/scale/{part}"] for part in ("weights", "biases"))
        x = functional.conv2d(x, kernel, bias, stride, padding)
        return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)

    def _branch(self, x: Tensor, name: str, stride: int, padding: int) -> Tensor:
        x = self._convolve(x, f"{name}/conv1", stride, padding).relu()
        return self._convolve(x, f"{name}/conv2", 1, 1)

    def _halve(self, x: Tensor, name: str) -> Tensor:
        """A block of stride 2: where the picture or the channels of a summand end, zeros go on."""
        branch, plain = self._branch(x, name, 2, 0), functional.avg_pool2d(x, 2, 2)
        channels, height, width = (max(a, b) for a, b in zip(branch.shape[1:], plain.shape[1:], strict=True))
        return (_padded(branch, channels, height, width) + _padded(plain, channels, height, width)).relu()


def _padded(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    more = (0, width - x.shape[3], 0, height - x.shape[2], 0, channels - x.shape[1])
    return functional.pad(x, more)


def dequantised(layout: list[dict[str, Any]], stored: bytes) -> dict[str, Tensor]:
    """The tensors of a file of bytes, one after the other: ``value * scale + min`` where they are quantised.

    Args:
        layout: of each tensor its name and shape, and how its bytes became of its values.
        stored: uint8 where they are quantised, else float32.

    Returns:
        By name; kernels as ``[O, I, h, w]`` (in the file ``[h, w, I, O]``).
    """
    found: dict[str, Tensor] = {}
    at = 0
    for item in layout:
        count = int(np.prod(item["shape"], dtype=np.int64))
        if rule := item.get("quantization"):
            raw = np.frombuffer(stored, np.uint8, count, at).astype(np.float32)
            values, at = raw * np.float32(rule["scale"]) + np.float32(rule["min"]), at + count
        else:
            values, at = np.frombuffer(stored, np.dtype("<f4"), count, at).copy(), at + 4 * count
        tensor = torch.from_numpy(values).view(item["shape"])
        kernel = tensor.ndim == 4
        found[item["name"]] = tensor.permute(3, 2, 0, 1).contiguous() if kernel else tensor
    return found
