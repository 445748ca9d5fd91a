"""Attacks on split learning without the client's weights: what they reach, and what they are denied."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import pytest
import torch
from torch import Tensor

from bench.api import (
    Access,
    Adversary,
    BaseAttack,
    Channel,
    Defense,
    DefenseView,
    HookContext,
    IncompatibleError,
    Reconstruction,
    SmashedObservation,
    ThreatModel,
)
from bench.attacks.fsha.classifier import ridge_classifier
from bench.attacks.fsha.networks import Critic, Decoder
from bench.attacks.query_free.matching import matching
from bench.metrics.pixel import psnr
from bench.models.build import schedule_of
from bench.models.split import SplitModel
from bench.plugins import attack_card, build_attack, build_defense
from bench.victims.session import HijackedTraining
from bench.victims.split import build_split, send, train_split
from tests.engine.observations import DIGITS, batches, digits

MODEL = "splitnet_deep"
CPU = torch.device("cpu")
NAMES = ("unsplit", "query_free", "fsha")


def network(
    seed: int, defense: Defense, weights: dict[str, Tensor] | None = None, model: str = MODEL
) -> SplitModel:
    drawn = build_split(model, num_classes=10, image_shape=DIGITS, defense=defense)
    drawn.initialise(torch.Generator().manual_seed(seed))
    if weights is not None:
        drawn.load_state_dict(weights)
    return drawn


@cache
def trained(model: str) -> dict[str, Tensor]:
    """An undefended victim after two passes over its images."""
    return train_split(
        model=model, splits=digits(), num_classes=10, image_shape=DIGITS, defense=Defense(),
        epochs=2, seed=0, device=CPU,
    ).trained  # fmt: skip


@dataclass(frozen=True)
class Case:
    """What an attacker sees, what it must not see, and the clients of an active one."""

    seen: SmashedObservation
    images: Tensor
    session: HijackedTraining | None


def case(
    attack: str,
    *,
    defense: Defense | None = None,
    model: str = MODEL,
    victims: int = 8,
    batch_size: int = 1,
    weights: dict[str, Tensor] | None = None,
    adversary: Adversary = Adversary.NAIVE,
) -> Case:
    """Releases of digits through a defense, seen as far as the attack's card asks for."""
    hooks, card, splits = defense or Defense(), attack_card(attack), digits()
    victim = network(0, hooks, weights, model).requires_grad_(False)
    images, labels = batches(victims, batch_size)
    context = HookContext(generator=torch.Generator().manual_seed(5), batch_size=batch_size)
    session = active(hooks, (images, labels), model) if card.access is Access.ACTIVE else None
    seen = SmashedObservation(
        threat=ThreatModel(
            channel=Channel.SMASHED,
            adversary=adversary,
            batch_size=batch_size,
            auxiliary=card.needs_auxiliary,
            access=card.access,
        ),
        activations=send(victim, images, labels, defense=hooks, context=context)[1],
        model=network(99, hooks, model=model),
        server=victim.server,
        image_shape=DIGITS,
        num_classes=10,
        ids=torch.arange(victims),
        session=session,
        defense=hooks.view() if adversary is Adversary.ADAPTIVE else None,
        auxiliary=splits.auxiliary if card.needs_auxiliary else None,
    )
    return Case(seen, images, session)


def active(hooks: Defense, attacked: tuple[Tensor, Tensor], model: str) -> HijackedTraining:
    schedule, splits = schedule_of(model), digits()
    return HijackedTraining(
        network(0, hooks, model=model),
        private=splits.private_train,
        test=splits.private_test,
        attacked=attacked,
        defense=hooks,
        rate=schedule.learning_rate,
        batch_size=schedule.images_per_round,
        seed=0,
    )


def run(attack: str, seen: SmashedObservation, *, budget: int, seed: int = 0) -> Reconstruction:
    built: BaseAttack[SmashedObservation] = build_attack(attack, {})
    return built.reconstruct(seen, budget=budget, seed=seed)


def decibels(found: Reconstruction, images: Tensor) -> float:
    return psnr(found.images.flatten(0, 1), images.flatten(0, 1)).mean().item()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_contract_is_kept_and_nothing_is_changed(name: str, batch_size: int) -> None:
    here = case(name, victims=2, batch_size=batch_size)
    before = [here.seen.activations.clone(), *(v.clone() for v in here.seen.model.state_dict().values())]
    found = run(name, here.seen, budget=9)
    assert found.images.shape == here.images.shape and found.images.dtype == torch.float32
    assert found.cost.shape == found.evaluations.shape == (2,)
    assert found.evaluations.dtype == torch.int64 and found.evaluations.le(9).all()
    assert found.images.isfinite().all() and not found.images.requires_grad and not found.cost.requires_grad
    after = [here.seen.activations, *here.seen.model.state_dict().values()]
    assert all(map(torch.equal, before, after))


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_is_the_only_source_of_randomness(name: str) -> None:
    defense = build_defense("activation_noise", {})
    found = []
    for seed, chance in ((3, 0), (3, 1), (4, 0)):
        torch.manual_seed(chance)
        found.append(run(name, case(name, victims=2, defense=defense).seen, budget=6, seed=seed).images)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_what_the_card_asks_for_is_needed() -> None:
    shadowed, hijacked = case("query_free", victims=1).seen, case("fsha", victims=1).seen
    for name, seen in (
        ("query_free", replace(shadowed, auxiliary=None)),
        ("fsha", replace(hijacked, auxiliary=None)),
        ("fsha", replace(hijacked, session=None)),
    ):
        with pytest.raises(IncompatibleError):
            run(name, seen, budget=3)


@pytest.mark.parametrize("name", ["query_free", "fsha"])
@pytest.mark.parametrize("defense", ["activation_noise", "dropout"])
def test_the_adaptive_attacker_does_something_else(name: str, defense: str) -> None:
    hooks = build_defense(defense, {})
    naive = run(name, case(name, victims=2, defense=hooks).seen, budget=8)
    known = run(name, case(name, victims=2, defense=hooks, adversary=Adversary.ADAPTIVE).seen, budget=8)
    assert known.images.isfinite().all() and not torch.equal(naive.images, known.images)


def test_one_clone_serves_all_releases() -> None:
    """UnSplit's victims share what is learnt of their client: alone, each is attacked by another clone."""
    seen = case("unsplit", victims=3).seen
    together = run("unsplit", seen, budget=60).images
    alone = run("unsplit", seen.select(torch.tensor([1])), budget=60).images
    assert not torch.allclose(together[1:2], alone)


# --------------------------------------------------------------------------- the adaptive attacker's distance


def seen_under(view: DefenseView | None, activations: Tensor) -> SmashedObservation:
    return replace(case("query_free", victims=len(activations)).seen, activations=activations, defense=view)


def test_dropout_is_matched_exactly_where_something_was_sent() -> None:
    hooks = build_defense("dropout", {"rate": 0.8})
    plain = torch.rand(2, 1, 4, 3, 3, generator=torch.Generator().manual_seed(0)) + 0.1
    context = HookContext(generator=torch.Generator().manual_seed(1), batch_size=1)
    sent = hooks.smashed(plain, context)
    match = matching(seen_under(hooks.view(), sent))
    torch.testing.assert_close(match(plain), torch.zeros(2), rtol=0, atol=1e-9)
    assert (match(plain + 0.1) > 1e-2).all()
    naive = matching(seen_under(None, sent))
    assert (naive(plain) > 1e-2).all()


def test_noise_is_matched_by_the_squared_error() -> None:
    view = build_defense("activation_noise", {"sigma": 2.0}).view()
    sent, made = torch.ones(2, 1, 4, 3, 3), torch.zeros(2, 1, 4, 3, 3)
    torch.testing.assert_close(matching(seen_under(view, sent))(3 * made - 1), torch.full((2,), 4.0))


# --------------------------------------------------------------------------- the hijacker's parts


def test_the_penalty_is_zero_for_a_gradient_of_norm_one() -> None:
    critic = Critic((2, 4, 4))
    weights = torch.zeros(32)
    weights[3] = 1
    line = torch.nn.Linear(32, 1)
    critic.layers = torch.nn.Sequential(torch.nn.Flatten(), line)
    with torch.no_grad():
        line.weight.copy_(weights[None])
    real, sent, share = torch.rand(5, 2, 4, 4), torch.rand(5, 2, 4, 4), torch.rand(5)
    assert critic.penalty(real, sent, share).item() == pytest.approx(0, abs=1e-12)
    with torch.no_grad():
        line.weight.mul_(3)
    assert critic.penalty(real, sent, share).item() == pytest.approx(4, rel=1e-5)


@pytest.mark.parametrize(("side", "image"), [(8, 32), (16, 32), (1, 28), (7, 28)])
def test_the_decoder_gives_images_of_the_wanted_size(side: int, image: int) -> None:
    made = Decoder((3, side, side), (1, image, image))(torch.rand(2, 3, side, side))
    assert made.shape == (2, 1, image, image) and made.min() >= 0 and made.max() <= 1
    assert Critic((3, side, side))(torch.rand(2, 3, side, side)).shape == (2,)


def test_the_classifier_in_closed_form_tells_classes_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    codes = torch.eye(3)[labels].repeat(1, 4).view(90, 3, 2, 2)
    codes = codes + 0.1 * torch.randn(codes.shape, generator=generator)
    classify = ridge_classifier(codes[:60], labels[:60], 4)
    scores = classify(codes[60:])
    assert scores.shape == (30, 4) and torch.equal(scores.argmax(1), labels[60:])


# --------------------------------------------------------------------------- what they reach


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "model", "floor"),
    [
        ("unsplit", "splitnet", 15.0),
        ("query_free", "splitnet_deep", 13.5),
        ("fsha", "splitnet_deep", 17.0),
    ],
)
def test_digits_come_back_from_undefended_clients(name: str, model: str, floor: float) -> None:
    """The mean image of the data reaches 12.8 dB."""
    here = case(name, model=model, weights=trained(model), victims=16)
    assert decibels(run(name, here.seen, budget=1000), here.images) >= floor
    if here.session is not None:
        assert here.session.task_accuracy is not None and here.session.task_accuracy > 0.5
