"""The two layers that the attack reads: the first, which sees the images, and the last, for their labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.api import GradientObservation, IncompatibleError
from bench.attacks.analytic.chain import first_layer


@dataclass(frozen=True)
class Layer:
    """A fully connected first layer with ReLU, in float64.

    Attributes:
        name: of the layer.
        weight: W, ``[m, n]``.
        bias: ``[m]``.
        scale: of each pixel before the layer, ``[n]``.
        shift: of each pixel before the layer, ``[n]``.
    """

    name: str
    weight: Tensor
    bias: Tensor
    scale: Tensor
    shift: Tensor

    @classmethod
    def of(cls, observation: GradientObservation) -> Layer:
        """Finds it.

        Raises:
            IncompatibleError: there is none, or its gradients are not released.
        """
        weights = _weights(observation)
        first = first_layer(observation.model, weights, observation.image_shape)
        if first is None:
            raise IncompatibleError("SPEAR needs a fully connected first layer with a bias")
        names = [f"{first.name}.weight", f"{first.name}.bias"]
        if not observation.gradients.keys() >= set(names):
            raise IncompatibleError("SPEAR needs the gradients of the first layer, which is frozen")
        if not _gated(observation, weights, first.name):
            raise IncompatibleError("SPEAR needs a ReLU after the first layer")
        weight, bias = (weights[name].double() for name in names)
        return cls(first.name, weight, bias, first.scale, first.shift)

    def images(self, inputs: Tensor) -> Tensor:
        """``[b, n]`` from what the layer takes."""
        return (inputs - self.shift) / self.scale


def _weights(observation: GradientObservation) -> dict[str, Tensor]:
    own = observation.per_victim_weights
    return {name: value[0] if own else value for name, value in observation.parameters.items()}


def _gated(observation: GradientObservation, weights: dict[str, Tensor], name: str) -> bool:
    """Whether negative outputs of a layer change nothing that follows, and positive ones do."""
    images = torch.full((1, *observation.image_shape), 0.5).to(observation.reference)

    def scores(factor: float) -> Tensor:
        def replaced(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return factor * (1 + output.abs())

        handle = observation.model.get_submodule(name).register_forward_hook(replaced)
        try:
            with torch.no_grad():
                found: Tensor = functional_call(observation.model, weights, (images,))
        finally:
            handle.remove()
        return found

    return bool(torch.equal(scores(-1.0), scores(-2.0)) and not torch.equal(scores(1.0), scores(2.0)))


def labels_of(observation: GradientObservation, images: Tensor) -> Tensor:
    """Labels ``[1, B]`` of the batch ``[1, B, C, H, W]``, off the gradient of the last layer.

    That is the sum over the images of output error (x) feature, and their features are known: the errors
    ``(p - y) / B`` solve a linear system. -1 where the last layer is not linear or sends nothing.
    """
    weights = _weights(observation)
    linear = {
        name: layer
        for name, layer in observation.model.named_modules()
        if isinstance(layer, nn.Linear) and layer.out_features == observation.num_classes
    }
    name = next(reversed(linear), "")
    sent = observation.gradients.get(f"{name}.weight")
    if sent is None:
        return torch.full(images.shape[:2], -1, device=images.device)
    features: list[Tensor] = []
    handle = linear[name].register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    try:
        with torch.no_grad():
            scores = functional_call(observation.model, weights, (images[0],))
    finally:
        handle.remove()
    errors = sent[0].double() @ torch.linalg.pinv(features[0].double())
    result: Tensor = (scores.double().softmax(1) - len(scores) * errors.T).argmax(1)[None]
    return result
