"""GLASS: a generator's latent and the pixels around it explain activations, whatever clients do to images."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from bench.api import (
    Access,
    Adversary,
    Channel,
    DefenseView,
    Gradients,
    HookContext,
    ImageGenerator,
    ImageSet,
    IncompatibleError,
    Phase,
    Reconstruction,
    SmashedObservation,
    ThreatModel,
)
from bench.metrics.pixel import psnr
from bench.models.split import ClientHalf, SplitModel
from bench.plugins import build_attack, build_defense
from tests.engine.observations import DIGITS, batches, digits, drawn

LATENT = 4
SIGMA = 1.0
SHORT = {"candidates": 20}


@cache
def decoder() -> nn.Module:
    """A generator that has learned nothing; blurred, since an image of noise tells a convolution little."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Linear(LATENT, 64), nn.Unflatten(1, (1, 8, 8)), nn.Upsample(scale_factor=4, mode="bilinear")
        )
    network[0].weight.data.mul_(3)
    return nn.Sequential(network, nn.Sigmoid()).eval().requires_grad_(False)


def made(victims: int, size: int = 1) -> Tensor:
    """Private images ``[N, B, C, H, W]`` that the generator can draw."""
    latents = torch.randn(victims * size, LATENT, generator=torch.Generator().manual_seed(7))
    images: Tensor = decoder()(latents)
    return images.unflatten(0, (victims, size))


def client(name: str) -> ClientHalf:
    network = drawn(name, 0)
    assert isinstance(network, SplitModel)
    return ClientHalf(network.requires_grad_(False), DIGITS)


def sent(half: nn.Module, images: Tensor) -> Tensor:
    activations: Tensor = half(images.flatten(0, 1))
    return activations.unflatten(0, images.shape[:2])


def seen_by(
    half: nn.Module, activations: Tensor, view: DefenseView | None = None, labels: Tensor | None = None
) -> SmashedObservation:
    threat = ThreatModel(
        channel=Channel.SMASHED,
        adversary=Adversary.NAIVE if view is None else Adversary.ADAPTIVE,
        batch_size=activations.shape[1],
        access=Access.WEIGHTS,
        generator=True,
        labels_known=labels is not None,
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
        labels=labels,
        defense=view,
        generator=ImageGenerator(decoder=decoder(), latent_size=LATENT),
    )


def rebuild(seen: SmashedObservation, *, budget: int, seed: int = 0, **more: Any) -> Reconstruction:
    return build_attack("glass", {**SHORT, **more}).reconstruct(seen, budget=budget, seed=seed)


def quality(found: Reconstruction, images: Tensor) -> float:
    assert found.images.shape == images.shape
    return psnr(found.images.flatten(0, 1), images.flatten(0, 1)).mean().item()


def test_what_the_generator_can_draw_comes_back_from_a_deep_cut() -> None:
    images, half = made(3), client("splitnet_deep")
    found = rebuild(seen_by(half, sent(half, images)), budget=300, latent_share=1.0)
    assert quality(found, images) > 30
    assert found.labels is None and (found.evaluations <= 300).all()


def test_pixels_fit_what_no_latent_can_draw() -> None:
    images, half = batches(3, 1)[0], client("splitnet")
    seen = seen_by(half, sent(half, images))
    latents_only = rebuild(seen, budget=120, latent_share=1.0)
    both = rebuild(seen, budget=120, latent_share=0.3)
    assert (both.cost < latents_only.cost).all()
    assert quality(both, images) > max(25, quality(latents_only, images) + 8)


@pytest.mark.parametrize("size", [1, 3])
def test_a_victim_depends_on_nobody_else(size: int) -> None:
    half = client("splitnet_deep")
    seen = seen_by(half, sent(half, batches(3, size)[0]))
    together = rebuild(seen, budget=40)
    order = torch.tensor([2, 0])
    some = rebuild(seen.select(order), budget=40)
    assert together.images.shape == (3, size, *DIGITS)
    torch.testing.assert_close(some.images, together.images[order], atol=1e-3, rtol=1e-3)
    assert torch.equal(some.evaluations, together.evaluations[order])
    assert torch.equal(rebuild(seen, budget=40).images, together.images)
    assert not torch.equal(rebuild(seen, budget=40, seed=1).images, together.images)


@pytest.mark.parametrize("budget", [1, 2, 9, 50])
def test_the_budget_holds_by_one_path_and_by_several(budget: int) -> None:
    images, half = made(2), carriers_half()
    view = DefenseView(transform=Brighter())
    several = replace(seen_by(half, sent_brighter(half, images)[0], view), auxiliary=few(), server=blind())
    for seen in (seen_by(client("splitnet_deep"), sent(client("splitnet_deep"), images)), several):
        found = rebuild(seen, budget=budget)
        assert ((found.evaluations > 0) & (found.evaluations <= budget)).all()
        assert found.images.isfinite().all() and (found.images >= 0).all() and (found.images <= 1).all()


def gaussian(candidate: Gradients, observed: Gradients) -> Tensor:
    error = candidate["activations"] - observed["activations"]
    return error.square().flatten(1).sum(1) / (2 * SIGMA**2)


def test_who_knows_the_noise_uses_its_likelihood() -> None:
    images, half = made(4), client("splitnet")
    clean = sent(half, images)
    noisy = clean + SIGMA * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    naive = rebuild(seen_by(half, noisy), budget=150)
    adaptive = rebuild(seen_by(half, noisy, DefenseView(negative_log_likelihood=gaussian)), budget=150)
    assert quality(adaptive, images) > quality(naive, images) + 3


def masked(activations: Tensor, generator: torch.Generator) -> Tensor:
    return 3 * activations * (torch.rand(activations.shape, generator=generator) < 1 / 3)


def test_who_knows_that_entries_are_withheld_matches_the_others_at_their_scale() -> None:
    images, half = made(3), client("splitnet_deep")
    withheld = masked(sent(half, images), torch.Generator().manual_seed(0))
    view = DefenseView(
        transmitted=lambda observed: {name: value != 0 for name, value in observed.items()}, release=masked
    )
    naive = rebuild(seen_by(half, withheld), budget=200, latent_share=1.0)
    adaptive = rebuild(seen_by(half, withheld, view), budget=200, latent_share=1.0)
    assert quality(adaptive, images) > max(25, quality(naive, images) + 5)


class Brighter:
    """Depends on the label: half the image, and a channel that is the brighter the higher the class."""

    def shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        return (2, *image_shape[1:])

    def project(self, inputs: Tensor) -> Tensor:
        return inputs.clamp(0, 1)

    def learn(self, auxiliary: ImageSet, *, num_classes: int, seed: int) -> Brighter:
        return self

    def inputs(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        classes = images.new_zeros(len(images)) if labels is None else labels.to(images.dtype)
        shift = 0.1 * classes[:, None, None, None]
        return torch.cat([0.5 * images + shift, shift.expand_as(images)], dim=1)

    def perturbed(self, inputs: Tensor) -> Tensor:
        return inputs[:, :1]

    def images(self, inputs: Tensor) -> Tensor:
        return 2 * (inputs[:, :1] - inputs[:, 1:])


@cache
def carriers_half() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = nn.Conv2d(2, 12, 3, padding=1)
    return nn.Sequential(layer, nn.ReLU(), nn.AvgPool2d(4)).requires_grad_(False)


def sent_brighter(half: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Activations of transformed images, and the labels for which they were transformed."""
    labels = torch.arange(images.shape[0] * images.shape[1]).view(images.shape[:2]) % 10 + 3
    activations: Tensor = half(Brighter().inputs(images.flatten(0, 1), labels.flatten()))
    return activations.unflatten(0, images.shape[:2]), labels


def few() -> ImageSet:
    own = digits().auxiliary
    return ImageSet(own.images[:64], own.labels[:64])


class Says(nn.Module):
    """A server's half that always answers the same classes."""

    def __init__(self, classes: Tensor) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, activations: Tensor) -> Tensor:
        return one_hot(self.classes[: len(activations)], 20).float()


def blind() -> nn.Module:
    return Says(torch.zeros(100, dtype=torch.int64))


def test_labels_tell_what_clients_did_and_come_from_the_server_if_they_are_not_given() -> None:
    images, half = made(3, 2), carriers_half()
    activations, labels = sent_brighter(half, images)
    view = DefenseView(transform=Brighter())
    told = replace(seen_by(half, activations, view, labels), auxiliary=few(), server=blind())
    read = replace(told, labels=None, server=Says(labels.flatten()))
    astray = replace(told, labels=None)
    given, inferred, wrong = (rebuild(seen, budget=450, latent_share=1.0) for seen in (told, read, astray))
    assert quality(given, images) > max(25, quality(wrong, images) + 5)
    assert torch.equal(given.images, inferred.images)


def test_who_knows_of_pgsl_rebuilds_what_it_hid() -> None:
    """With surrogates of its own, learned on other images than the client's."""
    images, labels = made(4), batches(4, 1)[1]
    defense = build_defense("pgsl", {"strength": 0.5, "surrogate_epochs": 4})
    network = defense.model(drawn("splitnet_deep", 0))
    assert isinstance(network, SplitModel)
    network.initialise(torch.Generator().manual_seed(0))
    chance = torch.Generator().manual_seed(1)
    context = HookContext(generator=chance, batch_size=1, phase=Phase.TRAIN, model=network)
    private = digits().private_train
    defense.prepare(network, ImageSet(private.images[:300], private.labels[:300]), context)
    inputs, _ = defense.inputs(images, labels, context)
    half = ClientHalf(network.requires_grad_(False), DIGITS)
    naive = seen_by(half, sent(half, inputs), labels=labels)
    owned = digits().auxiliary
    adaptive = replace(
        seen_by(half, sent(half, inputs), defense.view(), labels),
        auxiliary=ImageSet(owned.images[:300], owned.labels[:300]),
    )
    fooled, knowing = (rebuild(seen, budget=160, latent_share=0.9) for seen in (naive, adaptive))
    assert quality(knowing, images) > quality(fooled, images) + 2


def test_what_it_needs_is_asked_for() -> None:
    half = client("splitnet")
    seen = seen_by(half, sent(half, made(1)))
    with pytest.raises(IncompatibleError, match="weights"):
        rebuild(replace(seen, client=None), budget=10)
    with pytest.raises(IncompatibleError, match="generator"):
        rebuild(replace(seen, generator=None), budget=10)
    with pytest.raises(IncompatibleError, match="auxiliary"):
        rebuild(replace(seen, defense=DefenseView(transform=Brighter())), budget=10)


@pytest.mark.gpu
def test_a_gpu_finds_what_a_cpu_finds() -> None:
    """In float64, in which the other order of sums stays below what a search makes of it."""
    images, half = made(3).double(), client("splitnet_deep").double()
    prior = ImageGenerator(decoder=deepcopy(decoder()).double(), latent_size=LATENT)
    here = replace(seen_by(half, sent(half, images)), generator=prior)
    there = replace(
        here,
        activations=here.activations.to("cuda"),
        ids=here.ids.to("cuda"),
        client=deepcopy(half).to("cuda"),
        generator=replace(prior, decoder=deepcopy(prior.decoder).to("cuda")),
    )
    want, got = rebuild(here, budget=150), rebuild(there, budget=150)
    assert got.images.device == there.activations.device
    assert torch.equal(got.evaluations.cpu(), want.evaluations)
    assert (got.images.cpu() - want.images).abs().median() < 1e-4
