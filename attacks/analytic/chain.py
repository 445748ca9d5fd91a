"""A network as the row of layers that the closed form can walk back through."""

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


def _step(name: str, layer: nn.Conv2d | nn.Linear, shape: tuple[int, ...]) -> Step:
    if layer.bias is None:
        raise IncompatibleError("the closed form needs biases")
    if isinstance(layer, nn.Conv2d) and (layer.groups != 1 or layer.padding_mode != "zeros"):
        raise IncompatibleError("the closed form knows plain convolutions only")
    if shape[0] != (layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features):
        raise IncompatibleError("the closed form cannot walk back through what happens between two layers")
    return Step(name, layer, None, shape)
