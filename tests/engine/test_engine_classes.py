"""What attacks on a released classifier share: losses on class scores, and descent on rows of latents."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.api import Adversary, Channel, ImageGenerator, IncompatibleError, ModelObservation, ThreatModel
from bench.engine import (
    Descent,
    critic_of,
    cross_entropy,
    generator_of,
    in_parts,
    poincare,
    start_latents,
    target_probability,
)

TARGETS = torch.tensor([0, 3, 1, 2, 2])


def scores(seed: int = 0, scale: float = 3.0) -> Tensor:
    drawn = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return scale * drawn


def observation(ids: Tensor, *, batch_size: int = 2, generator: bool = True) -> ModelObservation:
    prior = ImageGenerator(decoder=nn.Linear(6, 4), latent_size=6) if generator else None
    return ModelObservation(
        threat=ThreatModel(channel=Channel.MODEL, adversary=Adversary.NAIVE, batch_size=batch_size),
        model=nn.Identity(), targets=ids, image_shape=(1, 2, 2), num_classes=9, ids=ids, generator=prior,
    )  # fmt: skip


def test_cross_entropy_is_minus_the_log_of_the_targets_probability():
    found = scores()
    assert torch.allclose(cross_entropy(found, TARGETS), -target_probability(found, TARGETS).log())
    assert torch.allclose(target_probability(found, TARGETS), found.softmax(1)[range(5), TARGETS])


def test_poincare_is_the_distance_in_the_ball():
    found = scores()
    for row, target, value in zip(found.numpy(), TARGETS.tolist(), poincare(found, TARGETS), strict=True):
        here = row / np.abs(row).sum()
        there = np.eye(4)[target] * 0.9999
        ratio = np.sum((here - there) ** 2) / ((1 - here @ here) * (1 - there @ there))
        assert value.item() == pytest.approx(np.arccosh(1 + 2 * ratio), rel=1e-9)


@pytest.mark.parametrize("loss", [cross_entropy, poincare])
def test_losses_have_the_gradient_of_their_value_and_fall_towards_the_target(loss):
    found = scores().requires_grad_()
    assert torch.autograd.gradcheck(lambda value: loss(value, TARGETS), found)
    (gradient,) = torch.autograd.grad(loss(found, TARGETS).sum(), found)
    lower = loss(found - 1e-4 * gradient, TARGETS)
    assert (lower < loss(found, TARGETS)).all()


def test_poincare_still_pulls_where_cross_entropy_is_sure():
    sure = torch.tensor([[60.0, 5.0, -5.0, 0.0]], requires_grad=True)
    pulls = [
        torch.autograd.grad(loss(sure, torch.tensor([0])).sum(), sure)[0].abs().sum().item()
        for loss in (cross_entropy, poincare)
    ]
    assert pulls[0] < 1e-12 and pulls[1] > 1e-3


def test_poincare_is_finite_on_the_border_and_without_scores():
    edges = torch.tensor([[0.0, 0.0, 0.0], [7.0, 0.0, 0.0], [0.0, 7.0, 0.0]], requires_grad=True)
    value = poincare(edges, torch.zeros(3, dtype=torch.long))
    (gradient,) = torch.autograd.grad(value.sum(), edges)
    assert value.isfinite().all() and gradient.isfinite().all()
    assert value[1] < value[0] < value[2]


def test_momentum_is_that_of_nesterov():
    """Velocity v' = m v - r g(z), then z' = z - m v + (1 + m) v', as published for GMI."""
    curvature, point, velocity = torch.tensor([1.0, 10.0]), torch.tensor([[3.0, -2.0]]), torch.zeros(1, 2)
    steps = Descent(partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True))
    found = steps.minimise(
        lambda z: (z.square() * curvature).sum(1) / 2, point, evaluations=torch.tensor([7])
    )
    for _ in range(7):
        before, velocity = velocity, 0.9 * velocity - 0.05 * curvature * point
        point = point - 0.9 * before + 1.9 * velocity
    assert torch.allclose(found.point, point, atol=1e-5)


@pytest.mark.parametrize("optimiser", [torch.optim.Adam, partial(torch.optim.SGD, momentum=0.9)])
def test_rows_share_nothing_and_stay_in_the_box(optimiser):
    start = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))

    def cost(point: Tensor) -> Tensor:
        return (point - 2).square().sum(1)

    def run(some: Tensor, steps: int) -> Tensor:
        found = Descent(partial(optimiser, lr=0.1)).minimise(
            cost, some, evaluations=torch.full((len(some),), steps), project=lambda z: z.clamp(-1, 1)
        )
        assert found.evaluations.tolist() == [steps] * len(some)
        return found.point

    whole = run(start, 9)
    alone = torch.cat([run(row, 9) for row in start.split(1)])
    assert torch.equal(whole, alone)
    assert whole.abs().max() <= 1 and (cost(whole) < cost(start)).all()
    assert torch.equal(run(start, 0), start.clamp(-1, 1))


def test_a_broken_row_spoils_no_other_and_the_start_is_left_as_it_was():
    start = torch.tensor([[1.0], [-1.0]])
    kept = start.clone()
    found = Descent(partial(torch.optim.SGD, lr=0.1)).minimise(
        lambda z: torch.stack([z[0].square().sum(), (z[1].log()).sum()]),
        start,
        evaluations=torch.tensor([3, 3]),
    )
    assert found.point[0].item() == pytest.approx(0.8**3) and found.point.isfinite().all()
    assert torch.equal(start, kept)


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_parts_are_the_whole(size):
    left, right = torch.arange(14.0).view(7, 2), torch.arange(7)
    seen = []

    def function(a: Tensor, b: Tensor) -> Tensor:
        seen.append(len(a))
        return a * b[:, None]

    assert torch.equal(in_parts(function, left, right, size=size), left * right[:, None])
    assert max(seen) <= size and sum(seen) == 7


def test_starts_belong_to_a_class_and_a_seed():
    whole = start_latents(observation(torch.tensor([4, 1, 7])), seed=3, each=5)
    assert whole.shape == (3, 10, 6)
    assert torch.equal(whole[[2, 0]], start_latents(observation(torch.tensor([7, 4])), seed=3, each=5))
    assert len(whole.flatten(0, 1).unique(dim=0)) == 30
    other = start_latents(observation(torch.tensor([4, 1, 7])), seed=4, each=5).flatten(0, 1)
    assert torch.cdist(whole.flatten(0, 1), other).min() > 0.1


def test_what_is_missing_is_named():
    bare = observation(torch.tensor([0]), generator=False)
    with pytest.raises(IncompatibleError, match="generator"):
        generator_of(bare)
    with pytest.raises(IncompatibleError, match="critic"):
        critic_of(generator_of(observation(torch.tensor([0]))))
