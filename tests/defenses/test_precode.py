"""PRECODE: what its clients send, and what that tells of their draws."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.api import Adversary, GradientObservation, HookContext, IncompatibleError
from bench.channels.shared.contract import Attacker
from bench.channels.shared.observe import observe_gradients
from bench.defenses.precode.bottleneck import Bottleneck, divergence
from bench.engine import Euclidean, Objective, Pixels, private_labels
from bench.models.base import public_state
from bench.plugins import attack_card, build_attack, build_defense
from bench.victims.releases import Release, Source, release_gradients
from bench.victims.training import at_round_0
from tests.engine.observations import DIGITS, digits, drawn
from tests.victims.small import digits_source

PRECODE = build_defense("precode", {"size": 16})
PRIVATE = digits().private_train


def source(model: str, batch_size: int, *, seed: int = 0) -> Source:
    network = at_round_0(
        model, PRECODE, PRIVATE, num_classes=10, image_shape=DIGITS, batch_size=batch_size, seed=seed
    )
    return digits_source(model, public_state(network), defense=PRECODE, releases=3, batch_size=batch_size)


def observed(model: str, batch_size: int) -> tuple[GradientObservation, Release]:
    place = source(model, batch_size)
    release = release_gradients(place)
    card = attack_card("inverting_gradients")
    attacker = Attacker(card=card, adversary=Adversary.ADAPTIVE, auxiliary=PRIVATE)
    return observe_gradients(place, release, attacker), release


def eps(place: Source, release: Release) -> Tensor:
    return PRECODE.client_loss(release.images, place.context()).drawn


@pytest.mark.parametrize("name", ["lenet", "convnet"])
def test_a_client_sends_the_gradient_at_a_code_of_its_own(name: str) -> None:
    place = source(name, 2)
    release = release_gradients(place)
    chance = eps(place, release)
    network = PRECODE.model(drawn(name, 0))
    network.load_state_dict(place.parameters)
    (bottleneck,) = (part for part in network.modules() if isinstance(part, Bottleneck))
    for client in range(3):
        features: list[Tensor] = []
        hook = bottleneck.register_forward_pre_hook(lambda _, given, kept=features: kept.append(given[0]))
        network(release.images[client])
        hook.remove()
        mean, deviation = bottleneck.code(features[0])
        scores = bottleneck.classifier(bottleneck.decoder(mean + deviation * chance[client]))
        loss = nn.functional.cross_entropy(scores, release.labels[client])
        loss = loss + 1e-3 * divergence(mean, deviation).mean()
        wanted = torch.autograd.grad(loss, list(network.parameters()))
        for (key, _), value in zip(network.named_parameters(), wanted, strict=True):
            torch.testing.assert_close(release.sent[key][client], value, rtol=1e-3, atol=1e-5)


def test_the_price_is_the_divergence_from_the_standard_normal() -> None:
    mean, deviation = torch.randn(4, 5), torch.rand(4, 5) + 0.1
    normal = torch.distributions.Normal
    want = torch.distributions.kl_divergence(normal(mean, deviation), normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(divergence(mean, deviation), want)


def test_all_but_the_bottleneck_begins_as_without_and_the_bottleneck_by_the_seed() -> None:
    plain = at_round_0(
        "convnet",
        build_defense("none", {}),
        PRIVATE,
        num_classes=10,
        image_shape=DIGITS,
        batch_size=1,
        seed=0,
    )
    mine, again, other = (source("convnet", 1, seed=seed).parameters for seed in (0, 0, 1))
    for name, value in public_state(plain).items():
        assert torch.equal(mine[name.replace("classifier.", "classifier.classifier.")], value)
    added = [name for name in mine if "coder" in name]
    assert len(added) == 4
    assert all(torch.equal(mine[name], again[name]) for name in added)
    assert not any(torch.equal(mine[name], other[name]) for name in added)


@pytest.mark.parametrize("name", ["lenet", "convnet"])
def test_the_gradients_of_one_image_tell_its_draw_and_its_label(name: str) -> None:
    seen, release = observed(name, 1)
    assert seen.defense is not None and seen.defense.client_loss is not None
    found = seen.defense.client_loss(seen).drawn
    torch.testing.assert_close(found, eps(source(name, 1), release), rtol=1e-3, atol=1e-3)
    assert torch.equal(private_labels(seen), release.labels)
    cost = Objective(seen, Pixels.of(seen, release.labels), Euclidean()).costs(release.images.flatten(1))
    assert cost.max() < 1e-6


def test_of_several_images_the_draws_are_not_told() -> None:
    seen, _ = observed("convnet", 2)
    assert seen.defense is not None and seen.defense.client_loss is not None
    assert not seen.defense.client_loss(seen).drawn.any()


def test_what_tells_of_the_image_ends_where_the_bottleneck_begins() -> None:
    seen, _ = observed("convnet", 2)
    assert seen.defense is not None and seen.defense.transmitted is not None
    mask = seen.defense.transmitted(seen.gradients)
    assert [name for name, value in mask.items() if value.all()] == [
        name for name in mask if name.startswith("body.")
    ]
    assert all(value.all() or not value.any() for value in mask.values())


def test_the_adaptive_attacker_finds_an_image_that_the_naive_one_does_not() -> None:
    seen, release = observed("lenet", 1)
    one = seen.select(torch.tensor([0]))
    attack = build_attack("inverting_gradients", {})
    errors = []
    for own in (one, replace(one, defense=None)):
        found = attack.reconstruct(own, budget=120, seed=0).images
        errors.append((found - release.images[:1]).square().mean().item())
    assert errors[0] < 1e-2 < 1e-1 < errors[1]


def test_a_network_without_a_linear_layer_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="Linear"):
        PRECODE.model(nn.Conv2d(1, 10, 32))


def test_clients_do_not_depend_on_how_many_there_are_but_for_their_draws() -> None:
    context = HookContext(generator=torch.Generator().manual_seed(0), batch_size=2)
    chance = PRECODE.client_loss(torch.rand(500, 2, 1, 4, 4), context).drawn
    assert chance.shape == (500, 2, 16)
    assert abs(chance.mean().item()) < 0.03
    assert abs(chance.std().item() - 1) < 0.03
    assert chance.flatten(1).unique(dim=0).shape[0] == 500
