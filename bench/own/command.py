"""What the command line asks, as a call of the Python API."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from bench.api.errors import UsageError
from bench.engine.normalisation import batch_norms
from bench.matrix.expand import variant
from bench.matrix.filters import parse_named
from bench.metrics.pool import POOL
from bench.models.base import VictimModel
from bench.models.build import build_model
from bench.models.compare import compare
from bench.models.spec import parse_model
from bench.models.users.adopted import adopt
from bench.models.users.custom import as_written
from bench.models.users.states import load_weights
from bench.own.gradients import attack_gradients
from bench.own.leak import Leak
from bench.own.pace import Tell
from bench.own.recorded import (
    load_listed,
    of_weights,
    read_arrays,
    read_originals,
)
from bench.plugins import build_dataset
from bench.victims.training import stream

if TYPE_CHECKING:
    from torch import Tensor, nn

    from bench.api.dataset import Splits


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of ``bench leak``, by their names there."""

    model: str
    dataset: str | None
    weights: Path | None
    shape: tuple[int, int, int] | None
    images: int
    update: Path | None
    after: Path | None
    originals: Path | None
    classes: int | None
    batch_size: int
    local_steps: int
    learning_rate: float | None
    defense: str | None
    ignore_defense: bool
    attacks: tuple[str, ...]
    learn: bool
    batch_norm: Literal["train", "eval"]
    budget: int
    minutes: float
    seed: int
    device: str
    threads: int


def answer(asked: Asked, *, tell: Tell) -> Leak:
    """Reads what was named, and attacks.

    Raises:
        UsageError: options that do not fit one another, or files that do not fit the network.
    """
    _check(asked)
    splits, shape, classes = _data(asked, tell)
    network = _network(asked, shape, classes, tell)
    images, labels, others = _private(asked, splits)
    return attack_gradients(
        network,
        _update(asked, network),
        images=images,
        labels=labels,
        image_shape=shape,
        distractors=others,
        auxiliary=splits.auxiliary.images if splits is not None and asked.learn else None,
        batch_size=asked.batch_size,
        defense=asked.defense,
        knows_defense=not asked.ignore_defense,
        attacks=asked.attacks or "auto",
        local_steps=asked.local_steps,
        learning_rate=asked.learning_rate,
        budget=asked.budget,
        minutes=asked.minutes,
        seed=asked.seed,
        device=asked.device,
        threads=asked.threads,
        tell=tell,
    )


def _check(asked: Asked) -> None:
    recorded = asked.update or asked.after
    if asked.update and asked.after:
        raise UsageError("--update and --after: give one of the two")
    if asked.after and not asked.weights:
        raise UsageError("--after: give the weights before with --weights")
    if asked.after and asked.learning_rate is None:
        raise UsageError("--after: give the client's --learning-rate, by which its change becomes a gradient")
    if asked.dataset is None and not recorded:
        raise UsageError("give images with -D DATASET, or a recorded --update, or --weights and --after")
    if asked.dataset is None and (asked.shape is None or asked.classes is None):
        raise UsageError("give --shape and --classes, or images like the private ones with -D DATASET")
    if asked.dataset is not None and (asked.shape or asked.classes):
        raise UsageError("--shape and --classes: the data set says both; leave them away")
    if asked.originals and not recorded:
        raise UsageError("--originals: they are behind a recorded --update or --after, and none is given")
    if asked.learn and asked.dataset is None:
        raise UsageError("--learn: give the images to learn from with -D DATASET")


def _data(asked: Asked, tell: Tell) -> tuple[Splits | None, tuple[int, int, int], int]:
    if asked.dataset is None:
        assert asked.shape is not None and asked.classes is not None  # see _check
        return None, asked.shape, asked.classes
    named = variant("dataset", *parse_named("dataset", asked.dataset))
    data = build_dataset(named.name, named.arguments())
    splits = data.splits(seed=asked.seed)
    count = sum(len(part) for part in (splits.private_train, splits.private_test, splits.auxiliary))
    tell(f"{named.label}: {count:,} images in {data.num_classes} classes")
    return splits, data.image_shape, data.num_classes


def _network(asked: Asked, shape: tuple[int, int, int], classes: int, tell: Tell) -> nn.Module:
    """The network with the weights that the server sent, its layers in the modes of a client."""
    spec = parse_model(asked.model)
    if spec.plain:
        network: nn.Module = build_model(asked.model, num_classes=classes, image_shape=shape)
    else:
        network = as_written(spec, num_classes=classes, image_shape=shape, seed=asked.seed)
    if isinstance(network, VictimModel) and not spec.weights_file:
        network.initialise(stream(asked.seed, "weights", torch.device("cpu")))
    if asked.weights is not None:
        _load(network, asked.weights, "--weights")
    if isinstance(network, VictimModel):
        return network
    for layer in batch_norms(network).values():
        layer.train(asked.batch_norm == "train")
    mine = adopt(network, image_shape=shape, num_classes=classes, name=f"model {asked.model!r}")
    tell(compare(mine, network, num_classes=classes, image_shape=shape, name=f"model {asked.model!r}"))
    return network


def _load(network: nn.Module, path: Path, where: str) -> None:
    if path.suffix == ".npz":
        load_listed(network, read_arrays(path), f"{where} {path}")
    else:
        load_weights(network, path, where=where)


def _private(asked: Asked, splits: Splits | None) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Images and labels that are attacked, and distractors."""
    known = None if splits is None else splits.private_train
    if asked.originals is not None:
        images, labels = read_originals(asked.originals)
        return images, labels, None if known is None else known.images[:POOL]
    if asked.update or asked.after or known is None:
        return None, None, None
    wanted = -(-asked.images // asked.batch_size) * asked.batch_size
    if wanted > len(known):
        raise UsageError(f"--images {wanted}: the data set's private split has {len(known)}")
    others = known.images[wanted : wanted + POOL]
    return known.images[:wanted], known.labels[:wanted], others if len(others) else None


def _update(asked: Asked, network: nn.Module) -> dict[str, Tensor] | list[Tensor] | None:
    """What was recorded, by the network's names or in its order; None for what is to be computed."""
    trained = [name for name, value in network.named_parameters() if value.requires_grad]
    before = dict(network.named_parameters())
    if asked.after is not None:
        returned = copy.deepcopy(network)
        _load(returned, asked.after, "--after")
        after = dict(returned.named_parameters())
        return {name: before[name].detach() - after[name].detach() for name in trained}
    if asked.update is None:
        return None
    state = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    found = of_weights(read_arrays(asked.update), state, trained, str(asked.update))
    named = found if isinstance(found, dict) else dict(zip(trained, found, strict=True))
    if all(before[name].shape == value.shape and before[name].equal(value) for name, value in named.items()):
        raise UsageError(f"--update {asked.update}: these are the weights themselves; give them as --after")
    return named
