"""How much a defense changed of a release: by the norms of what left with and without its last hook."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from bench.api import Defense
from bench.plugins import build_defense
from bench.victims.distortion import distorts
from bench.victims.releases import release_gradients, signal
from bench.victims.split import train_split
from bench.victims.split_releases import release_activations
from bench.victims.splitfed import train_splitfed
from bench.victims.training import Victim, train_victim
from tests.engine.observations import DIGITS
from tests.victims import test_victims_split as split
from tests.victims.small import few
from tests.victims.test_victims_observe import CPU, source


def test_a_defense_without_a_last_hook_distorts_nothing() -> None:
    plain = source("none")
    assert not distorts(plain.defense)
    assert signal(release_gradients(plain), plain, release_gradients) is None


def test_the_signal_of_noise_is_the_norm_over_that_of_the_noise() -> None:
    noisy = replace(source("noise"), defense=build_defense("noise", {"sigma": 0.01}))
    found = signal(release_gradients(noisy), noisy, release_gradients)
    clean = release_gradients(source("none"))
    entries = sum(value[0].numel() for value in clean.sent.values())
    own = torch.cat([value.flatten(1) for value in clean.sent.values()], 1).norm(dim=1)
    assert found is not None
    wanted = (own / (0.01 * math.sqrt(entries))).tolist()
    assert found == pytest.approx(wanted, rel=0.05)


def test_activations_have_a_signal_too() -> None:
    noisy = split.source(build_defense("activation_noise", {"sigma": 0.5}))
    found = signal(release_activations(noisy), noisy, release_activations)
    clean = release_activations(split.source())
    own = clean.sent["activations"].flatten(1)
    wanted = own.norm(dim=1) / (0.5 * math.sqrt(own.shape[1]))
    assert found == pytest.approx(wanted.tolist(), rel=0.05)


@pytest.mark.parametrize("kind", ["federated", "splitfed", "split"])
def test_a_training_notes_as_much_as_its_releases_and_is_not_changed_by_that(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sigma = 0.05
    name = "activation_noise" if kind == "split" else "noise"
    shared: dict[str, Any] = {
        "splits": few(160), "num_classes": 10, "image_shape": DIGITS, "epochs": 0.5, "seed": 0, "device": CPU,
        "model": "lenet" if kind == "federated" else "splitnet_deep",
    }  # fmt: skip

    def train(defense: Defense) -> Victim:
        if kind == "split":
            return train_split(defense=defense, **shared)
        federated = train_victim if kind == "federated" else train_splitfed
        return federated(defense=defense, batch_size=4, **shared)

    assert train(Defense()).signal is None
    watched = train(build_defense(name, {"sigma": sigma}))
    if kind == "federated":
        place = replace(
            source("noise"), defense=build_defense(name, {"sigma": sigma}), parameters=watched.initial,
            batch_size=4, releases=8,
        )  # fmt: skip
        released = signal(release_gradients(place), place, release_gradients)
        assert released is not None and watched.signal is not None
        assert watched.signal[0] == pytest.approx(torch.tensor(released).median().item(), rel=0.3)
    assert watched.signal is not None and len(watched.signal) == 2 and all(watched.signal)
    monkeypatch.setattr("bench.victims.distortion.distorts", lambda defense: False)
    alone = train(build_defense(name, {"sigma": sigma}))
    assert alone.signal is None
    assert all(value.equal(watched.trained[key]) for key, value in alone.trained.items())
