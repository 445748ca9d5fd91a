"""LOKT: labels alone, surrogates that answer as the victim does, and queries that are counted."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from bench.api import (
    BaseAttack,
    BlackBoxObservation,
    IncompatibleError,
    ModelAccess,
    ModelObservation,
    Reconstruction,
)
from bench.attacks.lokt.attack import TACGAN
from bench.attacks.lokt.surrogates import Surrogates
from bench.channels.shared.black_box import BlackBox
from bench.plugins import attack_card, build_attack
from tests.attacks import test_model_attacks as white
from tests.attacks.test_model_attacks import prior, sure, victim
from tests.engine.observations import DIGITS, digits

AUXILIARY = 300


def observation(access: ModelAccess = ModelAccess.LABEL, *, batch_size: int = 2) -> BlackBoxObservation:
    seen = white.observation(batch_size=batch_size)
    shared = {item.name: getattr(seen, item.name) for item in fields(seen) if item.name != "model"}
    images = digits().auxiliary.images[:AUXILIARY]
    return BlackBoxObservation(
        access=access, query=BlackBox(victim(), access), **{**shared, "images": images}
    )


def attack(batch: int = 8) -> BaseAttack[ModelObservation]:
    return build_attack("lokt", {"batch": batch})


@cache
def found(budget: int = 30, seed: int = 0) -> Reconstruction:
    return attack().reconstruct(observation(), budget=budget, seed=seed)


def test_its_card_asks_for_labels_alone() -> None:
    assert attack_card("lokt").classifier_access is ModelAccess.LABEL


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
def test_the_budget_is_spent_and_every_query_is_a_label(budget: int) -> None:
    """Auxiliary images once, and drawn ones in each step that learns from them."""
    seen = observation()
    result = attack().reconstruct(seen, budget=budget, seed=0)
    rounds = int(0.4 * budget) // 2
    steps = int(0.4 * budget) // 3
    spent = 2 * rounds + 3 * steps + min(50, budget - 2 * rounds - 3 * steps)
    assert result.images.isfinite().all() and result.evaluations.tolist() == [spent] * 4
    assert isinstance(seen.query, BlackBox) and seen.query.asked == AUXILIARY + 8 * (rounds + steps)


def test_no_share_of_the_budget_takes_more_than_there_is() -> None:
    greedy = build_attack("lokt", {"batch": 4, "training_share": 1.0, "surrogate_share": 1.0})
    assert int(greedy.reconstruct(observation(), budget=9, seed=0).evaluations[0]) <= 9


def test_a_search_on_surrogates_finds_the_class_of_the_victim() -> None:
    """Without a T-ACGAN, as the critic of these tests has learned nothing."""
    shares = {"training_share": 0.0, "surrogate_share": 0.6, "learning_rate": 0.1, "iterations": 100}
    result = build_attack("lokt", shares).reconstruct(observation(), budget=250, seed=0)
    floor = sure(white.found("generator_sample"), observation().targets).mean()
    assert sure(result, observation().targets).mean() > floor + 0.3


def test_surrogates_learn_to_answer_as_the_victim_does() -> None:
    images, other = digits().auxiliary.images[:AUXILIARY], digits().auxiliary.images[AUXILIARY:]
    ask = BlackBox(victim(), ModelAccess.LABEL)
    game = TACGAN(prior(), 10, ask=ask, weight=1.5, seed=0)
    surrogates = Surrogates(10, DIGITS, seed=0)

    def agreement() -> Tensor:
        with torch.no_grad():
            return (surrogates(other).argmax(-1) == ask(other)[:, None]).float().mean(0)

    before = agreement()
    surrogates.learn(game.labelled(images, ask(images), steps=80, batch=32), rate=2e-3)
    assert (agreement() > 0.75).all() and (before < 0.4).all()
    assert not any(value.requires_grad for value in surrogates.parameters())


def test_the_discriminator_learns_what_the_victim_says_and_not_what_was_wanted() -> None:
    images, said, wanted = digits().auxiliary.images[:4], torch.tensor([7, 7, 1, 2]), torch.arange(4)
    game = TACGAN(prior(), 10, ask=lambda some: said, weight=1.5, seed=0)
    values, scores = game.discriminator(images)
    loss = game.discriminator_loss(images, wanted, images, torch.tensor([9, 9, 9, 9]))
    assert torch.allclose(loss, cross_entropy(scores, said) + cross_entropy(scores, wanted), atol=1e-4)
    aimed = game.generator_loss(images, wanted)
    assert torch.allclose(aimed, 1.5 * cross_entropy(scores, wanted) - values.mean(), atol=1e-4)


def test_surrogates_are_networks_of_their_own() -> None:
    first, again = Surrogates(10, DIGITS, seed=0), Surrogates(10, DIGITS, seed=0)
    scores = first(digits().auxiliary.images[:5])
    assert scores.shape == (5, first.count, 10)
    assert torch.equal(scores, again(digits().auxiliary.images[:5]))
    assert not torch.allclose(scores[:, 0], scores[:, 1], atol=1e-3)
    odd = Surrogates(3, (3, 13, 18), seed=0)
    assert odd(torch.zeros(2, 3, 13, 18)).shape == (2, odd.count, 3)


def test_what_is_missing_is_said() -> None:
    for lacking, what in (
        (white.observation(), "labels"),
        (observation(ModelAccess.SCORE), "labels"),
        (replace(observation(), generator=None), "generator"),
        (replace(observation(), images=None), "auxiliary"),
        (replace(observation(), generator=replace(prior(), critic=None)), "critic"),
    ):
        with pytest.raises(IncompatibleError, match=what):
            attack().reconstruct(lacking, budget=2, seed=0)
