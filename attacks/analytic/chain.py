"""A network as the row of layers that the closed form can walk back through, or as its first layer alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.api import IncompatibleError


@dataclass(frozen=True)
class Step:
    """A linear layer and the activation after it.

    Attributes:
        name: of the layer; its parameters are ``<name>.weight`` and ``<name>.bias``.
        layer: a convolution or a linear layer.
        activation: what follows; None after the classifier.
        shape: of the layer's input, without the batch.
    """

    name: str
    layer: nn.Conv2d | nn.Linear
    activation: nn.Module | None
    shape: tuple[int, ...]


def chain(
    model: nn.Module, parameters: Mapping[str, Tensor], image_shape: tuple[int, int, int]
) -> list[Step]:
    """Takes a network apart.

    Args:
        model: the architecture.
        parameters: weights of one victim, to make sure that the layers in a row are the whole network.
        image_shape: (C, H, W).

    Raises:
        IncompatibleError: the network is not a row of biased layers, each followed by a sigmoid or tanh.
    """
    steps: list[Step] = []
    probe = torch.linspace(0, 1, prod(image_shape)).view(1, *image_shape).to(next(iter(parameters.values())))
    value = probe
    for name, module in model.named_modules():
        if next(module.children(), None) is not None or isinstance(module, nn.Flatten | nn.Identity):
            continue
        if isinstance(module, nn.Conv2d | nn.Linear):
            if isinstance(module, nn.Linear):
                value = value.flatten(1)
            if f"{name}.weight" not in parameters:
                raise IncompatibleError(
                    "the closed form knows plain weights only, no parametrized or tied ones"
                )
            steps.append(_step(name, module, tuple(value.shape[1:])))
            own = {kind: parameters[f"{name}.{kind}"] for kind in ("weight", "bias")}
            value = functional_call(module, own, (value,))
        elif steps and steps[-1].activation is None and isinstance(module, nn.Sigmoid | nn.Tanh):
            last = steps[-1]
            steps[-1] = Step(last.name, last.layer, module, last.shape)
            value = module(value)
        else:
            raise IncompatibleError(f"the closed form cannot walk back through {type(module).__name__}")
    whole = functional_call(model, dict(parameters), (probe,))
    if not steps or not torch.allclose(whole, value.flatten(1), rtol=1e-3, atol=1e-4):
        raise IncompatibleError("the network is more than its layers in a row")
    return steps


@dataclass(frozen=True)
class FirstLayer:
    """A linear first layer with a bias, whose input is the image, pixel by pixel scaled and shifted.

    Attributes:
        name: of the layer.
        scale: of each pixel, ``[D]``.
        shift: of each pixel, ``[D]``.
    """

    name: str
    scale: Tensor
    shift: Tensor


def first_layer(
    model: nn.Module, parameters: Mapping[str, Tensor], image_shape: tuple[int, int, int]
) -> FirstLayer | None:
    """The layer that sees all pixels, whatever follows it; None where another layer is in front of it.

    Args:
        model: the architecture.
        parameters: weights of one victim.
        image_shape: (C, H, W).
    """
    named = {layer: name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    size, some = prod(image_shape), next(iter(parameters.values()))
    uneven = torch.arange(size).mul(0.618034).remainder(1)  # no two pixels of a neighbourhood alike
    probes = torch.stack([torch.zeros(size), torch.ones(size), uneven])
    images = probes.view(-1, *image_shape).to(some)
    seen: list[tuple[nn.Linear, Tensor]] = []

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.Linear)  # hooks are on these alone
        seen.append((layer, inputs[0]))

    hooks = [layer.register_forward_pre_hook(note) for layer in named]
    try:
        functional_call(model, dict(parameters), (images,))
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        return None
    layer, value = seen[0]
    once = sum(other is layer for other, _ in seen) == 1
    if not once or _tied(layer, model) or layer.bias is None or value.shape != (len(probes), size):
        return None
    black, white, noise = value.double()
    scale = white - black
    affine = torch.allclose(noise, black + scale * probes[2].to(noise), rtol=1e-4, atol=1e-4)
    return FirstLayer(named[layer], scale, black) if affine and bool((scale != 0).all()) else None


def _tied(layer: nn.Module, model: nn.Module) -> bool:
    """Whether another layer uses weights of this one, so that its gradient is the sum of both uses."""
    own = {id(value) for value in layer.parameters()}
    others = (other for other in model.modules() if other is not layer)
    return any(id(value) in own for other in others for value in other.parameters(recurse=False))


def _step(name: str, layer: nn.Conv2d | nn.Linear, shape: tuple[int, ...]) -> Step:
    if layer.bias is None:
        raise IncompatibleError("the closed form needs biases")
    if isinstance(layer, nn.Conv2d) and (layer.groups != 1 or layer.padding_mode != "zeros"):
        raise IncompatibleError("the closed form knows plain convolutions only")
    if shape[0] != (layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features):
        raise IncompatibleError("the closed form cannot walk back through what happens between two layers")
    return Step(name, layer, None, shape)
