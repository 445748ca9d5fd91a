"""What an attack and its plain loop are measured on: releases and, where needed, a generator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from bench.api import (
    Access,
    Adversary,
    Channel,
    GradientObservation,
    ImageGenerator,
    ImageSet,
    SmashedObservation,
    Splits,
    ThreatModel,
)
from bench.check.materials.generator import briefly_trained
from bench.engine.gradients import one_hot
from bench.engine.labels import single_labels
from bench.models.build import build_model
from bench.models.split import ClientHalf, SplitModel
from benchmarks import plain
from benchmarks.setting import splits, victims

SHAPE = (1, 32, 32)


@dataclass(frozen=True)
class Material:
    """N victims of one attack: what was released, and the images that are to be found."""

    images: Tensor
    observation: GradientObservation | SmashedObservation


@cache
def generator(device: str) -> ImageGenerator:
    """A generator that was trained for some seconds: it costs what a good one costs, and draws worse."""
    on_cpu: Splits = splits(0)
    auxiliary = ImageSet(on_cpu.auxiliary.images.to(device), on_cpu.auxiliary.labels.to(device))
    return briefly_trained("wgan_gp", replace(on_cpu, auxiliary=auxiliary), SHAPE)


def material(attack: str, model: str, count: int, device: str) -> Material:
    """``count`` undefended releases at round 0, one image each."""
    if attack == "rmle":
        return _activations(model, count, device)
    found = victims(model, count, device=device)
    seen: GradientObservation = found.observation
    if attack == "ggl":
        threat = replace(seen.threat, generator=True)
        seen = replace(seen, threat=threat, generator=generator(device))
    return Material(found.images, seen)


def _activations(model: str, count: int, device: str) -> Material:
    network = build_model(model, num_classes=10, image_shape=SHAPE)
    assert isinstance(network, SplitModel)
    network.initialise(torch.Generator().manual_seed(0))
    half = ClientHalf(network.requires_grad_(False).to(device), SHAPE)
    images = splits(0).private_train.images[:count].unsqueeze(1).to(device)
    with torch.no_grad():
        sent = half(images.flatten(0, 1)).unflatten(0, images.shape[:2])
    threat = ThreatModel(
        channel=Channel.SMASHED, adversary=Adversary.NAIVE, batch_size=1, access=Access.WEIGHTS
    )
    seen = SmashedObservation(
        threat=threat,
        activations=sent,
        model=network,
        server=network.server,
        image_shape=SHAPE,
        num_classes=10,
        ids=torch.arange(count, device=device),
        client=half,
    )
    return Material(images, seen)


def looped(attack: str, seen: GradientObservation | SmashedObservation, budget: int) -> list[plain.Found]:
    """The plain loop on every victim, one after another."""
    if isinstance(seen, SmashedObservation):
        assert seen.client is not None
        return [
            plain.activation_loop(seen.client, sent, SHAPE, iterations=budget) for sent in seen.activations
        ]
    labels = one_hot(single_labels(seen), 10)
    return [_gradient_loop(attack, seen, victim, labels[victim], budget) for victim in range(seen.victims)]


def _gradient_loop(
    attack: str, seen: GradientObservation, victim: int, label: Tensor, budget: int
) -> plain.Found:
    observed = [value[victim] for value in seen.gradients.values()]
    model, weights = seen.model, dict(seen.parameters)
    if attack == "inverting_gradients":
        return plain.signed_adam_loop(
            model, weights, observed, SHAPE, label=label, iterations=budget, seed=victim
        )
    if attack == "ggl":
        assert seen.generator is not None
        decoder, size = seen.generator.decoder, seen.generator.latent_size
        return plain.latent_loop(
            model, weights, observed, decoder, size, label=label, iterations=budget, seed=victim
        )
    known = None if attack == "dlg" else label
    return plain.lbfgs_loop(model, weights, observed, SHAPE, label=known, budget=budget, seed=victim)
