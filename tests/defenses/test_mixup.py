"""MixUp: what its clients mix, what they send, and what an attacker finds who knows of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.api import Adversary, Defense, GradientObservation, HookContext
from bench.channels.shared.contract import Attacker
from bench.channels.shared.observe import observe_gradients
from bench.models.base import public_state
from bench.plugins import attack_card, build_attack, build_defense
from bench.victims.releases import Release, Source, release_gradients
from bench.victims.training import at_round_0
from tests.engine.observations import DIGITS, digits, drawn
from tests.victims.small import digits_source

PRIVATE = digits().private_train


def weights(images: int, batch_size: int, *, largest: float = 0.65, clients: int = 400) -> Tensor:
    defense = build_defense("mixup", {"images": images, "largest": largest})
    context = HookContext(generator=torch.Generator().manual_seed(0), batch_size=batch_size)
    loss = defense.client_loss(torch.zeros(clients, batch_size, 1, 2, 2), context)
    assert loss is not None
    return loss.drawn


def source(defense: Defense, model: str = "convnet") -> Source:
    network = at_round_0(model, defense, PRIVATE, num_classes=10, image_shape=DIGITS, batch_size=4, seed=0)
    return digits_source(model, public_state(network), defense=defense, releases=2, batch_size=4)


@pytest.mark.parametrize(("images", "batch_size"), [(2, 4), (4, 4), (6, 4), (3, 8)])
def test_a_mixture_is_a_mean_of_so_many_images_its_own_among_them(images: int, batch_size: int) -> None:
    found = weights(images, batch_size)
    torch.testing.assert_close(found.sum(2), torch.ones(400, batch_size))
    assert ((found > 0).sum(2) == min(images, batch_size)).all()
    assert (found.diagonal(dim1=1, dim2=2) > 0).all()
    assert found.max() <= 0.65 + 1e-6
    # No place in the batch is preferred: each has the same weight on the mean.
    torch.testing.assert_close(
        found.mean((0, 1)), torch.full((batch_size,), 1 / batch_size), rtol=0, atol=0.02
    )


def test_the_bound_is_no_smaller_than_equal_shares_and_one_is_none() -> None:
    torch.testing.assert_close(weights(4, 4, largest=0.0), torch.full((400, 4, 4), 0.25))
    assert weights(2, 4, largest=1.0).max() > 0.99


def test_a_client_sends_the_gradient_of_its_mixtures() -> None:
    place = source(build_defense("mixup", {"images": 3}))
    release = release_gradients(place)
    loss = place.defense.client_loss(release.images, place.context())
    assert loss is not None
    network = drawn("convnet", 0)
    network.load_state_dict(place.parameters)
    for client, rows in enumerate(loss.drawn):
        images, labels = release.images[client], nn.functional.one_hot(release.labels[client], 10).float()
        mixed = torch.stack([sum(w * x for w, x in zip(row, images, strict=True)) for row in rows])
        wanted = torch.autograd.grad(
            nn.functional.cross_entropy(network(mixed), rows @ labels), list(network.parameters())
        )
        for (name, _), value in zip(network.named_parameters(), wanted, strict=True):
            torch.testing.assert_close(release.sent[name][client], value, rtol=1e-3, atol=1e-5)


def observed() -> tuple[GradientObservation, Release]:
    place = source(build_defense("mixup", {"images": 2}))
    release = release_gradients(place)
    attacker = Attacker(
        card=attack_card("inverting_gradients"), adversary=Adversary.ADAPTIVE, auxiliary=PRIVATE
    )
    return observe_gradients(place, release, attacker), release


def test_what_an_attacker_searches_are_weights_of_means() -> None:
    seen, _ = observed()
    assert seen.defense is not None and seen.defense.client_loss is not None
    loss = seen.defense.client_loss(seen)
    assert loss.searched is not None
    torch.testing.assert_close(loss.drawn, torch.eye(4).expand(2, 4, 4))
    found = loss.searched(torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(found.sum(2), torch.ones(2, 4))
    assert (found > 0).all()


def test_who_searches_the_weights_as_well_is_nearer_to_the_images() -> None:
    seen, release = observed()
    attack = build_attack("inverting_gradients", {})
    errors = []
    for own in (seen, replace(seen, defense=None)):
        found = attack.reconstruct(own, budget=160, seed=0).images.clamp(0, 1)
        distances = (found[:, :, None] - release.images[:, None]).square().flatten(3).mean(3)
        errors.append(distances.amin(1).mean().item())
    assert errors[0] < 0.7 * errors[1]
