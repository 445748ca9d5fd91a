"""What the clients of a federation compute and send, in training rounds and attacked releases alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from bench.api.defense import Clients, Defense, HookContext
from bench.api.gradients import ClientLoss, Gradients
from bench.api.threat import LocalTraining
from bench.engine.gradients import gradient_map, one_hot
from bench.models.base import trainable


def soft_cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """The clients' loss: PyTorch's own cross-entropy, with the rounding that a real client has."""
    return nn.functional.cross_entropy(scores, targets)


def client_releases(
    model: nn.Module,
    parameters: dict[str, Tensor],
    images: Tensor,
    labels: Tensor,
    *,
    defense: Defense,
    context: HookContext,
    num_classes: int,
    local: Local | None = None,
) -> Gradients:
    """What N clients release: this one function serves every training round and every attacked release.

    Args:
        model: the defended architecture.
        parameters: the global weights.
        images: ``[N, B, C, H, W]`` private batches.
        labels: ``[N, B]``.
        defense: its hooks are applied.
        context: the defense's randomness.
        num_classes: K.
        local: the steps that clients take before they send; None: they send a gradient.

    Returns:
        ``[N, ...]`` per weight that is trained.
    """
    images, labels = defense.inputs(images, labels, context)
    clients = clients_of(model, parameters, images, labels, num_classes=num_classes)
    targets = one_hot(labels, num_classes, images.dtype)
    if local is None:
        minimised, own = defense.client_loss(images, context), replace(context, clients=clients)
        sent = _gradients(model, parameters, images, targets, minimised, per_victim_weights=False)
        return defense.gradients(sent, own)
    own = replace(context, clients=replace(clients, local=local.training))
    return defense.gradients(
        _local_update(
            model, parameters, images, targets, local, lambda batch: defense.client_loss(batch, context)
        ),
        own,
    )


def clients_of(
    model: nn.Module, parameters: Mapping[str, Tensor], images: Tensor, labels: Tensor, *, num_classes: int
) -> Clients:
    """The clients of one round, as their hook ``gradients`` sees them.

    Args:
        model: the defended architecture.
        parameters: the global weights.
        images: ``[N, B, ...]``, what the defense made of the private batches.
        labels: ``[N, B]``.
        num_classes: K.
    """

    def gradients(rows: Tensor, named: Tensor) -> Gradients:
        targets = one_hot(named, num_classes, rows.dtype)
        return _gradients(model, parameters, rows, targets, None, per_victim_weights=False)

    return Clients(model=model, weights=parameters, images=images, labels=labels, gradients=gradients)


def _gradients(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    images: Tensor,
    targets: Tensor,
    minimised: ClientLoss | None,
    *,
    per_victim_weights: bool,
) -> Gradients:
    """The gradients ``[N, ...]`` of what clients minimise, or of the cross-entropy."""
    found = gradient_map(
        model, weights, per_victim_weights=per_victim_weights, loss=soft_cross_entropy,
        names=trainable(model), client_loss=None if minimised is None else minimised.of_batch,
    )  # fmt: skip
    return found(images, targets, *(() if minimised is None else (minimised.drawn,)))


@dataclass(frozen=True)
class Local:
    """The steps of N clients.

    Attributes:
        training: what they are.
        orders: int64 ``[E, N, B]``, in which order each client takes its images in each pass.
    """

    training: LocalTraining
    orders: Tensor

    @classmethod
    def drawn(cls, training: LocalTraining, batch: Tensor, generator: torch.Generator) -> Self | None:
        """New orders for the images of clients, ``[N, B]``; None, and nothing drawn, for a single step."""
        if training.steps(batch.shape[1]) == 1:
            return None
        chance = torch.rand(training.epochs, *batch.shape, generator=generator, device=generator.device)
        return cls(training, chance.argsort(-1))


def _local_update(
    model: nn.Module,
    parameters: dict[str, Tensor],
    images: Tensor,
    targets: Tensor,
    local: Local,
    minimised: Callable[[Tensor], ClientLoss | None],
) -> Gradients:
    """What leaves after local steps (see :class:`~bench.api.threat.LocalTraining`): ``[N, ...]``."""
    clients, count = images.shape[:2]
    rate, size = local.training.learning_rate, local.training.batch_size or count
    weights = {name: value.detach().expand(clients, *value.shape) for name, value in parameters.items()}
    names = trainable(model)
    total = {name: torch.zeros_like(weights[name]) for name in names}
    for order in local.orders:
        for rows in order.split(size, dim=1):
            own = torch.arange(clients, device=images.device)[:, None], rows
            batch = images[own]
            found = _gradients(model, weights, batch, targets[own], minimised(batch), per_victim_weights=True)
            total = {name: value + found[name] for name, value in total.items()}
            weights |= {name: weights[name] - rate * found[name] for name in names}
    return {name: value / local.training.steps(count) for name, value in total.items()}
