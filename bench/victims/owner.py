"""The owner of all private images, who trains a classifier under a defense and releases its weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.api.dataset import ImageSet, Splits
from bench.api.defense import Defense, HookContext
from bench.models.base import Shape
from bench.models.build import build_model, schedule_of
from bench.victims.releases import Release, Source
from bench.victims.rounds import in_rounds
from bench.victims.training import CURVE_POINTS, Victim, accuracy, converged, draws, stream

BATCH = 32
LEARNING_RATE = 4e-3
LONGER = 1.5
"""Times the epochs of a federation: one classifier is quickly trained, and should be trained well."""
WEIGHT_DECAY = 1e-2
WARM_UP = 0.05


def train_owner(
    *,
    model: str,
    splits: Splits,
    num_classes: int,
    image_shape: Shape,
    defense: Defense,
    epochs: float | None,
    seed: int,
    device: torch.device,
) -> Victim:
    """Trains one classifier in one place, by AdamW on what the defense makes its objective.

    Args:
        model: architecture name.
        splits: ``private_train`` is what it learns; ``auxiliary`` is public, for the hook ``prepare``.
        num_classes: K.
        image_shape: (C, H, W).
        defense: its hooks ``model``, ``prepare`` and ``objective`` are used.
        epochs: passes over the split; None is one and a half times those of its federation.
        seed: of weights, batches and the defense's randomness.
        device: where to train.
    """
    plain = build_model(model, num_classes=num_classes, image_shape=image_shape, central=True).to(device)
    plain.initialise(stream(seed, "weights", device))
    network = defense.model(plain).to(device)
    train = ImageSet(splits.private_train.images.to(device), splits.private_train.labels.to(device))
    test = ImageSet(splits.private_test.images.to(device), splits.private_test.labels.to(device))
    public = ImageSet(splits.auxiliary.images.to(device), splits.auxiliary.labels.to(device))
    chance = stream(seed, "training noise", device)
    before = HookContext(generator=chance, batch_size=BATCH, progress=0.0, public=public)
    defense.prepare(network, train, before)
    initial = _weights(network)
    steps = max(1, int((epochs or LONGER * schedule_of(model).epochs) * len(train) / BATCH))
    curve = [{"round": 0.0, **_standing(network, train, test)}]
    order = draws(len(train), steps * BATCH, stream(seed, "batches", device)).view(steps, BATCH)
    drops = torch.randint(2**31, (steps,), generator=stream(seed, "dropout", torch.device("cpu")))
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _rate(steps))
    for turn, batch in in_rounds(order.unbind()):
        network.train()
        context = HookContext(generator=chance, batch_size=BATCH, progress=(turn - 1) / steps)
        optimiser.zero_grad()
        # Dropout of a user's network draws from the global state: seeded, and afterwards as it was.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(drops[turn - 1]))
            defense.objective(network, train.images[batch], train.labels[batch], context).backward()
        optimiser.step()
        schedule.step()
        if turn * CURVE_POINTS // steps > (turn - 1) * CURVE_POINTS // steps:
            curve.append({"round": float(turn), **_standing(network, train, test)})
    trained = _weights(network)
    return Victim(
        initial=initial,
        trained=trained,
        curve=curve,
        accuracy=curve[-1]["accuracy"],
        initial_accuracy=curve[0]["accuracy"],
        converged=converged(curve, trained, test.labels),
        rounds=steps,
        details=defense.details(network.eval(), test, HookContext(generator=chance, batch_size=BATCH)),
    )


def _rate(steps: int) -> Callable[[int], float]:
    """Linear warm-up, then cosine to zero, as a share of the peak."""

    def share(turn: int) -> float:
        progress = (turn + 1) / steps
        return min(1.0, progress / WARM_UP) * 0.5 * (1 + math.cos(math.pi * progress))

    return share


def _weights(network: nn.Module) -> dict[str, Tensor]:
    """Everything that is released: weights and running statistics."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


@torch.no_grad()
def _standing(network: nn.Module, train: ImageSet, test: ImageSet) -> dict[str, float]:
    network.eval()
    scores = network(train.images[:500])
    loss = nn.functional.cross_entropy(scores, train.labels[:500]).item()
    return {"loss": loss, "accuracy": accuracy(network, _weights(network), test)}


def release_classifier(source: Source) -> Release:
    """The weights, and beside them the private images that an attack on each class is shown with.

    Class ``n`` is attacked as release ``n``; its images, the first B of the class in the order of the split,
    are what a contact sheet begins with. Reconstructions are measured against all images of the class.

    Raises:
        ValueError: more classes than there are, or a class with fewer than B images.
    """
    if source.releases > source.num_classes:
        raise ValueError(f"{source.releases} releases, but there are {source.num_classes} classes to attack")
    labels = source.private.labels.cpu()
    rows = []
    for target in range(source.releases):
        of_class = (labels == target).nonzero()[: source.batch_size, 0]
        if len(of_class) < source.batch_size:
            raise ValueError(f"class {target} has {len(of_class)} private images, {source.batch_size} wanted")
        rows.append(of_class)
    indices = torch.stack(rows)
    return Release(
        images=source.private.images[indices.to(source.private.images.device)].to(source.device),
        labels=source.private.labels[indices.to(source.private.labels.device)].to(source.device),
        indices=indices,
        sent={name: value[None] for name, value in source.parameters.items()},
    )


def released_network(source: Source, release: Release) -> nn.Module:
    """The classifier as anybody can load it: in evaluation mode, without gradients for its weights."""
    plain = build_model(
        source.model, num_classes=source.num_classes, image_shape=source.image_shape, central=True
    )
    network = source.defense.model(plain).to(source.device)
    network.load_state_dict({name: value[0].to(source.device) for name, value in release.sent.items()})
    return network.eval().requires_grad_(False)
