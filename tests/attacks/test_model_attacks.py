"""Attacks on a released classifier: they find the class, obey the budget, and classes do not meet."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from bench.api import (
    Adversary,
    BaseAttack,
    Channel,
    Defense,
    ImageGenerator,
    IncompatibleError,
    ModelObservation,
    Reconstruction,
    ThreatModel,
)
from bench.attacks.kedmi.networks import Discriminator
from bench.attacks.kedmi.specific import Distillation
from bench.attacks.ppa.attack import Plan
from bench.attacks.ppa.views import Views
from bench.engine import target_probability
from bench.models.build import build_model
from bench.models.generators import Critic
from bench.plugins import attack_card, build_attack
from bench.victims import generator as generators
from bench.victims.owner import train_owner
from tests.engine.observations import DIGITS, digits

SEARCHES = ("gmi", "kedmi", "ppa")
NAMES = (*SEARCHES, "wrong_class", "generator_sample")
CRITICAL = ("gmi", "kedmi", "wrong_class")
QUICK = {"kedmi": {"batch": 8}}


@cache
def victim() -> nn.Module:
    """A classifier after two passes over its images."""
    weights = train_owner(
        model="convnet", splits=digits(), num_classes=10, image_shape=DIGITS, defense=Defense(),
        epochs=2, seed=0, device=torch.device("cpu"),
    ).trained  # fmt: skip
    network = build_model("convnet", num_classes=10, image_shape=DIGITS)
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


@cache
def prior() -> ImageGenerator:
    """A decoder that draws rough digits after a short training, and a critic that knows nothing."""
    short = generators.Schedule(adversarial=False, steps=300, batch=32, learning_rate=5e-3, width=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(generators.SCHEDULES, "vae", short)
        trained = generators.train_generator(
            "vae", digits().auxiliary, private=(digits().private_train,), image_shape=DIGITS, seed=0
        )
        drawn = generators.load_generator("vae", trained.state, DIGITS)
    critic = Critic.build(DIGITS, 4, torch.Generator().manual_seed(0)).eval().requires_grad_(False)
    return replace(drawn, critic=critic)


def observation(targets: tuple[int, ...] = (0, 3, 6, 9), *, batch_size: int = 2) -> ModelObservation:
    return ModelObservation(
        threat=ThreatModel(
            channel=Channel.MODEL, adversary=Adversary.NAIVE, batch_size=batch_size, auxiliary=True,
            generator=True,
        ),
        model=victim(), targets=torch.tensor(targets), image_shape=DIGITS, num_classes=10,
        ids=torch.tensor(targets), generator=prior(), images=digits().auxiliary.images,
    )  # fmt: skip


def attack(name: str, **parameters: str) -> BaseAttack[ModelObservation]:
    return build_attack(name, {**QUICK.get(name, {}), **parameters})


@cache
def found(name: str, budget: int = 30, seed: int = 0) -> Reconstruction:
    return attack(name).reconstruct(observation(), budget=budget, seed=seed)


def sure(result: Reconstruction, targets: Tensor) -> Tensor:
    """The victim's probability of the targets ``[N, B]``."""
    rows = targets.repeat_interleave(result.images.shape[1])
    with torch.no_grad():
        scores = victim()(result.images.flatten(0, 1))
    return target_probability(scores, rows).view(result.images.shape[:2])


class Counting(nn.Module):
    """The victim, counting images by whether a gradient is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.looked = 0, 0

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            self.asked += len(images)
        else:
            self.looked += len(images)
        return victim()(images)


@pytest.mark.parametrize("name", NAMES)
def test_a_class_does_not_depend_on_the_others(name):
    """A subset in another order gives the same images, costs and labels."""
    chosen, whole = torch.tensor([2, 0]), found(name)
    part = attack(name).reconstruct(observation().select(chosen), budget=30, seed=0)
    assert torch.allclose(part.images, whole.images[chosen], atol=1e-3)
    assert torch.allclose(part.cost, whole.cost[chosen], rtol=1e-3, atol=1e-3)
    assert len(whole.images.flatten(0, 1).flatten(1).unique(dim=0)) == 8


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_and_global_randomness_does_not(name):
    torch.manual_seed(123)
    state = torch.get_rng_state()
    again = attack(name).reconstruct(observation(), budget=30, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(again.images, found(name).images) and torch.equal(again.cost, found(name).cost)
    assert not torch.allclose(again.images, found(name, seed=1).images, atol=0.1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("budget", [1, 7, 30])
def test_the_budget_is_obeyed(name, budget):
    counted = Counting()
    seen = replace(observation((5, 8), batch_size=3), model=counted)
    result = attack(name).reconstruct(seen, budget=budget, seed=0)
    assert result.images.shape == (2, 3, *DIGITS) and result.images.isfinite().all()
    assert result.evaluations.dtype == torch.int64 and result.evaluations.shape == (2,)
    spent = int(result.evaluations[0])
    assert (result.evaluations == spent).all() and spent <= budget
    assert counted.asked <= 6 * spent
    if name == "generator_sample":
        assert spent == counted.asked == counted.looked == 0
    else:
        assert spent > 0.7 * budget - 1 and counted.asked > 0


def test_looks_at_candidates_and_results_count_as_evaluations():
    counted = Counting()
    seen = replace(observation((5, 8), batch_size=3), model=counted)
    result = attack("ppa").reconstruct(seen, budget=300, seed=0)
    last = 6 * attack("ppa").plan.within(300).kept
    assert counted.asked + counted.looked - last == 6 * int(result.evaluations[0])


@pytest.mark.parametrize("budget", [1, 2, 4, 7, 8, 9, 15, 16, 30, 63, 64, 99, 250, 1000])
def test_a_plan_fits_into_any_budget(budget):
    for whole in (
        Plan(candidates=100, kept=4, steps=70, looks=16),
        Plan(candidates=1, kept=9, steps=1000, looks=1),
        Plan(candidates=900, kept=50, steps=5, looks=300),
    ):
        part = whole.within(budget)
        assert 0 < part.cost <= budget and 1 <= part.kept <= part.candidates and part.steps >= 1
        assert part.candidates <= whole.candidates and part.steps <= whole.steps
    whole = Plan(candidates=100, kept=4, steps=70, looks=16)
    assert whole.within(10**6) == whole


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_lowers_its_cost_and_finds_the_class(name):
    """The victim is surer than of the start and of samples, and so is a bigger budget's cost lower."""
    targets, result = observation().targets, found(name, 400 if name == "ppa" else 120)
    floor = sure(found("generator_sample"), targets).mean()
    assert result.cost.mean() < found(name, 1).cost.mean()
    assert sure(result, targets).mean() > floor + 0.4
    assert result.labels is not None and torch.equal(result.labels, targets[:, None].expand(4, 2))


def test_a_wrong_class_is_the_next_one():
    result, targets = found("wrong_class", 120), observation().targets
    assert sure(result, (targets + 1) % 10).mean() > 0.5 > sure(result, targets).mean()
    assert result.labels is None
    straight = attack("gmi").aimed(observation(), (targets + 1) % 10, budget=120, seed=0)
    assert torch.equal(result.images, straight.images)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_said(name):
    seen = observation()
    with pytest.raises(IncompatibleError, match="generator"):
        attack(name).reconstruct(replace(seen, generator=None), budget=2, seed=0)
    bare = replace(seen, generator=replace(prior(), critic=None))
    if name in CRITICAL:
        assert "vae" not in attack_card(name).parameters["generator"].choices
        with pytest.raises(IncompatibleError, match="critic"):
            attack(name).reconstruct(bare, budget=2, seed=0)
    else:
        assert attack(name, generator="vae").reconstruct(bare, budget=2, seed=0).images.isfinite().all()


def test_training_needs_images_and_leaves_the_attackers_networks_as_they_were():
    with pytest.raises(IncompatibleError, match="auxiliary"):
        attack("kedmi").reconstruct(replace(observation(), images=None), budget=2, seed=0)
    networks = (prior().decoder, prior().critic, victim())
    before = [value.clone() for network in networks for value in network.state_dict().values()]
    attack("kedmi").reconstruct(observation(), budget=30, seed=0)
    after = [value for network in networks for value in network.state_dict().values()]
    assert all(map(torch.equal, before, after))
    assert not any(value.requires_grad for network in networks for value in network.parameters())


def test_the_discriminator_learns_the_victims_soft_labels():
    """It begins as the critic, and ends nearer to what the victim says of images it was not shown."""
    images, chance = digits().auxiliary.images, torch.Generator().manual_seed(0)
    discriminator = Discriminator(prior().critic, 10, chance)
    answers = victim()(images[:200]).softmax(1)

    def wrong() -> float:
        with torch.no_grad():
            return nn.functional.cross_entropy(discriminator(images[:200])[1], answers).item()

    assert torch.equal(discriminator(images[:5])[0], prior().critic(images[:5]))
    before = wrong()
    way = Distillation(learning_rate=2e-3, batch=32, entropy=0.1)
    decoder = way.train(prior(), discriminator, victim(), images[200:], rounds=25, generator=chance)
    assert wrong() < before - 0.5
    latents = torch.randn(4, prior().latent_size, generator=chance)
    assert not torch.allclose(decoder(latents), prior().decoder(latents), atol=1e-3)


def test_the_penalty_is_zero_for_a_critic_whose_gradient_has_norm_one():
    class Along(nn.Module):
        """Its gradient is one image of norm 1 times the layer's weight."""

        def __init__(self, norm: float) -> None:
            super().__init__()
            self.last = nn.Linear(1, 1, bias=False)
            nn.init.constant_(self.last.weight, norm)

        def forward(self, images: Tensor) -> Tensor:
            return self.last(images.flatten(1).sum(1, keepdim=True) / images[0].numel() ** 0.5)[:, 0]

    real, fake = torch.rand(2, 3, *DIGITS, generator=torch.Generator().manual_seed(0))
    share = torch.full((3, 1, 1, 1), 0.5)
    for norm, penalty in ((1.0, 0.0), (3.0, 4.0)):
        critic = Discriminator(Along(norm), 10, torch.Generator().manual_seed(0))
        assert critic.penalty(real, fake, share).item() == pytest.approx(penalty, abs=1e-4)
    with pytest.raises(IncompatibleError, match="linear"):
        Discriminator(nn.Flatten(), 10, torch.Generator())


def test_views_move_and_scale_about_the_centre():
    images = torch.rand(3, 2, 8, 10, generator=torch.Generator().manual_seed(0))
    views = Views(shift=2.0, zoom=0.1)
    same = views.see(images, torch.tensor([1.0, 0.0, 0.0]))
    assert torch.allclose(same, images, atol=1e-6)
    moved = views.see(images, torch.tensor([1.0, 2.0, -1.0]))
    assert torch.allclose(moved[:, :, :-2, 1:], images[:, :, 2:, :-1], atol=1e-6)
    assert torch.allclose(moved[:, :, -1, 1:], images[:, :, -1, :-1], atol=1e-6)
    assert torch.allclose(views.see(images.flip(-1), torch.tensor([1.07, 0.0, 0.0])).flip(-1),
                          views.see(images, torch.tensor([1.07, 0.0, 0.0])), atol=1e-6)  # fmt: skip
    drawn = views.draw(500, seed=1)
    assert torch.equal(drawn, views.draw(500, seed=1)) and not torch.equal(drawn, views.draw(500, seed=2))
    for column, low, high in ((0, 0.9, 1.1), (1, -2.0, 2.0), (2, -2.0, 2.0)):
        span = high - low
        assert low <= drawn[:, column].min() < low + 0.1 * span
        assert high - 0.1 * span < drawn[:, column].max() <= high
