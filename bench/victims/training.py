"""Simulated federated SGD: the victim learns only from what its clients release."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call

from bench.api.dataset import ImageSet, Splits
from bench.api.defense import Defense, FederatedTraining, HookContext, Phase
from bench.api.errors import UsageError
from bench.models.base import Shape, public_state, trainable
from bench.models.build import build_model, schedule_of
from bench.models.victims import Schedule
from bench.victims.clients import Local, client_releases
from bench.victims.distortion import Signal, Watch
from bench.victims.rounds import in_rounds
from bench.victims.server import Server

CURVE_POINTS = 12
PLATEAU = 0.02
SLOTS = 16
"""Clients of the last round whose memories stay with the victim, at most: as many as are attacked, or so."""
LEARNED = 0.1
"""Of the way from the best constant answer to no mistake."""


@dataclass(frozen=True, kw_only=True)
class Victim:
    """A trained federation.

    Attributes:
        initial: the weights of round 0.
        trained: the weights after the last round.
        curve: ``{"round", "loss", "accuracy"}`` along the training: loss on 500 training images, accuracy on
            ``private_test``.
        accuracy: utility, the share of ``private_test`` that the trained weights classify correctly.
        initial_accuracy: the same at round 0.
        converged: see :func:`converged`.
        rounds: rounds run.
        details: what else the defense wants to be known of its victim.
        signal: how much the defense changed of what left in the first and in the last round, see
            :class:`~bench.victims.distortion.Watch`; None where nothing leaves, or no hook changes it.
        memory: see :func:`kept`.
    """

    initial: dict[str, Tensor]
    trained: dict[str, Tensor]
    curve: list[dict[str, float]]
    accuracy: float
    initial_accuracy: float
    converged: bool
    rounds: int
    details: dict[str, float] = field(default_factory=dict)
    signal: Signal | None = None
    memory: dict[str, Tensor] = field(default_factory=dict)


def stream(seed: int, purpose: str, device: torch.device) -> torch.Generator:
    """An independent source of randomness for each purpose of one seed.

    The order of the images, the weights and a defense's noise never share a stream, so that all defenses of
    one seed see the same batches and the same initial weights.
    """
    # A CPU generator looks at the lower 32 bits of its seed only, so they must depend on everything.
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:4], "little"))


@torch.no_grad()
def accuracy(model: nn.Module, parameters: dict[str, Tensor], data: ImageSet) -> float:
    """Share of images that the weights classify correctly; 0 if the weights are not finite."""
    scores = torch.cat([functional_call(model, parameters, (part,)) for part in data.images.split(500)])
    return (scores.argmax(1) == data.labels).float().mean().item() if scores.isfinite().all() else 0.0


@torch.no_grad()
def _loss(model: nn.Module, parameters: dict[str, Tensor], data: ImageSet) -> float:
    scores = functional_call(model, parameters, (data.images[:500],))
    return nn.functional.cross_entropy(scores, data.labels[:500]).item()


def draws(size: int, images: int, generator: torch.Generator) -> Tensor:
    """Indices of ``images`` draws: complete passes over the split, each in a new order."""
    passes = math.ceil(images / size)
    orders = [torch.randperm(size, generator=generator, device=generator.device) for _ in range(passes)]
    return torch.cat(orders)[:images]


def private_batches(
    schedule: Schedule, size: int, *, batch_size: int, epochs: float | None, generator: torch.Generator
) -> Tensor:
    """Indices ``[rounds, clients, B]`` of the private batches of a federation.

    Args:
        schedule: says how many images a round takes, and for how long.
        size: of the private split.
        batch_size: B, images of one client in one round.
        epochs: passes over the split; None is the schedule's own.
        generator: draws the orders.

    Raises:
        UsageError: more clients were chosen than the split has images for.
    """
    if schedule.clients * batch_size > size:
        raise UsageError(
            f"clients={schedule.clients}: with B = {batch_size} a round takes "
            f"{schedule.clients * batch_size:,} images, and there are {size:,} private images: "
            "choose fewer clients or smaller batches"
        )
    clients = schedule.clients or max(1, schedule.images_per_round // batch_size)
    rounds = max(1, int((epochs or schedule.epochs) * size / (clients * batch_size)))
    order = draws(size, rounds * clients * batch_size, generator)
    return order.view(rounds, clients, batch_size)


def at_round_0(
    model: str,
    defense: Defense,
    private: ImageSet,
    *,
    num_classes: int,
    image_shape: Shape,
    batch_size: int,
    seed: int,
) -> nn.Module:
    """The defended network of a federation with its weights of round 0.

    What a defense adds draws from a stream of its own, so that all else begins as without the defense.

    Args:
        model: architecture name.
        defense: changes the network and prepares it.
        private: the clients' images, on the device of the network.
        num_classes: K.
        image_shape: (C, H, W).
        batch_size: B.
        seed: of the weights.
    """
    device = private.images.device
    plain = build_model(model, num_classes=num_classes, image_shape=image_shape).to(device)
    plain.initialise(stream(seed, "weights", device))
    network = defense.model(plain).to(device)
    chance = stream(seed, "added weights", device)
    defense.prepare(network, private, HookContext(generator=chance, batch_size=batch_size, progress=0.0))
    return network


def train_victim(
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
    """Trains one federation under a defense.

    In each round ``images_per_round / batch_size`` clients, or as many as the schedule says, compute the
    gradient of one private batch each, or the change that local steps on it make; what passes the defense's
    hooks is averaged by the server, which takes a step.

    Args:
        model: architecture name.
        splits: the clients train on ``private_train``.
        num_classes: K.
        image_shape: (C, H, W).
        defense: its hooks run in every round.
        batch_size: B, images of one client in one round, as in the attacked release.
        epochs: passes over the split; None is the architecture's own schedule.
        seed: of weights, batches and the defense's randomness.
        device: where to train.
    """
    schedule = schedule_of(model)
    train = ImageSet(splits.private_train.images.to(device), splits.private_train.labels.to(device))
    network = at_round_0(
        model,
        defense,
        train,
        num_classes=num_classes,
        image_shape=image_shape,
        batch_size=batch_size,
        seed=seed,
    )
    initial = public_state(network)
    test = ImageSet(splits.private_test.images.to(device), splits.private_test.labels.to(device))
    batches = private_batches(
        schedule, len(train), batch_size=batch_size, epochs=epochs, generator=stream(seed, "batches", device)
    )
    rounds = len(batches)
    context = HookContext(generator=stream(seed, "training noise", device), batch_size=batch_size)
    orders = stream(seed, "local batches", device)
    server = Server(initial, schedule, rounds, trained=trainable(network))
    watch = Watch(defense, rounds)
    first_accuracy = accuracy(network, initial, test)
    curve = [{"round": 0.0, "loss": _loss(network, initial, train), "accuracy": first_accuracy}]
    for turn, batch in in_rounds(batches.unbind()):
        local = Local.drawn(schedule.local, batch, orders)
        released = watch.sent(
            turn, context,
            lambda hooks, own: client_releases(
                network, server.weights, train.images[batch], train.labels[batch],  # noqa: B023 - called at once
                defense=hooks, context=own, num_classes=num_classes, local=local,  # noqa: B023
            ),
        )  # fmt: skip
        server.step({name: value.mean(0) for name, value in released.items()})
        if turn * CURVE_POINTS // rounds > (turn - 1) * CURVE_POINTS // rounds:
            reached = accuracy(network, server.weights, test)
            loss = _loss(network, server.weights, train)
            curve.append({"round": float(turn), "loss": loss, "accuracy": reached})
    network.load_state_dict(server.weights, strict=False)
    final = HookContext(
        generator=stream(seed, "test noise", device), batch_size=1, phase=Phase.TEST,
        federated=FederatedTraining.on(batches, len(train)),
    )  # fmt: skip
    return Victim(
        initial=initial,
        trained=server.weights,
        curve=curve,
        accuracy=curve[-1]["accuracy"],
        initial_accuracy=first_accuracy,
        converged=converged(curve, server.weights, test.labels),
        rounds=rounds,
        details=defense.details(network, test, final),
        signal=watch.signal,
        memory=kept(context),
    )


def kept(context: HookContext) -> dict[str, Tensor]:
    """What clients remember after the last round, ``[slots, ...]`` by name; empty under most defenses."""
    return {name: value[:SLOTS].detach().clone() for name, value in context.memory.items()}


def converged(curve: list[dict[str, float]], weights: dict[str, Tensor], labels: Tensor) -> bool:
    """Whether a training has ended where it stays, and that is not at guessing, which stands still, too.

    The accuracy of the last quarter of the curve moved by less than two points and ends a tenth of the way or
    more above that of the best constant answer, which classes of different size make good; and all weights
    are finite. The loss decides nothing: few mistakes, made with confidence, cost more than guessing.

    Args:
        curve: with the ``accuracy`` at each point.
        weights: that it ends with.
        labels: int64 ``[M]``, on which the accuracy was measured.
    """
    tail = [point["accuracy"] for point in curve[-max(2, CURVE_POINTS // 4) :]]
    finite = all(bool(value.isfinite().all()) for value in weights.values())
    constant = labels.bincount().max().item() / len(labels)
    learned = tail[-1] >= constant + LEARNED * (1 - constant)
    return finite and learned and max(tail) - min(tail) < PLATEAU
