"""SPEAR: whole batches off a first layer with ReLU, exactly, and what its parts promise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from bench.api import Adversary, Channel, GradientObservation, IncompatibleError, Reconstruction
from bench.attacks.analytic.chain import first_layer
from bench.attacks.spear.directions import greedy
from bench.attacks.spear.factors import completed, factorised
from bench.matrix.expand import incompatible, variant
from bench.models.build import build_model
from bench.models.names import LINEAR_INPUT, MODELS
from bench.plugins import build_attack, build_defense
from tests.attacks.test_analytic import seen_by
from tests.engine.observations import DIGITS, batches, observation


def attacked(seen: GradientObservation, **parameters: object) -> Reconstruction:
    return build_attack("spear", parameters).reconstruct(seen, budget=1, seed=0)  # type: ignore[arg-type]


def matched(found: Reconstruction, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """PSNR ``[N, B]``, and whether labels are right, of each image and the one that stands for it."""
    ratios, right = [], []
    assert found.labels is not None
    for rebuilt, named, own, true in zip(found.images, found.labels, images, labels, strict=True):
        errors = (rebuilt[:, None] - own).flatten(2).square().mean(2)
        ratio = -10 * errors.clamp_min(1e-12).log10()
        rows, columns = linear_sum_assignment(ratio, maximize=True)
        ratios.append(ratio[rows, columns])
        right.append(named[rows] == true[columns])
    return torch.stack(ratios), torch.stack(right)


def test_every_image_of_batches_of_eight_comes_back_exactly_with_its_label() -> None:
    images, labels = batches(2, 8)
    found = attacked(observation("mlp", images, labels, seeds=[0, 1]))
    ratio, right = matched(found, images, labels)
    assert ratio.min() >= 80 and right.all()
    assert (found.evaluations == 1).all() and (found.cost < 1e-9).all()


def test_it_ends_where_the_published_draws_do_while_those_suffice() -> None:
    images, labels = batches(1, 4)
    found = attacked(observation("mlp", images, labels), draws=10_000, rare_first=False)
    assert matched(found, images, labels)[0].min() >= 80


def test_a_clipped_gradient_shows_the_same_images() -> None:
    """Both gradients of the layer shrink alike, so that their ratio stays."""
    images, labels = batches(1, 4)
    seen = observation("mlp", images, labels)
    clipped = replace(seen, gradients={name: 0.01 * value for name, value in seen.gradients.items()})
    assert matched(attacked(clipped), images, labels)[0].min() >= 80


def test_an_image_that_occurs_twice_is_found_once() -> None:
    images, labels = batches(1, 4)
    images[:, 3], labels[:, 3] = images[:, 2], labels[:, 2]
    found = attacked(observation("mlp", images, labels))
    assert found.labels is not None and (found.labels < 0).sum() == 1
    kept = found.labels[0] >= 0
    three = replace(found, images=found.images[:, kept], labels=found.labels[:, kept])
    assert matched(three, images[:, :3], labels[:, :3])[0].min() >= 80


def test_who_knows_what_was_sent_completes_the_rest() -> None:
    images, labels = batches(1, 2)
    guard = build_defense("pruning", {"ratio": 0.5})
    seen = observation("mlp", images, labels, adversary=Adversary.ADAPTIVE, defense=guard.known())
    mask = {name: value.abs() >= value.abs().flatten(1).median() for name, value in seen.gradients.items()}
    sent = {name: value * mask[name] for name, value in seen.gradients.items()}
    adaptive = matched(attacked(replace(seen, gradients=sent)), images, labels)[0].mean()
    naive = matched(attacked(replace(seen, gradients=sent, defense=None)), images, labels)[0].mean()
    assert adaptive > naive + 10


def test_the_noise_of_a_release_is_read_off_its_residual() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(60, 3, generator=generator), torch.randn(3, 200, generator=generator)
    noisy = (left @ right + 0.01 * torch.randn(60, 200, generator=generator)).double()
    found = factorised(noisy, 6)
    assert found.rank == 3
    assert (found.noise / 0.01 - 1).abs().mean() < 0.06
    rebuilt = found.noise[:, None] * (found.left * found.values) @ found.right.T
    assert (rebuilt - left @ right).square().mean().sqrt() < 0.01


def test_a_matrix_of_low_rank_is_completed_from_half_of_its_entries() -> None:
    generator = torch.Generator().manual_seed(0)
    whole = (
        torch.randn(40, 3, generator=generator).double() @ torch.randn(3, 50, generator=generator).double()
    )
    sent = torch.rand(40, 50, generator=generator) < 0.5
    found = completed(whole * sent, sent, 3, steps=100)
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-4)


def test_the_greedy_basis_takes_the_first_independent_directions() -> None:
    axes = torch.eye(3, dtype=torch.float64)
    between = (axes[0] + axes[1]) / 2**0.5
    assert greedy(torch.stack([axes[0], axes[1], between, axes[2]])).tolist() == [0, 1, 3]
    assert greedy(torch.stack([axes[0], between, axes[1], axes[0]])).tolist() == [0, 1]


@pytest.mark.parametrize("value", [0.0, torch.nan])
def test_a_release_of_nothing_is_answered_with_grey_images(value: float) -> None:
    seen = observation("mlp", *batches(1, 4))
    blank = {name: torch.full_like(tensor, value) for name, tensor in seen.gradients.items()}
    found = attacked(replace(seen, gradients=blank))
    assert found.images.isfinite().all() and found.cost.isfinite().all()


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(1024, 64), nn.Sigmoid(), nn.Linear(64, 10)), "ReLU"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10)), "first layer"),
        (nn.Sequential(nn.Flatten(), nn.Linear(1024, 64, bias=False), nn.ReLU(), nn.Linear(64, 10)), "bias"),
    ],
)
def test_other_networks_are_refused_with_the_reason(model: nn.Module, reason: str) -> None:
    with pytest.raises(IncompatibleError, match=reason):
        attacked(seen_by(model, *batches(1, 2)))


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("resnet18")])
def test_cells_are_planned_for_networks_that_begin_with_a_linear_layer(name: str) -> None:
    model = build_model(name, num_classes=10, image_shape=DIGITS)
    parameters = {key: value.detach() for key, value in model.named_parameters()}
    begins = first_layer(model, parameters, DIGITS) is not None
    assert begins == (name in LINEAR_INPUT)
    spear, none = variant("attack", "spear", {}), variant("defense", "none", {})
    reason = incompatible(spear, none, Adversary.NAIVE, 4, Channel.GRADIENTS, name)
    assert (reason == "") == begins
