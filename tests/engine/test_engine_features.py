"""Features of a generator's blocks as unknowns: l1 balls against references, and layer after layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from bench.api import ImageGenerator, IncompatibleError
from bench.engine import FeatureSearch, Optimum, WarmAdam, blocks_of, costs_and_gradients, most_features
from bench.engine.features import L1Ball, on_l1_ball
from bench.engine.minimisers.contract import BatchedObjective
from bench.models.generators import LATENTS, Decoder


def rows(number: int, size: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(number, size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def bisected(row: Tensor, radius: float) -> Tensor:
    """The projection by its threshold, which halving finds without any sorting."""
    low, high = 0.0, row.abs().max().item()
    for _ in range(80):
        middle = (low + high) / 2
        above = (row.abs() - middle).clamp_min(0).sum().item() > radius
        low, high = (middle, high) if above else (low, middle)
    return row.sign() * (row.abs() - high).clamp_min(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("radius", [0.0, 0.3, 4.0, 50.0])
@pytest.mark.parametrize("size", [1, 7, 400])
def test_a_projection_is_the_one_that_bisection_finds(size: int, radius: float, dtype: torch.dtype) -> None:
    offsets = rows(6, size, seed=size, dtype=dtype) * torch.tensor([0, 0.01, 0.1, 1, 10, 1e3])[:, None].to(
        dtype
    )
    found = on_l1_ball(offsets, radius)
    assert found.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    scale = offsets.abs().amax(1, keepdim=True).clamp_min(1)
    for row, got, most in zip(offsets, found, scale, strict=True):
        inside = row.double().abs().sum().item() <= radius
        want = row if inside else bisected(row.double(), radius).to(dtype)
        assert ((got - want).abs() <= tolerance * most).all()


def test_what_lies_inside_stays_and_what_does_not_comes_to_lie_on_the_ball() -> None:
    offsets = rows(40, 30)
    norms = offsets.abs().sum(1)
    radius = 24.0
    found = on_l1_ball(offsets, radius)
    inside = norms <= radius
    assert 0 < inside.sum() < 40
    assert torch.equal(found[inside], offsets[inside])
    torch.testing.assert_close(found[~inside].abs().sum(1), torch.full_like(norms[~inside], radius))
    assert (found * offsets >= 0).all() and (found.abs() <= offsets.abs()).all()
    torch.testing.assert_close(on_l1_ball(found, radius), found)


def test_no_point_of_the_ball_is_nearer_by_a_general_solver() -> None:
    """Positive and negative parts as variables make the ball a simplex, which SLSQP knows how to keep to."""
    for seed in range(5):
        row = rows(1, 6, seed=seed)[0].numpy()
        radius = 0.4 * np.abs(row).sum()

        def squared(parts: np.ndarray, row: np.ndarray = row) -> float:
            return float(((parts[:6] - parts[6:] - row) ** 2).sum())

        def left(parts: np.ndarray, radius: float = radius) -> float:
            return float(radius - parts.sum())

        solved = minimize(
            squared,
            np.zeros(12),
            method="SLSQP",
            bounds=[(0, None)] * 12,
            constraints={"type": "ineq", "fun": left},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        want = torch.from_numpy(solved.x[:6] - solved.x[6:])
        found = on_l1_ball(torch.from_numpy(row)[None], float(radius))[0]
        torch.testing.assert_close(found, want, atol=1e-5, rtol=0)


def test_a_projection_meets_the_condition_of_the_nearest_point() -> None:
    """The way back is at no acute angle to any way into the ball, whose corners are its extreme points."""
    offsets, radius = 2 * rows(20, 50, seed=3), 5.0
    found = on_l1_ball(offsets, radius)
    corners = radius * torch.cat([torch.eye(50), -torch.eye(50)]).double()
    back = offsets - found
    assert ((back[:, None] * (corners - found[:, None])).sum(2) <= 1e-9).all()


def test_each_image_has_a_ball_of_its_own() -> None:
    centre, point = rows(6, 8).view(3, 2, 8), rows(3, 16, seed=1)
    ball = L1Ball(centre, 0.5)
    found = ball(point).view(3, 2, 8)
    torch.testing.assert_close((found - centre).abs().sum(2), torch.full((3, 2), 0.5, dtype=torch.float64))
    alone = L1Ball(centre[1:2, 1:], 0.5)(point.view(3, 2, 8)[1:2, 1])
    assert torch.equal(alone[0], found[1, 1])


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 40, 48), (1, 28, 28)])
def test_blocks_compose_to_the_decoder_and_leave_non_negative_features(shape: tuple[int, int, int]) -> None:
    decoder = Decoder.build(shape, 4, torch.Generator().manual_seed(0)).eval()
    latents = rows(3, LATENTS, dtype=torch.float32)
    blocks = blocks_of(ImageGenerator(decoder=decoder, latent_size=LATENTS))
    features, sizes = latents, []
    for block in blocks[:-1]:
        features = block(features)
        sizes.append(features[0].numel())
        assert (features >= 0).all() and (features > 0).any()
    assert torch.equal(blocks[-1](features), decoder(latents))
    assert most_features(ImageGenerator(decoder=decoder, latent_size=LATENTS)) == max(sizes)


def test_a_generator_that_names_no_blocks_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="names no blocks"):
        blocks_of(ImageGenerator(decoder=nn.Linear(2, 3), latent_size=2))


@dataclass
class Distance(BatchedObjective):
    """Squared distance of what a decoder draws from the targets ``[N, B, C, H, W]``."""

    decoder: nn.Module
    size: int
    targets: Tensor
    seen: list[Tensor] = field(default_factory=list)

    def __call__(self, point: Tensor, share: float = 0.0, /) -> tuple[Tensor, Tensor]:
        self.seen.append(point)

        def costs(leaf: Tensor) -> Tensor:
            drawn = self.decoder(leaf.view(-1, self.size)).view_as(self.targets)
            return (drawn - self.targets).square().flatten(1).sum(1)

        return costs_and_gradients(costs, point)

    def select(self, rows: Tensor) -> Self:
        return replace(self, targets=self.targets[rows])


def small() -> tuple[nn.Module, ...]:
    """Two unknowns, then three, then six, then an image of eight pixels: each layer can draw more."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [
            nn.Linear(2, 3),
            nn.Linear(3, 6),
            nn.Sequential(nn.Linear(6, 8), nn.Unflatten(1, (1, 2, 4))),
        ]
    return tuple(layer.double().requires_grad_(False) for layer in layers)


def searched(
    targets: Tensor, *, layers: int = 2, radius: float = 1e9, growth: float = 0.0, evaluations: int = 100
) -> tuple[Optimum, list[Distance]]:
    made: list[Distance] = []

    def objective(decoder: nn.Module, centre: Tensor) -> Distance:
        made.append(Distance(decoder, centre.shape[2], targets))
        return made[-1]

    victims, batch = targets.shape[:2]
    start = Optimum(
        targets.new_zeros(victims, batch, 2), targets.new_full((victims,), 77.0), torch.zeros(victims)
    )
    way = FeatureSearch(minimiser=WarmAdam(learning_rate=0.1), layers=layers, radius=radius, growth=growth)
    left = torch.full((victims,), evaluations)
    return way.minimise(objective, small(), start, evaluations=left), made


def nearest(block: Callable[[Tensor], Tensor], size: int, target: Tensor) -> Tensor:
    """The least squared distance of a linear block's images, by least squares."""
    zero = block(torch.zeros(1, size).double()).flatten()
    basis = (block(torch.eye(size).double()).flatten(1) - zero).T
    answer = torch.linalg.lstsq(basis, (target - zero)[:, None]).solution
    return (basis @ answer - (target - zero)[:, None]).square().sum()


def test_every_layer_finds_the_best_that_its_block_can_draw() -> None:
    targets = rows(2, 8).view(2, 1, 1, 2, 4)
    blocks = small()
    for layers, tail, size in ((1, nn.Sequential(*blocks[1:]), 3), (2, blocks[2], 6), (9, blocks[2], 6)):
        found, made = searched(targets, layers=layers, evaluations=500)
        want = torch.stack([nearest(tail, size, target.flatten()) for target in targets])
        torch.testing.assert_close(found.cost, want, atol=1e-3, rtol=1e-2)
        assert len(made) == min(layers, 2)
        torch.testing.assert_close((found.point - targets).square().flatten(1).sum(1), found.cost)


def test_layers_begin_where_the_last_one_ended_and_keep_to_balls_around_that() -> None:
    targets = 5 * rows(6, 8).view(3, 2, 1, 2, 4)
    found, (first, second) = searched(targets, radius=0.01, growth=1.0, evaluations=60)
    blocks = small()
    for cost, radius in ((first, 3 * 0.01), (second, 6 * 0.02)):
        points = torch.stack(cost.seen).view(-1, 3, 2, cost.size)
        moved = (points - points[0]).abs().sum(3)
        assert moved.max() <= radius * (1 + 1e-9) and moved[-1].min() > 0.99 * radius
    last = torch.stack([first(point)[0] for point in first.seen[:30]]).min(0).values
    torch.testing.assert_close(second(second.seen[0])[0], last)
    assert (found.cost < last).all()
    start = blocks[0](torch.zeros(1, 2).double()).expand(3, 6 // 3, 3)
    torch.testing.assert_close(first.seen[0].view(3, 2, 3), start)
    assert found.evaluations.tolist() == [60] * 3


def test_without_evaluations_or_layers_the_latents_image_is_the_answer() -> None:
    targets = rows(2, 8).view(2, 1, 1, 2, 4)
    image = nn.Sequential(*small())(torch.zeros(1, 2).double())
    for more in ({"evaluations": 0}, {"layers": 0}):
        found, _ = searched(targets, **more)
        assert found.cost.tolist() == [77.0, 77.0] and found.evaluations.tolist() == [0, 0]
        torch.testing.assert_close(found.point, image.expand(2, 1, 1, 2, 4))
    one, _ = searched(targets, evaluations=1)
    assert one.evaluations.tolist() == [1, 1] and (one.cost < 77).all()


def test_rows_share_nothing() -> None:
    targets = rows(6, 8).view(3, 2, 1, 2, 4)
    together, _ = searched(targets, radius=0.2)
    some, _ = searched(targets[[2, 0]], radius=0.2)
    torch.testing.assert_close(some.point, together.point[[2, 0]])
