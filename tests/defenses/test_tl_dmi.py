"""TL-DMI: front layers learn from public images, and no private one moves them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.api import Defense, HookContext, ImageSet, IncompatibleError, Splits
from bench.models.build import build_model
from bench.plugins import build_defense
from bench.victims.owner import train_owner
from bench.victims.training import Victim

SHAPE, CLASSES = (1, 16, 16), 3


def data(count: int, seed: int) -> ImageSet:
    """Bright stripes on noise: where they are is the class."""
    chance, labels = torch.Generator().manual_seed(seed), torch.arange(count) % CLASSES
    images = 0.5 * torch.rand(count, *SHAPE, generator=chance)
    for row, label in enumerate(labels.tolist()):
        images[row, :, 5 * label : 5 * label + 5] += 0.5
    return ImageSet(images, labels)


SPLITS = Splits(private_train=data(96, 1), private_test=data(48, 2), auxiliary=data(64, 3))


def trained(defense: Defense, *, splits: Splits = SPLITS, model: str = "convnet") -> Victim:
    return train_owner(
        model=model, splits=splits, num_classes=CLASSES, image_shape=SHAPE, defense=defense, epochs=4, seed=0,
        device=torch.device("cpu"),
    )  # fmt: skip


def moved(victim: Victim) -> list[str]:
    return [name for name, value in victim.trained.items() if not torch.equal(value, victim.initial[name])]


@pytest.mark.parametrize(
    ("frozen", "first"),
    [(0.0, "body.0"), (0.25, "body.2"), (0.5, "body.4"), (0.75, "classifier"), (1.0, "classifier")],
)
def test_the_layers_behind_the_cut_are_trained_and_no_other(frozen: float, first: str) -> None:
    layers = ["body.0", "body.2", "body.4", "classifier"]
    victim = trained(build_defense("tl_dmi", {"frozen": frozen, "epochs": 1.0}))
    behind = layers[layers.index(first) :]
    assert moved(victim) == [f"{name}.{part}" for name in behind for part in ("weight", "bias")]
    sizes = {name: value.numel() for name, value in victim.trained.items()}
    share = sum(sizes[name] for name in moved(victim)) / sum(sizes.values())
    assert victim.details["trained_share"] == pytest.approx(share)


def test_frozen_layers_depend_on_public_images_alone() -> None:
    def front(splits: Splits) -> dict[str, Tensor]:
        victim = trained(build_defense("tl_dmi", {"frozen": 0.75, "epochs": 1.0}), splits=splits)
        return {name: value for name, value in victim.trained.items() if name not in moved(victim)}

    known = front(SPLITS)
    private = front(replace(SPLITS, private_train=data(96, 7)))
    public = front(replace(SPLITS, auxiliary=data(64, 7)))
    assert len(known) == 6 and known.keys() == private.keys() == public.keys()
    assert all(torch.equal(known[name], private[name]) for name in known)
    assert not any(torch.equal(known[name], public[name]) for name in known)


def test_statistics_of_frozen_layers_stay_those_of_public_images() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Flatten(),
            nn.Linear(576, CLASSES),
        )  # fmt: skip
    defense = build_defense("tl_dmi", {"frozen": 0.4, "epochs": 2.0})
    chance = torch.Generator().manual_seed(0)
    context = HookContext(generator=chance, batch_size=8, public=SPLITS.auxiliary)
    defense.prepare(network, SPLITS.private_train, context)
    before = {name: value.clone() for name, value in network.named_buffers()}
    assert before["1.running_mean"].count_nonzero()
    defense.objective(network.train(), SPLITS.private_train.images, SPLITS.private_train.labels, context)
    moved = {name for name, value in network.named_buffers() if not torch.equal(value, before[name])}
    assert moved == {"3.running_mean", "3.running_var", "3.num_batches_tracked"}


def test_the_public_training_leaves_a_new_head_and_useful_features() -> None:
    plain = build_model("convnet", num_classes=CLASSES, image_shape=SHAPE)
    plain.initialise(torch.Generator().manual_seed(0))
    head, stem = plain.classifier.weight.clone(), plain.body[0].weight.clone()  # type: ignore[union-attr]
    chance = torch.Generator().manual_seed(0)
    context = HookContext(generator=chance, batch_size=8, public=SPLITS.auxiliary)
    build_defense("tl_dmi", {"epochs": 2.0}).prepare(plain, SPLITS.private_train, context)
    assert torch.equal(plain.classifier.weight, head) and not torch.equal(plain.body[0].weight, stem)  # type: ignore[union-attr]
    assert trained(build_defense("tl_dmi", {})).accuracy > 0.9


def test_without_public_images_or_a_second_layer_it_refuses() -> None:
    chance = torch.Generator().manual_seed(0)
    context, defense = HookContext(generator=chance, batch_size=8), build_defense("tl_dmi", {})
    network = build_model("convnet", num_classes=CLASSES, image_shape=SHAPE)
    with pytest.raises(IncompatibleError, match="public"):
        defense.prepare(network, SPLITS.private_train, context)
    with pytest.raises(IncompatibleError, match="two layers"):
        defense.prepare(nn.Linear(2, 2), SPLITS.private_train, replace(context, public=SPLITS.auxiliary))


def test_the_owner_shows_the_auxiliary_split_before_the_training_and_never_later() -> None:
    seen: list[ImageSet | None] = []

    class Watching(Defense):
        def prepare(self, model: nn.Module, private: ImageSet, context: HookContext) -> None:
            seen.append(context.public)

        def objective(self, model: nn.Module, images: Tensor, labels: Tensor, context: HookContext) -> Tensor:
            assert context.public is None
            return cross_entropy(model(images), labels)

    trained(Watching())
    assert len(seen) == 1 and seen[0] is not None
    assert torch.equal(seen[0].images, SPLITS.auxiliary.images)
    assert torch.equal(seen[0].labels, SPLITS.auxiliary.labels)
