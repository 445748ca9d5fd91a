"""How much a defense changed of a release: by the norms of what left with and without its last hook."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bench.plugins import build_defense
from bench.victims.distortion import distorts, signal
from bench.victims.releases import release_gradients
from bench.victims.split_releases import release_activations
from tests.victims import test_victims_split as split
from tests.victims.test_victims_observe import source


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
