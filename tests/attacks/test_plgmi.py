"""PLG-MI: pseudo labels, a conditional generator, the max-margin loss, and classes that do not meet."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from bench.api import IncompatibleError, Reconstruction
from bench.attacks.plgmi.attack import PLGMI, Guided
from bench.attacks.plgmi.conditional import Conditional
from bench.attacks.plgmi.search import max_margin
from bench.attacks.ppa.views import Views
from bench.plugins import build_attack
from tests.attacks.test_model_attacks import observation, prior, sure, victim
from tests.engine.observations import DIGITS, digits

VIEWS = Views(shift=2.0, zoom=0.1)


@cache
def found(budget: int = 30, seed: int = 0) -> Reconstruction:
    return attack().reconstruct(observation(), budget=budget, seed=seed)


def attack() -> PLGMI:
    built = build_attack("plgmi", {"batch": 8})
    assert isinstance(built, PLGMI)
    return built


def guided(weight: float = 0.2) -> Guided:
    return Guided(prior(), 10, victim=victim(), weight=weight, views=VIEWS, seed=0)


def test_a_class_does_not_depend_on_the_others() -> None:
    chosen, whole = torch.tensor([2, 0]), found()
    part = attack().reconstruct(observation().select(chosen), budget=30, seed=0)
    assert torch.allclose(part.images, whole.images[chosen], atol=1e-3)
    assert torch.allclose(part.cost, whole.cost[chosen], rtol=1e-3, atol=1e-3)
    assert len(whole.images.flatten(0, 1).flatten(1).unique(dim=0)) == 8


def test_the_seed_decides_and_global_randomness_does_not() -> None:
    torch.manual_seed(123)
    state = torch.get_rng_state()
    again = attack().reconstruct(observation(), budget=30, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(again.images, found().images)
    assert not torch.allclose(again.images, found(seed=1).images, atol=0.1)


@pytest.mark.parametrize("budget", [1, 7, 30])
def test_the_budget_is_spent_and_not_more(budget: int) -> None:
    result = found(budget)
    assert result.images.isfinite().all() and result.evaluations.tolist() == [budget] * 4


def test_a_search_finds_the_class() -> None:
    """Without a training before it, as the critic of these tests has learned nothing."""
    alone = build_attack("plgmi", {"training_share": 0.0, "learning_rate": 0.1, "iterations": 120})
    result = alone.reconstruct(observation(), budget=120, seed=0)
    start = alone.reconstruct(observation(), budget=1, seed=0)
    targets = observation().targets
    assert sure(result, targets).mean() > sure(start, targets).mean() + 0.4
    assert result.cost.mean() < start.cost.mean() - 1


def test_a_training_makes_what_is_drawn_for_a_class_look_like_it_to_the_victim() -> None:
    game, images = guided(50.0), digits().auxiliary.images[:50]

    def margin() -> float:
        with torch.no_grad():
            drawn, labels = game.draw(200, images)
            return max_margin(victim()(drawn), labels).mean().item()

    before = margin()
    game.play(images, victim()(images).argmax(1), rounds=30, batch=16, rate=2e-3)
    assert margin() < before - 0.5


def test_a_conditional_decoder_begins_as_the_decoder_and_a_class_changes_its_own_images_alone() -> None:
    decoder = prior().decoder
    network, labels = Conditional(decoder, 10), torch.tensor([3, 5, 3, 0])
    latents = torch.randn(4, prior().latent_size, generator=torch.Generator().manual_seed(0))
    plain = decoder(latents)
    assert torch.equal(network(latents, labels), plain)
    with torch.no_grad():
        for gain, bias in zip(network.gains, network.biases, strict=True):
            gain[3] += 0.5
            bias[3] -= 0.2
    changed = (network(latents, labels) - plain).flatten(1).abs().amax(1) > 1e-3
    assert changed.tolist() == [True, False, True, False]
    assert torch.equal(decoder(latents), plain)
    with pytest.raises(IncompatibleError, match="BatchNorm"):
        Conditional(nn.Linear(2, 3), 10)


def test_the_margin_is_negative_where_the_class_wins() -> None:
    scores = torch.randn(50, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(50) % 7
    margins = max_margin(scores, labels)
    assert torch.equal(margins < 0, scores.argmax(1) == labels)
    assert torch.allclose(max_margin(scores + 3, labels), margins)
    assert max_margin(torch.tensor([[1.0, 4.0, 2.5]]), torch.tensor([1])).item() == -1.5
    several = torch.stack([scores, 2 * scores, -scores], 1)
    each = torch.stack([max_margin(several[:, place], labels) for place in range(3)]).mean(0)
    assert torch.allclose(max_margin(several, labels), each)
    assert torch.autograd.gradcheck(lambda x: max_margin(x, labels), scores.requires_grad_())


def test_pseudo_labels_are_the_surest_images_of_each_class() -> None:
    images = digits().auxiliary.images[:120]
    seen, top = replace(observation(), images=images), 4
    chosen, labels = PLGMI(top=top)._labelled(seen)
    assert labels.bincount().tolist() == [top] * 10 and chosen.shape == (10 * top, *DIGITS)
    likely = victim()(images).softmax(1)
    for target in range(10):
        own = victim()(chosen[labels == target]).softmax(1)[:, target]
        assert (likely[:, target] > own.min() + 1e-6).sum() < top
    everything, _ = PLGMI(top=1000)._labelled(replace(seen, images=images[:3]))
    assert len(everything) == 30


def test_the_discriminator_sees_an_image_together_with_its_class() -> None:
    game, images = guided(), digits().auxiliary.images[:6]
    labels = torch.tensor([1, 1, 2, 2, 9, 0])
    values, scores = game.discriminator(images)
    together = game.realness(images, labels)
    assert torch.allclose(together - values, scores[torch.arange(6), labels])
    loss = game.discriminator_loss(images[:3], labels[:3], images[3:], labels[3:])
    assert torch.allclose(loss, together[3:].mean() - together[:3].mean())


def test_the_victims_margin_guides_the_generator() -> None:
    images, labels = digits().auxiliary.images[:6], torch.tensor([1, 1, 2, 2, 9, 0])
    without, less, more = (guided(weight).generator_loss(images, labels) for weight in (0.0, 1.0, 3.0))
    assert torch.allclose(more - without, 3 * (less - without), atol=1e-3)
    assert not torch.allclose(less, without, atol=1e-2)


def test_what_is_missing_is_said_and_what_is_given_stays() -> None:
    for lacking, what in (
        (replace(observation(), generator=None), "generator"),
        (replace(observation(), images=None), "auxiliary"),
        (replace(observation(), generator=replace(prior(), critic=None)), "critic"),
    ):
        with pytest.raises(IncompatibleError, match=what):
            attack().reconstruct(lacking, budget=2, seed=0)
    networks = (prior().decoder, prior().critic, victim())

    def state() -> list[Tensor]:
        return [value.clone() for network in networks if network for value in network.state_dict().values()]

    before = state()
    attack().reconstruct(observation(), budget=6, seed=0)
    assert all(map(torch.equal, before, state()))
    assert not any(value.requires_grad for network in networks if network for value in network.parameters())
