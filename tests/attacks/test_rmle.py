"""White-box inversion of activations: near perfect without a defense; who knows a defense gets more."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pixel_shuffle, pixel_unshuffle

from bench.api import (
    Access,
    Adversary,
    Channel,
    DefenseView,
    Gradients,
    ImageSet,
    IncompatibleError,
    Reconstruction,
    SmashedObservation,
    ThreatModel,
)
from bench.metrics.pixel import psnr
from bench.models.split import ClientHalf, SplitModel
from bench.plugins import build_attack
from tests.engine.observations import DIGITS, batches, digits, drawn

SIGMA = 0.3


def client(name: str = "splitnet") -> ClientHalf:
    network = drawn(name, 0)
    assert isinstance(network, SplitModel)
    return ClientHalf(network.requires_grad_(False), DIGITS)


def seen_by(
    half: nn.Module, activations: Tensor, batch_size: int, view: DefenseView | None = None
) -> SmashedObservation:
    adversary = Adversary.NAIVE if view is None else Adversary.ADAPTIVE
    threat = ThreatModel(
        channel=Channel.SMASHED, adversary=adversary, batch_size=batch_size, access=Access.WEIGHTS
    )
    return SmashedObservation(
        threat=threat,
        activations=activations,
        model=drawn("splitnet", 1),
        server=nn.Identity(),
        image_shape=DIGITS,
        num_classes=10,
        ids=torch.arange(len(activations)),
        client=half,
        defense=view,
    )


def quality(found: Reconstruction, images: Tensor) -> float:
    assert found.images.shape == images.shape and found.labels is None
    assert found.cost.shape == found.evaluations.shape == images.shape[:1]
    return psnr(found.images.flatten(0, 1), images.flatten(0, 1)).mean().item()


def sent(half: nn.Module, images: Tensor) -> Tensor:
    activations: Tensor = half(images.flatten(0, 1))
    return activations.unflatten(0, images.shape[:2])


def test_a_shallow_cut_gives_every_image_of_a_batch() -> None:
    images, _ = batches(2, 2)
    half = client()
    found = build_attack("rmle", {}).reconstruct(seen_by(half, sent(half, images), 2), budget=150, seed=0)
    assert quality(found, images) >= 45
    assert (found.evaluations == 125).all()


def test_images_behind_a_deep_cut_start_again_within_the_budget() -> None:
    images, _ = batches(4, 1)
    half = client("splitnet_deep")
    seen = seen_by(half, sent(half, images), 1)
    once = build_attack("rmle", {"restarts": 0}).reconstruct(seen, budget=500, seed=0)
    again = build_attack("rmle", {}).reconstruct(seen, budget=500, seed=0)
    assert (again.evaluations <= 500).all() and (again.evaluations > once.evaluations).any()
    assert (again.cost <= once.cost).all() and quality(again, images) > quality(once, images)


def test_a_small_budget_is_kept_and_victims_do_not_change_each_other() -> None:
    images, _ = batches(3, 1)
    half = client()
    seen = seen_by(half, sent(half, images), 1)
    attack = build_attack("rmle", {})
    all_of_them = attack.reconstruct(seen, budget=10, seed=0)
    assert (all_of_them.evaluations == 10).all()
    alone = attack.reconstruct(seen.select(torch.tensor([2])), budget=10, seed=0)
    assert torch.allclose(alone.images[0], all_of_them.images[2], atol=1e-3)


def gaussian(candidate: Gradients, observed: Gradients) -> Tensor:
    error = candidate["activations"] - observed["activations"]
    return error.square().flatten(1).sum(1) / (2 * SIGMA**2)


def test_who_knows_the_noise_uses_its_likelihood() -> None:
    images, _ = batches(4, 1)
    half = client()
    clean = sent(half, images)
    noisy = clean + SIGMA * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    attack = build_attack("rmle", {"restarts": 0})
    naive = attack.reconstruct(seen_by(half, noisy, 1), budget=100, seed=0)
    view = DefenseView(negative_log_likelihood=gaussian)
    adaptive = attack.reconstruct(seen_by(half, noisy, 1, view), budget=100, seed=0)
    assert quality(adaptive, images) > quality(naive, images) + 0.5


def masked(activations: Tensor, generator: torch.Generator) -> Tensor:
    return 3 * activations * (torch.rand(activations.shape, generator=generator) < 1 / 3)


def test_who_knows_that_entries_are_withheld_matches_the_others_at_their_scale() -> None:
    images, _ = batches(4, 1)
    half = client()
    withheld = masked(sent(half, images), torch.Generator().manual_seed(0))
    attack = build_attack("rmle", {"restarts": 1})
    naive = attack.reconstruct(seen_by(half, withheld, 1), budget=250, seed=0)
    view = DefenseView(
        transmitted=lambda observed: {name: value != 0 for name, value in observed.items()}, release=masked
    )
    adaptive = attack.reconstruct(seen_by(half, withheld, 1, view), budget=250, seed=0)
    assert quality(adaptive, images) > max(25, quality(naive, images) + 8)


class Shift:
    """A transform: x^ = min(x + 0.2, 1) in 2x2 blocks, with the mean change as a fifth channel."""

    def shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return (5, image_shape[1] // 2, image_shape[2] // 2)

    def project(self, inputs: Tensor) -> Tensor:
        return inputs.clamp(0, 1)

    def learn(self, auxiliary: ImageSet, *, num_classes: int, seed: int) -> Shift:
        return self

    def inputs(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        moved = (images + 0.2).clamp(0, 1)
        return torch.cat([pixel_unshuffle(moved, 2), avg_pool2d(moved - images, 2)], dim=1)

    def perturbed(self, inputs: Tensor) -> Tensor:
        return pixel_shuffle(inputs[:, :-1], 2)

    def images(self, inputs: Tensor) -> Tensor:
        return self.perturbed(inputs) - 0.2


@pytest.mark.parametrize("removal", ["subtract", "fixed_point", "learned"])
def test_a_known_transform_is_searched_through_and_undone(removal: str) -> None:
    images, _ = batches(2, 2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        half = nn.Sequential(nn.Conv2d(5, 24, 3, padding=1), nn.ReLU()).requires_grad_(False)
    released = half(Shift().inputs(images.flatten(0, 1))).unflatten(0, (2, 2))
    seen = replace(seen_by(half, released, 2, DefenseView(transform=Shift())), auxiliary=digits().auxiliary)
    attack = build_attack("rmle", {"removal": removal, "removal_steps": 30})
    found = attack.reconstruct(seen, budget=200, seed=0)
    assert quality(found, images) > 22
    assert (found.evaluations <= 200).all()


def test_what_it_needs_is_asked_for() -> None:
    half = client()
    seen = seen_by(half, sent(half, batches(1, 1)[0]), 1)
    with pytest.raises(IncompatibleError, match="weights"):
        build_attack("rmle", {}).reconstruct(replace(seen, client=None), budget=10, seed=0)
    with pytest.raises(IncompatibleError, match="auxiliary"):
        build_attack("rmle", {}).reconstruct(
            replace(seen, defense=DefenseView(transform=Shift())), budget=10, seed=0
        )


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["splitnet", "splitnet_deep"])
def test_a_gpu_finds_what_a_cpu_finds(name: str) -> None:
    """In float64, in which the other order of sums stays below what a search makes of it."""
    images = batches(3, 1)[0].double()
    half = client(name).double()
    here = seen_by(half, sent(half, images), 1)
    there = replace(
        here,
        activations=here.activations.to("cuda"),
        ids=here.ids.to("cuda"),
        client=deepcopy(half).to("cuda"),
    )
    want = build_attack("rmle", {}).reconstruct(here, budget=150, seed=0)
    got = build_attack("rmle", {}).reconstruct(there, budget=150, seed=0)
    assert got.images.device == there.activations.device
    assert torch.equal(got.evaluations.cpu(), want.evaluations)
    assert (got.images.cpu() - want.images).abs().median() < 1e-4
