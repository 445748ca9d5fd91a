"""What the attacker on gradients may see, and what not."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from bench.api import Adversary, Channel, GradientObservation, IncompatibleError
from bench.api.cards import Kind
from bench.api.threat import BatchNorm
from bench.channels.shared.contract import Attacker
from bench.channels.shared.observe import observe_gradients
from bench.engine.normalisation import batch_norms, batch_statistics
from bench.engine.priors import statistics_gap
from bench.models.base import public_state
from bench.models.resnet import ResNet18
from bench.models.victims import ARCHITECTURES
from bench.plugins import attack_card, build_attack, build_defense, discover
from bench.victims.releases import Release, Source, release_gradients
from bench.victims.training import at_round_0
from tests.engine.observations import DIGITS, batches, digits, observation, weights

from .small import digits_source

CPU = torch.device("cpu")


def attacker(attack: str, adversary: Adversary) -> Attacker:
    return Attacker(card=attack_card(attack), adversary=adversary, auxiliary=digits().auxiliary)


def source(defense: str) -> Source:
    hooks = build_defense(defense, {})
    network = at_round_0(
        "lenet", hooks, digits().private_train, num_classes=10, image_shape=DIGITS, batch_size=2, seed=0
    )
    return digits_source("lenet", public_state(network), defense=hooks, releases=3, batch_size=2)


def seen_by(attack: str, adversary: Adversary, defense: str) -> tuple[GradientObservation, Release]:
    release = release_gradients(source(defense))
    return observe_gradients(source(defense), release, attacker(attack, adversary)), release


def tensors(seen: GradientObservation) -> list[Tensor]:
    """Every tensor that can be reached from an observation, its model's included."""
    found: list[Tensor] = []
    for item in fields(seen):
        value = getattr(seen, item.name)
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, torch.nn.Module):
            found += value.state_dict().values()
        elif isinstance(value, dict):
            found += value.values()
        elif value is not None and hasattr(value, "images"):
            found += [value.images, value.labels]
    return found


def on_gradients(kind: Kind) -> list[str]:
    plugins = discover(kind).plugins.values()
    fitting = (item for item in plugins if Channel.GRADIENTS in item.card.channels)
    return sorted(item.name for item in fitting if not getattr(item.card, "needs_split", False))


@pytest.mark.parametrize("attack", on_gradients("attack"))
@pytest.mark.parametrize("defense", on_gradients("defense"))
def test_the_naive_adversary_sees_the_release_and_nothing_of_labels_images_or_defense(
    attack: str, defense: str
) -> None:
    seen, release = seen_by(attack, Adversary.NAIVE, defense)
    assert seen.labels is None and not seen.threat.labels_known
    assert seen.defense is None
    assert seen.threat.adversary is Adversary.NAIVE and seen.threat.batch_size == 2
    assert seen.victims == 3 and seen.ids.tolist() == [0, 1, 2]
    assert all(torch.equal(seen.gradients[k], v) for k, v in release.sent.items())
    # By value, not by name: no tensor within reach is one of the private images, nor their labels.
    private = release.images.flatten(0, 1).flatten(1)
    for value in tensors(seen):
        assert value.shape != release.labels.shape or not torch.equal(value, release.labels)
        if value.dim() == 4 and value.shape[1:] == DIGITS:
            assert not (value.flatten(1).unsqueeze(1) == private).all(2).any()


@pytest.mark.parametrize("attack", on_gradients("attack"))
def test_auxiliary_images_pass_only_if_the_card_asks(attack: str) -> None:
    seen, _ = seen_by(attack, Adversary.NAIVE, "none")
    card = attack_card(attack)
    asked = card.needs_auxiliary or card.needs_generator  # what a generator was trained on is no secret to it
    assert (seen.auxiliary is not None) == asked == seen.threat.auxiliary


@pytest.mark.parametrize("defense", on_gradients("defense"))
def test_the_adaptive_adversary_sees_the_defenses_view(defense: str) -> None:
    seen, _ = seen_by("dlg", Adversary.ADAPTIVE, defense)
    view = build_defense(defense, {}).view()
    assert (seen.defense is None) == (view is None)
    if view is not None and seen.defense is not None:
        assert seen.defense.parameters == view.parameters
    assert seen.labels is None


def test_the_models_own_parameters_are_not_the_victims() -> None:
    seen, _ = seen_by("dlg", Adversary.NAIVE, "none")
    assert set(seen.parameters) == {name for name, _ in seen.model.named_parameters()}
    assert all(torch.equal(v, source("none").parameters[k]) for k, v in seen.parameters.items())


MODES = {
    "resnet18": BatchNorm.TRAIN,
    "resnet18_shared": BatchNorm.KNOWN,
    "resnet18_frozen": BatchNorm.EVAL,
    "convnet": BatchNorm.NONE,
}


@pytest.mark.parametrize("model", MODES)
def test_the_network_decides_what_is_known_of_batch_normalisation(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = {
        "resnet18": lambda k, shape: ResNet18(k, shape, width=4),
        "resnet18_shared": lambda k, shape: ResNet18(k, shape, width=4, shares_statistics=True),
        "resnet18_frozen": lambda k, shape: ResNet18(k, shape, width=4, running=True).eval(),
    }
    if model in narrow:
        monkeypatch.setitem(ARCHITECTURES, model, replace(ARCHITECTURES[model], build=narrow[model]))
    place = replace(source("noise"), model=model, parameters=weights(model, 0))
    sent = release_gradients(place)
    seen = observe_gradients(place, sent, attacker("inverting_gradients", Adversary.NAIVE))
    assert seen.threat.batch_norm is MODES[model]
    assert set(seen.gradients) == set(seen.parameters)
    if MODES[model] in (BatchNorm.NONE, BatchNorm.TRAIN):
        assert seen.statistics is None and set(sent.sent) == set(seen.gradients)
        return
    assert seen.statistics is not None
    names = batch_norms(seen.model)
    assert set(seen.statistics) == {f"{name}.running_{kind}" for name in names for kind in ("mean", "var")}
    if MODES[model] is BatchNorm.EVAL:
        assert all((value == key.endswith("var")).all() for key, value in seen.statistics.items())
        return
    own = batch_statistics(seen.model, seen.parameters, sent.images, per_victim_weights=False)
    for key, value in own.items():
        torch.testing.assert_close(seen.statistics[key], value)


def test_the_private_images_match_the_known_statistics_best() -> None:
    """The weight of the statistics does what it says: the search ends nearer to them than without."""
    images, labels = batches(3, 2)
    seen = observation("narrow_sharing_resnet", images, labels)
    known = batch_statistics(seen.model, seen.parameters, images, per_victim_weights=False)
    threat = replace(seen.threat, batch_norm=BatchNorm.KNOWN)
    seen = replace(seen, threat=threat, statistics=known)
    gaps = []
    for weight in (0.0, 0.1):
        attack = build_attack("inverting_gradients", {"statistics": weight})
        found = attack.reconstruct(seen, budget=40, seed=0)
        mine = batch_statistics(seen.model, seen.parameters, found.images, per_victim_weights=False)
        gaps.append(statistics_gap(mine, known))
    assert (gaps[1] < gaps[0]).all()


def test_statistics_that_are_not_known_cannot_be_matched() -> None:
    seen, _ = seen_by("inverting_gradients", Adversary.NAIVE, "none")
    with pytest.raises(IncompatibleError, match="BatchNorm"):
        build_attack("inverting_gradients", {"statistics": 0.1}).reconstruct(seen, budget=3, seed=0)
