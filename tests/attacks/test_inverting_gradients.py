"""Inverting Gradients: the prior that fades, colour, and labels given, unknown or in another order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.api import DefenseView, GradientObservation, Gradients, IncompatibleError
from bench.engine import total_variation
from bench.metrics import psnr
from bench.metrics.matching import assign
from bench.plugins import build_attack
from tests.engine.observations import batches, observation
from tests.real_data import needs, real

CIFAR = "cifar-10-jpeg/cifar-10-batches-bin/test_batch.bin"
SEED = 21
"""Of what no parameter was chosen on."""


def smooth(victims: int, batch_size: int, *, seed: int = SEED) -> Tensor:
    """Colour images ``[N, B, 3, 32, 32]`` of a few soft blobs, whose channels mostly change together."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(victims * batch_size, 1, 4, 4, generator=generator)
    tint = torch.rand(victims * batch_size, 3, 2, 2, generator=generator)
    parts = [
        torch.nn.functional.interpolate(part, size=(32, 32), mode="bilinear", align_corners=True)
        for part in (coarse, tint)
    ]
    return (0.7 * parts[0] + 0.3 * parts[1]).view(victims, batch_size, 3, 32, 32)


def photographs(count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Photographs ``[count, 3, 32, 32]`` of the official binary layout, and their labels."""
    rows = torch.from_numpy(np.fromfile(real(CIFAR), dtype=np.uint8)).view(-1, 3073)
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:count]]
    return rows[:, 1:].view(-1, 3, 32, 32).float() / 255, rows[:, 0].long()


def levels(found: Tensor, images: Tensor) -> Tensor:
    """PSNR of every image beside the one that it is of, ``[N * B]``."""
    values = []
    for guess, truth in zip(found.clamp(0, 1), images, strict=True):
        order = assign((guess[None] - truth[:, None]).square().flatten(2).mean(2))
        values.append(psnr(guess[order], truth))
    return torch.cat(values)


def attacked(seen: GradientObservation, *, iterations: int, **parameters: Any) -> Any:
    attack = build_attack("inverting_gradients", {"iterations": iterations, **parameters})
    return attack.reconstruct(seen, budget=iterations, seed=SEED)


@pytest.mark.parametrize(("batch_size", "floor"), [(1, 25), (2, 20)])
def test_smooth_colour_images_are_rebuilt(batch_size: int, floor: float) -> None:
    images = smooth(3, batch_size)
    labels = torch.arange(3 * batch_size).view(3, batch_size)
    seen = observation("convnet", images, labels)
    found = attacked(seen, iterations=100)
    level = levels(found.images, images).median()
    without = levels(attacked(seen, iterations=100, tv_colour=0.0).images, images).median()
    print(f"B = {batch_size}: {level:.1f} dB, without the fading prior {without:.1f}")
    assert level >= floor and level > without + 1


@pytest.mark.slow
@needs(CIFAR)
@pytest.mark.parametrize(("batch_size", "floor"), [(1, 25), (4, 22)])
def test_photographs_are_rebuilt(batch_size: int, floor: float) -> None:
    """Ten photographs, or ten batches of four, of an untrained ConvNet."""
    images, labels = photographs(10 * batch_size, seed=SEED)
    images, labels = images.view(10, batch_size, 3, 32, 32), labels.view(10, batch_size)
    seen = observation("convnet", images, labels, seeds=SEED)
    found = attacked(seen, iterations=300)
    level = levels(found.images, images).median()
    assert level >= floor


def test_the_cost_is_reported_without_total_variation() -> None:
    """What a heavy prior that stays adds to the cost would be above the cosine's own range."""
    seen = observation("convnet", *batches(2, 1))
    found = attacked(seen, iterations=8, tv_end=50.0)
    assert (50 * total_variation(found.images) > 2).all()
    assert (found.cost > 0).all() and (found.cost < 2).all()


def test_beside_a_likelihood_nothing_fades_and_the_rate_falls_in_steps() -> None:
    def squared(candidate: Gradients, observed: Gradients) -> Tensor:
        gaps = [(candidate[name] - value).square().flatten(1).sum(1) for name, value in observed.items()]
        return torch.stack(gaps).sum(0)

    seen = observation("convnet", *batches(1, 1), defense=DefenseView(negative_log_likelihood=squared))
    first = attacked(seen, iterations=8).images
    assert torch.equal(first, attacked(seen, iterations=8, decay="steps", tv_grey=1.0).images)
    bare = replace(seen, defense=None)
    assert not torch.equal(
        attacked(bare, iterations=8).images, attacked(bare, iterations=8, decay="steps").images
    )


def test_grey_and_colour_have_weights_of_their_own() -> None:
    grey = observation("convnet", *batches(1, 1))
    colour = observation("convnet", smooth(1, 1), torch.zeros(1, 1, dtype=torch.long))
    for seen, counts, other in ((grey, "tv_grey", "tv_colour"), (colour, "tv_colour", "tv_grey")):
        first = attacked(seen, iterations=8).images
        assert torch.equal(first, attacked(seen, iterations=8, **{other: 1.0}).images)
        assert not torch.equal(first, attacked(seen, iterations=8, **{counts: 1.0}).images)


def test_victims_of_another_order_or_alone_are_found_alike() -> None:
    """Signs of objective gradients near zero may differ in the last digit: almost all pixels must agree."""
    images = smooth(3, 2)
    seen = observation("convnet", images, torch.arange(6).view(3, 2), dtype=torch.float64)
    whole = attacked(seen, iterations=8).images
    order = torch.tensor([2, 0, 1])
    turned = attacked(seen.select(order), iterations=8).images
    alone = torch.cat([attacked(seen.select(order[i : i + 1]), iterations=8).images for i in range(3)])
    for some in (turned, alone):
        assert ((some - whole[order]).abs() < 1e-6).double().mean() > 0.999


GIVEN = ["dlg", "idlg", "inverting_gradients"]


@pytest.mark.parametrize("name", GIVEN)
def test_labels_that_are_given_take_the_place_of_inferred_ones(name: str) -> None:
    """For two images nothing else tells the labels: with others than the true ones, other pixels fit."""
    images, labels = batches(2, 2)
    seen = observation("lenet", images, labels)
    seen = replace(seen, threat=replace(seen.threat, labels_known=True))
    attack = build_attack(name, {})
    right = attack.reconstruct(replace(seen, labels=labels), budget=60, seed=0)
    wrong = attack.reconstruct(replace(seen, labels=(labels + 1) % 10), budget=60, seed=0)
    assert right.labels is not None and torch.equal(right.labels, labels)
    assert wrong.labels is not None and torch.equal(wrong.labels, (labels + 1) % 10)
    assert (right.cost < wrong.cost).all()


def test_idlg_refuses_two_images_without_labels() -> None:
    with pytest.raises(IncompatibleError, match="B = 1 only"):
        build_attack("idlg", {}).reconstruct(observation("lenet", *batches(1, 2)), budget=5, seed=0)


@pytest.mark.parametrize("batch_size", [1, 2])
@pytest.mark.parametrize("name", ["idlg", "inverting_gradients"])
def test_a_label_that_a_saturated_release_does_not_tell_is_reported_as_unknown(
    name: str, batch_size: int
) -> None:
    if name == "idlg" and batch_size > 1:
        pytest.skip("made for one image")
    seen = observation("lenet", *batches(2, batch_size))
    gone = {
        key: torch.zeros_like(value) if key.startswith("classifier") else value
        for key, value in seen.gradients.items()
    }
    found = build_attack(name, {}).reconstruct(replace(seen, gradients=gone), budget=20, seed=0)
    assert found.labels is not None and (found.labels == -1).all()
    assert found.images.isfinite().all()
    empty = {key: torch.zeros_like(value) for key, value in seen.gradients.items()}
    found = build_attack(name, {}).reconstruct(replace(seen, gradients=empty), budget=20, seed=0)
    assert found.labels is not None and (found.labels == -1).all() and found.images.isfinite().all()
