"""SplitFed: clients of a network that is cut in two send updates of both halves, which servers average.

In split learning (:mod:`bench.victims.split`) one client at a time trains, and what leaks is what passes the
cut. Where whole updates leak, there must be updates: in SplitFed (Thapa et al., AAAI 2022, Algorithm 1) all
clients of a round pass the cut side by side, each gets the gradient of its own batch, and both halves step
along the mean over the clients. That is the federation of :mod:`bench.victims.training` on a network in two
parts, so that a defense of gradients means the same on both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from bench.api.dataset import Splits
from bench.api.defense import Clients, Defense, FederatedTraining, HookContext
from bench.api.errors import IncompatibleError
from bench.api.gradients import Gradients
from bench.engine.convolution import blocked
from bench.models.base import Shape
from bench.models.build import schedule_of
from bench.models.spec import parse_model
from bench.models.split import SplitModel
from bench.models.victims import Schedule
from bench.victims.distortion import Watch
from bench.victims.releases import Release, Source, batches
from bench.victims.rounds import in_rounds
from bench.victims.server import Server
from bench.victims.split import build_split, on_device, reached, state_of, testing_context
from bench.victims.split_releases import CLIENT, SERVER, loaded, perturbed_images
from bench.victims.training import CURVE_POINTS, Victim, converged, kept, private_batches, stream


def splitfed_schedule(model: str) -> Schedule:
    """How SplitFed trains an architecture: as split learning does, the sigmoid network for longer.

    After the 12 passes of split learning an undefended ``lenet[cut=2]`` is behind what it can reach on 2,500
    digits (94.2 and 94.8 % instead of 95.8 and 96.0 % on two seeds), and an undefended victim that is trained
    too little flatters the defenses beside it.
    """
    schedule = schedule_of(model)
    return replace(schedule, epochs=24, weight_decay=0.05) if parse_model(model).head == "lenet" else schedule


class _ServerLoss(nn.Module):
    """What the server's half minimises, as a module whose weights can be exchanged."""

    def __init__(self, network: SplitModel) -> None:
        super().__init__()
        self.network = network

    def forward(self, activations: Tensor, labels: Tensor) -> Tensor:
        return self.network.training_loss(activations, labels)


def client_updates(
    network: SplitModel, images: Tensor, labels: Tensor, *, defense: Defense, context: HookContext
) -> tuple[Tensor, Gradients]:
    """What N clients send: this one function serves every training round and every attacked release.

    Each client has its own copy of both halves' weights, so that one backward pass of the losses of all
    clients together gives the gradient of each.

    Args:
        network: the defended network with the global weights.
        images: ``[N, B, C, H, W]`` private batches.
        labels: ``[N, B]``.
        defense: its hooks are applied.
        context: the defense's randomness, the phase, the network.

    Returns:
        What the clients' networks took, ``[N, B, ...]``, and updates ``[N, ...]`` by weight of either half.

    Raises:
        IncompatibleError: the defense has a loss of its own for clients of networks in one piece.
    """
    inputs, labels = defense.inputs(images, labels, context)
    if defense.client_loss(inputs, context) is not None:
        raise IncompatibleError("a loss of the clients' own needs a network that is not cut in two")
    clients = Clients(
        model=network, weights=global_weights(network), images=inputs, labels=labels,
        gradients=lambda rows, named: _gradients(network, rows, named, defense=Defense(), context=context),
    )  # fmt: skip
    found = _gradients(network, inputs, labels, defense=defense, context=context)
    return inputs, defense.gradients(found, replace(context, clients=clients))


def _gradients(
    network: SplitModel, inputs: Tensor, labels: Tensor, *, defense: Defense, context: HookContext
) -> Gradients:
    """The gradients ``[N, ...]`` of both halves' weights, as they are before the defense's last hook."""
    copies = {
        name: value.detach().expand(len(inputs), *value.shape).requires_grad_()
        for name, value in global_weights(network).items()
    }
    with torch.enable_grad():
        sent = defense.smashed(_through_client(network, copies, inputs), context)
        losses = _server_losses(network, copies, sent, labels)
        own = [defense.loss(inputs[n, None], sent[n, None], context) for n in range(len(inputs))]
        found = torch.autograd.grad(losses.sum() + torch.stack(own).sum(), list(copies.values()))
    return dict(zip(copies, found, strict=True))


def _through_client(network: SplitModel, copies: Gradients, inputs: Tensor) -> Tensor:
    """Activations ``[N, B, *Z]`` of each client's own copy of its half."""
    client = blocked(network.client)
    own = {k.removeprefix(CLIENT): value for k, value in copies.items() if k.startswith(CLIENT)}
    activations: Tensor = vmap(lambda weights, batch: functional_call(client, weights, (batch,)))(own, inputs)
    return activations


def _server_losses(network: SplitModel, copies: Gradients, sent: Tensor, labels: Tensor) -> Tensor:
    """The loss ``[N]`` of each client's batch at the server."""
    server = _ServerLoss(network)
    own = {f"network.{k}": value for k, value in copies.items() if k.startswith(SERVER)}
    losses: Tensor = vmap(lambda weights, *batch: functional_call(server, weights, batch))(own, sent, labels)
    return losses


def global_weights(network: SplitModel) -> dict[str, Tensor]:
    """The weights of both halves by name; what a client keeps to itself is not among them."""
    return {name: value for name, value in network.named_parameters() if name.startswith((CLIENT, SERVER))}


@torch.no_grad()
def _adopt(network: SplitModel, weights: Mapping[str, Tensor]) -> None:
    for name, value in global_weights(network).items():
        value.copy_(weights[name])


def train_splitfed(
    *,
    model: str,
    splits: Splits,
    num_classes: int,
    image_shape: Shape,
    defense: Defense,
    batch_size: int,
    epochs: float | None,
    seed: int,
    device: torch.device,
) -> Victim:
    """Trains one network by SplitFed under a defense.

    In each round ``images_per_round / batch_size`` clients compute the update of one private batch each; what
    passes the defense's hooks is averaged, and both halves take one step, by the same rule.

    Args:
        model: name of an architecture that is cut in two.
        splits: the clients train on ``private_train``.
        num_classes: K.
        image_shape: (C, H, W).
        defense: its hooks run in every round.
        batch_size: B, images of one client in one round, as in the attacked release.
        epochs: passes over the split; None is the architecture's own schedule.
        seed: of weights, batches and the defense's randomness.
        device: where to train.

    Raises:
        IncompatibleError: the architecture is not cut in two.
    """
    schedule = splitfed_schedule(model)
    network = build_split(model, num_classes=num_classes, image_shape=image_shape, defense=defense).to(device)
    network.initialise(stream(seed, "weights", device))
    train, test = on_device(splits.private_train, device), on_device(splits.private_test, device)
    context = HookContext(
        generator=stream(seed, "training noise", device), batch_size=batch_size, model=network
    )
    defense.prepare(network, train, context)
    initial = state_of(network)
    order = private_batches(
        schedule, len(train), batch_size=batch_size, epochs=epochs, generator=stream(seed, "batches", device)
    )
    rounds = len(order)
    server, watch = Server(global_weights(network), schedule, rounds), Watch(defense, rounds)
    curve = [{"round": 0.0} | reached(network, test, defense, seed)]
    for turn, batch in in_rounds(order.unbind()):
        updates = watch.sent(
            turn, context,
            lambda hooks, own: client_updates(
                network, train.images[batch], train.labels[batch], defense=hooks, context=own,  # noqa: B023
            )[1],
        )  # fmt: skip
        server.step({name: value.mean(0) for name, value in updates.items()})
        _adopt(network, server.weights)
        if turn * CURVE_POINTS // rounds > (turn - 1) * CURVE_POINTS // rounds:
            curve.append({"round": float(turn)} | reached(network, test, defense, seed))
    final = replace(testing_context(network, seed, device), federated=FederatedTraining.on(order, len(train)))
    return Victim(
        initial=initial,
        trained=state_of(network),
        curve=curve,
        accuracy=curve[-1]["accuracy"],
        initial_accuracy=curve[0]["accuracy"],
        converged=converged(curve, state_of(network), test.labels),
        rounds=rounds,
        details=defense.details(network, test, final),
        signal=watch.signal,
        memory=kept(context),
    )


def release_weight_gradients(source: Source, *, halves: tuple[str, ...]) -> Release:
    """The updates of N clients, one private batch each, through the hooks of the training.

    Args:
        source: where the releases come from.
        halves: whose weights' gradients leak, ``CLIENT`` and ``SERVER``. What leaks of one half is the same
            whether or not the other one leaks as well.

    Raises:
        ValueError: fewer private images than N * B.
        IncompatibleError: the architecture is not cut in two.
    """
    images, labels, indices = batches(source)
    network = loaded(source)
    inputs, updates = client_updates(
        network, images, labels, defense=source.defense, context=source.context(network)
    )
    return Release(
        images=images,
        labels=labels,
        indices=indices,
        sent={name: value.detach() for name, value in updates.items() if name.startswith(halves)},
        perturbed=perturbed_images(inputs, images, source),
    )
