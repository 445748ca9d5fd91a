"""Architectures: names, shapes, and the weights of round 0."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bench.api import IncompatibleError, UsageError
from bench.api.threat import BatchNorm
from bench.engine.normalisation import threat_of
from bench.models.build import build_model, schedule_of
from bench.models.evaluator import Evaluator
from bench.models.names import ALIASES, CUTS, MODELS
from bench.models.split import SplitModel
from bench.models.victims import ARCHITECTURES

GREY, COLOUR = (1, 32, 32), (3, 32, 32)


def test_names_and_architectures_are_the_same() -> None:
    assert set(MODELS) == set(ARCHITECTURES)
    assert all(schedule_of(name).epochs > 0 for name in MODELS)
    with pytest.raises(UsageError, match="'lenet'"):
        build_model("lenett", num_classes=10, image_shape=GREY)


@pytest.mark.parametrize("name", sorted(MODELS))
@pytest.mark.parametrize("shape", [GREY, COLOUR, (1, 16, 24), (1, 28, 28), (3, 20, 30), (1, 33, 11)])
def test_scores_have_one_column_per_class(name: str, shape: tuple[int, int, int]) -> None:
    model = build_model(name, num_classes=7, image_shape=shape)
    assert model(torch.rand(5, *shape)).shape == (5, 7)


@pytest.mark.parametrize("name", sorted(ALIASES))
def test_every_pixel_of_an_image_of_any_size_moves_what_leaves_the_client(name: str) -> None:
    model = build_model(name, num_classes=7, image_shape=(1, 28, 31))
    model.initialise(torch.Generator().manual_seed(0))
    assert isinstance(model, SplitModel)
    images = torch.rand(9, 1, 28, 31, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(model.client(images).square().sum(), images)
    pooled = 1 if name == "split_lenet" else 2 ** (1 + (name == "splitnet_deep"))
    assert gradient[..., : 28 // pooled * pooled, : 31 // pooled * pooled].abs().sum(0).min() > 0


def test_images_too_small_for_a_cut_network_are_refused_by_their_size() -> None:
    for name, side in (("splitnet", 4), ("splitnet_deep", 8)):
        assert build_model(name, num_classes=3, image_shape=(1, side, side))(
            torch.rand(2, 1, side, side)
        ).shape
        with pytest.raises(IncompatibleError, match=f"{side}.*9x{side - 1}"):
            build_model(name, num_classes=3, image_shape=(1, 9, side - 1))


@pytest.mark.parametrize(
    "name", [f"{name}[cut={cut}]" for name, most in CUTS.items() for cut in range(1, most + 1)]
)
def test_a_network_that_is_cut_is_the_whole_one(name: str) -> None:
    whole = build_model(name.partition("[")[0], num_classes=7, image_shape=COLOUR)
    whole.initialise(torch.Generator().manual_seed(0))
    cut = build_model(name, num_classes=7, image_shape=COLOUR)
    cut.initialise(torch.Generator().manual_seed(0))
    assert isinstance(cut, SplitModel)
    convolutions = [layer for layer in cut.client.modules() if isinstance(layer, nn.Conv2d)]
    assert name.endswith(f"[cut={len(convolutions)}]")
    images = torch.rand(3, *COLOUR, generator=torch.Generator().manual_seed(1))
    assert torch.equal(cut(images), whole(images))
    assert cut.remade(GREY)(images[:, :1]).shape == (3, 7)


@pytest.mark.parametrize("options", ["cut=0", "cut=4", "cut=x", "cut=1.5", "cut=\u0663"])
def test_a_cut_that_is_not_there_is_refused(options: str) -> None:
    with pytest.raises(UsageError, match="1 to 3"):
        build_model(f"lenet[{options}]", num_classes=10, image_shape=GREY)
    with pytest.raises(UsageError, match="convnet"):
        build_model("resnet18[cut=1]", num_classes=10, image_shape=GREY)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_weights_of_round_0_belong_to_the_generator(name: str) -> None:
    def draw(seed: int) -> torch.Tensor:
        model = build_model(name, num_classes=10, image_shape=GREY)
        model.initialise(torch.Generator().manual_seed(seed))
        return nn.utils.parameters_to_vector(model.parameters()).detach()

    before = torch.random.get_rng_state()
    model = build_model(name, num_classes=10, image_shape=GREY)
    torch.random.set_rng_state(before)
    model.initialise(torch.Generator().manual_seed(0))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))


def test_lenet_starts_wide_as_published() -> None:
    model = build_model("lenet", num_classes=10, image_shape=GREY)
    model.initialise(torch.Generator().manual_seed(0))
    values = nn.utils.parameters_to_vector(model.parameters())
    assert values.abs().max() <= 0.5 and values.std().item() == pytest.approx(12**-0.5, rel=0.02)


def test_convnet_starts_as_pytorch_would() -> None:
    model = build_model("convnet", num_classes=10, image_shape=GREY)
    fresh = [
        layer.weight.std().item() for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    model.initialise(torch.Generator().manual_seed(0))
    ours = [
        layer.weight.std().item() for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    assert ours == pytest.approx(fresh, rel=0.1)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_features_are_not_negative(name: str) -> None:
    """What the rules that read labels off the last layer require."""
    model = build_model(name, num_classes=10, image_shape=GREY)
    model.initialise(torch.Generator().manual_seed(0))
    seen: list[Tensor] = []
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]
    last.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    model(torch.rand(8, *GREY))
    assert len(seen) == 1 and (seen[0] >= 0).all()


@pytest.mark.parametrize("name", [*sorted(MODELS), "resnet8[norm=group]", "resnet18[norm=group,width=16]"])
def test_only_batch_normalisation_mixes_the_images_of_a_batch(name: str) -> None:
    model = build_model(name, num_classes=10, image_shape=GREY)
    model.initialise(torch.Generator().manual_seed(0))
    images = torch.rand(4, *GREY, generator=torch.Generator().manual_seed(1))
    together, alone = model(images)[2:3], model(images[2:3])
    apart = torch.allclose(together, alone, rtol=1e-4, atol=1e-5)
    assert apart == (threat_of(model, shared=False) in (BatchNorm.NONE, BatchNorm.EVAL))


def test_the_evaluator_is_of_another_family() -> None:
    """ResNet-18 shares BatchNorm with the evaluator, the CNNs max pooling, and no other anything."""
    evaluator = {type(layer) for layer in Evaluator(10, GREY).modules()}
    assert {nn.BatchNorm2d, nn.MaxPool2d} <= evaluator
    for name in MODELS:
        victim = {type(layer) for layer in build_model(name, num_classes=10, image_shape=GREY).modules()}
        resnets = (known for known in MODELS if known.startswith("resnet"))
        shared = dict.fromkeys(resnets, nn.BatchNorm2d) | dict.fromkeys(["cnn", "cnn_pooled"], nn.MaxPool2d)
        wanted = {nn.BatchNorm2d, nn.MaxPool2d} - {shared.get(name)}
        assert wanted <= evaluator - victim
