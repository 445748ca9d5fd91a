"""A module from memory, as the engine uses it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.api.dataset import ImageSet
from bench.api.errors import UsageError
from bench.engine.normalisation import batch_norms, own_statistics
from bench.models.base import Shape


@dataclass(frozen=True, kw_only=True)
class OwnNetwork:
    """A network with its weights.

    Attributes:
        model: as clients use it; a copy of the caller's.
        parameters: all weights by name, on the device.
        trained: names of those that clients train, whose gradients leave, in their order.
        num_classes: K.
        image_shape: (C, H, W).
        device: where to compute.
    """

    model: nn.Module
    parameters: dict[str, Tensor]
    trained: tuple[str, ...]
    num_classes: int
    image_shape: Shape
    device: torch.device

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the weights that are trained."""
        return {name: tuple(self.parameters[name].shape) for name in self.trained}

    def labelled(self, images: Tensor) -> ImageSet:
        """Images ``[A, C, H, W]`` of the attacker with the classes that the network sees in them.

        Raises:
            UsageError: another shape than the private images have.
        """
        shown = images.to(self.device)
        if tuple(shown.shape[1:]) != self.image_shape:
            raise UsageError(
                f"auxiliary images are {tuple(shown.shape[1:])}, the model's {self.image_shape}: resize"
            )
        with torch.no_grad():
            network = copy.deepcopy(self.model).eval()
            scores = [functional_call(network, self.parameters, (part,)) for part in shown.split(250)]
        return ImageSet(shown, torch.cat(scores).argmax(1))


def own_network(
    model: nn.Module, *, image_shape: Shape, batch_norm: str, device: torch.device, trains: bool = True
) -> OwnNetwork:
    """A copy of the caller's module, ready to be attacked.

    Args:
        model: with its weights, in the mode in which clients use it.
        image_shape: (C, H, W).
        batch_norm: ``train`` or ``eval`` for the mode of BatchNorm layers; ``auto``: the model's own.
        device: where to compute.
        trains: clients train its weights with ``requires_grad``; else only its answers matter.

    Raises:
        UsageError: it scores no images of that shape, or has no gradients, with what helps.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"model is {type(model).__name__}: give a torch.nn.Module")
    mine = _normalising(_copied(model), batch_norm).to(device)
    images = torch.linspace(0, 1, 2 * torch.Size(image_shape).numel(), device=device).view(2, *image_shape)
    classes = _classes(mine, images)
    trained = tuple(name for name, value in mine.named_parameters() if value.requires_grad)
    if trains and not trained:
        raise UsageError("the model has no weight with requires_grad: no gradient leaves its clients")
    for name, layer in mine.named_modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd) and layer.training and layer.p:
            raise UsageError(
                f"the layer {name} is Dropout in training mode: its mask is drawn anew in every evaluation, "
                "and the client's is not known; call model.eval(), or set its p to 0"
            )
    return OwnNetwork(
        model=mine.requires_grad_(False),
        parameters={name: value.detach() for name, value in mine.named_parameters()},
        trained=trained,
        num_classes=classes,
        image_shape=image_shape,
        device=device,
    )


def _copied(model: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise UsageError(
            f"the model cannot be copied ({type(error).__name__}: {error}): give one whose weights are leaves"
        ) from None


def _normalising(model: nn.Module, mode: str) -> nn.Module:
    if mode not in ("auto", "train", "eval"):
        raise UsageError(f"batch_norm={mode!r}: write auto, train or eval")
    if mode != "auto":
        for layer in batch_norms(model).values():
            layer.train(mode == "train")
    return model


def _classes(model: nn.Module, images: Tensor) -> int:
    """K, from the scores of two images."""
    network = own_statistics(model)
    try:
        with torch.no_grad():
            scores = network(images)
    except Exception as error:
        raise UsageError(
            f"the model fails on images {tuple(images.shape)}: {type(error).__name__}: {error}"
        ) from error
    if isinstance(scores, Mapping):
        raise UsageError(
            f"the model returns a mapping with {', '.join(map(str, scores))}: wrap it in a module that "
            "returns the scores alone"
        )
    if not isinstance(scores, Tensor) or scores.dim() != 2 or len(scores) != len(images):
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise UsageError(f"the model returns {shape} for {len(images)} images: expected scores [B, K]")
    return int(scores.shape[1])
