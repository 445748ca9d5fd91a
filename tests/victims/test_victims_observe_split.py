"""What the server of split learning may see depends on what its attack's card declares."""

from __future__ import annotations

import pytest
import torch

from bench.api import Access, Adversary, Channel, Defense, SmashedObservation
from bench.api.cards import AttackCard
from bench.check.materials import material, split_material
from bench.plugins import attack_card, discover

ATTACKS = sorted(
    item.name
    for item in discover("attack").plugins.values()
    if isinstance(item.card, AttackCard)
    and Channel.SMASHED in item.card.channels
    and item.card.access is not Access.ACTIVE
)


def seen_by(attack: str) -> tuple[SmashedObservation, torch.Tensor]:
    place = split_material.source(Defense(), batch_size=2)
    sent = split_material.released(place)
    return split_material.observation(attack, place, sent, adversary=Adversary.NAIVE), sent.labels


@pytest.mark.parametrize("attack", ATTACKS)
def test_labels_and_a_generator_pass_only_to_an_attack_whose_card_asks(attack: str) -> None:
    card = attack_card(attack)
    seen, labels = seen_by(attack)
    assert (seen.labels is not None) == card.needs_labels == seen.threat.labels_known
    assert (seen.generator is not None) == card.needs_generator == seen.threat.generator
    owned = card.needs_auxiliary or card.needs_generator
    assert (seen.auxiliary is not None) == owned == seen.threat.auxiliary
    if seen.labels is not None:
        assert torch.equal(seen.labels, labels)
        order = torch.tensor([2, 0])
        some = seen.select(order).labels
        assert some is not None and torch.equal(some, labels[order])


def test_what_the_generator_draws_are_images_of_the_data_set() -> None:
    seen, _ = seen_by("glass")
    assert seen.generator is not None
    drawn = seen.generator.decoder(torch.zeros(3, seen.generator.latent_size))
    assert drawn.shape == (3, *material.shape()["image_shape"])
    assert drawn.min() >= 0 and drawn.max() <= 1
    assert not any(weight.requires_grad for weight in seen.generator.decoder.parameters())
