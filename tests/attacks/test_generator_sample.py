"""Blind draws from a generator: independent of each other and of the release, on every channel."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.api import BaseAttack, Channel, ImageGenerator, IncompatibleError, Reconstruction
from bench.api.smashed import SmashedObservation
from bench.api.threat import Access, Adversary, ThreatModel
from bench.engine.parametrise import starts
from bench.matrix.expand import expand
from bench.matrix.files import load_matrix
from bench.matrix.suites import load_suite
from bench.models.build import build_model
from bench.models.generators import LATENTS, Decoder
from bench.plugins import attack_card, build_attack
from bench.search_path import channel_names
from tests.engine.observations import observation

SHAPE = (1, 28, 20)
"""No side of which is a multiple of 8."""


def prior(seed: int = 0) -> ImageGenerator:
    decoder = Decoder.build(SHAPE, 4, torch.Generator().manual_seed(seed)).eval().requires_grad_(False)
    return ImageGenerator(decoder=decoder, latent_size=LATENTS)


def smashed(victims: int = 3, batch: int = 2, *, seed: int = 0) -> SmashedObservation:
    network = build_model("splitnet", num_classes=10, image_shape=SHAPE)
    return SmashedObservation(
        threat=ThreatModel(
            channel=Channel.SMASHED,
            adversary=Adversary.NAIVE,
            batch_size=batch,
            access=Access.WEIGHTS,
            generator=True,
        ),
        activations=torch.rand(victims, batch, 32, 14, 10, generator=torch.Generator().manual_seed(seed)),
        model=network,
        server=network.server,  # type: ignore[arg-type]
        image_shape=SHAPE,
        num_classes=10,
        ids=torch.arange(victims),
        generator=prior(),
    )


def run(seen: Any, *, seed: int = 0, **parameters: Any) -> Reconstruction:
    attack: BaseAttack[Any] = build_attack("generator_sample", parameters)
    return attack.reconstruct(seen, budget=100, seed=seed)


def images(seen: Any, **options: Any) -> Tensor:
    return run(seen, **options).images


def test_it_runs_on_every_channel_and_sees_nothing() -> None:
    card = attack_card("generator_sample")
    assert set(card.channels) == set(channel_names()) and not card.observes_release
    found = run(smashed())
    assert found.images.shape == (3, 2, *SHAPE)
    assert found.images.min() >= 0 and found.images.max() <= 1 and found.labels is None
    assert not found.evaluations.any() and not found.cost.any()
    assert torch.equal(images(smashed(seed=5)), found.images), "other activations, the same guess"


def test_the_first_draw_is_what_it_was_without_the_parameter() -> None:
    latents = starts(torch.arange(3), 2 * LATENTS, seed=7, like=torch.zeros(1)).view(-1, LATENTS)
    wanted = prior().decoder(latents).unflatten(0, (3, 2))
    assert torch.equal(images(smashed(), seed=7), wanted)
    assert torch.equal(images(smashed(), seed=7, draw=0), wanted)


def test_every_draw_is_another_guess_of_every_image() -> None:
    drawn = [images(smashed(40), seed=3, draw=draw).flatten(0, 1) for draw in range(4)]
    for one, other in combinations(drawn, 2):
        assert (one - other).flatten(1).abs().amax(1).min() > 1e-3
        centred = [(part - torch.cat(drawn).mean(0)).flatten(1) for part in (one, other)]
        alike = torch.nn.functional.cosine_similarity(*centred)
        assert alike.mean().abs() < 0.2, "draws must not resemble each other"
    assert torch.equal(images(smashed(40), seed=3, draw=2).flatten(0, 1), drawn[2])


def test_channels_share_their_draws_and_victims_share_nothing() -> None:
    released = torch.rand(3, 2, *SHAPE), torch.randint(10, (3, 2))
    gradients = replace(observation("lenet", *released), generator=prior())
    assert torch.equal(images(gradients, draw=1), images(smashed(), draw=1))
    order = torch.tensor([2, 0])
    torch.testing.assert_close(images(smashed().select(order), draw=1), images(smashed(), draw=1)[order])


def test_without_a_generator_it_is_incompatible() -> None:
    with pytest.raises(IncompatibleError, match="generator"):
        run(replace(smashed(), generator=None))


MATRIX = """
name = "draws"
version = 1
description = "d"
seeds = [0]
suites = ["gradients@1"]

[[block]]
channel = "{channel}"
datasets = ["mnist5k"]
models = ["{model}"]
checkpoints = ["initial"]
batch_sizes = [1]
releases = 2
budget = 10
attacks = [{{ name = "generator_sample", draw = [0, 1, 2] }}, {{ name = "prior", guess = ["mean", "noise"] }}]
adversaries = ["naive", "adaptive"]
defenses = ["none"]
"""


@pytest.mark.parametrize(
    ("channel", "model"),
    [("gradients", "lenet"), ("client_gradients", "splitnet"), ("smashed", "splitnet"), ("model", "lenet")],
)
def test_a_matrix_makes_an_entry_of_every_draw(channel: str, model: str, tmp_path: Path) -> None:
    path = tmp_path / "draws.toml"
    path.write_text(MATRIX.format(channel=channel, model=model))
    cells = expand(load_matrix(str(path)))
    labels = ["generator_sample", *(f"generator_sample[draw={n}]" for n in (1, 2))]
    assert [cell.attack.label for cell in cells] == [*labels, "prior", "prior[guess=noise]"]
    assert not any(cell.incompatible for cell in cells)
    assert "generator_sample" in load_suite("gradients@1").attacks
