"""The owner of a classifier: its training through a defense's hooks, and what is released of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.api import Defense, HookContext, ImageSet
from bench.models.build import build_model
from bench.plugins import build_defense
from bench.victims.owner import BATCH, release_classifier, released_network, train_owner
from bench.victims.releases import Source
from bench.victims.training import Victim, stream
from tests.engine.observations import DIGITS, digits

from .small import digits_source, few

CPU = torch.device("cpu")
SHAPE: dict[str, Any] = {"num_classes": 10, "image_shape": DIGITS}


class Plain(Defense):
    """No defense."""


class Normed(Defense):
    """Changes the architecture: another layer comes first, with running statistics."""

    def model(self, model: nn.Module) -> nn.Module:
        return nn.Sequential(nn.BatchNorm2d(1), model)


def owner(model: str = "lenet", *, seed: int = 0, defense: Defense | None = None, **options: Any) -> Victim:
    options = {"splits": few(200), "epochs": 0.5, "device": CPU, **options}
    return train_owner(model=model, defense=defense or Plain(), seed=seed, **SHAPE, **options)


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def source(parameters: dict[str, Tensor], *, model: str = "lenet", **changes: Any) -> Source:
    return digits_source(model, parameters, **{"defense": Plain(), "batch_size": 3, **changes})


# ---------------------------------------------------------------------------------------- the training


@pytest.mark.parametrize("model", ["lenet", "convnet"])
def test_the_seed_alone_decides_and_the_global_random_state_stays(model: str) -> None:
    before = torch.random.get_rng_state()
    first = owner(model, epochs=0.2)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    again = owner(model, epochs=0.2)
    assert equal(again.trained, first.trained) and again.curve == first.curve
    assert not equal(owner(model, epochs=0.2, seed=1).trained, first.trained)


def test_it_begins_as_the_architecture_does_and_learns() -> None:
    victim = owner("convnet", epochs=12)
    start = build_model("convnet", **SHAPE)
    start.initialise(stream(0, "weights", CPU))
    assert equal(victim.initial, dict(start.state_dict()))
    assert victim.accuracy > victim.initial_accuracy + 0.3
    assert victim.curve[-1]["loss"] < 0.7 * victim.curve[0]["loss"]
    assert victim.rounds == 12 * 200 // BATCH == victim.curve[-1]["round"]


def test_running_statistics_are_part_of_the_weights() -> None:
    victim = owner(defense=Normed())
    assert "0.running_mean" in victim.trained
    moved = [name for name in victim.trained if "running" in name]
    assert all(not torch.equal(victim.trained[name], victim.initial[name]) for name in moved)


def test_only_the_private_training_split_is_learned_from() -> None:
    known = few(200)
    noise = ImageSet(torch.rand_like(known.private_test.images), known.private_test.labels)
    other = replace(known, private_test=noise, auxiliary=noise)
    assert equal(owner(splits=other).trained, owner(splits=known).trained)
    changed = replace(
        known, private_train=ImageSet(1 - known.private_train.images, known.private_train.labels)
    )
    assert not equal(owner(splits=changed).trained, owner(splits=known).trained)


class Watching(Defense):
    """Notes how its hooks are called, in this order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, float, bool, int]] = []
        self.images: list[Tensor] = []

    def model(self, model: nn.Module) -> nn.Module:
        self.calls.append(("model", 0.0, model.training, 0))
        return model

    def prepare(self, model: nn.Module, private: ImageSet, context: HookContext) -> None:
        self.calls.append(("prepare", context.progress, model.training, len(private)))

    def objective(self, model: nn.Module, images: Tensor, labels: Tensor, context: HookContext) -> Tensor:
        self.calls.append(("objective", context.progress, model.training, context.batch_size))
        self.images.append(images)
        return cross_entropy(model(images), labels)

    def details(self, model: nn.Module, test: ImageSet, context: HookContext) -> dict[str, float]:
        self.calls.append(("details", context.progress, model.training, len(test)))
        return {"seven": 7.0}


def test_every_step_passes_the_defenses_hooks_in_training_mode() -> None:
    defense = Watching()
    victim = owner(defense=defense, epochs=2.0)
    names = [name for name, *_ in defense.calls]
    assert names == ["model", "prepare", *["objective"] * 12, "details"]
    steps = [call for call in defense.calls if call[0] == "objective"]
    assert [progress for _, progress, *_ in steps] == [turn / 12 for turn in range(12)]
    assert all(training and size == BATCH for *_, training, size in steps)
    assert defense.calls[1][3] == 200 and defense.calls[-1][1:] == (1.0, False, 200)
    assert victim.details == {"seven": 7.0}
    assert equal(owner(epochs=2.0).trained, victim.trained), "watching changes nothing"
    each = torch.cat(defense.images)[:200].flatten(1)
    assert len(each.unique(dim=0)) == 200, "a pass over the split repeats no image"


class Stuck(Defense):
    """Minimises nothing."""

    def objective(self, model: nn.Module, images: Tensor, labels: Tensor, context: HookContext) -> Tensor:
        return 0 * model(images).sum()


class Diverging(Defense):
    """Makes every weight NaN."""

    def objective(self, model: nn.Module, images: Tensor, labels: Tensor, context: HookContext) -> Tensor:
        return model(images).sum() * float("nan")


def test_the_objective_is_what_is_minimised() -> None:
    victim = owner(defense=Stuck(), epochs=2.0)
    assert not victim.converged
    bias = "fc.bias" if "fc.bias" in victim.trained else next(n for n in victim.trained if "bias" in n)
    torch.testing.assert_close(victim.trained[bias], victim.initial[bias], rtol=1e-2, atol=1e-6)


def test_a_training_that_diverged_has_not_converged() -> None:
    victim = owner(defense=Diverging())
    assert not victim.converged and victim.accuracy == 0
    assert not all(value.isfinite().all() for value in victim.trained.values())


# ----------------------------------------------------------------------------------------- the release


def test_each_release_is_a_class_shown_by_its_first_private_images() -> None:
    private = digits().private_train
    weights = owner().trained
    release = release_classifier(source(weights))
    assert release.labels.tolist() == [[target] * 3 for target in range(4)]
    assert torch.equal(private.labels[release.indices], release.labels)
    assert torch.equal(private.images[release.indices], release.images)
    for target, row in enumerate(release.indices.tolist()):
        assert row == (private.labels == target).nonzero()[:3, 0].tolist()
    assert equal({name: value[0] for name, value in release.sent.items()}, weights)


def test_more_classes_or_images_than_there_are_are_refused() -> None:
    weights = owner().trained
    release_classifier(source(weights, releases=10))
    with pytest.raises(ValueError, match=r"\b11\b.*\b10\b"):
        release_classifier(source(weights, releases=11))
    count = int((digits().private_train.labels == 0).sum())
    release_classifier(source(weights, releases=1, batch_size=count))
    with pytest.raises(ValueError, match=rf"class 0 .*\b{count}\b.*\b{count + 1}\b"):
        release_classifier(source(weights, releases=1, batch_size=count + 1))


@pytest.mark.parametrize("model", ["lenet", "convnet"])
@pytest.mark.parametrize("defense", [Plain(), Normed()], ids=["plain", "another network"])
def test_the_released_network_answers_as_the_trained_one(model: str, defense: Defense) -> None:
    class Kept(Defense):
        def model(self, model: nn.Module) -> nn.Module:
            self.network = defense.model(model)
            return self.network

    keeper = Kept()
    victim = owner(model, defense=keeper, epochs=0.5)
    trained = keeper.network.eval()
    known = source(victim.trained, model=model, defense=defense)
    before = torch.random.get_rng_state()
    network = released_network(known, release_classifier(known))
    assert torch.equal(torch.random.get_rng_state(), before)
    images = digits().private_test.images[:20]
    with torch.no_grad():
        assert torch.equal(network(images), trained(images))
    assert not network.training and not any(value.requires_grad for value in network.parameters())


def test_what_happens_to_the_released_network_does_not_reach_the_victim() -> None:
    victim = owner()
    weights = {name: value.clone() for name, value in victim.trained.items()}
    known = source(victim.trained)
    network = released_network(known, release_classifier(known))
    for value in network.state_dict().values():
        value.zero_()
    assert equal(victim.trained, weights)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["none", "mid", "bido", "neg_label_smoothing"])
def test_an_owner_trains_on_a_gpu_and_releases_there(name: str) -> None:
    place, defense = torch.device("cuda"), build_defense(name, {})
    victim = owner("convnet", defense=defense, device=place)
    assert all(value.isfinite().all() for value in victim.trained.values())
    changes = {"private": few(200).private_train, "defense": defense, "releases": 2, "device": place}
    source = digits_source("convnet", victim.trained, **changes)
    release = release_classifier(source)
    assert all(value.isfinite().all() for value in release.sent.values())
    scores = released_network(source, release)(release.images.flatten(0, 1))
    assert scores.device.type == place.type and scores.isfinite().all()
