"""SDAR and PCAT: what each of them learns from, what they are denied, what they reach."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bench.api import Adversary, Defense, IncompatibleError, Received, SmashedObservation
from bench.check.materials import split_material
from bench.matrix.expand import variant
from bench.plugins import build_attack, build_defense

PCAT = {"discriminators": False}


def seen_by(defense: str = "", adversary: Adversary = Adversary.NAIVE) -> SmashedObservation:
    place = split_material.source(build_defense(defense, {}) if defense else Defense(), batch_size=2)
    return split_material.observation("sdar", place, split_material.released(place), adversary=adversary)


def images_of(seen: SmashedObservation, *, budget: int = 12, **parameters: object) -> Tensor:
    found = build_attack("sdar", parameters).reconstruct(seen, budget=budget, seed=0)
    assert (found.evaluations == budget).all() and found.cost.isfinite().all()
    return found.images


@pytest.mark.parametrize("parameters", [{}, PCAT])
def test_a_result_depends_on_no_neighbour(parameters: dict[str, object]) -> None:
    seen = seen_by()
    together = images_of(seen, **parameters)
    order = torch.tensor([2, 0])
    assert torch.allclose(images_of(seen.select(order), **parameters), together[order], atol=1e-5)


def test_only_with_discriminators_private_labels_and_activations_matter() -> None:
    seen = seen_by()
    assert seen.labels is not None and seen.received is not None
    relabelled = replace(seen, labels=(seen.labels + 1) % 10)
    assert seen.received.labels is not None
    few = Received(activations=seen.received.activations[:8], labels=seen.received.labels[:8])
    for changed in (relabelled, replace(seen, received=few)):
        assert not torch.allclose(images_of(changed), images_of(seen), atol=1e-4)
    assert torch.equal(images_of(relabelled, **PCAT), images_of(seen, **PCAT))


def test_a_weight_of_the_discriminators_moves_the_network_that_it_belongs_to() -> None:
    seen = seen_by()
    plain = images_of(seen, simulator_weight=0.0, decoder_weight=0.0)
    for first, second in ((5.0, 0.0), (0.0, 5.0)):
        found = images_of(seen, simulator_weight=first, decoder_weight=second)
        assert not torch.allclose(found, plain, atol=1e-4)


def test_the_server_stays_as_it_is_and_the_adaptive_attacker_draws_the_noise() -> None:
    naive = seen_by("activation_noise")
    before = [value.clone() for value in naive.server.state_dict().values()]
    known = images_of(seen_by("activation_noise", Adversary.ADAPTIVE))
    assert not torch.allclose(known, images_of(naive), atol=1e-4)
    assert all(map(torch.equal, before, naive.server.state_dict().values()))


def test_labels_and_images_are_needed() -> None:
    seen = seen_by()
    for lacking in (replace(seen, labels=None), replace(seen, auxiliary=None)):
        with pytest.raises(IncompatibleError):
            images_of(lacking)


def test_pcat_is_a_preset() -> None:
    named = variant("attack", "sdar@pcat", {})
    assert named.label == "sdar@pcat" and named.arguments()["discriminators"] is False
