"""A learned decoder: blurred images without a defense, and an attacker who learns under the defense."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.api import (
    Access,
    Adversary,
    Channel,
    DefenseView,
    ImageSet,
    IncompatibleError,
    SmashedObservation,
    ThreatModel,
)
from bench.attacks.inverse_network.decoder import Decoder
from bench.metrics.pixel import psnr
from bench.models.split import ClientHalf, SplitModel
from bench.plugins import build_attack
from tests.engine.observations import DIGITS, batches, digits, drawn

SHORT = {"steps": 60, "width": 16}


def client() -> ClientHalf:
    network = drawn("splitnet_deep", 0)
    assert isinstance(network, SplitModel)
    return ClientHalf(network.requires_grad_(False), DIGITS)


def seen_by(half: nn.Module, activations: Tensor, view: DefenseView | None = None) -> SmashedObservation:
    adversary = Adversary.NAIVE if view is None else Adversary.ADAPTIVE
    owned = digits().auxiliary
    threat = ThreatModel(
        channel=Channel.SMASHED, adversary=adversary, batch_size=2, access=Access.QUERY, auxiliary=True
    )
    return SmashedObservation(
        threat=threat,
        activations=activations,
        model=drawn("splitnet_deep", 1),
        server=nn.Identity(),
        image_shape=DIGITS,
        num_classes=10,
        ids=torch.arange(len(activations)),
        query=half,
        defense=view,
        auxiliary=ImageSet(owned.images[:400], owned.labels[:400]),
    )


def released(half: nn.Module, images: Tensor) -> Tensor:
    activations: Tensor = half(images.flatten(0, 1))
    return activations.unflatten(0, images.shape[:2])


def quality(seen: SmashedObservation, images: Tensor) -> float:
    found = build_attack("inverse_network", SHORT).reconstruct(seen, budget=1000, seed=0)
    assert found.images.shape == images.shape and found.labels is None
    assert (found.evaluations == 60).all() and found.cost.isfinite().all()
    return psnr(found.images.flatten(0, 1), images.flatten(0, 1)).mean().item()


def test_a_short_training_already_beats_the_mean_image() -> None:
    images, _ = batches(8, 2)
    half = client()
    mean = digits().auxiliary.images.mean(0).expand(16, -1, -1, -1)
    assert quality(seen_by(half, released(half, images)), images) > (
        psnr(images.flatten(0, 1), mean).mean().item() + 3
    )


def noise(activations: Tensor, generator: torch.Generator) -> Tensor:
    return activations + torch.randn(activations.shape, generator=generator)


def test_who_learns_under_the_noise_undoes_more_of_it() -> None:
    images, _ = batches(8, 2)
    half = client()
    sent = noise(released(half, images), torch.Generator().manual_seed(1))
    naive = quality(seen_by(half, sent), images)
    assert quality(seen_by(half, sent, DefenseView(release=noise)), images) > naive + 0.4


class Negative:
    """Clients send the negative of their images."""

    def shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return image_shape

    def project(self, inputs: Tensor) -> Tensor:
        return inputs.clamp(0, 1)

    def learn(self, auxiliary: ImageSet, *, num_classes: int, seed: int) -> Negative:
        return self

    def inputs(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return 1 - images

    def perturbed(self, inputs: Tensor) -> Tensor:
        return inputs

    def images(self, inputs: Tensor) -> Tensor:
        return 1 - inputs


def test_who_knows_the_transform_sends_what_clients_send() -> None:
    images, _ = batches(8, 2)
    half = client()
    sent = released(half, 1 - images)
    naive = quality(seen_by(half, sent), images)
    assert quality(seen_by(half, sent, DefenseView(transform=Negative())), images) > naive + 3


def test_the_seed_decides_the_budget_bounds_and_the_global_generator_stays() -> None:
    images, _ = batches(2, 2)
    half = client()
    seen = seen_by(half, released(half, images))
    attack = build_attack("inverse_network", SHORT)
    state = torch.get_rng_state()
    first, again, other = (attack.reconstruct(seen, budget=4, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images) and not torch.equal(first.images, other.images)
    assert (first.evaluations == 4).all()
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("shape", [(7,), (4, 5, 3), (4, 1, 1), (3, 32, 32)])
def test_the_decoder_takes_activations_of_any_size(shape: tuple[int, ...]) -> None:
    activations = torch.rand(6, *shape, generator=torch.Generator().manual_seed(0))
    decoder = Decoder.drawn(activations, (3, 28, 20), width=8, seed=0)
    assert decoder(activations).shape == (6, 3, 28, 20)


def test_what_it_needs_is_asked_for() -> None:
    half = client()
    seen = seen_by(half, released(half, batches(1, 2)[0]))
    attack = build_attack("inverse_network", {})
    with pytest.raises(IncompatibleError, match="answers"):
        attack.reconstruct(replace(seen, query=None), budget=10, seed=0)
    with pytest.raises(IncompatibleError, match="auxiliary"):
        attack.reconstruct(replace(seen, auxiliary=None), budget=10, seed=0)
