"""Convolutions over blocks, and with products of matrices: the same layer; others are left alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from bench.engine import convolution
from bench.engine.convolution import _Blocked, _Multiplied, blocked, multiplied


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
    assert multiplied(model) is model


def test_a_layer_with_a_hook_is_left_alone() -> None:
    layer = nn.Conv2d(1, 4, 4, 2, 1)
    layer.register_forward_hook(lambda *seen: None)
    assert blocked(nn.Sequential(layer))[0] is layer  # type: ignore[index]


def second_derivatives(
    network: nn.Module, images: Tensor, weights: dict[str, Tensor], own: int | None
) -> list[Tensor]:
    """Gradients of each victim ``[N, ...]``, and of their squared norm with respect to the images."""

    def loss(used: dict[str, Tensor], batch: Tensor) -> Tensor:
        return functional_call(network, used, (batch,)).sin().square().sum()

    leaf = images.clone().requires_grad_()
    found = vmap(grad(loss), in_dims=(own, 0))(weights, leaf)
    total = torch.stack([value.square().sum() for value in found.values()]).sum()
    return [*found.values(), *torch.autograd.grad(total, leaf)]


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 2),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    height=st.integers(5, 9),
    width=st.integers(5, 9),
    bias=st.booleans(),
    own=st.booleans(),
)
def test_products_of_matrices_are_the_gradients_of_the_layer(
    batch: int, kernel: int, stride: int, padding: int, height: int, width: int, bias: bool, own: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolution, "LEAST_WEIGHTS", 1)
        patch.setattr(convolution, "LEAST_REUSE", 0)
        layer = nn.Conv2d(3, 4, kernel, stride, padding, bias=bias, dtype=torch.float64)
        plain = nn.Sequential(layer, nn.Tanh(), nn.Conv2d(4, 2, 1, dtype=torch.float64))
        changed = multiplied(plain)
        assert isinstance(changed[0], _Multiplied)  # type: ignore[index]
        weights = {name: value.detach() for name, value in plain.named_parameters()}
        if own:
            weights = {name: torch.stack([value, 2 * value, -value]) for name, value in weights.items()}
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(3, batch, 3, height, width, generator=generator, dtype=torch.float64)
        want, got = (second_derivatives(one, images, weights, 0 if own else None) for one in (plain, changed))
    for first, second in zip(want, got, strict=True):
        torch.testing.assert_close(second, first, rtol=1e-10, atol=1e-10)


def test_large_layers_on_few_positions_are_multiplied_and_share_their_tensors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = nn.Sequential(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.Conv2d(256, 8, 3))
    changed = multiplied(model)
    assert [type(layer) for layer in changed.children()] == [_Multiplied, nn.ReLU, nn.Conv2d]
    assert [id(value) for value in changed.parameters()] == [id(value) for value in model.parameters()]
    assert type(model[0]) is nn.Conv2d

    def called(*given: object) -> Tensor:
        raise AssertionError

    monkeypatch.setattr(convolution._Product, "apply", called)
    with pytest.raises(AssertionError):
        changed(torch.zeros(1, 256, 8, 8))
    changed(torch.zeros(1, 256, 16, 16))  # positions enough for the ordinary kernels
