"""What a known transform did to an image is undone, the better the more is learned of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle, pixel_unshuffle

from bench.api import ImageSet
from bench.engine.minimisers.adam import AMSGrad
from bench.engine.transforms.restoration import METHODS, Restoration
from bench.metrics.pixel import psnr
from tests.engine.observations import DIGITS, digits


class Stripes:
    """x^ = x + 0.3 * stripes where x is dark; carriers are x^ in 2x2 blocks and the coarse change."""

    def inputs(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        stripes = torch.zeros_like(images)
        stripes[..., ::3] = 0.3
        change = stripes * (images < 0.5)
        return torch.cat([pixel_unshuffle(images + change, 2), avg_pool2d(change, 2)], dim=1)

    def perturbed(self, inputs: Tensor) -> Tensor:
        return pixel_shuffle(inputs[:, :-1], 2)

    def images(self, inputs: Tensor) -> Tensor:
        return self.perturbed(inputs) - interpolate(inputs[:, -1:], scale_factor=2)


def few(count: int) -> ImageSet:
    owned = digits().auxiliary
    return ImageSet(owned.images[:count], owned.labels[:count])


def restored(method: str, *, seed: int = 0, steps: int = 60) -> Tensor:
    private = digits().private_train.images[:12]
    carriers = Stripes().inputs(private).view(4, 3, 5, 16, 16)
    restoration = Restoration(method=method, steps=steps, width=16, images_per_step=16)
    return restoration(carriers, Stripes(), few(200), seed=seed)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_returns_images_in_range(method: str) -> None:
    images = restored(method, steps=3)
    assert images.shape == (4, 3, *DIGITS)
    assert images.amin() >= 0 and images.amax() <= 1 and not images.requires_grad


def test_the_fixed_point_finds_what_the_coarse_map_leaves_and_learning_improves_on_it() -> None:
    private = digits().private_train.images[:12]
    quality = {name: psnr(restored(name).flatten(0, 1), private).mean().item() for name in METHODS}
    assert quality["fixed_point"] > quality["subtract"] + 6
    assert quality["learned"] > quality["subtract"] + 3


def test_the_seed_decides_and_the_global_generator_stays_where_it_is() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, again, other = (
        restored("learned", steps=5),
        restored("learned", steps=5),
        restored("learned", seed=1),
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_odd_sizes_are_padded_for_the_half_resolution_and_cut_again() -> None:
    class Plain:
        def inputs(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
            return images

        def perturbed(self, inputs: Tensor) -> Tensor:
            return inputs

        def images(self, inputs: Tensor) -> Tensor:
            return inputs

    owned = ImageSet(
        torch.rand(8, 2, 7, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(8).long()
    )
    carriers = owned.images.view(4, 2, 2, 7, 5)
    restoration = Restoration(steps=2, width=4, images_per_step=4)
    assert restoration(carriers, Plain(), owned, seed=0).shape == carriers.shape


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ValueError, match="'magic'"):
        restored("magic")


def test_amsgrad_minimises_each_row_by_itself_and_keeps_its_best_iterate() -> None:
    goal = torch.tensor([[0.2, 0.9], [-1.0, 0.5], [0.4, 0.4]])

    def objective(point: Tensor, share: float) -> tuple[Tensor, Tensor]:
        assert 0 <= share <= 1
        return (point - goal[: len(point)]).square().sum(1), 2 * (point - goal[: len(point)])

    def run(rows: int) -> Tensor:
        found = AMSGrad(learning_rate=0.3).minimise(
            objective,
            torch.zeros(rows, 2),
            evaluations=torch.full((rows,), 200),
            project=lambda point: point.clamp(0, 1),
        )
        assert (found.evaluations == 200).all()
        assert torch.allclose(found.cost, (found.point - goal[:rows]).square().sum(1))
        return found.point

    assert torch.allclose(run(3), goal.clamp(0, 1), atol=1e-3)
    assert torch.equal(run(3)[:2], run(2))
