"""The independent evaluator of recognition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bench.api import BenchError, ImageSet
from bench.models.evaluator import Evaluator
from bench.victims.evaluator import load_evaluator, train_evaluator
from tests.engine.devices import exact
from tests.engine.observations import DIGITS, digits

CPU = torch.device("cpu")


def few(count: int = 128) -> ImageSet:
    part = digits().auxiliary
    return ImageSet(part.images[:count], part.labels[:count])


def test_training_repeats_and_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    first = train_evaluator(few(), num_classes=10, image_shape=DIGITS, seed=0, device=CPU)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    again = train_evaluator(few(), num_classes=10, image_shape=DIGITS, seed=0, device=CPU)
    other = train_evaluator(few(), num_classes=10, image_shape=DIGITS, seed=1, device=CPU)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])


def test_a_loaded_judge_is_deterministic_and_sees_each_image_alone() -> None:
    network = Evaluator(10, DIGITS)
    network.initialise(torch.Generator().manual_seed(0))
    evaluator = load_evaluator(network.state_dict(), num_classes=10, image_shape=DIGITS, device=CPU)
    images = few(20).images
    scores = evaluator(images)
    assert scores.shape == (20, 10) and not scores.requires_grad
    assert torch.equal(evaluator(images), scores)
    torch.testing.assert_close(evaluator(images[3:4]), scores[3:4], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_judge_recognises_digits_that_it_never_saw() -> None:
    splits = digits(11)
    state = train_evaluator(splits.auxiliary, num_classes=10, image_shape=DIGITS, seed=11, device=CPU)
    evaluator = load_evaluator(state, num_classes=10, image_shape=DIGITS, device=CPU)
    test = splits.private_test
    assert (evaluator(test.images).argmax(1) == test.labels).float().mean() >= 0.93


def test_too_few_auxiliary_images_are_named() -> None:
    with pytest.raises(BenchError, match=r"\b20\b.*\b19\b"):
        train_evaluator(few(19), num_classes=10, image_shape=DIGITS, seed=0, device=CPU)


@pytest.mark.parametrize(("count", "steps"), [(30, 60), (64, 60), (80, 60), (320, 60), (330, 60), (640, 120)])
def test_few_images_are_seen_more_often(count: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(images)
        return images

    monkeypatch.setattr("bench.victims.evaluator._shifted", shifted)
    images = torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    known = ImageSet(images, torch.arange(count) % 2)
    train_evaluator(known, num_classes=2, image_shape=(1, 8, 8), seed=0, device=CPU)
    assert len(seen) == steps


def test_fewer_images_than_a_batch_are_enough_for_two_classes() -> None:
    chance = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    images = torch.rand(64, 1, 32, 32, generator=chance) * 0.4
    images[labels == 1, :, :16] += 0.5
    owned, other = ImageSet(images[:30], labels[:30]), images[30:]
    shape = {"num_classes": 2, "image_shape": (1, 32, 32), "device": CPU}
    state = train_evaluator(owned, seed=0, **shape)  # type: ignore[arg-type]
    guess = load_evaluator(state, **shape)(other).argmax(1)  # type: ignore[arg-type]
    assert (guess == labels[30:]).float().mean() > 0.9


@pytest.mark.gpu
def test_an_evaluator_trains_on_a_gpu_and_scores_there_as_on_a_cpu() -> None:
    place = torch.device("cuda")
    state = train_evaluator(few(), num_classes=10, image_shape=DIGITS, seed=0, device=place)
    assert all(value.isfinite().all() for value in state.values())
    there = load_evaluator(state, num_classes=10, image_shape=DIGITS, device=place)
    on_cpu = {name: value.cpu() for name, value in state.items()}
    here = load_evaluator(on_cpu, num_classes=10, image_shape=DIGITS, device=CPU)
    images = few(20).images
    with exact():
        scores = there(images)
    assert scores.device.type == place.type
    torch.testing.assert_close(scores.cpu(), here(images), rtol=1e-3, atol=1e-3)
