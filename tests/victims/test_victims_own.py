"""Trainings and releases of a user's network: frozen weights, drawn buffers, the modes of its layers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.api import Adversary, Defense
from bench.api.threat import BatchNorm
from bench.channels.gradients import CHANNEL
from bench.channels.shared.contract import Attacker
from bench.check.materials.material import few as first_of
from bench.plugins import attack_card, build_attack, build_defense
from bench.victims.owner import release_classifier, released_network, train_owner
from bench.victims.releases import release_gradients, signal
from bench.victims.training import Victim, train_victim
from tests.engine.observations import DIGITS, digits
from tests.victims.small import digits_source, few, same

CPU = torch.device("cpu")
NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, middle, frozen=False):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, stride=4, padding=1)
        self.middle = middle
        self.fc = nn.Linear(256, 10)
        self.register_buffer("mixing", torch.randn(8, 8) / 3)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.conv.requires_grad_(not frozen)
        self.scale.requires_grad_(not frozen)

    def forward(self, images):
        return self.fc(self.scale * torch.tanh(self.middle(self.conv(images)) @ self.mixing).flatten(1))

def plain(*, num_classes, image_shape):
    return Net(nn.Identity())

def frozen(*, num_classes, image_shape):
    return Net(nn.Identity(), frozen=True)

def normed(*, num_classes, image_shape):
    return Net(nn.BatchNorm2d(4))

def dropping(*, num_classes, image_shape):
    return Net(nn.Dropout(0.5))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the user's module, which no other test sees."""
    (tmp_path / "own_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)
    monkeypatch.setattr("bench.models.users.custom._examined", {})
    return tmp_path


def trained(model: str, train: Any = train_victim, **options: Any) -> Victim:
    options = {"batch_size": 4, "defense": Defense()} if train is train_victim else {"defense": Defense()}
    found: Victim = train(
        model=model,
        splits=few(128),
        num_classes=10,
        image_shape=DIGITS,
        epochs=1,
        seed=0,
        device=CPU,
        **options,
    )
    return found


@pytest.mark.parametrize("federation", ["", "[local_epochs=2]"])
def test_frozen_weights_are_constants_that_nobody_releases(federation: str) -> None:
    model = f"own_nets:frozen{federation}"
    victim = trained(model)
    moved = {name for name, value in victim.trained.items() if not torch.equal(value, victim.initial[name])}
    assert moved == {"network.fc.weight", "network.fc.bias"}
    assert "network.conv.weight" in victim.initial
    shared = {value.data_ptr() for value in victim.initial.values()}
    assert not shared & {value.data_ptr() for value in victim.trained.values()}, "each is stored by itself"
    released = release_gradients(digits_source(model, victim.trained))
    assert set(released.sent) == moved


def test_a_release_is_the_gradient_of_the_very_network_that_was_trained() -> None:
    victim = trained("own_nets:frozen")
    source = digits_source("own_nets:frozen", victim.trained)
    released = release_gradients(source)
    weights = {name.removeprefix("network."): value for name, value in victim.trained.items()}
    hidden = torch.conv2d(released.images[0], weights["conv.weight"], weights["conv.bias"], 4, 1)
    features = 1.5 * torch.tanh(hidden @ weights["mixing"]).flatten(1)
    errors = (features @ weights["fc.weight"].T + weights["fc.bias"]).softmax(1)
    errors[0, released.labels[0, 0]] -= 1
    torch.testing.assert_close(released.sent["network.fc.bias"][0], errors[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        released.sent["network.fc.weight"][0], errors.T @ features, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        ("own_nets:plain", BatchNorm.NONE),
        ("own_nets:normed", BatchNorm.TRAIN),
        ("own_nets:normed[batch_norm=eval]", BatchNorm.EVAL),
    ],
)
def test_the_threat_model_says_by_what_clients_normalise(model: str, mode: BatchNorm) -> None:
    victim = trained(model)
    source = digits_source(model, victim.trained)
    attacker = Attacker(
        card=attack_card("dlg"), adversary=Adversary.NAIVE, auxiliary=first_of(digits().auxiliary, 4)
    )
    seen = CHANNEL.observe(source, CHANNEL.release(source), attacker)
    assert seen.threat.batch_norm is mode
    assert (seen.statistics is None) == (mode is not BatchNorm.EVAL)
    assert set(seen.gradients) < set(seen.parameters), "a drawn buffer is public, and nobody sends it"


def test_an_owner_trains_in_training_mode_and_releases_in_evaluation_mode() -> None:
    state = torch.random.get_rng_state()
    victim = trained("own_nets:normed", train_owner)
    assert victim.trained["network.middle.running_mean"].abs().max() > 0, "statistics were measured"
    source = digits_source("own_nets:normed", victim.trained, releases=2)
    network = released_network(source, release_classifier(source))
    images = digits().private_test.images[:2]
    assert torch.allclose(network(images)[:1], network(images[:1]), atol=1e-5), "images do not mix"
    assert same(
        trained("own_nets:dropping", train_owner).trained, trained("own_nets:dropping", train_owner).trained
    )
    assert not _alike(trained("own_nets:dropping", train_owner), trained("own_nets:plain", train_owner))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("defense", ["noise", "pruning"])
@pytest.mark.parametrize("attack", ["dlg", "inverting_gradients"])
def test_attacks_and_defenses_take_a_scalar_weight(attack: str, defense: str) -> None:
    hooks = build_defense(defense, {})
    victim = trained("own_nets:plain")
    source = digits_source("own_nets:plain", victim.trained, defense=hooks)
    released = release_gradients(source)
    assert released.sent["network.scale"].shape == (4,) and signal(released, source, release_gradients)
    attacker = Attacker(
        card=attack_card(attack), adversary=Adversary.ADAPTIVE, auxiliary=first_of(digits().auxiliary, 4)
    )
    seen = CHANNEL.observe(source, released, attacker)
    assert build_attack(attack, {}).reconstruct(seen, budget=6, seed=0).images.isfinite().all()


def test_dropout_is_off_in_clients() -> None:
    assert _alike(trained("own_nets:dropping"), trained("own_nets:plain"))


def _alike(one: Victim, other: Victim) -> bool:
    pairs: list[tuple[Tensor, Tensor]] = list(zip(one.trained.values(), other.trained.values(), strict=True))
    return all(torch.equal(left, right) for left, right in pairs)
