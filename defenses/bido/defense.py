"""Bilateral dependency optimisation with HSIC (BiDO; Peng et al., KDD 2022)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.api import Defense, HookContext, ImageSet, IncompatibleError
from bench.defenses.bido.dependence import dependence, gaussian, same_class, whitened

ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Hardswish, nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.Hardtanh, nn.Softplus, nn.Softsign,
)  # fmt: skip
"""Layers whose outputs count as hidden representations."""


class BiDO(Defense):
    """Hidden layers learn to depend little on the image and much on the label."""

    def __init__(self, *, input_weight: float = 0.05, ratio: float = 10.0) -> None:
        """Sets lambda_x, the weight of the dependence on images, and lambda_y as a multiple of it."""
        self.input_weight = input_weight
        self.ratio = ratio

    def model(self, model: nn.Module) -> nn.Module:
        """The network as it is.

        Raises:
            IncompatibleError: no hidden layer can be seen.
        """
        if not any(isinstance(layer, ACTIVATIONS) for layer in model.modules()):
            raise IncompatibleError(
                "bido: the network has no activation modules (nn.ReLU, nn.Sigmoid, ...), whose outputs are "
                "the hidden layers; functions such as torch.relu cannot be seen"
            )
        return model

    def objective(self, model: nn.Module, images: Tensor, labels: Tensor, context: HookContext) -> Tensor:
        """``CE + sum_j (lambda_x * HSIC(X, Z_j) - lambda_y * HSIC(Z_j, Y))`` over hidden layers j."""
        scores, on_images, on_labels = _dependences(model, images, labels)
        bilateral = on_images.sum() - self.ratio * on_labels.sum()
        return cross_entropy(scores, labels) + self.input_weight * bilateral

    @torch.no_grad()
    def details(self, model: nn.Module, test: ImageSet, context: HookContext) -> dict[str, float]:
        """Both dependences, averaged over hidden layers and batches of test images, at most 1,000 of them.

        They grow with the size of the batch, which is that of the training.
        """
        count = min(1000, len(test)) // context.batch_size * context.batch_size
        batches = zip(
            test.images[:count].split(context.batch_size),
            test.labels[:count].split(context.batch_size),
            strict=True,
        )
        found = [torch.stack(_dependences(model, *batch)[1:]).mean(1) for batch in batches]
        if not found:
            return {}
        on_images, on_labels = torch.stack(found).mean(0).tolist()
        return {"hsic_input": on_images, "hsic_label": on_labels}


def _dependences(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Scores ``[M, K]``, and each hidden layer's dependence on the images and on the labels, ``[J]``."""
    scores, hidden = _hidden(model, images)
    image, label = whitened(gaussian(images.flatten(1))), whitened(same_class(labels, scores.dtype))
    layers = [whitened(gaussian(layer)) for layer in hidden]
    return (
        scores,
        torch.stack([dependence(image, layer) for layer in layers]),
        torch.stack([dependence(layer, label) for layer in layers]),
    )


def _hidden(model: nn.Module, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Scores, and the outputs of all activation modules in the order of their use, ``[M, D_j]``."""
    hidden: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        hidden.append(output.flatten(1))

    hooks = [layer.register_forward_hook(keep) for layer in model.modules() if isinstance(layer, ACTIVATIONS)]
    try:
        scores: Tensor = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not hidden:
        raise IncompatibleError("bido: the network's activation modules take no part in its scores")
    return scores, hidden
