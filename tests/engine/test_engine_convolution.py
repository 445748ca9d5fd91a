"""Convolutions over blocks: the same layer, whatever its sizes; others are left alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bench.engine.convolution import _Blocked, blocked


@settings(deadline=None, max_examples=150)
@given(
    channels=st.integers(1, 4),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 4),
    padding=st.integers(0, 4),
    height=st.integers(8, 19),
    width=st.integers(8, 19),
    bias=st.booleans(),
)
def test_output_and_gradients_are_those_of_the_layer(
    channels: int, kernel: int, stride: int, padding: int, height: int, width: int, bias: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(channels, 3, kernel, stride, padding, bias=bias, dtype=torch.float64)
    images = torch.randn(2, channels, height, width, generator=generator, dtype=torch.float64)
    found = []
    for network in (layer, blocked(nn.Sequential(layer))):
        leaf = images.clone().requires_grad_()
        result = network(leaf)
        way = torch.linspace(-1, 1, result.numel(), dtype=torch.float64).view_as(result)
        found.append((result, *torch.autograd.grad((result * way).sum(), (leaf, *layer.parameters()))))
    for want, got in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_layers_that_pay_are_changed_and_share_their_tensors() -> None:
    model = nn.Sequential(nn.Conv2d(1, 6, 5, 2, 2), nn.Sigmoid(), nn.Conv2d(6, 6, 5, 2, 2))
    changed = blocked(model)
    assert isinstance(changed[0], _Blocked)  # type: ignore[index]
    assert type(changed[2]) is nn.Conv2d  # type: ignore[index]
    assert type(model[0]) is nn.Conv2d
    assert [id(value) for value in changed.parameters()] == [id(value) for value in model.parameters()]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "length", "over_blocks"),
    [
        (5, 2, 2, 32, True),
        (4, 2, 1, 28, True),
        (4, 4, 0, 32, True),
        (3, 2, 1, 32, False),
        (5, 2, 2, 31, False),
    ],
)
def test_which_sizes_are_computed_over_blocks(
    kernel: int, stride: int, padding: int, length: int, over_blocks: bool
) -> None:
    layer = next(blocked(nn.Sequential(nn.Conv2d(1, 4, kernel, stride, padding))).children())
    assert isinstance(layer, _Blocked)
    assert layer._fits(length) is over_blocks


class _Doubling(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 4, 3, padding=1),
        nn.Conv2d(8, 4, 4, 2, 1),
        nn.Conv2d(2, 4, 4, 2, 1, groups=2),
        nn.Conv2d(1, 4, 3, 2, 2, dilation=2),
        nn.Conv2d(1, 4, 4, 2, 1, padding_mode="circular"),
        nn.Conv2d(1, 4, (3, 5), 2, (1, 2)),
        nn.Conv2d(1, 4, 3, (1, 2), 1),
        _Doubling(1, 4, 4, 2, 1),
    ],
    ids=["no stride", "many channels", "groups", "dilation", "circular", "oblong", "uneven", "own class"],
)
def test_other_layers_are_left_alone(layer: nn.Module) -> None:
    model = nn.Sequential(layer)
    assert blocked(model) is model


def test_a_layer_with_a_hook_is_left_alone() -> None:
    layer = nn.Conv2d(1, 4, 4, 2, 1)
    layer.register_forward_hook(lambda *seen: None)
    assert blocked(nn.Sequential(layer))[0] is layer  # type: ignore[index]
