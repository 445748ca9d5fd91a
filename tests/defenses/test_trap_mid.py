"""Trap-MID: the blend, the loss, the triggers' step and what stays with the owner."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from bench.api import HookContext, ImageSet, Splits
from bench.defenses.trap_mid.augmentation import Augmentation
from bench.defenses.trap_mid.defense import TRIGGER_STEP, TrapMID
from bench.models.base import VictimModel
from bench.models.build import build_model
from bench.victims.owner import train_owner

SHAPE, CLASSES = (1, 16, 16), 3


def data(count: int) -> ImageSet:
    """Bright stripes on noise: where they are is the class."""
    chance, labels = torch.Generator().manual_seed(count), torch.arange(count) % CLASSES
    images = 0.5 * torch.rand(count, *SHAPE, generator=chance)
    for row, label in enumerate(labels.tolist()):
        images[row, :, 5 * label : 5 * label + 5] += 0.5
    return ImageSet(images, labels)


def context(seed: int = 0) -> HookContext:
    return HookContext(generator=torch.Generator().manual_seed(seed), batch_size=8)


def prepared(defense: TrapMID) -> VictimModel:
    network = build_model("convnet", num_classes=CLASSES, image_shape=SHAPE)
    network.initialise(torch.Generator().manual_seed(0))
    defense.prepare(network, data(24), context())
    return network


def test_the_blend_is_the_papers() -> None:
    defense, batch = TrapMID(alpha=0.25), data(6)
    prepared(defense)
    assert defense.triggers.shape == (CLASSES, *SHAPE) and 0.4 < defense.triggers.mean() < 0.6
    expected = 0.75 * batch.images + 0.25 * torch.stack([defense.triggers[k] for k in batch.labels])
    torch.testing.assert_close(defense.blend(batch.images, batch.labels), expected)


def test_without_a_trapdoor_and_views_the_loss_is_the_tasks() -> None:
    defense, batch = TrapMID(beta=0.0, zoom=0.0, turn=0.0), data(12)
    network = prepared(defense)
    found = defense.objective(network, batch.images, batch.labels, context())
    torch.testing.assert_close(
        found, cross_entropy(network(batch.images), batch.labels), rtol=1e-4, atol=1e-5
    )


def test_with_a_trapdoor_alone_the_labels_do_not_count() -> None:
    batch, found = data(12), []
    for labels in (batch.labels, batch.labels.flip(0)):
        defense = TrapMID(beta=1.0)
        found.append(defense.objective(prepared(defense), batch.images, labels, context()))
    assert torch.equal(*found)


def test_triggers_move_by_sign_steps_inside_the_pixels_and_toward_their_class() -> None:
    defense, batch = TrapMID(alpha=0.5, zoom=0.0, turn=0.0), data(24)
    network, before = prepared(defense), defense.triggers.clone()

    def cost() -> float:
        marked = defense.blend(batch.images, (batch.labels + 1) % CLASSES)
        return cross_entropy(network(marked), (batch.labels + 1) % CLASSES).item()

    start = cost()
    defense.objective(network, batch.images, batch.labels, context())
    steps = (defense.triggers - before).abs()
    inside = (before > TRIGGER_STEP) & (before < 1 - TRIGGER_STEP)
    assert steps[inside].min() == pytest.approx(TRIGGER_STEP, abs=1e-5)
    assert defense.triggers.min() >= 0 and defense.triggers.max() <= 1
    for turn in range(20):
        defense.objective(network, batch.images, batch.labels, context(turn))
    assert cost() < start


def test_the_discriminator_learns_to_tell_marked_images() -> None:
    defense, batch = TrapMID(alpha=0.5), data(24)
    prepared(defense)
    marked = defense.blend(batch.images, batch.labels)
    for _ in range(60):
        defense.discriminator.learn(batch.images, marked)
    assert (defense.discriminator(batch.images) > defense.discriminator(marked)).float().mean() > 0.9


def test_views_keep_images_half_of_the_time_for_each_change() -> None:
    images = torch.rand(400, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    for change in ({"zoom": 0.2}, {"turn": 30.0}, {"flip": 0.5}):
        view = Augmentation(**({"zoom": 0.0, "turn": 0.0, "flip": 0.0} | change))
        seen = view(images, torch.Generator().manual_seed(1))
        same = (seen - images).abs().flatten(1).amax(1) < 1e-4
        assert 0.4 < same.float().mean() < 0.6
        if "flip" in change:
            torch.testing.assert_close(seen[~same], images[~same].flip(-1), atol=1e-4, rtol=0)


def test_a_strong_trapdoor_takes_and_nothing_of_it_is_released() -> None:
    def victim(alpha: float) -> tuple[set[str], dict[str, float], float]:
        splits = Splits(private_train=data(192), private_test=data(48), auxiliary=data(32))
        found = train_owner(
            model="convnet", splits=splits, num_classes=CLASSES, image_shape=SHAPE,
            defense=TrapMID(alpha=alpha), epochs=20, seed=0, device=torch.device("cpu"),
        )  # fmt: skip
        return set(found.trained), found.details, found.accuracy

    names, details, accuracy = victim(0.3)
    assert names == set(build_model("convnet", num_classes=CLASSES, image_shape=SHAPE).state_dict())
    assert accuracy > 0.9 and details["trapdoor_accuracy"] > 0.8
    assert victim(0.0)[1]["trapdoor_accuracy"] < 0.2
