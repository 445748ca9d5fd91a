"""The batched engine computes what a plain loop over the victims computes, to the last useful digit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from bench.engine import Cosine, Euclidean, Matching, Objective, Pixels, PixelsAndLabels, total_variation
from bench.engine.gradients import cross_entropy, gradient_map, logit_gradient_loss, one_hot
from tests.engine.observations import batches, observation, plain_gradients

VICTIMS = 3
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-9}


def assert_near(got: Tensor, want: Tensor, tolerance: float) -> None:
    """Relative to the largest entry: single entries of a gradient may cancel to nothing."""
    assert got.dtype == want.dtype
    assert (got - want).abs().max() <= tolerance * want.abs().max()


cases = pytest.mark.parametrize(
    ("name", "batch_size", "own", "dtype"),
    [
        (name, batch_size, own, dtype)
        for name in ("lenet", "convnet")
        for batch_size in (1, 4)
        for own in (False, True)
        for dtype in (torch.float32, torch.float64)
    ]
    # Residual sums, BatchNorm and adaptive pooling; the half of a split network with its max pooling.
    + [(name, 2, own, torch.float64) for name in ("narrow_resnet", "splitnet") for own in (False, True)],
)


@cases
def test_gradients_of_all_clients_equal_one_at_a_time(
    name: str, batch_size: int, own: bool, dtype: torch.dtype
) -> None:
    images, labels = batches(VICTIMS, batch_size)
    seen = observation(name, images, labels, seeds=[1, 2, 3] if own else 1, dtype=dtype)
    batched = gradient_map(seen.model, seen.parameters, per_victim_weights=own)
    got = batched(images.to(dtype), one_hot(labels, 10, dtype))
    assert list(got) == list(seen.gradients)
    for key, want in seen.gradients.items():
        assert_near(got[key], want, TOLERANCE[dtype])


@cases
def test_one_victim_alone_has_its_gradient_of_the_batch(
    name: str, batch_size: int, own: bool, dtype: torch.dtype
) -> None:
    images, labels = batches(VICTIMS, batch_size)
    seen = observation(name, images, labels, seeds=[1, 2, 3] if own else 1, dtype=dtype).select(
        torch.tensor([1])
    )
    unknowns = PixelsAndLabels.of(seen)
    point = torch.randn(1, unknowns.size, generator=torch.Generator().manual_seed(5)).to(dtype)
    objective = Objective(seen, unknowns, Euclidean())
    together, alone = objective(point), replace(objective, alone=True)(point)
    for got, want in zip(alone, together, strict=True):
        assert_near(got, want, TOLERANCE[dtype])
    with torch.no_grad():
        found = gradient_map(seen.model, seen.parameters, per_victim_weights=own, alone=True)(
            images[1:2].to(dtype), one_hot(labels[1:2], 10, dtype)
        )
    for key, want in seen.gradients.items():
        assert not found[key].requires_grad
        assert_near(found[key], want, TOLERANCE[dtype])


@pytest.mark.parametrize("alone", [False, True])
def test_a_loss_may_look_at_all_weights_as_constants(alone: bool) -> None:
    images, labels = batches(1, 2)
    seen = observation("convnet", images, labels, seeds=1, dtype=torch.float64)
    name = next(iter(seen.parameters))

    def loss(weights: Mapping[str, Tensor], still: Mapping[str, Tensor], *batch: Tensor) -> Tensor:
        return (weights[name] * still[name]).sum() + batch[0].sum()

    released = gradient_map(
        seen.model, seen.parameters, per_victim_weights=False, batch_loss=loss, names=[name], alone=alone
    )
    found = released(images.double(), one_hot(labels, 10, torch.float64))
    assert list(found) == [name]
    assert torch.equal(found[name], seen.parameters[name][None])


def test_only_what_was_made_for_one_victim_is_not_batched() -> None:
    images, labels = batches(2, 1)
    seen = observation("convnet", images, labels, seeds=1, dtype=torch.float32)
    whole = Objective(seen, PixelsAndLabels.of(seen), Euclidean(), alone=True)
    point = torch.zeros(2, PixelsAndLabels.of(seen).size)
    for got, want in zip(whole(point), replace(whole, alone=False)(point), strict=True):
        assert torch.equal(got, want)
    assert_near(whole.select(torch.tensor([1]))(point[1:])[0], whole(point)[0][1:], TOLERANCE[torch.float32])


@cases
def test_matching_gradient_equals_double_backward_of_each_victim(
    name: str, batch_size: int, own: bool, dtype: torch.dtype
) -> None:
    images, labels = batches(VICTIMS, batch_size)
    seen = observation(name, images, labels, seeds=[1, 2, 3] if own else 1, dtype=dtype)
    unknowns = PixelsAndLabels.of(seen)
    point = torch.randn(VICTIMS, unknowns.size, generator=torch.Generator().manual_seed(5)).to(dtype)
    cost, objective_gradient = Objective(seen, unknowns, Euclidean())(point)
    for i in range(VICTIMS):
        leaf = point[i].clone().requires_grad_()
        pixels, logits = leaf.split([batch_size * 1024, batch_size * 10])
        dummy = plain_gradients(
            seen.model,
            {k: v[i] if own else v for k, v in seen.parameters.items()},
            pixels.view(batch_size, 1, 32, 32),
            logits.view(batch_size, 10).softmax(-1),
            create_graph=True,
        )
        gap = sum((dummy[k] - seen.gradients[k][i]).square().sum() for k in dummy)
        want = gap / sum(seen.gradients[k][i].square().sum() for k in dummy)
        (want_gradient,) = torch.autograd.grad(want, leaf)
        assert_near(cost[i], want.detach(), TOLERANCE[dtype])
        assert_near(objective_gradient[i], want_gradient, TOLERANCE[dtype])


@pytest.mark.parametrize("name", ["lenet", "convnet"])
@pytest.mark.parametrize("matching", [Euclidean(), Cosine()], ids=["euclidean", "cosine"])
def test_matching_gradient_equals_finite_differences(name: str, matching: Matching) -> None:
    images, labels = batches(2, 2)
    seen = observation(name, images, labels, seeds=[4, 5], dtype=torch.float64)
    objective = Objective(seen, Pixels.of(seen, labels), matching, ((0.1, total_variation),))
    generator = torch.Generator().manual_seed(0)
    point = torch.rand(2, 2048, generator=generator, dtype=torch.float64)
    _, objective_gradient = objective(point)
    for _ in range(4):
        way = torch.randn(2, 2048, generator=generator, dtype=torch.float64)
        step = 1e-7 * way
        measured = (objective(point + step)[0] - objective(point - step)[0]) / 2e-7
        torch.testing.assert_close((objective_gradient * way).sum(1), measured, rtol=1e-5, atol=1e-7)


def test_objective_leaves_its_point_and_the_model_alone() -> None:
    images, labels = batches(2, 1)
    seen = observation("lenet", images, labels)
    before = {k: v.clone() for k, v in seen.model.state_dict().items()}
    point = torch.zeros(2, 1024)
    cost, objective_gradient = Objective(seen, Pixels.of(seen, labels), Euclidean())(point)
    assert not point.requires_grad and not cost.requires_grad and not objective_gradient.requires_grad
    assert not point.any()
    assert all(torch.equal(v, before[k]) for k, v in seen.model.state_dict().items())
    assert all(p.grad is None for p in seen.model.parameters())


def random_case(scale: float, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = scale * torch.randn(6, 10, generator=generator, dtype=torch.float64)
    return scores, torch.randn(6, 10, generator=generator, dtype=torch.float64).softmax(-1)


def value_and_gradient(loss: object, scores: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    leaf = scores.clone().requires_grad_()
    value = loss(leaf, targets)  # type: ignore[operator]
    return value.detach(), torch.autograd.grad(value, leaf)[0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("hard", [False, True])
def test_cross_entropy_equals_pytorch_for_ordinary_scores(seed: int, hard: bool) -> None:
    scores, soft = random_case(3.0, seed)
    targets = one_hot(soft.argmax(1), 10, torch.float64) if hard else soft
    got = value_and_gradient(cross_entropy, scores, targets)
    torch.testing.assert_close(
        got, value_and_gradient(nn.functional.cross_entropy, scores, targets), rtol=1e-12, atol=1e-14
    )
    low = value_and_gradient(cross_entropy, scores.float(), targets.float())
    want = value_and_gradient(nn.functional.cross_entropy, scores.float(), targets.float())
    torch.testing.assert_close(low, want, rtol=1e-5, atol=1e-6)


def test_cross_entropy_with_tied_scores_is_the_textbook_one() -> None:
    targets = one_hot(torch.tensor([0, 3]), 10, torch.float64)
    got = value_and_gradient(cross_entropy, torch.zeros(2, 10, dtype=torch.float64), targets)
    want = value_and_gradient(nn.functional.cross_entropy, torch.zeros(2, 10, dtype=torch.float64), targets)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("margin", [17.0, 25.0, 40.0])
def test_cross_entropy_keeps_the_digits_that_pytorch_loses_on_confident_scores(margin: float) -> None:
    """Why it exists: a sure victim's gradient is 1e-7 and smaller, and float32 p - y has no digits there."""
    scores, _ = random_case(1.0, 0)
    scores[:, 4] = scores.max() + margin
    scores = scores.float().double()  # exact in both precisions
    targets = one_hot(torch.full((6,), 4), 10, torch.float64)
    _, exact = value_and_gradient(nn.functional.cross_entropy, scores, targets)
    _, ours = value_and_gradient(cross_entropy, scores.float(), targets.float())
    _, theirs = value_and_gradient(nn.functional.cross_entropy, scores.float(), targets.float())
    below = scores - scores[:, 4:5]
    others = below.exp().masked_fill(targets.bool(), 0.0)
    # Even in float64 the true class cancels at large margins: it is minus the sum of the others.
    wanted = others / (1 + others.sum(1, keepdim=True)) / 6
    wanted = torch.where(targets.bool(), -wanted.sum(1, keepdim=True), wanted)
    torch.testing.assert_close(wanted, exact, rtol=1e-5, atol=1e-17)

    def error(gradient: Tensor) -> float:
        return ((gradient.double() - wanted) / wanted).abs().max().item()

    assert error(ours) < 1e-5
    assert error(theirs) > 1e-3


def test_cross_entropy_gradient_is_finite_for_enormous_scores() -> None:
    scores = torch.tensor([[1e4, -1e4, 0.0]])
    value, gradient = value_and_gradient(cross_entropy, scores, one_hot(torch.tensor([1]), 3))
    assert value.item() == pytest.approx(2e4)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("loss", [cross_entropy, logit_gradient_loss])
def test_a_target_that_adds_up_to_zero_is_the_gradient_whatever_the_scores(
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = (30 * torch.randn(4, 10, generator=generator)).requires_grad_()
    error = torch.randn(4, 10, generator=generator)
    error = error - error.mean(dim=1, keepdim=True)
    (gradient,) = torch.autograd.grad(loss(scores, -error), scores)
    torch.testing.assert_close(4 * gradient, error)
