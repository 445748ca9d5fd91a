"""Convolutions in forms for which a CPU has fast kernels.

*Strided ones of few channels*, see :func:`blocked`. A convolution of stride s is one of stride 1 over the
s x s blocks of its input, whose entries become its channels. With one or three of them, as first layers have,
the strided kernels of a CPU reach a twentieth of its speed, above all in second derivatives with filters of
each victim's own.

*Those of many channels on few positions*, see :func:`multiplied`. The gradient of the filters of every victim
is a convolution in as many groups as there are victims and channels, for which kernels are slow; as a product
of two matrices for each victim it and its derivatives run at the speed of those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, pad, unfold

from bench.engine.normalisation import sharing_copy

MOST_CHANNELS = 16
"""Channels after the change up to which it pays; beyond, the ordinary kernels are the faster ones."""
LEAST_WEIGHTS = 2**19
"""Of a layer whose gradient is computed as a product of matrices. Of smaller ones one kind gained a third
with eight victims, and all others lost."""
LEAST_REUSE = 2**12
"""Weights for each position of the output, below which the ordinary kernels are the faster ones: at 8 x 8
positions 256 channels gain a quarter, at 4 x 4 positions 512 gain three quarters, and at 16 x 16 positions
128 lose a sixth (eight victims, one thread). With one victim the first lose a fifth, the second hardly."""


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


class _Product(torch.autograd.Function):
    """A convolution whose filters have a gradient that is written as a product of matrices."""

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, filters: Tensor, stride: int, padding: int) -> Tensor:
        """``[B, C, H, W]`` and ``[O, C, k, k]`` -> ``[B, O, H', W']``."""
        return conv2d(images, filters, None, stride, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int, int], output: Tensor) -> None:
        """Keeps what the gradient is made of."""
        images, filters, ctx.stride, ctx.padding = inputs
        ctx.save_for_backward(images, filters)

    @staticmethod
    def backward(ctx: Any, sent: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Of images and filters, in operations that can be differentiated again."""
        images, filters = ctx.saved_tensors
        stride, padding, size = ctx.stride, ctx.padding, filters.shape[-1]
        of_images = of_filters = None
        if ctx.needs_input_grad[0]:
            left = tuple(
                images.shape[axis] + 2 * padding - size - (sent.shape[axis] - 1) * stride for axis in (2, 3)
            )
            of_images = conv_transpose2d(sent, filters, None, stride, padding, left)
        if ctx.needs_input_grad[1]:
            patches = unfold(images, size, padding=padding, stride=stride)  # [B, C k k, H' W']
            rows = sent.flatten(2).transpose(0, 1).flatten(1)  # [O, B H' W']
            of_filters = (rows @ patches.transpose(1, 2).flatten(0, 1)).view(filters.shape)
        return of_images, of_filters, None, None


class _Multiplied(nn.Conv2d):
    """The same layer, where it pays with a gradient of its filters that is a product of matrices."""

    def forward(self, input: Tensor) -> Tensor:
        """``[B, C, H, W]`` -> ``[B, O, H', W']``, as its parent up to rounding."""
        if input.dim() != 4 or input.device.type != "cpu" or not self._pays(input):
            return super().forward(input)
        result: Tensor = _Product.apply(input, self.weight, self.stride[0], int(self.padding[0]))
        return result if self.bias is None else result + self.bias.view(-1, 1, 1)

    def _pays(self, input: Tensor) -> bool:
        size, padding, stride = self.kernel_size[0], int(self.padding[0]), self.stride[0]
        height, width = ((length + 2 * padding - size) // stride + 1 for length in input.shape[2:])
        return self.weight.numel() >= LEAST_REUSE * height * width


def _plain(layer: nn.Module) -> bool:
    # Of this very class and without hooks: what others do in their forward pass is theirs.
    return (
        type(layer) is nn.Conv2d
        and not layer._forward_hooks
        and not layer._forward_pre_hooks
        and isinstance(layer.padding, tuple)
        and all(len(set(pair)) == 1 for pair in (layer.stride, layer.kernel_size, layer.padding))
        and (layer.groups, layer.dilation, layer.padding_mode) == (1, (1, 1), "zeros")
    )


def _few_channels(layer: nn.Conv2d) -> bool:
    return layer.stride[0] > 1 and layer.in_channels * layer.stride[0] ** 2 <= MOST_CHANNELS


def _many_weights(layer: nn.Conv2d) -> bool:
    return layer.weight.numel() >= LEAST_WEIGHTS


def blocked(model: nn.Module) -> nn.Module:
    """The network with its strided convolutions of few channels computed over blocks.

    It shares its tensors with the network; it is the network itself, if that has no such layers.
    """
    return _changed(model, _few_channels, _Blocked)


def multiplied(model: nn.Module) -> nn.Module:
    """The network whose large convolutions have the gradients of their filters as products of matrices.

    It shares its tensors with the network; it is the network itself, if that has no such layers.
    """
    return _changed(model, _many_weights, _Multiplied)


def _changed(model: nn.Module, pays: Callable[[nn.Conv2d], bool], kind: type[nn.Conv2d]) -> nn.Module:
    names = [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d) and _plain(layer) and pays(layer)
    ]
    if not names:
        return model
    changed = sharing_copy(model)
    for name in names:
        changed.get_submodule(name).__class__ = kind
    return changed
