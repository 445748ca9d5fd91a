"""The closed form: exact where it applies, a clear refusal where it does not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.api import Adversary, Channel, GradientObservation, IncompatibleError, ThreatModel
from bench.engine.gradients import gradient_map, one_hot
from bench.metrics.pixel import psnr
from bench.plugins import build_attack
from tests.engine.observations import DIGITS, batches, observation


def seen_by(model: nn.Module, images: Tensor, labels: Tensor) -> GradientObservation:
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    gradients = gradient_map(model, parameters, per_victim_weights=False)(images, one_hot(labels, 10))
    return GradientObservation(
        threat=ThreatModel(channel=Channel.GRADIENTS, adversary=Adversary.NAIVE, batch_size=images.shape[1]),
        model=model,
        parameters=parameters,
        per_victim_weights=False,
        gradients={name: value.detach() for name, value in gradients.items()},
        image_shape=DIGITS,
        num_classes=10,
        ids=torch.arange(len(images)),
    )


@pytest.mark.parametrize("own", [False, True], ids=["shared", "per-victim"])
def test_every_digit_comes_back_from_an_untrained_lenet(own: bool) -> None:
    images, labels = batches(12, 1)
    seen = observation("lenet", images, labels, seeds=list(range(12)) if own else 0)
    found = build_attack("analytic", {}).reconstruct(seen, budget=1000, seed=0)
    assert found.labels is not None and torch.equal(found.labels, labels)
    assert psnr(found.images.flatten(0, 1), images.flatten(0, 1)).min() >= 40
    assert (found.evaluations <= 1000).all() and (found.evaluations > 3).all()


def test_a_linear_first_layer_gives_a_thousand_of_a_thousand_images() -> None:
    """Phong et al. 2018: x = dW / db, whatever follows."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(1024, 32), nn.Sigmoid(), nn.Linear(32, 10))
    images, labels = batches(1000, 1)
    found = build_attack("analytic", {}).reconstruct(seen_by(model, images, labels), budget=10, seed=0)
    assert psnr(found.images.flatten(0, 1), images.flatten(0, 1)).min() >= 75
    assert torch.equal(found.labels, labels)
    assert (found.evaluations == 1).all()


def test_whatever_follows_a_first_layer_that_sees_all_pixels_it_gives_them_away() -> None:
    images, labels = batches(50, 1)
    found = build_attack("analytic", {}).reconstruct(observation("mlp", images, labels), budget=10, seed=0)
    assert found.labels is not None and torch.equal(found.labels, labels)
    assert psnr(found.images.flatten(0, 1), images.flatten(0, 1)).min() >= 75
    torch.manual_seed(0)
    skipping = Residual(nn.Flatten(), nn.Linear(1024, 10))
    found = build_attack("analytic", {}).reconstruct(seen_by(skipping, images, labels), budget=10, seed=0)
    assert psnr(found.images.flatten(0, 1), images.flatten(0, 1)).min() >= 75


def test_tanh_and_linear_layers_in_between_are_undone_as_well() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 4, stride=2, padding=1),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(2048, 2048),
        nn.Sigmoid(),
        nn.Linear(2048, 10),
    )
    images, labels = batches(2, 1)
    found = build_attack("analytic", {}).reconstruct(seen_by(model, images, labels), budget=2000, seed=0)
    assert psnr(found.images.flatten(0, 1), images.flatten(0, 1)).min() >= 30


class Residual(nn.Sequential):
    def forward(self, input: Tensor) -> Tensor:
        scores: Tensor = super().forward(input)
        return scores + input.flatten(1).mean(1, keepdim=True)


class Tied(nn.Sequential):
    """The first layer's weights are used twice, so that their gradient is the sum of two."""

    def __init__(self) -> None:
        first, second = nn.Linear(1024, 1024), nn.Linear(1024, 1024)
        second.weight, second.bias = first.weight, first.bias
        super().__init__(nn.Flatten(), first, nn.Sigmoid(), second, nn.Sigmoid(), nn.Linear(1024, 10))


class Doubled(nn.Sequential):
    def forward(self, input: Tensor) -> Tensor:
        scores: Tensor = super().forward(torch.cat([input, input], 1))
        return scores


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3600, 10)), "ReLU"),
        (nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.Flatten(), nn.Linear(3600, 10)), "biases"),
        (nn.Sequential(nn.Conv2d(1, 10, 32, padding_mode="reflect"), nn.Flatten()), "plain"),
        (Doubled(nn.Conv2d(2, 4, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(3600, 10)), "between two layers"),
        (
            Residual(nn.Conv2d(1, 4, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(3600, 10)),
            "more than its layers",
        ),
        (nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 10)), "AvgPool2d"),
        (nn.Sequential(nn.Sigmoid(), nn.Flatten(), nn.Linear(1024, 10)), "Sigmoid"),
        (Tied(), "tied"),
    ],
)  # fmt: skip
def test_other_networks_are_refused_with_the_reason(model: nn.Module, reason: str) -> None:
    with pytest.raises(IncompatibleError, match=reason):
        build_attack("analytic", {}).reconstruct(seen_by(model, *batches(1, 1)), budget=10, seed=0)


def test_a_release_of_zeros_is_answered_with_images_and_not_with_nan() -> None:
    seen = observation("lenet", *batches(2, 1))
    zeros = {name: torch.zeros_like(value) for name, value in seen.gradients.items()}
    blank = seen_by(seen.model, *batches(2, 1))
    blank = GradientObservation(**{**vars(blank), "gradients": zeros, "parameters": seen.parameters})
    found = build_attack("analytic", {}).reconstruct(blank, budget=50, seed=0)
    assert found.images.isfinite().all()
