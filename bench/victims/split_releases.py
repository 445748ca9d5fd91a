"""What a victim of split learning releases at the cut, and the loss of a round as an attacker computes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import functional_call

from bench.api.smashed import Received
from bench.engine.gradients import cross_entropy
from bench.engine.transforms.transmission import ACTIVATIONS
from bench.models.split import SplitModel
from bench.victims.releases import Release, Source, batches
from bench.victims.split import build_split, send

CLIENT, SERVER = "client.", "server."
"""How the names of both halves' weights begin."""
RECEIVED = 1000
"""Private images, at most, of which an honest server remembers what was sent."""


def loaded(source: Source) -> SplitModel:
    """The defended network with the weights of the source.

    Raises:
        IncompatibleError: the architecture is not cut in two.
    """
    network = build_split(
        source.model,
        num_classes=source.num_classes,
        image_shape=source.image_shape,
        defense=source.defense,
    )
    network.load_state_dict(source.parameters)
    return network.to(source.device)


@torch.no_grad()
def release_activations(source: Source) -> Release:
    """The activations of N clients of split learning, one private batch each, as in a round of the training.

    Raises:
        ValueError: fewer private images than N * B.
        IncompatibleError: the architecture is not cut in two.
    """
    images, labels, indices = batches(source)
    network = loaded(source)
    inputs, sent = send(network, images, labels, defense=source.defense, context=source.context(network))
    return Release(
        images=images,
        labels=labels,
        indices=indices,
        sent={ACTIVATIONS: sent},
        perturbed=perturbed_images(inputs, images, source),
    )


def received_activations(source: Source) -> Received | None:
    """What clients sent of other batches: those that the seed draws after the attacked ones.

    Returns:
        At most :data:`RECEIVED` images with their labels; None where no private batch is left.
    """
    attacked = source.releases * source.batch_size
    releases = min(len(source.private), attacked + RECEIVED) // source.batch_size
    if releases <= source.releases:
        return None
    found = release_activations(replace(source, releases=releases))
    return Received(
        activations=found.sent[ACTIVATIONS][source.releases :].flatten(0, 1),
        labels=found.labels[source.releases :].flatten(),
    )


def perturbed_images(inputs: Tensor, images: Tensor, source: Source) -> Tensor | None:
    """What the clients computed on, if the defense made other images of theirs."""
    shown = source.defense.perturbed(inputs.detach())
    changed = shown.shape == images.shape and not torch.equal(shown, images)
    return shown if changed else None


@dataclass(frozen=True)
class SplitLoss:
    """The loss of a round as an attacker computes it, from a batch of images or of the clients' inputs.

    What the server's half withholds from the client gets the activations of constant weights: it has no
    gradient in the client's weights, but one in the images, which an attacker needs.

    Attributes:
        network: the architecture.
    """

    network: SplitModel

    def __call__(
        self, weights: Mapping[str, Tensor], still: Mapping[str, Tensor], images: Tensor, targets: Tensor
    ) -> Tensor:
        """See :data:`~bench.api.gradients.BatchLoss`."""
        network = self.network
        inputs = network.embed(images)
        activations = functional_call(network.client, _half(CLIENT, {**still, **weights}), (inputs,))
        constant = functional_call(network.client, _half(CLIENT, still), (inputs,))
        server = {f"network.{name}": weight for name, weight in {**still, **weights}.items()}
        result: Tensor = functional_call(_Server(network), server, (activations, constant, targets))
        return result


class _Server(torch.nn.Module):
    """The training loss as a module, so that its weights can be exchanged."""

    def __init__(self, network: SplitModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, activations: Tensor, still: Tensor, targets: Tensor) -> Tensor:
        return self.network.training_loss(activations, targets, still=still, loss=cross_entropy)


def _half(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
