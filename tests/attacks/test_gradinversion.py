"""GradInversion: its distance, seeds that agree, registration, and statistics whose first layer counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.api import DefenseView
from bench.attacks.gradinversion.attack import norms
from bench.attacks.gradinversion.group import SHIFT, Drawn, consensus, registered
from bench.attacks.gradinversion.matching import TensorNorms
from bench.engine import Objective, Pixels
from bench.engine.priors import statistics_gap
from bench.metrics import psnr
from bench.plugins import build_attack
from tests.engine.observations import batches, observation

SEED = 21
"""Of what no parameter was chosen on."""


def attacked(seen: Any, *, budget: int, **parameters: Any) -> Any:
    return build_attack("gradinversion", parameters).reconstruct(seen, budget=budget, seed=SEED)


def test_single_digits_are_rebuilt() -> None:
    images, labels = batches(2, 1, seed=SEED)
    found = attacked(observation("lenet", images, labels, seeds=SEED), budget=120)
    assert torch.equal(found.labels, labels)
    assert psnr(found.images.flatten(0, 1), images.flatten(0, 1)).min() > 25


def test_the_distance_is_the_sum_of_the_norms_of_what_was_transmitted() -> None:
    generator = torch.Generator().manual_seed(0)
    observed = {name: torch.randn(2, 3, size, generator=generator) for name, size in (("a", 4), ("b", 1))}
    candidate = {name: torch.randn(value.shape, generator=generator) for name, value in observed.items()}
    mask = {name: value > 0 for name, value in observed.items()}

    def total(values: dict[str, Tensor]) -> Tensor:
        return torch.stack([value.square().flatten(1).sum(1).sqrt() for value in values.values()]).sum(0)

    gap = total({name: (candidate[name] - value) * mask[name] for name, value in observed.items()})
    absolute = TensorNorms(lambda release: mask, weight=0.5, relative=False)(candidate, observed)
    torch.testing.assert_close(absolute, 0.5 * gap)
    relative = TensorNorms(lambda release: mask)(candidate, observed)
    torch.testing.assert_close(relative, gap / total({k: v * mask[k] for k, v in observed.items()}))
    assert (TensorNorms()(observed, observed) == 0).all()


@pytest.mark.parametrize("down", [-2, 0, 3])
@pytest.mark.parametrize("right", [-1, 0, 2])
def test_registration_undoes_shifts(down: int, right: int) -> None:
    target = batches(1, 2, seed=SEED)[0][:, None]
    moved = target.roll((down, right), dims=(-2, -1))
    torch.testing.assert_close(registered(moved, target), target)
    seeds = torch.cat([target, target, moved], dim=1)
    torch.testing.assert_close(consensus(seeds), target)


def test_registration_moves_no_further_than_its_limit() -> None:
    image = torch.zeros(1, 1, 32, 32)
    image[..., 16, 16] = 1.0
    far = image.roll(32 // SHIFT + 1, dims=-1)
    assert registered(far, image)[..., 16, 16] == 0


def test_seeds_are_drawn_to_their_consensus_by_a_force_of_constant_length() -> None:
    """The gradient of ``alpha ||x_g - E||`` for a fixed E; images that may be exchanged are left alone."""
    images, labels = batches(1, 2, seed=SEED)
    seen = observation("lenet", images, labels, dtype=torch.float64)
    objective = Objective(seen, Pixels.of(seen, labels), TensorNorms())
    point = torch.rand(3, 2 * 1024, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.zeros(3, dtype=torch.long)
    together = torch.tensor([[True, False]])
    whole = Drawn([objective.select(rows)], (3, 2, 1, 32, 32), 0.5, together)
    cost, gradient = whole(point, 0.0)
    bare_cost, bare = objective.select(rows)(point)
    torch.testing.assert_close(cost, bare_cost)
    seeds = point.view(1, 3, 2, 1, 32, 32)
    target = consensus(seeds)
    leaf = seeds.clone().requires_grad_()
    (0.5 * (leaf - target)[:, :, 0].flatten(2).norm(dim=2)).sum().backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    torch.testing.assert_close(gradient - bare, leaf.grad.view(3, -1), rtol=1e-6, atol=1e-9)
    parts = Drawn([objective.select(rows[:2]), objective.select(rows[2:])], whole.shape, 0.5, together)
    torch.testing.assert_close(parts(point, 0.0)[1], gradient)


@pytest.mark.parametrize("parameters", [{"seeds": 1}, {"seeds": 3, "noise": 0.2, "group": 0.1}])
def test_victims_of_another_order_or_alone_are_found_alike(parameters: dict[str, Any]) -> None:
    images, labels = batches(3, 2, seed=SEED)
    seen = observation("convnet", images, labels, dtype=torch.float64)
    whole = attacked(seen, budget=30, **parameters)
    order = torch.tensor([2, 0, 1])
    turned = attacked(seen.select(order), budget=30, **parameters).images
    alone = torch.cat(
        [attacked(seen.select(order[i : i + 1]), budget=30, **parameters).images for i in range(3)]
    )
    for some in (turned, alone):
        torch.testing.assert_close(some, whole.images[order], rtol=0, atol=1e-4)
    assert (whole.evaluations == 30).all()


def test_seeds_share_the_budget_and_noise_is_drawn_anew_for_each() -> None:
    images, labels = batches(1, 1, seed=SEED)
    seen = observation("lenet", images, labels)
    assert attacked(seen, budget=40, seeds=3).evaluations.tolist() == [39]
    assert attacked(seen, budget=15, seeds=3).evaluations.tolist() == [15]  # too few for more than one seed
    assert attacked(seen, budget=1000, seeds=2, iterations=10).evaluations.tolist() == [20]
    quiet, loud = (attacked(seen, budget=20, noise=noise).images for noise in (0.0, 0.2))
    assert not torch.equal(quiet, loud)
    assert torch.equal(loud, attacked(seen, budget=20, noise=0.2).images)


def test_the_first_layer_of_statistics_counts_more() -> None:
    known = {
        f"{layer}.{kind}": torch.zeros(3)
        for layer in ("in", "out")
        for kind in ("running_mean", "running_var")
    }
    mine = {name: torch.full((2, 3), float(number)) for number, name in enumerate(reversed(known))}
    gaps = {name: value.norm(dim=1) for name, value in mine.items()}
    want = sum(gaps[name] * (10 if name.startswith("in.") else 1) for name in mine)
    torch.testing.assert_close(statistics_gap(mine, known, first=10.0), want)
    torch.testing.assert_close(statistics_gap(mine, known), torch.stack(list(gaps.values())).sum(0))


def test_beside_a_likelihood_the_published_weights_play_no_part() -> None:
    def squared(candidate: Any, observed: Any) -> Tensor:
        gaps = [(candidate[name] - value).square().flatten(1).sum(1) for name, value in observed.items()]
        return torch.stack(gaps).sum(0)

    seen = observation("convnet", *batches(1, 2), defense=DefenseView(negative_log_likelihood=squared))
    first = attacked(seen, budget=20, seeds=2).images
    assert torch.equal(first, attacked(seen, budget=20, seeds=2, group=1.0, tv=1.0, l2=1.0).images)
    bare = replace(seen, defense=None)
    assert not torch.equal(attacked(bare, budget=20).images, attacked(bare, budget=20, tv=1.0).images)


def test_sizes_of_images_add_up() -> None:
    images = torch.tensor([3.0, 4.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]).view(1, 2, 1, 2, 2)
    assert norms(images).tolist() == [6.0]
