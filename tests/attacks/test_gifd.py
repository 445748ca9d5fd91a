"""GIFD: features find what no latent can draw, inside their balls and the budget."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.api import Adversary, GradientObservation, HookContext, IncompatibleError, Reconstruction
from bench.api.defense import DefenseView
from bench.api.generator import ImageGenerator
from bench.metrics.pixel import psnr
from bench.plugins import build_attack, build_defense
from tests.attacks.test_generative_gradients import Negative
from tests.engine.observations import batches, digits, observation

LATENT = 4
SHORT = {"candidates": 8, "followed": 2, "feature_rate": 0.1}


class Blurred(nn.Module):
    """A generator that has learned nothing, in three blocks; each can draw more than those before."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(LATENT, 64)
        self.second = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Upsample(scale_factor=2, mode="bilinear"))
        self.last = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Sigmoid())

    def blocks(self) -> tuple[nn.Module, ...]:
        return self.first, self.second, self.last

    def forward(self, latents: Tensor) -> Tensor:
        images: Tensor = self.last(self.second(self.first(latents)))
        return images


@cache
def generator() -> ImageGenerator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = Blurred()
    decoder.first.weight.data.mul_(3)
    return ImageGenerator(decoder=decoder.eval().requires_grad_(False), latent_size=LATENT)


def drawn(victims: int, size: int = 1) -> tuple[Tensor, Tensor]:
    """Private images that the generator can draw, with labels."""
    latents = torch.randn(victims * size, LATENT, generator=torch.Generator().manual_seed(7))
    return generator().decoder(latents).view(victims, size, 1, 32, 32), batches(victims, size)[1]


def seen_by(images: Tensor, labels: Tensor, **more: Any) -> GradientObservation:
    return replace(observation("convnet", images, labels, **more), generator=generator())


def rebuild(seen: GradientObservation, *, budget: int, seed: int = 0, **more: Any) -> Reconstruction:
    return build_attack("gifd", {**SHORT, **more}).reconstruct(seen, budget=budget, seed=seed)


def quality(found: Reconstruction, images: Tensor) -> float:
    return psnr(found.images.flatten(0, 1), images.flatten(0, 1)).mean().item()


@pytest.mark.parametrize("matching", ["cosine", "euclidean"])
def test_what_the_generator_can_draw_comes_back(matching: str) -> None:
    images, labels = drawn(2)
    found = rebuild(seen_by(images, labels), budget=120, matching=matching, kl=1e-4, candidates=30)
    assert found.labels is not None and torch.equal(found.labels, labels)
    assert (
        quality(found, images) > 17 > quality(replace(found, images=images.mean().expand_as(images)), images)
    )


def test_each_layer_fits_more_of_what_no_latent_can_draw() -> None:
    images, labels = batches(3, 1)
    seen = seen_by(images, labels)
    share = {0: 1.0, 1: 0.6, 2: 0.4}
    found = [
        rebuild(seen, budget=150, layers=layers, latent_share=share[layers], radius=2.0)
        for layers in range(3)
    ]
    assert (found[1].cost < found[0].cost).all() and (found[2].cost < found[1].cost).all()
    assert quality(found[0], images) < quality(found[1], images) < quality(found[2], images)
    assert quality(found[2], images) > 13


def test_features_stay_near_the_best_latents() -> None:
    """In a ball of radius zero every layer draws the latent's image; in a small one nearly."""
    seen = seen_by(*batches(2, 2))
    more = {"latent_share": 0.5, "candidates": 4}
    still = rebuild(seen, budget=40, radius=0.0, **more)
    latents = rebuild(seen, budget=40, layers=0, **more)
    torch.testing.assert_close(still.images, latents.images, atol=1e-6, rtol=0)
    near, far = (rebuild(seen, budget=40, radius=radius, **more) for radius in (0.01, 1.0))
    moved, further = ((found.images - still.images).abs().mean() for found in (near, far))
    assert 0 < moved < 0.01 < further


@pytest.mark.parametrize("size", [1, 4])
def test_a_victim_depends_on_nobody_else(size: int) -> None:
    seen = seen_by(*drawn(3, size))
    together = rebuild(seen, budget=40)
    order = torch.tensor([2, 0])
    some = rebuild(seen.select(order), budget=40)
    assert together.images.shape == (3, size, 1, 32, 32)
    torch.testing.assert_close(some.images, together.images[order], atol=1e-3, rtol=1e-3)
    assert torch.equal(some.evaluations, together.evaluations[order])
    assert torch.equal(rebuild(seen, budget=40).images, together.images)
    assert not torch.equal(rebuild(seen, budget=40, seed=1).images, together.images)


def test_a_small_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = seen_by(*drawn(3))
    large = rebuild(seen, budget=20)
    monkeypatch.setattr("bench.engine.memory._limit", 1)
    torch.testing.assert_close(rebuild(seen, budget=20).images, large.images, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("budget", [1, 3, 20])
def test_the_budget_holds(budget: int) -> None:
    found = rebuild(seen_by(*drawn(2)), budget=budget)
    assert ((found.evaluations > 0) & (found.evaluations <= budget)).all()
    assert found.images.isfinite().all() and (found.images >= 0).all() and (found.images <= 1).all()
    assert found.cost.isfinite().all()


@pytest.mark.parametrize(
    ("defense", "parameters"), [("noise", {"sigma": 0.003}), ("pruning", {"ratio": 0.9})]
)
def test_an_adaptive_attacker_uses_the_defense(defense: str, parameters: dict[str, Any]) -> None:
    shield = build_defense(defense, parameters)
    images, labels = drawn(3)
    plain = seen_by(images, labels, adversary=Adversary.ADAPTIVE)
    context = HookContext(generator=torch.Generator().manual_seed(0), batch_size=1)
    seen = replace(plain, gradients=shield.gradients(plain.gradients, context), defense=shield.view())
    adaptive, naive = rebuild(seen, budget=60), rebuild(replace(seen, defense=None), budget=60)
    assert not torch.allclose(adaptive.cost, naive.cost)
    assert quality(adaptive, images) > quality(replace(naive, images=images.mean().expand_as(images)), images)


def test_a_known_transform_of_the_inputs_is_searched_through() -> None:
    images, labels = drawn(2)
    known = DefenseView(transform=Negative())
    seen = replace(seen_by(1 - images, labels, auxiliary=digits().auxiliary), defense=known)
    more: dict[str, Any] = {"kl": 1e-4, "candidates": 30, "matching": "cosine", "radius": 0.3}
    found = rebuild(seen, budget=120, imitations=1, **more)
    naive = rebuild(replace(seen, defense=None), budget=120, **more)
    assert quality(found, images) > 17 > quality(naive, images)
    with pytest.raises(IncompatibleError, match="auxiliary images are needed"):
        rebuild(replace(seen, auxiliary=None), budget=10)


def test_what_cannot_be_searched_is_refused_with_a_reason() -> None:
    seen = seen_by(*drawn(2))
    with pytest.raises(IncompatibleError, match="has none"):
        rebuild(replace(seen, generator=None), budget=10)
    whole = ImageGenerator(decoder=nn.Sequential(generator().decoder), latent_size=LATENT)
    with pytest.raises(IncompatibleError, match="names no blocks"):
        rebuild(replace(seen, generator=whole), budget=10)
