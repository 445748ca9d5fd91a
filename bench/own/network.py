"""A module from memory, as the engine uses it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.api.dataset import ImageSet
from bench.api.errors import NetworkError, UsageError
from bench.models.base import Shape, VictimModel
from bench.models.users.adopted import UserModel, adopt, copied, unwrapped


@dataclass(frozen=True, kw_only=True)
class OwnNetwork:
    """A network with its weights.

    Attributes:
        model: as clients use it; a copy of the caller's.
        parameters: all weights by name, on the device.
        trained: names of those that clients train, whose gradients leave, in their order.
        own_names: what the caller calls each weight.
        num_classes: K.
        image_shape: (C, H, W).
        device: where to compute.
    """

    model: nn.Module
    parameters: dict[str, Tensor]
    trained: tuple[str, ...]
    own_names: dict[str, str]
    num_classes: int
    image_shape: Shape
    device: torch.device

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the weights that are trained, by the caller's names."""
        return {self.own_names[name]: tuple(self.parameters[name].shape) for name in self.trained}

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


def own_network(model: nn.Module, *, image_shape: Shape, batch_norm: str, device: torch.device) -> OwnNetwork:
    """A copy of the caller's module, ready to be attacked.

    Args:
        model: with its weights, in the mode in which clients use it.
        image_shape: (C, H, W).
        batch_norm: as in :func:`~bench.models.users.adopted.adopt`.
        device: where to compute.

    Raises:
        NetworkError: it scores no images of that shape, or has no gradients, with what helps.
    """
    classes = number_of_classes(model, image_shape)
    if isinstance(model, VictimModel) and batch_norm == "auto":
        mine = copy.deepcopy(model)
    else:
        mine = adopt(
            model, image_shape=image_shape, num_classes=classes, batch_norm=batch_norm, name="the model"
        )
    mine = mine.to(device)
    trained = tuple(name for name, value in mine.named_parameters() if value.requires_grad)
    return OwnNetwork(
        model=mine.requires_grad_(False),
        parameters={name: value.detach() for name, value in mine.named_parameters()},
        trained=trained,
        own_names=_names(mine),
        num_classes=classes,
        image_shape=image_shape,
        device=device,
    )


def _names(network: VictimModel) -> dict[str, str]:
    if isinstance(network, UserModel):
        return network.own_names
    return {name: name for name, _ in network.named_parameters()}


def learning(model: nn.Module) -> nn.Module:
    """A copy all of whose weights are trained: on the channel ``model`` it matters to nobody which ones were.

    Raises:
        NetworkError: it cannot be copied.
    """
    if not isinstance(model, nn.Module):
        raise NetworkError(f"the model is a {type(model).__name__}, not a torch.nn.Module")
    return copied(unwrapped(model), "the model").eval().requires_grad_(True)


def number_of_classes(model: nn.Module, image_shape: Shape) -> int:
    """K, from the scores of two images.

    Raises:
        NetworkError: the module returns something else.
    """
    if not isinstance(model, nn.Module):
        raise NetworkError(f"the model is a {type(model).__name__}, not a torch.nn.Module")
    asked = copied(unwrapped(model), "the model")
    place = next((value.device for value in asked.parameters()), torch.device("cpu"))
    images = torch.rand(2, *image_shape, generator=torch.Generator().manual_seed(0)).to(place)
    try:
        with torch.no_grad():
            scores = asked(images)
    except Exception as error:
        raise NetworkError(
            f"the model fails on images {tuple(images.shape)}: {type(error).__name__}: {error}"
        ) from error
    if isinstance(scores, Mapping):
        raise NetworkError(
            f"the model returns a mapping with {', '.join(map(str, scores))}: wrap it in a module that "
            "returns the scores alone"
        )
    if not isinstance(scores, Tensor) or scores.dim() != 2 or len(scores) != len(images):
        shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise NetworkError(f"the model returns {shape} for {len(images)} images: expected scores [B, K]")
    if scores.shape[1] < 2:
        raise NetworkError(
            "the model has one score, over which a softmax is always one: return two, such as "
            "torch.cat([torch.zeros_like(score), score], 1), whose softmax is the sigmoid"
        )
    return int(scores.shape[1])


def gives_probabilities(network: OwnNetwork) -> bool:
    """Whether the scores of some images are probabilities, of which a second softmax would be taken."""
    chance = torch.Generator().manual_seed(0)
    images = torch.rand(4, *network.image_shape, generator=chance).to(network.device)
    with torch.no_grad():
        scores = network.model(images)
    return bool((scores >= 0).all()) and torch.allclose(
        scores.sum(1), torch.ones_like(scores[:, 0]), atol=1e-4
    )
