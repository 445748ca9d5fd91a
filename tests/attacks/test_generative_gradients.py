"""Attacks on gradients that search a generator: what it can draw comes back, within the budget."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.api import (
    Adversary,
    GradientObservation,
    HookContext,
    ImageSet,
    IncompatibleError,
    Reconstruction,
)
from bench.api.defense import DefenseView
from bench.api.generator import ImageGenerator
from bench.plugins import build_attack, build_defense
from tests.engine.devices import moved
from tests.engine.observations import batches, digits, observation

LATENT = 4
ATTACKS = ["ggl", "gias"]
SHORT = {"candidates": 8, "followed": 2}
EVOLVED = {"optimiser": "cma", "population": 6, "candidates": 4}


@cache
def decoder() -> nn.Module:
    """A generator that has learned nothing; blurred, since an image of noise tells a convolution little."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Linear(LATENT, 64), nn.Unflatten(1, (1, 8, 8)), nn.Upsample(scale_factor=4, mode="bilinear")
        )
    network[0].weight.data.mul_(3)
    return nn.Sequential(network, nn.Sigmoid()).eval().requires_grad_(False)


def drawn(victims: int, size: int = 1) -> tuple[Tensor, Tensor]:
    """Private images that the generator can draw, with labels."""
    latents = torch.randn(victims * size, LATENT, generator=torch.Generator().manual_seed(7))
    return decoder()(latents).view(victims, size, 1, 32, 32), batches(victims, size)[1]


def seen_by(images: Tensor, labels: Tensor, **more: Any) -> GradientObservation:
    generator = ImageGenerator(decoder=decoder(), latent_size=LATENT)
    return replace(observation("convnet", images, labels, **more), generator=generator)


def rebuild(
    name: str, seen: GradientObservation, *, budget: int, seed: int = 0, **more: Any
) -> Reconstruction:
    return build_attack(name, {**SHORT, **more}).reconstruct(seen, budget=budget, seed=seed)


def error(found: Reconstruction, images: Tensor) -> float:
    return (found.images - images).square().mean().item()


@dataclass(frozen=True)
class Negative:
    """Clients compute on negatives; the attacker's copy of that has nothing to learn."""

    def shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return image_shape

    def project(self, inputs: Tensor) -> Tensor:
        return inputs.clamp(0, 1)

    def learn(self, auxiliary: ImageSet, *, num_classes: int, seed: int) -> Negative:
        return self

    def inputs(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        assert labels is not None and len(labels) == len(images)
        return 1 - images

    def perturbed(self, inputs: Tensor) -> Tensor:
        return inputs

    def images(self, inputs: Tensor) -> Tensor:
        return 1 - inputs


@pytest.mark.parametrize("matching", ["cosine", "tensors", "euclidean"])
@pytest.mark.parametrize("name", ATTACKS)
def test_what_the_generator_can_draw_comes_back(name: str, matching: str) -> None:
    images, labels = drawn(2)
    found = rebuild(name, seen_by(images, labels), budget=120, matching=matching, kl=1e-4, candidates=30)
    assert found.labels is not None and torch.equal(found.labels, labels)
    assert error(found, images) < 0.2 * (images - images.mean()).square().mean().item()


def test_an_evolution_strategy_comes_back_to_it_too() -> None:
    images, labels = drawn(2)
    more = {**EVOLVED, "candidates": 40, "kl": 1e-4, "population": 10}
    found = rebuild("ggl", seen_by(images, labels), budget=300, **more)
    assert error(found, images) < 0.1 * (images - images.mean()).square().mean().item()


def test_weights_fit_what_no_latent_can_draw() -> None:
    """The second phase goes on where the first has to stop."""
    images, labels = batches(3, 1)
    seen = seen_by(images, labels)
    latents_only = rebuild("gias", seen, budget=120, latent_share=1.0, evaluations=120)
    adapted = rebuild("gias", seen, budget=120, latent_share=0.3, evaluations=120, weights_rate=0.02)
    assert (adapted.cost < latents_only.cost).all()


@pytest.mark.parametrize(("name", "more"), [("ggl", {}), ("ggl", EVOLVED), ("gias", {})])
@pytest.mark.parametrize("size", [1, 4])
def test_a_victim_depends_on_nobody_else(name: str, more: dict[str, Any], size: int) -> None:
    seen = seen_by(*drawn(3, size))
    together = rebuild(name, seen, budget=24, **more)
    order = torch.tensor([2, 0])
    some = rebuild(name, seen.select(order), budget=24, **more)
    assert together.images.shape == (3, size, 1, 32, 32)
    torch.testing.assert_close(some.images, together.images[order], atol=1e-3, rtol=1e-3)
    assert torch.equal(some.evaluations, together.evaluations[order])
    again = rebuild(name, seen, budget=24, **more)
    assert torch.equal(again.images, together.images)
    assert not torch.equal(rebuild(name, seen, budget=24, seed=1, **more).images, together.images)


@pytest.mark.parametrize("budget", [1, 2, 9, 50])
@pytest.mark.parametrize(("name", "more"), [("ggl", {}), ("ggl", EVOLVED), ("gias", {})])
def test_the_budget_holds(name: str, more: dict[str, Any], budget: int) -> None:
    found = rebuild(name, seen_by(*drawn(2)), budget=budget, **more)
    assert ((found.evaluations > 0) & (found.evaluations <= budget)).all()
    assert found.images.isfinite().all() and (found.images >= 0).all() and (found.images <= 1).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_a_small_memory_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = seen_by(*drawn(3))
    large = rebuild(name, seen, budget=20)
    monkeypatch.setattr("bench.engine.memory._limit", 1)
    torch.testing.assert_close(rebuild(name, seen, budget=20).images, large.images, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize(
    ("defense", "parameters"), [("noise", {"sigma": 0.003}), ("pruning", {"ratio": 0.9})]
)
def test_an_adaptive_attacker_uses_the_defense(name: str, defense: str, parameters: dict[str, Any]) -> None:
    """It minimises another cost than a naive one does, and still finds something of the images."""
    shield = build_defense(defense, parameters)
    images, labels = drawn(3)
    plain = seen_by(images, labels, adversary=Adversary.ADAPTIVE)
    context = HookContext(generator=torch.Generator().manual_seed(0), batch_size=1)
    sent = shield.gradients(plain.gradients, context)
    seen = replace(plain, gradients=sent, defense=shield.view())
    adaptive, naive = rebuild(name, seen, budget=60), rebuild(name, replace(seen, defense=None), budget=60)
    assert not torch.allclose(adaptive.cost, naive.cost)
    assert error(adaptive, images) < (images - images.mean()).square().mean().item()


@pytest.mark.parametrize("name", ATTACKS)
def test_what_cannot_be_searched_is_refused_with_a_reason(name: str) -> None:
    seen = seen_by(*drawn(2))
    with pytest.raises(IncompatibleError, match="has none"):
        rebuild(name, replace(seen, generator=None), budget=10)
    with pytest.raises(IncompatibleError, match="auxiliary images are needed"):
        rebuild(name, replace(seen, defense=DefenseView(transform=Negative())), budget=10)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("size", [1, 2])
def test_a_known_transform_of_the_inputs_is_searched_through(name: str, size: int) -> None:
    images, labels = drawn(2, size)
    known = DefenseView(transform=Negative())
    seen = replace(seen_by(1 - images, labels, auxiliary=digits().auxiliary), defense=known)
    more: dict[str, Any] = {"kl": 1e-4, "candidates": 30, "matching": "cosine"}
    weight = {"kl_imitated": 1e-4} if name == "ggl" else {}
    found = rebuild(name, seen, budget=120, imitations=1, **more, **weight)
    naive = rebuild(name, replace(seen, defense=None), budget=120, **more)
    variance = (images - images.mean()).square().mean().item()
    assert error(found, images) < (0.05 if size == 1 else 0.5) * variance < error(naive, images)
    assert (found.evaluations <= 120).all()


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "more"), [("ggl", {}), ("ggl", EVOLVED), ("gias", {})])
def test_a_gpu_finds_what_a_cpu_finds(name: str, more: dict[str, Any]) -> None:
    """In float64, in which the other order of sums stays below what a search makes of it."""
    seen = seen_by(*drawn(3), dtype=torch.float64)
    decoder_in_double = copy.deepcopy(decoder()).double()
    seen = replace(seen, generator=ImageGenerator(decoder=decoder_in_double, latent_size=LATENT))
    there = moved(seen, "cuda")
    want = rebuild(name, seen, budget=24, **more)
    got = rebuild(name, there, budget=24, **more)
    assert got.images.device == there.reference.device
    assert torch.equal(got.evaluations.cpu(), want.evaluations)
    assert (got.images.cpu() - want.images).abs().median() < 1e-4
