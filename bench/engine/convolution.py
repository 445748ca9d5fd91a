"""Strided convolutions of few channels, in a form for which a CPU has fast kernels.

A convolution of stride s is one of stride 1 over the s x s blocks of its input, whose entries become its
channels. With one or three of them, as first layers have, the strided kernels of a CPU reach a twentieth of
its speed, above all in second derivatives with filters of each victim's own.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

MOST_CHANNELS = 16
"""Channels after the change up to which it pays; beyond, the ordinary kernels are the faster ones."""


class _Blocked(nn.Conv2d):
    """The same layer, computed over blocks where the sizes allow it."""

    def forward(self, input: Tensor) -> Tensor:
        """``[B, C, H, W]`` -> ``[B, O, H', W']``, as its parent up to rounding."""
        if input.dim() != 4 or input.device.type != "cpu" or not all(map(self._fits, input.shape[2:])):
            return super().forward(input)
        stride, (front, back, padding) = self.stride[0], self._margins()
        blocks = input.unflatten(3, (-1, stride)).unflatten(2, (-1, stride))  # [B, C, H/s, s, W/s, s]
        blocks = blocks.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)
        filters = pad(self.weight, (front, back, front, back))
        filters = filters.unflatten(3, (-1, stride)).unflatten(2, (-1, stride))
        filters = filters.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)
        return conv2d(blocks, filters, self.bias, padding=padding)

    def _margins(self) -> tuple[int, int, int]:
        """Zeros before and after the filter that align it with the blocks, and the padding in blocks."""
        stride, size, padding = self.stride[0], self.kernel_size[0], int(self.padding[0])
        front = -padding % stride
        return front, -(size + front) % stride, (padding + front) // stride

    def _fits(self, length: int) -> bool:
        """Whether an axis consists of whole blocks and gives as many outputs either way."""
        stride, size, (front, back, padding) = self.stride[0], self.kernel_size[0], self._margins()
        blocks = length // stride + 2 * padding - (front + size + back) // stride + 1
        return length % stride == 0 and blocks == (length + 2 * int(self.padding[0]) - size) // stride + 1


def _pays(layer: nn.Module) -> bool:
    # Of this very class and without hooks: what others do in their forward pass is theirs.
    return (
        type(layer) is nn.Conv2d
        and not layer._forward_hooks
        and not layer._forward_pre_hooks
        and isinstance(layer.padding, tuple)
        and all(len(set(pair)) == 1 for pair in (layer.stride, layer.kernel_size, layer.padding))
        and layer.stride[0] > 1
        and layer.in_channels * layer.stride[0] ** 2 <= MOST_CHANNELS
        and (layer.groups, layer.dilation, layer.padding_mode) == (1, (1, 1), "zeros")
    )


def blocked(model: nn.Module) -> nn.Module:
    """The network with its strided convolutions of few channels computed over blocks.

    It shares its tensors with the network; it is the network itself, if that has no such layers.
    """
    if not any(_pays(layer) for layer in model.modules()):
        return model
    memo: dict[int, Any] = {id(value): value for value in (*model.parameters(), *model.buffers())}
    changed = copy.deepcopy(model, memo)
    for layer in changed.modules():
        if _pays(layer):
            layer.__class__ = _Blocked
    return changed
